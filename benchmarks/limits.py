"""Counts the operations that each row of results.md needs at least, and says how near this machine's limit we are.

    python benchmarks/limits.py [--out benchmarks] [--work DIR]

Measures a float32 matrix product on TensorFlow, a copy in memory, a sort and a lookup of names, counts these on the
rows' own data (padding, dropout, softmax and all bookkeeping are left out, so no program can do with less), and divides
by what bench.py measured. Writes OUT/limits.md. Run it right after bench.py, on the same machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pyarrow as pa
from bench import MIND_SMALL, SIDES

from recommenders_miner.storage import atomic_write
from recommenders_miner.tables import markdown_table

D, WORD, ATTENTION, HEADS, HISTORY, MINER_K, CODE = 400, 100, 200, 20, 50, 32, 200
BACKWARD = 3  # forward, and the gradients of inputs and of weights


def best(work, repeats=5):
    """Return the seconds of the fastest of some runs."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def matrix_product() -> float:
    """Return the operations a second of a product of 2048 x 2048 float32 matrices."""
    import tensorflow as tf

    matrix = tf.random.normal((2048, 2048))
    product = tf.function(lambda: tf.reduce_sum(tf.matmul(matrix, matrix)))
    return 2 * 2048**3 / best(lambda: product().numpy())


def memory_copy() -> float:
    """Return the bytes a second that a copy of 512 MiB reads and writes."""
    source = np.ones(2**26, "float64")
    target = np.empty_like(source)
    return 2 * source.nbytes / best(lambda: np.copyto(target, source))


def sort_rate() -> float:
    """Return the keys a second of numpy's sort of a million float64."""
    keys = np.random.default_rng(0).random(2**20)
    return len(keys) / best(lambda: np.sort(keys))


def lookup_rate() -> float:
    """Return the short strings a second that Arrow finds among 60,000, on all cores."""
    names = pa.array([f"N{number}-0" for number in np.random.default_rng(0).integers(60_000, size=2**20)])
    cores = os.cpu_count()
    with ThreadPoolExecutor(cores) as threads:
        return cores * len(names) / best(lambda: list(threads.map(pa.Array.dictionary_encode, [names] * cores)))


# === Operations, forward ===


def pooled(words, dim=D):
    """Count additive attention over `words` vectors."""
    return 2 * words * dim * ATTENTION + 2 * words * ATTENTION + 2 * words * dim


def self_attended(lengths, dim):
    """Count multi-head self-attention over sequences of some lengths, and its pooling."""
    words = lengths.sum()
    return 2 * words * dim * 3 * D + 2 * 2 * (lengths.astype("float64") ** 2).sum() * D + pooled(words)


def convolved(words):
    """Count a convolution of window 3 over words, and its pooling."""
    return 2 * 3 * words * WORD * D + pooled(words)


class Account:
    """The operations of a model on a data set, from the real lengths of titles and histories."""

    def __init__(self, data: Path) -> None:
        sys.path.insert(0, str(SIDES))
        from ours import files, make

        self.models = {name: make(name) for name in ("nrms", "lstur", "naml", "miner")}
        model = self.models["naml"]
        self.train = model.train_iterator.load(*files(data, "train"))
        model.build(model.train_iterator.vocabularies)
        self.dev = model.read(*files(data, "dev"))

    def news(self, model: str, features, rows: np.ndarray) -> float:
        """Count the encoding of some articles, each once."""
        title = np.count_nonzero(features["title"][rows], axis=1)
        if model in ("nrms", "miner"):
            return self_attended(title, WORD)
        if model == "lstur":
            return convolved(title.sum())
        abstract = np.count_nonzero(features["abstract"][rows], axis=1)
        views = 4
        return (
            convolved(title.sum()) + convolved(abstract.sum()) + 2 * 2 * len(rows) * 100 * D + pooled(views * len(rows))
        )

    def users(self, model: str, clicks: np.ndarray) -> float:
        """Count the encoding of users with some numbers of clicks."""
        if model == "nrms":
            return self_attended(clicks, D)
        if model == "naml":
            return pooled(clicks.sum())
        if model == "lstur":
            width = D + 100
            return 2 * clicks.sum() * 2 * width * 3 * width
        return 2 * clicks.sum() * (D * CODE + CODE * MINER_K)

    def step(self, model: str, batch: int, probes: int = 12) -> float:
        """Count a training step, on average over some steps of an epoch."""
        iterator, data = self.models["naml"].train_iterator, self.train
        iterator.hparams = iterator.hparams.replace(batch_size=batch)
        stream = iterator.batches(data, {"category": data.features["category"]}, seed=42)
        total = 0.0
        for step in np.linspace(0, stream.steps_per_epoch - 2, probes).astype(int):
            impressions, candidates = stream.samples.of_step(int(step))
            users = data.log.user_of[impressions]
            _, first = np.unique(data.log.history_of[impressions] * len(data.users) + users, return_index=True)
            history = data.log.histories.last(data.log.history_of[impressions[first]], HISTORY)
            rows = np.setdiff1d(np.concatenate([history.ravel(), candidates.ravel()]), [0])
            total += self.news(model, data.features, rows) + self.users(model, np.count_nonzero(history, axis=1))
        return BACKWARD * total / probes

    def evaluation(self, model: str) -> float:
        """Count the scoring of the dev log: each article and each user once, then the candidates."""
        data, log = self.dev, self.dev.log
        clicks = np.minimum(log.histories.lengths, HISTORY)
        total = self.news(model, data.features, np.arange(1, len(data.news))) + self.users(model, clicks)
        if model != "miner":
            return total + 2 * len(log.candidates.values) * D
        of_candidate = clicks[log.history_of[log.candidates.rows()]]
        products = 2 * 2 * of_candidate.sum() * (D + 2 * MINER_K)  # with the candidate and with its target
        return total + products + 2 * len(data.news) * D * D


