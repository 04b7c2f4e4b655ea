"""Takes the models of the paper's Table 2, at their published settings, through one update and one evaluation batch.

    python benchmarks/paper_shapes.py [--models miner,unbert] [--backend jax] [--precision bfloat16] [--remat]
        [--micro 16] [--memory 10] [--layers 12] [--steps 2] [--data DIR] [--work DIR] [--out FILE.json]

The data are the synthetic benchmark of MIND-small's size, made once under --work; the language model is BERT-base
(--layers: its lowest ones only) with random weights, over a vocabulary of whole words. Each model runs in a process of
its own. A batch that takes more than --memory GB by arithmetic is cut into micro-batches that make one update
(`accumulate_steps`); --micro says how many clicks a micro-batch has at most. With --steps only so many micro-batches
are run, the last of an update, which is taken to last as many times as long as their median. On a GPU: --backend jax.

What is not on this machine is replaced: files of word vectors by random ones of their dimension, and the outputs of the
frozen layers of a language model, which training computes once for all before its first step, by zeros. Prints a
Markdown table, and writes what it is made of to --out. Takes about half an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from recommenders_miner.storage import atomic_write
from recommenders_miner.tables import markdown_table

CLICKS = 236_344  # of MIND-small's training split
PEAKS = {"H100": 989e12, "A10": 125e12}  # dense bfloat16 operations a second, by NVIDIA's data sheets; H200 as H100
SHARE = 0.4  # of a card's peak, which training is taken to sustain
CARD, RAM = 80e9, 4e9  # bytes that a step may take by arithmetic, on a GPU and here, where nothing is fused
IMPRESSIONS = 4  # of the evaluation batch
KINDS = {
    "float32": {"precision": "float32"},
    "bfloat16": {"precision": "bfloat16"},
    "bfloat16, remat": {"precision": "bfloat16", "remat": True},
}
FILES = ("news.tsv", "behaviors.tsv")


# === One model, in a process of its own ===


def published(name: str, preset: Path, **changes: Any) -> Any:
    """Return a model's published settings, changed, with what is not on this machine replaced."""
    from recommenders_miner.hparams import prepare_hparams

    hparams = prepare_hparams(name)
    changes["word_embedding"] = None
    if dim := re.search(r"([0-9]+)d", hparams.word_embedding or ""):
        changes["word_emb_dim"] = int(dim[1])
    if getattr(hparams, "category_embedding", "") == "glove":
        changes["category_embedding"] = "learned"
    if hparams.news_encoder == "plm":
        changes["plm"] = str(preset)
    return prepare_hparams(name, **changes)


