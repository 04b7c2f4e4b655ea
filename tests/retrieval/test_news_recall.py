"""What models find in a pool, against their scores of all its news."""

from __future__ import annotations

import numpy as np
import pytest

from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.errors import HParamsError, NoVectorError, UnknownNewsError
from recommenders_miner.models.unbert import UNBERTClickPredictor
from recommenders_miner.retrieval import news_recall
from recommenders_miner.retrieval.news_recall import BEFORE_THE_LOGS, NewsRecall, first_seen
from tests.models.toy import IDS, some_slow, toy_log, toy_model, toy_news

HISTORIES = [[], IDS[:1], IDS[2:5], IDS[1:10]]
MINERS = [
    {"aggregation": mode, "category_weighting": weighting}
    for mode in ("weighted", "max", "mean")
    for weighting in (True, False)
]
named = {"ids": lambda v: str(v).replace("'", "")}


def assert_same(found, expected):
    """The same news with the same scores, in whichever order where scores are equal."""
    assert [score for _, score in found] == pytest.approx([score for _, score in expected], rel=1e-5, abs=1e-5)
    if expected:
        last = expected[-1][1] + 1e-4 * (1 + abs(expected[-1][1]))
        assert {news for news, score in found if score > last} == {news for news, score in expected if score > last}


def check(model, *ks, user=None, **options):
    """Checks that the pool's best are found, of every history."""
    recall = NewsRecall(model, toy_news(), **options)
    for history in HISTORIES:
        expected = model.recommend(history, k=max(ks), user=user)
        for k in ks:
            assert_same(recall.recommend(history, k, user=user), expected[:k])
    return recall


@pytest.mark.parametrize(
    "overrides", [MINERS[0], *(pytest.param(o, marks=pytest.mark.slow) for o in MINERS[1:])], **named
)
def test_category_finds_what_scoring_the_whole_pool_finds(overrides):
    assert check(toy_model("miner", **overrides), 1, 4, 40).strategy == "category"


@pytest.mark.parametrize("name", some_slow(["nrms", "naml", "lstur"], fast=["nrms"]))
def test_every_strategy_finds_the_best_of_a_dot_product(name):
    for strategy in ("auto", "multi", "category"):
        assert check(toy_model(name), 5, user="U1", strategy=strategy).rerank is None


@pytest.mark.parametrize(("strategy", "mode"), [("multi", "max"), ("average", "mean")])
def test_multi_is_miner_max_and_average_is_miner_mean(strategy, mode):
    check(toy_model("miner", aggregation=mode, category_weighting=False), 6, strategy=strategy)


def test_average_leaves_category_weights_out():
    model = toy_model("miner", aggregation="mean")
    users = model.userencoder.user_vectors(
        {"vector": model.encode_news(IDS[:4])["vector"][None]}, np.ones((1, 4), bool), 0
    )
    mean = np.array(users)[0].mean(axis=0)
    found = NewsRecall(model, toy_news(), "average").recommend(IDS[:4], 3)
    best = np.sort(model.encode_news(IDS[4:])["vector"] @ mean)[::-1][:3]
    assert [score for _, score in found] == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize(("name", "strategy"), [("hierec", "auto"), ("miner", "average"), ("miner", "multi")])
def test_reranking_the_whole_pool_is_scoring_it(name, strategy):
    check(toy_model(name), 5, user="U2", strategy=strategy, rerank=len(IDS))


def test_reranking_sorts_what_was_found_by_the_score_and_is_hierecs_way():
    model = toy_model("miner")
    found = [news for news, _ in NewsRecall(model, toy_news(), "average").recommend(IDS[:4], 6)]
    reranked = NewsRecall(model, toy_news(), "average", rerank=6).recommend(IDS[:4], 3)
    assert_same(reranked, model.recommend(IDS[:4], found, k=3))
    assert NewsRecall(toy_model("hierec"), toy_news()).rerank == news_recall.RERANKED
    assert NewsRecall(toy_model("hierec"), toy_news(), "average").rerank is None


def test_interests_in_turns_find_other_news_than_the_best():
    model = toy_model("miner")
    best, turns = (NewsRecall(model, toy_news(), "multi", in_turns=t).recommend(IDS[2:5], 6) for t in (False, True))
    assert turns[0] == best[0]
    assert len({news for news, _ in turns}) == 6


