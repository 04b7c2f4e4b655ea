"""Each reranker against a plain loop over its paper's equations."""

import itertools
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.reranking import rerankers

ALPHA = 0.01


@st.composite
def pools(draw, most=9):
    """Candidates with a relevance, shares of three categories, vectors, and what the user's history has."""
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    count, k = draw(st.integers(1, most)), draw(st.integers(1, 6))
    aspects = random.dirichlet([0.4] * 3, count)
    labels = random.integers(0, 3, count)
    if draw(st.booleans()):
        aspects = np.eye(3)[labels]
    vectors = random.normal(size=(count, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    target = random.dirichlet([1.0] * 3)
    if draw(st.booleans()):
        target = np.array([target[0] + target[1], target[2], 0.0])
    return random.random(count), aspects, labels, vectors, target, k, draw(st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]))


def greedily(count, k, gain):
    """Take the candidate of the greatest gain, given those taken, again and again; near-equal ones both count."""
    orders = [[]]
    for _ in range(min(k, count)):
        longer = []
        for order in orders:
            gains = {c: gain(order, c) for c in range(count) if c not in order}
            most = max(gains.values())
            longer += [[*order, c] for c, value in gains.items() if value >= most - 1e-9]
        orders = longer[:50]
    return orders


def divergence(target, shares):
    mixed = [(1 - ALPHA) * q + ALPHA * p for p, q in zip(target, shares, strict=True)]
    return sum(p * math.log(p / q) for p, q in zip(target, mixed, strict=True) if p > 0)


@given(pools())
@settings(max_examples=60, deadline=None)
def test_mmr_is_carbonell_and_goldsteins(pool):
    relevance, _, _, vectors, _, k, dial = pool

    def gain(order, c):
        closest = max((float(vectors[c] @ vectors[j]) for j in order), default=0.0)
        return (1 - dial) * relevance[c] - dial * closest

    found = rerankers.mmr(relevance, vectors @ vectors.T, k, dial).tolist()
    assert found in greedily(len(relevance), k, gain)


def objective(relevance, aspects, target, dial, chosen):
    shares = [sum(aspects[i][g] for i in chosen) / len(chosen) for g in range(len(target))]
    return (1 - dial) * sum(relevance[i] for i in chosen) - dial * divergence(target, shares)


@given(pools())
@settings(max_examples=60, deadline=None)
def test_calibration_is_stecks_greedy_one(pool):
    relevance, aspects, _, _, target, k, dial = pool
    found = rerankers.calibrated(relevance, aspects, target, k, dial).tolist()
    expected = greedily(len(relevance), k, lambda order, c: objective(relevance, aspects, target, dial, [*order, c]))
    assert found in expected


@given(pools(most=8))
@settings(max_examples=60, deadline=None)
def test_the_best_calibrated_list_is_better_than_any_other(pool):
    relevance, _, labels, _, target, k, dial = pool
    aspects, size = np.eye(3)[labels], min(k, len(relevance))
    found = rerankers.best_calibrated(relevance, labels, target, k, dial).tolist()
    assert len(set(found)) == size
    assert (np.diff(relevance[found]) <= 0).all()
    lists = itertools.combinations(range(len(relevance)), size)
    most = max(objective(relevance, aspects, target, dial, chosen) for chosen in lists)
    np.testing.assert_allclose(objective(relevance, aspects, target, dial, found), most, atol=1e-9)


@given(pools())
@settings(max_examples=60, deadline=None)
def test_xquad_is_santos_and_others(pool):
    relevance, aspects, _, _, weights, k, dial = pool
    coverage = aspects * relevance[:, None]

    def gain(order, c):
        novel = sum(
            weights[a] * coverage[c][a] * math.prod(1 - coverage[j][a] for j in order) for a in range(len(weights))
        )
        return (1 - dial) * relevance[c] + dial * novel

    found = rerankers.xquad(relevance, coverage, weights, k, dial).tolist()
    assert found in greedily(len(relevance), k, gain)


@given(pools(), st.sampled_from([0.2, 0.5, 1.0]))
@settings(max_examples=60, deadline=None)
def test_pm2_is_dang_and_crofts(pool, focus):
    relevance, aspects, _, _, weights, k, dial = pool
    coverage = aspects * relevance[:, None]
    count, num_aspects = coverage.shape

    def gain(order, c):
        seats = [0.0] * num_aspects
        for j in order:
            for a in range(num_aspects):
                seats[a] += coverage[j][a] / (sum(coverage[j]) or 1)
        quotients = [weights[a] / (2 * seats[a] + 1) for a in range(num_aspects)]
        first = max(range(num_aspects), key=lambda a: quotients[a])
        others = sum(quotients[a] * coverage[c][a] for a in range(num_aspects) if a != first)
        value = focus * quotients[first] * coverage[c][first] + (1 - focus) * others
        return (1 - dial) * relevance[c] + dial * value

    found = rerankers.pm2(relevance, coverage, weights, k, dial, focus).tolist()
    assert found in greedily(count, k, gain)


@given(pools())
@settings(max_examples=30, deadline=None)
def test_a_dial_of_zero_is_relevance_alone(pool):
    relevance, aspects, labels, vectors, target, k, _ = pool
    expected = np.argsort(-relevance, kind="stable")[:k].tolist()
    coverage = aspects * relevance[:, None]
    assert rerankers.mmr(relevance, vectors @ vectors.T, k, 0.0).tolist() == expected
    assert rerankers.calibrated(relevance, aspects, target, k, 0.0).tolist() == expected
    assert rerankers.best_calibrated(relevance, labels, target, k, 0.0).tolist() == expected
    assert rerankers.xquad(relevance, coverage, target, k, 0.0).tolist() == expected
    assert rerankers.pm2(relevance, coverage, target, k, 0.0).tolist() == expected
