"""The one runner: models trained and evaluated on a data set, each kept, so that no finished run is made again."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from recommenders_miner import __version__
from recommenders_miner.data.folders import Split
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.errors import DataFormatError, PresetError
from recommenders_miner.evaluation.beyond_accuracy import BeyondAccuracy
from recommenders_miner.evaluation.metrics import Evaluation, cold_candidates, evaluate_cold, evaluate_scores
from recommenders_miner.experiments.results import ResultRow
from recommenders_miner.hparams import HParams
from recommenders_miner.models import MODELS, BaseModel, load_model
from recommenders_miner.models.training import TrainingBar
from recommenders_miner.progress import console, progress_bar
from recommenders_miner.storage import new_folder

LOGGER = logging.getLogger("recommenders_miner")

MODEL, SCORES, DESCRIPTION = "model", "scores.npy", "run.json"


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
        """Read both splits, to know what is new in dev."""
        training_news, news = NewsTable.read(train.news), NewsTable.read(dev.news)
        log = ImpressionLog.read(dev.behaviors, news)
        logs = (log, news, ImpressionLog.read(train.behaviors, training_news), training_news)
        return cls(dev, news, log, cold_candidates(*logs), BeyondAccuracy.fit(*logs))

    def evaluate(self, scores: np.ndarray) -> Evaluation:
        """Return what (candidates,) scores reach: accuracy, among cold news too, and beyond accuracy."""
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
        """Return the trained model."""
        return load_model(self.folder / MODEL)


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

    def __init__(self, data_dir: str | Path, out: str | Path) -> None:
        self.train, self.dev_files = Split.find(data_dir, "train"), Split.find(data_dir, "dev")
        self.dev_paths = self.dev_files.news, self.dev_files.behaviors
        self.out = Path(out)

    @cached_property
    def dev(self) -> DevLog:
        """The log that the models are evaluated on."""
        return DevLog.read(self.train, self.dev_files)

    def each(
        self, variants: Mapping[str, HParams], seeds: Sequence[int], skip_unavailable: bool = False
    ) -> Iterator[tuple[str, list[Run]]]:
        """Make, or find done, the runs of some variants, one after another.

        Args:
            variants: hyperparameters, by the name of their runs.
            seeds: of every variant.
            skip_unavailable: leave out, with a warning, those whose pretrained language model cannot be had.

        Yields:
            A variant's name with a run a seed, as soon as they are there.

        Raises:
            PresetError: a language model cannot be had, and such variants are not to be left out.
        """
        with progress_bar("models") as report:
            for place, (name, hparams) in enumerate(variants.items()):
                report(place / len(variants), name)
                try:
                    runs = [self.make(name, hparams, seed) for seed in seeds]
                except PresetError as error:
                    if not skip_unavailable:
                        raise
                    LOGGER.warning("%s is left out: %s", name, error)
                else:
                    yield name, runs

    def make(self, name: str, hparams: HParams, seed: int) -> Run:
        """Train, evaluate and save a model, or find it done.

        Raises:
            PresetError: its language model cannot be had.
        """
        folder = self.out / name / f"seed-{seed}"
        identity = {"version": __version__, "data": self._digest, "seed": seed, "hparams": hparams.to_dict()}
        # The name of the folder of a run that is not finished tells settings apart: none goes on with another's.
        digest = hashlib.blake2b(json.dumps(identity).encode(), digest_size=8).hexdigest()
        unfinished = folder.with_name(f".{folder.name}-{digest}")
        kept = folder / DESCRIPTION
        if not kept.exists() or _read(kept, _read_json).get("identity") != identity:
            self._train(name, hparams, identity, unfinished, folder)
        shutil.rmtree(unfinished, ignore_errors=True)
        scores, costs = _read(folder / SCORES, np.load), _read(kept, _read_json)["costs"]
        return Run(folder, scores, ResultRow.from_evaluation(name, self.dev.evaluate(scores), **costs))

    def _train(self, name: str, hparams: HParams, identity: dict[str, Any], unfinished: Path, folder: Path) -> None:
        seed, resumed = identity["seed"], unfinished.exists()
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
            scores = model.score_log(model.read(*self.dev_paths), progress=report)
        costs = {
            "train_seconds": None if resumed else trained - began,
            "eval_seconds": time.perf_counter() - trained,
            "samples_per_second": model.throughput.samples_per_second,
            "parameters": model.network.count_params(),
        }
        with new_folder(folder, overwrite=True) as partial:
            model.save(partial / MODEL)
            np.save(partial / SCORES, scores, allow_pickle=False)
            description = {"identity": identity, "costs": costs, "history": model.history}
            (partial / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for path in (self.train.news, self.train.behaviors, *self.dev_paths):
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, hashlib.blake2b).digest())
        return digest.hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _read(path: Path, parse: Callable[[Path], Any]) -> Any:
    try:
        return parse(path)
    except Exception as error:  # numpy lets through whatever parsing a damaged header leads it into
        remedy = f"Delete {path.parent} to make the run anew."
        raise DataFormatError(path, f"is not readable ({error}).", remedy=remedy) from None
