"""Searching a pool, against scores of all its news; no model is needed."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.retrieval import news_pool
from recommenders_miner.retrieval.news_pool import NewsPool


@contextmanager
def small_steps():
    """Makes every search take several blocks of news."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(news_pool, "_BLOCK_SCORES", 16)
        yield


class World:
    """A random pool and query, and what they should give."""

    def __init__(self, seed, news=30, dim=3, users=4, parts=3, interests=3, whole_numbers=False, times=False):
        rng = np.random.default_rng(seed)

        def draw(*shape):
            # Small whole numbers make many equal scores, and zero vectors.
            return (rng.integers(-1, 2, shape) if whole_numbers else rng.normal(size=shape)).astype("float32")

        self.vectors, self.targets = draw(news, dim), draw(news, dim)
        # Uneven parts: the last ones often have one article or none; the first interests are of much the largest.
        self.part_of = np.minimum(rng.geometric(0.6, news) - 1, parts - 1)
        self.interests = draw(users, parts, interests, dim)
        count = rng.integers(0, 2 * users)
        self.hidden = rng.integers(0, users, count), rng.integers(0, news, count)
        self.first_seen = rng.integers(0, 10, news) if times else None
        start = rng.integers(-2, 10, users)
        self.period = np.stack([start, start + rng.integers(0, 6, users)]) if times else None

    def search(self, pool, k, in_turns=False):
        return (pool.search_in_turns if in_turns else pool.search)(self.interests, k, self.hidden, self.period)

    def pool(self, index="flat", weighted=False):
        return NewsPool(self.vectors, self.part_of, self.first_seen, self.targets if weighted else None, index)

    def matches(self):
        """(B, N, K): every interest against every article of its part."""
        return np.einsum("bnkd,nd->bnk", self.interests[:, self.part_of], self.vectors)

    def weighted(self):
        """(B, N): MINER-weighted's scores."""
        target = np.einsum("bnkd,nd->bnk", self.interests[:, self.part_of], self.targets)
        weights = np.exp(target - target.max(axis=2, keepdims=True))
        return (weights * self.matches()).sum(axis=2) / weights.sum(axis=2)

    def allowed(self):
        allowed = np.ones((len(self.interests), len(self.vectors)), bool)
        allowed[self.hidden] = False
        if self.period is not None:
            allowed &= (self.first_seen >= self.period[0][:, None]) & (self.first_seen <= self.period[1][:, None])
        return allowed

    def check(self, found, scores, k):
        """Checks that the top k were found, whichever of equal ones."""
        found_scores, found_rows = found
        scores = np.where(self.allowed(), scores, -np.inf)
        assert found_scores.shape == found_rows.shape == (len(scores), k)
        for own, values, rows in zip(scores, found_scores, found_rows, strict=True):
            real = rows >= 0
            expected = np.sort(own[np.isfinite(own)])[::-1][:k]
            assert real.sum() == len(expected)
            assert values[real] == pytest.approx(expected, abs=1e-5)
            assert own[rows[real]] == pytest.approx(values[real], abs=1e-5)
            assert len(set(rows[real])) == real.sum()
            assert (values[~real] == -np.inf).all()
            assert (rows[~real] == -1).all()


worlds = st.builds(
    World,
    seed=st.integers(0, 2**32 - 1),
    news=st.integers(1, 40),
    dim=st.integers(1, 4),
    users=st.integers(1, 4),
    parts=st.integers(1, 5),
    interests=st.integers(1, 4),
    whole_numbers=st.booleans(),
    times=st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(worlds, st.integers(1, 50))
def test_a_search_finds_the_best_by_the_best_interest_and_by_bound_those_of_miner_weighted(world, k):
    with small_steps():
        world.check(world.search(world.pool(), k), world.matches().max(axis=2), k)
        world.check(world.search(world.pool(weighted=True), k), world.weighted(), k)


@pytest.mark.parametrize("sign", [-1, 1])
def test_it_does_so_where_the_best_bound_has_the_worst_score(sign):
    """News 0 … 39: their best interest is met the better, the less weight it has (or the more)."""
    strength = np.arange(40, dtype="float32")
    world = World(0, news=40, users=1, parts=1)
    world.hidden = tuple(np.zeros((2, 0), int))
    world.interests = np.array([[1, 0, 0], [0, 1, 0]], "float32")[None, None]
    world.vectors = np.stack([strength, -strength, strength], axis=1)
    world.targets = np.stack([sign * strength, -sign * strength, strength], axis=1)
    scores = world.weighted()
    with small_steps():
        world.check(world.search(world.pool(weighted=True), 3), scores, 3)
    assert scores[0].argmax() == (0 if sign < 0 else 39)


def test_few_are_weighted_where_the_bound_is_close(monkeypatch):
    world = World(0, news=5000, dim=16, interests=2)
    world.interests[:, :, 1] = world.interests[:, :, 0] * 1.001
    counts = []
    replace = news_pool.WeightedScores.replace

    def count(weighted, bounds, interests, places, lowest, matches):
        counts.append((bounds > lowest[:, None]).sum())
        replace(weighted, bounds, interests, places, lowest, matches)

    monkeypatch.setattr(news_pool.WeightedScores, "replace", count)
    monkeypatch.setattr(news_pool, "_BLOCK_SCORES", 1000)
    world.check(world.search(world.pool(weighted=True), 10), world.weighted(), 10)
    assert sum(counts) < 0.1 * 5000 * len(world.interests)


@settings(max_examples=30, deadline=None)
@given(worlds, st.integers(1, 50))
def test_interests_choose_in_turns(world, k):
    world.part_of, world.interests = np.zeros(len(world.vectors), int), world.interests[:, :1]
    all_scores, all_rows = world.search(world.pool(), k, in_turns=True)
    all_matches = np.where(world.allowed()[..., None], world.matches(), -np.inf)
    for matches, scores, rows, allowed in zip(all_matches, all_scores, all_rows, world.allowed(), strict=True):
        scores, rows = scores[rows >= 0], rows[rows >= 0]
        assert len(rows) == len(set(rows)) == min(k, allowed.sum())
        # Whichever of equal ones is chosen: its score is that of an interest, which ranks it early enough.
        for place, (row, score) in enumerate(zip(rows, scores, strict=True)):
            better = (matches > matches[row] + 1e-5).sum(axis=0)
            assert np.abs(matches[row] - score).min() < 1e-5
            assert better.min() <= place
        if len(rows):
            assert scores[0] == pytest.approx(matches.max(), abs=1e-5)


@pytest.mark.parametrize("index", ["ivf", "hnsw"])
@pytest.mark.parametrize("times", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_approximate_indexes_keep_to_what_is_allowed_and_find_most(index, times, weighted, monkeypatch):
    monkeypatch.setattr(news_pool, "SMALLEST_APPROXIMATE", 200)
    world = World(1, news=3000, dim=8, parts=3, times=times)
    pool = world.pool(index, weighted)
    assert [part.is_exact for part in pool._indexes].count(False) >= 2
    (scores, found), (_, exact) = (world.search(p, 20) for p in (pool, world.pool(weighted=weighted)))
    expected = world.weighted() if weighted else world.matches().max(axis=2)
    assert (found >= 0).any()
    for user, rows in enumerate(found):
        real = rows[rows >= 0]
        assert world.allowed()[user, real].all()
        assert len(set(real)) == len(real)
        assert scores[user][rows >= 0] == pytest.approx(expected[user, real], abs=1e-5)
        assert len(set(real) & set(exact[user])) >= (0.5 if weighted else 0.8) * (exact[user] >= 0).sum()
