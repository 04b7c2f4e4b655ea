"""Candidates that training never saw, and how they are ranked among themselves."""

from __future__ import annotations

import numpy as np
import pytest

from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.evaluation.metrics import cold_candidates, evaluate_cold


def table(*ids):
    return NewsTable.from_columns(ids=ids, titles=["title"] * len(ids))


TRAINING_NEWS = table("shown", "clicked", "listed")
TRAINING_LOG = ImpressionLog.from_columns(TRAINING_NEWS, histories=[["clicked"]], candidates=[["shown"]], labels=[[1]])
NEWS = table("new1", "listed", "shown", "new2", "clicked")


def log(candidates, labels):
    return ImpressionLog.from_columns(NEWS, [[]] * len(candidates), candidates, labels)


def cold_of(dev):
    return cold_candidates(dev, NEWS, TRAINING_LOG, TRAINING_NEWS)


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


def test_there_is_no_auc_without_such_an_impression():
    dev = log([["new1", "shown"], ["shown", "clicked"]], [[1, 0], [1, 0]])
    assert evaluate_cold(np.zeros(4, "float32"), dev, cold_of(dev)) is None


def test_random_scores_have_half():
    rng = np.random.default_rng(3)
    dev = log([["new1", "new2", "listed", "shown"]] * 2000, [[1, 0, 0, 0]] * 2000)
    found = evaluate_cold(rng.random(8000), dev, cold_of(dev))
    assert abs(found.metrics["cold_auc"] - 0.5) < 4 * found.standard_errors["cold_auc"]
