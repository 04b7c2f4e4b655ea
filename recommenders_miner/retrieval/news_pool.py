"""A pool of news, and the ways to find the best of it for a batch of users, given their interest vectors.

All here is arrays: interests come from whichever model, and no model is called.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np

from recommenders_miner.retrieval.news_index import NewsIndex, TopK, WeightedScores, best_of, is_repeated


@dataclass(frozen=True)
class PoolQuery:
    """What B users search a pool with.

    Attributes:
        interests: (B, P, K, d) float32, K interests for each of the pool's P parts.
        hidden_user: (E,) int64, the user of each article that must not be found.
        hidden_row: (E,) int64, these articles.
        period: (2, B) int64, the first and the last time at which articles may have been first seen; None: no limits.
    """

    interests: np.ndarray
    hidden_user: np.ndarray
    hidden_row: np.ndarray
    period: np.ndarray | None = None

    @classmethod
    def unlimited(cls, interests: np.ndarray) -> Self:
        """Return a query that may find all news."""
        nothing = np.zeros(0, np.int64)
        return cls(interests, nothing, nothing)

    def __len__(self) -> int:
        """The number of users."""
        return len(self.interests)

    def hides(self, rows: np.ndarray) -> np.ndarray:
        """Say which of each user's articles (B, n) must not be found, (B, n) bool."""
        size = int(self.hidden_row.max(initial=-1)) + 1
        keys = np.where(rows < size, np.arange(len(self))[:, None] * size + rows, -1)
        return np.isin(keys, self.hidden_user * size + self.hidden_row)

    def by_interest(self) -> PoolQuery:
        """Return a query of B · K users of one interest each."""
        users, parts, count, dim = self.interests.shape
        return PoolQuery(
            self.interests.swapaxes(1, 2).reshape(users * count, parts, 1, dim),
            (self.hidden_user[:, None] * count + np.arange(count)).ravel(),
            np.repeat(self.hidden_row, count),
            None if self.period is None else np.repeat(self.period, count, axis=1),
        )


class NewsPool:
    """News to search, in parts that are each searched with interests of their own, each part in the order of time.

    A part and a period together are then a run of vectors, which an index can search without looking at the others.

    Args:
        vectors: (N, d) float32.
        part_of: (N,) int, the part of each article, 0 … P-1; None: there is but one.
        first_seen: (N,) int64, the time from which on each article can be found; None: of no interest.
        targets: (N, d) float32, second vectors, which make the score MINER-weighted's: see `WeightedScores`; None: it
            is the largest inner product with an interest, `max_i e_i^T h`.
        index: `flat`, which is exact, `ivf` or `hnsw`; see `NewsIndex`.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        part_of: np.ndarray | None = None,
        first_seen: np.ndarray | None = None,
        targets: np.ndarray | None = None,
        index: str = "flat",
    ) -> None:
        nothing = np.zeros(len(vectors), np.int64)
        part_of = nothing if part_of is None else part_of
        first_seen = nothing if first_seen is None else first_seen
        self._row_at = np.lexsort((first_seen, part_of))
        self._first_seen = first_seen[self._row_at]
        ordered = np.ascontiguousarray(vectors[self._row_at], "float32")
        self._weighted = None if targets is None else WeightedScores(ordered, targets[self._row_at])
        self._bounds = np.searchsorted(part_of[self._row_at], np.arange(int(part_of.max(initial=0)) + 2))
        self._indexes = [NewsIndex(index, ordered[start:end], start) for start, end in pairwise(self._bounds)]

    def __len__(self) -> int:
        """The number of news."""
        return len(self._row_at)

    def search(self, query: PoolQuery, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Find the k articles of each user that score highest by the interests in the article's part.

        Args:
            query: of B users.
            k: how many; may be more than there are.

        Returns:
            Scores (B, k) float32, descending, and rows (B, k) int64 of `vectors`; -inf and -1 where there are too few.
        """
        # Deep enough to find k where the hidden articles are the best.
        best = TopK(len(query), k + int(np.bincount(query.hidden_user).max(initial=0)))
        for part, (index, (start, end)) in enumerate(zip(self._indexes, pairwise(self._bounds), strict=True)):
            windows = np.tile([[start], [end]], len(query))
            if query.period is not None:
                seen, (earliest, latest) = self._first_seen[start:end], query.period
                windows = start + np.stack([np.searchsorted(seen, earliest), np.searchsorted(seen, latest, "right")])
            index.search(query.interests[:, part], windows, best, self._weighted)
        scores, places = best.best()
        rows = np.where(places >= 0, self._row_at[places], -1)
        scores[query.hides(rows)] = -np.inf
        scores, rows = best_of(scores, rows, k)
        return scores, np.where(scores > -np.inf, rows, -1)

    def search_in_turns(self, query: PoolQuery, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Find k articles of each user by letting the interests choose in turns, so that each has its share.

        First comes the best article of every interest, the best matched first, then their second best, and so on; what
        several interests choose stands where it is first chosen.

        Args:
            query: of B users.
            k: how many; may be more than there are.

        Returns:
            Scores (B, k) float32, each by the interest that chose the article, and rows (B, k) int64 of `vectors`; -inf
            and -1 where there are too few.
        """
        found = self.search(query.by_interest(), k)
        scores, rows = (values.reshape(len(query), -1, k).swapaxes(1, 2) for values in found)
        order = np.argsort(-scores, axis=2, kind="stable")
        scores, rows = (np.take_along_axis(v, order, axis=2).reshape(len(query), -1) for v in (scores, rows))
        left_out = is_repeated(rows) | (rows < 0)
        order = np.argsort(left_out, axis=1, kind="stable")[:, :k]
        scores, rows = np.where(left_out, -np.inf, scores), np.where(left_out, -1, rows)
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
