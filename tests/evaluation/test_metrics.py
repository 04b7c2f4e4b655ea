import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score, roc_auc_score

from recommenders_miner.evaluation.metrics import (
    DEFAULT_METRICS,
    evaluate_scores,
    impression_metrics,
    rank_candidates,
)

# === SPEC.md, Section 4, in plain Python, one impression at a time ===


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
    return result


def flatten(impressions):
    """[(scores, labels), …] -> flat scores, labels and offsets."""
    offsets = np.cumsum([0, *(len(scores) for scores, _ in impressions)])
    scores = np.array([s for scores, _ in impressions for s in scores], np.float64)
    labels = np.array([y for _, labels in impressions for y in labels], np.int8)
    return scores, labels, offsets


# Few distinct values, so that ties abound; and huge, tiny and signed ones, so that the order is exact.
tied_scores = st.sampled_from([-1e300, -2.0, -0.0, 0.0, 5e-324, 0.1, 0.30000000000000004, 0.3, 7.0, 1e300])


@st.composite
def impression(draw, score=tied_scores, min_size=0):
    candidates = draw(st.lists(st.tuples(score, st.integers(0, 1)), min_size=min_size, max_size=25))
    return [s for s, _ in candidates], [y for _, y in candidates]


@given(st.lists(impression(), max_size=12))
@settings(max_examples=100, deadline=None)
def test_every_impression_agrees_with_the_plain_definition(impressions):
    results = impression_metrics(*flatten(impressions))
    assert list(results) == list(DEFAULT_METRICS)
    for index, (scores, labels) in enumerate(impressions):
        expected = reference_metrics(scores, labels)
        for name, values in results.items():
            assert values.dtype == np.float64
            assert len(values) == len(impressions)
            if expected is None:
                assert np.isnan(values[index])
            else:
                assert values[index] == pytest.approx(expected[name], abs=1e-12)


@given(st.lists(impression(), max_size=12))
@settings(max_examples=30, deadline=None)
def test_evaluation_averages_over_impressions_with_both_classes(impressions):
    counted = [m for m in (reference_metrics(*i) for i in impressions) if m is not None]
    if not counted:
        with pytest.raises(ValueError, match="No metric is defined"):
            evaluate_scores(*flatten(impressions))
        return
    evaluation = evaluate_scores(*flatten(impressions))
    assert evaluation.num_impressions == len(counted)
    assert evaluation.num_left_out == len(impressions) - len(counted)
    for name in DEFAULT_METRICS:
        values = [m[name] for m in counted]
        mean = sum(values) / len(values)
        assert evaluation.metrics[name] == pytest.approx(mean)
        if len(values) == 1:
            assert math.isnan(evaluation.standard_errors[name])
        else:
            variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
            assert evaluation.standard_errors[name] == pytest.approx(math.sqrt(variance / len(values)), abs=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_agrees_with_scikit_learn_where_the_definitions_do(dtype):
    rng = np.random.default_rng(0)
    lengths = rng.integers(11, 60, size=40)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    labels = (rng.random(offsets[-1]) < 0.2).astype(np.int8)
    labels[offsets[:-1]], labels[offsets[:-1] + 1] = 1, 0
    distinct = rng.permutation(offsets[-1]).astype(dtype)
    tied = np.round(rng.random(offsets[-1]), 1).astype(dtype)
    ndcg = impression_metrics(distinct, labels, offsets, ["ndcg@5", "ndcg@10"])
    auc = impression_metrics(tied, labels, offsets, ["group_auc"])["group_auc"]
    for i in range(len(lengths)):
        part = slice(offsets[i], offsets[i + 1])
        assert auc[i] == pytest.approx(roc_auc_score(labels[part], tied[part]))
        for k in (5, 10):
            expected = ndcg_score([labels[part]], [distinct[part]], k=k)
            assert ndcg[f"ndcg@{k}"][i] == pytest.approx(expected)


# === Values worked out by hand ===


def test_values_worked_out_by_hand():
    # Ranks of the candidates: 3, 1, 4, 2. Clicked: the first and the last, at ranks 3 and 2.
    evaluation = evaluate_scores(
        np.array([0.2, 0.9, 0.1, 0.5]),
        np.array([1, 0, 0, 1]),
        np.array([0, 4]),
        ["group_auc", "mean_mrr", "ndcg@2"],
    )
    assert evaluation.metrics["group_auc"] == pytest.approx(2 / 4)
    assert evaluation.metrics["mean_mrr"] == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert evaluation.metrics["ndcg@2"] == pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3)))
    assert (evaluation.num_impressions, evaluation.num_left_out) == (1, 0)


