"""Showings and clicks over time, so that what happened before any moment is two binary searches away."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.cache import kept, pack_strings, unpack_strings
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.past_clicks import before_the_log
from recommenders_miner.data.ragged import Ragged, stretches

_VERSION = "counts 1"  # of what a cache holds
_EVENTS_AT_ONCE = 2**24
_SAVED = ("first", "span", "key", "showings", "clicks", "detailed_from")


@dataclass(frozen=True)
class Counts:
    """Showings and clicks of articles over time: of each of N+1 rows of a news table, events in ascending seconds.

    Row 0, the padding's, has the events of all articles together. So may users be counted, by their clicks.

    Attributes:
        ids: what each row is called, N+1 strings, the first empty.
        first: Unix seconds that no event is before.
        span: seconds from there on that all events are within.
        key: `row * span + time - first` of each event, (E,) int64, ascending, none twice.
        showings: running totals over all events, (E+1,) int64, from 0.
        clicks: the same of clicks.
        detailed_from: the Unix second from which on events stand at their own time.
    """

    ids: pa.StringArray
    first: int
    span: int
    key: np.ndarray
    showings: np.ndarray
    clicks: np.ndarray
    detailed_from: int = 0

    @classmethod
    def of_events(
        cls, ids: pa.StringArray, row: np.ndarray, time: np.ndarray, shown: np.ndarray, clicked: np.ndarray
    ) -> Self:
        """Sort events: `shown` and `clicked` are how many showings and clicks there were; all four are (events,)."""
        first, span = (int(time.min()), int(np.ptp(time)) + 2) if len(time) else (0, 2)
        key, *counts = _distinct(row.astype(np.int64) * span + (time - first), shown, clicked)
        return cls(ids, first, span, key, *map(_running, counts))

    @classmethod
    def of_log(cls, log: ImpressionLog, news: NewsTable, cache: Path | None = None) -> Self:
        """Count a log whose articles are rows of `news`; an unlabelled one counts for nothing, clicks being unknown.

        It takes a share of the articles at a time, so that the events of a large log need not be sorted all at once;
        kept in the folder `cache`, they need not be in memory all at once either.
        """
        if not log.labelled:
            return cls.nothing(news.ids)
        first, span = int(log.time.min()), int(np.ptp(log.time)) + 2

        def fill(append: Callable[..., None]) -> None:
            totals = np.zeros((2, 1), np.int64)
            append(showings=totals[0], clicks=totals[1])
            for key, *counts in _events(log, len(news), first, span):
                running = totals + np.cumsum(counts, axis=1, dtype=np.int64)
                append(key=key, showings=running[0], clicks=running[1])
                totals = np.concatenate([totals, running], axis=1)[:, -1:]  # a part may be empty

        key = hashlib.blake2b(repr((_VERSION, log.digest, news.digest)).encode(), digest_size=16).hexdigest()
        return cls(news.ids, first, span, **kept(cache and cache / f"counts-{key}", key, "the counts of a log", fill))

    @classmethod
    def of_users(cls, log: ImpressionLog) -> Self:
        """Count when each user of a log clicked; row u + 1 is that of user u."""
        rows = np.flatnonzero(log.clicks > 0)
        ids, clicks = pa.concat_arrays([pa.array([""]), log.users]), log.clicks[rows]
        return cls.of_events(ids, log.user_of[rows] + 1, log.time[rows], clicks, clicks)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all of it as arrays by name, to be written to a file."""
        text, offsets = pack_strings(self.ids)
        return {"text": text, "text_offsets": offsets, **{name: np.asarray(getattr(self, name)) for name in _SAVED}}

    @classmethod
    def of_arrays(cls, found: Mapping[str, np.ndarray]) -> Self:
        """Make counts of what `arrays` gave."""
        ids = unpack_strings(found["text"], found["text_offsets"])
        return cls(ids, **{name: found[name] if found[name].ndim else int(found[name]) for name in _SAVED})

    @classmethod
    def of_labels(cls, log: ImpressionLog, news: NewsTable) -> Self:
        """Count the clicks on categories and subcategories that are older than a log: what users had clicked before.

        A row is called `category/sports`; row 0 has all clicks.
        """
        clicked = before_the_log(log)[1].values
        ids, counts = [""], [len(clicked)]
        for label, (names, place) in news.labels.items():
            ids += [f"{label}/{name}" for name in names]
            counts += np.bincount(place[clicked], minlength=len(names)).tolist()
        time = np.full(len(ids), log.time.min() - 1)
        return cls.of_events(pa.array(ids, pa.string()), np.arange(len(ids)), time, *[np.array(counts)] * 2)

    @classmethod
    def nothing(cls, ids: pa.StringArray) -> Self:
        """Return counts of rows with these names that have no event."""
        return cls.of_events(ids, *[np.zeros(0, np.int64)] * 4)

    def events(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return rows, Unix seconds, showings and clicks of the events, as `of_events` takes them."""
        row, seconds = np.divmod(self.key, self.span)
        return row, seconds + self.first, np.diff(self.showings), np.diff(self.clicks)

    def then(self, later: Counts) -> Self:
        """Return these counts and later ones together, those of rows that have no name there left out."""
        place = pc.index_in(self.ids, value_set=later.ids).fill_null(-1).to_numpy()
        row, *rest = self.events()
        row = place[row]
        pairs = zip((row, *rest), later.events(), strict=True)
        return self.of_events(later.ids, *(np.concatenate([own[row >= 0], other]) for own, other in pairs))

    def until(self, moment: int) -> Self:
        """Return counts without the events from some Unix second on, nor those whose detail is lost and may be such."""
        row, time, *counts = self.events()
        kept = time < moment if moment >= self.detailed_from else np.zeros(len(time), bool)
        return self.of_events(self.ids, *(values[kept] for values in (row, time, *counts)))

    def without_detail_before(self, moment: int, keep: Literal["first", "last"] = "first") -> Self:
        """Return counts that are the same from some Unix second on: what was before stands at the row's first event.

        Or at the `last` one before the moment, for those whose last event matters.
        """
        rows = np.arange(len(self.ids))
        starts, ends = self.offsets[:-1], self.before(rows, np.full(len(rows), moment))
        had = np.flatnonzero(ends > starts)
        lengths = self.offsets[1:] - ends
        detailed = stretches(ends, lengths)
        place = np.concatenate([(starts if keep == "first" else ends - 1)[had], detailed])
        parts = self.between(starts[had], ends[had]), self.between(detailed, detailed + 1)
        counts = (np.concatenate([part[name] for part in parts]) for name in ("showings", "clicks"))
        row = np.concatenate([had, np.repeat(rows, lengths)])
        return replace(self.of_events(self.ids, row, self.time_of(place), *counts), detailed_from=moment)

    @cached_property
    def offsets(self) -> np.ndarray:
        """Where the events of each row begin and the last row's end, (N+2,) int64."""
        return np.searchsorted(self.key, np.arange(len(self.ids) + 1) * self.span)

    @property
    def end(self) -> int:
        """The last Unix second that has an event; 0 without one."""
        return int(self.time_of(self.offsets[1:] - 1).max(initial=0)) if len(self.key) else 0

    def key_of(self, rows: np.ndarray, moments: np.ndarray) -> np.ndarray:
        """Return the keys that events of some rows would have at some Unix seconds, both (n,), within the span."""
        return rows.astype(np.int64) * self.span + np.clip(moments - self.first, 0, self.span - 1)

    def before(self, rows: np.ndarray, moments: np.ndarray) -> np.ndarray:
        """Return where in the events those of some rows end that are before some Unix seconds, (n,) int64."""
        return np.searchsorted(self.key, self.key_of(rows, moments))

    def between(self, starts: np.ndarray, ends: np.ndarray) -> dict[str, np.ndarray]:
        """Return the `showings` and `clicks` of the events from some places up to others, (n,) int64."""
        return {name: of[ends] - of[starts] for name, of in (("showings", self.showings), ("clicks", self.clicks))}

    def time_of(self, events: np.ndarray) -> np.ndarray:
        """Return the Unix seconds of some events, int64; of places where there is none, of any."""
        if not len(self.key):
            return np.zeros_like(events)
        return self.key[np.clip(events, 0, len(self.key) - 1)] % self.span + self.first


class Past(NamedTuple):
    """What a log goes on from: the counts of articles, of users and of labels in the logs before it."""

    articles: Counts
    users: Counts
    labels: Counts

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all of it as arrays by name, to be written to a file."""
        named = self._asdict().items()
        return {f"{kind}_{name}": array for kind, counts in named for name, array in counts.arrays().items()}

    @classmethod
    def of_arrays(cls, found: Mapping[str, np.ndarray]) -> Self:
        """Make it of what `arrays` gave, among others."""
        of_kind = ({name.removeprefix(f"{kind}_"): found[name] for name in found} for kind in cls._fields)
        return cls(*map(Counts.of_arrays, of_kind))


def shrunk_rate(
    clicks: np.ndarray, showings: np.ndarray, usual: np.ndarray | float, showings_more: float
) -> np.ndarray:
    """Return clicks by showings, as if there had been so many more showings, clicked at the usual rate."""
    return (clicks + showings_more * usual) / (showings + showings_more)


def clicks_with_label(histories: Ragged, history: np.ndarray, label: np.ndarray, articles: np.ndarray) -> np.ndarray:
    """Count for pairs of a history and an article, both (n,), the clicks there with the article's label, (n,) int64.

    `label` (N+1,) int64 is that of each article.
    """
    size = int(label.max()) + 1
    clicks = np.sort(histories.rows() * size + label[histories.values])
    first, end = (np.searchsorted(clicks, history * size + label[articles], side) for side in ("left", "right"))
    return end - first


def _events(log: ImpressionLog, size: int, first: int, span: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield a part after another of a log's events: ascending keys as of `Counts`, showings and clicks."""
    yield _distinct(log.time - first, log.candidates.lengths, log.clicks)
    share = np.cumsum(np.bincount(log.candidates.values, minlength=size)) // _EVENTS_AT_ONCE
    edges = np.flatnonzero(np.diff(share, prepend=-1, append=share[-1] + 1))
    for low, high in itertools.pairwise(edges):
        place = np.flatnonzero((log.candidates.values >= low) & (log.candidates.values < high))
        seconds = log.time[log.candidates.row_of(place)] - first
        key = log.candidates.values[place].astype(np.int64) * span + seconds
        yield _distinct(key, np.ones(len(place), np.int8), log.labels[place])


def _running(counts: np.ndarray) -> np.ndarray:
    return np.append(0, np.cumsum(counts, dtype=np.int64))


def _distinct(key: np.ndarray, shown: np.ndarray, clicked: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distinct ones among keys, ascending, with the sums of their two counts."""
    order = np.argsort(key, kind="stable")
    key = key[order]
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    sums = (np.add.reduceat(of[order], starts, dtype=np.int64) if len(starts) else of for of in (shown, clicked))
    return key[starts], *sums
