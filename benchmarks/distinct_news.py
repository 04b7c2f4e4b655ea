"""Times fine-tuning MiniLM end to end with each distinct article of a batch encoded once, and with all slots encoded.

    python benchmarks/distinct_news.py DATA [--steps 4] [--batch 32] [--rounds 3] [--history 50]

DATA is a folder of `recommenders-miner demo-data`. The same model trains on the same samples in turns; the second way
gets batches whose every history slot and candidate, padding too, is an article of its own, as in libraries without a
step that finds the distinct ones. Prints a JSON line per turn and the ratio of the medians of samples per second.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

from sides.every_slot import in_every_slot

from recommenders_miner import MINERModel, prepare_hparams


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--history", type=int, default=50, help="0 leaves histories in their length groups")
    arguments = parser.parse_args()
    hparams = prepare_hparams("miner-minilm", plm_trainable="all", batch_size=arguments.batch)
    model = MINERModel(hparams, seed=42)
    data = model.train_iterator.load(*(arguments.data / "train" / name for name in ("news.tsv", "behaviors.tsv")))
    model.build(model.train_iterator.vocabularies)
    batches = model.training_batches(data)
    model.compile(total_steps=1000)
    ways = {"distinct": lambda batch: batch, "all slots": lambda batch: in_every_slot(batch, arguments.history)}
    rates = {way: [] for way in ways}
    for turn in range(-1, arguments.rounds):  # the turn before the first is not timed: it compiles
        for way, form in ways.items():
            steps = [form(batches[(turn + 1) * arguments.steps + step]) for step in range(arguments.steps)]
            news = [sum(len(group["pieces"]) for group in inputs["news"]) for inputs, _, _ in steps]
            began = time.perf_counter()
            for inputs, labels, weights in steps:
                loss = model.network.train_on_batch(inputs, labels, weights)
            rate = arguments.batch * len(steps) / (time.perf_counter() - began)
            if turn >= 0:
                rates[way].append(rate)
                row = {"way": way, "samples_per_s": rate, "news_a_step": statistics.mean(news), "loss": float(loss)}
                print(json.dumps(row), flush=True)
    print(json.dumps({"ratio": statistics.median(rates["distinct"]) / statistics.median(rates["all slots"])}))


if __name__ == "__main__":
    main()
