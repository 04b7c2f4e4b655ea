"""A list that a policy has arranged: what stands where, what moved it, what gave way, and why others are missing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from recommenders_miner.reranking.pool import Pool
from recommenders_miner.reranking.rules import AGES, EXPLORE, SAME_STORY, SHOWN

CANDIDATES, PLACES, SCORE = "candidates", "places", "score"
HALF_LIFE, TOGETHER = "half-life", "rules together"
"""What may stand in the place of a rule's title: that the pool has too few articles, that the list would be shorter,
that an article was outranked, that half-lives outrank it, and that only all rules together exclude it.
"""


class Move(NamedTuple):
    """That a rule moved an article from its rank by the scores to its place in the list, both from 1.

    `rule` is the title of what put it there; for one that only fell, of what was put before it;
    `half-life` for half-lives, and `rerank: mmr` and the like for rerankers.
    """

    row: int
    rank: int
    place: int
    rule: str


class Relaxed(NamedTuple):
    """That a rule was not kept: its title, by how many articles or places, and what it clashes with.

    `clashes` has titles of rules; `candidates` where the pool has too few articles of the kind; `places` where the list
    would otherwise be shorter than asked for. Where the rule itself is `places`, the list is shorter.
    """

    rule: str
    by: int
    clashes: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.rule}: by {self.by}, for {', '.join(self.clashes)}"


class Reason(NamedTuple):
    """Why an article is not in a list: a rule's title, `score` where it was outranked; and a sentence."""

    rule: str
    text: str


