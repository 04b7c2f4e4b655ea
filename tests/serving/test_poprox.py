# ruff: noqa: F811
"""POPROX's protocol, by requests made by hand in its public schema."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.serving import poprox
from tests.serving.fake_recommender import FakeRecommender, made, quick, serving, shared  # noqa: F401
from tests.serving.test_server_policies import policed  # noqa: F401

REQUESTS = {path.stem: json.loads(path.read_text()) for path in Path(__file__).with_name("poprox").glob("*.json")}
SPORTS = {"column": "category", "value": "sports", "at_most": 1}


def answered(client, body, status=200, path="/v1/poprox"):
    answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def impressions(answer):
    [section] = answer["recommendations"]
    return section["impressions"]


def headlines(answer):
    return [impression["headline"] for impression in impressions(answer)]


def test_a_request_is_answered_from_the_articles_that_it_brings(made):
    with serving(made) as client:
        answer = answered(client, REQUESTS["v5"])
        assert answer.keys() == {"protocol_version", "request_id", "recommendations", "recommender"}
        assert (answer["protocol_version"], answer["request_id"]) == (poprox.V5, REQUESTS["v5"]["request_id"])
        assert answer["recommender"]["hash"] in ("fake-a", "fake-b")
        sent = {article["article_id"]: article for article in REQUESTS["v5"]["candidates"]["articles"]}
        model = FakeRecommender("any")
        history = [click["article_id"] for click in REQUESTS["v5"]["interest_profile"]["click_history"]]
        scores = dict(zip(sent, model.score(history[::-1], sent).tolist(), strict=True))  # by time, the newest last
        best = sorted(scores, key=lambda id: -scores[id])[:4]
        assert [impression["article"] for impression in impressions(answer)] == [sent[id] for id in best]
        assert [impression["position"] for impression in impressions(answer)] == [1, 2, 3, 4]
        assert impressions(answer)[0]["extra"]["score"] == pytest.approx(scores[best[0]])
        assert impressions(answer)[0]["subhead"] == sent[best[0]]["subhead"]
        assert len({impression["impression_id"] for impression in impressions(answer)}) == 4
        assert client.get("/v1/articles").json()["total"] == 40  # they are not in the lists of others
        packed = gzip.compress(json.dumps(REQUESTS["v5"]).encode())
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        assert headlines(client.post("/v1/poprox", content=packed, headers=headers).json()) == headlines(answer)
        for wrong in (b"not gzip", gzip.compress(bytes(6_000_000))):
            assert client.post("/v1/poprox", content=wrong, headers=headers).status_code in (400, 413)


def test_a_policy_arranges_what_the_platform_sends(policed):
    rules = {"quotas": [SPORTS], "topics": {"share": "25%"}, "shown": 1, "same_story": 0.9}
    with serving(policed(front=rules, near={"pins": [{"article": "N1", "place": 1}]})) as client:
        answer = answered(client, REQUESTS["v5"], path="/v1/poprox?pipeline=front")
        assert "Telescope finds a young planet" in headlines(answer)  # Science is named
        assert not {"Rookie pitcher stuns the league", "Central bank holds rates"} & {*headlines(answer)}  # shown
        assert answer["recommender"]["name"] == "front"
        assert {
            impression["extra"]["moved"]["rule"] for impression in impressions(answer) if impression["extra"]["moved"]
        }
        answered(client, REQUESTS["v5"], path="/v1/poprox?pipeline=near")
        figures = client.get("/metrics").text
        assert 'policy_lists_total{policy="front"} 1.0' in figures
        assert 'policy_relaxations_total{policy="near",rule="N1 at place 1"} 1.0' in figures
        assert "there is no back" in answered(client, REQUESTS["v5"], 422, "/v1/poprox?pipeline=back")["detail"]
        warm = client.get("/v1/poprox/warmup")
        assert (warm.json(), warm.headers["poprox-protocol-version"]) == (["front", "near"], poprox.V5)


def test_clicks_count_in_the_order_of_time_and_topics_in_that_of_relevance():
    request = poprox.Request.model_validate(REQUESTS["v5"])
    assert request.history()[-1] == REQUESTS["v5"]["interest_profile"]["click_history"][0]["article_id"]
    assert request.topics() == ["Science", "science"]
    row = request.to_choose_from()[0].as_row()
    assert (row["category"], row["topics"], row["published"]) == ("sports", ["Sports", "Business"], 1772359200)
    assert len(request.to_choose_from()) == 8  # one was there twice


def test_the_default_package_has_the_candidates_of_protocol_6(made):
    with serving(made) as client:
        answer = answered(client, REQUESTS["v6"])
        assert answer["protocol_version"] == poprox.V6
        [default, _] = REQUESTS["v6"]["article_packages"]
        ids = {impression["article"]["article_id"] for impression in impressions(answer)}
        assert ids == {*default["article_ids"]}
        for change in (
            {"default_package_id": REQUESTS["v6"]["request_id"]},
            {"articles": REQUESTS["v6"]["articles"][:2]},
            {"protocol_version": poprox.V5},
            {"protocol_version": "1.1-2024-08-08"},
            {"num_recs": 0},
        ):
            assert "detail" in answered(client, REQUESTS["v6"] | change, 422)


def changed_candidates(request, **fields):
    """Return a request whose candidates all have other fields."""
    articles = [article | fields for article in request["candidates"]["articles"]]
    return request | {"candidates": {"articles": articles}}


def test_a_default_package_that_is_listed_twice_counts_once(made):
    twice = REQUESTS["v6"] | {"article_packages": REQUESTS["v6"]["article_packages"] * 2}
    with serving(made) as client:
        assert headlines(answered(client, twice)) == headlines(answered(client, REQUESTS["v6"]))


_PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
_VALUES = st.recursive(_PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@settings(max_examples=60, deadline=None)
@given(_VALUES, st.text(min_size=1), st.sampled_from([0, 20, 60, 110, 240, 252, 300, 900]), st.booleans())
def test_further_fields_come_back_or_are_refused(shared, extra, key, deep, half):
    for _ in range(deep):
        extra = [extra]
    if half:
        key, extra = (key + "\ud800", extra) if deep % 40 else (key, [extra, "\udc00"])
    field = {"further": {key: extra}}
    body = json.dumps(changed_candidates(REQUESTS["v5"], **field))  # in ASCII, which can name half of a pair
    answer = shared.post("/v1/poprox", content=body, headers={"Content-Type": "application/json"})
    if half or deep > 100:
        assert answer.status_code == 422
        said = answer.json()["detail"]
        assert "candidates.articles.0: " in said
        assert "surrogate" in said or "nested" in said
    else:
        assert answer.status_code == 200, answer.text
        assert all(impression["article"].items() >= field.items() for impression in impressions(answer.json()))


def test_articles_are_scored_as_they_are_now():
    class ByTitle(FakeRecommender):
        def score(self, history, candidates, *, user=None):
            return super().score(history, [self.article(id)["title"] for id in candidates])

    model, answerer = ByTitle("any"), poprox.Answerer()
    model.add_articles([{"id": "own", "title": "Not in a request"}])

    def scores(body):
        answer, _ = answerer.answer(poprox.Request.model_validate(body), model, None)
        return {one["article"]["article_id"]: one["extra"]["score"] for one in impressions(answer)}

    request = REQUESTS["v5"] | {"num_recs": 20}
    before = scores(request)
    assert scores(request) == before
    corrected = scores(changed_candidates(request, headline="Corrected"))
    assert len({*corrected.values()}) == 1
    [own, *_] = before
    model.add_articles([{"id": own, "title": "Put"}])
    scores(request)
    model.add_articles([{"id": own, "title": "Corrected"}])
    again = scores(request)
    assert again.pop(own) == pytest.approx(corrected[own])
    assert again == {id: score for id, score in before.items() if id != own}


def test_an_article_that_is_removed_meanwhile_is_taken_as_it_was_sent():
    class Vanishing(FakeRecommender):
        def __contains__(self, id):
            is_there = super().__contains__(id)
            self.remove([id])
            return is_there

        def apart(self):
            return FakeRecommender(self.name)

    request = poprox.Request.model_validate(REQUESTS["v5"])
    model = Vanishing("any")
    model.add_articles([{"id": str(article.article_id), "title": "Put"} for article in request.to_choose_from()])
    answer, _ = poprox.Answerer().answer(request, model, None)
    assert len(impressions(answer)) == 4


def test_without_clicks_the_newest_lead(made):
    with serving(made) as client:
        answer = answered(client, REQUESTS["no_clicks"])
        newest = [article["headline"] for article in REQUESTS["no_clicks"]["candidates"]["articles"]][::-1]
        assert headlines(answer) == newest
        assert not answer["recommendations"][0]["personalized"]


def test_without_articles_the_list_is_empty(policed):
    empty = REQUESTS["v5"] | {"candidates": {"articles": []}, "interacted": {"articles": []}}
    with serving(policed(front={"quotas": [SPORTS], "same_story": 0.9, "rerank": {"by": "mmr"}})) as client:
        for path in ("/v1/poprox", "/v1/poprox?pipeline=front"):
            assert impressions(answered(client, empty, path=path)) == []


def test_it_asks_for_the_token(made):
    with serving(replace(made, token="secret")) as client:
        answered(client, REQUESTS["v5"], 401)
