# ruff: noqa: F811
from __future__ import annotations

import json
import time
from dataclasses import replace
from itertools import count
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.serving import loading
from recommenders_miner.serving.catalog import Card, Catalog
from recommenders_miner.serving.slots import Arm, Slot, arm_of
from recommenders_miner.serving.store import StoreError, open_store
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
    write_news,
)

# === Recommending ===


def test_a_user_gets_what_the_model_makes_of_the_clicks_in_the_store(client, tmp_path):
    post(client, "/v1/events", events=[event("e1", article="N1", time=5), event("e2", article="N7", time=6)])
    answer = post(client, "/v1/recommend", user="u1", k=3)
    model = FakeRecommender("any")
    model.add_articles([{"id": f"N{i}"} for i in range(40)])
    best = model.recommend(["N1", "N7"], 3)
    assert [(article["id"], article["score"]) for article in answer["articles"]] == best
    assert answer["articles"][0].keys() == {"id", "score", "title", "category", "why"}
    assert {article["why"] for article in answer["articles"]} == {"model"}
    assert recommended(client, history=["N1", "gone", "N7"], k=3) == [id for id, _ in best]
    assert recommended(client, user="u1", history=["N1"], k=3) == recommended(client, history=["N1"], k=3)


@pytest.mark.parametrize("history", [["N1"], []], ids=["known", "cold"])
def test_limits_hold_for_all(client, history):
    now = time.time()
    for id, age in (("fresh", 60), ("old", 7200)):
        body = {"title": "Wind", "category": "weather", "published": now - age, "lang": "da"}
        assert client.put(f"/v1/articles/{id}", json=body).status_code == 200
    assert recommended(client, history=history, max_age=3600) == ["fresh"]
    assert set(recommended(client, history=history, where={"lang": ["da", "sv"]})) == {"fresh", "old"}
    assert set(recommended(client, history=history, where={"lang": "da"}, exclude=["old"])) == {"fresh"}
    found = recommended(client, history=history, k=1000, exclude=["fresh", "old", "N3"])
    assert set(found) == {f"N{i}" for i in range(40)} - {"N3", *history}


def test_a_user_without_known_clicks_gets_what_is_popular_now_then_the_newest(client):
    events = [event(f"c{i}", user=f"u{i}", article="N5") for i in range(3)]
    events += [event("c9", article="N6"), event("old", article="N7", time=1000), event("s", article="N8", type="shown")]
    post(client, "/v1/events", events=events)
    until(lambda: recommended(client, history=[], k=2) == ["N5", "N6"])
    answer = post(client, "/v1/recommend", user="nobody", k=4)
    assert [article["id"] for article in answer["articles"]] == ["N5", "N6", "N39", "N38"]
    assert [article["score"] for article in answer["articles"]] == [1, 1 / 2, 1 / 3, 1 / 4]
    assert {article["why"] for article in answer["articles"]} == {"popular"}
    assert recommended(client, history=["gone"], k=1) == ["N5"]
    post(client, "/v1/recommend", 422, history=[], where={"nothing": 1})


def test_exploration_takes_places_for_fresh_articles_with_few_showings(made):
    with serving(replace(made, explore=1.0)) as client:
        shown = [event(f"s{i}", article=f"N{i}", type="shown") for i in range(2, 40)]
        post(client, "/v1/events", events=shown)
        until(lambda: set(recommended(client, history=[], k=2)) == {"N0", "N1"})
        assert {article["why"] for article in post(client, "/v1/recommend", history=[])["articles"]} == {"explored"}
    with serving(replace(made, explore=0.5)) as client:
        reasons = [article["why"] for article in post(client, "/v1/recommend", history=[], k=1000)["articles"]]
        assert 5 < reasons.count("explored") < 35
        assert len(reasons) == 40