@pytest.mark.parametrize(
    ("name", "at_once"), some_slow([("nrms", 1), ("miner", 3), ("hierec", 3), ("lstur", 128)], fast=[("miner", 3)])
)
def test_a_log_is_searched_as_its_impressions_one_by_one(name, at_once, monkeypatch):
    monkeypatch.setattr(news_recall, "_USERS_AT_ONCE", at_once)
    model = toy_model(name)
    recall = NewsRecall(model, toy_news())
    log = toy_log(toy_news(), impressions=9)
    users = np.array(model.vocabularies.users.encode(log.users.to_pylist()), "int32")
    shares = []
    rows, scores = recall.search(log, users, 20, shares.append)
    assert rows.shape == scores.shape == (9, 20)
    assert shares[-1] == 1
    assert shares == sorted(shares)
    ids = np.array(toy_news().ids.to_pylist())
    for impression in range(len(log)):
        history = log.histories[log.history_of[impression]]
        user = log.users[int(log.user_of[impression])].as_py()
        found = rows[impression] > 0
        assert not set(rows[impression][found]) & set(history)
        assert (scores[impression][~found] == -np.inf).all()
        assert_same(
            list(zip(ids[rows[impression][found]], scores[impression][found], strict=True)),
            recall.recommend(ids[history].tolist(), 20, user),
        )


def test_users_who_share_a_history_are_searched_for_once(monkeypatch):
    recall = NewsRecall(toy_model("nrms"), toy_news())
    searched = []
    search = recall._pool.search
    monkeypatch.setattr(recall._pool, "search", lambda i, *a: searched.append(len(i)) or search(i, *a))
    log = toy_log(toy_news(), impressions=30)
    recall.search(log, np.zeros(len(log.users), "int32"), 3)
    assert sum(searched) == len(log.histories) < len(log)


def test_clicked_news_may_be_kept():
    model = toy_model("miner")
    kept = NewsRecall(model, toy_news(), keep_clicked=True).recommend(IDS[:4], 20)
    assert_same(kept, sorted(zip(IDS, model.score(IDS[:4], IDS).tolist(), strict=True), key=lambda pair: -pair[1]))


def test_first_seen_is_the_earliest_showing_in_any_log():
    news, other = (NewsTable.from_columns(ids=ids, titles=["title"] * len(ids)) for ids in ("ABCDEF", "CAZ"))
    earlier = ImpressionLog.from_columns(other, [["Z"], []], [["C", "A"], ["A"]], time=[50, 40])
    later = ImpressionLog.from_columns(news, [[], []], [["A", "B"], ["B", "F"]], time=[70, 60])
    never = BEFORE_THE_LOGS
    assert first_seen(news, [(later, news), (earlier, other)]).tolist() == [never, 40, 60, 50, never, never, 60]


@pytest.mark.parametrize("overrides", MINERS[:3], **named)
def test_news_of_the_future_and_old_ones_are_left_out(overrides):
    model = toy_model("miner", **overrides)
    day = 86_400
    first_seen = np.array([0, *np.random.default_rng(0).permutation(12)]) * day
    recall = NewsRecall(model, toy_news(), first_seen=first_seen, max_age_days=3)
    news = toy_news()
    days = [0, 5, 5, 8, 20, 11, 5]
    log = ImpressionLog.from_columns(
        news, [HISTORIES[d % 4] for d in days], [IDS[:2]] * len(days), time=[d * day for d in days]
    )
    rows, scores = recall.search(log, np.zeros(1, "int32"), 12)
    ids = news.ids.to_pylist()
    for impression, now in enumerate(days):
        history = HISTORIES[now % 4]
        pool = [ids[row] for row in range(1, 13) if 0 <= now - first_seen[row] // day <= 3]
        found = [(ids[row], s) for row, s in zip(rows[impression], scores[impression], strict=True) if row]
        assert_same(found, model.recommend(history, pool, k=12))
        assert {news_id for news_id, _ in found} == set(pool) - set(history)
    newest = model.recommend(HISTORIES[2], [ids[row] for row in range(1, 13) if first_seen[row] >= 8 * day])
    assert_same(recall.recommend(HISTORIES[2]), newest)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("npa", "NPAModel has no vectors.*depends on the user"),
        ("dkn", "depends on the candidate"),
        ("libfm", "terms of the candidate alone"),
        ("deepfm", "a network reads"),
    ],
)
def test_models_without_vectors_say_why(name, reason):
    with pytest.raises(NoVectorError, match=reason):
        NewsRecall(toy_model(name), toy_news())
    assert UNBERTClickPredictor.not_searchable


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategy": "best"}, "Unknown strategy 'best'"),
        ({"index": "lsh"}, "Unknown index 'lsh'"),
        ({"rerank": 0}, "at least 1"),
        ({"in_turns": True}, "goes with the strategy multi"),
        ({"max_age_days": 2}, "needs first_seen"),
    ],
)
def test_arguments_that_do_not_go_together_and_unknown_news_are_refused(arguments, message):
    with pytest.raises(HParamsError, match=message):
        NewsRecall(toy_model("nrms"), toy_news(), **arguments)
    with pytest.raises(UnknownNewsError, match="'N99'"):
        NewsRecall(toy_model("nrms"), toy_news()).recommend(["N99"])
