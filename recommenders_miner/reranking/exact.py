"""The articles of a list by an integer program, where filling places one after another breaks a rule.

Rules are kept in the order of their levels: first the most important one is broken as little as possible, then, with
that held, the next one, and last the relevance of the articles is as great as can be.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from recommenders_miner.reranking.fill import fill
from recommenders_miner.reranking.pool import Pool
from recommenders_miner.reranking.rules import AGES, EXPLORE, SAME_STORY, SHOWN


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
    is_better = False
    for level, of_list in zip(np.unique(pool.rules.levels)[::-1], pool.cost(violations), strict=True):
        cost, least = program.cost_of(level), of_list
        if not cost.any():
            continue
        if of_list or is_better:
            solved = program.solve(cost)
            if solved is None:
                return order, violations
            least = round(float(cost @ solved))
            is_better = is_better or least < of_list
        program.hold(cost, least)
    if not is_better:
        return order, violations
    solved = program.solve(-program.relevance)
    if solved is None:
        return order, violations
    chosen = among[solved[: len(among)] > 0.5]
    better = fill(pool, chosen, as_chosen=True)
    return better, pool.violations(better)


class _Program:
    """Which of S candidates are in the list, 0 or 1, and behind these, variables by how much each rule is broken."""

    def __init__(self, pool: Pool, among: np.ndarray) -> None:
        self._pool, self._among = pool, among
        self._rules_of: list[int] = []  # of each slack
        self._entries: list[tuple[np.ndarray, int, float, float]] = []  # by slack
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
            for pair in zip(*np.nonzero(np.triu(pool.same(among), 1)), strict=True):
                self._constrain(np.array(pair), -np.inf, 1, SAME_STORY, -1)
        self._size = size + len(self._rules_of)
        self.relevance = np.zeros(self._size)
        self.relevance[:size] = pool.relevance[among]
        self._matrix()

    def _constrain(self, candidates: np.ndarray, low: float, high: float, rule: int, sign: int) -> None:
        """Bound how many of some candidates are in the list; `sign` times the rule's slack is added to them."""
        self._entries.append((candidates, sign, low, high))
        self._rules_of.append(rule)

    def _matrix(self) -> None:
        size = len(self._among)
        columns = [np.append(candidates, size + slack) for slack, (candidates, *_) in enumerate(self._entries)]
        values = [np.append(np.ones(len(candidates)), sign) for candidates, sign, *_ in self._entries]
        rows = np.repeat(np.arange(len(columns)), [len(column) for column in columns])
        shape = len(columns), self._size
        matrix = csr_array((np.concatenate(values), (rows, np.concatenate(columns))), shape=shape)
        lows, highs = ([entry[end] for entry in self._entries] for end in (2, 3))
        self._constraints = [LinearConstraint(matrix, lows, highs)]
        self._upper = np.append(np.ones(size), np.full(self._size - size, np.inf))

    def cost_of(self, level: int) -> np.ndarray:
        """Return the coefficients of what counts how far the rules of a level are broken."""
        pool, rules = self._pool, self._pool.rules
        cost = np.zeros(self._size)
        cost[len(self._among) :] = rules.levels[self._rules_of] == level
        free = ~np.isin(self._among, pool.pinned)
        for rule, broken in ((AGES, pool.too_old), (SHOWN, pool.worn)):
            if rules.levels[rule] == level:
                cost[: len(self._among)] += broken[self._among] & free
        return cost

    def hold(self, cost: np.ndarray, least: int) -> None:
        """Let the rules of a level be broken no further from now on."""
        self._constraints.append(LinearConstraint(csr_array(cost[None]), -np.inf, least + 0.5))

    def solve(self, cost: np.ndarray) -> np.ndarray | None:
        """Return the variables of the least cost; None where the solver gives up."""
        bounds = Bounds(np.zeros(self._size), self._upper)
        found = milp(cost, integrality=np.ones(self._size), bounds=bounds, constraints=self._constraints)
        return found.x