# === Which model ===


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(min_size=1), min_size=1, unique=True), st.lists(st.integers(1, 9), min_size=2, max_size=4))
def test_a_user_is_always_answered_by_the_same_model(users, parts):
    shares = [part / sum(parts) for part in parts]
    arms = [Arm(Slot(Path("export")), share) for share in shares]
    # The first model's share grows by half of the others'.
    grown = [Arm(Slot(Path("export")), share / 2 + (place == 0) / 2) for place, share in enumerate(shares)]
    for user in users:
        place = arms.index(arm_of(arms, user, []))
        assert arms.index(arm_of(arms, user, ["clicks"])) == place
        assert grown.index(arm_of(grown, user, [])) <= place


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.02, 0.98))
def test_a_model_answers_its_share_of_users(seed, share):
    arms = [Arm(Slot(Path("export")), share), Arm(Slot(Path("export")), 1 - share)]
    users = 2000
    answered = sum(arm_of(arms, f"{seed}-{user}", []) is arms[0] for user in range(users))
    assert abs(answered - users * share) < 6 * (users * share * (1 - share)) ** 0.5


def test_models_can_be_asked_by_name(shared):
    listed = shared.get("/v1/models").json()["models"]
    assert listed == [
        {"name": "fake-a", "kind": "fake", "share": 0.9, "history": 50},
        {"name": "fake-b", "kind": "fake", "share": 0.1, "history": 50},
    ]
    for name in ("fake-a", "fake-b"):
        assert post(shared, "/v1/recommend", user="u1", model=name)["model"] == name
    found = {post(shared, "/v1/recommend", user=f"u{i}")["model"] for i in range(50)}
    assert found == {"fake-a", "fake-b"}
    assert "fake-a, fake-b" in post(shared, "/v1/recommend", 422, user="u1", model="other")["detail"]


def test_a_new_model_takes_over_and_one_that_fails_does_not(made, caplog):
    def names():
        return [model["name"] for model in client.get("/v1/models").json()["models"]]

    with serving(made) as client:
        client.put("/v1/articles/new", json={"title": "New"})
        client.delete("/v1/articles/N1")
        write_export(made.exports[0], "fake-c")
        until(lambda: names() == ["fake-c", "fake-b"])
        assert set(recommended(client, history=["N2"], model="fake-c", k=1000)) == {
            *(f"N{i}" for i in range(40) if i not in (1, 2)),
            "new",
        }
        write_export(made.exports[1], "fake-d", fails="its files are half there")
        until(lambda: "its files are half there" in caplog.text)
        assert names() == ["fake-c", "fake-b"]
        write_export(made.exports[1], "fake-e")
        until(lambda: names() == ["fake-c", "fake-e"])
        assert 'reloads_total{outcome="failed"}' in client.get("/metrics").text


# === Events and users ===


def test_events_count_once_and_a_user_can_be_seen_and_forgotten(client):
    events = [event("e1", article="N1", time=10), event("e2", article="N2", time=5), event("e3", type="shown")]
    assert post(client, "/v1/events", events=events) == {"recorded": 3, "repeated": 0}
    again = [*events, event("e4", article="N3", time=20.7, answer="a1"), event("e4", article="N3", time=20.7)]
    assert post(client, "/v1/events", events=again) == {"recorded": 1, "repeated": 4}
    clicks = [{"article": "N2", "time": 5}, {"article": "N1", "time": 10}, {"article": "N3", "time": 20}]
    assert client.get("/v1/users/u1").json() == {"user": "u1", "clicks": clicks}
    assert client.delete("/v1/users/u1").json() == {"user": "u1", "forgotten": 3}
    assert client.get("/v1/users/u1").json() == {"user": "u1", "clicks": []}


def test_an_event_is_of_now_by_default_and_models_are_told(made):
    models = []

    def load(*arguments):
        models.append(FakeRecommender.load(*arguments))
        return models[-1]

    with serving(made, load) as client:
        before = int(time.time())
        post(client, "/v1/events", events=[event("e1"), event("e2", type="shown"), event("e1")])
        [click] = client.get("/v1/users/u1").json()["clicks"]
        assert before <= click["time"] <= time.time()
    for model in models:
        assert [(user, article, is_click) for user, article, _, is_click in model.recorded] == [
            ("u1", "N1", True),
            ("u1", "N1", False),
        ]


