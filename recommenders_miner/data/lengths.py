"""Ragged lengths cut into a few fixed ones, so that little is padded and few shapes come up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from recommenders_miner.data.features import length_feature


@dataclass(frozen=True)
class LengthGroups:
    """A table's articles in a few groups by length, so that a batch pads each to its own group's lengths only."""

    lengths: np.ndarray  # (N+1,) an article's length: the sum over its sequence features
    edges: np.ndarray  # (G,) the longest length of each group, ascending
    cuts: dict[str, np.ndarray]  # by sequence feature, (G,) its longest in each group or one before

    @classmethod
    def plan(cls, features: Mapping[str, np.ndarray], groups: int) -> Self:
        """Make at most `groups` groups of about as many articles; one where no feature (of N+1 rows) is a sequence."""
        telling = {name: length_feature(name) for name in features if length_feature(name)}
        counts = {name: np.count_nonzero(features[told_by], axis=1) for name, told_by in telling.items()}
        rows = len(next(iter(features.values())))
        own = [count for name, count in counts.items() if telling[name] == name]
        lengths = np.sum([np.zeros(rows, "int64"), *own], axis=0)
        edges = length_edges(lengths[1:], groups)
        group = np.searchsorted(edges, lengths)
        cuts = {}
        for name, count in counts.items():
            longest = np.ones(len(edges), "int64")
            np.maximum.at(longest, group, count)
            cuts[name] = np.maximum.accumulate(longest)
        return cls(lengths, edges, cuts)

    def group_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the group of some rows."""
        return np.searchsorted(self.edges, self.lengths[rows])

    def gather(self, features: Mapping[str, np.ndarray], rows: np.ndarray, group: int) -> dict[str, np.ndarray]:
        """Return the features of some rows that are all of one group, or of groups before it."""
        gathered = {name: array[rows] for name, array in features.items()}
        return {name: a[:, : self.cuts[name][group]] if name in self.cuts else a for name, a in gathered.items()}


def length_edges(lengths: np.ndarray, groups: int) -> np.ndarray:
    """Return at most `groups` ascending lengths, quantiles of `lengths`, the last its maximum (at least 1)."""
    if not len(lengths):
        return np.array([1])
    quantiles = np.quantile(lengths, np.arange(1, groups + 1) / groups, method="higher")
    return np.unique(np.maximum(quantiles, 1).astype(int))


def growing_edges(lengths: np.ndarray) -> np.ndarray:
    """Return ascending lengths, the last the maximum of `lengths`, each at most half as long again as the one before.

    So nothing longer than 8 is padded by more than half, however uneven the lengths are. Those that no length needs are
    left out.
    """
    largest = int(lengths.max(initial=1))
    steps = max(int(np.ceil(np.log(largest / 8) / np.log(1.5))), 0)
    edges = np.unique(np.round(np.geomspace(min(8, largest), largest, steps + 1)).astype(int))
    return edges[np.unique(np.searchsorted(edges, lengths))]


def rounded(sizes: np.ndarray) -> np.ndarray:
    """Round sizes up, by an eighth at most, so that few shapes come up: kernels are prepared for every shape anew.

    None is 0, since oneDNN's convolution of no rows has a wrong shape.
    """
    sizes = np.maximum(sizes, 1)
    quantum = 1 << np.maximum(np.ceil(np.log2(sizes)).astype(int) - 4, 0)
    return -(-sizes // quantum) * quantum
