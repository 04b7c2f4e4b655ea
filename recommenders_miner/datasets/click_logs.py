"""Events of readers as impressions: rows shown together, or clicks with drawn negatives."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa

from recommenders_miner.data.folders import BEHAVIORS_FILE, NEWS_FILE
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.past_clicks import Histories, log_blocks
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.data.write import write_behaviors, write_table
from recommenders_miner.datasets.conversion import Conversion
from recommenders_miner.datasets.negatives import Negatives, draw_negatives

LOGGER = logging.getLogger("recommenders_miner")

SPLIT = "all"
"""The one split of a log that has not been split by time."""

NO_NEGATIVES = "Nobody else's click is near enough in time: more readers, or a longer --window-hours, may help."
_LONG_HISTORY = 10_000
_MOST_USELESS = 0.5


@dataclass(frozen=True)
class Events:
    """E events of readers, in the order of their files.

    Attributes:
        user: (E,) int32, places in a list of users.
        time: (E,) int64 Unix seconds.
        news: (E,) int32, places in a table of news.
    """

    user: np.ndarray
    time: np.ndarray
    news: np.ndarray

    @classmethod
    def join(cls, parts: list[Events]) -> Self:
        """Lays events one behind another."""
        return cls(
            np.concatenate([np.empty(0, np.int32), *(part.user for part in parts)]),
            np.concatenate([np.empty(0, np.int64), *(part.time for part in parts)]),
            np.concatenate([np.empty(0, np.int32), *(part.news for part in parts)]),
        )

    def __len__(self) -> int:
        """The number of events."""
        return len(self.user)

    def take(self, places: np.ndarray) -> Events:
        """Returns some of the events."""
        return Events(self.user[places], self.time[places], self.news[places])

    def first_clicks(self) -> Events:
        """Returns each user's first event with each news, in the order of time."""
        by_time = self.take(np.argsort(self.time, kind="stable"))
        pairs = pair_keys(by_time.user, by_time.news)
        return by_time.take(np.sort(np.unique(pairs, return_index=True)[1]))