def test_what_is_served_is_logged(made, tmp_path):
    with serving(replace(made, log=tmp_path / "log")) as client:
        post(client, "/v1/events", events=[event("e1", time=5, answer="a0")])
        answer = post(client, "/v1/recommend", user="u1", k=2)
        client.put("/v1/articles/new", json={"title": "New", "kind": "a column", "lang": "da"})
        client.delete("/v1/articles/new")
    [file] = (tmp_path / "log").iterdir()
    logged = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["kind"] for line in logged] == ["event", "answer", "article"]
    assert logged[0] == {"kind": "event", **event("e1", time=5, answer="a0")}
    articles = [article["id"] for article in answer["articles"]]
    expected = {"id": answer["id"], "user": "u1", "history": ["N1"], "articles": articles, "model": answer["model"]}
    assert logged[1].items() >= {**expected, "why": ["model", "model"]}.items()
    assert logged[2].items() >= {"id": "new", "title": "New", "lang": "da"}.items()


# === Articles ===


def test_an_article_is_put_found_replaced_and_removed(client):
    body = {"title": "Blåbær i haven", "category": "garden", "subcategory": "berries", "published": 1e9, "lang": "da"}
    assert client.put("/v1/articles/a/b%20c", json=body).status_code == 422
    first = client.put("/v1/articles/a/b", json={**body, "id": "a/b"}).json()
    listed = {"id": "a/b", "title": body["title"], "category": "garden", "subcategory": "berries", "published": 1e9}
    found = client.get("/v1/articles", params={"q": "HAVEN blåbær"}).json()
    assert found == {"total": 1, "articles": [listed], "categories": ["garden", "news", "sports", "weather"]}
    assert recommended(client, history=["N1"], where={"lang": "da"}) == ["a/b"]
    second = client.put("/v1/articles/a%2Fb", json={"title": "Jordbær"}).json()
    assert second["change"] > first["change"]
    assert client.get("/v1/articles", params={"q": "blåbær"}).json()["total"] == 0
    assert client.delete("/v1/articles/a/b").status_code == 200
    assert client.get("/v1/articles", params={"q": "jordbær"}).json()["total"] == 0
    assert client.delete("/v1/articles/a/b").status_code == 200
    found = client.get("/v1/articles", params={"category": "sports", "limit": 2}).json()
    assert (found["total"], [article["id"] for article in found["articles"]]) == (13, ["N37", "N34"])


