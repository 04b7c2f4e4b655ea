"""Looking up what many impressions of a log refer to, all at once."""

from __future__ import annotations

import numpy as np

from recommenders_miner.data.log import ImpressionLog


def history_matrix(log: ImpressionLog, histories: np.ndarray, size: int) -> np.ndarray:
    """Returns the newest `size` clicks of some distinct histories, (B, size) int32 rows, newest last, zeros behind."""
    ends = log.histories.offsets[histories + 1]
    starts = np.maximum(log.histories.offsets[histories], ends - size)
    index = starts[:, None] + np.arange(size)
    real = index < ends[:, None]
    if not len(log.histories.values):
        return np.zeros(real.shape, "int32")
    return np.where(real, log.histories.values[np.where(real, index, 0)], 0)


def distinct_rows(num_news: int, *rows: np.ndarray) -> np.ndarray:
    """Returns the distinct ones among some rows of a news table, ascending, the padding news always among them.

    Args:
        num_news: N+1, the table's rows.
        *rows: arrays of rows, of any shape.
    """
    needed = np.zeros(num_news, bool)
    needed[0] = True
    for array in rows:
        needed[array] = True
    return np.flatnonzero(needed)


def slots_of(log: ImpressionLog, impressions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns where the candidates of some impressions stand in the log, and where each impression's begin among them.

    Args:
        log: the log.
        impressions: (B,) indices, in any order.

    Returns:
        (candidates,) indices of `log.candidates.values`, impression after impression, and (B,) indices of those.
    """
    sizes = log.candidates.offsets[impressions + 1] - log.candidates.offsets[impressions]
    return stretches(log.candidates.offsets[impressions], sizes), np.cumsum(sizes) - sizes


def stretches(start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Returns the indices `start[k] … start[k] + length[k] - 1` for one k after another, (sum of lengths,) int64."""
    ends = np.cumsum(length)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(start - (ends - length), length)
