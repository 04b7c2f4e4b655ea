"""Several models on one data set, trained and evaluated in turn, beside floors and ceilings that need no training."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recommenders_miner.errors import PresetError
from recommenders_miner.evaluation.baselines import (
    PopularityBaseline,
    history_oracle_scores,
    oracle_scores,
    random_scores,
)
from recommenders_miner.evaluation.comparison import Comparison, ResultRow
from recommenders_miner.evaluation.metrics import evaluate_scores
from recommenders_miner.hparams import HParams, prepare_hparams
from recommenders_miner.io.impression_log import ImpressionLog
from recommenders_miner.io.news_table import NewsTable
from recommenders_miner.io.splits import Split
from recommenders_miner.models import MODELS

LOGGER = logging.getLogger("recommenders_miner")

TRUTH_FILE = "click_logits.txt"


def compare(
    data_dir: str | Path,
    models: Sequence[str],
    out: str | Path,
    overrides: dict[str, Any] | None = None,
    seed: int = 42,
    skip_unavailable: bool = False,
) -> Comparison:
    """Trains and evaluates models on `data_dir/train` and `data_dir/dev`.

    What is done is written at once: after each model, results.json, results.md and results.png in `out` hold all
    the rows so far; each model is saved in `out/models/<name>`.

    Args:
        data_dir: holds train/ and dev/, each with news.tsv and behaviors.tsv; where dev/click_logits.txt tells the
            truth, the oracles join the table.
        models: names or paths of hyperparameter files.
        out: the folder of results.
        overrides: hyperparameters that win over the files'.
        seed: of every model, and of the random row.
        skip_unavailable: leave out, with a warning, the models whose pretrained language model cannot be had.

    Raises:
        DataFormatError: a file is missing or damaged.
        HParamsError: a hyperparameter file or an override is wrong; raised before anything is trained.
        PresetError: a language model cannot be had, and such models are not to be left out.
    """
    hparams = {Path(name).stem: prepare_hparams(name, **(overrides or {})) for name in models}
    train, dev = Split.find(data_dir, "train"), Split.find(data_dir, "dev")
    comparison = Comparison(data=str(data_dir), seed=seed)
    comparison.results = reference_rows(train, dev, seed)
    comparison.write(out)
    for name, values in hparams.items():
        LOGGER.info("%s: training for %d epochs", name, values.epochs)
        try:
            comparison.results.append(run_model(name, values, train, dev, out, seed))
        except PresetError as error:
            if not skip_unavailable:
                raise
            LOGGER.warning("%s is left out: %s", name, error)
        comparison.write(out)
    return comparison


def compare_seeds(
    data_dir: str | Path,
    models: Sequence[str],
    out: str | Path,
    overrides: dict[str, Any] | None = None,
    seeds: Sequence[int] = (42, 43, 44),
    skip_unavailable: bool = False,
) -> Comparison:
    """Compares with several seeds; each has its own folder `out/seed-<seed>`, `out` itself the means and their spread.

    Args:
        data_dir: as in `compare`.
        models: as in `compare`.
        out: the folder of results.
        overrides: as in `compare`.
        seeds: at least two.
        skip_unavailable: as in `compare`.
    """
    runs = [compare(data_dir, models, Path(out) / f"seed-{seed}", overrides, seed, skip_unavailable) for seed in seeds]
    comparison = Comparison.over_seeds(runs)
    comparison.write(out)
    return comparison


def run_model(name: str, hparams: HParams, train: Split, dev: Split, out: str | Path, seed: int) -> ResultRow:
    """Trains, saves and evaluates one model; returns its row."""
    model = MODELS[hparams.model_type](hparams, seed=seed)
    began = time.perf_counter()
    model.fit(train.news, train.behaviors, verbose=2)
    trained = time.perf_counter()
    evaluation = model.evaluate(model.read(dev.news, dev.behaviors))
    evaluated = time.perf_counter()
    model.save(Path(out) / "models" / name)
    return ResultRow.from_evaluation(
        name,
        evaluation,
        train_seconds=trained - began,
        eval_seconds=evaluated - trained,
        samples_per_second=model.throughput.samples_per_second,
        parameters=model.network.count_params(),
    )


def reference_rows(train: Split, dev: Split, seed: int) -> list[ResultRow]:
    """Evaluates what needs no training: random and popularity, and where dev tells the truth, the two oracles."""
    train_news, dev_news = NewsTable.read(train.news), NewsTable.read(dev.news)
    train_log, dev_log = (
        ImpressionLog.read(train.behaviors, train_news),
        ImpressionLog.read(dev.behaviors, dev_news),
    )
    scores: dict[str, np.ndarray] = {
        "random": random_scores(dev_log, seed),
        "popularity": PopularityBaseline.fit(train_log, train_news).score(dev_log, dev_news),
    }
    truth = dev.behaviors.parent / TRUTH_FILE
    if truth.exists():
        scores["history-oracle"] = history_oracle_scores(dev_log, dev_news)
        scores["oracle"] = oracle_scores(truth, dev_log)
    return [
        ResultRow.from_evaluation(name, evaluate_scores(values, dev_log.labels, dev_log.offsets))
        for name, values in scores.items()
    ]
