"""Training steps as arrays in few shapes, with each distinct article and each distinct user once.

The articles that a batch needs stand in `news`, sorted by length into a few groups, each padded to its own length only;
the samples refer to them by position. Samples are sorted into groups by history length likewise, and refer to the
distinct users of their group: a user is a history and, where it matters, a user id.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from recommenders_miner.data.context import Context
from recommenders_miner.data.features import refer, with_related
from recommenders_miner.data.lengths import LengthGroups, length_edges, rounded
from recommenders_miner.data.news import distinct_rows
from recommenders_miner.data.sampling import TrainingSamples

Batch = tuple[dict[str, Any], np.ndarray, np.ndarray]

_PROBED_CLICKS = 100_000  # of which histories' lengths are taken


class TrainingBatches(keras.utils.PyDataset):
    """The endless stream of training steps of a log, for `keras.Model.fit(batches.stream(), steps_per_epoch=…)`.

    Step i is made of `samples.of_step(i)` alone: a run that is resumed at step i sees what an unbroken one would.

    A batch is `(inputs, labels, weights)`:

    - `inputs["news"]`: a tuple of one dict of features per length group; together U articles, the padding article
      first, then each distinct one of the batch once. `title` (U_g, L_g) int32, `category` (U_g,) int32, … Features of
      kind `rows` are positions in the U articles, which have those related to the clicked ones among them.
    - `inputs["samples"]`: a tuple of one dict per history length. Of its R_g distinct users: `history` (R_g, M_g),
      newest last and zeros behind, and `user` (R_g,), their ids. Of its B_g samples: `row` (B_g,), the row of the
      sample's user, `candidates` (B_g, 1 + npratio), the click first, and, where there is a context, `context`
      (B_g, 1 + npratio, columns) float32, its columns; the others are int32. History and candidates are positions in
      the batch's U articles, 0 for padding. Rows of padding behind the articles and users make U_g and R_g few sizes.
    - `labels` (B, 1 + npratio) float32: one at the click. `weights` (B,) float32: zero for samples that only fill a
      shape.

    Args:
        features: arrays of N+1 rows.
        samples: the clicks and negatives of each step, articles being rows of the same table.
        users: (log users,) int32, the model's id of each user of the log.
        context: what is known at each impression, its columns being those that the network reads.
        hops: how many steps away related articles are that the network reads; see `NewsEncoder`.
        his_size: newest clicks of a history that are used.
        first_step: the step that the stream begins with.
        static_shapes: give every batch the same shapes, padded, for backends that compile each shape anew.
        length_groups: groups of articles and of histories, at most.
        own_shards: of the `samples.shards` equal parts of a step, those that this process is given, one after another;
            all where left out. Arrays of all shards, joined along axis 0 in order, are one batch, to whose U articles
            and R users positions and rows refer. Several shards need `static_shapes`.
    """

    def __init__(
        self,
        features: Mapping[str, np.ndarray],
        samples: TrainingSamples,
        users: np.ndarray,
        *,
        context: Context | None = None,
        hops: int = 0,
        his_size: int = 50,
        first_step: int = 0,
        static_shapes: bool = False,
        length_groups: int = 3,
        own_shards: Sequence[int] | None = None,
    ) -> None:
        super().__init__(workers=1)
        self.features, self.samples, self.log, self.users = features, samples, samples.log, users
        self.context, self.hops = context, hops
        self.his_size, self.first_step, self.static_shapes = his_size, first_step, static_shapes
        self.own_shards = range(samples.shards) if own_shards is None else own_shards
        self._plan_lengths(length_groups)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one epoch; the last may be smaller."""
        return self.samples.steps_per_epoch

    @property
    def num_batches(self) -> None:
        """None: the stream is endless."""
        return None

    def stream(self) -> Any:
        """Return what `keras.Model.fit` is to be given: these batches or, on TensorFlow, a `tf.data.Dataset` of them.

        Keras would make a data set as well, but with autotuning, whose thread sleeps for up to a minute at a time, and
        `fit` would not return until it woke.
        """
        if keras.backend.backend() != "tensorflow":
            return self
        import tensorflow as tf

        signature = keras.tree.map_structure(lambda x: tf.TensorSpec((None, *x.shape[1:]), x.dtype), self[0])
        batches = tf.data.Dataset.from_generator(
            lambda: map(self.__getitem__, itertools.count()), output_signature=signature
        )
        options = tf.data.Options()
        options.autotune.enabled = False
        return batches.prefetch(2).with_options(options)

    def _plan_lengths(self, groups: int) -> None:
        """Choose the lengths of the groups by quantile, and with static shapes how many rows each group has."""
        self._news_lengths = LengthGroups.plan(self.features, groups)
        probed = self.samples.some_clicks(_PROBED_CLICKS)
        history_lengths = self.log.histories.lengths
        lengths = np.minimum(history_lengths[self.log.history_of[self.samples.impression_of(probed)]], self.his_size)
        self._history_edges = length_edges(lengths, 1 if self.static_shapes else groups)
        longest = min(max(history_lengths.max(), 1), self.his_size)  # a log without any history has padding, one wide
        self._history_edges[-1] = self.his_size if self.static_shapes else longest
        self._capacities: np.ndarray | None = None
        if self.static_shapes:
            steps = range(0, self.steps_per_epoch, -(-self.steps_per_epoch // 16))
            probes = [shard for step in steps for shard in self.samples.shards_of_step(step)]
            counts = np.array([np.diff(self._distinct_news(*probe)[1]) for probe in probes])
            self._capacities = -(-(counts.max(axis=0) * 1.1).astype(int) // 64) * 64
            users = max(len(self._distinct_users(impressions)[0]) for impressions, _ in probes)
            self._user_capacity = -(-int(users * 1.1) // 8) * 8

    def _distinct_news(self, impressions: np.ndarray, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of the articles that a step needs, by group, padding first, and the groups' boundaries."""
        history = self.log.histories.last(self.log.history_of[impressions], self.his_size)
        clicked = with_related(self.features, history, self.hops)
        rows = distinct_rows(len(self._news_lengths.lengths), candidates, clicked)
        group = self._news_lengths.group_of(rows)
        order = np.argsort(group, kind="stable")
        boundaries = np.searchsorted(group[order], np.arange(len(self._news_lengths.edges) + 1))
        return rows[order], boundaries

    def __getitem__(self, index: int) -> Batch:
        """Return the batch of step `first_step + index`."""
        parts = self.samples.shards_of_step(self.first_step + index)
        needed = [self._distinct_news(*part) for part in parts]
        if self.static_shapes:
            self._grow(parts, [boundaries for _, boundaries in needed])
        batches = []
        for shard in self.own_shards:
            news, position_of = self._news_groups(*needed[shard], shard)
            batches.append(self._sample_groups(*parts[shard], news, position_of, shard))
        if len(batches) == 1:
            return batches[0]
        return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *batches)

    def _grow(self, parts: Sequence[tuple[np.ndarray, np.ndarray]], of_shards: Sequence[np.ndarray]) -> None:
        """Make room for the largest shard of a step: every process sees all of them, so that all grow together."""
        most = max(boundaries[-1] - self._spill(boundaries)[-2] for boundaries in of_shards)
        if most > self._capacities[-1]:
            self._capacities[-1] += -(-(most - self._capacities[-1]) // 256) * 256
        users = max(len(self._distinct_users(impressions)[0]) for impressions, _ in parts)
        self._user_capacity = max(self._user_capacity, -(-users // 8) * 8)

    def _spill(self, boundaries: np.ndarray) -> np.ndarray:
        """Move what a group of fixed size cannot hold to the next longer one."""
        spilled = boundaries.copy()
        for group, capacity in enumerate(self._capacities[:-1]):
            spilled[group + 1] = min(spilled[group + 1], spilled[group] + capacity)
        return spilled

    def _news_groups(
        self, rows: np.ndarray, boundaries: np.ndarray, shard: int
    ) -> tuple[list[dict[str, np.ndarray]], np.ndarray]:
        """Gather the features of the distinct articles, and say where in the batch each row of the table stands."""
        capacities = rounded(np.diff(boundaries))
        if self._capacities is not None:
            boundaries = self._spill(boundaries)
            capacities = self._capacities
        position_of = np.zeros(len(self._news_lengths.lengths), "int32")
        groups, first = [], 0
        for group, (start, end, capacity) in enumerate(zip(boundaries, boundaries[1:], capacities, strict=False)):
            members = np.zeros(capacity, rows.dtype)
            members[: end - start] = rows[start:end]
            position_of[rows[start:end]] = first + shard * capacity + np.arange(end - start)
            groups.append(self._news_lengths.gather(self.features, members, group))
            first += self.samples.shards * capacity
        position_of[0] = 0  # the first shard's padding article is everybody's
        return [refer(group, position_of) for group in groups], position_of

    def _distinct_users(self, impressions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return an impression of each distinct user, a history and a user id, and the user of each impression."""
        key = self.log.history_of[impressions].astype("int64") * len(self.users) + self.log.user_of[impressions]
        _, first, row_of = np.unique(key, return_index=True, return_inverse=True)
        return impressions[first], row_of.astype("int32")

    def _sample_groups(
        self,
        impressions: np.ndarray,
        candidates: np.ndarray,
        news: list[dict[str, np.ndarray]],
        position_of: np.ndarray,
        shard: int,
    ) -> Batch:
        """Sort the samples by history length and refer them to the batch's articles."""
        lengths = np.minimum(self.log.histories.lengths_of(self.log.history_of[impressions]), self.his_size)
        group = np.searchsorted(self._history_edges, lengths)
        context = None if self.context is None else self.context.of(impressions, candidates)
        samples = []
        for index, length in enumerate(self._history_edges):
            members = np.flatnonzero(group == index)
            users, row_of = self._distinct_users(impressions[members])
            rows = self._user_capacity if self.static_shapes else int(rounded(np.array(len(users))))
            history = self.log.histories.last(self.log.history_of[users], length)
            sample = {
                "history": _extended(position_of[history], rows),
                "user": _extended(self.users[self.log.user_of[users]], rows),
                "row": row_of,
                "candidates": position_of[candidates[members]],
            }
            if context is not None:
                sample["context"] = context[members]
            samples.append(sample)
        labels = np.zeros((len(impressions), candidates.shape[1]), "float32")
        labels[:, 0] = 1.0
        weights = np.ones(len(impressions), "float32")
        if self.static_shapes:
            samples[0]["row"] += shard * self._user_capacity
            size = self.samples.batch_size // self.samples.shards
            of_users = ("history", "user")
            samples = [
                {name: array if name in of_users else _extended(array, size) for name, array in samples[0].items()}
            ]
            labels, weights = _extended(labels, size), _extended(weights, size)
        return {"news": tuple(news), "samples": tuple(samples)}, labels, weights


def _extended(array: np.ndarray, size: int) -> np.ndarray:
    """Append rows of zeros until there are `size`."""
    return np.concatenate([array, np.zeros((size - len(array), *array.shape[1:]), array.dtype)])
