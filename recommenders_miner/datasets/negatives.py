"""Negatives for a log of clicks that does not say what was shown.

Which news a reader saw and passed over is unknown, so it is supposed: for each click, news that were alive at that
time. A news is alive if it was published by then, and somebody clicked on it within the window around the click,
before or after. Where it is not known when a news was published, that is when it was first clicked on, so that no news
is a negative before anybody could read it. News that the same user clicks on, at any time, are no negatives.

How they are drawn decides what a model can learn from them:

`popularity` (the default) draws a click of somebody else within the window, and takes its news: in proportion to the
clicks on it. Clicks are spread so themselves, so popularity does not help to tell a click from a negative, and what is
left to learn is whose interest a news is. Measured values are lower than on real impressions, and a model does not
learn to prefer what everybody likes. The longer the window, the more a news past its best hours is still drawn by the
clicks of these, which turns popularity against the news that have it.

`uniform` draws any news that is alive, each with the same probability. Popular news are then clicks far more often than
negatives, and popularity alone scores high.

Neither is what an editor shows. Compare models on the same negatives, and do not set the figures beside those of logs
with real impressions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from recommenders_miner.data.ragged import stretches
from recommenders_miner.data.write import blocks_of_rows

Draw = Literal["popularity", "uniform"]

DRAWS = ("popularity", "uniform")
MOST_HOURS = 24 * 365 * 1000

_BLOCK_CLICKS = 20_000  # clicks whose negatives are drawn at a time; another number draws others
_ROUNDS = 20  # of draws at random, after which what is left to draw from is counted out
_NONE = -1


@dataclass(frozen=True)
class Negatives:
    """How negatives are drawn.

    Attributes:
        count: of each click, at most: fewer where fewer news are alive.
        window_hours: how long before or after the click somebody has to have clicked on a news that is alive.
        draw: "popularity" or "uniform".
        seed: the same seed draws the same negatives.

    Raises:
        ValueError: a value is out of range.
    """

    count: int = 20
    window_hours: float = 24.0
    draw: Draw = "popularity"
    seed: int = 42

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"The number of negatives must be at least 1, got {self.count}.")
        if not 1 / 3600 <= self.window_hours <= MOST_HOURS:
            raise ValueError(
                f"window_hours must lie between a second and {MOST_HOURS:,} hours, got {self.window_hours}."
            )
        if self.draw not in DRAWS:
            raise ValueError(f"draw must be one of {', '.join(DRAWS)}, got {self.draw!r}.")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}.")


def draw_negatives(
    user: np.ndarray, time: np.ndarray, news: np.ndarray, published: np.ndarray, settings: Negatives
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws negatives for E clicks.

    Args:
        user: (E,) int, whose click it is.
        time: (E,) int64 Unix seconds, ascending.
        news: (E,) int, what was clicked on.
        published: (N,) int64 Unix seconds of each news; -1 where that is not known.
        settings: how they are drawn.

    Returns:
        The candidates of all clicks, (total,) int32, the click at a random place among its negatives; their labels,
        (total,) int8; and where each click's candidates begin and the last one's end, (E + 1,) int64.
    """
    published = _published_or_clicked(published, news, time)
    alive = _Alive(user, time, news, published, round(settings.window_hours * 3600))
    propose = alive.propose_clicks if settings.draw == "popularity" else alive.propose_news
    candidates, labels, counts = [np.empty(0, np.int32)], [np.empty(0, np.int8)], [np.empty(0, np.int64)]
    for first in range(0, len(user), _BLOCK_CLICKS):
        clicks = np.arange(first, min(first + _BLOCK_CLICKS, len(user)))
        rng = np.random.default_rng([settings.seed, first])
        drawn = _draw(alive, clicks, settings, propose, rng)
        shown = np.concatenate([news[clicks, None], drawn], axis=1)
        places = rng.random(shown.shape)
        places[shown == _NONE] = 2.0  # behind all that there are
        order = np.argsort(places, axis=1)
        shown = np.take_along_axis(shown, order, axis=1)
        real = shown != _NONE
        candidates.append(shown[real].astype(np.int32))
        labels.append((order == 0)[real].astype(np.int8))
        counts.append(real.sum(axis=1))
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64)
    return np.concatenate(candidates), np.concatenate(labels), offsets


def _published_or_clicked(published: np.ndarray, news: np.ndarray, time: np.ndarray) -> np.ndarray:
    """When each news was published, or first clicked on where that is not known, (N,) int64 Unix seconds."""
    first_click = np.full(len(published), np.iinfo(np.int64).max)
    np.minimum.at(first_click, news, time)
    return np.where(published < 0, first_click, published)


def _draw(
    alive: _Alive,
    clicks: np.ndarray,
    settings: Negatives,
    propose: Callable[[np.ndarray, int, np.random.Generator], np.ndarray],
    rng: np.random.Generator,
) -> np.ndarray:
    """Negatives of some clicks, (clicks, count), the places without one holding -1."""
    drawn = np.full((len(clicks), settings.count), _NONE, np.int64)
    plenty = alive.most(clicks) > settings.count
    for _ in range(_ROUNDS):
        rows = np.flatnonzero(plenty & (drawn[:, -1] == _NONE))
        if not len(rows):
            break
        proposed = propose(clicks[rows], settings.count, rng)
        proposed[~alive.admits(clicks[rows, None], proposed)] = _NONE
        drawn[rows] = _first_distinct(np.concatenate([drawn[rows], proposed], axis=1), settings.count)
    rows = np.flatnonzero(drawn[:, -1] == _NONE)
    for block in blocks_of_rows(alive.most(clicks[rows])):
        drawn[rows[block]] = _filled_up(alive, clicks[rows[block]], drawn[rows[block]], settings.draw, rng)
    return drawn


