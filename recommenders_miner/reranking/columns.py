"""A column of articles as numbers: which of its values each article has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np


@dataclass(frozen=True, eq=False)
class Column:
    """The values of N articles, each of which has none, one or several.

    Attributes:
        names: the distinct values, as text.
        code_of: the place of each among them.
        codes: (N, m) int64, the places of each article's values, -1 behind them.
    """

    names: list[str]
    code_of: dict[str, int]
    codes: np.ndarray

    @classmethod
    def of(cls, values: Sequence[Any]) -> Self:
        """Number the values of a column: of Arrow, of numpy or a list; None, "" and NaN are no value."""
        if hasattr(values, "to_pylist"):
            values = values.to_pylist()
        elif isinstance(values, np.ndarray):
            values = values.tolist()
        code_of: dict[str, int] = {}
        rows = [
            dict.fromkeys(  # what an article has twice counts once
                code_of.setdefault(str(one), len(code_of))
                for one in (value if isinstance(value, list | tuple) else (value,))
                if not (one is None or one == "" or one != one)
            )
            for value in values
        ]
        codes = np.full((len(rows), max(map(len, rows), default=0) or 1), -1)
        for row, of_row in enumerate(rows):
            codes[row, : len(of_row)] = [*of_row]
        return cls(list(code_of), code_of, codes)

    def have(self, values: Iterable[Any], rows: np.ndarray | None = None) -> np.ndarray:
        """Say which articles, or which of some rows, have one of some values: bool."""
        wanted = np.zeros(len(self.names) + 1, bool)  # the last one is for -1
        wanted[[self.code_of[str(value)] for value in values if str(value) in self.code_of]] = True
        return wanted[self.codes if rows is None else self.codes[rows]].any(axis=1)

    def shares(self, rows: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Return how much of each article of some rows is in each of some values: (len(rows), len(codes)) float64.

        An article is in all its values alike, and whole in them together.
        """
        place = np.full(len(self.names) + 1, len(codes))
        place[codes] = np.arange(len(codes))
        of_rows = self.codes[rows]
        shares = np.zeros((len(rows), len(codes) + 1))
        here = np.arange(len(rows))
        weight = 1.0 if of_rows.shape[1] == 1 else 1 / np.maximum((of_rows >= 0).sum(axis=1), 1)
        for column in of_rows.T:
            shares[here, place[column]] += weight
        return shares[:, :-1]
