"""Times the rerankers and whole policies: lists of 20 places from one user's 200, and 5,000, candidates.

    python benchmarks/reranking.py [--repeats 200]

Candidates have made-up scores, 18 categories of uneven size, 30 sources, ages of up to four days, and titles of seven
words out of two thousand, a tenth of them near-copies. Prints milliseconds a list, the median and the 95th percentile,
in CPU time of one process. A policy is timed with the list alone, as evaluation asks for it, and with all that explains
it; and with a floor that the pool cannot meet, or that quotas leave to the integer program.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in a serving process

import numpy as np

from recommenders_miner.reranking import Plan, Policy, rerankers
from recommenders_miner.tables import markdown_table

NOW, HOUR, PLACES = 1_573_700_000, 3600, 20
RULES = {
    "quotas": [{"column": "category", "at_most": 4}, {"column": "source", "at_most": 3}],
    "floors": [
        {"column": "region", "value": "Funen", "at_least": 3},
        {"column": "category", "value": "c5", "at_least": 2},
    ],
    "ages": [
        {"at_most": "72 h", "half_life": "24 h"},
        {"column": "category", "value": "c1", "at_most": "24 h", "half_life": "6 h"},
    ],
    "same_story": 0.8,
    "shown": 3,
    "explore": {"share": "5%"},
    "topics": {"share": "10%"},
    "pins": [{"article": "N7", "place": 1}],
}
RERANKERS = {
    "relevance": None,
    "mmr": {"by": "mmr"},
    "calibrated": {"by": "calibrated", "column": "category"},
    "xquad": {"by": "xquad", "column": "category"},
    "pm2": {"by": "pm2", "column": "category"},
}
# No article is from Atlantis; and where the few of Bornholm share a source, whose quota others would fill first.
UNMET = {"column": "region", "value": "Atlantis", "at_least": 2}
HIDDEN = {"column": "region", "value": "Bornholm", "at_least": 3}


def articles(count, random):
    words = [[f"w{word}" for word in random.integers(0, 2000, 7)] for _ in range(count)]
    for copy in random.integers(1, count, count // 10):
        words[copy] = words[copy - 1][:6]
    regions = np.array(["Funen", "Zealand", "Jutland"])[random.integers(0, 3, count)].tolist()
    sources = [f"s{source}" for source in random.integers(0, 30, count)]
    for number in random.choice(count, 6, replace=False):
        regions[number], sources[number] = "Bornholm", "s0"
    return {
        "id": [f"N{number}" for number in range(count)],
        "title": [" ".join(title) for title in words],
        "category": [f"c{min(int(random.exponential(4)), 17)}" for _ in range(count)],
        "source": sources,
        "region": regions,
        "published": NOW - random.integers(0, 96 * HOUR, count),
    }


def timed(work, repeats):
    times = []
    for number in range(repeats):
        start = time.process_time_ns()
        work(number)
        times.append((time.process_time_ns() - start) / 1e6)
    return [f"{value:.2f}" for value in np.percentile(times, [50, 95])]


def alone(count, repeats, random):
    """Each reranker over the categories, or 64 dimensions, as functions of arrays."""
    relevance, labels = random.random(count), random.integers(0, 18, count)
    aspects, vectors = np.eye(18)[labels], random.normal(size=(count, 64))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    target = random.dirichlet(np.ones(18))
    coverage = aspects * relevance[:, None]
    yield "mmr", lambda _: rerankers.mmr(relevance, vectors @ vectors.T, PLACES, 0.5)
    yield "calibrated", lambda _: rerankers.calibrated(relevance, aspects, target, PLACES, 0.5)
    yield "best_calibrated", lambda _: rerankers.best_calibrated(relevance, labels, target, PLACES, 0.5)
    yield "xquad", lambda _: rerankers.xquad(relevance, coverage, target, PLACES, 0.5)
    yield "pm2", lambda _: rerankers.pm2(relevance, coverage, target, PLACES)


def policies(count, random):
    """Whole policies, by reranker; and those that cannot be kept, or not by placing one article after another."""
    columns = articles(5000, random)
    history = random.integers(0, 5000, 30)
    pools = [random.permutation(5000)[:count] for _ in range(20)]
    scores = random.normal(size=count)

    def arrange(plan, number):
        return plan.arrange(scores, pools[number % 20], now=NOW, history=history, topics=["c2"], seed=number)

    def explain(listing):
        return listing.moves, listing.relaxed, [listing.why_not(int(row)) for row in listing.pool.rows[:10]]

    for name, rerank in RERANKERS.items():
        plan = Plan(Policy.of({**RULES, "rerank": rerank}), columns)
        yield f"policy, {name}", lambda number, plan=plan: arrange(plan, number)
    yield "policy, pm2, explained", lambda number, plan=plan: explain(arrange(plan, number))
    for name, floor in {"unmet floor": UNMET, "hidden floor": HIDDEN}.items():
        plan = Plan(Policy.of({**RULES, "floors": [*RULES["floors"], floor]}), columns)
        yield f"policy, {name}", lambda number, plan=plan: arrange(plan, number)


def main() -> None:
    """Print the table; see the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=200)
    repeats = parser.parse_args().repeats
    rows = [
        [name, f"{count:,}", *timed(work, repeats)]
        for count in (200, 5000)
        for name, work in [
            *(alone(count, repeats, np.random.default_rng(0)) if count == 200 else ()),
            *policies(count, np.random.default_rng(0)),
        ]
    ]
    print(markdown_table(["ms a list of 20", "candidates", "median", "95 %"], rows))


if __name__ == "__main__":
    main()