def _filled_up(
    alive: _Alive, clicks: np.ndarray, drawn: np.ndarray, draw: Draw, rng: np.random.Generator
) -> np.ndarray:
    """Draws the negatives that some clicks lack from all that there are; returns them all, (clicks, count)."""
    row, news, weight = alive.count_out(clicks)
    rest = ~np.isin(row << 32 | news, np.arange(len(clicks))[:, None] << 32 | drawn)
    row, news, weight = row[rest], news[rest], weight[rest] if draw == "popularity" else 1
    # Of exponential waiting times, those of larger weight being shorter, the first are a draw without replacement.
    order = np.lexsort((rng.exponential(size=len(row)) / weight, row))
    row, news = row[order], news[order]
    place = (drawn != _NONE).sum(axis=1)[row] + np.arange(len(row)) - np.searchsorted(row, row)
    wanted = place < drawn.shape[1]
    filled = drawn.copy()
    filled[row[wanted], place[wanted]] = news[wanted]
    return filled


def _first_distinct(values: np.ndarray, count: int) -> np.ndarray:
    """The first `count` distinct values of each row, -1 not being one and standing where they run out."""
    order = np.argsort(values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)
    repeated = np.zeros(values.shape, bool)
    np.put_along_axis(repeated, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    values = np.where(repeated, _NONE, values)
    front = np.argsort(values == _NONE, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(values, front, axis=1)


class _Alive:
    """Which news are alive at a click.

    Args:
        user: (E,) whose click it is.
        time: (E,) ascending.
        news: (E,) what was clicked on.
        published: (N,) when there was something to click on.
        window: seconds.
    """

    def __init__(
        self, user: np.ndarray, time: np.ndarray, news: np.ndarray, published: np.ndarray, window: int
    ) -> None:
        self._user, self._time, self._news, self._published = user.astype(np.int64), time, news, published
        self._first = np.searchsorted(time, time - window, side="left")
        self._last = np.searchsorted(time, time + window, side="right")
        self._clicked = np.unique(self._user << 32 | news)
        # Clicks by news, then time. The rank of a click in the order of time stands for its time.
        self._clicks_of_news = np.sort(news.astype(np.int64) << 32 | np.arange(len(news)))
        self._pools = _Pools.build((time - time[0]) // window if len(time) else time, news)

    def admits(self, clicks: np.ndarray, news: np.ndarray) -> np.ndarray:
        """Whether news are published by the time of a click, and not among its user's clicks; -1 is no news."""
        keys = self._user[clicks] << 32 | np.maximum(news, 0)
        place = np.minimum(np.searchsorted(self._clicked, keys), len(self._clicked) - 1)
        return (news != _NONE) & (self._clicked[place] != keys) & (self._published[news] <= self._time[clicks])

    def propose_clicks(self, clicks: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draws clicks of the window, and returns their news, (clicks, count)."""
        first, last = self._first[clicks, None], self._last[clicks, None]
        return self._news[rng.integers(first, last, (len(clicks), count))].astype(np.int64)

    def propose_news(self, clicks: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draws news, each alike, and returns those that are clicked on within the window, (clicks, count), else -1."""
        news = self._pools.draw(clicks, count, rng)
        first, last = self._ranks(news, clicks[:, None])
        return np.where(first < last, news, _NONE)

    def most(self, clicks: np.ndarray) -> np.ndarray:
        """At most how many negatives there are for each of some clicks."""
        return self._pools.size[clicks]

    def count_out(self, clicks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Finds all negatives of some clicks.

        Returns:
            For each of them, click by click, (total,): the place of its click among `clicks`; the news; how often it is
            clicked on within the window.
        """
        row, news = self._pools.of(clicks)
        first, last = self._ranks(news, clicks[row])
        admitted = (first < last) & self.admits(clicks[row], news)
        return row[admitted], news[admitted], (last - first)[admitted]

    def _ranks(self, news: np.ndarray, clicks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the clicks on news within the window of a click begin, and end, among all by news and time."""
        keys = news << 32
        return (
            np.searchsorted(self._clicks_of_news, keys | self._first[clicks]),
            np.searchsorted(self._clicks_of_news, keys | self._last[clicks]),
        )


@dataclass(frozen=True)
class _Pools:
    """News to draw from: for each stretch of time as long as the window, those clicked on in it or beside it.

    Attributes:
        news: the pools one behind another, int64.
        start: (E,) where the pool of each click's stretch begins.
        size: (E,) how many news it has.
    """

    news: np.ndarray
    start: np.ndarray
    size: np.ndarray

    @classmethod
    def build(cls, stretch: np.ndarray, news: np.ndarray) -> _Pools:
        own = np.unique((stretch.astype(np.int64) + 1) << 32 | news)
        pooled = np.unique(np.concatenate([own + (shift << 32) for shift in (-1, 0, 1)]))
        of_stretch = pooled >> 32
        start = np.searchsorted(of_stretch, stretch + 1, side="left")
        return cls(pooled & (2**32 - 1), start, np.searchsorted(of_stretch, stretch + 1, side="right") - start)

    def of(self, clicks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the pools of some clicks one behind another: the place among `clicks` of each news, and the news."""
        size = self.size[clicks]
        return np.repeat(np.arange(len(clicks)), size), self.news[stretches(self.start[clicks], size)]

    def draw(self, clicks: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draws from the pool of each click, (clicks, count)."""
        places = rng.integers(0, self.size[clicks, None], (len(clicks), count))
        return self.news[self.start[clicks, None] + places]