def test_nothing_changes_where_a_model_or_the_store_refuses_an_article(client, monkeypatch):
    client.put("/v1/articles/x", json={"title": "Draft"})
    assert client.put("/v1/articles/x", json={"title": "Final", "unreadable": 1}).status_code == 422
    assert client.put("/v1/articles/y", json={"title": "Final", "id": "z"}).status_code == 422

    def full(*arguments):
        raise StoreError("the disk is full")

    monkeypatch.setattr("recommenders_miner.serving.store.SQLiteStore.put_article", full)
    answer = client.put("/v1/articles/x", json={"title": "Final"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert client.put("/v1/articles/y", json={"title": "Final"}).status_code == 503
    monkeypatch.undo()
    assert client.get("/v1/articles", params={"q": "draft"}).json()["total"] == 1
    assert client.get("/v1/articles", params={"q": "final"}).json()["total"] == 0


def test_what_another_process_changes_is_taken_over(made, client, caplog):
    store = open_store(made.store)
    store.put_article("other", {"id": "other", "title": "From elsewhere"})
    until(lambda: client.get("/v1/articles", params={"q": "elsewhere"}).json()["total"] == 1)
    store.put_article("bad", {"id": "bad", "title": "Cannot be read elsewhere", "unreadable": 1})
    store.put_article("good", {"id": "good", "title": "Can be read elsewhere"})
    until(lambda: client.get("/v1/articles", params={"q": "elsewhere"}).json()["total"] == 2)
    assert "Article bad" in caplog.text
    store.put_article("other", None)
    until(lambda: client.get("/v1/articles", params={"q": "elsewhere"}).json()["total"] == 1)
    with serving(made) as later:
        assert later.get("/v1/articles", params={"q": "elsewhere"}).json()["total"] == 1
    store.close()


_ROWS = st.fixed_dictionaries(
    {"title": st.text("aAbBéÉ ", max_size=8), "category": st.sampled_from(["x", "y", ""])},
    optional={"published": st.integers(1, 5)},
)
_CHANGES = st.lists(st.dictionaries(st.sampled_from("abcdefgh"), st.none() | _ROWS, max_size=6), max_size=8)


@settings(max_examples=60, deadline=None)
@given(_CHANGES, st.text("aAbBéÉ ", max_size=4), st.none() | st.sampled_from(["x", "y"]), st.sampled_from([0, 1000]))
def test_the_catalog_is_what_its_changes_make_of_it(changes, words, category, many):
    catalog, rows, arrival, arrivals = Catalog(), {}, {}, count()
    for change in changes:
        cards = {id: None if row is None else Card.of({"id": id, **row}) for id, row in change.items()}
        with patch("recommenders_miner.serving.catalog._MANY", many):
            catalog.change(cards)
        for id, row in change.items():
            rows.pop(id, None)
            if row is not None:
                rows[id], arrival[id] = row, next(arrivals)
    newest = sorted(rows, key=lambda id: (rows[id].get("published", 0), arrival[id]), reverse=True)
    assert [entry.card.id for entry in catalog.newest()] == newest
    expected = [
        id
        for id in newest
        if category in (None, rows[id]["category"])
        and all(word in rows[id]["title"].casefold() for word in words.casefold().split())
    ]
    total, cards = catalog.search(words, category, 3)
    assert (total, [card.id for card in cards]) == (len(expected), expected[:3])
    assert catalog.categories() == sorted({row["category"] for row in rows.values()} - {""})
    assert len(catalog) == len(rows)


def test_processes_share_a_snapshot_that_is_brought_up_to_date(made, tmp_path, monkeypatch):
    made, added = replace(made, snapshot=tmp_path / "snapshot"), []

    class Counting(FakeRecommender):
        def add_articles(self, rows):
            rows = list(rows)
            added.append(len(rows))
            super().add_articles(rows)

        @classmethod
        def load(cls, export, snapshot=None):
            model = super().load(export, snapshot)
            added.clear()
            return model

    with serving(made, Counting.load) as client:
        client.put("/v1/articles/new", json={"title": "New"})
    with serving(made, Counting.load) as client:  # one article is encoded, in the process that comes first
        assert client.get("/v1/articles", params={"limit": 1}).json()["total"] == 41
    read = loading.read_news
    monkeypatch.setattr(loading, "read_news", lambda path: pytest.fail("the news are read again"))
    with serving(made, Counting.load) as client:
        assert client.get("/v1/articles", params={"limit": 1}).json()["total"] == 41
        assert added == []
    monkeypatch.setattr(loading, "read_news", read)
    write_news(made.news, 42)
    with serving(made, Counting.load) as client:
        assert client.get("/v1/articles", params={"limit": 1}).json()["total"] == 43
    write_export(made.exports[0], "fake-c")
    with serving(made, Counting.load) as client:
        assert client.get("/v1/models").json()["models"][0]["name"] == "fake-c"
    assert len([path for path in (tmp_path / "snapshot").iterdir() if path.is_dir()]) == 2


# === Explanations ===


def test_explain_and_map_are_the_models(shared):
    answer = post(shared, "/v1/explain", history=["N1", "gone"], articles=["N2", "N3"])
    assert [article["id"] for article in answer["candidates"]] == ["N2", "N3"]
    assert answer["candidates"][0].keys() >= {"score", "interests", "influence", "clicked", "title", "category"}
    assert [article["id"] for article in answer["history"]] == ["N1"]
    assert "gone" in post(shared, "/v1/explain", 404, history=["N1"], articles=["N2", "gone"])["detail"]
    answer = post(shared, "/v1/map", history=["N1"], limit=5)
    assert len(answer["articles"]) == 5
    assert answer["interests"] == [{"name": "user", "x": 0, "y": 0}]
