"""The one runner: models trained and evaluated on a data set, each kept, so that no finished run is made again."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import yaml

from recommenders_miner import __version__
from recommenders_miner.data.folders import ARTICLES_FILE, Split
from recommenders_miner.data.tsv import OnError, content_digest
from recommenders_miner.errors import DataFormatError, HParamsError, RecommendersMinerError
from recommenders_miner.evaluation.baselines import FLOORS
from recommenders_miner.evaluation.metrics import DEFAULT_METRICS, Evaluation
from recommenders_miner.experiments.dev_log import DevLog
from recommenders_miner.experiments.plan import Plan, lacking, too_large, untrainable, without_entity_vectors
from recommenders_miner.hparams import HParams, prepare_hparams
from recommenders_miner.models import MODELS, BaseModel, load_model
from recommenders_miner.models.reranker import BoostedReranker
from recommenders_miner.models.training import TrainingBar
from recommenders_miner.progress import console, progress_bar
from recommenders_miner.storage import new_folder

LOGGER = logging.getLogger("recommenders_miner")

PUBLISHED: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "published.yaml").read_text(encoding="utf-8"))
"""What the paper reports, by table or figure."""

TABLE_2: tuple[str, ...] = tuple(PUBLISHED["table2"]["small"])
"""The hyperparameter files of the models in Table 2 of the MINER paper, in its order."""

REFERENCE_MODELS = (*FLOORS, "history-oracle", "oracle")
"""The names of rows that are not trained models, but floors and ceilings to read those against."""

RERANKED = ", reranked"
"""What stands behind a model's name where a `BoostedReranker` is put over it."""

COSTS = ("train_seconds", "eval_seconds", "samples_per_second", "parameters")

MODEL, SCORES, DESCRIPTION = "model", "scores.npy", "run.json"


@dataclass(frozen=True)
class Variant:
    """A model as an experiment wants it, under the name of its runs and of its row in tables."""

    name: str
    hparams_file: str | None = None
    """That it starts from; the one of its name where left out."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Hyperparameters that are other than there."""

    def hparams(self, scale: str, overrides: Mapping[str, Any]) -> HParams:
        """Prepare the hyperparameters; overrides win over all others, `nrms.epochs`, for one model, over `epochs`.

        Raises:
            HParamsError: no model has an override, or this one's is out of range.
        """
        file = self.hparams_file or self.name
        of_all = {key: value for key, value in overrides.items() if "." not in key}
        of_one = {
            key.removeprefix(f"{name}."): value
            for name in (Path(file).stem, self.name)
            for key, value in overrides.items()
            if key.startswith(f"{name}.")
        }
        hparams = prepare_hparams(file, **{"scale": scale, **self.changes, **of_all, **of_one})
        for key in of_one:
            if key not in type(hparams).model_fields:
                raise HParamsError(f"{self.name}.{key}: {self.name} has no hyperparameter {key!r}.")
        return hparams


def require_known_models(overrides: Mapping[str, Any], names: Iterable[str]) -> None:
    """Refuse an override for one model, `nrms.epochs`, whose model is none of some names: `HParamsError`."""
    names = sorted({Path(name).stem for name in names})
    for key in overrides:
        model, dot, _ = key.partition(".")
        if dot and model not in names:
            raise HParamsError(f"{key}: there is no model {model!r} here; there are {', '.join(names)}.")


