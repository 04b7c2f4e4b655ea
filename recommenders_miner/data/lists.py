"""Columns of a log given as Python lists: their articles and labels, checked."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recommenders_miner.data.behaviors import UNLABELLED
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.errors import DataFormatError

IN_MEMORY = Path("<columns>")
"""What errors name in the place of a file."""


def rows_of_lists(lists: Sequence[Sequence[str]], news: NewsTable, kind: str, impressions: Sequence[int]) -> Ragged:
    """Return the news rows of all lists; `kind` and `impressions`, where each list is from, are for the error."""
    rows = [[news.row_of.get(news_id, 0) for news_id in ids] for ids in lists]
    for found, ids, impression in zip(rows, lists, impressions, strict=True):
        if 0 in found:
            problem = f"the {kind} news {ids[found.index(0)]!r} is not in the news table."
            raise DataFormatError(IN_MEMORY, problem, line=int(impression) + 1)
    return Ragged.of_lists(rows)


def labels_of_lists(labels: Sequence[Sequence[int]] | None, candidate_counts: np.ndarray) -> np.ndarray:
    """Return the labels of all candidates, (total candidates,) int8."""
    if labels is None:
        return np.full(candidate_counts.sum(), UNLABELLED, np.int8)
    for line, (values, count) in enumerate(zip(labels, candidate_counts, strict=True), start=1):
        if len(values) != count:
            raise DataFormatError(IN_MEMORY, f"{count} candidates, but {len(values)} labels.", line=line)
        if not all(label in (0, 1) for label in values):
            raise DataFormatError(IN_MEMORY, f"a label must be 0 or 1, got {list(values)}.", line=line)
    return np.array(list(itertools.chain.from_iterable(labels)), np.int8)
