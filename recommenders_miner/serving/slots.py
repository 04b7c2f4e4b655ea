"""Which model and which policy a user has, and when a new model is to take an old one's place.

An export's folder is a slot. What is exported into it anew takes over the slot, and with it the users.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from recommenders_miner.serving.files import MANIFEST

if TYPE_CHECKING:
    from recommenders_miner.serving.runtime import Recommender

_LONGEST_PAUSE = 60.0


class Slot:
    """A place for a model.

    Args:
        export: the folder that models are loaded from.
    """

    def __init__(self, export: Path) -> None:
        self.export = export
        self._model: Recommender | None = None
        self._taken = self._state()
        self._pause, self._not_before = 1.0, 0.0

    @property
    def model(self) -> Recommender:
        """The model that is there now. A request takes it once, and goes on with it whatever takes its place."""
        assert self._model is not None, "a slot is filled before it is asked"
        return self._model

    def fill(self, model: Recommender) -> None:
        """Put a model in."""
        self._model = model

    def renewed(self) -> object | None:
        """Return the state of an export that is not the one taken; None where nothing is new.

        After a failure nothing is new for a pause, longer each time: an export may be copied there file by file.
        """
        state = self._state()
        return None if state in (None, self._taken) or monotonic() < self._not_before else state

    def taken(self, state: object) -> None:
        """Note that the export in this state has been loaded."""
        self._taken, self._pause = state, 1.0

    def failed(self) -> None:
        """Note that it could not be loaded."""
        self._not_before = monotonic() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _state(self) -> object | None:
        try:
            found = os.stat(self.export / MANIFEST)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size


class Arm(NamedTuple):
    """A share of the users, the slot whose model answers them, and the policy by which lists are arranged, if any."""

    slot: Slot
    share: float
    policy: str | None = None


def arm_of(arms: Sequence[Arm], user: str | None, history: Sequence[str]) -> Arm:
    """Return the arm that a user is always in, or, for one without a name, that of these clicks.

    Users who change their arm when shares change move between neighbours.
    """
    key = "\n".join(["clicks", *history] if user is None else ["user", user])
    place = int.from_bytes(blake2b(key.encode(), digest_size=8).digest()) / 2**64
    ends = accumulate(arm.share for arm in arms)
    return next((arm for arm, end in zip(arms, ends, strict=True) if place < end), arms[-1])
