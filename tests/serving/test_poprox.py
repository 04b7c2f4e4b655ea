# ruff: noqa: F811
"""POPROX's protocol, by requests made by hand in its public schema."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from recommenders_miner.serving import poprox
from tests.serving.fake_recommender import FakeRecommender, made, quick, serving  # noqa: F401
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
