import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score, roc_auc_score

from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.evaluation import metrics
from recommenders_miner.evaluation.metrics import (
    DEFAULT_METRICS,
    cold_candidates,
    evaluate_cold,
    evaluate_recall,
    evaluate_scores,
    impression_metrics,
    list_metrics,
    mean_ranks,
    rank_candidates,
)


def ranks_of(scores):
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    return [order.index(i) + 1 for i in range(len(scores))]


def reference_metrics(scores, labels, cutoffs=(5, 10)):
    clicks = [s for s, y in zip(scores, labels, strict=True) if y]
    others = [s for s, y in zip(scores, labels, strict=True) if not y]
    if not clicks or not others:
        return None
    ranks = ranks_of(scores)
    pairs = [1.0 if c > o else 0.5 if c == o else 0.0 for c in clicks for o in others]
    result = {
        "group_auc": sum(pairs) / len(pairs),
        "mean_mrr": sum(1 / r for r, y in zip(ranks, labels, strict=True) if y) / len(clicks),
    }
    for k in cutoffs:
        dcg = sum((2**y - 1) / math.log2(r + 1) for r, y in zip(ranks, labels, strict=True) if r <= k)
        ideal = sum((2**y - 1) / math.log2(i + 2) for i, y in enumerate(sorted(labels, reverse=True)[:k]))
        result[f"ndcg@{k}"] = dcg / ideal
        found = [r for r, y in zip(ranks, labels, strict=True) if y and r <= k]
        result[f"mrr@{k}"] = sum(1 / r for r in found) / len(clicks)
        result[f"recall@{k}"] = len(found) / len(clicks)
        result[f"hit@{k}"] = float(bool(found))
    return result


def flatten(impressions):
    """[(scores, labels), …] -> flat scores, labels and offsets, which nothing may write to."""
    scores = Ragged.of_lists([scores for scores, _ in impressions], "float64")
    arrays = scores.values, Ragged.of_lists([labels for _, labels in impressions], "int8").values, scores.offsets
    for array in arrays:
        array.setflags(write=False)
    return arrays


# Few distinct values, so that ties abound; and huge, tiny and signed ones, so that the order is exact.
tied_scores = st.sampled_from([-1e300, -2.0, -0.0, 0.0, 5e-324, 0.1, 0.30000000000000004, 0.3, 7.0, 1e300])


@st.composite
def impression(draw, score=tied_scores):
    candidates = draw(st.lists(st.tuples(score, st.integers(0, 1)), max_size=25))
    return [s for s, _ in candidates], [y for _, y in candidates]


@given(st.lists(impression(), max_size=12))
@settings(max_examples=60, deadline=None)
def test_every_impression_and_the_means_agree_with_the_plain_definition(impressions):
    scores, labels, offsets = flatten(impressions)
    results = impression_metrics(scores, labels, offsets)
    assert list(results) == list(DEFAULT_METRICS)
    references = [reference_metrics(*one) for one in impressions]
    for name, found in results.items():
        expected = [np.nan if one is None else one[name] for one in references]
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    ranks = rank_candidates(Ragged(scores, offsets))
    assert ranks.dtype == np.int32
    assert ranks.tolist() == [rank for scores, _ in impressions for rank in ranks_of(scores)]

    counted = [one for one in references if one is not None]
    if not counted:
        with pytest.raises(ValueError, match="No metric is defined"):
            evaluate_scores(scores, labels, offsets)
        return
    evaluation = evaluate_scores(scores, labels, offsets)
    assert (evaluation.num_impressions, evaluation.num_left_out) == (len(counted), len(impressions) - len(counted))
    for name in DEFAULT_METRICS:
        values = [one[name] for one in counted]
        assert evaluation.metrics[name] == pytest.approx(np.mean(values))
        error = np.std(values, ddof=1) / math.sqrt(len(values)) if len(values) > 1 else np.nan
        assert evaluation.standard_errors[name] == pytest.approx(error, abs=1e-9, nan_ok=True)


@given(st.lists(impression().filter(lambda one: one[0]), min_size=1, max_size=8), st.integers(1, 12), st.data())
@settings(max_examples=30, deadline=None)
def test_lists_that_lack_candidates_agree_with_the_plain_definition(impressions, k, data):
    labels = [labels for _, labels in impressions]
    ids = [f"N{i}" for i in range(25)]
    news = NewsTable.from_columns(ids, ids)
    log = ImpressionLog.from_columns(news, [[]] * len(labels), [ids[: len(one)] for one in labels], labels)
    listed = [data.draw(st.permutations(range(len(one)))) for one in labels]
    listed = [order[: data.draw(st.integers(0, len(order)))] for order in listed]
    starts = log.candidates.offsets[:-1].tolist()
    slots = Ragged.of_lists([[start + i for i in order] for start, order in zip(starts, listed, strict=True)], "int64")
    found = list_metrics(slots, log, k)
    for place, (order, one) in enumerate(zip(listed, labels, strict=True)):
        if sum(one) in (0, len(one)):
            assert np.isnan(found[f"ndcg@{k}"][place])
            assert np.isnan(found[f"clicks@{k}"][place])
            continue
        gain = sum(one[i] / math.log2(rank + 1) for rank, i in enumerate(order[:k], start=1))
        ideal = sum(y / math.log2(rank + 1) for rank, y in enumerate(sorted(one, reverse=True)[:k], start=1))
        assert found[f"ndcg@{k}"][place] == pytest.approx(gain / ideal)
        assert found[f"clicks@{k}"][place] == sum(one[i] for i in order[:k])


