"""What is known of a candidate when its impression is shown: age, showings and clicks so far, counted in the past.

How not to fool oneself with such figures is the subject of docs/context.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.counts import Counts, Past, clicks_with_label, shrunk_rate
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
    "clicks_in_category",
    "clicks_in_subcategory",
    "expected_in_category",
    "expected_in_subcategory",
    "hour",
    "weekday",
    "user_clicks",
    "days_since_click",
)
"""The columns of a context: what is known of a candidate at its impression, and, the last four, of the user.

- `age`: hours since publication, or where that is not known since the first showing in the log; -1 before that.
- `showings`, `clicks`: ever before. `showings_1h`, `clicks_1h`, …: within so many hours before.
- `click_rate`: clicks by showings, shrunk to the rate of all articles as if there were `PRIOR_SHOWINGS` more.
- `click_rate_rank`: the share of the impression's candidates whose rate is higher, from 0.
- `clicks_in_category`, `clicks_in_subcategory`: how many of the history's clicks are on articles of the candidate's;
  `expected_in_…`: how many would be, if the user were like all users before the first log.
- `hour`, `weekday`: of the impression, in UTC, 0 … 23 and Monday 0 … 6.
- `user_clicks`: the length of the history. `days_since_click`: since the user's last click in the log; -1 without one.
"""
_IMPRESSIONS_AT_ONCE = 2**14
_LABELS = ("category", "subcategory")


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
        labels: the clicks by label before the first log.
        horizon: hours, or "split".
        period: the Unix seconds of the first and the last impression of the log that counts, of which `log` is a part.
        goes_on: whether there is an earlier log.
        columns: those of `CONTEXT` that are wanted; see `only`.
    """

    log: ImpressionLog
    news: NewsTable
    articles: Counts
    users: Counts
    labels: Counts
    horizon: float | str
    period: tuple[int, int]
    goes_on: bool = False
    columns: Sequence[str] = CONTEXT

    @classmethod
    def of_log(
        cls,
        log: ImpressionLog,
        news: NewsTable,
        earlier: Past | None = None,
        horizon: float | str = 0.0,
        cache: Path | None = None,
    ) -> Self:
        """Count a log, on from what `counts` gave of an earlier one, as far as that was before this log began.

        `cache` is a folder to keep the counts of its articles in.
        """
        period = int(log.time.min()), int(log.time.max())
        if earlier is None:
            counted = Counts.of_log(log, news, cache), Counts.of_users(log), Counts.of_labels(log, news)
            return cls(log, news, *counted, horizon, period)
        articles, users, labels = (counts.until(period[0]) for counts in earlier)
        if horizon == "split" or not log.labelled:
            articles = articles.then(Counts.nothing(news.ids))
        else:
            articles, users = articles.then(Counts.of_log(log, news, cache)), users.then(Counts.of_users(log))
        return cls(log, news, articles, users, labels, horizon, period, goes_on=True)

    def only(self, columns: Sequence[str]) -> Self:
        """Return the context of which some columns alone are computed, in this order."""
        return replace(self, columns=columns)

    def counts(self) -> Past:
        """Return what a later log goes on from, without the detail that none can ask for."""
        hours = 0.0 if self.horizon == "split" else self.horizon
        detailed = self.period[1] - max(WINDOWS.values()) - round(hours * HOUR)
        users = self.users.without_detail_before(detailed, keep="last")
        return Past(self.articles.without_detail_before(detailed), users, self.labels)

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
        """Return the columns, (…, columns) float32, of articles shown in impressions: (n,) each, or (B, C) and (B,)."""
        if articles.ndim == 2:
            of_each = self.of(np.repeat(impressions, articles.shape[1]), articles.ravel())
            return of_each.reshape(*articles.shape, len(self.columns))
        starts = np.flatnonzero(np.diff(impressions, prepend=-1))  # what is one impression's often stands together
        place = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(impressions)))
        distinct = impressions[starts]
        found = self._of_articles(impressions, articles)
        if self._want("click_rate", "click_rate_rank"):
            prior = self._usual_rate(distinct)
            found["click_rate"] = shrunk_rate(found["clicks"], found["showings"], prior[place], PRIOR_SHOWINGS)
        if self._want("click_rate_rank"):
            found["click_rate_rank"] = self._ranks(distinct, place, articles, found["click_rate"], prior)
        history_of = self.log.history_of[distinct]
        found["user_clicks"] = self.log.histories.lengths[history_of][place]
        for label in _LABELS:
            of_articles = self.news.labels[label][1]
            if self._want(f"clicks_in_{label}"):
                histories = self.log.histories.take(history_of)
                found[f"clicks_in_{label}"] = clicks_with_label(histories, place, of_articles, articles)
            if self._want(f"expected_in_{label}"):
                usual = self._usual_shares[label][of_articles[articles]]
                found[f"expected_in_{label}"] = found["user_clicks"] * usual
        time = self.log.time[impressions]
        found |= {"hour": time // HOUR % 24, "weekday": (time // DAY + 3) % 7}  # the epoch was a Thursday
        if self._want("days_since_click"):
            found["days_since_click"] = self._days_since_click(distinct)[place]
        return np.stack([found[name].astype("float32") for name in self.columns], axis=-1)

    def _want(self, *names: str) -> bool:
        return not set(names).isdisjoint(self.columns)

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

    def _of_articles(self, impressions: np.ndarray, articles: np.ndarray) -> dict[str, np.ndarray]:
        """Return the age and the counts of pairs."""
        order, starts, ends = self._past(impressions, articles)
        article, known_at = articles[order], self.known_at[impressions[order]]
        published = self.news.published[article]
        since = np.where(published > 0, published, self.articles.time_of(starts))
        hours = np.maximum(self.log.time[impressions[order]] - since, 0) / HOUR
        found = {"age": np.where((published > 0) | (ends > starts), hours, -1), **self.articles.between(starts, ends)}
        for window, seconds in WINDOWS.items():
            if self._want(f"showings_{window}", f"clicks_{window}"):
                since = self.articles.before(article, known_at - seconds)
                found |= {f"{name}_{window}": count for name, count in self.articles.between(since, ends).items()}
        back = np.empty(len(order), np.intp)
        back[order] = np.arange(len(order))
        return {name: column[back] for name, column in found.items()}

    def _usual_rate(self, impressions: np.ndarray) -> np.ndarray:
        """Return the click rate of all articles before each impression; of nothing 4 %, as MIND's."""
        ends = self.articles.before(np.zeros_like(impressions), self.known_at[impressions])
        of_all = self.articles.between(np.zeros_like(ends), ends)
        return (of_all["clicks"] + 1) / (of_all["showings"] + 25)

    def _ranks(
        self, distinct: np.ndarray, place: np.ndarray, articles: np.ndarray, own: np.ndarray, usual: np.ndarray
    ) -> np.ndarray:
        """Return the share of each impression's candidates whose rate is above one's own, (n,).

        The impressions are some `distinct` ones, at `place` (n,); `usual` is the usual rate there.
        """
        shown = self.log.candidates.take(distinct)
        row = shown.rows()
        if np.array_equal(shown.values, articles) and np.array_equal(row, place):  # all that was shown
            rates = own
        else:
            order, starts, ends = self._past(shown.repeat(distinct), shown.values)
            past, rates = self.articles.between(starts, ends), np.empty(len(order))
            rates[order] = shrunk_rate(past["clicks"], past["showings"], shown.repeat(usual)[order], PRIOR_SHOWINGS)
        # One ascending array for all: a rate is below 1, and those of the i-th impression are moved to i … i + 1.
        ranked = np.sort(row + rates)
        higher = shown.offsets[place + 1] - np.searchsorted(ranked, place + own, side="right")
        return higher / shown.lengths[place]

    @cached_property
    def _usual_shares(self) -> dict[str, np.ndarray]:
        """The share that each of the news' categories and subcategories had of all clicks before the first log."""
        clicks, shares = np.diff(self.labels.clicks[self.labels.offsets]), {}
        for label, (names, _) in self.news.labels.items():
            ids = pa.array([f"{label}/{name}" for name in names], pa.string())
            row = pc.index_in(ids, value_set=self.labels.ids).fill_null(-1).to_numpy()
            shares[label] = np.where(row > 0, clicks[row], 0) / max(clicks[0], 1)
        return shares

    def _days_since_click(self, impressions: np.ndarray) -> np.ndarray:
        user = self._user_row[self.log.user_of[impressions]]
        ends = self.users.before(user, self.known_at[impressions])
        clicked = (ends > self.users.offsets[user]) & (user > 0)
        return np.where(clicked, (self.log.time[impressions] - self.users.time_of(ends - 1)) / DAY, -1)
