"""Since when a news can be recommended, as far as click logs tell."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from recommenders_miner.data.log import ImpressionLog
    from recommenders_miner.data.news import NewsTable

BEFORE_THE_LOGS = np.iinfo(np.int64).min
"""When a news was first seen that no log shows to anyone: it may stand in histories, which are older than the logs."""


def first_seen(news: NewsTable, logs: Iterable[tuple[ImpressionLog, NewsTable]]) -> np.ndarray:
    """Finds when each news was first shown to anyone as a candidate. MIND's news have no date of their own.

    Args:
        news: the news in question.
        logs: logs, each with the table that its rows point into; all that there are, since a log's first showing of a
            news need not be the first of all.

    Returns:
        (N+1,) int64 Unix seconds, `BEFORE_THE_LOGS` for news that no log shows.
    """
    seen = np.full(len(news), np.iinfo(np.int64).max)
    for log, table in logs:
        earliest = np.full(len(table), np.iinfo(np.int64).max)
        np.minimum.at(earliest, log.candidates.values, np.repeat(log.time, log.candidates.lengths))
        seen = np.minimum(seen, news.align(table.ids, earliest, missing=np.iinfo(np.int64).max))
    return np.where(seen == np.iinfo(np.int64).max, BEFORE_THE_LOGS, seen)
