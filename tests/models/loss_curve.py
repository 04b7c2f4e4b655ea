"""Fine-tunes MINER over MiniLM for some steps and writes the losses: a training script for any backend.

    python tests/models/loss_curve.py DATA WEIGHTS.npz OUT.json [--steps 10] [--without-tensorflow]

The first run writes the initial weights to WEIGHTS.npz, later ones start from them, since backends draw theirs apart.
"""

import argparse
import json
import sys
from pathlib import Path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--without-tensorflow", action="store_true", help="as if it were not installed")
    arguments = parser.parse_args()
    if arguments.without_tensorflow:
        sys.modules.update({"tensorflow": None, "tensorflow_text": None})

    from recommenders_miner import MINERModel, prepare_hparams

    hparams = prepare_hparams(
        "miner-minilm",
        plm_trainable="all",
        plm_depth=2,
        length_groups=1,
        plm_dropout=0.0,
        dropout=0.0,
        num_interests=4,
        batch_size=16,
        learning_rate=2e-5,
        warmup=0.1,
        decay="linear",
    )
    model = MINERModel(hparams, seed=1)
    data = model.train_iterator.load(*(arguments.data / "train" / name for name in ("news.tsv", "behaviors.tsv")))
    model.build(model.train_iterator.vocabularies)
    exchange_weights(model.network, arguments.weights)
    batches = model.training_batches(data)
    model.compile(total_steps=arguments.steps)
    losses = [float(model.network.train_on_batch(*batches[step])) for step in range(arguments.steps)]
    arguments.out.write_text(json.dumps({"tensorflow": "tensorflow" in loaded_modules(), "losses": losses}))


def exchange_weights(network, path):
    import numpy as np

    if path.exists():
        with np.load(path) as stored:
            network.set_weights([stored[f"arr_{index}"] for index in range(len(stored.files))])
    else:
        np.savez(path, *network.get_weights())


def loaded_modules():
    return {name for name, module in sys.modules.items() if module is not None}


if __name__ == "__main__":
    main()
