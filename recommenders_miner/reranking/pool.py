"""One user's candidates, and what the rules of a policy say of each: all that the choice of a list starts from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from recommenders_miner.reranking.policy import at_least, at_most
from recommenders_miner.reranking.rerankers import MMR, PM2, ByRelevance, Calibrated, Reranker, XQuAD
from recommenders_miner.reranking.rules import AGES, EXPLORE, SAME_STORY, SHOWN, Rules

_ROUNDED = 1e-5
"""By so much less, as a share, a cosine is taken for the threshold: in float32, that of equal titles is not quite 1."""
SHORTLIST, WIDE = 200, 400
"""Candidates that are looked at closely; four times the list's length where that is more. The second one where rules
cannot be kept with the first.
"""
_SHORTLIST_OF_PLACES = 4
_SPARE = 5
"""More candidates of a floor in the shortlist than it needs, should other rules exclude some."""
_DRAWS = 4
"""So many articles are drawn for each place of exploration, in case that the rules exclude some of them."""


@dataclass(eq=False)
class Pool:
    """C candidates for a list of k places.

    Attributes:
        rules: the rules.
        rows: (C,) int64, the candidates' rows.
        scores: (C,) float64, as given.
        k: how long the list is to be.
        ages: (C,) seconds since publication, NaN where unknown; None where no rule asks.
        plain: (C,) the scores, from 0 to 1.
        relevance: (C,) the same, times what half-lives leave.
        too_old: (C,) bool, beyond the limit of `ages`.
        worn: (C,) bool, shown too often without a click.
        level: (C,) of the most important rule that excludes a candidate by itself; 0 for none.
        buckets: (C, m) what quotas count a candidate in; B for nothing.
        limits: (B,) how many articles a bucket may have.
        member: (C, F) bool, which candidates a floor counts; the last column is of `topics`.
        needs: (F,) how many a floor needs.
        pins: rule, candidate (-1 where it is none) and place, from 0, of each article that is pinned now.
        drawn: candidates to explore, at random, more than needed.
        explored: the places to explore, from 0.
    """

    rules: Rules
    rows: np.ndarray
    scores: np.ndarray
    k: int
    ages: np.ndarray | None
    plain: np.ndarray
    relevance: np.ndarray
    too_old: np.ndarray
    worn: np.ndarray
    level: np.ndarray
    buckets: np.ndarray
    limits: np.ndarray
    member: np.ndarray
    needs: np.ndarray
    pins: list[tuple[int, int, int]]
    drawn: np.ndarray
    explored: np.ndarray
    history: np.ndarray
    dial: float

    @classmethod
    def of(
        cls,
        rules: Rules,
        scores: np.ndarray,
        rows: np.ndarray | None,
        k: int,
        now: float,
        history: Sequence[int] | np.ndarray,
        shown: np.ndarray | None,
        topics: Sequence[str],
        seed: int | Sequence[int],
        dial: float | None,
    ) -> Self:
        """Look up what the rules say of a user's candidates: the arguments of `Plan.arrange`."""
        policy = rules.policy
        rows = np.arange(rules.num_articles) if rows is None else np.asarray(rows, np.int64)
        scores = np.asarray(scores, np.float64)
        if scores.shape != rows.shape or (shown is not None and len(shown) != len(rows)):
            raise ValueError(f"{len(rows)} candidates, but scores of shape {scores.shape} or other counts of showings.")
        if k < 1 or not (0 <= (dial or 0) <= 1) or not np.isfinite(scores).all():
            raise ValueError(f"k has to be at least 1, dial between 0 and 1, scores finite; got {k} and {dial}.")
        nothing = np.zeros(len(rows), bool)
        low, high = (scores.min(), scores.max()) if len(scores) else (0.0, 0.0)
        plain = (scores - low) / (high - low) if high > low else np.ones(len(rows))

        ages, too_old, relevance = None, nothing, plain
        if rules.needs_age:
            ages = np.maximum(now - rules.published[rows], 0)
            oldest = rules.oldest[rows]
            too_old = ~(ages <= oldest) & (oldest < np.inf)
            if rules.has_half_lives:
                relevance = plain * np.exp2(-np.fmax(ages, 0) / rules.half_lives[rows])  # fmax makes 0 of NaN
        worn = nothing if shown is None or policy.shown is None else np.asarray(shown) >= policy.shown
        level = np.maximum(too_old * rules.levels[AGES], worn * rules.levels[SHOWN])

        buckets, limits = rules.buckets[rows], np.array([at_most(quota.at_most, k) for quota in policy.quotas], int)
        limits = limits[rules.bucket_rules - rules.first_quota]
        if (limits == 0).any():
            closed = np.append(np.where(limits == 0, rules.levels[rules.bucket_rules], 0), 0)
            level = np.maximum(level, closed[buckets].max(axis=1, initial=0))

        needs = [at_least(floor.at_least, k) for floor in policy.floors]
        on_topic = nothing
        if policy.topics and len(topics):
            on_topic = rules.columns[policy.topics.column].have(topics, rows)
            needs.append(at_least(policy.topics.share, k))
        else:
            needs.append(0)
        member = np.concatenate([rules.floor_members[rows], on_topic[:, None]], axis=1)

        pins = []
        for rule, row, (since, until), place in rules.pins:
            if since <= now < until and place <= k:
                found = np.flatnonzero(rows == row)
                pins.append((rule, int(found[0]) if len(found) else -1, place - 1))
        pool = cls(
            rules, rows, scores, k, ages, plain, relevance, too_old, worn, level, buckets, limits, member,
            np.array(needs), pins, np.empty(0, int), np.empty(0, int), np.asarray(history, np.int64),
            (policy.rerank.dial if policy.rerank else 0.0) if dial is None else dial,
        )  # fmt: skip
        if policy.explore:
            pool._draw(seed)
        return pool

    def _draw(self, seed: int | Sequence[int]) -> None:
        """Draw places and articles of exploration; of a share of a place, chance says whether it is one."""
        explore, random = self.rules.policy.explore, np.random.default_rng(seed)
        free = np.setdiff1d(np.arange(self.k), [place for _, _, place in self.pins])
        wanted = min(int(explore.share * self.k + random.random()), len(free))
        allowed = self.level == 0
        allowed[[at for _, at, _ in self.pins if at >= 0]] = False
        if explore.newer_than is not None:
            allowed &= self.ages <= explore.newer_than
        candidates = np.flatnonzero(allowed)
        self.explored = np.sort(random.permutation(free)[:wanted])
        self.drawn = random.permutation(candidates)[: _DRAWS * wanted]

    @cached_property
    def pinned(self) -> list[int]:
        """The candidates that are pinned."""
        return [at for _, at, _ in self.pins if at >= 0]

    # === What the choice asks ===

    def shortlist(self, wide: bool = False) -> np.ndarray:
        """Return where the candidates stand that are looked at closely, ascending int64.

        They are the most relevant ones that rules do not exclude by themselves, and the most relevant for each floor;
        in the wide form also for each value that a quota counts, and for none of them.
        """
        size = max(WIDE if wide else SHORTLIST, _SHORTLIST_OF_PLACES * self.k)
        if len(self.rows) <= size:
            return np.arange(len(self.rows))
        value = self.relevance - 2.0 * self.level
        chosen = [np.argpartition(-value, size)[:size], self.drawn, self.pinned]
        for number, need in enumerate(self.needs):
            if need > 0:
                fitting = np.flatnonzero(self.member[:, number])
                chosen.append(fitting[highest(value[fitting], need + _SPARE)])
        if wide and self.buckets.size:
            most = np.append(np.minimum(self.limits, self.k), self.k)
            by_value = np.argsort(-value, kind="stable")
            small = np.int16 if len(most) < 2**15 else np.int64  # which numpy sorts by their digits
            for buckets in self.buckets[by_value].T.astype(small):
                order = np.argsort(buckets, kind="stable")
                counts = np.bincount(buckets, minlength=len(most))
                better = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
                chosen.append(by_value[order[better < np.repeat(most, counts)]])
        return np.unique(np.concatenate(chosen).astype(np.int64))

    def reranker(self, among: np.ndarray) -> Reranker:
        """Return the policy's reranker over some of the candidates."""
        rules, relevance, rows = self.rules, self.relevance[among], self.rows[among]
        rerank = rules.policy.rerank
        if rerank is None or self.dial == 0:
            return ByRelevance(relevance)
        if rerank.column is None:
            return MMR(relevance, self.similarity(among), self.dial)
        column = rules.columns[rerank.column]
        if rerank.by == "mmr":
            codes = np.unique(column.codes[rows])
            aspects = column.shares(rows, codes[codes >= 0])
            return MMR(relevance, lambda candidate: aspects @ (aspects[candidate] > 0), self.dial)
        of_target = column.codes[self.history if rerank.target == "history" else rows].ravel()
        codes, counts = np.unique(of_target[of_target >= 0], return_counts=True)
        aspects = column.shares(rows, codes)
        if rerank.target == "even":
            weights = np.full(len(codes), 1 / max(len(codes), 1))
        else:
            weights = column.shares(self.history, codes).sum(axis=0) if len(codes) else counts.astype(float)
            weights = weights / max(weights.sum(), 1)
        if rerank.by == "calibrated":
            return Calibrated(relevance, aspects, weights, self.dial)
        coverage = (aspects > 0) * relevance[:, None]
        return (XQuAD if rerank.by == "xquad" else PM2)(relevance, coverage, weights, self.dial)

    def similarity(self, among: np.ndarray) -> Callable[[int], np.ndarray]:
        """Return what gives the cosines of one of some candidates with all of them."""
        vectors = self.rules.vectors[self.rows[among]]
        return lambda candidate: vectors @ vectors[candidate]

    # === What a list keeps ===

    def violations(self, order: np.ndarray) -> np.ndarray:
        """Count by how much a list breaks each rule, and behind these how many places are empty: (R + 1,) int64.

        Pins are exempt from `ages` and `shown`; of `same_story`, pairs count.
        """
        rules = self.rules
        broken = np.zeros(len(rules.levels), np.int64)
        chosen = order if not self.pinned else order[~np.isin(order, self.pinned)]
        broken[AGES] = np.count_nonzero(self.too_old[chosen])
        broken[SHOWN] = np.count_nonzero(self.worn[chosen])
        if rules.policy.same_story is not None and len(order) > 1:
            broken[SAME_STORY] = np.count_nonzero(np.triu(self.same(order), 1))
        if len(self.limits):
            counts = np.bincount(self.buckets[order].ravel(), minlength=len(self.limits) + 1)[:-1]
            over = np.maximum(counts - self.limits, 0)
            broken += np.bincount(rules.bucket_rules, over, len(broken)).astype(np.int64)
        broken[rules.floor_rules] = np.maximum(self.needs - np.count_nonzero(self.member[order], axis=0), 0)
        for rule, at, place in self.pins:
            where = np.flatnonzero(order == at)
            in_place = len(where) and (where[0] == place or (where[0] < place and len(order) < self.k))
            broken[rule] = not in_place
        if len(self.explored):
            broken[EXPLORE] = max(len(self.explored) - np.count_nonzero(np.isin(self.drawn, order)), 0)
        broken[-1] = min(self.k, len(self.rows)) - len(order)
        return broken

    def cost(self, violations: np.ndarray) -> tuple[int, ...]:
        """Return by how much the rules of each level are broken, the most important first: what is to be least."""
        levels, place = np.unique(self.rules.levels, return_inverse=True)
        return tuple(np.bincount(place, violations, len(levels))[::-1].astype(int).tolist())

    def same(self, candidates: np.ndarray) -> np.ndarray:
        """Say which pairs of some candidates tell the same story, (n, n) bool."""
        vectors = self.rules.vectors[self.rows[candidates]]
        return self.tells_same(vectors @ vectors.T)

    def tells_same(self, cosines: np.ndarray) -> np.ndarray:
        """Say which cosines are of articles that tell the same story, bool."""
        return cosines >= self.rules.policy.same_story * (1 - _ROUNDED)

    def avoidable(self, order: np.ndarray, violations: np.ndarray) -> bool:
        """Say whether a rule that a list breaks could perhaps be kept, by counts of the pool that take no search."""
        return any(violations[rule] > self._least(rule, order, violations) for rule in np.flatnonzero(violations))

    def _least(self, rule: int, order: np.ndarray, violations: np.ndarray) -> int:
        """Return how far every list breaks a rule that breaks more important ones no further than this one."""
        rules, levels, length, size = self.rules, self.rules.levels, len(order), len(self.rows)
        above = levels > levels[rule]
        above[[one for one, at, _ in self.pins if at < 0]] = False  # which change nothing for other rules
        all_above = not violations[above].any()  # then they exclude what they exclude by themselves
        floor = np.flatnonzero(rules.floor_rules == rule)
        if len(floor):
            candidates = self.member[:, floor[0]]
            if all_above:
                candidates = candidates & self._below(levels[rule])
            beyond = self._beyond_quotas(candidates, rule) if all_above else 0
            return self.needs[floor[0]] - np.count_nonzero(candidates) + beyond
        if rule == EXPLORE:
            return len(self.explored) - len(self.drawn)
        if rule >= rules.first_pin and rule < len(rules.rules):
            return next(at < 0 for one, at, _ in self.pins if one == rule)
        if rule == len(rules.rules):
            return min(self.k, size) - np.count_nonzero(self._below(levels[-1])) if all_above else 0
        if levels[rule] > levels[-1]:
            return 0  # a shorter list would keep it
        if rule in (AGES, SHOWN):
            excluded = (self.too_old if rule == AGES else self.worn).copy()
            excluded[self.pinned] = False
            return length - (size - np.count_nonzero(excluded))
        if rule == SAME_STORY:
            return 0
        there = np.bincount(self.buckets.ravel(), minlength=len(self.limits) + 1)[:-1]
        beyond = np.maximum(there - self.limits, 0)[rules.bucket_rules == rule].sum()
        return length - (size - beyond)

    def _below(self, level: int) -> np.ndarray:
        """Say which candidates no rule of at least some level excludes by itself, (C,) bool; pins are exempt."""
        below = self.level < level
        below[self.pinned] = True
        return below

    def _beyond_quotas(self, candidates: np.ndarray, floor: int) -> int:
        """Return how many of a floor's candidates one quota that is more important excludes in any list."""
        levels, rule_of = self.rules.levels, self.rules.bucket_rules
        if not len(self.limits):
            return 0
        pinned = [at for rule, at, _ in self.pins if at >= 0 and levels[rule] > levels[floor] and not candidates[at]]
        counts, taken = (
            np.bincount(self.buckets[chosen].ravel(), minlength=len(self.limits) + 1)[:-1]
            for chosen in (candidates, np.array(pinned, np.int64))
        )
        beyond = np.bincount(rule_of, np.clip(counts - np.maximum(self.limits - taken, 0), 0, None), len(levels))
        return int(beyond[levels > levels[floor]].max(initial=0))


def highest(values: np.ndarray, count: int) -> np.ndarray:
    """Return the places of the highest values, the highest first, equal ones in their order: (≤ count,) int64."""
    if len(values) > 4 * count:  # to sort all of a large pool would take most of a request's time
        near = np.flatnonzero(values >= np.partition(values, -count)[-count])
        return near[np.argsort(-values[near], kind="stable")[:count]]
    return np.argsort(-values, kind="stable")[:count]
