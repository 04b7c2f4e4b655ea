"""Training with several workers: started together, and, where one dies, together again from the last checkpoint."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.tsv import fingerprint
from recommenders_miner.distributed.pool import connect
from recommenders_miner.distributed.worker import USERS_ERROR, Worker, describe, environment, free_port
from recommenders_miner.errors import HParamsError, RecommendersMinerError, WorkersError
from recommenders_miner.models.training import TrainingCheckpoint, epochs_kept

LOGGER = logging.getLogger("recommenders_miner")

_LINES_SHOWN = 20  # of what a worker that died said
_TRIES = 5  # that end without a new checkpoint
_SECONDS_FOR_NODES = 600  # in which a node that died may come back


def fit(
    model: Any,
    *files: str | Path | None,
    run_dir: str | Path,
    workers: int,
    address: str | None = None,
    gpus_per_worker: float = 0,
    resume: bool = False,
    verbose: int = 1,
    **options: Any,
) -> Any:
    """Train a model as its `fit` does, with several workers on JAX; the batch is that of all together.

    Every worker computes an equal share of each step, and the steps are those of one process: with dropout at 0, so are
    the losses. Where a worker dies, all are started again from the last checkpoint.

    Args:
        model: a `BaseModel`, whose class can be imported. What was trained lies in `run_dir/model`, and in it.
        files: as of `BaseModel.fit`; all workers read them at these paths.
        run_dir: folder of the run, which all workers see.
        workers: how many; `batch_size` is a multiple of them.
        address: of a Ray cluster, as `auto`, `10.0.0.1:6379` or `ray://10.0.0.1:10001`; None starts processes here.
        gpus_per_worker: GPUs of each; 0 computes on CPUs, which workers on one machine share evenly.
        resume: go on from the checkpoint in `run_dir`.
        verbose: as of `BaseModel.fit`; the first worker shows it.
        options: others of `BaseModel.fit` that JSON can hold: `on_error`, `negatives`.

    Returns:
        The model.

    Raises:
        HParamsError: `batch_size` is no multiple of the workers.
        WorkersError: workers died again and again without getting further, JAX is not there, or parts of a GPU are
            asked for without Ray.
        RecommendersMinerError: what any of them raised, as `BaseModel.fit` does.
    """
    if model.hparams.batch_size % workers:
        raise HParamsError(f"batch_size {model.hparams.batch_size} is no multiple of the {workers} workers.")
    if importlib.util.find_spec("jax") is None:
        raise WorkersError("Workers train on JAX, which is not installed: pip install recommenders-miner[jax].")
    if address is None and gpus_per_worker % 1:
        raise WorkersError(f"gpus_per_worker {gpus_per_worker:g}: parts of a GPU can be had on Ray alone (address).")
    run_dir = Path(run_dir).absolute()
    run_dir.mkdir(parents=True, exist_ok=True)
    options |= {"run_dir": str(run_dir), "resume": resume, "verbose": verbose}
    task = describe(model, files, options)
    with tempfile.TemporaryDirectory(dir=run_dir, prefix=".workers-") as folder:
        task["start"] = None
        if model.network is not None:
            task["start"] = str(Path(folder) / "start")
            model.save(task["start"])
        group: _Here | _OnRay
        if address is None:
            group = _Here(Path(folder), workers, int(gpus_per_worker))
        else:
            group = _OnRay(address, workers, gpus_per_worker)
        _supervise(group, task, run_dir)
    trained = type(model).load(run_dir / "model")
    model.adopt(trained.network, trained.vocabularies)
    model.history, model.trained_on = trained.history, trained.trained_on
    model.go_on_from(trained.counts)
    model.set_news(NewsTable.read(files[0], options.get("on_error", "raise")))
    return model


def _supervise(group: _Here | _OnRay, task: dict[str, Any], run_dir: Path) -> None:
    """Run a group to its end, again from the last checkpoint where one of it dies."""
    path, options, tries = run_dir / TrainingCheckpoint.FILE, task["options"], 0
    found = fingerprint(path)
    kept = epochs_kept(path) if options["resume"] else 0
    while True:
        try:
            group.start(task)
            died = group.wait()
        finally:
            group.stop()
        if died is None:
            return
        # What lay there before is another run's, unless this one was to go on from it.
        options["resume"] |= fingerprint(path) != found
        before, kept = kept, epochs_kept(path) if options["resume"] else 0
        tries = 1 if kept > before else tries + 1
        if tries == _TRIES:
            raise WorkersError(f"{died}\nThat was the {_TRIES}th time without getting to the next checkpoint.")
        LOGGER.warning("%s\nAll start again%s.", died, " from the last checkpoint" if kept else "")


class _Here:
    """Workers as processes of this machine. The first one's output is shown, the others' is kept until they end."""

    def __init__(self, folder: Path, workers: int, gpus: int) -> None:
        self.folder, self.workers, self.gpus = folder, workers, gpus
        self.processes: list[subprocess.Popen] = []

    def start(self, task: dict[str, Any]) -> None:
        (self.folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
        coordinator = f"127.0.0.1:{free_port()}"
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        run = "from recommenders_miner.distributed.worker import main; main()"
        command = [sys.executable, "-c", run, str(self.folder / "task.json")]
        self.processes = []
        for worker in range(self.workers):
            settings = {**os.environ, **environment(worker, self.workers, coordinator)}
            if self.gpus:
                own = range(worker * self.gpus, (worker + 1) * self.gpus)
                settings["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, own))
            with open(self.folder / f"worker-{worker}.log", "wb") as log:
                output = {} if worker == 0 else {"stdout": log, "stderr": subprocess.STDOUT}
                # A session of their own: Ctrl-C is for this process, which stops them.
                process = subprocess.Popen(command, env=settings, start_new_session=True, **output)
            self.processes.append(process)
            if not self.gpus and len(cores) >= self.workers:
                os.sched_setaffinity(process.pid, cores[worker :: self.workers])

    def wait(self) -> str | None:
        """Return when all have ended, or which died."""
        while True:
            statuses = [process.poll() for process in self.processes]
            if USERS_ERROR in statuses:
                said = self.folder / f"error-{statuses.index(USERS_ERROR)}.txt"
                raise RecommendersMinerError(said.read_text(encoding="utf-8"))
            for worker, status in enumerate(statuses):
                if status:
                    log = self.folder / f"worker-{worker}.log"
                    said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LINES_SHOWN:]
                    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
                    return "\n".join([f"Worker {worker} {how}.", *said])
            if all(status == 0 for status in statuses):
                return None
            time.sleep(0.1)

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


class _OnRay:
    """Workers as actors of a Ray cluster, on as many nodes as there are."""

    def __init__(self, address: str, workers: int, gpus: float) -> None:
        import ray

        self.ray, self.workers, self.gpus = ray, workers, gpus
        connect(address)
        self.actors: list[Any] = []
        self.tasks: list[Any] = []
        self.group: Any = None

    def start(self, task: dict[str, Any]) -> None:
        from ray.util.placement_group import placement_group

        bundle = {"CPU": 1} | ({"GPU": self.gpus} if self.gpus else {})
        self.group = placement_group([bundle] * self.workers, strategy="SPREAD")
        if not self.group.wait(_SECONDS_FOR_NODES):
            raise WorkersError(f"The cluster had no room for {self.workers} workers in {_SECONDS_FOR_NODES} seconds.")
        self.actors = [self._actor(place) for place in range(self.workers)]
        try:
            coordinator = self.ray.get(self.actors[0].address.remote())
        except self.ray.exceptions.RayError:  # `wait` says that it died
            coordinator = ""
        self.tasks = [actor.train.remote(task, coordinator) for actor in self.actors]

    def _actor(self, place: int) -> Any:
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        strategy = PlacementGroupSchedulingStrategy(self.group, placement_group_bundle_index=place)
        options = {"num_cpus": 1, "num_gpus": self.gpus, "scheduling_strategy": strategy}
        return self.ray.remote(**options)(Worker).remote(place, self.workers)

    def wait(self) -> str | None:
        """Return when all have ended, or which died."""
        left = list(self.tasks)
        while left:
            [done], left = self.ray.wait(left)
            try:
                self.ray.get(done)
            except self.ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, RecommendersMinerError):
                    raise error.cause from None
                return f"Worker {self.tasks.index(done)} ended with {error.cause!r}."
            except self.ray.exceptions.RayError as error:
                return f"Worker {self.tasks.index(done)} died ({type(error).__name__})."
        return None

    def stop(self) -> None:
        from ray.util.placement_group import remove_placement_group

        for actor in self.actors:
            self.ray.kill(actor)
        self.actors = []
        if self.group is not None:
            remove_placement_group(self.group)
            self.group = None
