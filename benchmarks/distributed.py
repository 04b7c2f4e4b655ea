"""What several workers cost and give: measured on this machine, and by arithmetic beyond it.

    python benchmarks/distributed.py [--out benchmarks] [--models nrms,miner] [--data demo/data]

Trains each model for an epoch on the synthetic benchmark, at `--scale fast`, on JAX: in one process that may use two
cores, in one that may use one, and with two workers of one core each. Everything but the first steps is timed. Then
computes what more workers give, for a step on each of the time measured in the one process of one core, and a ring
all-reduce of the gradients over networks of some bandwidths, nothing of which overlaps with the computation.
Writes OUT/distributed.json. Takes some 10 minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from recommenders_miner.storage import atomic_write

ONE_PROCESS = """
import logging, math, sys
from recommenders_miner.backend import import_backend_quietly
import_backend_quietly()
from recommenders_miner import distributed
from recommenders_miner.hparams import prepare_hparams
from recommenders_miner.models import MODELS
name, data, out, workers = sys.argv[1:]
logging.basicConfig(level=logging.WARNING, format="%(message)s")
hparams = prepare_hparams(name, scale="fast", epochs=1)
model = MODELS[hparams.model_type](hparams, seed=42)
files = f"{data}/train/news.tsv", f"{data}/train/behaviors.tsv"
if workers == "1":
    model.fit(*files, verbose=0)
    print(f"{model.throughput.samples_per_second:.1f} samples a second")
else:
    distributed.fit(model, *files, run_dir=out, workers=int(workers), verbose=0)
weights = sum(math.prod(weight.shape) for weight in model.network.trainable_weights)
data = model.train_iterator.load(*files)
features = model.network_features(data)
for shards in (1, 2):
    batches = model.train_iterator.batches(data, features, 42, static_shapes=True, shards=shards)
    inputs, _, _ = batches[0]
    rows = sum(len(next(iter(group.values()))) for group in inputs["news"])
    print(f"{rows} articles in a step of {shards}")
print(f"{weights} weights, batches of {hparams.batch_size}")
"""
GBITS = (1, 10, 100)
WORKERS = (1, 2, 4, 8)


def main() -> None:
    """Run the benchmark; see the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--models", default="nrms,miner")
    parser.add_argument("--data", type=Path, default=Path("demo/data"))
    arguments = parser.parse_args()
    figures = {name: measure(name, arguments.data) for name in arguments.models.split(",")}
    with atomic_write(arguments.out / "distributed.json") as partial:
        partial.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


def measure(name: str, data: Path) -> dict[str, float | dict[str, float]]:
    """Time a model in one process of two cores and of one, and with two workers."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    two, *_ = train(name, data, 1, cores)
    one, weights, batch, articles, _ = train(name, data, 1, cores[:1])
    workers, *_, start = train(name, data, 2, cores)
    figures = {
        "samples_per_s_one_process_of_two_cores": two,
        "samples_per_s_one_process_of_one_core": one,
        "samples_per_s_two_workers_of_one_core": workers,
        "two_workers_to_one_process_of_two_cores": workers / two,
        "seconds_until_two_workers_train": start,
        "articles_encoded_in_a_step_of_one_process": articles[0],
        "articles_encoded_in_a_step_of_two_workers": articles[1],
        "gradient_bytes": 4 * weights,
    }
    for gbits in GBITS:
        figures[f"speed_of_n_workers_at_{gbits}_gbit_s"] = {
            str(count): by_arithmetic(one, weights, batch, count, gbits) for count in WORKERS
        }
    return figures


def train(name: str, data: Path, workers: int, cores: list[int]) -> tuple[float, int, int, list[int], float]:
    """Return samples per second, trained weights, batch size, articles of a step, and the seconds beside the steps."""
    environment = {**os.environ, "KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3"}
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-c", ONE_PROCESS, name, str(data), f"{out}/run", str(workers)]
        began = time.perf_counter()
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        os.sched_setaffinity(process.pid, cores)
        said = process.communicate()[0]
        seconds = time.perf_counter() - began
    if process.returncode:
        sys.exit(said)
    rate = float(re.search(r"([0-9.]+) samples a second", said)[1])
    weights, batch = map(int, re.search(r"([0-9]+) weights, batches of ([0-9]+)", said).groups())
    with open(data / "train" / "behaviors.tsv", encoding="utf-8") as file:
        clicks = sum(line.count("-1") for line in file)
    articles = [int(rows) for rows in re.findall(r"([0-9]+) articles in a step", said)]
    return rate, weights, batch, articles, seconds - clicks / rate


def by_arithmetic(rate: float, weights: int, batch: int, count: int, gbits: float) -> float:
    """Return how many times as fast as one `count` workers are, a batch each: a step, and a ring all-reduce."""
    step = batch / rate
    exchange = 2 * (count - 1) / count * 4 * weights / (gbits * 1e9 / 8)
    return float(np.round(count * step / (step + exchange), 2))


if __name__ == "__main__":
    main()