def in_micro_batches(hparams: Any, tables: tuple[Any, Any], limit: float, micro: int | None) -> Any:
    """Cut a batch into the largest equal parts that take at most `limit` bytes, or have at most `micro` clicks."""
    from recommenders_miner.experiments.memory import training_memory

    for parts in range(1, hparams.batch_size + 1):
        cut = hparams.replace(batch_size=-(-hparams.batch_size // parts), accumulate_steps=parts)
        if cut.batch_size * parts == hparams.batch_size:
            fits = cut.batch_size <= micro if micro else training_memory(cut, *tables).bytes <= limit
            if fits or cut.batch_size == 1:
                return cut
    raise ValueError(f"batch_size: {hparams.batch_size}")


def with_zero_states(dim: int, features: Any) -> dict[str, np.ndarray]:
    """Stand for `PLMEncoder.prepare` of a model whose lower layers are frozen."""
    pieces = features["pieces"]
    return {"pieces": pieces, "plm_states": np.zeros((*pieces.shape, dim), "float32")}


def train(model: Any, data: Any, steps: int) -> tuple[list[float], list[float]]:
    """Run some steps of training, or the last ones of an update of more steps; return their losses and seconds."""
    from recommenders_miner.encoders import PLMEncoder

    for layer in model.network._flatten_layers():
        if isinstance(layer, PLMEncoder) and layer.is_cached and not layer.is_frozen:
            layer.frozen_outputs = lambda pieces, dim=layer.backbone.hidden_dim: np.zeros(
                (*pieces.shape, dim), "float32"
            )
            layer.prepare = lambda features, layer=layer: {
                "pieces": features["pieces"],
                "plm_states": layer.frozen_outputs(features["pieces"]),
            }
    batches = model.training_batches(data)
    model.compile(batches.steps_per_epoch * model.hparams.epochs)
    losses, seconds = [], []
    first = max(0, model.hparams.accumulate_steps - steps)
    model.network.optimizer._iterations.assign(first)
    for step in range(first, first + steps):
        batch, began = batches[step], time.perf_counter()
        losses.append(float(np.ravel(model.network.train_on_batch(*batch))[0]))
        seconds.append(time.perf_counter() - began)
    return losses, seconds


def evaluate(model: Any, data: Any) -> np.ndarray:
    """Score the candidates of the log's first impressions, for which the articles that they need are encoded."""
    from recommenders_miner.data.log import ImpressionLog
    from recommenders_miner.data.news import distinct_rows

    log, chosen, ids = data.log, range(IMPRESSIONS), data.news.ids.to_pylist()
    candidates = [log.candidates[i] for i in chosen]
    histories = [log.histories[log.history_of[i]][-model.hparams.his_size :] for i in chosen]
    rows = distinct_rows(len(data.news), *candidates, *histories)
    some = ImpressionLog.from_columns(
        data.news,
        histories=[[ids[row] for row in history] for history in histories],
        candidates=[[ids[row] for row in shown] for shown in candidates],
        users=[log.users[int(log.user_of[i])].as_py() for i in chosen],
    )
    table = {name: array[rows] for name, array in model.network_features(data).items()}
    news = {}
    for name, values in model.log_scorer.encode_news(table).items():
        news[name] = np.zeros((len(data.news), *values.shape[1:]), values.dtype)
        news[name][rows] = values
    users = np.array(model.vocabularies.users.encode(some.users.to_pylist()), "int32")
    return model.log_scorer.score(news, some, users)


def peak_rss() -> int:
    """Return the most memory that this process has had, in bytes; `getrusage` begins with that of its parent."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+([0-9]+) kB", status)[1])


def run_one(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Take a model through an update and an evaluation batch; return what it took, in bytes and seconds."""
    import keras

    from recommenders_miner.data.log import ImpressionLog
    from recommenders_miner.data.news import NewsTable
    from recommenders_miner.experiments.memory import training_memory
    from recommenders_miner.hparams import MODELS

    device = None
    if keras.backend.backend() == "jax":
        import jax

        device = jax.local_devices()[0]
    on_gpu = device is not None and device.platform == "gpu"
    files = [arguments.data / "train" / file for file in FILES]
    news = NewsTable.read(files[0])
    tables = news, ImpressionLog.read(files[1], news)
    preset, asked = arguments.work / f"bert-{arguments.layers}", {"precision": arguments.precision}
    whole = {kind: training_memory(published(name, preset, **changes), *tables) for kind, changes in KINDS.items()}
    hparams = published(name, preset, **asked, remat=arguments.remat)
    limit = 1e9 * arguments.memory if arguments.memory else CARD if on_gpu else RAM
    hparams = in_micro_batches(hparams, tables, limit, arguments.micro)
    model = MODELS[hparams.model_type](hparams, seed=1)
    data = model.train_iterator.load(*files)
    model.build(model.train_iterator.vocabularies)
    parts = hparams.accumulate_steps
    losses, seconds = train(model, data, arguments.steps or max(3, parts * (4 if on_gpu else 1)))
    timed = seconds[2:] or seconds[-1:]  # the first ones are compiled
    began = time.perf_counter()
    scores = evaluate(model, data)
    if not (np.isfinite(losses).all() and np.isfinite(scores).all()):
        raise ValueError(f"{name}: the losses are {losses}, the scores {scores}.")
    return {
        "batch": hparams.batch_size * parts,
        "micro": hparams.batch_size,
        "epochs": hparams.epochs,
        "steps": len(losses),
        "loss": float(np.mean(losses)),
        "update_seconds": parts * float(np.median(timed)),
        "evaluation_seconds": time.perf_counter() - began,
        "peak_rss": peak_rss(),
        "parameters": model.network.count_params(),
        "parameters_by_arithmetic": whole["float32"].parameters,
        "articles": whole["float32"].articles,
        "operations": whole["float32"].operations,
        "bytes": {kind: memory.bytes for kind, memory in whole.items()},
        "bytes_as_run": training_memory(hparams, *tables).bytes,
        **({"device": device.device_kind, "device_peak": device.memory_stats()["peak_bytes_in_use"]} if on_gpu else {}),
    }


# === All of them ===


def make_preset(folder: Path, layers: int, data: Path) -> None:
    """Write a BERT-base with random weights, whose vocabulary is the words of the news, unless it is there."""
    if folder.exists():
        return
    import keras_hub

    from recommenders_miner.data.news import NewsTable
    from recommenders_miner.data.text import tokenize

    titles = NewsTable.read(data / "train" / FILES[0]).title.to_pylist()
    words = Counter(word for title in titles for word in tokenize(title))
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(word for word, _ in words.most_common())]
    vocabulary = [*vocabulary, *(f"[unused{place}]" for place in range(30_522 - len(vocabulary)))][:30_522]
    sizes = {"num_layers": layers, "num_heads": 12, "hidden_dim": 768, "intermediate_dim": 3072}
    keras_hub.models.BertBackbone(vocabulary_size=len(vocabulary), **sizes).save_to_preset(str(folder))
    keras_hub.models.BertTokenizer(vocabulary=vocabulary, lowercase=True).save_to_preset(str(folder))


def hours(row: dict[str, Any], peak: float) -> float:
    """Return the hours of all epochs on MIND-small, at `SHARE` of a card's peak."""
    return row["epochs"] * CLICKS / row["batch"] * row["operations"] / (SHARE * peak) / 3600


def page(rows: dict[str, dict[str, Any]]) -> str:
    """Return the table of all models; on a GPU, with what was measured there."""
    on_gpu = any("device" in row for row in rows.values())
    header = ["", "batch", "in parts", "parts run", "articles", "peak RSS, GB", "by arithmetic, GB", "update, s"]
    header += ["evaluation, s", "10¹² operations", *(f"{kind}, GB" for kind in KINDS)]
    header += [f"{card}, hours" for card in PEAKS]
    header += ["samples/s", "share of 989 TFLOP/s", "device peak, GB"] if on_gpu else []
    cells = []
    for name, row in rows.items():
        over_plm = row["bytes"]["bfloat16, remat"] != row["bytes"]["bfloat16"]
        memory = [f"{value / 1e9:.1f}" for value in row["bytes"].values()]
        line = [name, row["batch"], row["batch"] // row["micro"], row["steps"], f"{row['articles']:,}"]
        line += [f"{row['peak_rss'] / 1e9:.1f}", f"{row['bytes_as_run'] / 1e9:.1f}", f"{row['update_seconds']:.1f}"]
        line += [f"{row['evaluation_seconds']:.1f}", f"{row['operations'] / 1e12:.3g}"]
        line += [*memory[:2], memory[2] if over_plm else ""]
        line += [f"{hours(row, peak):.2g}" for peak in PEAKS.values()]
        if on_gpu:
            rate = row["operations"] / row["update_seconds"]
            line += [f"{row['batch'] / row['update_seconds']:,.0f}", f"{rate / PEAKS['H100']:.0%}"]
            line += [f"{row['device_peak'] / 1e9:.1f}"]
        cells.append([str(cell) for cell in line])
    return markdown_table(header, cells)


def main() -> None:
    """See the head of this file."""
    from recommenders_miner.experiments.runs import TABLE_2

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(TABLE_2))
    parser.add_argument("--backend", choices=("tensorflow", "jax"), default="tensorflow")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--remat", action="store_true")
    parser.add_argument("--micro", type=int)
    parser.add_argument("--memory", type=float)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "recommenders_miner" / "bench")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.data = arguments.data or arguments.work / "mind-small"
    if arguments.one:
        print(json.dumps(run_one(arguments.one, arguments)))
        return
    if not arguments.data.exists():
        from recommenders_miner.datasets.synthetic.benchmark import write_synthetic_benchmark

        write_synthetic_benchmark(arguments.data, "mind-small")
    make_preset(arguments.work / f"bert-{arguments.layers}", arguments.layers, arguments.data)
    rows, environment = {}, {**os.environ, "KERAS_BACKEND": arguments.backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    for name in arguments.models.split(","):
        command = [sys.executable, __file__, *sys.argv[1:], "--one", name]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{name} ended with {done.returncode}.")
        rows[name] = json.loads(done.stdout.splitlines()[-1])
        print(name, json.dumps(rows[name]), file=sys.stderr, flush=True)
        if arguments.out:
            with atomic_write(arguments.out) as partial:
                partial.write_text(json.dumps(rows, indent=1) + "\n")
    print(page(rows))


if __name__ == "__main__":
    main()
