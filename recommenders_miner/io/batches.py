"""Training steps from a log: which clicks, which non-clicks beside them, and each distinct news once.

A batch holds nothing twice. The news that it needs stand in `news`, sorted by length into a few groups, each
padded to its own length only; the samples refer to them by position. Samples are sorted into groups by history length
likewise, and refer to the distinct readers of their group. Of the log, which may be larger than the memory, only the
places of the clicks are held.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from recommenders_miner.io.impression_log import ImpressionLog
from recommenders_miner.io.news_features import LengthGroups, length_edges

Batch = tuple[dict[str, Any], np.ndarray, np.ndarray]

_IMPRESSIONS_AT_ONCE = 2**20  # when the clicks are looked for
_PROBED_CLICKS = 100_000  # of which histories' lengths are taken


class TrainingBatches(keras.utils.PyDataset):
    """The endless stream of training steps of a log, for `keras.Model.fit(batches, steps_per_epoch=…)`.

    Step i depends on the seed and on i alone: a run that is resumed at step i, or cut over several processes, sees
    what an unbroken one would. An epoch is a fresh permutation of the clicks with fresh negatives, but that up to
    `clicks_per_user` clicks of a user, drawn afresh in each epoch, stand together.

    A batch is `(inputs, labels, weights)`:

    - `inputs["news"]`: a tuple of one dict of features per length group; together U news, the padding news first, then
      each distinct news of the batch once. `title` (U_g, L_g) int32, `category` (U_g,) int32, …
    - `inputs["samples"]`: a tuple of one dict per history length. Of its R_g distinct readers: `history` (R_g, M_g),
      newest last and zeros behind, and `user` (R_g,). Of its B_g samples: `reader` (B_g,), the row of the sample's
      reader, and `candidates` (B_g, 1 + npratio), the click first. History and candidates are positions in the batch's
      U news, 0 for padding; all are int32. Rows of padding behind the news and readers make U_g and R_g few sizes.
    - `labels` (B, 1 + npratio) float32: one at the click. `weights` (B,) float32: zero for samples that only fill a
      shape.

    Impressions without a non-click teach nothing and are left out. Where there are fewer than `npratio` non-clicks, all
    are taken and the rest is padding.

    Args:
        features: arrays of N+1 rows.
        log: labelled impressions over the same N news.
        users: (log users,) int32, the model's id of each user of the log.
        batch_size: clicks in a step (over all shards).
        npratio: non-clicks drawn beside each click, without replacement.
        his_size: newest clicks of a history that are used.
        clicks_per_user: clicks of a user that stand together, at most, so that their readers and news are encoded once;
            1 shuffles clicks one by one.
        seed: fixes order and negatives.
        first_step: the step that the stream begins with.
        shard: (index, count) of the process that these batches are for; a step's clicks are dealt out to `count` equal
            parts.
        static_shapes: give every batch the same shapes, padded, for backends that compile each shape anew.
        length_groups: groups of news and of histories, at most.

    Raises:
        ValueError: the log has no labels, or no impression with both a click and a non-click.
    """

    def __init__(
        self,
        features: Mapping[str, np.ndarray],
        log: ImpressionLog,
        users: np.ndarray,
        *,
        batch_size: int,
        npratio: int = 4,
        his_size: int = 50,
        clicks_per_user: int = 1,
        seed: int = 0,
        first_step: int = 0,
        shard: tuple[int, int] = (0, 1),
        static_shapes: bool = False,
        length_groups: int = 3,
    ) -> None:
        super().__init__(workers=1)
        if not log.labelled:
            raise ValueError("Training needs a labelled log: this one has no clicks marked (a test split?).")
        if batch_size % shard[1]:
            raise ValueError(f"batch_size {batch_size} is no multiple of the {shard[1]} processes.")
        self.features, self.log, self.users = features, log, users
        self.batch_size, self.npratio, self.his_size, self.seed = batch_size, npratio, his_size, seed
        self.clicks_per_user = clicks_per_user
        self.first_step, self.shard, self.static_shapes = first_step, shard, static_shapes
        self._order: tuple[int, np.ndarray] | None = None
        self._index_clicks()
        self._plan_lengths(length_groups)

    # === Which clicks and negatives ===

    def _index_clicks(self) -> None:
        """Finds the places, among the log's candidates, of the clicks that have a non-click beside them."""
        found = []
        for first in range(0, len(self.log), _IMPRESSIONS_AT_ONCE):
            offsets = self.log.offsets[first : first + _IMPRESSIONS_AT_ONCE + 1]
            clicks = np.flatnonzero(self.log.labels[offsets[0] : offsets[-1]] == 1) + offsets[0]
            impression = np.searchsorted(offsets, clicks, side="right") - 1
            clicked = np.bincount(impression, minlength=len(offsets) - 1)
            found.append(clicks[(clicked < np.diff(offsets))[impression]])
        self._clicks = np.concatenate(found)
        if not len(self._clicks):
            raise ValueError("No impression of this log has both a click and a non-click: there is nothing to learn.")

    @property
    def num_samples(self) -> int:
        """Clicks that one epoch trains on."""
        return len(self._clicks)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one epoch; the last may be smaller."""
        return -(-self.num_samples // self.batch_size)

    @property
    def num_batches(self) -> None:
        """None: the stream is endless."""
        return None

    def samples_of_step(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the impressions (B,) and candidate rows (B, 1 + npratio) of a step, zeros where negatives run out."""
        epoch, position = divmod(step, self.steps_per_epoch)
        samples = self._order_of_epoch(epoch)[position * self.batch_size : (position + 1) * self.batch_size]
        clicks = self._clicks[samples]
        impressions = self._impression_of(clicks)
        candidates = np.zeros((len(samples), 1 + self.npratio), "int32")
        candidates[:, 0] = self.log.candidates[clicks]
        slots, starts = slots_of(self.log, impressions)
        is_negative = self.log.labels[slots] == 0
        negatives = slots[is_negative]
        ends = np.cumsum(np.add.reduceat(is_negative, starts, dtype="int64"))
        firsts = np.concatenate([[0], ends[:-1]])
        rng = np.random.default_rng([self.seed, epoch, position])
        picks, real = sample_without_replacement(ends - firsts, self.npratio, rng)
        candidates[:, 1:][real] = self.log.candidates[negatives[(firsts[:, None] + picks)[real]]]
        index, count = self.shard
        return np.array_split(impressions, count)[index], np.array_split(candidates, count)[index]

    def _impression_of(self, clicks: np.ndarray) -> np.ndarray:
        """Returns the impressions that clicks stand in."""
        return np.searchsorted(self.log.offsets, clicks, side="right") - 1

    def _order_of_epoch(self, epoch: int) -> np.ndarray:
        """Returns the order of the epoch's clicks; the last is kept, since all of its epoch needs it."""
        kept = self._order
        if kept is None or kept[0] != epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(self.num_samples)
            if self.clicks_per_user > 1:
                users = self.log.user_of[self._impression_of(self._clicks)]
                order = order[bundled(users[order], self.clicks_per_user)]
            kept = self._order = epoch, order
        return kept[1]

    # === Shapes ===

    def _plan_lengths(self, groups: int) -> None:
        """Chooses the lengths of the groups by quantile, and with static shapes how many rows each group has."""
        self._news_lengths = LengthGroups.plan(self.features, groups)
        probed = self._clicks[:: -(-self.num_samples // _PROBED_CLICKS)]
        history_lengths = np.diff(self.log.history_offsets)
        lengths = np.minimum(history_lengths[self.log.history_of[self._impression_of(probed)]], self.his_size)
        self._history_edges = length_edges(lengths, 1 if self.static_shapes else groups)
        self._history_edges[-1] = self.his_size if self.static_shapes else min(history_lengths.max(), self.his_size)
        self._capacities: np.ndarray | None = None
        if self.static_shapes:
            probes = [self.samples_of_step(s) for s in range(0, self.steps_per_epoch, -(-self.steps_per_epoch // 16))]
            counts = np.array([np.diff(self._distinct_news(*probe)[1]) for probe in probes])
            self._capacities = -(-(counts.max(axis=0) * 1.1).astype(int) // 64) * 64
            readers = max(len(self._distinct_readers(impressions)[0]) for impressions, _ in probes)
            self._reader_capacity = -(-int(readers * 1.1) // 8) * 8

    def _distinct_news(self, impressions: np.ndarray, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the rows of the news that a step needs, by group, padding first, and the groups' boundaries."""
        history = history_matrix(self.log, self.log.history_of[impressions], self.his_size)
        rows = distinct_rows(len(self._news_lengths.lengths), candidates, history)
        group = self._news_lengths.group_of(rows)
        order = np.argsort(group, kind="stable")
        boundaries = np.searchsorted(group[order], np.arange(len(self._news_lengths.edges) + 1))
        return rows[order], boundaries

    # === Batches ===

    def __getitem__(self, index: int) -> Batch:
        """Returns the batch of step `first_step + index`."""
        impressions, candidates = self.samples_of_step(self.first_step + index)
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
            self.log.history_offsets[histories + 1] - self.log.history_offsets[histories], self.his_size
        )
        group = np.searchsorted(self._history_edges, lengths)
        samples = []
        for index, length in enumerate(self._history_edges):
            members = np.flatnonzero(group == index)
            readers, reader_of = self._distinct_readers(impressions[members])
            rows = int(rounded(np.array(len(readers))))
            history = history_matrix(self.log, self.log.history_of[readers], length)
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
            size = self.batch_size // self.shard[1]
            sizes = {
                "history": self._reader_capacity,
                "user": self._reader_capacity,
                "reader": size,
                "candidates": size,
            }
            samples = [{name: _extended(array, sizes[name]) for name, array in samples[0].items()}]
            labels, weights = _extended(labels, size), _extended(weights, size)
        return {"news": tuple(news), "samples": tuple(samples)}, labels, weights


def bundled(owners: np.ndarray, size: int) -> np.ndarray:
    """Returns an order of items in which those of one owner stand together, as far as bundles of `size` go.

    A bundle stands where the first of its items stood; which items share one is up to the given order, so that if that
    is random, so are the bundles and their order.

    Args:
        owners: (items,) int, at least 0.
        size: items in a bundle, at most.

    Returns:
        (items,) indices.
    """
    by_owner = np.argsort(owners, kind="stable")
    firsts = np.flatnonzero(np.diff(owners[by_owner], prepend=-1))
    place = np.arange(len(owners)) - np.repeat(firsts, np.diff(firsts, append=len(owners)))
    first_of_bundle = np.empty(len(owners), "int64")
    first_of_bundle[by_owner] = by_owner[np.arange(len(owners)) - place % size]
    return np.argsort(first_of_bundle, kind="stable")


def sample_without_replacement(
    sizes: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draws up to `count` distinct numbers below each of `sizes`, every subset equally likely, all rows at once.

    The k-th draw is a rank among the size-k numbers that are left; stepping over those already taken, in ascending
    order, turns it into the number itself.

    Args:
        sizes: (B,) how many there are to draw from.
        count: how many to draw.
        rng: where the randomness comes from.

    Returns:
        picks (B, count) int64 and real (B, count) bool, false where a row has run out.
    """
    left = sizes[:, None] - np.arange(count)
    real = left > 0
    picks = rng.integers(0, np.maximum(left, 1))
    for k in range(1, count):
        for taken in np.sort(np.where(real[:, :k], picks[:, :k], np.iinfo("int64").max), axis=1).T:
            picks[:, k] += picks[:, k] >= taken
    return picks, real


def history_matrix(log: ImpressionLog, histories: np.ndarray, size: int) -> np.ndarray:
    """Returns the newest `size` clicks of some distinct histories, (B, size) int32 rows, newest last, zeros behind."""
    ends = log.history_offsets[histories + 1]
    starts = np.maximum(log.history_offsets[histories], ends - size)
    index = starts[:, None] + np.arange(size)
    real = index < ends[:, None]
    if not len(log.histories):
        return np.zeros(real.shape, "int32")
    return np.where(real, log.histories[np.where(real, index, 0)], 0)


def distinct_rows(num_news: int, *rows: np.ndarray) -> np.ndarray:
    """Returns the distinct ones among some rows of a news table, ascending, the padding news always among them.

    Args:
        num_news: N+1, the table's rows.
        *rows: arrays of rows, of any shape.
    """
    needed = np.zeros(num_news, bool)
    needed[0] = True
    for array in rows:
        needed[array] = True
    return np.flatnonzero(needed)


def slots_of(log: ImpressionLog, impressions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns where the candidates of some impressions stand in the log, and where each impression's begin among them.

    Args:
        log: the log.
        impressions: (B,) indices, in any order.

    Returns:
        (candidates,) indices of `log.candidates`, impression after impression, and (B,) indices of those.
    """
    sizes = log.offsets[impressions + 1] - log.offsets[impressions]
    starts = np.cumsum(sizes) - sizes
    return np.arange(sizes.sum()) + np.repeat(log.offsets[impressions] - starts, sizes), starts


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
