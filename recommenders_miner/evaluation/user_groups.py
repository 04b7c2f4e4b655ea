"""Reports by group of users: by clicks so far, by how often they come, by what they are shown, by what is known."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recommenders_miner.errors import DataFormatError, nearest
from recommenders_miner.evaluation.metrics import Evaluation

if TYPE_CHECKING:
    from recommenders_miner.data.log import ImpressionLog

USERS_FILE = "users.parquet"
"""May stand beside a behaviors.tsv: a column `id`, and whatever else is known of the users, such as `region`."""

_CLICKS = (0, 1, 5, 20, 50)
_IMPRESSIONS = (1, 2, 5, 10)
_CANDIDATES = (1, 11, 31)
"""Where the groups by clicks, by impressions in the log and by candidates begin."""

_OF_THE_LOG = ("clicks", "activity", "candidates")
_OTHERS = "Group by clicks, activity or candidates, which the log itself tells."
_NOT_KNOWN = "not known"
_MOST_VALUES = 10


class UserGroups(NamedTuple):
    """The group of each impression's user: the groups' names in their order, and a place (impressions,) among them."""

    names: Sequence[str]
    of_impression: np.ndarray

    @classmethod
    def find(cls, by: str, log: ImpressionLog) -> Self:
        """Group impressions by `clicks`, `activity`, `candidates`, or a column of the users.parquet beside the log.

        They are the clicks in the history so far, the user's impressions in the log, and what the impression has to
        choose from: of few candidates, every list is much the same. Columns of numbers with more than ten distinct
        values are cut at their quartiles.

        Raises:
            DataFormatError: there is no such file or column, where the message names the nearest one; or the column
                holds neither numbers nor text.
        """
        if by == "clicks":
            return cls._cut(log.histories.lengths[log.history_of], _CLICKS)
        if by == "activity":
            return cls._cut(np.bincount(log.user_of)[log.user_of], _IMPRESSIONS)
        if by == "candidates":
            return cls._cut(log.candidates.lengths, _CANDIDATES)
        values = _read_column(log, by)
        known = values.drop_null()
        if (pa.types.is_floating(known.type) or pa.types.is_integer(known.type)) and len(known.unique()) > _MOST_VALUES:
            bounds = np.unique(np.quantile(known.to_numpy(), [0, 0.25, 0.5, 0.75], method="lower"))
            place = np.searchsorted(bounds, values.fill_null(bounds[0]).to_numpy(), "right") - 1
            place[values.is_null().to_numpy(zero_copy_only=False)] = len(bounds)
            return cls([*(f"from {bound:g}" for bound in bounds), _NOT_KNOWN], place[log.user_of])
        names, place = np.unique(values.cast(pa.string()).fill_null(_NOT_KNOWN).to_pylist(), return_inverse=True)
        return cls(names.tolist(), place[log.user_of])

    @classmethod
    def _cut(cls, counts: np.ndarray, bounds: Sequence[int]) -> Self:
        spans = itertools.pairwise(bounds)
        names = [f"{low}" if low == high - 1 else f"{low}-{high - 1}" for low, high in spans]
        return cls([*names, f"{bounds[-1]} or more"], np.searchsorted(bounds, counts, "right") - 1)

    def evaluate(self, values: Mapping[str, np.ndarray]) -> dict[str, Evaluation]:
        """Average metrics (impressions,), NaN where not defined, over each group that has an impression."""
        found = {}
        for place, name in enumerate(self.names):
            members = self.of_impression == place
            if members.any():
                of_group = {metric: column[members] for metric, column in values.items()}
                found[name] = Evaluation.mean(of_group, ~np.isnan(list(of_group.values())).all(axis=0))
        return found


def require_group(by: str, behaviors: Path) -> None:
    """Refuse what a log's users cannot be grouped by: `DataFormatError`, which names the nearest that goes."""
    if by in _OF_THE_LOG:
        return
    path = behaviors.with_name(USERS_FILE)
    if not path.exists():
        problem = f"is not there, and so there is no column {by!r} to group users by."
        raise DataFormatError(path, problem, remedy=_OTHERS)
    try:
        names = pq.read_schema(path).names
    except (OSError, pa.ArrowException) as error:
        raise DataFormatError(path, f"is no Parquet file that can be read ({error}).") from None
    if "id" not in names:
        raise DataFormatError(path, "there is no column 'id'.")
    if by == "id":
        raise DataFormatError(path, "the column 'id' names users, not groups of them.", remedy=_OTHERS)
    if by not in names:
        known = [*(name for name in names if name != "id"), *_OF_THE_LOG]
        raise DataFormatError(path, f"there is no column {by!r}.", remedy=f"Did you mean {nearest(by, known)!r}?")


def _read_column(log: ImpressionLog, name: str) -> pa.Array:
    """Read what a column of the users.parquet beside a log says of its users, numbers or texts, null where nothing."""
    require_group(name, log.path)
    path = log.path.with_name(USERS_FILE)
    table = pq.read_table(path, columns=["id", name])
    place = pc.index_in(log.users, value_set=table["id"].combine_chunks().cast(pa.string()))
    values = table[name].combine_chunks().take(place)
    if pa.types.is_floating(values.type):
        return pc.if_else(pc.is_nan(values), None, values)
    try:
        return values if pa.types.is_integer(values.type) else values.cast(pa.string())
    except pa.ArrowException:
        problem = f"the column {name!r} must hold numbers or text to group users by, not {values.type}."
        raise DataFormatError(path, problem) from None