@dataclass(frozen=True, eq=False)
class Listing:
    """Up to k articles of a pool in the order of a policy; what explains them is computed when it is asked for.

    Attributes:
        order: (n,) int64, the articles' positions in the pool that `arrange` was given.
        pool: what the rules say of it.
        violations: by how much each rule is not kept, and behind these how many places are empty, (rules + 1,) int64.
    """

    order: np.ndarray
    pool: Pool
    violations: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        """The rows of the articles, (n,) int64."""
        return self.pool.rows[self.order]

    @property
    def scores(self) -> np.ndarray:
        """Their scores as given, (n,) float64."""
        return self.pool.scores[self.order]

    @cached_property
    def ranks(self) -> np.ndarray:
        """The place of each article of the pool by its score, from 1, (C,) int64; equal scores in the pool's order."""
        ranks = np.empty(len(self.pool.rows), np.int64)
        ranks[np.argsort(-self.pool.scores, kind="stable")] = np.arange(1, len(ranks) + 1)
        return ranks

    @cached_property
    def moves(self) -> tuple[Move, ...]:
        """What stands at another place than its rank, and what put it there, in the order of the places."""
        return tuple(
            Move(int(row), int(rank), place, self._mover(place - 1))
            for place, (row, rank) in enumerate(zip(self.rows, self.ranks[self.order], strict=True), start=1)
            if place != rank
        )

    @cached_property
    def relaxed(self) -> tuple[Relaxed, ...]:
        """The rules that were not kept, the most important first; empty where all were."""
        levels = self.pool.rules.levels
        broken = sorted(np.flatnonzero(self.violations), key=lambda rule: -levels[rule])
        return tuple(Relaxed(self._title(rule), int(self.violations[rule]), self._clashes(rule)) for rule in broken)

    def why_not(self, row: int) -> Reason | None:
        """Say why an article is not in the list; None where it is."""
        found = np.flatnonzero(self.pool.rows == row)
        if not len(found):
            return Reason(CANDIDATES, "It is not among the candidates.")
        candidate = int(found[0])
        if candidate in self.order:
            return None
        excluded = self._excluded(candidate, self.order)
        if excluded is not None:
            return excluded
        rank, places = int(self.ranks[candidate]), len(self.order)
        if rank <= places:
            why = self._preference(candidate, int(self.order[-1])) if places else TOGETHER
            return Reason(why, f"By its score it is number {rank}; {why} put others before it.")
        return Reason(SCORE, f"By its score it is number {rank}, and the list has {places} places.")

    # === Explanations ===

    def _title(self, rule: int) -> str:
        rules = self.pool.rules.rules
        return rules[rule].title if rule < len(rules) else PLACES

    def _excluded(self, candidate: int, others: np.ndarray) -> Reason | None:
        """Return the most important rule that excludes a candidate beside others in the list; None where none does."""
        pool, rules, found = self.pool, self.pool.rules, []
        if pool.too_old[candidate]:
            age, oldest = pool.ages[candidate] / 3600, rules.oldest[pool.rows[candidate]] / 3600
            said = "Nobody knows how old it is" if np.isnan(age) else f"It is {age:.0f} h old"
            found.append((AGES, f"{said}; {oldest:g} h are allowed."))
        if pool.worn[candidate]:
            found.append((SHOWN, f"It was shown {rules.policy.shown} times or more, and not clicked on."))
        for bucket in pool.buckets[candidate].tolist():
            if bucket == len(pool.limits):
                continue
            there = np.flatnonzero((pool.buckets[others] == bucket).any(axis=1))
            if len(there) >= pool.limits[bucket]:
                label, limit = rules.bucket_labels[bucket], pool.limits[bucket]
                found.append((int(rules.bucket_rules[bucket]), f"{label} has the {limit} places that it may have."))
        if rules.policy.same_story is not None and len(others):
            same = pool.same(np.append(others, candidate))[-1, :-1]
            if same.any():
                row = int(pool.rows[others[same.argmax()]])
                found.append((SAME_STORY, f"It tells the same story as the article of row {row}."))
        if not found:
            return None
        rule, text = max(found, key=lambda reason: rules.levels[reason[0]])
        return Reason(self._title(rule), text)

    def _mover(self, place: int) -> str:
        """Return the title of the rule that put the article of a place, from 0, there."""
        pool, order, ranks = self.pool, self.order, self.ranks
        chosen, before = int(order[place]), order[:place]
        fixed = {at: rule for rule, at, _ in pool.pins}
        fixed |= {int(order[at]): EXPLORE for at in pool.explored if at < len(order) and order[at] in pool.drawn}
        if chosen in fixed:
            return self._title(fixed[chosen])
        if ranks[chosen] <= place:  # it fell behind what was put before it, of which the lowest has risen most
            return self._mover(int(ranks[before].argmax()))
        better = np.flatnonzero(ranks < ranks[chosen])
        better = better[~np.isin(better, before)]
        passed = int(better[ranks[better].argmin()])
        if passed in fixed:
            return self._title(fixed[passed])
        known = np.union1d(before, np.array([at for at in fixed if at in order], np.int64)).astype(np.int64)
        excluded = self._excluded(passed, known)
        if excluded is not None:
            return excluded.rule
        left = len(order) - len(known)
        short = pool.needs - np.count_nonzero(pool.member[known], axis=0)
        serves = pool.member[chosen] & (short > 0) & ~pool.member[passed]
        if serves.any() and short[short > 0].sum() >= left:
            return self._title(int(pool.rules.floor_rules[serves.argmax()]))
        return self._preference(passed, chosen)

    def _preference(self, passed: int, chosen: int) -> str:
        """Return what prefers a candidate of a lower score, where no rule excludes the other one."""
        pool, rerank = self.pool, self.pool.rules.policy.rerank
        if pool.relevance[passed] < pool.relevance[chosen]:
            return HALF_LIFE
        return TOGETHER if rerank is None or pool.dial == 0 else f"rerank: {rerank.by}"

    def _clashes(self, rule: int) -> tuple[str, ...]:
        """Return what a rule that is not kept clashes with, in the order of importance."""
        pool, rules = self.pool, self.pool.rules
        others = np.setdiff1d(np.arange(len(pool.rows)), self.order)
        floor = np.flatnonzero(rules.floor_rules == rule)
        at_least = rule == EXPLORE or rule >= rules.first_pin or len(floor) > 0
        found = set()
        if len(floor):
            others = others[pool.member[others, floor[0]]]
            found |= {CANDIDATES} if np.count_nonzero(pool.member[:, floor[0]]) < pool.needs[floor[0]] else set()
        elif rule >= rules.first_pin and rule < len(rules.rules):
            others = np.array([at for one, at, _ in pool.pins if one == rule and at >= 0], np.int64)
            found |= set() if len(others) else {CANDIDATES}
        elif rule == EXPLORE:
            others = np.setdiff1d(pool.drawn, self.order)
            found |= {CANDIDATES} if len(pool.drawn) < len(pool.explored) else set()
        free = False
        for candidate in others.tolist():
            reason = self._excluded(candidate, self.order)
            free |= reason is None
            found |= set() if reason is None else {reason.rule}
        if not at_least:
            found |= {PLACES} if rule < len(rules.rules) else set()
            free = True
        if free or not found:  # then what else asks for the places
            tight = pool.needs - np.count_nonzero(pool.member[self.order], axis=0) >= 0
            asking = [one for one, need in zip(rules.floor_rules[tight], pool.needs[tight], strict=True) if need > 0]
            asking += [one for one, at, _ in pool.pins if at >= 0] + ([EXPLORE] if len(pool.explored) else [])
            found |= {self._title(int(one)) for one in asking}
        level = {self._title(number): one for number, one in enumerate(rules.levels)}
        found.discard(self._title(rule))
        return tuple(sorted(found or {CANDIDATES}, key=lambda title: (-level.get(title, 0), title)))
