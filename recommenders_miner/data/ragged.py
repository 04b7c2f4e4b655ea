"""Rows of different lengths in two flat arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True, eq=False)
class Ragged:
    """R rows of different lengths: row r is `values[offsets[r] : offsets[r + 1]]`.

    Attributes:
        values: (total, …), the rows one after another.
        offsets: (R + 1,) int64, where each row begins and the last one ends.
    """

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of_lengths(cls, values: np.ndarray, lengths: np.ndarray) -> Self:
        """Cut values into rows of the given lengths."""
        return cls(values, offsets_of(lengths))

    @classmethod
    def of_lists(cls, rows: Sequence[Sequence], dtype: str = "int32") -> Self:
        """Join lists or arrays, one a row."""
        lengths = np.fromiter(map(len, rows), "int64", len(rows))
        return cls.of_lengths(np.concatenate([[], *rows]).astype(dtype), lengths)

    @classmethod
    def concat(cls, parts: Sequence[Ragged]) -> Self:
        """Put the rows of several one after another; there must be at least one."""
        return cls.of_lengths(
            np.concatenate([part.values for part in parts]), np.concatenate([part.lengths for part in parts])
        )

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        """The values of one row."""
        row = range(len(self))[row]
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        """The values of each row."""
        return (self[row] for row in range(len(self)))

    @property
    def lengths(self) -> np.ndarray:
        """(R,) int64."""
        return np.diff(self.offsets)

    def lengths_of(self, rows: np.ndarray) -> np.ndarray:
        """The lengths of some rows, (len(rows),) int64, without those of all others."""
        return self.offsets[rows + 1] - self.offsets[rows]

    def rows(self) -> np.ndarray:
        """The row that each value belongs to, (total,) int64."""
        return self.repeat(np.arange(len(self)))

    def repeat(self, of_rows: np.ndarray) -> np.ndarray:
        """Repeat what each row has, (R, …), for each of its values, (total, …)."""
        return np.repeat(of_rows, self.lengths, axis=0)

    def ranks(self) -> np.ndarray:
        """The place of each value in its row, from 0, (total,) int64."""
        return np.arange(self.offsets[-1]) - self.repeat(self.offsets[:-1])

    def row_of(self, places: np.ndarray) -> np.ndarray:
        """The rows that some places among the values belong to."""
        return np.searchsorted(self.offsets, places, side="right") - 1

    def places(self, rows: np.ndarray) -> Ragged:
        """Where the values of some rows, in any order, stand among all values."""
        lengths = self.lengths_of(rows)
        return Ragged.of_lengths(stretches(self.offsets[rows], lengths), lengths)

    def take(self, rows: np.ndarray) -> Ragged:
        """Some rows, in any order and any number of times."""
        places = self.places(rows)
        return Ragged(self.values[places.values], places.offsets)

    def slice(self, start: int, stop: int) -> Ragged:
        """The rows from `start` up to `stop`, without copying their values."""
        offsets = self.offsets[start : stop + 1]
        return Ragged(self.values[offsets[0] : offsets[-1]], offsets - offsets[0])

    def keep(self, kept: np.ndarray) -> Ragged:
        """The values that `kept`, (total,) bool, is true for; rows stay, and may become empty."""
        counts = np.concatenate([[0], np.cumsum(kept)])
        return Ragged(self.values[kept], counts[self.offsets])

    def sums(self, values: np.ndarray | None = None) -> np.ndarray:
        """The sum of each row, (R,), zero for empty ones; of its own values, or of others beside them."""
        totals = np.concatenate([[0], np.cumsum(self.values if values is None else values)])
        return np.diff(totals[self.offsets])

    def last(self, rows: np.ndarray, size: int) -> np.ndarray:
        """The last `size` values of some rows, as a matrix (len(rows), size) with zeros behind."""
        ends = self.offsets[rows + 1]
        index = np.maximum(self.offsets[rows], ends - size)[:, None] + np.arange(size)
        real = index < ends[:, None]
        if not len(self.values):
            return np.zeros(real.shape, self.values.dtype)
        return np.where(real, self.values[np.where(real, index, 0)], 0)


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """Return where rows of the given lengths begin and the last one ends, (len(lengths) + 1,) int64."""
    return np.concatenate([[0], np.cumsum(lengths, dtype="int64")])


def stretches(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return `starts[k] … starts[k] + lengths[k] - 1` for one k after another, (sum of lengths,) int64."""
    offsets = offsets_of(lengths)
    return np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