@dataclass(frozen=True)
class ResultRow:
    """What one model reached, and what it cost.

    `metrics` (see docs/metrics.md) are means over impressions, beside their standard errors and, where the row is a
    mean over seeds, standard deviations over these. `costs` are those of `COSTS` that are known; a training sample is a
    positive with its negatives.
    """

    model: str
    metrics: dict[str, float]
    standard_errors: dict[str, float] = field(default_factory=dict)
    standard_deviations: dict[str, float] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    selected: str = ""
    """Which of its epochs was taken, and on what that was decided."""
    note: str = ""
    """What it had to do without, or what else its figures depend on."""
    failed: str = ""
    """Why there is no model, and nothing else is known."""

    @classmethod
    def from_evaluation(cls, model: str, evaluation: Evaluation, **costs: float | None) -> ResultRow:
        """Take the metrics of an evaluation, and their standard errors where these are defined."""
        errors = {name: error for name, error in evaluation.standard_errors.items() if math.isfinite(error)}
        known = {name: cost for name, cost in costs.items() if cost is not None}
        return cls(model, evaluation.metrics, errors, costs=known)

    @classmethod
    def mean(cls, rows: Sequence[ResultRow]) -> ResultRow:
        """Average a model's rows over seeds; the spread goes into `standard_deviations`. A single row stays."""
        if len(rows) == 1:
            return rows[0]
        costs = {name: [row.costs[name] for row in rows if name in row.costs] for name in COSTS}
        return replace(
            rows[0],
            metrics={name: fmean(row.metrics[name] for row in rows) for name in rows[0].metrics},
            standard_errors={
                name: fmean(row.standard_errors[name] for row in rows) for name in rows[0].standard_errors
            },
            standard_deviations={name: stdev(row.metrics[name] for row in rows) for name in rows[0].metrics},
            costs={name: fmean(known) for name, known in costs.items() if known},
        )

    @property
    def is_reference(self) -> bool:
        """Whether the row is a floor or a ceiling, and not a trained model."""
        return self.model in REFERENCE_MODELS

    @property
    def figures(self) -> dict[str, float]:
        """The metrics and the costs that are known, by name."""
        return {**self.metrics, **self.costs}

    def to_json(self) -> dict[str, Any]:
        """Give the row as it stands in results.json: metrics under their own names, None where missing."""
        return {
            "model": self.model,
            **dict.fromkeys(DEFAULT_METRICS),
            **self.metrics,
            **{name: self.costs.get(name) for name in COSTS},
            "standard_errors": self.standard_errors,
            **({"standard_deviations": self.standard_deviations} if self.standard_deviations else {}),
            **{name: text for name in ("selected", "note", "failed") if (text := getattr(self, name))},
        }


@dataclass(frozen=True)
class Run:
    """A model that was trained and evaluated: its folder, its scores (candidates,) of the dev log, its row.

    `history` holds the losses and metrics of each epoch.
    """

    folder: Path
    scores: np.ndarray
    row: ResultRow
    history: Sequence[Mapping[str, float]] = ()

    def load(self) -> BaseModel:
        """Return the trained model."""
        return load_model(self.folder / MODEL)


