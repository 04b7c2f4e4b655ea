# ruff: noqa: F811
from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from recommenders_miner.errors import RecommendersMinerError
from recommenders_miner.serving.guard import MOST_BYTES, Guard
from recommenders_miner.serving.metrics import Metrics
from recommenders_miner.serving.server import create_app
from recommenders_miner.serving.store import StoreError
from tests.serving.fake_recommender import (  # noqa: F401
    FakeRecommender,
    client,
    event,
    made,
    post,
    quick,
    recommended,
    serving,
    shared,
    until,
    write_export,
)

JSON = {"Content-Type": "application/json"}


# === Errors ===

RECOMMEND, EVENTS = ("POST", "/v1/recommend"), ("POST", "/v1/events")
TITLE = b'{"title":"T",'


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        (*RECOMMEND, b'{"history": [}', 400, "character 13"),
        (*RECOMMEND, b'{"history": ["\xff"]}', 400, "byte 14"),
        (*RECOMMEND, b"[" * 100_000, 400, "nested"),
        (*RECOMMEND, b'{"k": ' + b"1" * 5000 + b"}", 400, "digits"),
        (*RECOMMEND, b"", 422, "body: is missing"),
        (*RECOMMEND, b"[]", 422, "body"),
        (*RECOMMEND, b"{}", 422, "give a user, or a history"),
        (*RECOMMEND, b'{"user": null}', 422, "give a user, or a history"),
        (*RECOMMEND, b'{"hisory": []}', 422, "hisory: is no field"),
        (*RECOMMEND, b'{"history": [], "k": 0}', 422, "k: Input should be greater"),
        (*RECOMMEND, b'{"history": [], "k": 1001}', 422, "1000"),
        (*RECOMMEND, b'{"history": [], "k": "10"}', 422, "k: Input should be a valid integer"),
        (*RECOMMEND, b'{"history": [], "max_age": NaN}', 422, "finite"),
        (*RECOMMEND, b'{"history": [], "max_age": 1e400}', 422, "finite"),
        (*RECOMMEND, b'{"history": [], "max_age": 0}', 422, "max_age"),
        (*RECOMMEND, b'{"history": [], "where": {"a": NaN}}', 422, "where.a"),
        (*RECOMMEND, b'{"history": [], "where": {"a": {}}}', 422, "where.a"),
        (*RECOMMEND, b'{"history": [], "where": {"a": 1' + b"0" * 30 + b"}}", 422, "where.a"),
        (*RECOMMEND, b'{"history": [], "where": {"\\ud800": 1}}', 422, "surrogate"),
        (*RECOMMEND, json.dumps({"history": ["N1"] * 1001}).encode(), 422, "1000"),
        (*RECOMMEND, b'{"history": ["a b"]}', 422, "history.0: has white space"),
        (*RECOMMEND, b'{"history": ["\\u0000"]}', 422, "control character"),
        (*RECOMMEND, b'{"history": ["\\ud800"]}', 422, "surrogate"),
        (*RECOMMEND, b'{"history": [1]}', 422, "history.0"),
        (*RECOMMEND, b'{"history": [""]}', 422, "history.0"),
        (*RECOMMEND, json.dumps({"user": "u" * 201}).encode(), 422, "200"),
        (*RECOMMEND, b'"' + b"x" * MOST_BYTES + b'"', 413, "1,000,000"),
        (*EVENTS, json.dumps({"events": [event("e")] * 1001}).encode(), 422, "1000"),
        (*EVENTS, json.dumps({"events": [event(type="klick")]}).encode(), 422, "'click' or 'shown'"),
        (*EVENTS, json.dumps({"events": [event(time=1.6e12)]}).encode(), 422, "milliseconds"),
        (*EVENTS, json.dumps({"events": [event(time=-1)]}).encode(), 422, "events.0.time"),
        (*EVENTS, json.dumps({"events": [event(time=10**400)]}).encode(), 422, "events.0.time"),
        (*EVENTS, b'{"events": [{"id": "e"}]}', 422, "events.0.user: is missing"),
        ("PUT", "/v1/articles/x", b"{}", 422, "title: is missing"),
        ("PUT", "/v1/articles/x", TITLE + b'"a": "\\ud800"}', 422, "a: has to be"),
        ("PUT", "/v1/articles/x", TITLE + b'"a": [[1]]}', 422, "a: has to be"),
        ("PUT", "/v1/articles/x", TITLE + b'"published": 1e300}', 422, "published"),
        ("PUT", "/v1/articles/x", json.dumps({"title": "T", **{f"c{i}": 1 for i in range(101)}}).encode(), 422, "100"),
        ("PUT", "/v1/articles/%FF", b'{"title": "T"}', 422, "UTF-8"),
        ("GET", "/v1/users/a%20b", None, 422, "white space"),
        ("GET", "/v1/users/", None, 422, "user"),
        ("GET", "/v1/articles?limit=0", None, 422, "limit"),
        ("GET", "/v1/nothing", None, 404, "/docs"),
        ("GET", "/v1/models/", None, 404, "/docs"),
        ("PUT", "/v1/models", b"{}", 405, "PUT"),
    ],
)  # fmt: skip
def test_a_bad_request_is_told_what_to_change(shared, method, path, body, status, said):
    answer = shared.request(method, path, content=body, headers=JSON)
    assert answer.headers["Content-Type"] == "application/problem+json"
    document = answer.json()
    assert (answer.status_code, document["status"]) == (status, status), document
    assert document.keys() == {"type", "title", "status", "detail"}
    assert said in document["detail"]


