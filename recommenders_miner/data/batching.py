"""Training steps as arrays in few shapes, with each distinct news and each distinct reader once.

The news that a batch needs stand in `news`, sorted by length into a few groups, each padded to its own length only; the
samples refer to them by position. Samples are sorted into groups by history length likewise, and refer to the distinct
readers of their group.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from recommenders_miner.data.features import LengthGroups, length_edges
from recommenders_miner.data.news import distinct_rows
from recommenders_miner.data.sampling import TrainingSamples

Batch = tuple[dict[str, Any], np.ndarray, np.ndarray]

_PROBED_CLICKS = 100_000  # of which histories' lengths are taken


class TrainingBatches(keras.utils.PyDataset):
    """The endless stream of training steps of a log, for `keras.Model.fit(batches, steps_per_epoch=…)`.

    Step i is made of `samples.of_step(i)` alone: a run that is resumed at step i sees what an unbroken one would.

    A batch is `(inputs, labels, weights)`:

    - `inputs["news"]`: a tuple of one dict of features per length group; together U news, the padding news first, then
      each distinct news of the batch once. `title` (U_g, L_g) int32, `category` (U_g,) int32, …
    - `inputs["samples"]`: a tuple of one dict per history length. Of its R_g distinct readers: `history` (R_g, M_g),
      newest last and zeros behind, and `user` (R_g,). Of its B_g samples: `reader` (B_g,), the row of the sample's
      reader, and `candidates` (B_g, 1 + npratio), the click first. History and candidates are positions in the batch's
      U news, 0 for padding; all are int32. Rows of padding behind the news and readers make U_g and R_g few sizes.
    - `labels` (B, 1 + npratio) float32: one at the click. `weights` (B,) float32: zero for samples that only fill a
      shape.

    Args:
        features: arrays of N+1 rows.
        samples: the clicks and non-clicks of each step, news being rows of the same table.
        users: (log users,) int32, the model's id of each user of the log.
        his_size: newest clicks of a history that are used.
        first_step: the step that the stream begins with.
        static_shapes: give every batch the same shapes, padded, for backends that compile each shape anew.
        length_groups: groups of news and of histories, at most.
    """

    def __init__(
        self,
        features: Mapping[str, np.ndarray],
        samples: TrainingSamples,
        users: np.ndarray,
        *,
        his_size: int = 50,
        first_step: int = 0,
        static_shapes: bool = False,
        length_groups: int = 3,
    ) -> None:
        super().__init__(workers=1)
        self.features, self.samples, self.log, self.users = features, samples, samples.log, users
        self.his_size, self.first_step, self.static_shapes = his_size, first_step, static_shapes
        self._plan_lengths(length_groups)

    @property
    def num_samples(self) -> int:
        """Clicks that one epoch trains on."""
        return len(self.samples)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one epoch; the last may be smaller."""
        return self.samples.steps_per_epoch

    @property
    def num_batches(self) -> None:
        """None: the stream is endless."""
        return None

    # === Shapes ===

    def _plan_lengths(self, groups: int) -> None:
        """Chooses the lengths of the groups by quantile, and with static shapes how many rows each group has."""
        self._news_lengths = LengthGroups.plan(self.features, groups)
        probed = self.samples.clicks[:: -(-self.num_samples // _PROBED_CLICKS)]
        history_lengths = self.log.histories.lengths
        lengths = np.minimum(history_lengths[self.log.history_of[self.samples.impression_of(probed)]], self.his_size)
        self._history_edges = length_edges(lengths, 1 if self.static_shapes else groups)
        self._history_edges[-1] = self.his_size if self.static_shapes else min(history_lengths.max(), self.his_size)
        self._capacities: np.ndarray | None = None
        if self.static_shapes:
            probes = [self.samples.of_step(s) for s in range(0, self.steps_per_epoch, -(-self.steps_per_epoch // 16))]
            counts = np.array([np.diff(self._distinct_news(*probe)[1]) for probe in probes])
            self._capacities = -(-(counts.max(axis=0) * 1.1).astype(int) // 64) * 64
            readers = max(len(self._distinct_readers(impressions)[0]) for impressions, _ in probes)
            self._reader_capacity = -(-int(readers * 1.1) // 8) * 8

    def _distinct_news(self, impressions: np.ndarray, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the rows of the news that a step needs, by group, padding first, and the groups' boundaries."""
        history = self.log.histories.last(self.log.history_of[impressions], self.his_size)
        rows = distinct_rows(len(self._news_lengths.lengths), candidates, history)
        group = self._news_lengths.group_of(rows)
        order = np.argsort(group, kind="stable")
        boundaries = np.searchsorted(group[order], np.arange(len(self._news_lengths.edges) + 1))
        return rows[order], boundaries

    # === Batches ===

    def __getitem__(self, index: int) -> Batch:
        """Returns the batch of step `first_step + index`."""
        impressions, candidates = self.samples.of_step(self.first_step + index)
        rows, boundaries = self._distinct_news(impressions, candidates)
        news, position_of = self._news_groups(rows, boundaries)
        return self._sample_groups(impressions, candidates, news, position_of)

    def _news_groups(self, rows: np.ndarray, boundaries: np.ndarray) -> tuple[list[dict[str, np.ndarray]], np.ndarray]:
        """Gathers the features of the distinct news, and says where in the batch each row of the table stands."""
        capacities = rounded(np.diff(boundaries))
        if self._capacities is not None:
            boundaries = self._spill(boundaries)
            capacities = self._capacities
        position_of = np.zeros(len(self._news_lengths.lengths), "int32")
        groups, first = [], 0
        for group, (start, end, capacity) in enumerate(zip(boundaries, boundaries[1:], capacities, strict=False)):
            members = np.zeros(capacity, rows.dtype)
            members[: end - start] = rows[start:end]
            position_of[rows[start:end]] = first + np.arange(end - start)
            groups.append(self._news_lengths.gather(self.features, members, group))
            first += capacity
        return groups, position_of

    def _spill(self, boundaries: np.ndarray) -> np.ndarray:
        """Moves what a group of fixed size cannot hold to the next longer one; the last group grows to fit."""
        spilled = boundaries.copy()
        for group, capacity in enumerate(self._capacities[:-1]):
            spilled[group + 1] = min(spilled[group + 1], spilled[group] + capacity)
        overflow = spilled[-1] - spilled[-2] - self._capacities[-1]
        if overflow > 0:
            self._capacities[-1] += -(-overflow // 256) * 256
        return spilled

    def _distinct_readers(self, impressions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns an impression of each distinct reader, a history and a user, and the reader of each impression."""
        key = self.log.history_of[impressions].astype("int64") * len(self.users) + self.log.user_of[impressions]
        _, first, reader_of = np.unique(key, return_index=True, return_inverse=True)
        return impressions[first], reader_of.astype("int32")

    def _sample_groups(
        self,
        impressions: np.ndarray,
        candidates: np.ndarray,
        news: list[dict[str, np.ndarray]],
        position_of: np.ndarray,
    ) -> Batch:
        """Sorts the samples by history length and refers them to the batch's news."""
        histories = self.log.history_of[impressions]
        lengths = np.minimum(
            self.log.histories.offsets[histories + 1] - self.log.histories.offsets[histories], self.his_size
        )
        group = np.searchsorted(self._history_edges, lengths)
        samples = []
        for index, length in enumerate(self._history_edges):
            members = np.flatnonzero(group == index)
            readers, reader_of = self._distinct_readers(impressions[members])
            rows = int(rounded(np.array(len(readers))))
            history = self.log.histories.last(self.log.history_of[readers], length)
            samples.append(
                {
                    "history": _extended(position_of[history], rows),
                    "user": _extended(self.users[self.log.user_of[readers]], rows),
                    "reader": reader_of,
                    "candidates": position_of[candidates[members]],
                }
            )
        labels = np.zeros((len(impressions), candidates.shape[1]), "float32")
        labels[:, 0] = 1.0
        weights = np.ones(len(impressions), "float32")
        if self.static_shapes:
            self._reader_capacity = max(self._reader_capacity, len(samples[0]["user"]))
            size = self.samples.samples_at_once
            sizes = {
                "history": self._reader_capacity,
                "user": self._reader_capacity,
                "reader": size,
                "candidates": size,
            }
            samples = [{name: _extended(array, sizes[name]) for name, array in samples[0].items()}]
            labels, weights = _extended(labels, size), _extended(weights, size)
        return {"news": tuple(news), "samples": tuple(samples)}, labels, weights


def rounded(sizes: np.ndarray) -> np.ndarray:
    """Rounds sizes up, by an eighth at most, so that few shapes come up: kernels are prepared for every shape anew.

    None is 0, since oneDNN's convolution of no rows has a wrong shape.
    """
    sizes = np.maximum(sizes, 1)
    quantum = 1 << np.maximum(np.ceil(np.log2(sizes)).astype(int) - 4, 0)
    return -(-sizes // quantum) * quantum


def _extended(array: np.ndarray, size: int) -> np.ndarray:
    """Appends rows of zeros until there are `size`."""
    return np.concatenate([array, np.zeros((size - len(array), *array.shape[1:]), array.dtype)])