def measured(results: dict, key: str, unit: str) -> float:
    """Return our median of a row of results.json."""
    return statistics.median(next(row["ours"] for row in results["pairs"][key] if row["unit"] == unit))


def main() -> None:
    """Write the table; see the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=SIDES.parent)
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "recommenders_miner" / "bench")
    arguments = parser.parse_args()
    results = json.loads((arguments.out / "results.json").read_text())
    products, copied, sorted_keys, looked_up = matrix_product(), memory_copy(), sort_rate(), lookup_rate()
    account = Account(arguments.work / "quarter")
    rows = []

    def add(what: str, needed: str, least: float, took: float) -> None:
        rows.append([what, needed, f"{least:,.3f}", f"{took:,.3f}", f"{100 * least / took:.0f} %"])

    for name, batch in (("nrms", 32), ("nrms", 128), ("lstur", 128), ("naml", 128)):
        operations = account.step(name, batch)
        took = batch / measured(results, f"{name}-{batch}", "samples_per_s")
        add(f"{name.upper()}, a step of {batch}", f"{operations / 1e9:,.1f} GFLOP", operations / products, took)
    whole = Account(arguments.work / "mind-small")
    for name, key, unit, where in (
        ("nrms", "nrms-128", "eval_s", account),
        ("naml", "naml-128", "eval_s", account),
        ("miner", "miner-eval", "seconds", whole),
    ):
        operations, took = where.evaluation(name), measured(results, key, unit)
        add(f"{name.upper()}, evaluation", f"{operations / 1e9:,.1f} GFLOP", operations / products, took)
    behaviors = arguments.work / "mind-small" / "train" / "behaviors.tsv"
    tokens, size = (
        len(whole.train.log.labels) + len(whole.train.log.histories.values),
        behaviors.stat().st_size,
    )
    add(
        "reading behaviors.tsv",
        f"{size / 1e6:,.0f} MB read and written once, {tokens / 1e6:.1f} million names looked up",
        2 * size / copied + tokens / looked_up,
        MIND_SMALL.num_train_impressions / measured(results, "read", "rows_per_s"),
    )
    candidates = len(np.load(arguments.work / "scores.npz")["labels"])
    took = measured(results, "metrics", "seconds")
    add("metrics", f"a sort of {candidates / 1e6:.1f} million keys", candidates / sorted_keys, took)
    head = (
        f"This machine: {products / 1e9:,.0f} GFLOP/s (a product of 2048 x 2048 float32 matrices on TensorFlow), "
        f"{copied / 1e9:,.0f} GB/s (a copy, bytes read and written), "
        f"{sorted_keys / 1e6:,.0f} million keys sorted and {looked_up / 1e6:,.0f} million names looked up a second."
    )
    table = markdown_table(["", "needs at least", "s at the limit", "s taken", "share"], rows)
    with atomic_write(arguments.out / "limits.md") as partial:
        partial.write_text(f"# How near the limit\n\nBy `python benchmarks/limits.py`. {head}\n\n{table}\n")
    print(head, table, sep="\n\n")


if __name__ == "__main__":
    main()