class Runs:
    """The runs on one data set, a folder with train/ and dev/, each kept in `<out>/<name>/seed-<seed>`.

    A run that is there already, with the same hyperparameters, seed, data and version of the package, is not made
    again; one that was stopped goes on from its last epoch.

    Faulty lines of the data stop it, or with `on_error="skip"` are left out. `normative` adds the metrics of
    `Normative`.

    Raises:
        DataFormatError: a file is missing.
    """

    def __init__(
        self, data_dir: str | Path, out: str | Path, on_error: OnError = "raise", normative: bool = False
    ) -> None:
        self.on_error, self.normative = on_error, normative
        self.train, self.dev_files = Split.find(data_dir, "train"), Split.find(data_dir, "dev")
        self.dev_paths = self.dev_files.news, self.dev_files.behaviors
        self.out = Path(out)

    @cached_property
    def dev(self) -> DevLog:
        """The log that the models are evaluated on."""
        return DevLog.read(self.train, self.dev_files, self.on_error, self.normative)

    def each(
        self, planned: Mapping[str, Plan], seeds: Sequence[int], each_epoch: bool = False
    ) -> Iterator[tuple[str, list[Run] | str]]:
        """Yield what was planned by name, as soon as it is there: a run a seed, or why there are none.

        Whatever one model fails from, the others go on. `each_epoch` evaluates on dev after each epoch.
        """
        with progress_bar("models") as report:
            for place, (name, plan) in enumerate(planned.items()):
                report(place / len(planned), name)
                if plan.lacks:
                    yield name, plan.lacks
                    continue
                try:
                    yield name, [self.make(name, plan.hparams, seed, plan.note, each_epoch) for seed in seeds]
                except Exception as error:  # a model of the user's own may raise anything
                    yield name, _why(name, error)

    def plan(self, variants: Mapping[str, HParams], seeds: Sequence[int], each_epoch: bool = False) -> dict[str, Plan]:
        """Look at every model before any is trained: what will run, what not and why."""
        planned = {}
        for name, wanted in variants.items():
            hparams, note = without_entity_vectors(wanted, self.train.news.parent)
            is_done, lacks = False, ""
            try:
                is_done = all(self._is_done(name, hparams, seed, each_epoch) for seed in seeds)
                if not is_done:
                    lacks = lacking(hparams, self.train.news.parent)
                    lacks = lacks or untrainable(hparams, self.dev.training_log)
                    lacks = lacks or too_large(hparams, self.dev.training_news, self.dev.training_log)
            except Exception as error:  # as of a damaged file of a run, which concerns this model alone
                lacks = _why(name, error)
            planned[name] = Plan(hparams, is_done, note, lacks)
        return planned

    def make(self, name: str, hparams: HParams, seed: int, note: str = "", each_epoch: bool = False) -> Run:
        """Train, evaluate and save a model, or find it done."""
        folder = self.out / name / f"seed-{seed}"
        identity = self._identity(hparams, seed, each_epoch)
        # The name of the folder of a run that is not finished tells settings apart: none goes on with another's.
        digest = hashlib.blake2b(json.dumps(identity).encode(), digest_size=8).hexdigest()
        unfinished = folder.with_name(f".{folder.name}-{digest}")
        if not self._is_done(name, hparams, seed, each_epoch):
            self._train(name, hparams, identity, unfinished, folder)
        shutil.rmtree(unfinished, ignore_errors=True)
        scores, described = _read(folder / SCORES), _read(folder / DESCRIPTION)
        row = ResultRow.from_evaluation(name, self.dev.evaluate(scores), **described["costs"])
        return Run(folder, scores, replace(row, note=note, selected=selected_by(hparams)), described["history"])

    def rerank(self, name: str, made: Sequence[Run]) -> list[Run] | str:
        """Put a `BoostedReranker` over each of some runs, kept beside its model, or say why that cannot be."""
        reranked = []
        try:
            for run in made:
                with progress_bar(f"{name}: fitting") as report:
                    data_dir = self.train.news.parents[1]
                    reranker = BoostedReranker.beside(run.folder / MODEL, data_dir, report, self.on_error)
                scores = reranker.score(reranker.model.read(*self.dev_paths, self.on_error), run.scores)
                row = ResultRow.from_evaluation(name, self.dev.evaluate(scores))
                row = replace(row, note=run.row.note, selected=run.row.selected)
                reranked.append(replace(run, scores=scores, row=row))
        except Exception as error:  # concerns this row alone
            return _why(name, error)
        return reranked

    def _identity(self, hparams: HParams, seed: int, each_epoch: bool) -> dict[str, Any]:
        identity = {"version": __version__, "data": self._digest, "seed": seed, "hparams": hparams.to_dict()}
        return identity | ({"each_epoch": True} if each_epoch else {})

    def _is_done(self, name: str, hparams: HParams, seed: int, each_epoch: bool = False) -> bool:
        kept = self.out / name / f"seed-{seed}" / DESCRIPTION
        return kept.exists() and _read(kept).get("identity") == self._identity(hparams, seed, each_epoch)

    def _train(self, name: str, hparams: HParams, identity: dict[str, Any], unfinished: Path, folder: Path) -> None:
        seed, resumed = identity["seed"], unfinished.exists()
        LOGGER.info("%s, seed %d: %s", name, seed, "going on with its training" if resumed else "training")
        model = MODELS[hparams.model_type](hparams, seed=seed)
        began = time.perf_counter()
        with progress_bar(f"{name}, seed {seed}: training") as report:
            model.fit(
                self.train.news,
                self.train.behaviors,
                *(self.dev_paths if "each_epoch" in identity else ()),
                run_dir=unfinished,
                resume=True,
                on_error=self.on_error,
                callbacks=[TrainingBar(report)],
                verbose=0 if console.is_terminal else 2,
            )
        trained = time.perf_counter()
        with progress_bar(f"{name}, seed {seed}: evaluation") as report:
            scores = model.score_log(model.read(*self.dev_paths, self.on_error), progress=report)
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
        articles = [news.with_name(ARTICLES_FILE) for news in (self.train.news, self.dev_paths[0])]
        for path in (self.train.news, self.train.behaviors, *self.dev_paths, *filter(Path.exists, articles)):
            digest.update(bytes.fromhex(content_digest(path)))
        return digest.hexdigest()


def _why(name: str, error: Exception) -> str:
    """Log what a model failed from, where it came from too if nobody expected it, and return it in a line."""
    expected = isinstance(error, RecommendersMinerError)
    why = " ".join((str(error) if expected else f"{type(error).__name__}: {error}").split())
    LOGGER.error("%s failed: %s", name, why, exc_info=None if expected else error)
    return why


def _read(path: Path) -> Any:
    try:
        return np.load(path) if path.suffix == ".npy" else json.loads(path.read_text(encoding="utf-8"))
    except Exception as error:  # numpy lets through whatever parsing a damaged header leads it into
        remedy = f"Delete {path.parent} to make the run anew."
        raise DataFormatError(path, f"is not readable ({error}).", remedy=remedy) from None


# === What is said of runs ===


def selected_by(hparams: HParams) -> str:
    """Say which epoch of a training is taken, and on what that is decided."""
    if hparams.select == "last":
        return "the last epoch"
    share = f"{100 * hparams.held_out_share:g} % of the training users"
    seen = {"users": f"held-out data ({share})", "last_day": "held-out data (the last training day)"}
    return f"the best epoch by {hparams.metrics[0]} on {seen[hparams.held_out]}"
