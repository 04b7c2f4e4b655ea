"""A list that a policy has arranged: what stands where, what moved it, what gave way, and why others are missing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from recommenders_miner.reranking.pool import WIDE, Pool, highest
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
    """Why an article is not in a list: a rule's title, `score` where it was outranked; and a sentence.

    `other` is the row of the article that tells the same story, where that is the reason.
    """

    rule: str
    text: str
    other: int | None = None


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

    def rank(self, candidate: int) -> int:
        """Return one of `ranks`, without those of all others."""
        scores, own = self.pool.scores, self.pool.scores[candidate]
        return 1 + np.count_nonzero(scores > own) + np.count_nonzero(scores[:candidate] == own)

    @cached_property
    def _ranks(self) -> np.ndarray:
        return np.array([self.rank(candidate) for candidate in self.order.tolist()], np.int64)

    @cached_property
    def _best(self) -> np.ndarray:
        """The candidates that the list would have by the scores, and one more, in that order."""
        return highest(self.pool.scores, len(self.order) + 1)

    @cached_property
    def moves(self) -> tuple[Move, ...]:
        """What stands at another place than its rank, and what put it there, in the order of the places."""
        return tuple(
            Move(int(row), int(rank), place, self._mover(place - 1))
            for place, (row, rank) in enumerate(zip(self.rows, self._ranks, strict=True), start=1)
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
        if excluded := self._excluded(candidate, self.order):
            return excluded
        rank, places = self.rank(candidate), len(self.order)
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
            found.append((AGES, f"{said}; {oldest:g} h are allowed.", None))
        if pool.worn[candidate]:
            found.append((SHOWN, f"It was shown {rules.policy.shown} times or more, and not clicked on.", None))
        for bucket in pool.buckets[candidate].tolist():
            if bucket == len(pool.limits):
                continue
            there = np.flatnonzero((pool.buckets[others] == bucket).any(axis=1))
            if len(there) >= pool.limits[bucket]:
                label, limit = rules.bucket_labels[bucket], pool.limits[bucket]
                said = f"{label} has the {limit} places that it may have."
                found.append((int(rules.bucket_rules[bucket]), said, None))
        if rules.policy.same_story is not None and len(others):
            same = pool.same(np.append(others, candidate))[-1, :-1]
            if same.any():
                other = int(pool.rows[others[same.argmax()]])
                found.append((SAME_STORY, "It tells the same story as another article of the list.", other))
        if not found:
            return None
        rule, *reason = max(found, key=lambda reason: rules.levels[reason[0]])
        return Reason(self._title(rule), *reason)

    def _mover(self, place: int) -> str:
        """Return the title of the rule that put the article of a place, from 0, there."""
        pool, order, ranks = self.pool, self.order, self._ranks
        chosen, before = int(order[place]), order[:place]
        fixed = {at: rule for rule, at, _ in pool.pins}
        fixed |= {int(order[at]): EXPLORE for at in pool.explored if at < len(order) and order[at] in pool.drawn}
        if chosen in fixed:
            return self._title(fixed[chosen])
        if ranks[place] <= place:  # it fell behind what was put before it, of which the lowest has risen most
            return self._mover(int(ranks[:place].argmax()))
        passed = int(self._best[~np.isin(self._best, before)][0])
        if passed in fixed:
            return self._title(fixed[passed])
        known = np.union1d(before, np.array([at for at in fixed if at in order], np.int64)).astype(np.int64)
        if excluded := self._excluded(passed, known):
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
        """Return what a rule that is not kept clashes with, the most important first."""
        pool, rules = self.pool, self.pool.rules
        wanted, broken = self._wanted(rule), self._broken(rule)
        if wanted is not None:
            others, found = np.setdiff1d(wanted, self.order), set()
            asking = self._asking(rule)
        else:
            is_other = np.ones(len(pool.rows), bool)
            is_other[self.order] = False
            others = np.flatnonzero(is_other)
            asking = {title for title, ones in self._asking(rule).items() if np.isin(ones, broken).any()}
            explained = [ones for title, ones in self._asking(rule).items() if title in asking]
            is_explained = len(broken) and np.isin(broken, np.concatenate([[], *explained])).all()
            found = asking if is_explained or rule == len(rules.rules) else {*asking, PLACES}
        others = others[highest(pool.relevance[others], WIDE)]  # of a whole catalogue, what could be in the list
        reasons = [self._excluded(candidate, self.order) for candidate in others.tolist()]
        found |= {reason.rule for reason in reasons if reason}
        if wanted is not None and None in reasons:
            found |= {*asking, *(() if asking else (PLACES,))}
        found.discard(self._title(rule))
        level = {self._title(number): one for number, one in enumerate(rules.levels)}
        return tuple(sorted(found or {CANDIDATES}, key=lambda title: (-level.get(title, 0), title)))

    def _wanted(self, rule: int) -> np.ndarray | None:
        """Return the candidates that a rule wants in the list; None for a rule that excludes some."""
        pool, rules = self.pool, self.pool.rules
        if rule == EXPLORE:
            return pool.drawn
        if rules.first_pin <= rule < len(rules.rules):
            return np.array([at for one, at, _ in pool.pins if one == rule and at >= 0], np.int64)
        floor = np.flatnonzero(rules.floor_rules == rule)
        return np.flatnonzero(pool.member[:, floor[0]]) if len(floor) else None

    def _broken(self, rule: int) -> np.ndarray:
        """Return what in the list is against a rule that excludes some candidates."""
        pool, rules, order = self.pool, self.pool.rules, self.order
        if rule in (AGES, SHOWN):
            return order[(pool.too_old if rule == AGES else pool.worn)[order]]
        if rule == SAME_STORY:
            return order[pool.same(order).sum(axis=1) > 1]
        counts = np.bincount(pool.buckets[order].ravel(), minlength=len(pool.limits) + 1)[:-1]
        full = np.append((counts > pool.limits) & (rules.bucket_rules == rule), False)
        return order[full[pool.buckets[order]].any(axis=1)]

    def _asking(self, rule: int) -> dict[str, np.ndarray]:
        """Return what holds articles in the list although a rule is not kept: by title, which candidates."""
        pool, rules, order = self.pool, self.pool.rules, self.order
        above = rules.levels >= rules.levels[rule]
        holding = {number: np.array([at], np.int64) for number, at, _ in pool.pins if at in order}
        if len(pool.explored):
            holding[EXPLORE] = np.intersect1d(pool.drawn, order)
        for number, floor in enumerate(rules.floor_rules):
            inside = order[pool.member[order, number]]
            if 0 < len(inside) <= pool.needs[number]:
                holding[int(floor)] = inside
        return {self._title(one): inside for one, inside in holding.items() if above[one] and one != rule}
