"""The articles of a list by an integer program, where filling places one after another breaks a rule.

Rules are kept in the order of their levels: first the most important one is broken as little as possible, then, with
that held, the next one, and last the relevance of the articles is as great as can be. A search that takes too long is
cut short, and its best list so far taken.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from recommenders_miner.reranking.fill import fill
from recommenders_miner.reranking.pool import Pool
from recommenders_miner.reranking.rules import AGES, EXPLORE, SAME_STORY, SHOWN

SECONDS = 0.25
"""So long a list is searched for; few take a tenth of it."""
_LEAST_SECONDS = 0.1  # for each rule after that


def choose_exactly(
    pool: Pool, among: np.ndarray, order: np.ndarray, violations: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the list that breaks the rules least, in the order of their levels, and by how much: (≤ k,), (R + 1,).

    Args:
        pool: the candidates.
        among: positions of those that can be chosen, ascending.
        order: a list that breaks some rule, which stays where none does better.
        violations: by how much it breaks each.
    """
    program = _Program(pool, among)
    better = None
    for level, of_list in zip(np.unique(pool.rules.levels)[::-1], pool.cost(violations), strict=True):
        cost, least = program.cost_of(level), of_list
        if not cost.any():
            continue
        if of_list or better is not None:
            solved = program.solve(cost)
            if solved is None:
                break
            found = round(float(cost @ solved))
            if better is not None or found < of_list:
                better, least = solved, found
        program.hold(cost, least)
    if better is None:
        return order, violations
    if (solved := program.solve(-program.relevance)) is not None:
        better = solved
    chosen = fill(pool, among[better[: len(among)] > 0.5], as_chosen=True)
    return chosen, pool.violations(chosen)


class _Program:
    """Which of S candidates are in the list, 0 or 1, and behind these, variables by how much each rule is broken."""

    def __init__(self, pool: Pool, among: np.ndarray) -> None:
        self._pool, self._among = pool, among
        self._end = time.monotonic() + SECONDS
        self._rules_of: list[int] = []  # of each slack
        self._costs: list[int] = []  # of each slack
        self._most: list[float] = []  # of each slack
        self._entries: list[tuple[np.ndarray, np.ndarray, float, float]] = []  # variables, coefficients and bounds
        size, rules = len(among), pool.rules
        buckets, member = pool.buckets[among], pool.member[among]
        wanted = min(pool.k, len(pool.rows))
        self._constrain(np.arange(size), wanted, wanted, len(rules.levels) - 1, 1)
        for bucket, limit in enumerate(pool.limits):
            inside = np.flatnonzero((buckets == bucket).any(axis=1))
            if len(inside) > limit:
                self._constrain(inside, -np.inf, limit, int(rules.bucket_rules[bucket]), -1)
        for number, need in enumerate(pool.needs):
            if need > 0:
                self._constrain(np.flatnonzero(member[:, number]), need, np.inf, int(rules.floor_rules[number]), 1)
        for rule, at, _ in pool.pins:
            self._constrain(np.flatnonzero(among == at), 1, np.inf, rule, 1)
        if len(pool.explored):
            drawn = np.flatnonzero(np.isin(among, pool.drawn))
            self._constrain(drawn, len(pool.explored), np.inf, EXPLORE, 1)
        if rules.policy.same_story is not None:
            for story in _stories(pool.same(among)):
                # The second article of a story makes one pair, the third two more, and so on.
                self._constrain(story, -np.inf, 1, SAME_STORY, -1, range(1, min(len(story), wanted)), most=1)
        self._size = size + len(self._rules_of)
        self.relevance = np.zeros(self._size)
        self.relevance[:size] = pool.relevance[among]
        self._matrix()

    def _constrain(
        self,
        candidates: np.ndarray,
        low: float,
        high: float,
        rule: int,
        sign: int,
        costs: Sequence[int] = (1,),
        most: float = np.inf,
    ) -> None:
        """Bound how many of some candidates are in the list; `sign` times the rule's slacks is added to them.

        There is a slack for each of some costs, and each is at most `most`.
        """
        first = len(self._among) + len(self._rules_of)
        variables = np.append(candidates, first + np.arange(len(costs)))
        self._entries.append((variables, np.repeat([1, sign], [len(candidates), len(costs)]), low, high))
        self._rules_of += [rule] * len(costs)
        self._costs += costs
        self._most += [most] * len(costs)

    def _matrix(self) -> None:
        columns, values, lows, highs = zip(*self._entries, strict=True)
        rows = np.repeat(np.arange(len(columns)), [len(column) for column in columns])
        shape = len(columns), self._size
        matrix = csr_array((np.concatenate(values), (rows, np.concatenate(columns))), shape=shape)
        self._constraints = [LinearConstraint(matrix, lows, highs)]
        self._upper = np.append(np.ones(len(self._among)), self._most)

    def cost_of(self, level: int) -> np.ndarray:
        """Return the coefficients of what counts how far the rules of a level are broken."""
        pool, rules = self._pool, self._pool.rules
        cost = np.zeros(self._size)
        cost[len(self._among) :] = (rules.levels[self._rules_of] == level) * np.array(self._costs)
        free = ~np.isin(self._among, pool.pinned)
        for rule, broken in ((AGES, pool.too_old), (SHOWN, pool.worn)):
            if rules.levels[rule] == level:
                cost[: len(self._among)] += broken[self._among] & free
        return cost

    def hold(self, cost: np.ndarray, least: int) -> None:
        """Let the rules of a level be broken no further from now on."""
        self._constraints.append(LinearConstraint(csr_array(cost[None]), -np.inf, least + 0.5))

    def solve(self, cost: np.ndarray) -> np.ndarray | None:
        """Return the variables of the least cost that is found in time; None where none are."""
        bounds = Bounds(np.zeros(self._size), self._upper)
        options = {"time_limit": max(self._end - time.monotonic(), _LEAST_SECONDS)}
        integrality = np.ones(self._size)
        return milp(cost, integrality=integrality, bounds=bounds, constraints=self._constraints, options=options).x


def _stories(same: np.ndarray) -> Iterator[np.ndarray]:
    """Yield sets of candidates of which any two tell the same story; every such pair is in just one of them.

    Where all of many tell one story, a constraint for each pair would make a program that takes minutes.
    """
    left = np.triu(same, 1)
    left |= left.T
    for candidate in range(len(left)):
        while left[candidate].any():
            story, common = [candidate], left[candidate].copy()
            while common.any():
                story.append(int(common.argmax()))
                common &= left[story[-1]]
            left[np.ix_(story, story)] = False
            yield np.array(story)