@given(st.lists(impression(), max_size=8), st.lists(st.integers(1, 40), min_size=1, max_size=3))
@settings(max_examples=15, deadline=None)
def test_metrics_at_any_cutoff_agree_with_the_plain_definition(impressions, cutoffs):
    kinds = ["recall", "mrr", "hit", "ndcg"]
    joined = ";".join(map(str, cutoffs))
    results = impression_metrics(*flatten(impressions), [f"{kind}@{joined}" for kind in kinds])
    assert set(results) == {f"{kind}@{k}" for kind in kinds for k in cutoffs}
    references = [reference_metrics(*one, cutoffs) for one in impressions]
    for name, found in results.items():
        expected = [np.nan if one is None else one[name] for one in references]
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_a_cutoff_beyond_all_candidates_changes_nothing():
    log = np.array([0.1, 0.9, 0.5, 0.2]), np.array([1, 0, 1, 0]), np.array([0, 4])
    found = {name: value[0] for name, value in impression_metrics(*log, ["mean_mrr", "mrr@9", "recall@9"]).items()}
    assert found == pytest.approx({"mean_mrr": (1 / 2 + 1 / 4) / 2, "mrr@9": (1 / 2 + 1 / 4) / 2, "recall@9": 1})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_agrees_with_scikit_learn_where_the_definitions_do(dtype):
    rng = np.random.default_rng(0)
    rows = Ragged.of_lengths(np.empty(0), rng.integers(11, 60, size=40))
    count, starts = rows.offsets[-1], rows.offsets[:-1]
    labels = (rng.random(count) < 0.2).astype(np.int8)
    labels[starts], labels[starts + 1] = 1, 0
    distinct, tied = rng.permutation(count).astype(dtype), np.round(rng.random(count), 1).astype(dtype)
    ndcg = impression_metrics(distinct, labels, rows.offsets, ["ndcg@5", "ndcg@10"])
    auc = impression_metrics(tied, labels, rows.offsets, ["group_auc"])["group_auc"]
    for i, (start, stop) in enumerate(zip(starts, rows.offsets[1:], strict=True)):
        assert auc[i] == pytest.approx(roc_auc_score(labels[start:stop], tied[start:stop]))
        for k in (5, 10):
            expected = ndcg_score([labels[start:stop]], [distinct[start:stop]], k=k)
            assert ndcg[f"ndcg@{k}"][i] == pytest.approx(expected)


def test_recommenders_spelling_of_several_cutoffs():
    log = np.array([0.1, 0.9, 0.5]), np.array([1, 0, 0]), np.array([0, 3])
    both = impression_metrics(*log, ["group_auc", "mean_mrr", "ndcg@1;5;10"])
    assert list(both) == ["group_auc", "mean_mrr", "ndcg@1", "ndcg@5", "ndcg@10"]
    assert both["ndcg@1"][0] == 0
    assert both["ndcg@10"][0] == pytest.approx(1 / math.log2(4))


@pytest.mark.parametrize(
    "name", ["auc", "ndcg", "ndcg@", "ndcg@0", "ndcg@5;", "ndcg@five", "mrr", "hit@", "recall@0", "hits@5", "", None]
)
def test_unknown_metric_names_the_known_ones_and_none_at_all_is_an_error(name):
    names, message = ([], "at least one metric") if name is None else (["group_auc", name], "known ones are group_auc,")
    with pytest.raises(ValueError, match=message):
        evaluate_scores(np.zeros(2), np.array([0, 1]), np.array([0, 2]), names)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_counted_and_located(bad):
    scores, offsets = np.array([0.0, 1.0, bad, 2.0, bad, bad]), np.array([0, 2, 2, 4, 6])
    pattern = r"3 of 6 scores are NaN or infinite, in 2 impressions \(counted from 0: 2, 3\)"
    with pytest.raises(ValueError, match=pattern):
        evaluate_scores(scores, np.zeros(6, np.int8), offsets)
    with pytest.raises(ValueError, match=r"in 9 impressions \(counted from 0: 0, 1, 2, 3, 4, …\)"):
        rank_candidates(Ragged(np.full(9, bad), np.arange(10)))


