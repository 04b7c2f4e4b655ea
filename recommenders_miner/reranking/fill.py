"""Places filled one after another, by a reranker among what the rules allow."""

from __future__ import annotations

import numpy as np

from recommenders_miner.reranking.pool import Pool
from recommenders_miner.reranking.rules import EXPLORE, SAME_STORY

_TAKEN = 2**31
_NONE = -1


def fill_floors_first(pool: Pool, among: np.ndarray) -> np.ndarray:
    """Return a list as `fill` does whose articles are chosen for the floors first, and for all other places then."""
    chosen = fill(pool, among, floors_first=True)
    return fill(pool, np.sort(chosen), as_chosen=True)


def fill(pool: Pool, among: np.ndarray, as_chosen: bool = False, floors_first: bool = False) -> np.ndarray:
    """Return a list of some candidates, positions in the pool: (≤ k,) int64.

    Pins and exploration have their places. For each other one, the reranker's best is taken of the candidates that no
    rule excludes; where as many places are left as floors still need, of those that a floor needs. Where all are
    excluded, by rules of the lowest level that can give way.

    Args:
        pool: the candidates.
        among: positions of some of them, ascending.
        as_chosen: pass over the rules, since these candidates are what they allow.
        floors_first: take what floors need at once, rather than when places run out.
    """
    filling = _Filling(pool, among, as_chosen, floors_first)
    filling.place_fixed()
    for place in np.flatnonzero(filling.places == _NONE).tolist():
        chosen = filling.best()
        if chosen == _NONE:
            break
        filling.take(chosen, place)
    order = filling.places[filling.places != _NONE]
    return among[order]


class _Filling:
    """A list in the making; candidates are positions in `among`."""

    def __init__(self, pool: Pool, among: np.ndarray, as_chosen: bool, floors_first: bool) -> None:
        self.pool, self.rules, self.among = pool, pool.rules, among
        self.places = np.full(pool.k, _NONE)
        self.left = pool.k
        self.floors_first = floors_first
        self.level = np.zeros(len(among), np.int64) if as_chosen else pool.level[among]
        self.closed = np.where(self.level > 0, -np.inf, 0.0)
        self.reranker = pool.reranker(among)
        # How many more a quota allows, and floors need; nothing, where the candidates are chosen already.
        self.rest = [] if as_chosen else pool.limits.tolist()
        self.buckets = pool.buckets[among]
        self.needs = np.zeros_like(pool.needs) if as_chosen else pool.needs.copy()
        self.member = pool.member[among]
        self.needed = int(self.needs.sum())
        compares = self.rules.policy.same_story is not None and not as_chosen
        self.similarity = pool.similarity(among) if compares else None

    def place_fixed(self) -> None:
        """Place what is pinned, and what was drawn to explore, as far as the rules leave room for it."""
        pool = self.pool
        for _, at, place in pool.pins:
            if (candidate := self._position(at)) != _NONE:
                self.take(candidate, place)
        drawn = (self._position(at) for at in pool.drawn)
        levels = self.rules.levels
        for place in pool.explored.tolist():
            outranked = any(
                need > 0 and levels[rule] > levels[EXPLORE]
                for need, rule in zip(self.needs, self.rules.floor_rules, strict=True)
            )
            candidate = next((one for one in drawn if one != _NONE and self.closed[one] == 0), _NONE)
            if candidate == _NONE or (outranked and self.needed >= self.left):
                break
            self.take(candidate, place)

    def _position(self, at: int) -> int:
        """Return where a candidate of the pool stands in `among`; -1 where it does not."""
        position = int(np.searchsorted(self.among, at))
        return position if position < len(self.among) and self.among[position] == at and at >= 0 else _NONE

    def take(self, candidate: int, place: int) -> None:
        """Put a candidate at a place, and note what it excludes."""
        self.places[place] = candidate
        self.left -= 1
        self.level[candidate] = _TAKEN
        self.closed[candidate] = -np.inf
        self.reranker.add(candidate)
        if self.needed:
            self.needs -= self.member[candidate]
            self.needed = int(np.maximum(self.needs, 0).sum())
        if self.rest:
            for bucket in self.buckets[candidate].tolist():
                if bucket < len(self.rest):
                    self.rest[bucket] -= 1
                    if self.rest[bucket] == 0:
                        self._exclude((self.buckets == bucket).any(axis=1), self.rules.bucket_rules[bucket])
        if self.similarity is not None:
            same = self.pool.tells_same(self.similarity(candidate))
            if np.count_nonzero(same) > 1:
                self._exclude(same, SAME_STORY)

    def _exclude(self, candidates: np.ndarray, rule: int) -> None:
        np.maximum(self.level, self.rules.levels[rule], out=self.level, where=candidates)
        self.closed[candidates] = -np.inf

    def best(self) -> int:
        """Return the candidate for the next place; -1 where there is none."""
        gains = self.reranker.gains()
        while self.needed and (self.floors_first or self.needed >= self.left):
            short = self.needs > 0
            served = np.count_nonzero(self.member[:, short], axis=1)
            values = np.where(served > 0, gains + self.closed, -np.inf)
            if self.needed > self.left:  # there is no room for one after another
                values = np.where(served == served[values > -np.inf].max(initial=0), values, -np.inf)
            if (chosen := _greatest(values)) != _NONE or (chosen := self._for_floor(gains)) != _NONE:
                return chosen
        if (chosen := _greatest(gains + self.closed)) != _NONE or not len(self.level):
            return chosen
        lowest = self.level.min()
        if lowest >= self.rules.levels[-1]:
            return _NONE
        return _greatest(np.where(self.level == lowest, gains, -np.inf))

    def _for_floor(self, gains: np.ndarray) -> int:
        """Return a candidate for the most important floor that needs one, against less important rules.

        Where there is none, that floor is given up, and -1 returned.
        """
        levels = self.rules.levels[self.rules.floor_rules]
        number = max(np.flatnonzero(self.needs > 0), key=lambda floor: levels[floor])
        allowed = self.member[:, number] & (self.level < levels[number])
        if allowed.any():
            lowest = self.level[allowed].min()
            return _greatest(np.where(allowed & (self.level == lowest), gains, -np.inf))
        self.needs[number] = 0
        self.needed = int(np.maximum(self.needs, 0).sum())
        return _NONE


def _greatest(values: np.ndarray) -> int:
    """Return the first place of the greatest value; -1 where there is none above minus infinity."""
    if not len(values):
        return _NONE
    place = int(values.argmax())
    return place if values[place] > -np.inf else _NONE