def test_constant_scores_give_half_an_auc_and_ranks_in_candidate_order():
    scores, offsets = np.zeros(4, np.float32), np.array([0, 4])
    results = impression_metrics(scores, np.array([0, 0, 1, 0]), offsets, ["group_auc", "mean_mrr", "ndcg@3"])
    assert results["group_auc"][0] == 0.5
    assert results["mean_mrr"][0] == pytest.approx(1 / 3)
    assert results["ndcg@3"][0] == pytest.approx(1 / math.log2(4))
    assert rank_candidates(scores, offsets).tolist() == [1, 2, 3, 4]


def test_perfect_and_worst_order():
    labels, offsets = np.array([1, 1, 0, 0, 0, 0, 0]), np.array([0, 7])
    best = evaluate_scores(np.arange(7.0)[::-1], labels, offsets).metrics
    assert best["group_auc"] == best["ndcg@5"] == best["ndcg@10"] == 1
    assert best["mean_mrr"] == pytest.approx(0.75)
    worst = evaluate_scores(np.arange(7.0), labels, offsets).metrics
    assert worst["group_auc"] == worst["ndcg@5"] == 0
    assert worst["mean_mrr"] == pytest.approx((1 / 6 + 1 / 7) / 2)


def test_impressions_of_one_class_and_empty_ones_count_in_no_metric():
    two_classes = ([0.1, 0.9], [0, 1])
    all_clicked, none_clicked, empty = ([0.3, 0.2], [1, 1]), ([0.3, 0.2], [0, 0]), ([], [])
    evaluation = evaluate_scores(*flatten([empty, all_clicked, two_classes, none_clicked, two_classes, empty]))
    assert (evaluation.num_impressions, evaluation.num_left_out) == (2, 4)
    assert evaluation.metrics == dict.fromkeys(DEFAULT_METRICS, 1.0)
    assert evaluation.standard_errors == dict.fromkeys(DEFAULT_METRICS, 0.0)


# === Traps of public implementations ===


def test_mrr_is_over_all_clicks_and_not_the_first_hit():
    result = evaluate_scores(np.array([3.0, 2.0, 1.0]), np.array([1, 0, 1]), np.array([0, 3]), ["mean_mrr"])
    assert result.metrics["mean_mrr"] == pytest.approx((1 + 1 / 3) / 2)


def test_auc_is_per_impression_and_not_over_all_at_once():
    # Perfect within each impression, but the second one's scores lie far above the first one's.
    scores, labels = np.array([1.0, 0.0, 101.0, 100.0]), np.array([1, 0, 1, 0])
    assert evaluate_scores(scores, labels, np.array([0, 2, 4])).metrics["group_auc"] == 1
    assert roc_auc_score(labels, scores) == 0.75


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_are_not_squashed_into_ties(dtype):
    scores = np.array([40.0, 41.0, 42.0], dtype)
    squashed = 1 / (1 + np.exp(-scores))
    assert len(set(squashed.tolist())) == 1
    results = evaluate_scores(scores, np.array([0, 0, 1]), np.array([0, 3])).metrics
    assert results == dict.fromkeys(DEFAULT_METRICS, 1.0)


def test_float64_scores_are_not_rounded_to_float32():
    scores = np.array([1.0, 1.0 + 1e-12])
    assert evaluate_scores(scores, np.array([0, 1]), np.array([0, 2])).metrics["mean_mrr"] == 1


# === Properties ===


