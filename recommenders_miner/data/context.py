"""What is known of a candidate when its impression is shown: age, showings and clicks so far, counted in the past.

Counts are kept as events sorted by article and time, with running totals, so that what happened before any moment is
two binary searches away, whether for a whole log or for the candidates of one training step. How not to fool oneself
with such figures is the subject of docs/context.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.cache import pack_strings, unpack_strings
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable

HOUR, DAY = 3600, 86_400  # seconds
WINDOWS = {"1h": HOUR, "6h": 6 * HOUR, "24h": DAY}
PRIOR_SHOWINGS = 50.0
CONTEXT = (
    "age",
    "showings",
    "clicks",
    *(f"{what}_{window}" for window in WINDOWS for what in ("showings", "clicks")),
    "click_rate",
    "click_rate_rank",
    "hour",
    "weekday",
    "user_clicks",
    "days_since_click",
)
"""The columns of `Context.of`: what is known of a candidate at its impression, and, the last four, of the user.

- `age`: hours since publication, or where that is not known since the first showing in the log; -1 before that.
- `showings`, `clicks`: ever before. `showings_1h`, `clicks_1h`, …: within so many hours before.
- `click_rate`: clicks by showings, shrunk to the rate of all articles as if there were `PRIOR_SHOWINGS` more.
- `click_rate_rank`: the share of the impression's candidates whose rate is higher, from 0.
- `hour`, `weekday`: of the impression, in UTC, 0 … 23 and Monday 0 … 6.
- `user_clicks`: the length of the history. `days_since_click`: since the user's last click in the log; -1 without one.
"""
_PLACE = {name: place for place, name in enumerate(CONTEXT)}
_EVENTS_AT_ONCE = 2**24
_IMPRESSIONS_AT_ONCE = 2**14
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
    def of_log(cls, log: ImpressionLog, news: NewsTable) -> Self:
        """Count a log whose articles are rows of `news`; an unlabelled one counts for nothing, clicks being unknown.

        It takes a share of the articles at a time, so that the events of a large log need not be sorted all at once.
        """
        if not log.labelled:
            return cls.of_events(news.ids, *_no_events())
        first, span = int(log.time.min()), int(np.ptp(log.time)) + 2
        clicks = log.candidates.sums(log.labels == 1)
        parts = [_distinct(log.time - first, log.candidates.lengths, clicks)]
        share = np.cumsum(np.bincount(log.candidates.values, minlength=len(news))) // _EVENTS_AT_ONCE
        edges = np.flatnonzero(np.diff(share, prepend=-1, append=share[-1] + 1))
        for low, high in itertools.pairwise(edges):
            place = np.flatnonzero((log.candidates.values >= low) & (log.candidates.values < high))
            seconds = log.time[log.candidates.row_of(place)] - first
            key = log.candidates.values[place].astype(np.int64) * span + seconds
            parts.append(_distinct(key, np.ones(len(place), np.int8), log.labels[place]))
        key, *counts = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return cls(news.ids, first, span, key, *map(_running, counts))

    @classmethod
    def of_users(cls, log: ImpressionLog) -> Self:
        """Count when each user of a log clicked; row u + 1 is that of user u."""
        clicks = log.candidates.sums(log.labels == 1)
        rows = np.flatnonzero(clicks > 0)
        ids = pa.concat_arrays([pa.array([""]), log.users])
        return cls.of_events(ids, log.user_of[rows] + 1, log.time[rows], clicks[rows], clicks[rows])

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all of it as arrays by name, to be written to a file."""
        text, offsets = pack_strings(self.ids)
        return {"text": text, "text_offsets": offsets, **{name: np.asarray(getattr(self, name)) for name in _SAVED}}

    @classmethod
    def of_arrays(cls, found: Mapping[str, np.ndarray]) -> Self:
        """Make counts of what `arrays` gave."""
        ids = unpack_strings(found["text"], found["text_offsets"])
        return cls(ids, **{name: found[name] if found[name].ndim else int(found[name]) for name in _SAVED})

    def save(self, path: Path) -> None:
        """Write the counts to a .npz."""
        np.savez_compressed(path, **self.arrays())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as found:
            return cls.of_arrays(found)

    def none(self) -> Self:
        """Return counts of the same rows without an event."""
        return self.of_events(self.ids, *_no_events())

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
        row, time, *counts = self.events()
        kept = self.offsets[row] if keep == "first" else self.before(row, np.full(len(row), moment)) - 1
        time = np.where(time < moment, self.time_of(kept), time)
        return replace(self.of_events(self.ids, row, time, *counts), detailed_from=moment)

    @cached_property
    def offsets(self) -> np.ndarray:
        """Where the events of each row begin, (N+1,) int64."""
        return np.searchsorted(self.key, np.arange(len(self.ids)) * self.span)

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


