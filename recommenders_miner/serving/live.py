"""What happens while a recommender serves: showings and clicks, as the context that a model reads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.context import HOUR, WINDOWS, Context
from recommenders_miner.data.counts import Counts, Past
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable

COUNTED_AGAIN_SECONDS = 5.0


class LiveContext:
    """The columns of `data.context.CONTEXT` as of now: the counts of training, and of the events since.

    They are those of `Context`, the one definition that training has, too. An event counts within
    `COUNTED_AGAIN_SECONDS`.

    Args:
        columns: those that the model reads.
        counts: what happened before the end of the training.
        horizon: hours that events are held back by, or "split", with which none counts.
    """

    def __init__(self, columns: Sequence[str], counts: Past | None, horizon: float | str) -> None:
        self.columns, self._counts, self._horizon = columns, counts, horizon
        self._lock = threading.Lock()
        self._events: list[tuple[str, str, int, int]] = []
        self._current: tuple[NewsTable, Context] | None = None
        self._counted_at = 0.0

    def record(self, events: Iterable[tuple[str, str, int, bool]]) -> None:
        """Count events: user, article, Unix seconds, and whether it is a click, else a showing."""
        with self._lock:
            self._events += [(user, article, int(at), int(is_click)) for user, article, at, is_click in events]

    def of(
        self, table: NewsTable, clicks: Sequence[str], candidates: Sequence[str], user: str | None, now: float
    ) -> np.ndarray:
        """Return the columns of candidates shown to a user now, (1, C, columns) float32; all ids are the table's."""
        asked = {"users": [user or ""], "time": [int(now)]}
        log = ImpressionLog.from_columns(table, [list(clicks)], [list(candidates)], **asked)
        with self._lock:
            is_due = bool(self._events) and time.monotonic() - self._counted_at > COUNTED_AGAIN_SECONDS
            if self._current is None or self._current[0] is not table or is_due:
                self._count(table, now)
                context = Context.of_log(log, table, self._counts, self._horizon)
                self._current = table, context.only(self.columns)
            context = self._current[1]
        period = int(now), int(now)
        return replace(context, log=log, period=period).of(np.zeros(1, np.int64), log.candidates.values[None])

    def _count(self, table: NewsTable, now: float) -> None:
        """Add the events to the counts, which keep no more detail than can be asked for."""
        events, self._events, self._counted_at = self._events, [], time.monotonic()
        if self._counts is None or not events or self._horizon == "split":
            return
        users, articles, times, clicks = (np.array(column) for column in zip(*events, strict=True))
        past, clicked = self._counts, clicks == 1
        known = set(past.users.ids.to_pylist())
        names = pa.concat_arrays([past.users.ids, pa.array(sorted({*users.tolist()} - known), pa.string())])
        of_articles = _followed_by(past.articles, table.ids, articles, times, 1 - clicks, clicks)
        of_users = _followed_by(past.users, names, users[clicked], times[clicked], clicks[clicked], clicks[clicked])
        detailed = int(now) - max(WINDOWS.values()) - round(float(self._horizon) * HOUR)
        of_articles = of_articles.without_detail_before(detailed)
        self._counts = past._replace(articles=of_articles, users=of_users.without_detail_before(detailed, keep="last"))


def _followed_by(
    past: Counts, ids: pa.StringArray, names: np.ndarray, times: np.ndarray, shown: np.ndarray, clicked: np.ndarray
) -> Counts:
    """Return counts with later events, of rows named by `ids`, behind them; row 0 has those of all together."""
    row = pc.index_in(pa.array(names.tolist(), pa.string()), value_set=ids).fill_null(0).to_numpy()
    rows = np.concatenate([row[row > 0], np.zeros(len(row), np.int64)])
    columns = (np.concatenate([values[row > 0], values]) for values in (times, shown, clicked))
    return past.then(Counts.of_events(ids, rows, *columns))