def test_only_json_is_read(shared):
    for kind in (None, "text/plain", "application/x-www-form-urlencoded", "nonsense"):
        answer = shared.post(
            "/v1/recommend", content=b'{"history": []}', headers={"Content-Type": kind} if kind else {}
        )
        assert answer.status_code == 415
    for kind in ("application/json; charset=utf-8", "application/vnd.news+json"):
        answer = shared.post("/v1/recommend", content=b'{"history": []}', headers={"Content-Type": kind})
        assert answer.status_code == 200


def test_what_is_a_bug_is_a_problem_too(client, monkeypatch):
    def broken(*arguments, **options):
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(FakeRecommender, "recommend", broken)
    answer = client.post("/v1/recommend", json={"history": ["N1"]})
    assert (answer.status_code, answer.headers["Content-Type"]) == (500, "application/problem+json")
    assert "secret" not in answer.text


# === Who may ===

GUARDED = [
    ("POST", "/v1/events", {"events": []}),
    ("GET", "/v1/users/u1", None),
    ("DELETE", "/v1/users/u1", None),
    ("PUT", "/v1/articles/x", {"title": "T"}),
    ("DELETE", "/v1/articles/x", None),
    ("POST", "/v1/recommend", {"user": "u1"}),
    ("POST", "/v1/explain", {"user": "u1", "articles": ["N1"]}),
    ("POST", "/v1/map", {"user": "u1"}),
]
OPEN = [
    *(("GET", path, None) for path in ("/", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json")),
    *(("GET", path, None) for path in ("/v1/models", "/v1/articles")),
    ("POST", "/v1/recommend", {"history": ["N1"]}),
    ("POST", "/v1/explain", {"history": ["N1"], "articles": ["N2"]}),
    ("POST", "/v1/map", {"history": ["N1"]}),
]


def test_who_writes_or_reads_a_persons_data_needs_the_token(made):
    with serving(replace(made, token="sésame", host="0.0.0.0")) as client:
        for method, path, body in GUARDED:
            for sent in (None, b"Bearer wrong", b"Bearer", b"Basic s\xc3\xa9same", b"Bearer \xff"):
                answer = client.request(method, path, json=body, headers=sent and {"Authorization": sent})
                assert answer.status_code == 401, (method, path, sent)
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert "Authorization: Bearer" in answer.json()["detail"]
            right = {"Authorization": "Bearer sésame".encode()}
            assert client.request(method, path, json=body, headers=right).status_code == 200, (method, path)
        for method, path, body in OPEN:
            assert client.request(method, path, json=body).status_code == 200, (method, path)


def test_other_machines_are_let_in_with_a_token_only(made):
    for host in ("0.0.0.0", "192.168.1.5", "::", "news.example.org"):
        with pytest.raises(RecommendersMinerError, match="token"):
            create_app(replace(made, host=host), FakeRecommender.load)
    for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        create_app(replace(made, host=host), FakeRecommender.load)


# === Load, and trouble ===


def test_overload_is_refused_at_once_and_passes(made, monkeypatch):
    inside, go_on = threading.Semaphore(0), threading.Event()

    def slow(self, *arguments, **options):
        inside.release()
        assert go_on.wait(20)
        return []

    with serving(replace(made, threads=2, waiting=1)) as client:
        monkeypatch.setattr(FakeRecommender, "recommend", slow)
        answers = []
        threads = [
            threading.Thread(target=lambda: answers.append(client.post("/v1/recommend", json={"history": ["N1"]})))
            for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        assert inside.acquire(timeout=10)
        assert inside.acquire(timeout=10)
        for refused in until(lambda: len(answers) == 2 and [*answers]):
            assert (refused.headers["Retry-After"], refused.json()["status"]) == ("1", 503)
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
        assert not inside.acquire(blocking=False)  # the third waits for one of the two threads
        assert "recommenders_miner_overloads_total" in client.get("/metrics").text
        go_on.set()
        for thread in threads:
            thread.join()
        assert [answer.status_code for answer in answers] == [503] * 2 + [200] * 3
        assert client.get("/v1/models").status_code == 200


def _ask_guard(receive, headers=(), **options):
    """Return the status and the headers by which a guard answers a request, for which nothing is let in."""
    sent = []

    async def send(message):
        sent.append(message)

    async def app(scope, receive, send):
        pytest.fail("it was let in")

    guard = Guard(app, Metrics(), **{"places": 1, "seconds": 5, **options})
    scope = {"type": "http", "method": "POST", "path": "/v1/events", "headers": list(headers)}
    asyncio.run(guard(scope, receive, send))
    return (sent[0]["status"], dict(sent[0]["headers"])) if sent else None


def test_a_body_that_does_not_arrive_is_given_up():
    async def dribble():
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b" ", "more_body": True}

    status, headers = _ask_guard(dribble, seconds=0.05)
    assert (status, headers[b"connection"]) == (408, b"Close".lower())

    async def hang_up():
        return {"type": "http.disconnect"}

    assert _ask_guard(hang_up) is None


def test_a_large_body_is_refused_before_it_is_read():
    async def nothing():
        pytest.fail("it was read")

    for length in (str(MOST_BYTES + 1), "9" * 5000, "-1", "x"):
        status, _ = _ask_guard(nothing, [(b"content-length", length.encode())])
        assert status == 413

    async def chunks():
        return {"type": "http.request", "body": b"x" * 65536, "more_body": True}

    assert _ask_guard(chunks)[0] == 413


def test_the_server_is_up_but_not_ready_while_it_loads(made):
    write_export(made.exports[0], "fake-a", seconds=0.5)
    with TestClient(create_app(made, FakeRecommender.load)) as client:
        assert client.get("/healthz").json() == {"status": "up"}
        for path in ("/readyz", "/v1/models", "/v1/users/u1", "/v1/articles"):
            answer = client.get(path)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            assert "loaded" in answer.json()["detail"]
        until(lambda: client.get("/readyz").status_code == 200)
        assert client.get("/v1/models").status_code == 200


def test_the_server_is_not_ready_while_the_store_does_not_answer(client, monkeypatch):
    def gone(*arguments):
        raise StoreError("the store is gone")

    for name in ("articles_since", "record", "history"):
        monkeypatch.setattr(f"recommenders_miner.serving.store.SQLiteStore.{name}", gone)
    until(lambda: client.get("/readyz").status_code == 503)
    assert post(client, "/v1/events", 503, events=[event()])["title"] == "Service Unavailable"
    assert len(recommended(client, history=["N1"])) == 10
    monkeypatch.undo()
    until(lambda: client.get("/readyz").status_code == 200)
    post(client, "/v1/events", events=[event()])


def test_a_start_that_fails_says_why(made, tmp_path):
    write_export(made.exports[0], "a", fails="it is damaged")
    no_news = replace(made, news=tmp_path / "none.tsv", exports=made.exports[1:] * 2)
    for faulty, said in ((made, "it is damaged"), (no_news, "none.tsv")):
        failures = []
        with TestClient(create_app(faulty, FakeRecommender.load, failures.append)) as client:
            [error] = until(lambda: failures)  # noqa: B023
            assert said in str(error)
            assert said in client.get("/readyz").json()["detail"]


def test_metrics_tell_of_stages_candidates_and_errors(client):
    post(client, "/v1/recommend", user="u1")
    post(client, "/v1/recommend", history=["N1"])
    post(client, "/v1/recommend", 422)
    post(client, "/v1/events", events=[event()])
    text = client.get("/metrics").text
    for line in (
        'stage_seconds_count{stage="history"} 1.0',
        'stage_seconds_count{stage="rank"} 1.0',
        'stage_seconds_count{stage="record"} 1.0',
        'request_seconds_count{method="POST",route="/v1/recommend"} 3.0',
        'responses_total{method="POST",route="/v1/recommend",status="422"} 1.0',
        "candidates 40.0",
        "cold_users_total 1.0",
        'events_total{type="click"} 1.0',
    ):
        assert f"recommenders_miner_{line}" in text


def test_openapi_has_examples_and_problems(shared):
    document = shared.get("/openapi.json").json()
    paths = {path for path in document["paths"] if path.startswith("/v1")}
    of_one = {"/v1/users/{user}", "/v1/articles/{article}"}
    names = ("models", "recommend", "explain", "map", "events", "articles", "poprox", "poprox/warmup")
    assert paths == of_one | {f"/v1/{name}" for name in names}
    for name in ("RecommendRequest", "EventsRequest", "ExplainRequest", "ArticleRow"):
        assert document["components"]["schemas"][name]["examples"]
    problems = document["paths"]["/v1/recommend"]["post"]["responses"]
    for status in ("400", "401", "408", "413", "415", "422", "503"):
        assert list(problems[status]["content"]) == ["application/problem+json"]


def test_no_training_library_is_in_the_server():
    blocked = "import sys; sys.modules |= dict.fromkeys(['tensorflow', 'keras', 'jax', 'torch', 'pandas', 'scipy']);"
    code = f"{blocked} import recommenders_miner.serving.server"
    subprocess.run([sys.executable, "-c", code], check=True)
