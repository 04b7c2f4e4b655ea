"""Which clicks a training step is made of, and the non-clicks that are drawn beside them."""

from __future__ import annotations

import numpy as np

from recommenders_miner.data.log import ImpressionLog

_IMPRESSIONS_AT_ONCE = 2**20  # when the clicks are looked for


class TrainingSamples:
    """The clicks of a log in the order of training, each with non-clicks of its impression.

    Step i depends on the seed and on i alone. An epoch is a fresh permutation of the clicks with fresh negatives, but
    that up to `clicks_per_user` clicks of a user, drawn afresh in each epoch, stand together. Of the log, which may be
    larger than the memory, only the places of the clicks are held. Impressions without a non-click teach nothing and
    are left out.

    Args:
        log: labelled impressions.
        batch_size: clicks in a step (over all shards).
        npratio: non-clicks drawn beside each click, without replacement; where there are fewer, all are taken.
        clicks_per_user: clicks of a user that stand together, at most; 1 shuffles clicks one by one.
        seed: fixes order and negatives.
        shard: (index, count) of the process that the samples are for; a step's clicks are dealt out to `count` equal
            parts.

    Attributes:
        clicks: (samples,) int64, the places of the clicks among the log's candidates.

    Raises:
        ValueError: the log has no labels, or no impression with both a click and a non-click, or `batch_size` is no
            multiple of the processes.
    """

    def __init__(
        self,
        log: ImpressionLog,
        batch_size: int,
        npratio: int,
        clicks_per_user: int = 1,
        seed: int = 0,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        if not log.labelled:
            raise ValueError("Training needs a labelled log: this one has no clicks marked (a test split?).")
        if batch_size % shard[1]:
            raise ValueError(f"batch_size {batch_size} is no multiple of the {shard[1]} processes.")
        self.log, self.batch_size, self.npratio = log, batch_size, npratio
        self.clicks_per_user, self.seed, self.shard = clicks_per_user, seed, shard
        self.clicks = self._usable_clicks()
        self._order: tuple[int, np.ndarray] | None = None

    def _usable_clicks(self) -> np.ndarray:
        """Returns the places, among the log's candidates, of the clicks that have a non-click beside them."""
        found = []
        for first in range(0, len(self.log), _IMPRESSIONS_AT_ONCE):
            offsets = self.log.candidates.offsets[first : first + _IMPRESSIONS_AT_ONCE + 1]
            clicks = np.flatnonzero(self.log.labels[offsets[0] : offsets[-1]] == 1) + offsets[0]
            impression = np.searchsorted(offsets, clicks, side="right") - 1
            clicked = np.bincount(impression, minlength=len(offsets) - 1)
            found.append(clicks[(clicked < np.diff(offsets))[impression]])
        clicks = np.concatenate(found)
        if not len(clicks):
            raise ValueError("No impression of this log has both a click and a non-click: there is nothing to learn.")
        return clicks

    def __len__(self) -> int:
        """The clicks that one epoch trains on."""
        return len(self.clicks)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one epoch; the last may be smaller."""
        return -(-len(self) // self.batch_size)

    @property
    def samples_at_once(self) -> int:
        """Samples of a full step that fall to this process."""
        return self.batch_size // self.shard[1]

    def of_step(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the impressions (B,) and candidate rows (B, 1 + npratio) of a step, zeros where negatives run out."""
        epoch, position = divmod(step, self.steps_per_epoch)
        samples = self._order_of_epoch(epoch)[position * self.batch_size : (position + 1) * self.batch_size]
        clicks = self.clicks[samples]
        impressions = self.impression_of(clicks)
        candidates = np.zeros((len(samples), 1 + self.npratio), "int32")
        candidates[:, 0] = self.log.candidates.values[clicks]
        places = self.log.candidates.places(impressions)
        negatives = places.keep(self.log.labels[places.values] == 0)
        rng = np.random.default_rng([self.seed, epoch, position])
        picks, real = sample_without_replacement(negatives.lengths, self.npratio, rng)
        drawn = negatives.values[(negatives.offsets[:-1, None] + picks)[real]]
        candidates[:, 1:][real] = self.log.candidates.values[drawn]
        index, count = self.shard
        return np.array_split(impressions, count)[index], np.array_split(candidates, count)[index]

    def impression_of(self, clicks: np.ndarray) -> np.ndarray:
        """Returns the impressions that clicks stand in."""
        return self.log.candidates.row_of(clicks)

    def _order_of_epoch(self, epoch: int) -> np.ndarray:
        """Returns the order of the epoch's clicks; the last is kept, since all of its epoch needs it."""
        kept = self._order
        if kept is None or kept[0] != epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self))
            if self.clicks_per_user > 1:
                users = self.log.user_of[self.impression_of(self.clicks)]
                order = order[bundled(users[order], self.clicks_per_user)]
            kept = self._order = epoch, order
        return kept[1]


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
