"""MINER as its users would otherwise run it: in PyTorch, with an article encoded in every slot of every sample.

No package implements MINER in PyTorch, so this is our own network on Keras' torch backend.
Run by `bench.py` with the Python of an environment that has torch.
"""

import os
import time
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"

from every_slot import in_every_slot
from ours import files, make
from settings import arguments, rate, report


def train(data, model, batch, steps):
    """Train for some steps with Keras' `train_on_batch`."""
    made = make(model, batch, length_groups=1, clicks_per_user=1)
    loaded = made.train_iterator.load(*files(data, "train"))
    made.build(made.train_iterator.vocabularies)
    made.compile(total_steps=steps)
    features = made.network_features(loaded)
    batches = made.train_iterator.batches(loaded, features, seed=42)
    ends = []
    for step in range(steps):
        made.network.train_on_batch(*in_every_slot(batches[step], made.hparams.his_size))
        ends.append(time.perf_counter())
    report(samples_per_s=rate(batch, ends))


if __name__ == "__main__":
    task = arguments()
    task["data"] = Path(task["data"])
    globals()[task.pop("task")](**task)