def pair_keys(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Makes one int64 of each pair of numbers from 0 to 2³¹ - 1, in the order of the pairs."""
    return first.astype(np.int64) << 32 | second.astype(np.int64)


def group_shown(
    events: Events, clicked: np.ndarray, group: np.ndarray, users: pa.StringArray
) -> tuple[ImpressionLog, np.ndarray]:
    """Makes an impression of the rows of each group and user.

    An impression is as old as its earliest row. A news that stands in it twice is one candidate, clicked if one of the
    rows is. Impressions are in the order of time, candidates in the order of the rows.

    Args:
        events: the rows.
        clicked: (E,) bool.
        group: (E,) int, which rows belong together.
        users: what `events.user` refers to.

    Returns:
        The log; and when each candidate was clicked on, the earliest row that says so, (candidates,) int64 Unix
        seconds, or anything where it was not.
    """
    impression = _numbered(pair_keys(group, events.user))
    time = np.full(impression.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(time, impression, events.time)
    first_row = np.unique(impression, return_index=True)[1]
    place_of = np.empty(len(time), np.int64)  # of an impression in the order of time
    place_of[np.lexsort((first_row, time))] = np.arange(len(time))
    impression = place_of[impression]

    candidate, first = np.unique(pair_keys(impression, events.news), return_index=True)
    candidate_of = np.searchsorted(candidate, pair_keys(impression, events.news))
    label = np.zeros(len(candidate), np.int8)
    np.maximum.at(label, candidate_of, clicked.astype(np.int8))
    clicked_at = np.full(len(candidate), np.iinfo(np.int64).max)
    np.minimum.at(clicked_at, candidate_of[clicked], events.time[clicked])
    order = np.lexsort((first, candidate >> 32))
    rows = first[order]
    starts = np.searchsorted(impression[rows], np.arange(len(time) + 1))
    log = _log(
        users,
        user=events.user[rows[starts[:-1]]],
        time=np.sort(time),
        candidates=events.news[rows],
        labels=label[order],
        offsets=starts,
    )
    return log, clicked_at[order]


def _numbered(keys: np.ndarray) -> np.ndarray:
    """The rank of each key among the distinct ones."""
    return np.unique(keys, return_inverse=True)[1]


def clicks_with_negatives(
    clicks: Events, published: np.ndarray, users: pa.StringArray, negatives: Negatives
) -> ImpressionLog:
    """Makes an impression of each click and news that the user could have clicked on instead; see `draw_negatives`.

    Args:
        clicks: the clicks, as `Events.first_clicks` returns them.
        published: (N,) Unix seconds of each news; -1 where that is not known.
        users: what `clicks.user` refers to.
        negatives: how negatives are drawn.
    """
    candidates, labels, offsets = draw_negatives(clicks.user, clicks.time, clicks.news, published, negatives)
    return _log(users, clicks.user, clicks.time, candidates, labels, offsets)


def _log(
    users: pa.StringArray,
    user: np.ndarray,
    time: np.ndarray,
    candidates: np.ndarray,
    labels: np.ndarray,
    offsets: np.ndarray,
) -> ImpressionLog:
    """A log without histories, whose news are places in a table without a padding row."""
    return ImpressionLog(
        candidates=Ragged(candidates, offsets),
        labels=labels,
        histories=Ragged(np.empty(0, np.int32), np.zeros(2, np.int64)),
        history_of=np.zeros(len(user), np.int32),
        user_of=user,
        time=time,
        impression_id=np.arange(1, len(user) + 1),
        users=users,
    )


def warn_of_little_use(path: Path, log: ImpressionLog, remedy: str) -> None:
    """Warns of a log most of whose impressions nothing can be learnt from.

    Args:
        path: the file to name.
        log: the impressions.
        remedy: what to do, a sentence.
    """
    clicks = _clicks_of(log)
    useless = (clicks == 0) | (clicks == log.candidates.lengths)
    if useless.mean() > _MOST_USELESS:
        LOGGER.warning(
            "%s: %s of %s impressions lack a click, or a news that was passed over, and teach a model nothing. %s",
            path,
            f"{useless.sum():,}",
            f"{len(log):,}",
            remedy,
        )


def write_log(
    conversion: Conversion,
    log: ImpressionLog,
    news: pa.Table,
    max_history: int | None,
    clicked_at: np.ndarray | None = None,
) -> None:
    """Writes a log as the split `all`, the history of an impression being the user's clicks before its second.

    Args:
        conversion: where to, and where counts are noted.
        log: the impressions, whose news are rows of `news`.
        news: the rows of news.tsv.
        max_history: clicks of a history that are kept, the newest; None keeps all.
        clicked_at: (candidates,) Unix seconds of each click; None: clicks are as old as their impressions.
    """
    folder: Path = conversion.folder / SPLIT
    folder.mkdir()
    histories = Histories.rebuilt(log, log.time, clicked_at).newest(max_history)
    _warn_of_long_histories(log, histories)
    ids = news["news id"].combine_chunks()
    write_behaviors(folder / BEHAVIORS_FILE, ids, log_blocks(log, histories, np.arange(len(log))))
    write_table(folder / NEWS_FILE, news)
    clicks = _clicks_of(log)
    conversion.note(
        SPLIT,
        news=news.num_rows,
        users=len(np.unique(log.user_of)),
        impressions=len(log),
        candidates=len(log.candidates.values),
        clicks=clicks.sum(),
        impressions_without_a_click=(clicks == 0).sum(),
        impressions_without_a_negative=(clicks == log.candidates.lengths).sum(),
    )


def _clicks_of(log: ImpressionLog) -> np.ndarray:
    """The number of clicks of each impression, (I,) int64."""
    return np.add.reduceat(log.labels, log.candidates.offsets[:-1], dtype=np.int64)


def _warn_of_long_histories(log: ImpressionLog, histories: Histories) -> None:
    longest = int(np.argmax(histories.length))
    if histories.length[longest] > _LONG_HISTORY:
        LOGGER.warning(
            "The user %r clicked %s times; is that one person? Each of the user's lines holds all clicks before it, "
            "unless --max-history says how many.",
            log.users[int(log.user_of[longest])].as_py(),
            f"{histories.length[longest]:,}",
        )
