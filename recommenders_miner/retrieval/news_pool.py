"""A pool of news, and the ways to find the best of it for a batch of users, given their interest vectors.

All here is arrays: interests come from whichever model, and no model is called. A pool is cut into parts, each with an
index of its own, exact or approximate; a pool's places are its articles part by part, each part in the order of time.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

INDEXES = ("flat", "ivf", "hnsw")
SMALLEST_APPROXIMATE = 20_000
"""Fewer articles, as of a rare category or a short period, are searched exactly: an approximate index saves little."""
_BLOCK_SCORES = 2**22
"""Inner products of one step of a search, 16 MB."""
_CLUSTERS_VISITED = 32

Hidden = tuple[np.ndarray, np.ndarray]
NOTHING_HIDDEN: Hidden = np.zeros(0, np.int64), np.zeros(0, np.int64)


class TopK:
    """Keeps the k best scores of each of `users` users among all that it is shown, on faiss' heaps."""

    def __init__(self, users: int, k: int) -> None:
        import faiss

        self.k = k
        self._heaps = faiss.ResultHeap(users, k, keep_max=True)

    def add(self, scores: np.ndarray, places: np.ndarray, users: np.ndarray | None = None) -> None:
        """Show some users (R,), or all, scores (R, n) float32 of places (R, n) or (n,); -inf is never kept."""
        users = np.arange(len(scores)) if users is None else users
        self._heaps.add_result_subset(users, scores, places)

    def lowest(self) -> np.ndarray:
        """Return what a score has to exceed to be kept, (B,) float32."""
        return self._heaps.D[:, 0]

    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """End the search: scores (B, k) float32, descending, and places (B, k) int64; -inf and -1 where too few."""
        self._heaps.finalize()
        scores, places = self._heaps.D, self._heaps.I
        scores[places < 0] = -np.inf
        return scores, places


