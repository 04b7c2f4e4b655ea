"""Licences that a user has to accept before data is fetched, and the memory of those that were."""

from __future__ import annotations

import datetime
import json
import logging
from dataclasses import dataclass

from recommenders_miner.datasets.home import home_folder
from recommenders_miner.errors import LicenceError
from recommenders_miner.storage import atomic_write

LOGGER = logging.getLogger("recommenders_miner")

_RECORD = "accepted_licences.json"


@dataclass(frozen=True)
class Licence:
    """A licence.

    Attributes:
        data: what it is for.
        url: where it stands.
        summary: what it allows and forbids, in two sentences.
    """

    data: str
    url: str
    summary: str

    def require(self, accept: bool) -> None:
        """Remembers that the user accepts, if he does, else checks that he did once.

        Args:
            accept: whether he says so now.

        Raises:
            LicenceError: he has not.
        """
        if accept:
            self._remember()
        elif not self.is_accepted():
            raise LicenceError(f"{self}\nTo accept it: --accept-licence, in Python accept_licence=True.")

    def is_accepted(self) -> bool:
        """Whether this user has accepted it before."""
        return self.url in _read_record()

    def __str__(self) -> str:
        return f"{self.data} has a licence: {self.url}\n{self.summary}"

    def _remember(self) -> None:
        record = _read_record() | {self.url: datetime.date.today().isoformat()}
        try:
            with atomic_write(home_folder() / _RECORD) as temporary:
                temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")
        except OSError as error:
            LOGGER.warning("That you accept the licence of %s cannot be remembered (%s).", self.data, error)


def _read_record() -> dict[str, str]:
    """The day that each licence was accepted, by its address."""
    try:
        record = json.loads((home_folder() / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}
