"""Which clicks a training step is made of, and the articles that are drawn beside them as negatives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.ragged import offsets_of
from recommenders_miner.errors import HParamsError
from recommenders_miner.hparams import CHECKS, HParams

_IMPRESSIONS_AT_ONCE = 2**20  # when the clicks are looked for

Draw = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]
"""Draws negatives for impressions (B,): so many rows of the news table each, (B, count) int32, 0 where they run out."""


_DAY = 24 * 3600


def hold_out(log: ImpressionLog, hparams: HParams) -> tuple[ImpressionLog, ImpressionLog | None]:
    """Divide a training log into what is trained on, and what is held out, None where `held_out` is none.

    The users that are held out are drawn once for all models and seeds; the last day is that of the last impression.

    Raises:
        HParamsError: nothing would be left to train on, or no click to evaluate on.
    """
    if hparams.held_out == "none":
        return log, None
    if hparams.held_out == "last_day":
        is_held = log.time >= log.time.max() // _DAY * _DAY
    else:
        count = round(hparams.held_out_share * len(log.users))
        users = np.random.default_rng(0).permutation(len(log.users))[:count]
        is_held = np.isin(log.user_of, users)
    taken = f"held_out: {hparams.held_out} takes {is_held.sum():,} of the log's {len(log):,} impressions of "
    taken += f"{len(log.users):,} users: "
    if is_held.all() or not is_held.any():
        raise HParamsError(f"{taken}there is nothing left, or nothing held out.")
    held_out = log.select(np.flatnonzero(is_held))
    if log.labelled and (problem := held_out.lacking_to("evaluate on")):
        raise HParamsError(f"{taken}among these, {problem}")
    return log.select(np.flatnonzero(~is_held)), held_out


class TrainingSamples:
    """The clicks of a log in the order of training, each with negatives.

    Step i depends on the seed and on i alone. An epoch is a fresh permutation of the clicks with fresh negatives, but
    that up to `clicks_per_user` clicks of a user, drawn afresh in each epoch, stand together. A log in parts is gone
    through part by part, in a fresh order of the parts in each epoch: as parts have their users by hash, each is a
    sample of the log. Of the log, which may be larger than the memory, only the places of a part's clicks are held.

    Args:
        log: labelled impressions.
        batch_size: clicks in a step (over all shards).
        npratio: negatives drawn beside each click, each once; where there are fewer, all are taken.
        clicks_per_user: clicks of a user that stand together, at most; 1 shuffles clicks one by one.
        seed: fixes order and negatives.
        shards: equal parts that a step's clicks are dealt out to, one for each device.
        negatives: a name in `NEGATIVES`, or what makes a `Draw` of the log, as those do.
        accumulate_steps: steps that together make one update. They are those that one step of so many times the
            `batch_size` would be made of, clicks and negatives, dealt out to equal parts. At the end of an epoch, the
            parts of its last update are smaller, by one at most not equal; where there are more parts than clicks,
            clicks come twice.

    Raises:
        HParamsError: there is no strategy of that name, or `batch_size` is no multiple of `shards`.
        DataFormatError: the log has no labels, or no impression with both a click and a non-click where negatives are
            drawn from these.
    """

    def __init__(
        self,
        log: ImpressionLog,
        batch_size: int,
        npratio: int,
        clicks_per_user: int = 1,
        seed: int = 0,
        shards: int = 1,
        negatives: str | Callable[[ImpressionLog], Draw] = "impression",
        accumulate_steps: int = 1,
    ) -> None:
        require_clicks(log, negatives)
        if batch_size % shards:
            raise HParamsError(f"batch_size {batch_size} is no multiple of the {shards} devices that share it.")
        self.log, self.batch_size, self.npratio = log, batch_size, npratio
        self.clicks_per_user, self.seed, self.shards = clicks_per_user, seed, shards
        self.accumulate_steps = accumulate_steps
        self.draw = (NEGATIVES[negatives] if isinstance(negatives, str) else negatives)(log)
        self._parts = [0, len(log)] if log.parts is None else log.parts[:, 0].tolist()
        self._usable: tuple[int, np.ndarray] | None = None  # of one part, which is kept
        self._ordered: tuple[tuple[int, int], np.ndarray] | None = None  # of an epoch and a part
        self._sizes = np.array([len(self._usable_clicks(part)) for part in range(len(self._parts) - 1)])
        if not self._sizes.any():  # a strategy of the user's own may say so only now
            log.require("train on")

    def _usable_clicks(self, part: int) -> np.ndarray:
        """Return the places, among the log's candidates, of the clicks of a part that there are negatives for."""
        if self._usable is None or self._usable[0] != part:
            start, end = self._parts[part : part + 2]
            starts = range(start, end, _IMPRESSIONS_AT_ONCE)
            found = [self._usable_between(first, min(first + _IMPRESSIONS_AT_ONCE, end)) for first in starts]
            self._usable = part, np.concatenate(found) if found else np.zeros(0, "int64")
        return self._usable[1]

    def _usable_between(self, start: int, end: int) -> np.ndarray:
        shown = self.log.candidates.offsets[start : end + 1]
        clicks = np.flatnonzero(self.log.labels[shown[0] : shown[-1]] == 1) + shown[0]
        if not getattr(self.draw, "needs_non_clicks", False):
            return clicks
        impression = np.searchsorted(shown, clicks, side="right") - 1
        clicked = np.bincount(impression, minlength=len(shown) - 1)
        return clicks[(clicked < np.diff(shown))[impression]]

    def __len__(self) -> int:
        """The clicks that one epoch trains on."""
        return int(self._sizes.sum())

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one epoch, a multiple of `accumulate_steps`; the last may be smaller."""
        return -(-len(self) // (self.batch_size * self.accumulate_steps)) * self.accumulate_steps

    def shards_of_step(self, step: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return a step as `of_step` does, dealt out to the shards."""
        return list(zip(*(np.array_split(array, self.shards) for array in self.of_step(step)), strict=True))

    def of_step(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the impressions (B,) and candidate rows (B, 1 + npratio) of a step, zeros where negatives run out."""
        epoch, position = divmod(step, self.steps_per_epoch)
        update, part = divmod(position, self.accumulate_steps)
        size = self.batch_size * self.accumulate_steps
        clicks = self._of_epoch(epoch, update * size, min((update + 1) * size, len(self)))
        clicks = np.resize(clicks, max(len(clicks), self.accumulate_steps))
        impressions = self.impression_of(clicks)
        negatives = self.draw(impressions, self.npratio, np.random.default_rng([self.seed, epoch, update]))
        candidates = np.concatenate([self.log.candidates.values[clicks, None], negatives], axis=1)
        return tuple(np.array_split(array, self.accumulate_steps)[part] for array in (impressions, candidates))

    def impression_of(self, clicks: np.ndarray) -> np.ndarray:
        """Return the impressions that clicks stand in."""
        return self.log.candidates.row_of(clicks)

    def some_clicks(self, count: int) -> np.ndarray:
        """Return the places of some clicks among the log's candidates, about `count` of the largest part."""
        clicks = self._usable_clicks(int(np.argmax(self._sizes)))
        return clicks[:: -(-len(clicks) // count)]

    def _of_epoch(self, epoch: int, start: int, end: int) -> np.ndarray:
        """Return the places of the clicks that stand from `start` up to `end` in an epoch."""
        parts = np.arange(len(self._sizes))
        if len(parts) > 1:
            parts = np.random.default_rng([self.seed, epoch, 0, 1]).permutation(parts)
        begins = offsets_of(self._sizes[parts])
        first, last = np.searchsorted(begins, [start, end - 1], side="right") - 1
        return np.concatenate(
            [
                self._order_of(epoch, int(parts[k]))[max(start - begins[k], 0) : end - begins[k]]
                for k in range(first, last + 1)
            ]
        )

    def _order_of(self, epoch: int, part: int) -> np.ndarray:
        """Return a part's clicks in the order of an epoch; the last is kept, since many steps need it."""
        if self._ordered is None or self._ordered[0] != (epoch, part):
            clicks = self._usable_clicks(part)
            stream = [self.seed, epoch] if len(self._sizes) == 1 else [self.seed, epoch, 0, 2 + part]
            order = np.random.default_rng(stream).permutation(len(clicks))
            if self.clicks_per_user > 1:
                users = self.log.user_of[self.impression_of(clicks)]
                order = order[bundled(users[order], self.clicks_per_user)]
            self._ordered = (epoch, part), clicks[order]
        return self._ordered[1]


# === Negatives ===


class ImpressionNegatives:
    """Non-clicks of the click's own impression, without replacement (NRMS, MINER and most papers)."""

    needs_non_clicks = True

    def __init__(self, log: ImpressionLog) -> None:
        self.log = log

    def __call__(self, impressions: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """See `Draw`."""
        slots = self.log.candidates.places(impressions)
        non_clicks = slots.keep(self.log.labels[slots.values] == 0)
        picks, real = sample_without_replacement(non_clicks.lengths, count, rng)
        negatives = np.zeros(picks.shape, "int32")
        chosen = (non_clicks.offsets[:-1, None] + picks)[real]
        negatives[real] = self.log.candidates.values[non_clicks.values[chosen]]
        return negatives


class PopularityNegatives:
    """Articles of the whole log, the more often shown the likelier, but none clicked in the impression.

    The probability is proportional to the number of showings to the power of .75, as word2vec draws words.
    """

    _DRAWN = 4  # times as many as are wanted, of which the first that fit are kept

    def __init__(self, log: ImpressionLog) -> None:
        self.log = log
        showings, _ = log.count_articles(int(log.candidates.values.max()) + 1)
        self.cumulative = np.cumsum(showings**0.75)

    def __call__(self, impressions: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """See `Draw`."""
        draws = rng.random((len(impressions), self._DRAWN * count)) * self.cumulative[-1]
        drawn = np.searchsorted(self.cumulative, draws, side="right")
        slots = self.log.candidates.places(impressions)
        clicks = slots.keep(self.log.labels[slots.values] == 1)
        size = len(self.cumulative)
        clicked = clicks.rows() * size + self.log.candidates.values[clicks.values]
        unfit = np.isin(np.arange(len(impressions))[:, None] * size + drawn, clicked)
        by_row = np.argsort(drawn, axis=1, kind="stable")
        repeated = np.diff(np.take_along_axis(drawn, by_row, axis=1), axis=1, prepend=-1) == 0
        np.put_along_axis(unfit, by_row, repeated | np.take_along_axis(unfit, by_row, axis=1), axis=1)
        fitting_first = np.argsort(unfit, axis=1, kind="stable")[:, :count]
        negatives = np.where(unfit, 0, drawn)
        return np.take_along_axis(negatives, fitting_first, axis=1).astype("int32")


NEGATIVES: dict[str, Callable[[ImpressionLog], Draw]] = {
    "impression": ImpressionNegatives,
    "popularity": PopularityNegatives,
}
"""Strategies by the names that the hyperparameter `negatives` takes."""


def require_clicks(log: ImpressionLog, negatives: str | Callable[[ImpressionLog], Draw]) -> None:
    """Refuse a log that has nothing to train on, as far as can be told without going through it sample by sample.

    Raises:
        HParamsError: there is no strategy of that name.
        DataFormatError: the log has no labels or no clicks, or none with the non-clicks that the strategy draws.
    """
    if isinstance(negatives, str):
        _require_known(negatives)
        negatives = NEGATIVES[negatives]
    log.require("train on", non_clicks=getattr(negatives, "needs_non_clicks", False))


def _require_known(negatives: str) -> None:
    if negatives not in NEGATIVES:
        raise HParamsError(f"negatives: expected one of {', '.join(NEGATIVES)}, got {negatives!r}.")


CHECKS["negatives"] = _require_known


def bundled(owners: np.ndarray, size: int) -> np.ndarray:
    """Return an order (items,) in which items of one owner, a number from 0, stand together, up to `size` in a bundle.

    A bundle stands where the first of its items stood; which items share one is up to the given order, so that if that
    is random, so are the bundles and their order.
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
    """Draw up to `count` distinct numbers below each of `sizes` (B,), every subset equally likely, all rows at once.

    The k-th draw is a rank among the size-k numbers that are left; stepping over those already taken, in ascending
    order, turns it into the number itself.

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
