"""One impression of a log, by the ids that its files give it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from recommenders_miner.errors import UnknownImpressionError

if TYPE_CHECKING:
    from recommenders_miner.data.iterator import Dataset

_SHOWN_IDS = 5


@dataclass(frozen=True, eq=False)
class Impression:
    """What one impression showed to whom.

    Attributes:
        user: the user's id.
        history: ids of all the news clicked before, newest last.
        candidates: ids of the news shown.
        labels: (candidates,) 1 for a click, 0 for none; None in an unlabelled log.
    """

    user: str
    history: list[str]
    candidates: list[str]
    labels: np.ndarray | None

    @classmethod
    def find(cls, data: Dataset, impression_id: int, file: str | Path) -> Self:
        """Finds an impression by its id; the first one, if several have it.

        Args:
            data: what was read.
            impression_id: the number in the first column of behaviors.tsv.
            file: where the log was read from, for the message.

        Raises:
            UnknownImpressionError: the log has no such impression; the message names some that it has.
        """
        log = data.log
        found = np.flatnonzero(log.impression_id == impression_id)
        if not len(found):
            some = ", ".join(map(str, log.impression_id[:_SHOWN_IDS])) + (", …" if len(log) > _SHOWN_IDS else "")
            raise UnknownImpressionError(
                f"{file}: no impression has the id {impression_id}; the ids of its {len(log):,} impressions are {some}"
            )
        index = int(found[0])
        shown = slice(log.candidates.offsets[index], log.candidates.offsets[index + 1])
        return cls(
            user=log.users[int(log.user_of[index])].as_py(),
            history=data.news.ids.take(log.history(log.history_of[index])).to_pylist(),
            candidates=data.news.ids.take(log.candidates.values[shown]).to_pylist(),
            labels=log.labels[shown] if log.labelled else None,
        )
