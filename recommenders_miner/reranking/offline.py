"""A policy over the impressions of a log: the lists that it would have made of them, and what it did to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from recommenders_miner.data.ragged import Ragged
from recommenders_miner.reranking.listing import Listing
from recommenders_miner.reranking.plan import Plan

if TYPE_CHECKING:
    from recommenders_miner.data.log import ImpressionLog
    from recommenders_miner.data.news import NewsTable

EXAMPLES = 3


def arrange_log(
    plan: Plan,
    log: ImpressionLog,
    scores: np.ndarray,
    k: int | None = None,
    *,
    seed: int = 0,
    dial: float | None = None,
) -> Iterator[Listing]:
    """Arrange the candidates of each impression, in the order of the log, as of its time and for its user.

    What the user was shown counts as far as the log has it; topics that users named are not in logs. The pools are
    those of `distinct_candidates`.

    Args:
        plan: a plan whose articles are the rows of the log's news table (`news_columns`).
        log: the log.
        scores: (candidates,) of a model.
        k: how long lists are; the policy's `places` where left out.
        seed: of exploration, which differs from impression to impression.
        dial: as of `Plan.arrange`.
    """
    shown = showings_without_click(log) if plan.policy.shown else np.zeros(len(log.candidates.values), np.int64)
    for impression, own in enumerate(distinct_candidates(log, scores)):
        yield plan.arrange(
            scores[own],
            log.candidates.values[own],
            k,
            now=float(log.time[impression]),
            history=log.history(log.history_of[impression]),
            shown=shown[own],
            seed=[seed, impression],
            dial=dial,
        )


def distinct_candidates(log: ImpressionLog, scores: np.ndarray) -> Ragged:
    """Return where the articles of each impression stand among the log's candidates, ascending.

    One that an impression has twice stands where its score (candidates,) is higher.
    """
    rows, impressions = log.candidates.values, log.candidates.rows()
    order = np.lexsort((-scores, rows, impressions))
    is_new = np.ones(len(order), bool)
    is_new[1:] = (np.diff(rows[order]) != 0) | (np.diff(impressions[order]) != 0)
    kept = np.sort(order[is_new])
    return Ragged(kept, np.searchsorted(kept, log.candidates.offsets))


def showings_without_click(log: ImpressionLog) -> np.ndarray:
    """Count how often each candidate was shown to its user before, in this log, and never clicked on: (candidates,)."""
    users, times = (log.candidates.repeat(np.asarray(of_each)) for of_each in (log.user_of, log.time))
    order = np.lexsort((times, log.candidates.values, users))
    pair = np.stack([users, log.candidates.values])[:, order]
    starts = np.flatnonzero(np.append(True, (pair[:, 1:] != pair[:, :-1]).any(axis=0)))
    start_of = np.repeat(starts, np.diff(np.append(starts, len(order))))
    clicks = np.append(0, np.cumsum(log.labels[order] == 1))
    clicked_before = clicks[:-1] - clicks[start_of]
    counts = np.empty(len(order), np.int64)
    counts[order] = np.where(clicked_before > 0, 0, np.arange(len(order)) - start_of)
    return counts


@dataclass
class RuleReview:
    """What one rule did to lists.

    Attributes:
        lists: lists in which it put an article at another place.
        places: articles that it did so with.
        held_back: articles that would have been in the list by their scores, and were not for this rule.
        relaxed: lists in which it gave way, or could not be kept.
        clashes: with what, and in how many lists.
        examples: a few of the above, in words.
    """

    lists: int = 0
    places: int = 0
    held_back: int = 0
    relaxed: int = 0
    clashes: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)


class Review:
    """Sums up what a policy did to lists, by rule.

    Attributes:
        lists: how many lists there were.
        changed: those in which some article stands at another place than by the scores.
        replaced: articles that would have been in a list by their scores, and were not; all lists together.
        rules: by title, those of the policy in its order, then rerankers and half-lives.
    """

    def __init__(self, plan: Plan, news: NewsTable) -> None:
        self._titles = news.title
        self.lists = self.changed = self.replaced = 0
        self.rules = {title: RuleReview() for title in plan.titles}

    def add(self, listing: Listing, whose: str = "") -> None:
        """Add a list; `whose` says in examples which one it is."""
        self.lists += 1
        self.changed += bool(listing.moves)
        moved = Counter(move.rule for move in listing.moves)
        for title, count in moved.items():
            rule = self._rule(title)
            rule.lists, rule.places = rule.lists + 1, rule.places + count
        for move in sorted(listing.moves, key=lambda move: move.place - move.rank):
            self._say(move.rule, f"{self._title(move.row)} from {move.rank} to {move.place}", whose)
        for one in listing.relaxed:
            rule = self._rule(one.rule)
            rule.relaxed += 1
            rule.clashes.update(one.clashes)
            self._say(one.rule, f"not kept by {one.by}, for {', '.join(one.clashes)}", whose)
        missing = np.setdiff1d(np.flatnonzero(listing.ranks <= len(listing.order)), listing.order)
        self.replaced += len(missing)
        for candidate in missing:
            row = int(listing.pool.rows[candidate])
            reason = listing.why_not(row)
            self._rule(reason.rule).held_back += 1
            left_out = f"{self._title(row)}, number {listing.ranks[candidate]}, left out: {reason.text}"
            left_out += "" if reason.other is None else f" That is {self._title(reason.other)}."
            self._say(reason.rule, left_out, whose)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        rules = {title: {**vars(rule), "clashes": dict(rule.clashes)} for title, rule in self.rules.items()}
        return {"lists": self.lists, "changed": self.changed, "replaced": self.replaced, "rules": rules}

    def _rule(self, title: str) -> RuleReview:
        return self.rules.setdefault(title, RuleReview())

    def _title(self, row: int) -> str:
        return f"“{self._titles[row].as_py()}”"

    def _say(self, title: str, what: str, whose: str) -> None:
        examples = self._rule(title).examples
        if len(examples) < EXAMPLES:
            examples.append(f"{whose}: {what}" if whose else what)
