"""What is known of a candidate when its impression is shown: age, showings and clicks so far, counted in the past.

How not to fool oneself with such figures is the subject of docs/context.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.counts import LABELS, Counts, Past
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
"""The columns of `Context.of`: what is known of a candidate at its impression, and, the last four, of the user.

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
_PLACE = {name: place for place, name in enumerate(CONTEXT)}


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
    """

    log: ImpressionLog
    news: NewsTable
    articles: Counts
    users: Counts
    labels: Counts
    horizon: float | str
    period: tuple[int, int]
    goes_on: bool = False

    @classmethod
    def of_log(
        cls,
        log: ImpressionLog,
        news: NewsTable,
        earlier: Past | None = None,
        horizon: float | str = 0.0,
    ) -> Self:
        """Count a log, on from what `counts` gave of an earlier one, as far as that was before this log began."""
        counted = Counts.of_log(log, news), Counts.of_users(log), Counts.of_labels(log, news)
        period = int(log.time.min()), int(log.time.max())
        if earlier is not None:
            own = [of.none() for of in counted] if horizon == "split" else [*counted[:2], counted[2].none()]
            counted = (before.until(period[0]).then(of) for before, of in zip(earlier, own, strict=True))
        return cls(log, news, *counted, horizon, period, earlier is not None)

    def counts(self) -> Past:
        """Return what a later log goes on from, without the detail that none can ask for."""
        hours = 0.0 if self.horizon == "split" else self.horizon
        detailed = self.period[1] - max(WINDOWS.values()) - round(hours * HOUR)
        users = self.users.without_detail_before(detailed, keep="last")
        return self.articles.without_detail_before(detailed), users, self.labels

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
        for label in LABELS:
            values[:, _PLACE[f"clicks_in_{label}"]] = self._clicks_in(label, distinct, place, articles)
        values[:, -4:] = self._of_users(distinct)[place]
        for label in LABELS:
            expected = values[:, _PLACE["user_clicks"]] * self._usual[label][articles]
            values[:, _PLACE[f"expected_in_{label}"]] = expected
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

    def _clicks_in(self, label: str, distinct: np.ndarray, place: np.ndarray, articles: np.ndarray) -> np.ndarray:
        """Count the clicks of each pair's history whose category, or subcategory, is the article's."""
        labels = self._labels[label]
        clicked = self.log.histories.take(self.log.history_of[distinct])
        size = int(labels.max()) + 1
        clicks = np.sort(clicked.rows() * size + labels[clicked.values])
        first, end = (np.searchsorted(clicks, place * size + labels[articles], side) for side in ("left", "right"))
        return end - first

    @cached_property
    def _labels(self) -> dict[str, np.ndarray]:
        return {
            name: getattr(self.news, name).dictionary_encode().indices.to_numpy().astype("int64") for name in LABELS
        }

    @cached_property
    def _usual(self) -> dict[str, np.ndarray]:
        """The share of all clicks before the first log that each article's label had, (N+1,) float64."""
        clicks = np.diff(self.labels.clicks[np.append(self.labels.offsets, len(self.labels.key))])
        usual = {}
        for label in LABELS:
            names = pa.array([f"{label}/{name}" for name in getattr(self.news, label).to_pylist()], pa.string())
            row = pc.index_in(names, value_set=self.labels.ids).fill_null(-1).to_numpy()
            usual[label] = np.where(row > 0, clicks[row], 0) / max(clicks[0], 1)
        return usual

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
