"""How many of the clicked articles are among those that were retrieved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from recommenders_miner.evaluation.metrics import Evaluation, ideal_dcg

if TYPE_CHECKING:
    from recommenders_miner.data.log import ImpressionLog

_CLICKS_AT_ONCE = 1 << 16


def evaluate_recall(rows: np.ndarray, log: ImpressionLog, cutoffs: Sequence[int]) -> Evaluation:
    """Evaluate what was retrieved for each impression of a log by the candidates that were clicked.

    Means over the impressions with a click, k being a cutoff:

    - `recall@k`: the share of the clicked candidates that are among the first k of the retrieved articles.
    - `hit_rate@k`: whether at least one is.
    - `ndcg@k`: Σ 1 / log2(rank + 1) over those that are, divided by its largest possible value.

    A clicked article that was not in the pool, for its age say, counts as not found.

    Args:
        rows: (I, k) rows of the retrieved articles, the best first, 0 behind the last.
        log: the log of I impressions, with labels.
        cutoffs: of the list; none longer than k.

    Raises:
        ValueError: a cutoff is below 1 or beyond what was retrieved, or no impression has a click.
    """
    if not (log.labels == 1).any():
        raise ValueError("Recall is counted from clicks, but the log has none.")
    if min(cutoffs) < 1 or max(cutoffs) > rows.shape[1]:
        raise ValueError(f"Cutoffs must be from 1 to the {rows.shape[1]} articles retrieved, not {list(cutoffs)}.")
    clicks = log.candidates.keep(log.labels == 1)
    impression, num_clicks = clicks.rows(), clicks.lengths
    rank = np.empty(len(impression))  # from 1, infinite where a click was not retrieved
    for start in range(0, len(impression), _CLICKS_AT_ONCE):
        part = slice(start, start + _CLICKS_AT_ONCE)
        found = rows[impression[part]] == clicks.values[part, None]
        rank[part] = np.where(found.any(axis=1), found.argmax(axis=1) + 1.0, np.inf)

    def per_impression(values: np.ndarray, divisor: np.ndarray) -> np.ndarray:
        total = np.bincount(impression, weights=values, minlength=len(log))
        return np.divide(total, divisor, out=np.full(len(log), np.nan), where=num_clicks > 0)

    metrics = {}
    for cutoff in cutoffs:
        found = rank <= cutoff
        metrics[f"recall@{cutoff}"] = per_impression(found, num_clicks)
        metrics[f"hit_rate@{cutoff}"] = np.ceil(metrics[f"recall@{cutoff}"])
        gains = np.where(found, 1 / np.log2(rank + 1), 0)
        metrics[f"ndcg@{cutoff}"] = per_impression(gains, ideal_dcg(num_clicks, cutoff))
    return Evaluation.mean(metrics, num_clicks > 0)
