"""Chooses step sizes for `hparams/scales/fast.yaml` by what `held_out: users` holds out of training; dev is not read.

    python benchmarks/step_sizes.py [--data demo/data] [--models nrms,miner] [--learning-rates 1e-3,2e-3,4e-3]

Each model is trained once for each step size, with one seed that no table uses. Prints the best epoch's AUC on the
held-out users, and which epoch that was. Over all models it takes about an hour on two cores.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from recommenders_miner.cli.app import parse_overrides
from recommenders_miner.data.folders import Split
from recommenders_miner.experiments.runs import TABLE_2, Variant
from recommenders_miner.models import MODELS
from recommenders_miner.tables import markdown_table

SEED = 7
SELECTED = {"held_out": "users", "select": "best", "patience": 1, "epochs": 8}


def main() -> None:
    """Print the table; see the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("demo/data"))
    parser.add_argument("--models", type=lambda names: names.split(","), default=TABLE_2)
    parser.add_argument("--learning-rates", type=lambda of: [*map(float, of.split(","))], default=[1e-3, 2e-3, 4e-3])
    parser.add_argument("-o", "--override", action="append", default=[])
    arguments = parser.parse_args()
    train = Split.find(arguments.data, "train")
    rows = []
    for name in arguments.models:
        cells = []
        for learning_rate in arguments.learning_rates:
            overrides = {**SELECTED, **parse_overrides(arguments.override), "learning_rate": learning_rate}
            hparams = Variant(name).hparams("fast", overrides)
            model = MODELS[hparams.model_type](hparams, seed=SEED)
            model.fit(train.news, train.behaviors, verbose=0)
            aucs = [epoch["held_out_group_auc"] for epoch in model.history]
            cells.append(f"{100 * max(aucs):.2f} ({1 + aucs.index(max(aucs))})")
            print(name, learning_rate, cells[-1], flush=True)
        rows.append([name, *cells])
    print(markdown_table(["AUC (epoch)", *(f"{of:g}" for of in arguments.learning_rates)], rows))


if __name__ == "__main__":
    main()
