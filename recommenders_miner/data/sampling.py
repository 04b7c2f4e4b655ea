"""Which clicks a training step is made of, and the articles that are drawn beside them as negatives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from recommenders_miner.data.log import ImpressionLog
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
    that up to `clicks_per_user` clicks of a user, drawn afresh in each epoch, stand together. Of the log, which may be
    larger than the memory, only the places of the clicks are held.

    Args:
        log: labelled impressions.
        batch_size: clicks in a step (over all shards).
        npratio: negatives drawn beside each click, each once; where there are fewer, all are taken.
        clicks_per_user: clicks of a user that stand together, at most; 1 shuffles clicks one by one.
        seed: fixes order and negatives.
        shard: (index, count) of the process that the samples are for; a step's clicks are dealt out to `count` equal
            parts.
        negatives: a name in `NEGATIVES`, or what makes a `Draw` of the log, as those do.
        accumulate_steps: steps that together make one update. They are those that one step of so many times the
            `batch_size` would be made of, clicks and negatives, dealt out to equal parts. At the end of an epoch, the
            parts of its last update are smaller, by one at most not equal; where there are more parts than clicks,
            clicks come twice.

    Attributes:
        clicks: (samples,) int64, the places of the clicks among the log's candidates.

    Raises:
        HParamsError: there is no strategy of that name.
        DataFormatError: the log has no labels, or no impression with both a click and a non-click where negatives are
            drawn from these.
        ValueError: `batch_size` is no multiple of the processes.
    """

    def __init__(
        self,
        log: ImpressionLog,
        batch_size: int,
        npratio: int,
        clicks_per_user: int = 1,
        seed: int = 0,
        shard: tuple[int, int] = (0, 1),
        negatives: str | Callable[[ImpressionLog], Draw] = "impression",
        accumulate_steps: int = 1,
    ) -> None:
        require_clicks(log, negatives)
        if batch_size % shard[1]:
            raise ValueError(f"batch_size {batch_size} is no multiple of the {shard[1]} processes.")
        self.log, self.batch_size, self.npratio = log, batch_size, npratio
        self.clicks_per_user, self.seed, self.shard = clicks_per_user, seed, shard
        self.accumulate_steps = accumulate_steps
        self.draw = (NEGATIVES[negatives] if isinstance(negatives, str) else negatives)(log)
        self.clicks = self._usable_clicks(getattr(self.draw, "needs_non_clicks", False))
        self._order: tuple[int, np.ndarray] | None = None

    def _usable_clicks(self, need_non_clicks: bool) -> np.ndarray:
        """Return the places, among the log's candidates, of the clicks that there are negatives for."""
        found = []
        for first in range(0, len(self.log), _IMPRESSIONS_AT_ONCE):
            shown = self.log.candidates.offsets[first : first + _IMPRESSIONS_AT_ONCE + 1]
            clicks = np.flatnonzero(self.log.labels[shown[0] : shown[-1]] == 1) + shown[0]
            impression = np.searchsorted(shown, clicks, side="right") - 1
            clicked = np.bincount(impression, minlength=len(shown) - 1)
            found.append(clicks[(clicked < np.diff(shown))[impression]] if need_non_clicks else clicks)
        clicks = np.concatenate(found)
        if not len(clicks):  # a strategy of the user's own may say so only now
            self.log.require("train on")
        return clicks

    def __len__(self) -> int:
        """The clicks that one epoch trains on."""
        return len(self.clicks)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one epoch, a multiple of `accumulate_steps`; the last may be smaller."""
        return -(-len(self) // (self.batch_size * self.accumulate_steps)) * self.accumulate_steps

    def of_step(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the impressions (B,) and candidate rows (B, 1 + npratio) of a step, zeros where negatives run out."""
        epoch, position = divmod(step, self.steps_per_epoch)
        update, part = divmod(position, self.accumulate_steps)
        size = self.batch_size * self.accumulate_steps
        samples = self._order_of_epoch(epoch)[update * size : (update + 1) * size]
        clicks = self.clicks[np.resize(samples, max(len(samples), self.accumulate_steps))]
        impressions = self.impression_of(clicks)
        negatives = self.draw(impressions, self.npratio, np.random.default_rng([self.seed, epoch, update]))
        candidates = np.concatenate([self.log.candidates.values[clicks, None], negatives], axis=1)
        index, count = self.shard
        impressions, candidates = (
            np.array_split(np.array_split(array, self.accumulate_steps)[part], count)[index]
            for array in (impressions, candidates)
        )
        return impressions, candidates

    def impression_of(self, clicks: np.ndarray) -> np.ndarray:
        """Return the impressions that clicks stand in."""
        return self.log.candidates.row_of(clicks)

    def _order_of_epoch(self, epoch: int) -> np.ndarray:
        """Return the order of the epoch's clicks; the last is kept, since all of its epoch needs it."""
        kept = self._order
        if kept is None or kept[0] != epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self))
            if self.clicks_per_user > 1:
                users = self.log.user_of[self.impression_of(self.clicks)]
                order = order[bundled(users[order], self.clicks_per_user)]
            kept = self._order = epoch, order
        return kept[1]


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
        self.cumulative = np.cumsum(np.bincount(log.candidates.values) ** 0.75)

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