def best_of(scores: np.ndarray, places: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Sort each row of scores (B, n) and their places, highest first, equal ones as they stood, and cut it after k."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(places, order, axis=1)


def is_repeated(places: np.ndarray) -> np.ndarray:
    """Say which entries of places (B, n) have an equal before them in their row, (B, n) bool."""
    order = np.argsort(places, axis=1, kind="stable")
    ordered = np.take_along_axis(places, order, axis=1)
    repeated = np.zeros(places.shape, bool)
    np.put_along_axis(repeated, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    return repeated


def weighted_mean(scores: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Return the means over axis 0 of scores (K, n), weighted by the softmax of logits (K, n) over it, (n,)."""
    weights = np.exp(logits - logits.max(axis=0))
    return (weights * scores).sum(axis=0) / weights.sum(axis=0)


@dataclass(frozen=True)
class WeightedScores:
    """MINER-weighted's scores, from a second vector of each article (MINER, Section 3.4).

        s = Σ_i w_i s_i,    s_i = e_i^T h,    w = softmax_i(e_i^T t),    t = gelu(W^e h)

    The weights are positive and add up to 1, so that s ≤ max_i s_i. Articles whose best interest does not reach the
    k-th score so far need no weights: this is the threshold algorithm of Fagin, Lotem and Naor, "Optimal Aggregation
    Algorithms for Middleware", JCSS 2003, with a bound for each article.
    """

    vectors: np.ndarray  # (N, d) float32, h of the article at each place
    targets: np.ndarray  # (N, d) float32, t of the article at each place

    def replace(
        self,
        bounds: np.ndarray,
        interests: np.ndarray,
        places: np.ndarray,
        lowest: np.ndarray,
        matches: np.ndarray | None = None,
    ) -> None:
        """Put scores in the place of bounds (R, n), the largest s_i, that exceed `lowest` (R,), and -inf elsewhere.

        Interests are (R, K, d), places (n,) or (R, n), and matches (R, K, n), all s_i, where they are known.
        """
        wanted = bounds > lowest[:, None]
        places = np.broadcast_to(places, bounds.shape)
        for user in np.flatnonzero(wanted.any(axis=1)):
            columns = np.flatnonzero(wanted[user])
            news = places[user, columns]
            logits = interests[user] @ self.targets[news].T
            scores = interests[user] @ self.vectors[news].T if matches is None else matches[user][:, columns]
            bounds[user] = -np.inf
            bounds[user, columns] = weighted_mean(scores, logits)


class NewsIndex:
    """Vectors of articles at successive places of a pool, searched exactly or, in a fraction of the time, nearly so.

    - `flat`: inner products with all articles, a block of them at a time.
    - `ivf`: 2 √n clusters of articles, of which each interest visits the 32 nearest (Sivic and Zisserman, "Video
      Google", ICCV 2003).
    - `hnsw`: a graph of neighbours in layers (Malkov and Yashunin, "Efficient and Robust Approximate Nearest Neighbor
      Search Using Hierarchical Navigable Small World Graphs", TPAMI 2020). It is much faster than `ivf`, and takes much
      longer to build.

    The vectors are (n, d) float32, the first of them at the place `start`.
    """

    def __init__(self, kind: str, vectors: np.ndarray, start: int = 0) -> None:
        import faiss

        self.kind, self.vectors, self.start = kind, vectors, start
        self.is_exact = kind == "flat" or len(vectors) < SMALLEST_APPROXIMATE
        if self.is_exact:
            return
        count, dim = vectors.shape
        if kind == "hnsw":
            self._faiss = faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT)
            self._faiss.hnsw.efConstruction = 80
        else:
            self._faiss = faiss.index_factory(dim, f"IVF{2 * int(count**0.5)},Flat", faiss.METRIC_INNER_PRODUCT)
            self._faiss.cp.max_points_per_centroid = 64
            self._faiss.train(vectors)
        self._faiss.add(vectors)

    def search(
        self, interests: np.ndarray, windows: np.ndarray, best: TopK, weighted: WeightedScores | None = None
    ) -> None:
        """Show `best` the articles that users may be shown, with `max_i e_i^T h` or MINER-weighted's score.

        Interests are (B, K, d) float32; windows (2, B) int64 say where each user's places begin and end, exclusive.
        """
        exactly = self.is_exact or np.diff(windows, axis=0).max() < SMALLEST_APPROXIMATE
        (self._search_exactly if exactly else self._search_nearest)(interests, windows, best, weighted)

    def _search_exactly(
        self, interests: np.ndarray, windows: np.ndarray, best: TopK, weighted: WeightedScores | None
    ) -> None:
        first, last = windows[..., None]
        queries = interests.reshape(-1, interests.shape[-1])
        step = max(_BLOCK_SCORES // len(queries), 1)
        end = int(last.max())
        for start in range(int(first.min()), end, step):
            places = np.arange(start, min(start + step, end))
            matches = queries @ self.vectors[places[0] - self.start : places[-1] + 1 - self.start].T
            matches = matches.reshape(*interests.shape[:2], -1)
            scores = matches.max(axis=1)
            if first.max() > start or last.min() <= places[-1]:
                scores[(places < first) | (places >= last)] = -np.inf
            if weighted:
                weighted.replace(scores, interests, places, best.lowest(), matches)
            best.add(scores, places)

    def _search_nearest(
        self, interests: np.ndarray, windows: np.ndarray, best: TopK, weighted: WeightedScores | None
    ) -> None:
        import faiss

        depth = min(best.k, self._faiss.ntotal)
        at_once = max(_BLOCK_SCORES // (interests.shape[1] * depth), 1)
        windows, window_of = np.unique(windows, axis=1, return_inverse=True)
        for window, (first, last) in enumerate(windows.T - self.start):
            whole = first <= 0 and last >= self._faiss.ntotal
            window_only = {} if whole else {"sel": faiss.IDSelectorRange(int(first), int(last))}
            if self.kind == "hnsw":
                parameters = faiss.SearchParametersHNSW(efSearch=2 * depth, **window_only)
            else:
                parameters = faiss.SearchParametersIVF(nprobe=_CLUSTERS_VISITED, **window_only)
            members = np.flatnonzero(window_of.ravel() == window)
            for block in range(0, len(members), at_once):
                users = members[block : block + at_once]
                queries = interests[users].reshape(-1, interests.shape[-1])
                found = self._faiss.search(queries, depth, params=parameters)
                scores, places = (values.reshape(len(users), -1) for values in found)
                places[places >= 0] += self.start
                scores, places = best_of(scores, places, scores.shape[1])
                scores[is_repeated(places) | (places < 0)] = -np.inf
                if weighted:
                    weighted.replace(scores, interests[users], places, best.lowest()[users])
                best.add(scores, places, users)


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

    def search(
        self, interests: np.ndarray, k: int, hidden: Hidden = NOTHING_HIDDEN, period: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the k articles of each of B users that score highest by the interests in the article's part.

        Args:
            interests: (B, P, K, d) float32, K interests for each of the pool's P parts.
            k: how many; may be more than there are.
            hidden: users (E,) and articles (E,) int64 that they must not find.
            period: (2, B) int64, the first and the last time at which articles may have been first seen; None: any.

        Returns:
            Scores (B, k) float32, descending, and rows (B, k) int64 of `vectors`; -inf and -1 where there are too few.
        """
        users, (hidden_user, hidden_row) = len(interests), hidden
        # Deep enough to find k where the hidden articles are the best.
        best = TopK(users, k + int(np.bincount(hidden_user).max(initial=0)))
        for part, (index, (start, end)) in enumerate(zip(self._indexes, pairwise(self._bounds), strict=True)):
            windows = np.tile([[start], [end]], users)
            if period is not None:
                seen, (earliest, latest) = self._first_seen[start:end], period
                windows = start + np.stack([np.searchsorted(seen, earliest), np.searchsorted(seen, latest, "right")])
            index.search(interests[:, part], windows, best, self._weighted)
        scores, places = best.best()
        rows = np.where(places >= 0, self._row_at[places], -1)
        size = len(self._row_at)  # (user, row) pairs as one number each; what was not found has -1
        found = np.where(rows >= 0, np.arange(users)[:, None] * size + rows, -1)
        scores[np.isin(found, hidden_user * size + hidden_row)] = -np.inf
        scores, rows = best_of(scores, rows, k)
        return scores, np.where(scores > -np.inf, rows, -1)

    def search_in_turns(
        self, interests: np.ndarray, k: int, hidden: Hidden = NOTHING_HIDDEN, period: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find k articles of each user by letting the interests choose in turns, so that each has its share.

        First comes the best article of every interest, the best matched first, then their second best, and so on; what
        several interests choose stands where it is first chosen. Returned is what `search` returns, each score by the
        interest that chose the article.
        """
        users, parts, count, dim = interests.shape
        found = self.search(  # for B · K users of one interest each
            interests.swapaxes(1, 2).reshape(users * count, parts, 1, dim),
            k,
            ((hidden[0][:, None] * count + np.arange(count)).ravel(), np.repeat(hidden[1], count)),
            None if period is None else np.repeat(period, count, axis=1),
        )
        scores, rows = (values.reshape(users, -1, k).swapaxes(1, 2) for values in found)
        order = np.argsort(-scores, axis=2, kind="stable")
        scores, rows = (np.take_along_axis(v, order, axis=2).reshape(users, -1) for v in (scores, rows))
        left_out = is_repeated(rows) | (rows < 0)
        order = np.argsort(left_out, axis=1, kind="stable")[:, :k]
        scores, rows = np.where(left_out, -np.inf, scores), np.where(left_out, -1, rows)
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