@given(st.lists(impression(min_size=1), min_size=1, max_size=8), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_auc_does_not_depend_on_candidate_order(impressions, random):
    shuffled = []
    for scores, labels in impressions:
        order = random.sample(range(len(scores)), len(scores))
        shuffled.append(([scores[i] for i in order], [labels[i] for i in order]))
    before = impression_metrics(*flatten(impressions), ["group_auc"])["group_auc"]
    after = impression_metrics(*flatten(shuffled), ["group_auc"])["group_auc"]
    np.testing.assert_allclose(before, after, atol=1e-12)


@given(st.lists(impression(score=st.integers(-20, 20).map(float)), max_size=8))
@settings(max_examples=30, deadline=None)
def test_metrics_depend_on_the_order_of_scores_alone(impressions):
    scores, labels, offsets = flatten(impressions)
    raw, monotone = (impression_metrics(s, labels, offsets) for s in (scores, scores**3 / 7 - 100))
    for name in DEFAULT_METRICS:
        np.testing.assert_array_equal(raw[name], monotone[name])


@given(st.lists(impression(), max_size=8))
@settings(max_examples=30, deadline=None)
def test_ranks_agree_with_the_plain_definition(impressions):
    scores, _, offsets = flatten(impressions)
    ranks = rank_candidates(scores, offsets)
    assert ranks.dtype == np.int32
    assert ranks.tolist() == [rank for scores, _ in impressions for rank in ranks_of(scores)]


# === Names of metrics ===


def test_recommenders_spelling_of_several_cutoffs():
    log = np.array([0.1, 0.9, 0.5]), np.array([1, 0, 0]), np.array([0, 3])
    both = impression_metrics(*log, ["group_auc", "mean_mrr", "ndcg@1;5;10"])
    assert list(both) == ["group_auc", "mean_mrr", "ndcg@1", "ndcg@5", "ndcg@10"]
    assert both["ndcg@1"][0] == 0
    assert both["ndcg@10"][0] == pytest.approx(1 / math.log2(4))


@pytest.mark.parametrize("name", ["auc", "ndcg", "ndcg@", "ndcg@0", "ndcg@5;", "ndcg@five", "hit@5", ""])
def test_unknown_metric_names_the_known_ones(name):
    with pytest.raises(ValueError, match="known ones are group_auc, mean_mrr and ndcg@k"):
        impression_metrics(np.zeros(2), np.array([0, 1]), np.array([0, 2]), ["group_auc", name])


def test_no_metric_at_all_is_an_error():
    with pytest.raises(ValueError, match="at least one metric"):
        evaluate_scores(np.zeros(2), np.array([0, 1]), np.array([0, 2]), [])


# === Faulty input ===


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_counted_and_located(bad):
    scores = np.array([0.0, 1.0, bad, 2.0, bad, bad])
    offsets = np.array([0, 2, 2, 4, 6])
    pattern = r"3 of 6 scores are NaN or infinite, in 2 impressions \(counted from 0: 2, 3\)"
    with pytest.raises(ValueError, match=pattern):
        evaluate_scores(scores, np.zeros(6, np.int8), offsets)
    with pytest.raises(ValueError, match=pattern):
        rank_candidates(scores, offsets)


def test_only_the_first_few_impressions_are_shown():
    with pytest.raises(ValueError, match=r"in 9 impressions \(counted from 0: 0, 1, 2, 3, 4, …\)"):
        rank_candidates(np.full(9, np.nan), np.arange(10))


def test_unlabelled_candidates_point_to_the_submission():
    with pytest.raises(ValueError, match=r"2 of 4 candidates, the first in impression 1 .*write a submission"):
        evaluate_scores(np.zeros(4), np.array([0, 1, -1, -1], np.int8), np.array([0, 2, 4]))


def test_labels_other_than_0_and_1_are_refused():
    with pytest.raises(ValueError, match=r"Labels must be 0 or 1.*: 2"):
        evaluate_scores(np.zeros(2), np.array([0, 2]), np.array([0, 2]))


@pytest.mark.parametrize(
    ("num_scores", "num_labels", "offsets", "message"),
    [
        (3, 2, [0, 2], "3 scores, but the offsets end at 2"),
        (2, 3, [0, 2], "2 scores, but the labels have the shape"),
        (2, 2, [1, 2], "begin at 0"),
        (2, 2, [0, 2, 1, 2], "never fall"),
        (2, 2, [], "one offset more"),
    ],
)
def test_lengths_that_disagree_are_refused(num_scores, num_labels, offsets, message):
    with pytest.raises(ValueError, match=message):
        evaluate_scores(np.zeros(num_scores), np.zeros(num_labels, np.int8), np.array(offsets, np.int64))


def test_scores_in_rows_are_refused():
    with pytest.raises(ValueError, match="flat arrays"):
        rank_candidates(np.zeros((2, 2)), np.array([0, 4]))


def test_arguments_are_left_as_they_were():
    scores, labels, offsets = np.array([0.3, 0.1, 0.2]), np.array([0, 1, 0]), np.array([0, 3])
    for array in (scores, labels, offsets):
        array.setflags(write=False)
    evaluate_scores(scores, labels, offsets)
    rank_candidates(scores, offsets)
