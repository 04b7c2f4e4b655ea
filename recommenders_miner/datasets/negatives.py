"""Negatives for a log of clicks that does not say what was shown; docs/data.md says what follows from them.

Which articles a user saw and passed over is unknown, so it is supposed: for each click, articles that were alive at
that time. An article is alive if it was published by then, and somebody clicked on it within the window around the
click, before or after. Where it is not known when an article was published, that is when it was first clicked on, so
that none is a negative before anybody could read it. Articles that the same user clicks on, at any time, are no
negatives.

`popularity` (the default) draws a click of somebody else within the window, and takes its article: in proportion to the
clicks on it. `uniform` draws any article that is alive, each with the same probability.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pydantic
import pydantic.dataclasses
from pydantic import Field

from recommenders_miner.data.ragged import Ragged
from recommenders_miner.data.write import blocks_of_rows

Draw = Literal["popularity", "uniform"]

_BLOCK_CLICKS = 20_000  # clicks whose negatives are drawn at a time; another number draws others
_ROUNDS = 20  # of draws at random, after which what is left to draw from is counted out
_NONE = -1


@pydantic.dataclasses.dataclass(frozen=True)
class Negatives:
    """How negatives are drawn.

    Attributes:
        count: of each click, at most: fewer where fewer articles are alive.
        window_hours: how long before or after the click somebody has to have clicked on an article that is alive.
        draw: "popularity" or "uniform".
        seed: the same seed draws the same negatives.

    Raises:
        ValueError: a value is out of range.
    """

    count: int = Field(20, ge=1)
    window_hours: float = Field(24.0, ge=1 / 3600, le=24 * 365 * 1000)
    draw: Draw = "popularity"
    seed: int = Field(42, ge=0)


def draw_negatives(
    user: np.ndarray, time: np.ndarray, article: np.ndarray, published: np.ndarray, settings: Negatives
) -> tuple[Ragged, np.ndarray]:
    """Draw negatives for E clicks of `user` at `time`, ascending, on `article`, (E,) each.

    `published` are Unix seconds of each article, -1 where they are not known. The candidates of a click, int32, have
    itself at a random place; their labels are int8.
    """
    alive = _Alive(user, time, article, published, round(settings.window_hours * 3600))
    candidates, labels, lengths = [np.empty(0, np.int32)], [np.empty(0, np.int8)], [np.empty(0, np.int64)]
    for first in range(0, len(user), _BLOCK_CLICKS):
        clicks = np.arange(first, min(first + _BLOCK_CLICKS, len(user)))
        rng = np.random.default_rng([settings.seed, first])
        shown = np.concatenate([article[clicks, None], _draw(alive, clicks, settings, rng)], axis=1)
        places = rng.random(shown.shape)
        places[shown == _NONE] = 2.0  # after all that there are
        order = np.argsort(places, axis=1)
        shown = np.take_along_axis(shown, order, axis=1)
        real = shown != _NONE
        candidates.append(shown[real].astype(np.int32))
        labels.append((order == 0)[real].astype(np.int8))
        lengths.append(real.sum(axis=1))
    return Ragged.of_lengths(np.concatenate(candidates), np.concatenate(lengths)), np.concatenate(labels)


def _draw(alive: _Alive, clicks: np.ndarray, settings: Negatives, rng: np.random.Generator) -> np.ndarray:
    """Draw negatives of some clicks, (clicks, count), the places without one holding -1."""
    drawn = np.full((len(clicks), settings.count), _NONE, np.int64)
    most = alive.most(clicks)
    for _ in range(_ROUNDS):
        rows = np.flatnonzero((most > settings.count) & (drawn[:, -1] == _NONE))
        if not len(rows):
            break
        proposed = alive.propose(clicks[rows], settings, rng)
        drawn[rows] = _first_distinct(np.concatenate([drawn[rows], proposed], axis=1), settings.count)
    rows = np.flatnonzero(drawn[:, -1] == _NONE)
    for block in blocks_of_rows(most[rows]):
        drawn[rows[block]] = alive.filled_up(clicks[rows[block]], drawn[rows[block]], settings, rng)
    return drawn


def _first_distinct(values: np.ndarray, count: int) -> np.ndarray:
    """Return the first `count` distinct values of each row, -1 not being one and standing where they run out."""
    order = np.argsort(values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)
    repeated = np.zeros(values.shape, bool)
    np.put_along_axis(repeated, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    values = np.where(repeated, _NONE, values)
    front = np.argsort(values == _NONE, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(values, front, axis=1)


class _Alive:
    """Which articles are alive at a click; the arguments are those of `draw_negatives`, and a window in seconds."""

    def __init__(
        self, user: np.ndarray, time: np.ndarray, article: np.ndarray, published: np.ndarray, window: int
    ) -> None:
        first_click = np.full(len(published), np.iinfo(np.int64).max)
        np.minimum.at(first_click, article, time)
        self._published = np.where(published < 0, first_click, published)
        self._user, self._time, self._article = user.astype(np.int64), time, article.astype(np.int64)
        self._first = np.searchsorted(time, time - window, side="left")
        self._last = np.searchsorted(time, time + window, side="right")
        self._clicked = np.unique(self._user << 32 | self._article)
        # Clicks by article, then time. The rank of a click in the order of time stands for its time.
        self._clicks_of_articles = np.sort(self._article << 32 | np.arange(len(article)))
        # To draw from: for each stretch of time as long as the window, what was clicked on in it or beside it.
        stretch = (time - time[:1]) // window + 1
        own = np.unique(stretch << 32 | self._article)
        pooled = np.unique(np.concatenate([own + (shift << 32) for shift in (-1, 0, 1)]))
        stretches, sizes = np.unique(pooled >> 32, return_counts=True)
        self._pools = Ragged.of_lengths(pooled & (2**32 - 1), sizes)
        self._pool_of = np.searchsorted(stretches, stretch)

    def most(self, clicks: np.ndarray) -> np.ndarray:
        """Return at most how many negatives there are for each of some clicks."""
        return self._pools.lengths[self._pool_of[clicks]]

    def propose(self, clicks: np.ndarray, settings: Negatives, rng: np.random.Generator) -> np.ndarray:
        """Draw articles, by clicks of the window or each alike, (clicks, count); -1 stands for those not admitted."""
        shape = len(clicks), settings.count
        if settings.draw == "popularity":
            drawn = self._article[rng.integers(self._first[clicks, None], self._last[clicks, None], shape)]
        else:
            places = rng.integers(0, self.most(clicks)[:, None], shape)
            drawn = self._pools.values[self._pools.offsets[self._pool_of[clicks], None] + places]
        return np.where(self._admits(clicks[:, None], drawn), drawn, _NONE)

    def filled_up(
        self, clicks: np.ndarray, drawn: np.ndarray, settings: Negatives, rng: np.random.Generator
    ) -> np.ndarray:
        """Draw the negatives that some clicks lack from all that there are; return them all, (clicks, count)."""
        pools = self._pools.take(self._pool_of[clicks])
        row, article = pools.rows(), pools.values
        new = ~np.isin(row << 32 | article, np.arange(len(clicks))[:, None] << 32 | drawn)
        rest = np.flatnonzero(self._admits(clicks[row], article) & new)
        row, article = row[rest], article[rest]
        weight = self._clicks_within(article, clicks[row]) if settings.draw == "popularity" else 1
        # Of exponential waiting times, those of larger weight being shorter, the first are a draw without replacement.
        order = np.lexsort((rng.exponential(size=len(row)) / weight, row))
        row, article = row[order], article[order]
        place = (drawn != _NONE).sum(axis=1)[row] + np.arange(len(row)) - np.searchsorted(row, row)
        wanted = place < drawn.shape[1]
        filled = drawn.copy()
        filled[row[wanted], place[wanted]] = article[wanted]
        return filled

    def _admits(self, clicks: np.ndarray, articles: np.ndarray) -> np.ndarray:
        """Return whether articles are published by a click, clicked on in its window, and never by its user."""
        keys = self._user[clicks] << 32 | articles
        place = np.minimum(np.searchsorted(self._clicked, keys), len(self._clicked) - 1)
        new = self._clicked[place] != keys
        return new & (self._published[articles] <= self._time[clicks]) & (self._clicks_within(articles, clicks) > 0)

    def _clicks_within(self, articles: np.ndarray, clicks: np.ndarray) -> np.ndarray:
        """Count the clicks on articles within the windows of clicks."""
        last = np.searchsorted(self._clicks_of_articles, articles << 32 | self._last[clicks])
        return last - np.searchsorted(self._clicks_of_articles, articles << 32 | self._first[clicks])
