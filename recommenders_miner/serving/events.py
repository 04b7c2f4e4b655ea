"""Events of users, and what a store of them does, whatever it is made of."""

from __future__ import annotations

import hashlib
import heapq
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from recommenders_miner.errors import RecommendersMinerError

HOUR, DAY = 3600, 86_400

COUNTED_HOURS = 31 * 24
"""For how long the clicks and showings of an hour are kept."""

_SMOOTHING = 20  # showings at the usual rate, with which every article begins

Counted = tuple[str, int, int]
Change = tuple[int, str, dict[str, Any] | None]


class StoreError(RecommendersMinerError):
    """A store cannot be opened, or does not answer; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Event:
    """A click on an article, or that it was shown.

    Attributes:
        id: of the event; an event that comes again under its id counts once.
        user: who clicked on it, or was shown it.
        article: the article's id.
        type: "click" or "shown".
        time: Unix seconds.
        answer: the id of the answer that the article stood in, if that is known.
    """

    id: str
    user: str
    article: str
    type: Literal["click", "shown"]
    time: int
    answer: str | None = None

    @property
    def hour(self) -> int:
        """The hour since 1970."""
        return self.time // HOUR

    @property
    def digest(self) -> bytes:
        """16 bytes by which the id is known again, which may name the user, after the user is forgotten."""
        return hashlib.blake2b(self.id.encode(), digest_size=16).digest()


class Store(ABC):
    """Users' newest clicks, counts of clicks and showings by the hour, and the changes of articles.

    Where it is asked to, it also keeps what each user was shown and did not click on, for a month after the last time.

    Threads may share a store, and processes may open the same one. Its methods raise a `StoreError` where it cannot be
    used.

    Args:
        name: the store's URL, for messages.
        kept: clicks of a user that are kept, the newest.
        remembered: for how many days ids of events are known again, at least.
    """

    _errors: tuple[type[Exception], ...]
    _remedy: str

    def __init__(self, name: str, kept: int, remembered: float) -> None:
        self.name, self.kept, self.remembered = name, kept, remembered

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            raise StoreError(f"{self.name}: the store cannot be used ({error}). {self._remedy}") from error

    @abstractmethod
    def record(self, events: Sequence[Event], keep_showings: bool = False) -> list[bool]:
        """Record events, all or none; return for each whether it is new, and not one whose id is known.

        On return they are as durable as the class of the store says. With `keep_showings` it also keeps who was shown
        what, else how often articles were shown to all.
        """

    @abstractmethod
    def history(self, user: str, limit: int) -> list[tuple[str, int]]:
        """Return a user's newest clicks, (article, Unix seconds), oldest first; of one second, as they arrived.

        `limit` is at least 1.
        """

    @abstractmethod
    def showings(self, user: str) -> dict[str, int]:
        """Return how often articles were shown to a user who has not clicked on them, as far as that was kept."""

    @abstractmethod
    def forget(self, user: str) -> int:
        """Remove a user's clicks and showings; return how many clicks there were.

        Counts of articles, which name no user, stay.
        """

    def popular(self, since: int, limit: int) -> list[Counted]:
        """Return what is clicked on most often when shown, best first: (article, clicks, showings).

        Counted are whole hours, from that of the Unix seconds `since` on and at most 31 days back. Each article is
        ranked as if it had been shown 20 times more, with clicks at the rate of all, so that one that was hardly shown
        is neither first nor last. Where showings are not recorded, clicks alone count.
        """
        counts = self._counts(max(since // HOUR, this_hour() - COUNTED_HOURS))
        clicks, showings = (sum(row[place] for row in counts) for place in (1, 2))
        prior = _SMOOTHING * clicks / max(clicks, showings, 1)

        def rank(row: Counted) -> tuple[float, int, str]:
            return (row[1] + prior) / (row[2] + _SMOOTHING), row[1], row[0]

        return heapq.nlargest(limit, counts, rank)

    @abstractmethod
    def _counts(self, first_hour: int) -> list[Counted]:
        """Return (article, clicks, showings) of the hours since 1970 from `first_hour` on, each article once."""

    def put_article(self, id: str, row: Mapping[str, Any] | None) -> int:
        """Keep what is known of an article, as JSON can hold it, or that it is removed (None).

        Return the number of the change, which is higher than those before.
        """
        return self._put(id, json.dumps(row if row is None else dict(row)))

    @abstractmethod
    def _put(self, id: str, text: str) -> int:
        """Keep the text of an article; return the number of the change."""

    def articles_since(self, number: int) -> list[Change]:
        """Return the newest state of each article that changed after change `number`, 0 for all: (number, id, row)."""
        return [(change, id, json.loads(text)) for change, id, text in self._changes(number)]

    @abstractmethod
    def _changes(self, number: int) -> list[tuple[int, str, str]]:
        """Return the changes after `number`, ascending: (number, id, text)."""

    @abstractmethod
    def ping(self) -> None:
        """Find out whether the store answers."""

    @abstractmethod
    def close(self) -> None:
        """Close the store, which cannot be used again."""


def this_hour() -> int:
    """Return the hour since 1970."""
    return int(time.time() // HOUR)
