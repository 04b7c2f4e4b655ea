"""The k best of each row, of more scores than one wants in memory at once."""

from __future__ import annotations

import numpy as np


class TopK:
    """Keeps the k best scores of each of B rows among all that it is shown, on faiss' heaps.

    Args:
        rows: B.
        k: how many of each row.
    """

    def __init__(self, rows: int, k: int) -> None:
        import faiss

        self.k = k
        self._rows = np.arange(rows)
        self._heaps = faiss.ResultHeap(rows, k, keep_max=True)

    def add(self, scores: np.ndarray, places: np.ndarray, rows: np.ndarray | None = None) -> None:
        """Shows some scores; of equal ones, those that are shown first are kept.

        Args:
            scores: (R, n) float32; -inf is never kept.
            places: (R, n) int64, what each score belongs to; or (n,), the same in all rows.
            rows: (R,) the rows that are shown them; all B where left out.
        """
        self._heaps.add_result_subset(self._rows if rows is None else rows, scores, places)

    def lowest(self) -> np.ndarray:
        """What a score has to exceed to be kept, (B,) float32."""
        return self._heaps.D[:, 0]

    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """Ends the search: scores (B, k) float32, descending, and places (B, k) int64; -inf and -1 where too few."""
        self._heaps.finalize()
        scores, places = self._heaps.D, self._heaps.I
        scores[places < 0] = -np.inf
        return scores, places


def best_of(scores: np.ndarray, places: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorts each row by descending score, equal ones as they stood, and cuts it after k.

    Args:
        scores: (B, n) float32.
        places: (B, n) what each belongs to.
        k: at most n.
    """
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(places, order, axis=1)


def is_repeated(places: np.ndarray) -> np.ndarray:
    """Which entries of places (B, n) have an equal before them in their row, (B, n) bool."""
    order = np.argsort(places, axis=1, kind="stable")
    ordered = np.take_along_axis(places, order, axis=1)
    follows = np.zeros(places.shape, bool)
    follows[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    repeated = np.empty_like(follows)
    np.put_along_axis(repeated, order, follows, axis=1)
    return repeated
