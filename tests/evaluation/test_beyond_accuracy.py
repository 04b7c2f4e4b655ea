"""Diversity, novelty, calibration and coverage of lists, against their definitions one list at a time."""

import itertools
import math
from collections import Counter
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.evaluation.beyond_accuracy import BeyondAccuracy, is_beyond_accuracy

CATEGORY = {"S1": "sport", "S2": "sport", "F1": "finance", "F2": "finance", "T1": "travel", "U1": "", "U2": ""}
NEWS = NewsTable.from_columns(list(CATEGORY), list(CATEGORY), category=list(CATEGORY.values()))

# Other rows than in NEWS; S2 was shown but not clicked, T1, U1 and U2 are new, and "gone" is there no more.
TRAINING_NEWS = NewsTable.from_columns(["gone", "F2", "F1", "S2", "S1"], ["title"] * 5)
TRAINING_LOG = ImpressionLog.from_columns(
    TRAINING_NEWS,
    histories=[["S2"], [], []],
    candidates=[["S1", "S2", "F1"], ["S1", "F2", "gone"], ["S1", "gone"]],
    labels=[[1, 0, 1], [1, 1, 0], [1, 1]],
)
CLICKS = {"S1": 3, "F1": 1, "F2": 1}


def fit(histories, candidates, **options):
    log = ImpressionLog.from_columns(NEWS, histories, candidates)
    return BeyondAccuracy.fit(log, NEWS, TRAINING_LOG, TRAINING_NEWS, **options)


def evaluate_lists(histories, lists, **options):
    """The evaluation of given lists, one for each history."""
    return fit(histories, [list(CATEGORY)] * len(histories), **options).evaluate_lists(rows_of(lists))


def rows_of(lists):
    return Ragged.of_lists([NEWS.rows(names) for names in lists])


def plain_calibration(names, history):
    p, q = (Counter(CATEGORY[name] for name in part) for part in (history, names))
    total = 0.0
    for category, clicks in p.items():
        interest = clicks / p.total()
        total += interest * math.log(interest / (0.99 * q[category] / q.total() + 0.01 * interest))
    return total


def plain_metrics(histories, lists, k):
    cut = [names[:k] for names in lists]
    total = sum(CLICKS.values()) + len(CATEGORY)
    pairs = [[CATEGORY[a] != CATEGORY[b] for a, b in itertools.combinations(names, 2)] for names in cut]
    values = {
        f"ild@{k}": [fmean(differ) for differ in pairs if differ],
        f"novelty@{k}": [fmean(-math.log2((CLICKS.get(n, 0) + 1) / total) for n in names) for names in cut if names],
        f"calibration@{k}": [plain_calibration(n, h) for n, h in zip(cut, histories, strict=True) if n and h],
    }
    means = {name: fmean(column) for name, column in values.items() if column}
    return means | {f"coverage@{k}": len({name for names in cut for name in names}) / len(CATEGORY)}


names = st.lists(st.sampled_from(list(CATEGORY)), max_size=6)


@given(st.lists(st.tuples(names, names), min_size=1, max_size=8), st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_all_metrics_agree_with_the_plain_definitions(pairs, k):
    histories, lists = [history for history, _ in pairs], [listed for _, listed in pairs]
    found = evaluate_lists(histories, lists, k=k)
    assert found.metrics == pytest.approx(plain_metrics(histories, lists, k), abs=1e-12)
    assert found.num_impressions == sum(map(bool, lists))
    assert found.num_left_out == sum(not listed for listed in lists)


def test_calibration_is_never_negative():
    histories = [["S1"] * n + ["F1"] * 3 + ["T1"] * 7 for n in range(8)]
    for history in histories:
        assert 0 <= evaluate_lists([history], [history], k=20).metrics["calibration@20"] < 1e-14


def test_coverage_is_of_what_the_log_shows_or_of_the_pool():
    histories, candidates = [[], []], [["S1", "F1"], ["S1", "T1", "F2"]]
    lists = rows_of([["S1"], ["T1"]])
    assert fit(histories, candidates).evaluate_lists(lists).metrics["coverage@10"] == 2 / 4
    pool = NEWS.rows(["S1", "S2", "T1"])
    assert fit(histories, candidates, pool=pool).evaluate_lists(lists).metrics["coverage@10"] == 2 / 3


def test_coverage_has_no_standard_error_and_the_means_have():
    errors = evaluate_lists([["S1"], ["F1"]], [["S1", "F1"], ["S1", "S2"]]).standard_errors
    assert list(errors) == ["ild@10", "novelty@10", "calibration@10"]
    assert errors["ild@10"] == pytest.approx(0.5)
    assert math.isnan(evaluate_lists([["S1"], []], [["S1"], ["S1", "F1"]]).standard_errors["ild@10"])


def test_scores_are_evaluated_by_the_lists_they_make():
    histories = [["S1"], ["T1", "F1"], ["F2"], []]
    candidates = [["S1", "S2", "F1", "T1"], ["T1", "F1"], ["T1"], ["F1", "F2", "T1", "S1"]]
    found = fit(histories, candidates, k=2).evaluate(np.array([0, 3.0, 1, 2, 1, 1, 5, 1, 2, 1, 1]))
    expected = evaluate_lists(histories, [["S2", "T1"], ["T1", "F1"], ["T1"], ["F2", "F1"]], k=2)
    assert found.metrics == pytest.approx(expected.metrics | {"coverage@2": 4 / 5})


def test_lists_may_be_for_some_histories_only():
    beyond = fit([["S1"], ["T1"], ["S1"]], [["F1"]] * 3)
    lists = rows_of([["S2"], ["S2"]])
    found = beyond.evaluate_lists(lists, history_of=np.array([0, 1]))
    assert found.metrics["calibration@10"] == pytest.approx(math.log(100) / 2)


def test_training_without_labels_is_refused_and_metrics_are_told_apart_by_name():
    unlabelled = ImpressionLog.from_columns(TRAINING_NEWS, [[]], [["S1"]])
    with pytest.raises(ValueError, match="no labels"):
        BeyondAccuracy.fit(unlabelled, TRAINING_NEWS, unlabelled, TRAINING_NEWS)
    names = ("ild@5", "coverage@10", "ndcg@10", "group_auc")
    assert [is_beyond_accuracy(name) for name in names] == [True, True, False, False]
