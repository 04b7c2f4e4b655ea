"""What a training run needs beside Keras' own `fit`: seeds, a checkpoint that resumes exactly, evaluation per epoch."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np

from recommenders_miner.data.iterator import Dataset
from recommenders_miner.errors import HParamsError, RecommendersMinerError
from recommenders_miner.hparams import HParams
from recommenders_miner.storage import atomic_write

LOGGER = logging.getLogger("recommenders_miner")


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Fix the initial weights and dropout masks of the layers that are made and built within.

    Keras gives each initialiser and each `SeedGenerator` that is not told a seed one of its own, drawn from Python's
    `random`; so no two are the same, and seeding that generator fixes all of them. Its state is put back afterwards.
    """
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """Make the layers that are made within compute in `float32`, or in `bfloat16` with weights in float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if name == "float32" else f"mixed_{name}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


class TrainingCheckpoint(keras.callbacks.Callback):
    """Keeps all that a run's end depends on, so that a killed run goes on as if nothing had happened.

    After each epoch one file, `checkpoint.npz`, replaces the one before: weights (but not the frozen ones of a language
    model), optimiser state, the states of the dropout generators, and the logs so far. Data order needs no state: a
    training step depends on its number alone. Where an epoch is evaluated it is written before that too, so that
    whatever goes wrong there does not cost the epoch: `is_evaluated` says which of the two was restored.
    (Keras' `BackupAndRestore` writes two files that a kill between them leaves at odds.)

    Args:
        folder: where the file lies; None keeps the logs alone, in memory.
        identity: what the run must have in common with the one that it resumes: hyperparameters, seed, data. JSON.
        writes: whether it is this process, of several that train together, that writes the file.
    """

    FILE = "checkpoint.npz"

    def __init__(self, folder: str | Path | None, identity: dict[str, Any], writes: bool = True) -> None:
        super().__init__()
        self.path = None if folder is None else Path(folder) / self.FILE
        self.writes = writes
        self.identity = json.loads(json.dumps(identity))
        self.epoch_logs: list[dict[str, float]] = []
        self.is_evaluated = True

    def restore(self, network: keras.Model) -> int:
        """Put a compiled network where the last checkpoint left it, and return the epoch to go on with.

        Raises:
            RecommendersMinerError: the checkpoint is of another run or cannot be read.
        """
        if not self.path.exists():
            return 0
        network.optimizer.build(network.trainable_variables)
        variables = self._variables(network)
        with _opened(self.path) as (record, stored):
            values = [stored[f"v{index}"] for index in range(len(stored.files) - 1)]
            if len(record["epoch_logs"]) != record["epochs_done"]:
                raise ValueError("its record does not go with its arrays")
            same_run = record["identity"] == self.identity
            if same_run and [tuple(variable.shape) for variable in variables] != [value.shape for value in values]:
                raise ValueError("its arrays have other shapes than the network's")
        if not same_run:
            differing = [key for key in self.identity if self.identity[key] != record["identity"].get(key)]
            raise RecommendersMinerError(
                f"{self.path} is the checkpoint of another run (different {', '.join(differing)}). "
                "Choose another output folder, or leave out resume."
            )
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        self.epoch_logs, self.is_evaluated = record["epoch_logs"], record["is_evaluated"]
        return record["epochs_done"]

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Called by Keras, after all else that is done at the end of an epoch."""
        self.write(epoch, logs or {}, is_evaluated=True)

    def write(self, epoch: int, logs: Mapping[str, float], is_evaluated: bool) -> None:
        """Keep what there is after an epoch, counted from 0, in the place of what was kept of it before."""
        self.epoch_logs[epoch:] = [{name: float(value) for name, value in logs.items()}]
        self.is_evaluated = is_evaluated
        if self.path is None or not self.writes:
            return
        record = {"identity": self.identity, "epochs_done": epoch + 1, "epoch_logs": self.epoch_logs}
        record["is_evaluated"] = is_evaluated
        arrays = {f"v{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(self._variables(self.model))}
        with atomic_write(self.path) as partial, open(partial, "wb") as file:
            np.savez(file, record=np.frombuffer(json.dumps(record).encode(), "uint8"), **arrays)

    @staticmethod
    def _variables(network: keras.Model) -> list[Any]:
        seeds = [variable for variable in network.variables if variable.name == "seed_generator_state"]
        return [*_own_weights(network), *seeds, *network.optimizer.variables]


def epochs_kept(path: Path) -> float:
    """Return how many epochs a checkpoint is of, one that was not evaluated yet counting half; 0 where there is none.

    Raises:
        RecommendersMinerError: it cannot be read.
    """
    if not path.exists():
        return 0
    with _opened(path) as (record, _):
        return record["epochs_done"] - (0 if record["is_evaluated"] else 0.5)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[dict[str, Any], Any]]:
    """Lend what a checkpoint records, and its arrays by name; say that it cannot be read where using them fails."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            yield {"is_evaluated": True} | json.loads(bytes(stored["record"]).decode()), stored
    except Exception as error:  # numpy and zipfile let through whatever damaged files lead them into
        problem = f"not a readable checkpoint ({error}). Delete it to start over."
        raise RecommendersMinerError(f"{path}: {problem}") from None


def _own_weights(network: keras.Model) -> list[Any]:
    """Return a network's weights, but not the frozen ones of a language model."""
    pretrained = {id(weight) for weight in network.pretrained_weights}
    return [weight for weight in network.weights if weight.trainable or id(weight) not in pretrained]


Pair = tuple[str | Path, str | Path]
"""A news file and the behaviors file that goes with it."""


def paired(files: Mapping[str, tuple[str | Path | None, str | Path | None]]) -> dict[str, Pair]:
    """Leave out, of news and behaviors by name, the pairs of None; one without the other is a `ValueError`."""
    for name, pair in files.items():
        if pair.count(None) == 1:
            raise ValueError(f"{name}: a news file and a behaviors file go together; received {pair}.")
    return {name: pair for name, pair in files.items() if None not in pair}


def evaluable(files: Mapping[str, Pair], read: Callable[[str | Path, str | Path], Dataset]) -> dict[str, Pair]:
    """Read all pairs, so that what is wrong with one is known before the training, and keep what has to be clicked in.

    A log without labels, or without an impression of both kinds, is left out with a warning.
    """
    problems = {name: read(*pair).log.lacking_to("evaluate on") for name, pair in files.items()}
    for name, problem in problems.items():
        if problem:
            LOGGER.warning("%s: %s Training goes on without it.", files[name][1], problem)
    return {name: pair for name, pair in files.items() if not problems[name]}


def epoch_evaluation(
    evaluate: Callable[[str | Path, str | Path], dict[str, float]],
    files: Mapping[str, Pair],
    held_out: Callable[[], dict[str, float]] | None,
    checkpoint: TrainingCheckpoint,
) -> keras.callbacks.Callback:
    """Return what evaluates after each epoch, and puts the results where early stopping and TensorBoard find them.

    `files` are news and behaviors by prefix (`val`, `test`). `held_out` evaluates on what is held out of the training
    impressions. The checkpoint is written first, where there is anything to evaluate.
    """
    evaluations = {prefix: functools.partial(evaluate, *pair) for prefix, pair in files.items()}
    if held_out is not None:
        evaluations["held_out"] = held_out

    def on_epoch_end(epoch: int, logs: dict[str, float]) -> None:
        if evaluations:
            checkpoint.write(epoch, logs, is_evaluated=False)
        for prefix, measure in evaluations.items():
            results = measure()
            logs.update({f"{prefix}_{name}": value for name, value in results.items()})
            line = "  ".join(f"{name} {value:.4f}" for name, value in results.items())
            LOGGER.info("epoch %d, %s: %s", epoch + 1, prefix, line)

    return keras.callbacks.LambdaCallback(on_epoch_end=on_epoch_end)


class Selection(keras.callbacks.Callback):
    """Keeps the weights of the best epoch, and ends a training that gets no better.

    Args:
        measure: what epochs are compared by, the higher the better; None takes the last epoch.
        patience: epochs without a better one after which the training ends; None trains all epochs.
        folder: where the best weights lie beside the checkpoint, as `best.npz`; None keeps them in memory.
        keep: whether the best epoch is taken, and not the last.
    """

    def __init__(
        self, measure: str | None, patience: int | None, folder: str | Path | None = None, keep: bool = False
    ) -> None:
        super().__init__()
        self.measure, self.patience, self.keep = measure, patience, keep
        self.path = None if folder is None else Path(folder) / "best.npz"
        self.values: list[float] = []
        self._weights: list[np.ndarray] | None = None

    @classmethod
    def of(cls, hparams: HParams, prefix: str | None, folder: str | Path | None) -> Self:
        """Make what `select` and `patience` say; `prefix` is that of the evaluation after each epoch.

        Raises:
            HParamsError: the best epoch is asked for, and nothing is evaluated.
        """
        if hparams.select == "last" and hparams.patience is None:
            return cls(None, None)
        if prefix is None:
            raise HParamsError("select, patience: need held_out, or files to evaluate on, to compare epochs by.")
        measure = f"{prefix}_{hparams.metrics[0].partition(';')[0]}"
        return cls(measure, hparams.patience, folder, keep=hparams.select == "best")

    def restore(self, epoch_logs: Sequence[Mapping[str, float]]) -> None:
        """Go on from the epochs that are done, and evaluated."""
        self.values = [] if self.measure is None else [logs[self.measure] for logs in epoch_logs]

    @property
    def best_epoch(self) -> int | None:
        """The epoch that is taken, from 0; None before there is one, and where it is the last."""
        return int(np.argmax(self.values)) if self.values else None

    @property
    def has_ended(self) -> bool:
        """Whether the training has ended by itself."""
        return bool(self.values and self.patience and len(self.values) - 1 - self.best_epoch >= self.patience)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Called by Keras."""
        if self.measure is None:
            return
        self.values.append(logs[self.measure])
        if self.keep and self.best_epoch == epoch:
            weights = [keras.ops.convert_to_numpy(weight) for weight in _own_weights(self.model)]
            if self.path is None:
                self._weights = weights
            else:
                with atomic_write(self.path) as partial, open(partial, "wb") as file:
                    np.savez(file, *weights)
        self.model.stop_training = self.model.stop_training or self.has_ended

    def take(self, network: keras.Model) -> None:
        """Put a network where the best epoch left it."""
        if self.keep and self.path is not None:
            with np.load(self.path, allow_pickle=False) as stored:
                self._weights = [stored[name] for name in stored.files]
        if self._weights is not None:
            for weight, value in zip(_own_weights(network), self._weights, strict=True):
                weight.assign(value)


class Throughput(keras.callbacks.Callback):
    """Measures samples per second, without the first few steps, which compile."""

    WARM_UP = 5

    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.step_seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Called by Keras."""
        self._last = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Called by Keras."""
        now = time.perf_counter()
        self.step_seconds.append(now - self._last)
        self._last = now

    @property
    def samples_per_second(self) -> float | None:
        """Samples per second; None for a run shorter than the warm-up."""
        timed = self.step_seconds[self.WARM_UP :]
        return len(timed) * self.batch_size / sum(timed) if timed else None


class TrainingBar(keras.callbacks.Callback):
    """Tells a progress bar the share of the steps that are done, the epoch and the loss."""

    def __init__(self, report: Callable[[float, str], None]) -> None:
        super().__init__()
        self.report = report

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Called by Keras."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Called by Keras."""
        epochs, steps = self.params["epochs"], self.params["steps"]
        share = (self._epoch + (batch + 1) / steps) / epochs
        self.report(share, f"epoch {self._epoch + 1} of {epochs}, loss {(logs or {}).get('loss', np.nan):.3f}")
