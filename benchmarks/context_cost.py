"""Times training and evaluation of a model with the context of impressions and without, in turns.

    python benchmarks/context_cost.py DATA [--models nrms,miner] [--steps 40] [--rounds 5]

DATA has train/ and dev/ in MIND's format. In each round either way takes the same training steps, as `fit` does, and
scores the dev log, whose articles are encoded anew each time. Prints the medians of samples and of impressions per
second, and the ratios of the medians; counting the logs once, before that, is timed by itself.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from pathlib import Path

from recommenders_miner.data.batching import TrainingBatches
from recommenders_miner.data.folders import Split
from recommenders_miner.experiments.runs import Variant
from recommenders_miner.models import MODELS, BaseModel
from recommenders_miner.tables import markdown_table

WAYS = ("none", "gated")


def fit(model: BaseModel, batches: TrainingBatches, steps: int) -> None:
    """Train for some steps."""
    model.network.fit(batches.stream(), steps_per_epoch=steps, verbose=0, shuffle=False)


def main() -> None:
    """Run the benchmark; see the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--models", default="nrms,miner")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    train, dev = (Split.find(arguments.data, split) for split in ("train", "dev"))
    rows = []
    for name in arguments.models.split(","):
        models, logs, batches = {}, {}, {}
        for way in WAYS:
            hparams = Variant(name).hparams("fast", {"context": way})
            model = models[way] = MODELS[hparams.model_type](hparams, seed=1)
            data = model.train_iterator.load(train.news, train.behaviors)
            model.build(model.train_iterator.vocabularies)
            began = time.perf_counter()
            if (context := model.context_of(data)) is not None:
                model.go_on_from(context.counts())
            logs[way] = model.read(dev.news, dev.behaviors)
            model.context_of(logs[way])
            counting = time.perf_counter() - began  # of the last way
            batches[way] = model.training_batches(data)
            model.compile(total_steps=10_000)
        tasks = {("train", way): functools.partial(fit, models[way], batches[way], arguments.steps) for way in WAYS}
        tasks |= {("evaluate", way): functools.partial(models[way].score_log, logs[way]) for way in WAYS}
        seconds = {task: [] for task in tasks}
        for turn in range(-1, arguments.rounds):  # the turn before the first is not timed: it compiles
            for task, do in tasks.items():
                began = time.perf_counter()
                do()
                if turn >= 0:
                    seconds[task].append(time.perf_counter() - began)
        sizes = {"train": arguments.steps * model.hparams.batch_size, "evaluate": len(logs["none"].log)}
        for what, size in sizes.items():
            rates = {way: size / statistics.median(seconds[what, way]) for way in WAYS}
            cells = [*(f"{rate:,.0f}" for rate in rates.values()), f"{rates['gated'] / rates['none']:.2f}"]
            rows.append([name, what, *cells, f"{counting:.1f}"])
    titles = ["Model", "Samples, or impressions, per s", "without", "with context", "ratio", "counting, s, once"]
    print(markdown_table(titles, rows))


if __name__ == "__main__":
    main()
