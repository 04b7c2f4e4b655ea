"""What all sides of a comparison are told alike: sizes, data, and how a figure is reported."""

from __future__ import annotations

import json
import resource
import sys

WORD_DIM = 100
SIZES = {
    "title_size": 20,
    "body_size": 50,
    "his_size": 50,
    "npratio": 4,
    "head_num": 20,
    "head_dim": 20,
    "attention_hidden_dim": 200,
    "filter_num": 400,
    "window_size": 3,
    "cnn_activation": "relu",
    "dense_activation": "relu",
    "dropout": 0.2,
    "learning_rate": 1e-4,
}
MINER_SIZES = {"num_interests": 32, "code_dim": 200, "aggregation": "weighted", "disagreement_weight": 0.8}
WARM_UP = 12  # training steps that are not timed, since they build graphs


def arguments():
    """Return what this process is to do: the JSON of its first argument."""
    return json.loads(sys.argv[1])


def report(**figures):
    """Print figures, in the last line of the output, for `bench.py` to read; add the process' peak memory."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**figures, "peak_mib": peak}), flush=True)


def rate(batch_size, ends):
    """Return samples a second, from the times at which steps ended."""
    timed = ends[WARM_UP - 1 :]
    return batch_size * (len(timed) - 1) / (timed[-1] - timed[0])
