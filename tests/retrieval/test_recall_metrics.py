"""Recall by hand, and since when articles can be recommended."""

from __future__ import annotations

import numpy as np
import pytest

from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.evaluation import metrics
from recommenders_miner.evaluation.metrics import evaluate_recall
from recommenders_miner.retrieval.news_recall import BEFORE_THE_LOGS, first_seen


def table(*ids):
    return NewsTable.from_columns(ids=ids, titles=["title"] * len(ids))


NEWS = table(*"ABCDEF")


def log(candidates, labels, time=None):
    return ImpressionLog.from_columns(NEWS, [[]] * len(candidates), candidates, labels, time=time)


LOG = log([["A", "B", "C"], ["D", "E"], ["F", "A"]], [[1, 0, 1], [0, 0], [1, 0]])


@pytest.mark.parametrize("at_once", [1, 2, 1 << 16])
def test_by_hand(at_once, monkeypatch):
    monkeypatch.setattr(metrics, "_CLICKS_AT_ONCE", at_once)
    # A (row 1) is third, C (row 3) not there; the second impression has no click; F (row 6) is first.
    rows = np.array([[2, 4, 1], [1, 2, 3], [6, 1, 0]])
    found = evaluate_recall(rows, LOG, [1, 3])
    ideal = 1 + 1 / np.log2(3)
    assert found.metrics == pytest.approx(
        {
            "recall@1": (0 + 1) / 2,
            "hit_rate@1": (0 + 1) / 2,
            "ndcg@1": (0 + 1) / 2,
            "recall@3": (0.5 + 1) / 2,
            "hit_rate@3": 1.0,
            "ndcg@3": (0.5 / ideal + 1) / 2,
        }
    )
    assert found.standard_errors["recall@1"] == pytest.approx(0.5)
    assert (found.num_impressions, found.num_left_out) == (2, 1)


def test_what_cannot_be_evaluated_is_refused():
    with pytest.raises(ValueError, match="Cutoffs must be from 1 to the 3"):
        evaluate_recall(np.ones((3, 3), int), LOG, [2, 4])
    with pytest.raises(ValueError, match="the log has none"):
        evaluate_recall(np.ones((1, 3), int), log([["A"]], [[0]]), [1])


def test_first_seen_is_the_earliest_showing_in_any_log():
    other = table("C", "A", "Z")
    earlier = ImpressionLog.from_columns(other, [["Z"], []], [["C", "A"], ["A"]], time=[50, 40])
    later = log([["A", "B"], ["B", "F"]], None, time=[70, 60])
    seen = first_seen(NEWS, [(later, NEWS), (earlier, other)])
    never = BEFORE_THE_LOGS
    assert seen.tolist() == [never, 40, 60, 50, never, never, 60]
