"""Several models on one data set, trained and evaluated in turn, beside floors and ceilings that need no training."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from recommenders_miner.errors import PresetError
from recommenders_miner.evaluation.baselines import (
    PopularityBaseline,
    history_oracle_scores,
    oracle_scores,
    random_scores,
)
from recommenders_miner.evaluation.cold_news import cold_candidates, evaluate_cold
from recommenders_miner.evaluation.comparison import Comparison, ResultRow
from recommenders_miner.evaluation.metrics import Evaluation, evaluate_scores
from recommenders_miner.hparams import HParams, prepare_hparams
from recommenders_miner.io.impression_log import ImpressionLog
from recommenders_miner.io.news_table import NewsTable
from recommenders_miner.io.splits import Split
from recommenders_miner.models import MODELS, BaseModel

LOGGER = logging.getLogger("recommenders_miner")

TRUTH_FILE = "click_logits.txt"

TABLE_2 = (
    *("libfm", "deepfm", "dkn", "npa", "naml", "lstur", "nrms", "hierec", "lstur-plm", "nrms-plm", "unbert"),
    *("miner-max", "miner-mean", "miner"),
)
"""The hyperparameter files of the systems in Table 2 of the MINER paper, in its order."""


def compare(
    data_dir: str | Path,
    models: Sequence[str],
    out: str | Path,
    overrides: dict[str, Any] | None = None,
    seed: int = 42,
    skip_unavailable: bool = False,
    scale: str = "paper",
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
        scale: `paper` takes the hyperparameter files as they are; `fast` sizes that suit two cores and little data.

    Raises:
        DataFormatError: a file is missing or damaged.
        HParamsError: a hyperparameter file or an override is wrong; raised before anything is trained.
        PresetError: a language model cannot be had, and such models are not to be left out.
    """
    hparams = {Path(name).stem: prepare_hparams(name, **{"scale": scale, **(overrides or {})}) for name in models}
    train, dev = Split.find(data_dir, "train"), Split.find(data_dir, "dev")
    comparison = Comparison(data=str(data_dir), seed=seed)
    dev_data = DevLog.read(train, dev)
    comparison.results = reference_rows(train, dev_data, seed)
    comparison.write(out)
    for name, values in hparams.items():
        LOGGER.info("%s: training for %d epochs", name, values.epochs)
        try:
            comparison.results.append(run_model(name, values, train, dev_data, out, seed))
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
    scale: str = "paper",
) -> Comparison:
    """Compares with several seeds; each has its own folder `out/seed-<seed>`, `out` itself the means and their spread.

    Args:
        data_dir: as in `compare`.
        models: as in `compare`.
        out: the folder of results.
        overrides: as in `compare`.
        seeds: at least two.
        skip_unavailable: as in `compare`.
        scale: as in `compare`.
    """
    runs = [
        compare(data_dir, models, Path(out) / f"seed-{seed}", overrides, seed, skip_unavailable, scale)
        for seed in seeds
    ]
    comparison = Comparison.over_seeds(runs)
    comparison.write(out)
    return comparison


@dataclass(frozen=True)
class DevLog:
    """The log that models are compared on.

    Attributes:
        files: where it was read from.
        news: its news.
        log: its impressions.
        cold: (candidates,) bool, which of its candidates training never saw.
    """

    files: Split
    news: NewsTable
    log: ImpressionLog
    cold: np.ndarray

    @classmethod
    def read(cls, train: Split, dev: Split) -> Self:
        """Reads both splits, to know what is new in dev."""
        training_news, news = NewsTable.read(train.news), NewsTable.read(dev.news)
        log = ImpressionLog.read(dev.behaviors, news)
        training_log = ImpressionLog.read(train.behaviors, training_news)
        return cls(dev, news, log, cold_candidates(log, news, training_log, training_news))

    def evaluate(self, scores: np.ndarray) -> Evaluation:
        """Returns the metrics of (candidates,) scores, and the AUC among cold news where there is one."""
        found = evaluate_scores(scores, self.log.labels, self.log.offsets)
        cold = evaluate_cold(scores, self.log, self.cold)
        return found if cold is None else found.with_metrics_of(cold)


def compare_trained(model: BaseModel, name: str, data_dir: str | Path) -> Comparison:
    """Evaluates a model that is trained already, beside floors and ceilings that need no training.

    Args:
        model: the model, trained on `data_dir/train`.
        name: what its row is called.
        data_dir: as in `compare`; the model is evaluated on `data_dir/dev`.

    Raises:
        DataFormatError: a file is missing or damaged.
    """
    train, dev = Split.find(data_dir, "train"), Split.find(data_dir, "dev")
    dev_data = DevLog.read(train, dev)
    evaluation = dev_data.evaluate(model.score_log(model.read(dev.news, dev.behaviors)))
    row = ResultRow.from_evaluation(name, evaluation, parameters=model.network.count_params())
    return Comparison(str(data_dir), model.seed, [row, *reference_rows(train, dev_data, model.seed)])


def run_model(name: str, hparams: HParams, train: Split, dev: DevLog, out: str | Path, seed: int) -> ResultRow:
    """Trains, saves and evaluates one model; returns its row."""
    model = MODELS[hparams.model_type](hparams, seed=seed)
    began = time.perf_counter()
    model.fit(train.news, train.behaviors, verbose=2)
    trained = time.perf_counter()
    evaluation = dev.evaluate(model.score_log(model.read(dev.files.news, dev.files.behaviors)))
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


def reference_rows(train: Split, dev: DevLog, seed: int) -> list[ResultRow]:
    """Evaluates what needs no training: random and popularity, and where dev tells the truth, the two oracles."""
    training_news = NewsTable.read(train.news)
    popularity = PopularityBaseline.fit(ImpressionLog.read(train.behaviors, training_news), training_news)
    scores: dict[str, np.ndarray] = {
        "random": random_scores(dev.log, seed),
        "popularity": popularity.score(dev.log, dev.news),
    }
    truth = dev.files.behaviors.parent / TRUTH_FILE
    if truth.exists():
        scores["history-oracle"] = history_oracle_scores(dev.log, dev.news)
        scores["oracle"] = oracle_scores(truth, dev.log)
    return [ResultRow.from_evaluation(name, dev.evaluate(values)) for name, values in scores.items()]