def _no_events() -> list[np.ndarray]:
    return [np.zeros(0, np.int64)] * 4


def _running(counts: np.ndarray) -> np.ndarray:
    return np.append(0, np.cumsum(counts, dtype=np.int64))


def _distinct(key: np.ndarray, shown: np.ndarray, clicked: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distinct ones among keys, ascending, with the sums of their two counts."""
    order = np.argsort(key, kind="stable")
    key = key[order]
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    sums = (np.add.reduceat(of[order], starts, dtype=np.int64) if len(starts) else of for of in (shown, clicked))
    return key[starts], *sums


@dataclass(frozen=True)
class Context:
    """What is known when impressions are shown.

    `horizon` holds showings and clicks back: with so many hours, those count that are older than this at the
    impression, as if the site learnt of them so late. With "split", nothing counts that is of the log itself, if it
    goes on from an earlier one. In the first log, the one to train on, each day takes this part, the last one ending
    with the log: what counts is what was before the impression's day.

    Attributes:
        log: the impressions.
        news: the news that it refers to.
        articles: the counts of the articles, by the rows of the news.
        users: the counts of the users, among them the log's.
        horizon: hours, or "split".
        period: the Unix seconds of the first and the last impression of the log that counts, of which `log` is a part.
        goes_on: whether there is an earlier log.
    """

    log: ImpressionLog
    news: NewsTable
    articles: Counts
    users: Counts
    horizon: float | str
    period: tuple[int, int]
    goes_on: bool = False

    @classmethod
    def of_log(
        cls,
        log: ImpressionLog,
        news: NewsTable,
        earlier: tuple[Counts, Counts] | None = None,
        horizon: float | str = 0.0,
    ) -> Self:
        """Count a log, on from what `counts` gave of an earlier one, as far as that was before this log began."""
        counted = Counts.of_log(log, news), Counts.of_users(log)
        period = int(log.time.min()), int(log.time.max())
        if earlier is not None:
            own = [of.none() for of in counted] if horizon == "split" else counted
            counted = (before.until(period[0]).then(of) for before, of in zip(earlier, own, strict=True))
        return cls(log, news, *counted, horizon, period, earlier is not None)

    def counts(self) -> tuple[Counts, Counts]:
        """Return what a later log goes on from, without the detail that none can ask for."""
        hours = 0.0 if self.horizon == "split" else self.horizon
        detailed = self.period[1] - max(WINDOWS.values()) - round(hours * HOUR)
        return self.articles.without_detail_before(detailed), self.users.without_detail_before(detailed, keep="last")

    @cached_property
    def known_at(self) -> np.ndarray:
        """The Unix seconds that all has to be before that counts, (impressions,)."""
        if self.horizon != "split":
            return self.log.time - round(self.horizon * HOUR)
        if self.goes_on:
            return np.full(len(self.log), self.period[0])
        end = self.period[1] + 1
        return end - -(-(end - self.log.time) // DAY) * DAY

    @cached_property
    def _user_row(self) -> np.ndarray:
        return pc.index_in(self.log.users, value_set=self.users.ids).fill_null(0).to_numpy()

    def of(self, impressions: np.ndarray, articles: np.ndarray) -> np.ndarray:
        """Return the columns of `CONTEXT` for articles shown in impressions, both (n,): (n, columns) float32."""
        order, starts, ends = self._past(impressions, articles)
        impression, article = impressions[order], articles[order]
        time, known_at = self.log.time[impression], self.known_at[impression]
        columns = {"age": self._ages(article, time, starts, ends), **self.articles.between(starts, ends)}
        for window, seconds in WINDOWS.items():
            since = self.articles.before(article, known_at - seconds)
            columns |= {f"{name}_{window}": count for name, count in self.articles.between(since, ends).items()}
        values = np.empty((len(articles), len(CONTEXT)), "float32")
        for name, column in columns.items():
            values[order, _PLACE[name]] = column
        distinct, place = np.unique(impressions, return_inverse=True)
        rates = self._click_rates(distinct, place, *(values[:, _PLACE[name]] for name in ("clicks", "showings")))
        values[:, [_PLACE["click_rate"], _PLACE["click_rate_rank"]]] = np.stack(rates, axis=1)
        values[:, -4:] = self._of_users(distinct)[place]
        return values

    def parts(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the columns of `CONTEXT` for a part of the log's candidates after another: where, and (n, columns)."""
        shown = self.log.candidates
        for first in range(0, len(shown), _IMPRESSIONS_AT_ONCE):
            impressions = np.arange(first, min(first + _IMPRESSIONS_AT_ONCE, len(shown)))
            part = shown.take(impressions)
            place = slice(shown.offsets[first], shown.offsets[impressions[-1] + 1])
            yield place, self.of(part.repeat(impressions), part.values)

    def _past(self, impressions: np.ndarray, articles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return an order, and in it where the events of each article begin, and where those end that count.

        The order is that of the events: to look for ascending places is many times faster than for any.
        """
        known_at = self.known_at[impressions]
        order = np.argsort(self.articles.key_of(articles, known_at))
        return order, self.articles.offsets[articles[order]], self.articles.before(articles[order], known_at[order])

    def _ages(self, articles: np.ndarray, time: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        published = self.news.published[articles]
        since = np.where(published > 0, published, self.articles.time_of(starts))
        return np.where((published > 0) | (ends > starts), np.maximum(time - since, 0) / HOUR, -1)

    def _click_rates(
        self, distinct: np.ndarray, place: np.ndarray, clicks: np.ndarray, showings: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return click rates and their ranks of pairs, whose impressions are some `distinct` ones at `place`."""
        ends = self.articles.before(np.zeros_like(distinct), self.known_at[distinct])
        of_all = self.articles.between(np.zeros_like(ends), ends)
        prior = PRIOR_SHOWINGS * (of_all["clicks"] + 1) / (of_all["showings"] + 25)  # 4 %, as MIND's, of nothing

        def rate(clicks: np.ndarray, showings: np.ndarray, prior: np.ndarray) -> np.ndarray:
            return (clicks.astype("float64") + prior) / (showings.astype("float64") + PRIOR_SHOWINGS)

        shown = self.log.candidates.take(distinct)
        order, starts, ends = self._past(shown.repeat(distinct), shown.values)
        rates = np.empty(len(order))
        past = self.articles.between(starts, ends)
        rates[order] = rate(past["clicks"], past["showings"], shown.repeat(prior)[order])
        # One ascending array for all: a rate is below 1, and those of the i-th impression are moved to i … i + 1.
        ranked = np.sort(shown.rows() + rates)
        own = rate(clicks, showings, prior[place])
        higher = shown.offsets[place + 1] - np.searchsorted(ranked, place + own, side="right")
        return own, higher / shown.lengths[place]

    def _of_users(self, impressions: np.ndarray) -> np.ndarray:
        """Return the last four columns."""
        time = self.log.time[impressions]
        user = self._user_row[self.log.user_of[impressions]]
        ends = self.users.before(user, self.known_at[impressions])
        clicked = (ends > self.users.offsets[user]) & (user > 0)
        return np.stack(
            [
                time // HOUR % 24,
                (time // DAY + 3) % 7,  # the epoch was a Thursday
                self.log.histories.lengths[self.log.history_of[impressions]],
                np.where(clicked, (time - self.users.time_of(ends - 1)) / DAY, -1),
            ],
            axis=-1,
        )
