"""Trained models of one data set, kept with what they scored, so that no finished run is made again."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from recommenders_miner import __version__
from recommenders_miner.data.folders import Split
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.errors import DataFormatError
from recommenders_miner.evaluation.beyond_accuracy import BeyondAccuracy
from recommenders_miner.evaluation.cold_news import cold_candidates, evaluate_cold
from recommenders_miner.evaluation.metrics import Evaluation, evaluate_scores
from recommenders_miner.experiments.comparison import ResultRow
from recommenders_miner.hparams import HParams
from recommenders_miner.models import MODELS, BaseModel, load_model
from recommenders_miner.models.training import TrainingBar
from recommenders_miner.progress import console, progress_bar
from recommenders_miner.storage import new_folder

LOGGER = logging.getLogger("recommenders_miner")


@dataclass(frozen=True)
class DevLog:
    """The log that models are compared on.

    Attributes:
        files: where it was read from.
        news: its news.
        log: its impressions.
        cold: (candidates,) bool, which of its candidates training never saw.
        beyond: what lists are like beside their accuracy.
    """

    files: Split
    news: NewsTable
    log: ImpressionLog
    cold: np.ndarray
    beyond: BeyondAccuracy

    @classmethod
    def read(cls, train: Split, dev: Split) -> Self:
        """Reads both splits, to know what is new in dev."""
        training_news, news = NewsTable.read(train.news), NewsTable.read(dev.news)
        log = ImpressionLog.read(dev.behaviors, news)
        training_log = ImpressionLog.read(train.behaviors, training_news)
        logs = (log, news, training_log, training_news)
        return cls(dev, news, log, cold_candidates(*logs), BeyondAccuracy.fit(*logs))

    def evaluate(self, scores: np.ndarray) -> Evaluation:
        """Returns what (candidates,) scores reach: accuracy, among cold news too, and beyond accuracy."""
        found = evaluate_scores(scores, self.log.labels, self.log.candidates.offsets)
        found = found.with_metrics_of(self.beyond.evaluate(scores))
        cold = evaluate_cold(scores, self.log, self.cold)
        return found if cold is None else found.with_metrics_of(cold)


@dataclass(frozen=True)
class Run:
    """A model that was trained and evaluated.

    Attributes:
        folder: holds the model, its scores and what it cost.
        scores: (candidates,) float32, of the dev log.
        row: its row in a table.
    """

    folder: Path
    scores: np.ndarray
    row: ResultRow

    def load(self) -> BaseModel:
        """Returns the trained model."""
        return load_model(self.folder / Runs.MODEL)


class Runs:
    """The runs on one data set, in the folders `<out>/<name>/seed-<seed>`.

    A run that is there already, with the same hyperparameters, seed, data and version of the package, is not made
    again; one that was stopped goes on from its last epoch.

    Args:
        data_dir: holds train/ and dev/, each with news.tsv and behaviors.tsv.
        out: the folder of all runs.

    Raises:
        DataFormatError: a file is missing.
    """

    MODEL, SCORES, DESCRIPTION = "model", "scores.npy", "run.json"

    def __init__(self, data_dir: str | Path, out: str | Path) -> None:
        self.train, self.dev_files = Split.find(data_dir, "train"), Split.find(data_dir, "dev")
        self.out = Path(out)

    @property
    def dev_paths(self) -> tuple[Path, Path]:
        """news.tsv and behaviors.tsv of the dev split."""
        return self.dev_files.news, self.dev_files.behaviors

    @cached_property
    def dev(self) -> DevLog:
        """The log that the models are evaluated on."""
        return DevLog.read(self.train, self.dev_files)

    def make(self, name: str, hparams: HParams, seed: int) -> Run:
        """Trains, evaluates and saves a model, or finds it done.

        Raises:
            PresetError: its language model cannot be had.
        """
        folder = self.out / name / f"seed-{seed}"
        identity = self._identity(hparams, seed)
        if _read_description(folder).get("identity") != identity:
            self._train(name, hparams, seed, identity, folder)
        shutil.rmtree(_unfinished(folder, identity), ignore_errors=True)
        scores = _read_scores(folder)
        costs = _read_description(folder)["costs"]
        return Run(folder, scores, ResultRow.from_evaluation(name, self.dev.evaluate(scores), **costs))

    def _train(self, name: str, hparams: HParams, seed: int, identity: dict[str, Any], folder: Path) -> None:
        unfinished = _unfinished(folder, identity)
        resumed = unfinished.exists()
        LOGGER.info("%s, seed %d: %s", name, seed, "going on with its training" if resumed else "training")
        model = MODELS[hparams.model_type](hparams, seed=seed)
        began = time.perf_counter()
        with progress_bar(f"{name}, seed {seed}: training") as report:
            model.fit(
                self.train.news,
                self.train.behaviors,
                run_dir=unfinished,
                resume=True,
                callbacks=[TrainingBar(report)],
                verbose=0 if console.is_terminal else 2,
            )
        trained = time.perf_counter()
        with progress_bar(f"{name}, seed {seed}: evaluation") as report:
            dataset = model.read(*self.dev_paths)
            scores = model.score_log(dataset, progress=report)
        costs = {
            "train_seconds": None if resumed else trained - began,
            "eval_seconds": time.perf_counter() - trained,
            "samples_per_second": model.throughput.samples_per_second,
            "parameters": model.network.count_params(),
        }
        with new_folder(folder, overwrite=True) as partial:
            model.save(partial / self.MODEL)
            np.save(partial / self.SCORES, scores, allow_pickle=False)
            description = {"identity": identity, "costs": costs, "history": model.history}
            (partial / self.DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")

    def _identity(self, hparams: HParams, seed: int) -> dict[str, Any]:
        return {"version": __version__, "data": self._digest, "seed": seed, "hparams": hparams.to_dict()}

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for split in (self.train, self.dev_files):
            for path in (split.news, split.behaviors):
                with open(path, "rb") as file:
                    digest.update(hashlib.file_digest(file, hashlib.blake2b).digest())
        return digest.hexdigest()


def _unfinished(folder: Path, identity: dict[str, Any]) -> Path:
    """Where a run is until it is finished; the name tells settings apart, so that no run goes on with another's."""
    digest = hashlib.blake2b(json.dumps(identity).encode(), digest_size=8).hexdigest()
    return folder.with_name(f".{folder.name}-{digest}")


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / Runs.DESCRIPTION
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
    except (ValueError, TypeError, RecursionError) as error:
        raise _unreadable(path, error) from None


def _read_scores(folder: Path) -> np.ndarray:
    path = folder / Runs.SCORES
    try:
        return np.load(path, allow_pickle=False)
    except Exception as error:  # numpy lets through whatever parsing a damaged header leads it into
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> DataFormatError:
    return DataFormatError(path, f"is not readable ({error}).", remedy=f"Delete {path.parent} to make the run anew.")
