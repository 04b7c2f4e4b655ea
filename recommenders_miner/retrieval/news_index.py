"""Indexes of news vectors, searched by several interests of a reader at once: exact, and approximate for large pools.

News are named by their places in the pool that an index is a part of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from recommenders_miner.retrieval.top_k import TopK, best_of, is_repeated

INDEXES = ("flat", "ivf", "hnsw")
SMALLEST_APPROXIMATE = 20_000
"""Fewer news, as of a rare category or a short period, are searched exactly: an approximate index would save little."""
_BLOCK_SCORES = 2**22
"""Inner products of one step of a search, 16 MB."""
_CLUSTERS_VISITED = 32


@dataclass(frozen=True)
class Allowed:
    """The places that each of B readers may be shown.

    Attributes:
        first: (B,) int64, where the reader's window of places begins.
        last: (B,) int64, where it ends, exclusive.
        hidden_reader: (E,) int64, the reader of each place that is left out.
        hidden_place: (E,) int64, these places, ascending.
    """

    first: np.ndarray
    last: np.ndarray
    hidden_reader: np.ndarray
    hidden_place: np.ndarray

    def mask(self, scores: np.ndarray, start: int) -> None:
        """Sets scores (B, n) of places start … start + n - 1 to -inf where a reader may not be shown them."""
        end = start + scores.shape[1]
        if self.first.max() > start or self.last.min() < end:
            places = np.arange(start, end)
            scores[(places < self.first[:, None]) | (places >= self.last[:, None])] = -np.inf
        hidden = slice(*np.searchsorted(self.hidden_place, [start, end]))
        scores[self.hidden_reader[hidden], self.hidden_place[hidden] - start] = -np.inf

    def hides(self, readers: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Which of some readers' (R,) places (R, n) are left out though they are in the window, (R, n) bool."""
        size = int(places.max(initial=0)) + 1
        hidden = self.hidden_place < size
        keys = self.hidden_reader[hidden] * size + self.hidden_place[hidden]
        return np.isin(readers[:, None] * size + places, keys) & (places >= 0)

    def most_hidden(self) -> int:
        """The largest number of places that is left out of one reader's."""
        return int(np.bincount(self.hidden_reader).max(initial=0))


@dataclass(frozen=True)
class WeightedScores:
    """MINER-weighted's scores, from a second vector of each news (MINER, Section 3.4).

        s = Σ_i w_i s_i,    s_i = e_i^T h,    w = softmax_i(e_i^T t),    t = gelu(W^e h)

    The weights are positive and add up to 1, so that s ≤ max_i s_i. News whose best interest does not reach the k-th
    score so far need no weights: this is the threshold algorithm of Fagin, Lotem and Naor, "Optimal Aggregation
    Algorithms for Middleware", JCSS 2003, with a bound for each news.

    Attributes:
        vectors: (N, d) float32, h of the news at each place.
        targets: (N, d) float32, t of the news at each place.
    """

    vectors: np.ndarray
    targets: np.ndarray

    def replace(
        self,
        bounds: np.ndarray,
        interests: np.ndarray,
        places: np.ndarray,
        lowest: np.ndarray,
        matches: np.ndarray | None = None,
    ) -> None:
        """Puts scores in the place of their bounds, and -inf in that of bounds that are not above the lowest.

        Args:
            bounds: (R, n) float32, the largest s_i, or -inf.
            interests: (R, K, d) float32.
            places: (n,) or (R, n) int64.
            lowest: (R,) float32, what a score has to exceed.
            matches: (R, K, n) float32, all s_i, where they are known.
        """
        wanted = bounds > lowest[:, None]
        for reader in np.flatnonzero(wanted.any(axis=1)):
            columns = np.flatnonzero(wanted[reader])
            news = places[columns] if places.ndim == 1 else places[reader, columns]
            logits = interests[reader] @ self.targets[news].T
            scores = interests[reader] @ self.vectors[news].T if matches is None else matches[reader][:, columns]
            weights = np.exp(logits - logits.max(axis=0))
            bounds[reader] = -np.inf
            bounds[reader, columns] = (weights * scores).sum(axis=0) / weights.sum(axis=0)