@pytest.mark.parametrize(
    ("scores", "labels", "offsets", "message"),
    [
        ([0, 0, 0, 0], [0, 1, -1, -1], [0, 2, 4], "2 of 4 candidates, the first in impression 1 .*write a submission"),
        ([0, 0], [0, 2], [0, 2], "Labels must be 0 or 1.*: 2"),
        ([0, 0, 0], [0, 0], [0, 2], "3 scores, but the offsets end at 2"),
        ([0, 0], [0, 0, 0], [0, 2], "2 scores, but the labels have the shape"),
    ],
)
def test_labels_and_lengths_that_disagree_are_refused(scores, labels, offsets, message):
    with pytest.raises(ValueError, match=message):
        evaluate_scores(np.array(scores, "float32"), np.array(labels, np.int8), np.array(offsets, np.int64))


def table(*ids):
    return NewsTable.from_columns(ids=ids, titles=["title"] * len(ids))


NEWS = table("new1", "listed", "shown", "new2", "clicked")


def log(candidates, labels):
    return ImpressionLog.from_columns(NEWS, [[]] * len(candidates), candidates, labels)


def cold_of(dev):
    news = table("shown", "clicked", "listed")
    training_log = ImpressionLog.from_columns(news, histories=[["clicked"]], candidates=[["shown"]], labels=[[1]])
    return cold_candidates(dev, NEWS, training_log, news)


def test_cold_is_what_training_neither_showed_nor_had_clicked():
    dev = log([["new1", "shown", "listed"], ["clicked", "new2"]], [[0, 0, 1], [1, 0]])
    assert cold_of(dev).tolist() == [True, False, True, False, True]


def test_only_cold_news_count_and_only_where_a_click_and_a_non_click_are_cold():
    dev = log(
        [["new1", "new2", "shown", "clicked"], ["new1", "shown"], ["shown", "clicked"], ["new1", "listed", "new2"]],
        [[1, 0, 0, 1], [1, 0], [1, 0], [0, 1, 0]],
    )
    scores = np.array([0.2, 0.1, 9.0, -9.0, 0.0, 1.0, 0.0, 1.0, 0.5, 0.4, 0.3], "float32")
    found = evaluate_cold(scores, dev, cold_of(dev))
    # Impression 1 has one pair, in order; impression 4 two, one of them in order.
    assert found.metrics == {"cold_auc": pytest.approx((1.0 + 0.5) / 2)}
    assert found.num_impressions == 2
    dev = log([["new1", "shown"], ["shown", "clicked"]], [[1, 0], [1, 0]])
    assert evaluate_cold(np.zeros(4, "float32"), dev, cold_of(dev)) is None


@pytest.mark.parametrize("at_once", [1, 2, 1 << 16])
def test_recall_by_hand(at_once, monkeypatch):
    monkeypatch.setattr(metrics, "_CLICKS_AT_ONCE", at_once)
    dev = log([["new1", "listed", "shown"], ["new2", "clicked"], ["clicked", "new1"]], [[1, 0, 1], [0, 0], [1, 0]])
    # new1 (row 1) is third, shown (row 3) not there; the second impression has no click; clicked (row 5) is first.
    rows = np.array([[2, 4, 1], [1, 2, 3], [5, 1, 0]])
    found = evaluate_recall(rows, dev, [1, 3])
    ideal = 1 + 1 / np.log2(3)
    expected = {f"{name}@1": (0 + 1) / 2 for name in ("recall", "hit_rate", "ndcg")}
    expected |= {"recall@3": (0.5 + 1) / 2, "hit_rate@3": 1.0, "ndcg@3": (0.5 / ideal + 1) / 2}
    assert found.metrics == pytest.approx(expected)
    assert found.standard_errors["recall@1"] == pytest.approx(0.5)
    assert (found.num_impressions, found.num_left_out) == (2, 1)
    with pytest.raises(ValueError, match="Cutoffs must be from 1 to the 3"):
        evaluate_recall(rows, dev, [2, 4])
    with pytest.raises(ValueError, match="the log has none"):
        evaluate_recall(rows[:1], log([["new1"]], [[0]]), [1])


def test_mean_ranks_average_the_ranks_whatever_the_scale_of_scores():
    offsets = np.array([0, 3, 5])
    one = Ragged(np.array([0.3, 0.2, 0.1, 5.0, 6.0]), offsets)
    other = Ragged(np.array([1.0, 30.0, 20.0, -2.0, -2.0]), offsets)
    found = mean_ranks([one, other])
    assert found.values.tolist() == [-2.0, -1.5, -2.5, -1.75, -1.25]
    assert found.offsets is offsets
