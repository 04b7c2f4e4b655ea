"""Times our models as ../shared/peer/peer_recommenders.py times Recommenders': training samples a second, one run_eval.

    python benchmarks/speed.py DATA GLOVE.txt --model nrms [--steps 40] [--batch 32]

Prints JSON lines. Rates leave out the first 10 steps, which compile; run_eval is the whole call, reading included.
"""

from __future__ import annotations

import argparse
import json
import time

import keras

from recommenders_miner import prepare_hparams
from recommenders_miner.models import MODELS


class StopAfter(keras.callbacks.Callback):
    """Ends training after some steps and notes when each ended."""

    def __init__(self, steps):
        super().__init__()
        self.steps, self.ends = steps, []

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(time.perf_counter())
        if len(self.ends) >= self.steps:
            self.model.stop_training = True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("glove")
    parser.add_argument("--model", default="nrms", choices=sorted(MODELS))
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=32)
    arguments = parser.parse_args()
    hparams = prepare_hparams(arguments.model, word_embedding=arguments.glove, batch_size=arguments.batch, epochs=1)
    model = MODELS[arguments.model](hparams, seed=42)
    splits = {
        name: [f"{arguments.data}/{name}/{file}.tsv" for file in ("news", "behaviors")] for name in ("train", "dev")
    }
    timer = StopAfter(arguments.steps)
    model.fit(*splits["train"], callbacks=[timer], verbose=0)
    rate = arguments.batch * (len(timer.ends) - 10) / (timer.ends[-1] - timer.ends[9])
    print(json.dumps({"model": arguments.model, "batch": arguments.batch, "samples_per_s": rate}), flush=True)
    began = time.perf_counter()
    metrics = model.run_eval(*splits["dev"])
    print(json.dumps({"eval_s": time.perf_counter() - began, **metrics}))


if __name__ == "__main__":
    main()
