"""One process of a training: `main`, with the file of a task as its argument, or `train` as a task of Ray.

Which of how many it is, and where the first one listens, stands in the environment, as Keras reads it.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recommenders_miner.backend import end_with_parent, import_backend_quietly
from recommenders_miner.errors import RecommendersMinerError

LOGGER = logging.getLogger("recommenders_miner")

USERS_ERROR = 3
"""The exit status of a worker that met an error which another try would meet again; what it says is in a file."""


def environment(worker: int, workers: int, coordinator: str) -> dict[str, str]:
    """Return what stands in the environment of one worker; `coordinator` is host:port, on the first one's machine."""
    return {
        "KERAS_BACKEND": "jax",
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": coordinator,
        "KERAS_DISTRIBUTION_NUM_PROCESSES": str(workers),
        "KERAS_DISTRIBUTION_PROCESS_ID": str(worker),
        "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
        "JAX_ENABLE_PREEMPTION_SERVICE": "false",  # it would swallow SIGTERM
    }


def join() -> int:
    """Make this process one of those that train together; return which.

    Raises:
        RecommendersMinerError: they did not find each other, and each would train by itself.
    """
    import jax
    import keras

    expected = int(os.environ["KERAS_DISTRIBUTION_NUM_PROCESSES"])
    keras.distribution.initialize()
    if jax.process_count() != expected:
        raise RecommendersMinerError(f"{jax.process_count()} of {expected} processes found each other.")
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    return jax.process_index()


def describe(model: Any, files: Sequence[str | Path | None], options: dict[str, Any]) -> dict[str, Any]:
    """Return a training as JSON: what `train` makes a model of, and calls its `fit` with."""
    cls = type(model)
    if "<locals>" in cls.__qualname__ or cls.__module__ == "__main__":
        raise RecommendersMinerError(f"{cls.__name__}: workers import a model's class; put it into a module.")
    described = {"class": [cls.__module__, cls.__qualname__], "hparams": dict(model.hparams), "seed": model.seed}
    return described | {"files": [file and str(file) for file in files], "options": options, "folder": os.getcwd()}


def train(task: dict[str, Any]) -> None:
    """Train a model that `describe` described, with the other processes; the first writes it into its run's folder."""
    from recommenders_miner.hparams import hparams_class
    from recommenders_miner.models.parallel import Devices

    os.chdir(task["folder"])
    is_first = join() == 0
    module, name = task["class"]
    cls = getattr(importlib.import_module(module), name)
    options = task["options"]
    if task["start"]:
        model = cls.load(task["start"])
        model.seed = task["seed"]
    else:
        of = hparams_class(task["hparams"]["model_type"], task["hparams"]["news_encoder"])
        model = cls(of(**task["hparams"]), seed=task["seed"])
    model.fit(*task["files"], **{**options, "verbose": options["verbose"] if is_first else 0})
    if is_first:
        if model.throughput.samples_per_second:
            LOGGER.info("%.0f samples a second", model.throughput.samples_per_second)
        with Devices().apart():
            model.save(Path(options["run_dir"]) / "model")


class Worker:
    """One process of a training on Ray; the module is imported there, so that nothing heavy is before it is told."""

    def __init__(self, worker: int, workers: int) -> None:
        self.worker, self.workers = worker, workers

    def address(self) -> str:
        """Return where the first one can listen."""
        import ray

        return f"{ray.util.get_node_ip_address()}:{free_port()}"

    def train(self, task: dict[str, Any], coordinator: str) -> None:
        """Train with the others."""
        os.environ.update(environment(self.worker, self.workers, coordinator))
        train(task)


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        return listener.getsockname()[1]


def main() -> None:
    """Run a task whose JSON is in a file; end with the process that started this one."""
    task_file = Path(sys.argv[1])
    worker = os.environ["KERAS_DISTRIBUTION_PROCESS_ID"]
    end_with_parent()
    import_backend_quietly()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    if worker == "0":
        logging.getLogger("recommenders_miner").setLevel(logging.INFO)
    try:
        train(json.loads(task_file.read_text(encoding="utf-8")))
    except RecommendersMinerError as error:
        task_file.with_name(f"error-{worker}.txt").write_text(str(error), encoding="utf-8")
        sys.exit(USERS_ERROR)


if __name__ == "__main__":
    main()
