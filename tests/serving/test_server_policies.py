# ruff: noqa: F811
"""Policies in the server: per request and per arm, what answers say of them, and what changes while it runs."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace

import pytest

from recommenders_miner.errors import PolicyError
from recommenders_miner.reranking import Policy
from recommenders_miner.serving import policies
from tests.serving.fake_recommender import (  # noqa: F401
    FakeRecommender,
    event,
    made,
    post,
    quick,
    recommended,
    serving,
    until,
)

RULES = {"front": {"name": "Front page", "quotas": [{"column": "category", "value": "sports", "at_most": 1}]}}


def write_policy(path, **rules):
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(rules))  # JSON is YAML
    os.utime(temporary, ns=(time.time_ns(), time.time_ns()))
    temporary.replace(path)
    return path


@pytest.fixture
def policed(made, tmp_path):
    """Returns settings with policies, by name what their files say."""

    def of(arm_policies=(), **policies):
        files = {name: write_policy(tmp_path / f"{name}.yaml", **rules) for name, rules in policies.items()}
        return replace(made, policies=files, arm_policies=arm_policies)

    return of


def by_score(history, count=40):
    model = FakeRecommender("any")
    model.add_articles([{"id": f"N{number}"} for number in range(count)])
    return [id for id, _ in model.recommend(history, count)]


def test_a_request_names_a_policy_and_the_answer_says_what_it_moved(policed):
    with serving(policed(front=RULES["front"] | {"pins": [{"article": "N7", "place": 2}], "relax": []})) as client:
        plain = post(client, "/v1/recommend", history=["N1"], k=6)
        assert plain.keys() == {"id", "model", "articles"}
        assert [article["id"] for article in plain["articles"]] == by_score(["N1"])[:6]
        answer = post(client, "/v1/recommend", history=["N1"], k=6, policy="front")
        ids = [article["id"] for article in answer["articles"]]
        assert (answer["policy"], answer["relaxed"], ids[1]) == ("front", [], "N7")
        order = by_score(["N1"])
        assert answer["articles"][1]["moved"] == {"rule": "N7 at place 2", "rank": order.index("N7") + 1, "place": 2}
        assert sum(article["category"] == "sports" for article in answer["articles"]) <= 1
        for place, article in enumerate(answer["articles"], start=1):
            assert article["why"] == "model"
            rank = order.index(article["id"]) + 1
            assert article.get("moved", {"rank": place})["rank"] == rank
        assert recommended(client, history=["N1"], k=6, policy="") == order[:6]
        figures = client.get("/metrics").text
        assert 'recommenders_miner_policy_lists_total{policy="front"} 1.0' in figures
        detail = post(client, "/v1/recommend", 422, history=["N1"], policy="sport")["detail"]
        assert detail == "policy: there is no sport; there is front."
        listed = client.get("/v1/models").json()["policies"]
        assert [(one["name"], one["title"], one["share"], one["rerank"]) for one in listed] == [
            ("front", "Front page", 0.0, None)
        ]


def test_why_an_article_is_missing(policed):
    with serving(policed(front=RULES["front"])) as client:
        order = by_score(["N0"])
        sports = [id for id in order if int(id[1:]) % 3 == 1]
        asked = [sports[0], sports[1], order[-1], "N0", "N3", "gone"]
        body = {"history": ["N0"], "exclude": ["N3"], "k": 12, "why_not": asked}
        found = {one["id"]: one for one in post(client, "/v1/recommend", policy="front", **body)["why_not"]}
        assert sports[0] not in found  # it is in the list
        assert found[sports[1]]["rule"] == "at most 1 of category sports"
        assert found[order[-1]]["rule"] in ("score", "at most 1 of category sports")
        rules = {id: found[id]["rule"] for id in ("N0", "N3", "gone")}
        assert rules == {"N0": "history", "N3": "limits", "gone": "articles"}
        assert "policy" in post(client, "/v1/recommend", 422, **body, policy="")["detail"]


def test_pins_and_the_dial_of_one_request(policed):
    rerank = {"by": "calibrated", "column": "category", "dial": 0}
    with serving(policed(front={"rerank": rerank, "pins": [{"article": "N5", "place": 1}]})) as client:
        pins = [{"id": "N9", "place": 1}, {"id": "gone", "place": 3}]
        answer = post(client, "/v1/recommend", history=["N1"], k=4, policy="front", pins=pins)
        assert answer["articles"][0]["id"] == "N9"
        assert answer["relaxed"] == [{"rule": "gone at place 3", "by": 1, "clashes": ["candidates"]}]
        assert 'policy_relaxations_total{policy="front",rule="pins"} 1.0' in client.get("/metrics").text
        assert recommended(client, history=["N1"], k=4, policy="front")[0] == "N5"
        turned = post(client, "/v1/recommend", history=["N1", "N4"], k=4, policy="front", dial=1)
        assert {article["category"] for article in turned["articles"][1:]} == {"sports"}  # as the history is
        for wrong in ([{"id": "N1", "place": 1}] * 2, [{"id": "N1", "place": 5}], [{"id": "N1", "place": 0}]):
            post(client, "/v1/recommend", 422, history=[], k=4, policy="front", pins=wrong)
        post(client, "/v1/recommend", 422, history=[], dial=2)


def test_what_was_shown_in_vain_and_topics_count(policed):
    rules = {"shown": 2, "topics": {"share": "50%"}}
    with serving(policed(front=rules)) as client:
        post(client, "/v1/events", events=[event("c", article="N1")])
        best = recommended(client, user="u1", k=4, policy="front")[0]
        shown = [event(f"s{number}", article=best, type="shown") for number in range(2)]
        post(client, "/v1/events", events=shown)
        assert client.get("/v1/users/u1").json()["shown"] == {best: 2}
        answer = post(client, "/v1/recommend", user="u1", k=4, policy="front", why_not=[best])
        assert answer["why_not"][0]["rule"] == "shown"
        found = post(client, "/v1/recommend", user="u1", k=4, policy="front", topics=["weather"])["articles"]
        assert sum(article["category"] == "weather" for article in found) >= 2
        assert client.delete("/v1/users/u1").json()["forgotten"] == 1
        assert "shown" not in client.get("/v1/users/u1").json()


def test_users_without_clicks_get_what_is_popular_as_the_policy_arranges_it(policed):
    with serving(policed(front=RULES["front"])) as client:
        post(client, "/v1/events", events=[event(f"c{i}", user=f"u{i}", article="N5") for i in range(3)])
        until(lambda: recommended(client, history=[], k=1, policy="front") == ["N5"])
        found = post(client, "/v1/recommend", history=[], k=5, policy="front")["articles"]
        assert [article["id"] for article in found] == ["N5", "N39", "N38", "N37", "N36"]  # N37 is sports
        assert {article["why"] for article in found} == {"popular"}
        limited = recommended(client, history=[], k=40, policy="front", where={"subcategory": "sub1"}, exclude=["N5"])
        assert {int(id[1:]) % 2 for id in limited} == {1}
        assert "N5" not in limited
        post(client, "/v1/recommend", 422, history=[], where={"nothing": 1}, policy="front")


def test_an_arm_is_a_model_and_a_policy_and_the_log_says_which(policed, tmp_path):
    settings = policed(("front", None), front=RULES["front"])
    settings = replace(settings, exports=settings.exports[:1] * 2, shares=(0.5, 0.5), log=tmp_path / "log")
    with serving(settings) as client:
        served = client.get("/v1/models").json()
        assert [(model["name"], model["share"]) for model in served["models"]] == [("fake-a", 1.0)]
        assert served["policies"][0]["share"] == 0.5
        answers = [post(client, "/v1/recommend", user=f"u{number}", history=["N1"]) for number in range(40)]
        of_policy = sum("policy" in answer for answer in answers)
        assert 5 < of_policy < 35
        again = [post(client, "/v1/recommend", user=f"u{number}", history=["N2"]) for number in range(40)]
        assert ["policy" in answer for answer in again] == ["policy" in answer for answer in answers]
        assert "policy" not in post(client, "/v1/recommend", user="u1", history=["N1"], policy="")
        version = served["policies"][0]["version"]
    lines = [json.loads(line) for path in (tmp_path / "log").iterdir() for line in path.read_text().splitlines()]
    logged = {line["id"]: (line.get("policy"), line.get("policy_version")) for line in lines}
    assert [logged[answer["id"]] for answer in answers] == [
        ("front", version) if "policy" in answer else (None, None) for answer in answers
    ]


def test_a_changed_file_and_new_articles_are_taken_over(policed, caplog):
    settings = policed(front={"pins": [{"article": "N5", "place": 1}]})

    def first():
        return recommended(client, history=["N1"], k=3, policy="front")[0]

    with serving(settings) as client:
        assert first() == "N5"
        body = {"title": "New", "category": "weather", "region": ["Funen", "Zealand"]}
        client.put("/v1/articles/new", json=body)
        write_policy(settings.policies["front"], pins=[{"article": "new", "place": 1}])
        until(lambda: first() == "new")
        write_policy(settings.policies["front"], pins=[{"article": "new", "place": 1}], quota=[])
        until(lambda: "Did you mean 'quotas'?" in caplog.text)
        assert first() == "new"
        floor = {"column": "region", "value": "Funen", "at_least": 1}
        write_policy(settings.policies["front"], floors=[floor])
        until(lambda: "new" in recommended(client, history=["N1"], k=2, policy="front"))
        client.delete("/v1/articles/new")
        until(lambda: post(client, "/v1/recommend", history=["N1"], policy="front")["relaxed"])


def test_a_file_that_fails_leaves_the_others_their_edits(policed, caplog, monkeypatch):
    names = ("first", "second", "third")
    settings = policed(**{name: {"pins": [{"article": "N5", "place": 1}]} for name in names})
    read = Policy.read

    def fails(path):
        if path.stem == "second":
            raise ZeroDivisionError("a bug")
        return read(path)

    with serving(settings) as client:
        monkeypatch.setattr(Policy, "read", fails)
        for name in names:
            write_policy(settings.policies[name], pins=[{"article": "N7", "place": 1}])
        for name, leads in zip(names, ("N7", "N5", "N7"), strict=True):
            until(lambda name=name, leads=leads: recommended(client, history=["N1"], k=1, policy=name) == [leads])
        until(lambda: "a bug" in caplog.text)
        assert "The policy second stays as it was: a bug" in caplog.text
        plan = policies.Plan
        monkeypatch.setattr(
            policies, "Plan", lambda policy, columns: plan(policy, "" if "N5" in str(policy) else columns)
        )
        client.put("/v1/articles/new", json={"title": "New"})
        write_policy(settings.policies["third"], pins=[{"article": "new", "place": 1}])
        until(lambda: recommended(client, history=["N1"], k=1, policy="third") == ["new"])
        assert recommended(client, history=["N1"], k=1, policy="second") == ["N5"]


@pytest.mark.parametrize("column", ["id", "published"])
def test_any_column_of_the_articles_may_be_named(policed, column):
    rules = {
        "quotas": [{"column": column, "at_most": 1}],
        "rerank": {"by": "calibrated", "column": column},
        "topics": {"share": "20%", "column": column},
    }
    with serving(policed(front=rules)) as client:
        assert len(recommended(client, history=["N1"], policy="front", topics=["N3"])) == 10


def test_a_policy_that_cannot_be_used_stops_the_start(policed):
    settings, failures = policed(front={"floors": [{"column": "region", "value": "Funen", "at_least": 1}]}), []
    from recommenders_miner.serving.service import Service

    service = Service(settings, FakeRecommender.load, failures.append)
    service.start()
    until(lambda: failures)
    service.stop()
    assert isinstance(failures[0], PolicyError)
    assert "articles have no column 'region'" in str(failures[0])
