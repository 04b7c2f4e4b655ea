"""Workers that each hold something costly, a model and a log, and are given tasks: processes here, or actors of Ray."""

from __future__ import annotations

import collections
import contextlib
import functools
import importlib
import itertools
import logging
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recommenders_miner.backend import end_with_parent, import_backend_quietly
from recommenders_miner.errors import WorkersError

_TRIES = 5  # of one task
_AHEAD = 2  # tasks that are asked for at a time, for each worker


def open_pool(make: Callable[..., Any], arguments: tuple, workers: int, address: str | None = None) -> _Here | _OnRay:
    """Start workers, each of which calls `make(*arguments)` once, and then methods of what it returned.

    A worker that dies is made again, and its tasks are done again.

    Args:
        make: a function or class that can be imported.
        arguments: its arguments.
        workers: how many.
        address: of a Ray cluster; None starts processes here, which share the cores evenly.

    Returns:
        A context manager. Its `map(method, tasks)` yields what a method returns for each of some arguments, in their
        order; `share(arrays)` puts arrays by name where all workers read them without a copy of their own, and returns
        what stands for them among the arguments.
    """
    return _Here(make, arguments, workers) if address is None else _OnRay(make, arguments, workers, address)


class _Stored(NamedTuple):
    """Arrays in the files of a folder."""

    folder: Path
    names: tuple[str, ...]


def connect(address: str) -> None:
    """Connect to a Ray cluster, unless this process is: `WorkersError` where none answers."""
    import ray

    if not ray.is_initialized():
        try:
            ray.init(address, logging_level=logging.WARNING)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise WorkersError(f"{address}: no Ray cluster answers there ({error}).") from error


_held: Any = None


def _hold(made_by: tuple[str, str], arguments: tuple, cores: Any) -> None:
    global _held
    if own := cores.get():
        os.sched_setaffinity(0, own)
    end_with_parent()
    import_backend_quietly()  # before what `made_by` names imports it
    module, name = made_by
    _held = getattr(importlib.import_module(module), name)(*arguments)


@functools.lru_cache(maxsize=1)
def _loaded(stored: _Stored) -> dict[str, np.ndarray]:
    folder, names = stored
    return {name: np.load(folder / f"{place}.npy", mmap_mode="r") for place, name in enumerate(names)}


def _call(method: str, arguments: tuple) -> Any:
    return getattr(_held, method)(*(_loaded(one) if isinstance(one, _Stored) else one for one in arguments))


class _Here(contextlib.AbstractContextManager):
    def __init__(self, make: Callable[..., Any], arguments: tuple, workers: int) -> None:
        self._start = functools.partial(self._executor, make, arguments, workers)
        self._folder = tempfile.TemporaryDirectory(prefix="recommenders-miner-")
        self._workers, self._count, self._shared = self._start(), workers, 0

    @staticmethod
    def _executor(make: Callable[..., Any], arguments: tuple, workers: int) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        cores, queue = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [], context.Queue()
        for worker in range(workers):
            queue.put(cores[worker::workers] if len(cores) >= workers else None)
        made_by = make.__module__, make.__qualname__
        return ProcessPoolExecutor(workers, context, _hold, (made_by, arguments, queue))

    def share(self, arrays: dict[str, np.ndarray]) -> _Stored:
        folder = Path(self._folder.name) / str(self._shared)
        folder.mkdir()
        self._shared += 1
        for place, values in enumerate(arrays.values()):
            np.save(folder / f"{place}.npy", values)
        return _Stored(folder, tuple(arrays))

    def map(self, method: str, tasks: Iterable[tuple]) -> Iterator[Any]:
        # Few are asked for ahead, since what they return may be large.
        tasks, waiting, asked, tries = iter(tasks), collections.deque(), collections.deque(), 0
        while True:
            waiting.extend(itertools.islice(tasks, _AHEAD * self._count - len(waiting)))
            if not waiting:
                return
            try:
                new = itertools.islice(waiting, len(asked), None)
                asked.extend([self._workers.submit(_call, method, task) for task in new])
                result = asked[0].result()
            except BrokenProcessPool:
                tries += 1
                if tries == _TRIES:
                    raise WorkersError(f"A worker died {_TRIES} times at the same task.") from None
                self._workers = self._start()
                asked.clear()
                continue
            waiting.popleft()
            asked.popleft()
            tries = 0
            yield result

    def __exit__(self, *error: object) -> None:
        self._workers.shutdown(wait=error[0] is None, cancel_futures=True)
        self._folder.cleanup()


class _OnRay(contextlib.AbstractContextManager):
    def __init__(self, make: Callable[..., Any], arguments: tuple, workers: int, address: str) -> None:
        import ray

        self._ray = ray
        connect(address)
        settings = {"KERAS_BACKEND": os.environ.get("KERAS_BACKEND", "tensorflow")}
        actor = ray.remote(_Actor).options(
            num_cpus=1,
            max_restarts=-1,
            max_task_retries=_TRIES,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": settings},
        )
        self._actors = [actor.remote(make, arguments) for _ in range(workers)]

    def share(self, arrays: dict[str, np.ndarray]) -> Any:
        return self._ray.put(arrays)

    def map(self, method: str, tasks: Iterable[tuple]) -> Iterator[Any]:
        from ray.util import ActorPool

        try:
            yield from ActorPool(self._actors).map(lambda actor, task: actor.call.remote(method, *task), tasks)
        except self._ray.exceptions.RayActorError as error:
            raise WorkersError(f"A worker died {_TRIES} times at the same task ({error}).") from None
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None

    def __exit__(self, *error: object) -> None:
        for actor in self._actors:
            self._ray.kill(actor)


class _Actor:
    def __init__(self, make: Callable[..., Any], arguments: tuple) -> None:
        self.held = make(*arguments)

    def call(self, method: str, *arguments: Any) -> Any:
        return getattr(self.held, method)(*arguments)
