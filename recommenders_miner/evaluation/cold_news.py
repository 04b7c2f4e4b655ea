"""How well models rank articles that training never saw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from recommenders_miner.evaluation.metrics import Evaluation, impression_metrics

if TYPE_CHECKING:
    from recommenders_miner.data.log import ImpressionLog
    from recommenders_miner.data.news import NewsTable

COLD_AUC = "cold_auc"


def cold_candidates(
    log: ImpressionLog, news: NewsTable, training_log: ImpressionLog, training_news: NewsTable
) -> np.ndarray:
    """Find the candidates that are cold: neither shown in the training log nor clicked in its histories.

    Args:
        log: the log to evaluate on.
        news: the table that its rows point into.
        training_log: the log that models were trained on.
        training_news: its table.

    Returns:
        (candidates,) bool.
    """
    seen = np.zeros(len(training_news), bool)
    seen[training_log.candidates.values] = True
    seen[training_log.histories.values] = True
    known = pc.is_in(news.ids, value_set=training_news.ids.filter(seen)).to_numpy(zero_copy_only=False)
    return ~known[log.candidates.values]


def evaluate_cold(scores: np.ndarray, log: ImpressionLog, cold: np.ndarray) -> Evaluation | None:
    """Evaluate the AUC among the cold candidates of each impression, as if nothing else had been shown.

    Args:
        scores: (candidates,) of all the log's candidates.
        log: the log, labelled.
        cold: (candidates,) bool, from `cold_candidates`.

    Returns:
        The evaluation, its only metric `cold_auc`; None where no impression has a cold click and a cold non-click.
    """
    offsets = log.candidates.keep(cold).offsets
    [auc] = impression_metrics(scores[cold], log.labels[cold], offsets, ["group_auc"]).values()
    counted = ~np.isnan(auc)
    return Evaluation.mean({COLD_AUC: auc}, counted) if counted.any() else None
