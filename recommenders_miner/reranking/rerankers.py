"""Rerankers of one user's candidates: MMR, calibration, xQuAD and PM-2.

Each exists once, as a class that says what every candidate would add to the list so far (`gains`) and is told which one
was taken (`add`), so that the policy can hold its rules to the same choice; and as a function that returns the order.
`dial` is how strongly a reranker departs from relevance: 0 is relevance alone. Papers write 1 − dial, or dial, as λ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

MIXED_IN = 0.01
"""How much of the target calibration mixes into the list's shares, which keeps the divergence finite: Steck's alpha."""


class Reranker(Protocol):
    """What every candidate would add to the list so far."""

    def gains(self) -> np.ndarray:
        """Return what each candidate would add to the list, (C,), those in it as well; a new array each time."""

    def add(self, candidate: int) -> None:
        """Put a candidate behind the list."""


class ByRelevance:
    """Relevance alone, (C,)."""

    def __init__(self, relevance: np.ndarray) -> None:
        self._relevance = relevance

    def gains(self) -> np.ndarray:
        """Return the relevance."""
        return self._relevance.copy()

    def add(self, candidate: int) -> None:
        """Change nothing: what is in the list does not matter."""


class MMR:
    """Maximal marginal relevance: (1 − dial) · relevance − dial · the greatest similarity to an article of the list.

    Carbonell and Goldstein, *The Use of MMR*, SIGIR 1998, with λ = 1 − dial.

    Args:
        relevance: (C,).
        similarity: gives a candidate's similarity to every one, (C,).
        dial: from 0, relevance alone, to 1.
    """

    def __init__(self, relevance: np.ndarray, similarity: Callable[[int], np.ndarray], dial: float) -> None:
        self._own, self._similarity, self._dial = (1 - dial) * relevance, similarity, dial
        self._greatest: np.ndarray | None = None

    def gains(self) -> np.ndarray:
        """Return (C,); without an article in the list, nothing is similar."""
        return self._own.copy() if self._greatest is None else self._own - self._dial * self._greatest

    def add(self, candidate: int) -> None:
        """Put a candidate behind the list."""
        new = self._similarity(candidate)
        self._greatest = new if self._greatest is None else np.maximum(self._greatest, new)


class Calibrated:
    """Calibration: (1 − dial) · Σ relevance − dial · KL(p ‖ q̃), p the target's shares and q those of the list.

    q̃ = (1 − α) q + α p. Steck, *Calibrated Recommendations*, RecSys 2018, Eqs. 6 to 8, greedily, with λ = dial.

    Args:
        relevance: (C,).
        aspects: (C, A), the shares of each candidate's categories, p(g | i); rows sum to at most 1.
        target: (A,), the shares that the list should have, p(g | u); zeros where nothing is known.
        dial: from 0, relevance alone, to 1.
    """

    def __init__(self, relevance: np.ndarray, aspects: np.ndarray, target: np.ndarray, dial: float) -> None:
        wanted = target > 0
        self._aspects, p = np.ascontiguousarray(aspects[:, wanted]), target[wanted]
        self._own, self._weights, self._mixed_in = (1 - dial) * relevance, dial * p, MIXED_IN * p
        self._constant = dial * float(p @ np.log(p))
        self._sums, self._size = np.zeros(len(p)), 0

    def gains(self) -> np.ndarray:
        """Return the objective of the list with each candidate, less the relevance of what is in the list, (C,)."""
        shares = self._aspects + self._sums
        shares *= (1 - MIXED_IN) / (self._size + 1)
        shares += self._mixed_in
        return self._own + np.log(shares, out=shares) @ self._weights - self._constant

    def add(self, candidate: int) -> None:
        """Put a candidate behind the list."""
        self._sums += self._aspects[candidate]
        self._size += 1


class XQuAD:
    """xQuAD: (1 − dial) · relevance + dial · Σ_a P(a) P(d | a) Π_{j in the list} (1 − P(j | a)).

    Santos, Macdonald and Ounis, *Exploiting Query Reformulations for Web Search Result Diversification*, WWW 2010,
    Eqs. 1 to 6, with λ = dial and a user's interests in the place of a query's reformulations.

    Args:
        relevance: (C,), P(d).
        coverage: (C, A), how far a candidate meets an aspect, P(d | a), from 0 to 1.
        weights: (A,), how much each aspect matters to the user, P(a).
        dial: from 0, relevance alone, to 1.
    """

    def __init__(self, relevance: np.ndarray, coverage: np.ndarray, weights: np.ndarray, dial: float) -> None:
        self._own, self._coverage, self._missing = (1 - dial) * relevance, coverage, dial * weights

    def gains(self) -> np.ndarray:
        """Return (C,)."""
        return self._own + self._coverage @ self._missing

    def add(self, candidate: int) -> None:
        """Put a candidate behind the list."""
        self._missing = self._missing * (1 - self._coverage[candidate])


class PM2:
    """PM-2: places in proportion to the aspects' weights, as Sainte-Laguë's method gives seats to parties.

    With quotients q_a = v_a / (2 s_a + 1) and m the aspect of the greatest, a candidate's value is
    focus · q_m P(d | m) + (1 − focus) · Σ_{a ≠ m} q_a P(d | a); the one taken fills s_a by P(d | a) / Σ_b P(d | b).
    Dang and Croft, *Diversity by Proportionality*, SIGIR 2012, Algorithm 2, whose λ is `focus`. Theirs is dial = 1;
    below, (1 − dial) · relevance is added to dial · value.

    Args:
        relevance: (C,).
        coverage: (C, A), P(d | a).
        weights: (A,), v.
        dial: from 0, relevance alone, to 1.
        focus: how much the aspect that is furthest behind counts against the others.
    """

    def __init__(
        self, relevance: np.ndarray, coverage: np.ndarray, weights: np.ndarray, dial: float, focus: float = 0.5
    ) -> None:
        self._own, self._coverage, self._weights = (1 - dial) * relevance, coverage, weights
        self._dial, self._focus, self._seats = dial, focus, np.zeros(len(weights))

    def gains(self) -> np.ndarray:
        """Return (C,)."""
        if not len(self._weights):
            return self._own.copy()
        quotients = self._weights / (2 * self._seats + 1)
        first = int(quotients.argmax())
        factors = (1 - self._focus) * quotients
        factors[first] = self._focus * quotients[first]
        return self._own + self._dial * (self._coverage @ factors)

    def add(self, candidate: int) -> None:
        """Put a candidate behind the list."""
        covered = self._coverage[candidate]
        if total := covered.sum():
            self._seats = self._seats + covered / total


# === Orders ===


def mmr(relevance: np.ndarray, similarity: np.ndarray, k: int, dial: float) -> np.ndarray:
    """Return the first k candidates by `MMR`, (≤ k,) int64; `similarity` is (C, C). Equal ones in their own order."""
    return _greedy(MMR(relevance, similarity.__getitem__, dial), len(relevance), k)


def calibrated(relevance: np.ndarray, aspects: np.ndarray, target: np.ndarray, k: int, dial: float) -> np.ndarray:
    """Return the first k candidates by `Calibrated`, (≤ k,) int64. Equal ones in their own order."""
    return _greedy(Calibrated(relevance, aspects, target, dial), len(relevance), k)


def xquad(relevance: np.ndarray, coverage: np.ndarray, weights: np.ndarray, k: int, dial: float) -> np.ndarray:
    """Return the first k candidates by `XQuAD`, (≤ k,) int64. Equal ones in their own order."""
    return _greedy(XQuAD(relevance, coverage, weights, dial), len(relevance), k)


def pm2(
    relevance: np.ndarray, coverage: np.ndarray, weights: np.ndarray, k: int, dial: float = 1.0, focus: float = 0.5
) -> np.ndarray:
    """Return the first k candidates by `PM2`, (≤ k,) int64. Equal ones in their own order."""
    return _greedy(PM2(relevance, coverage, weights, dial, focus), len(relevance), k)


def _greedy(reranker: Reranker, num_candidates: int, k: int) -> np.ndarray:
    order = np.empty(min(k, num_candidates), np.int64)
    taken = np.zeros(num_candidates)
    for place in range(len(order)):
        gains = reranker.gains()
        gains += taken
        order[place] = chosen = int(gains.argmax())
        taken[chosen] = -np.inf
        reranker.add(chosen)
    return order


def best_calibrated(relevance: np.ndarray, labels: np.ndarray, target: np.ndarray, k: int, dial: float) -> np.ndarray:
    """Return the k candidates of the greatest calibrated objective there is, (≤ k,) int64, by descending relevance.

    The objective is that of `Calibrated` for the list as a whole. Where each candidate has one category, it is a sum
    over categories of concave functions of how many of their candidates are in the list, of each the most relevant: to
    take the k greatest steps of these functions is exact (Gross 1956; Ibaraki and Katoh, *Resource Allocation
    Problems*, 1988, Section 4.2), where Steck's greedy choice, which divides by the size so far, need not be.

    Args:
        relevance: (C,).
        labels: (C,) integers, the category of each candidate, a place in `target`.
        target: (A,), the shares that the list should have.
        k: how many candidates; all of them where there are fewer.
        dial: from 0, relevance alone, to 1.
    """
    size = min(k, len(relevance))
    by_label = np.lexsort((-relevance, labels))
    of_label = labels[by_label]
    before = np.arange(len(of_label)) - np.searchsorted(of_label, of_label)  # how many of its category are better
    p = target[of_label]
    floor = np.where(p > 0, MIXED_IN * p, 1)
    step = np.log1p((1 - MIXED_IN) / size / ((1 - MIXED_IN) * before / size + floor)) if size else floor
    gains = (1 - dial) * relevance[by_label] + dial * p * step
    # Within a category the steps fall, so that the k greatest are the first ones of each.
    chosen = by_label[np.lexsort((by_label, -gains))[:size]]
    return chosen[np.lexsort((chosen, -relevance[chosen]))]
