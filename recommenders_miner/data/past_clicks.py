"""Histories rebuilt from the clicks of a log: which clicks are past when an impression is shown."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa

from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.ragged import stretches
from recommenders_miner.data.write import BehaviorsBlock, blocks_of_rows

CONVERSION_FILE = "conversion.json"
"""Stands in every converted folder, and says how it came about."""

PAST_CLICKS = {"histories": "the user's clicks of earlier seconds"}
"""Stands in a description of a conversion that made the histories so."""


@dataclass(frozen=True)
class Histories:
    """The histories of I impressions, as stretches of an array that they share.

    The history of impression i is `news[start[i]:start[i] + length[i]]`, oldest first.

    Attributes:
        news: (total,) int32, rows of the log's news.
        start: (I,) int64.
        length: (I,) int64.
    """

    news: np.ndarray
    start: np.ndarray
    length: np.ndarray

    @classmethod
    def of_log(cls, log: ImpressionLog) -> Self:
        """Takes the histories as the log has them."""
        length = log.histories.lengths[log.history_of]
        return cls(log.histories.values, log.histories.offsets[log.history_of], length)

    @classmethod
    def rebuilt(cls, log: ImpressionLog, known_before: np.ndarray, clicked_at: np.ndarray | None = None) -> Self:
        """Rebuilds histories from past clicks only.

        A history is that of the user's first impression, whose clicks are older than the log, and behind it the user's
        clicks in the log before a time. The first impression is the earliest; of equals, and of clicks at one time, the
        log's order decides.

        Args:
            log: the log, labelled.
            known_before: (I,) Unix seconds: a click belongs to an impression's history if it is earlier than that.
            clicked_at: (candidates,) Unix seconds of each click; None: clicks are as old as their impressions.
        """
        clicked = np.flatnonzero(log.labels == 1)
        impression = log.candidates.rows()[clicked]
        time = log.time[impression] if clicked_at is None else clicked_at[clicked]
        order = np.lexsort((time, log.user_of[impression]))  # stable
        clicked, user, time = clicked[order], log.user_of[impression[order]], time[order]

        base_start, base_length = _first_histories(log)
        clicks = np.bincount(user, minlength=len(log.users))
        ends = np.cumsum(base_length + clicks)
        starts = ends - base_length - clicks
        news = np.empty(len(clicked) + base_length.sum(), np.int32)
        news[stretches(starts, base_length)] = log.histories.values[stretches(base_start, base_length)]
        news[stretches(starts + base_length, clicks)] = log.candidates.values[clicked]
        past = _count_earlier(user, time, log.user_of, known_before)
        return cls(news, starts[log.user_of], base_length[log.user_of] + past)

    def newest(self, count: int | None) -> Self:
        """Returns the histories cut to their last `count` clicks; None leaves them as they are."""
        if count is None:
            return self
        length = np.minimum(self.length, count)
        return replace(self, start=self.start + self.length - length, length=length)

    def of(self, impressions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the histories of some impressions: their news, one history after another, and how long each is."""
        length = self.length[impressions]
        return self.news[stretches(self.start[impressions], length)], length


def are_past_clicks(source: Path) -> bool:
    """Whether a conversion made the histories of a data folder, or of the one that it lies in, of past clicks only."""
    for path in (source / CONVERSION_FILE, source.parent / CONVERSION_FILE):
        with contextlib.suppress(OSError, ValueError, RecursionError):
            description = json.loads(path.read_text(encoding="utf-8"))
            return isinstance(description, dict) and PAST_CLICKS.items() <= description.items()
    return False


def require_length(max_history: int | None) -> None:
    """Refuses a negative length of histories; None, which means all of them, is none.

    Raises:
        ValueError: it is negative.
    """
    if max_history is not None and max_history < 0:
        raise ValueError(f"max_history must not be negative, got {max_history}.")


def log_blocks(log: ImpressionLog, histories: Histories, impressions: np.ndarray) -> Iterator[BehaviorsBlock]:
    """Yields the lines of some impressions of a labelled log, with these histories, as `write_behaviors` takes them."""
    num_candidates = log.candidates.lengths[impressions]
    for rows in blocks_of_rows(num_candidates + histories.length[impressions]):
        here = impressions[rows]
        slots = log.candidates.places(here).values
        news, length = histories.of(here)
        yield BehaviorsBlock(
            impression_id=log.impression_id[here],
            user=log.users.take(pa.array(log.user_of[here])),
            time=log.time[here],
            histories=news,
            history_length=length,
            candidates=log.candidates.values[slots],
            labels=log.labels[slots],
            num_candidates=num_candidates[rows],
        )


def _first_histories(log: ImpressionLog) -> tuple[np.ndarray, np.ndarray]:
    """Where the history of each user's earliest impression begins, and how long it is, both (users,) int64.

    A user without an impression has none.
    """
    order = np.lexsort((log.time, log.user_of))
    users, place = np.unique(log.user_of[order], return_index=True)
    history = log.history_of[order[place]]
    start, length = np.zeros(len(log.users), np.int64), np.zeros(len(log.users), np.int64)
    start[users], length[users] = log.histories.offsets[history], log.histories.lengths[history]
    return start, length


def _count_earlier(user: np.ndarray, time: np.ndarray, of_user: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Counts the events of a user before a time, for each of I pairs of these.

    Args:
        user: (E,) of each event, ascending.
        time: (E,) of each event, ascending among those of a user.
        of_user: (I,) whose events are counted.
        before: (I,) what they have to be earlier than.

    Returns:
        (I,) int64.
    """
    moments = np.unique(time)  # users and ranks of moments, unlike users and seconds, fit into one integer
    keys = user.astype(np.int64) * (len(moments) + 1) + np.searchsorted(moments, time)
    wanted = of_user.astype(np.int64) * (len(moments) + 1) + np.searchsorted(moments, before)
    return np.searchsorted(keys, wanted) - np.searchsorted(user, of_user)
