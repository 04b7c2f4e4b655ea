"""Times the retrieval strategies on a pool of a million articles, and counts what approximate indexes find.

    python benchmarks/recall.py OUT [--news 1000000] [--queries 128] [--indexes flat,ivf,hnsw] [--k 100]

No model and no data are needed. Articles: 18 categories as uneven as MIND's (two hold 60 %), 15 subcategories each, up
to articles / 1000 stories each; a unit vector is the sum of its category's, subcategory's, story's and its own Gaussian
vector with 12, 23, 35 and 30 % of the variance. Users: 1 to 50 clicks (median 18) on up to 5 subcategories; K = 32
interests by poly attention with random codes, as alike as those of a MINER that was trained on the demo data (mean
cosine 0.8); category weighting with λ = 1.5; a random W^e, whose logits differ between interests as that model's do
(0.25).

Times are CPU time, and BLAS and OpenMP have one thread each unless told otherwise, so that figures hold on a shared
machine. Writes OUT/recall.json and OUT/recall.md. `recall` is the share of the strategy's own exact best k that is
found; `of MINER's` the share of the best k by MINER-weighted with category weighting. That of `average, best 10 k` is
what reranking by the full model then finds; the time to score these is not in the figure.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.special import erf

from recommenders_miner.retrieval.news_pool import NewsPool, TopK
from recommenders_miner.tables import markdown_table

CATEGORIES, SUBCATEGORIES, STORY, INTERESTS, CATEGORY_SCALE, SPREAD = 18, 15, 20, 32, 1.5, 0.8
USERS_AT_ONCE = 64


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


class World:
    """The pool and its users; see the head of this file."""

    def __init__(self, news, queries, dim, seed=0):
        rng = np.random.default_rng(seed)
        self.rng = rng
        rare = 0.75 ** np.arange(CATEGORIES - 2)
        self.category = rng.choice(CATEGORIES, news, p=[0.3, 0.3, *0.4 * rare / rare.sum()])
        self.by_category = [np.flatnonzero(self.category == category) for category in range(CATEGORIES)]
        self.subcategory = self.category * SUBCATEGORIES + np.minimum(rng.geometric(0.2, news) - 1, SUBCATEGORIES - 1)
        # Articles of a subcategory that draw the same number tell the same story.
        story = self.subcategory + CATEGORIES * SUBCATEGORIES * rng.integers(0, max(news // STORY // 50, 1), news)
        story = np.unique(story, return_inverse=True)[1]
        self.vectors = np.sqrt(0.30, dtype="float32") * rng.standard_normal((news, dim), "float32")
        for share, group in ((0.12, self.category), (0.23, self.subcategory), (0.35, story)):
            centres = rng.standard_normal((group.max() + 1, dim), "float32")
            self.vectors += np.sqrt(share, dtype="float32") * centres[group]
        self.vectors /= np.linalg.norm(self.vectors, axis=1, keepdims=True)
        kernel = rng.standard_normal((dim, dim), "float32")
        self.targets = self.gelu(self.vectors @ kernel)
        self.interests, self.plain_interests = self.read(queries, dim)
        logits = np.einsum("bkd,nd->bkn", self.plain_interests, self.targets[:1000])
        self.targets *= 0.25 / logits.std(axis=1).mean()

    @staticmethod
    def gelu(values):
        for start in range(0, len(values), 1 << 16):
            block = values[start : start + (1 << 16)]
            block *= 0.5 * (1 + erf(block / np.sqrt(2, dtype="float32")))
        return values

    def read(self, queries, dim):
        """Return interests (B, P, K, d) with category weighting and (B, K, d) without."""
        rng = self.rng
        codes, projection = rng.standard_normal((INTERESTS, 200)), rng.standard_normal((dim, 200))
        category_vectors = unit(rng.standard_normal((CATEGORIES, 50)) + 0.8 * rng.standard_normal(50))
        bias = CATEGORY_SCALE * category_vectors @ category_vectors.T
        members = np.argsort(self.subcategory, kind="stable")
        bounds = np.searchsorted(self.subcategory[members], np.arange(CATEGORIES * SUBCATEGORIES + 1))
        fitted, plain = [], []
        for _ in range(queries):
            liked = np.unique(self.subcategory[rng.integers(0, len(self.vectors), 5)])
            count = int(np.clip(rng.lognormal(np.log(18), 1.1), 1, 50))
            clicks = members[[rng.integers(bounds[s], bounds[s + 1]) for s in rng.choice(liked, count)]]
            history = self.vectors[clicks]
            logits = codes @ np.tanh(history @ projection).T
            logits *= SPREAD / max(logits.std(), 1e-6) if count > 1 else 1
            weights = logits[None] + np.concatenate([bias[:, self.category[clicks]], np.zeros((1, count))])[:, None]
            weights = np.exp(weights - weights.max(axis=-1, keepdims=True))
            interests = (weights / weights.sum(axis=-1, keepdims=True) @ history).astype("float32")
            fitted.append(interests[:-1])
            plain.append(interests[-1])
        return np.stack(fitted), np.stack(plain)

    def join(self, matches, logits):
        """Return MINER-weighted's scores (…, n) of matches and weights' logits (…, K, n)."""
        weights = np.exp(logits - logits.max(axis=-2, keepdims=True))
        return (weights * matches).sum(axis=-2) / weights.sum(axis=-2)

    def score_all(self, interests, k):
        """Return the best k by MINER-weighted, without an index and without a bound."""
        best = TopK(len(interests), k)
        for category, rows in enumerate(self.by_category):
            users = interests[:, category].reshape(-1, interests.shape[-1])
            for start in range(0, len(rows), 2048):
                block = rows[start : start + 2048]
                both = (users @ v[block].T for v in (self.vectors, self.targets))
                matches, logits = (m.reshape(len(interests), -1, len(block)) for m in both)
                best.add(self.join(matches, logits), block)
        return best.best()[1]


def timed(search, interests):
    """Return the rows that a search finds for all users, and users a second; the first few warm it up."""
    search(interests[:4])
    began = time.process_time()
    found = [search(interests[start:][:USERS_AT_ONCE]) for start in range(0, len(interests), USERS_AT_ONCE)]
    return np.concatenate(found), len(interests) / (time.process_time() - began)


def share_of(found, truth):
    return float(np.mean([np.isin(t, f).mean() for f, t in zip(found, truth, strict=True)]))


def searches(world, index, k):
    """Return the time to build an index, and by name the searches on it and the interests they start from."""
    began = time.process_time()
    whole = NewsPool(world.vectors, index=index)
    weighted = NewsPool(world.vectors, world.category, targets=world.targets, index=index)
    built = time.process_time() - began
    parts = copy.copy(weighted)  # the same index, without the second vectors
    parts._weighted = None
    plain = world.plain_interests[:, None]
    mean, mean_of_parts = (interests.mean(axis=2, keepdims=True) for interests in (plain, world.interests))
    ways = {
        "average": (whole, mean, k),
        f"average, best {10 * k}": (whole, mean, 10 * k),
        "multi": (whole, plain, k),
        "category, MINER-mean": (parts, mean_of_parts, k),
        "category, MINER-max": (parts, world.interests, k),
        "category, MINER-weighted": (weighted, world.interests, k),
    }

    def search(pool, depth, interests):
        return pool.search(interests, depth)[1]

    return built, {name: (partial(search, pool, depth), interests) for name, (pool, interests, depth) in ways.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--news", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=128)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--indexes", default="flat,ivf,hnsw", help="flat is always among them")
    arguments = parser.parse_args()
    world = World(arguments.news, arguments.queries, arguments.dim)
    best, rate = timed(partial(world.score_all, k=arguments.k), world.interests)
    rows = [{"strategy": "scoring all, MINER-weighted", "index": "none", "queries_per_s": rate}]
    truth = {"category, MINER-weighted": best}
    print(json.dumps(rows[-1]), flush=True)
    builds = {}
    for index in dict.fromkeys(["flat", *arguments.indexes.split(",")]):
        builds[index], ways = searches(world, index, arguments.k)
        print(json.dumps({"index": index, "build_s": builds[index]}), flush=True)
        for strategy, (search, interests) in ways.items():
            found, rate = timed(search, interests)
            row = {"strategy": strategy, "index": index, "queries_per_s": rate}
            row["recall"] = share_of(found, truth.setdefault(strategy, found))
            row["recall_of_miner_weighted"] = share_of(found, best)
            rows.append(row)
            print(json.dumps(row), flush=True)
        del ways, search  # the index, before the next is built
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = {**vars(arguments), "out": str(arguments.out), "build_s": builds, "rows": rows}
    (arguments.out / "recall.json").write_text(json.dumps(results, indent=2) + "\n")
    header = ["strategy", "index", "queries/s", f"recall@{arguments.k}", "of MINER's"]
    table = [
        [row["strategy"], row["index"], f"{row['queries_per_s']:.1f}"]
        + [f"{row[name]:.3f}" if name in row else "" for name in ("recall", "recall_of_miner_weighted")]
        for row in rows
    ]
    (arguments.out / "recall.md").write_text(markdown_table(header, table) + "\n")


if __name__ == "__main__":
    main()
