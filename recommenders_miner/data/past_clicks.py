"""Histories rebuilt from the clicks of a log: which clicks are past when an impression is shown."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.ragged import Ragged, stretches

CONVERSION_FILE = "conversion.json"
"""Stands in every converted folder, and says how it came about."""

PAST_CLICKS = {"histories": "the user's clicks of earlier seconds"}
"""Stands in a description of a conversion that made the histories so."""


@dataclass(frozen=True)
class Histories:
    """The histories of I impressions, as stretches of an array of rows of the log's news that they share.

    The history of impression i is `articles[end[i] - length[i] : end[i]]`, oldest first.
    """

    articles: np.ndarray
    end: np.ndarray
    length: np.ndarray

    @classmethod
    def of_log(cls, log: ImpressionLog) -> Self:
        """Take the histories as the log has them."""
        return cls(
            log.histories.values, log.histories.offsets[log.history_of + 1], log.histories.lengths[log.history_of]
        )

    @classmethod
    def rebuilt(cls, log: ImpressionLog, known_before: np.ndarray, clicked_at: np.ndarray | None = None) -> Self:
        """Rebuild histories from past clicks only.

        A history is that of the user's first impression, whose clicks are older than the log, followed by the user's
        clicks in the labelled log before the Unix seconds `known_before` (I,). The first impression is the earliest; of
        equals, and of clicks at one time, the log's order decides. `clicked_at` (candidates,) are the Unix seconds of
        each click; None: clicks are as old as their impressions.
        """
        users, before_log = before_the_log(log)
        clicks = np.flatnonzero(log.labels == 1)
        impression = log.candidates.row_of(clicks)
        time = log.time[impression] if clicked_at is None else clicked_at[clicks]
        moments = np.unique(time)

        def key(user: np.ndarray, moment: np.ndarray | int) -> np.ndarray:
            return user.astype(np.int64) * (len(moments) + 2) + moment  # unlike seconds, these fit into one integer

        of_clicks = key(log.user_of[impression], np.searchsorted(moments, time) + 1)
        keys = np.concatenate([key(before_log.repeat(users), 0), of_clicks])
        articles = np.concatenate([before_log.values, log.candidates.values[clicks]]).astype(np.int32)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        end = np.searchsorted(keys, key(log.user_of, np.searchsorted(moments, known_before) + 1))
        return cls(articles[order], end, end - np.searchsorted(keys, key(log.user_of, 0)))

    def newest(self, count: int | None) -> Self:
        """Return the histories cut to their last `count` clicks; None leaves them as they are."""
        return self if count is None else replace(self, length=np.minimum(self.length, count))

    def take(self, impressions: np.ndarray) -> Ragged:
        """Return the histories of some impressions."""
        length = self.length[impressions]
        return Ragged.of_lengths(self.articles[stretches(self.end[impressions] - length, length)], length)


def before_the_log(log: ImpressionLog) -> tuple[np.ndarray, Ragged]:
    """Return the users of a log, ascending, and the history of each one's first impression, whose clicks are older.

    The first impression is the earliest; of equals, the log's order decides.
    """
    order = np.lexsort((log.time, log.user_of))  # stable
    users, place = np.unique(log.user_of[order], return_index=True)
    return users, log.histories.take(log.history_of[order[place]])


def are_past_clicks(source: Path) -> bool:
    """Return whether a conversion made the histories of a data folder, or of the one around it, of past clicks only."""
    for path in (source / CONVERSION_FILE, source.parent / CONVERSION_FILE):
        with contextlib.suppress(OSError, ValueError, RecursionError):
            description = json.loads(path.read_text(encoding="utf-8"))
            return isinstance(description, dict) and PAST_CLICKS.items() <= description.items()
    return False


def require_length(max_history: int | None) -> None:
    """Raise a ValueError if a length of histories is negative; None means all of them."""
    if max_history is not None and max_history < 0:
        raise ValueError(f"max_history must not be negative, got {max_history}.")