class FlatIndex:
    """The exact search: inner products with all news, a block of them at a time.

    Args:
        vectors: (n, d) float32.
        start: the place of the first.
    """

    def __init__(self, vectors: np.ndarray, start: int = 0) -> None:
        self.vectors, self.start = vectors, start

    def search(
        self, interests: np.ndarray, allowed: Allowed, best: TopK, weighted: WeightedScores | None = None
    ) -> None:
        """Shows `best` the news that the readers may be shown, with `max_i e_i^T h` or MINER-weighted's score.

        Args:
            interests: (B, K, d) float32.
            allowed: what each reader may be shown.
            best: what keeps the k best of each reader.
            weighted: what makes MINER-weighted's scores; None leaves it at the largest inner product.
        """
        queries = interests.reshape(-1, interests.shape[-1])
        step = max(_BLOCK_SCORES // len(queries), 1)
        end = int(allowed.last.max())
        for start in range(int(allowed.first.min()), end, step):
            places = np.arange(start, min(start + step, end))
            matches = queries @ self.vectors[places[0] - self.start : places[-1] + 1 - self.start].T
            matches = matches.reshape(*interests.shape[:2], -1)
            scores = matches.max(axis=1)
            allowed.mask(scores, start)
            if weighted:
                weighted.replace(scores, interests, places, best.lowest(), matches)
            best.add(scores, places)


class ApproximateIndex:
    """faiss' inverted lists or navigable graph: most of the best news, in a fraction of the time.

    - `ivf`: 2 √n clusters of news, of which each interest visits the 32 nearest (Sivic and Zisserman, "Video Google",
      ICCV 2003).
    - `hnsw`: a graph of neighbours in layers (Malkov and Yashunin, "Efficient and Robust Approximate Nearest Neighbor
      Search Using Hierarchical Navigable Small World Graphs", TPAMI 2020). It is much faster, and takes much longer to
      build.

    Args:
        kind: `ivf` or `hnsw`.
        vectors: (n, d) float32.
        start: the place of the first.
    """

    def __init__(self, kind: str, vectors: np.ndarray, start: int = 0) -> None:
        import faiss

        self.kind, self.start, self.flat = kind, start, FlatIndex(vectors, start)
        count, dim = vectors.shape
        if kind == "hnsw":
            self.index = faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT)
            self.index.hnsw.efConstruction = 80
        else:
            self.index = faiss.index_factory(dim, f"IVF{2 * int(count**0.5)},Flat", faiss.METRIC_INNER_PRODUCT)
            self.index.cp.max_points_per_centroid = 64
            self.index.train(vectors)
        self.index.add(vectors)

    def search(
        self, interests: np.ndarray, allowed: Allowed, best: TopK, weighted: WeightedScores | None = None
    ) -> None:
        """Shows `best` the news that each interest finds nearest; the arguments are those of `FlatIndex.search`."""
        if (allowed.last - allowed.first).max() < SMALLEST_APPROXIMATE:
            self.flat.search(interests, allowed, best, weighted)
            return
        depth = min(best.k + allowed.most_hidden(), self.index.ntotal)
        at_once = max(_BLOCK_SCORES // (interests.shape[1] * depth), 1)
        windows, window_of = np.unique(np.stack([allowed.first, allowed.last]), axis=1, return_inverse=True)
        for window, (first, last) in enumerate(windows.T - self.start):
            parameters = self._parameters(first, last, depth)
            members = np.flatnonzero(window_of.ravel() == window)
            for block in range(0, len(members), at_once):
                readers = members[block : block + at_once]
                queries = interests[readers].reshape(-1, interests.shape[-1])
                found = self.index.search(queries, depth, params=parameters)
                scores, places = (values.reshape(len(readers), -1) for values in found)
                places[places >= 0] += self.start
                scores, places = best_of(scores, places, scores.shape[1])
                scores[is_repeated(places) | (places < 0) | allowed.hides(readers, places)] = -np.inf
                if weighted:
                    weighted.replace(scores, interests[readers], places, best.lowest()[readers])
                best.add(scores, places, readers)

    def _parameters(self, first: int, last: int, depth: int) -> Any:
        import faiss

        whole = first <= 0 and last >= self.index.ntotal
        window = {} if whole else {"sel": faiss.IDSelectorRange(int(first), int(last))}
        if self.kind == "hnsw":
            return faiss.SearchParametersHNSW(efSearch=2 * depth, **window)
        return faiss.SearchParametersIVF(nprobe=_CLUSTERS_VISITED, **window)


def build_index(kind: str, vectors: np.ndarray, start: int = 0) -> FlatIndex | ApproximateIndex:
    """Returns an index of vectors (n, d) float32 that stand at the places start … start + n - 1 of a pool."""
    if kind == "flat" or len(vectors) < SMALLEST_APPROXIMATE:
        return FlatIndex(vectors, start)
    return ApproximateIndex(kind, vectors, start)
