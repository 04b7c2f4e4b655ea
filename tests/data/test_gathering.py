"""Looking things up in a log for many impressions at once."""

from __future__ import annotations

from recommenders_miner.data.gathering import history_matrix
from recommenders_miner.data.log import ImpressionLog
from tests.data.random_log import IDS, NEWS


def test_history_keeps_the_newest_clicks():
    log = ImpressionLog.from_columns(
        NEWS, histories=[IDS[:9], [], IDS[3:5]], candidates=[IDS[:2]] * 3, labels=[[1, 0]] * 3
    )
    expected = [[6, 7, 8, 9], [0, 0, 0, 0], [4, 5, 0, 0]]
    assert history_matrix(log, log.history_of, 4).tolist() == expected


def test_history_matrix_of_a_log_without_any_click():
    log = ImpressionLog.from_columns(NEWS, histories=[[], []], candidates=[IDS[:2]] * 2, labels=[[1, 0]] * 2)
    assert not history_matrix(log, log.history_of, 3).any()
