"""Editors' policies in a service: bound to the articles as both change, and what they make of one list."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recommenders_miner.errors import PolicyError
from recommenders_miner.reranking import Listing, Pin, Plan, Policy
from recommenders_miner.serving import wire
from recommenders_miner.serving.catalog import Catalog
from recommenders_miner.serving.problems import Problem

LOGGER = logging.getLogger("recommenders_miner")

_EXPLORE = "explore"
_REST = 10
"""So many times as long as it takes to bind policies to new articles, requests have the process to themselves again."""
_CLICKED, _LEFT_OUT, _UNKNOWN = "history", "limits", "articles"


class Articles:
    """N articles as plans have them.

    Args:
        columns: by name, the values of each article, `id` among them.

    Attributes:
        ids: the articles' ids.
        row_of: their rows.
        columns: the columns.
    """

    def __init__(self, columns: Mapping[str, Sequence[Any]]) -> None:
        self.columns, self.ids = columns, columns["id"]
        self.row_of = {article: row for row, article in enumerate(self.ids)}
        self._rows: dict[str, tuple[list[str], np.ndarray]] = {}

    def rows_of(self, model: str, ids: list[str]) -> np.ndarray:
        """Return the rows of the articles of a model, -1 for those that are not here, (len(ids),) int64.

        They are kept for as long as the model gives the same list.
        """
        known = self._rows.get(model)
        if known is None or known[0] is not ids:
            known = self._rows[model] = ids, np.array([self.row_of.get(article, -1) for article in ids], np.int64)
        return known[1]

    def rows(self, ids: Iterable[str]) -> list[int]:
        """Return the rows of those of some articles that are here."""
        return [self.row_of[article] for article in ids if article in self.row_of]


class Bound(NamedTuple):
    """A policy by its name, with a digest of what it says, and its plan for some articles."""

    name: str
    policy: Policy
    version: str
    articles: Articles
    plan: Plan

    @classmethod
    def of(cls, name: str, policy: Policy, articles: Articles) -> Bound:
        """Bind a policy; the errors are those of `Plan`."""
        version = blake2b(policy.model_dump_json().encode(), digest_size=4).hexdigest()
        return cls(name, policy, version, articles, Plan(policy, articles.columns))

    def titles(self, relaxed: Iterable[wire.RelaxedRule]) -> list[str]:
        """Return the rules by the names of the policy, "pins" for those of a request."""
        known = {*self.plan.titles, "places"}
        return [one.rule if one.rule in known else "pins" for one in relaxed]

    def arrange(
        self,
        rows: np.ndarray,
        scores: np.ndarray,
        k: int,
        *,
        history: Sequence[str],
        seed: int,
        shown: Mapping[str, int],
        topics: Sequence[str] = (),
        pins: Sequence[wire.PinnedArticle] = (),
        dial: float | None = None,
    ) -> Arranged:
        """Arrange a list of the articles of some rows (C,), -1 for none; those with the score -inf are no candidates.

        `shown` has how often the user was shown articles without a click, `pins` are for this list alone; all else is
        as of `Plan.arrange`, `history` in ids.
        """
        plan, is_candidate = self.plan, (rows >= 0) & (scores > -np.inf)
        if pins:
            row_of = self.articles.row_of
            plan = plan.pinned({Pin(article=pin.id, place=pin.place): row_of.get(pin.id, -1) for pin in pins})
        rows, times = rows[is_candidate], None
        if shown:
            known = [article for article in shown if article in self.articles.row_of]
            times = np.zeros(len(self.articles.ids), np.int64)
            times[self.articles.rows(known)] = [shown[article] for article in known]
            times = times[rows]
        listing = plan.arrange(
            scores[is_candidate], rows, k, now=time.time(), history=self.articles.rows(history), shown=times,
            topics=topics, seed=seed, dial=dial,
        )  # fmt: skip
        return Arranged(listing, self.articles, frozenset(history))


class Arranged(NamedTuple):
    """A list that a policy has arranged, in the words of answers."""

    listing: Listing
    articles: Articles
    history: frozenset[str]

    def chosen(self, usual: wire.Why) -> list[tuple[str, float, wire.Why, wire.Moved | None]]:
        """Return the id, the score, why it is there, and what moved it, of each article."""
        moved = {move.row: wire.Moved(rule=move.rule, rank=move.rank, place=move.place) for move in self.listing.moves}
        explored = {row for row, move in moved.items() if move.rule == _EXPLORE and move.place < move.rank}
        pairs = zip(self.listing.rows.tolist(), self.listing.scores.tolist(), strict=True)
        return [
            (self.articles.ids[row], score, "explored" if row in explored else usual, moved.get(row))
            for row, score in pairs
        ]

    def answer(self, ids: Sequence[str]) -> dict[str, Any]:
        """Return `relaxed`, and `why_not` of some articles, of an answer; nothing of articles that are not missing."""
        relaxed = [wire.RelaxedRule(rule=one.rule, by=one.by, clashes=[*one.clashes]) for one in self.listing.relaxed]
        reasons = [reason for article in ids if (reason := self._why_not(article))]
        return {"relaxed": relaxed, "why_not": reasons if ids else None}

    def _why_not(self, article: str) -> wire.WhyNot | None:
        row = self.articles.row_of.get(article)
        if row is None:
            return wire.WhyNot(id=article, rule=_UNKNOWN, text="There is no such article.")
        if not np.isin(row, self.listing.pool.rows):
            if article in self.history:
                return wire.WhyNot(id=article, rule=_CLICKED, text="The user has clicked on it.")
            return wire.WhyNot(id=article, rule=_LEFT_OUT, text="The limits of the request leave it out.")
        if (reason := self.listing.why_not(row)) is None:
            return None
        other = None if reason.other is None else self.articles.ids[reason.other]
        return wire.WhyNot(id=article, rule=reason.rule, text=reason.text, other=other)


class Policies:
    """The policies of a service, read anew when their files change and bound anew when articles do.

    To bind takes a second for 60,000 articles, and is not done all the time. Requests meanwhile are answered as before,
    without the new articles.

    Args:
        files: the file of each policy, by name.
        catalog: the articles.
    """

    def __init__(self, files: Mapping[str, Path], catalog: Catalog) -> None:
        self._files, self._catalog = files, catalog
        self._bound: dict[str, Bound] = {}
        self._states: dict[str, tuple[int, int] | None] = {}
        self._entries: Sequence[Any] | None = None
        self._articles = Articles({"id": []})
        self._not_before = 0.0

    def refresh(self) -> None:
        """Take over what has changed; a file that cannot be used leaves its policy as it was, which is logged.

        Raises:
            PolicyError: a policy that there was none of before cannot be used.
            Exception: a policy could not be bound to new articles; it stays with the old ones.
        """
        if not self._files:
            return
        start, entries = time.monotonic(), self._catalog.newest()
        is_edited = any(_state(path) not in (None, self._states.get(name)) for name, path in self._files.items())
        is_old = entries is not self._entries and (is_edited or start >= self._not_before)
        if is_old:
            self._entries, self._articles = entries, _articles(entries, self._articles.columns)
        failed = None
        for name, path in self._files.items():
            try:
                self._bound[name] = self._current(name, path)
            except Exception as error:  # whatever it is, the others are taken over first
                if name not in self._bound:
                    raise
                failed = error
        if is_old:
            now = time.monotonic()
            self._not_before = now + _REST * (now - start)
        if failed:
            raise failed

    def _current(self, name: str, path: Path) -> Bound:
        old, state = self._bound.get(name), _state(path)
        if old is None or state not in (None, self._states[name]):
            self._states[name] = state
            try:
                new = Bound.of(name, Policy.read(path), self._articles)
            except Exception as error:
                if old is None:
                    raise
                is_bug = not isinstance(error, PolicyError)
                LOGGER.error("The policy %s stays as it was: %s", name, error, exc_info=is_bug)
            else:
                if old is not None:
                    LOGGER.info("%s: the policy %s is now %s.", path, name, new.version)
                return new
        return old if old.articles is self._articles else Bound.of(name, old.policy, self._articles)

    def get(self, name: str) -> Bound:
        """Return a policy; a `Problem`, 422, where there is none of the name."""
        if name not in self._bound:
            there_is = f"there is {', '.join(self._bound)}" if self._bound else "the server was started without any"
            raise Problem(422, f"policy: there is no {name}; {there_is}.")
        return self._bound[name]

    def all(self) -> list[Bound]:
        """Return all policies."""
        return [*self._bound.values()]

    @property
    def count_showings(self) -> bool:
        """Whether a policy asks how often users were shown articles."""
        return any(bound.policy.shown for bound in self._bound.values())


def _state(path: Path) -> tuple[int, int] | None:
    """Return what changes when a file does; None where it is missing for the moment."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _articles(entries: Sequence[Any], before: Iterable[str]) -> Articles:
    """Make columns of cards, and of those that were there before, should the last article that had one be gone."""
    cards = [entry.card for entry in entries]
    names = dict.fromkeys([*before, *(name for card in cards for name in card.columns or ())])
    shown = dict.fromkeys(("published", "id", "title", "category", "subcategory"))
    return Articles({name: [card.column(name) for card in cards] for name in names | shown})
