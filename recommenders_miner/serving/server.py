"""The HTTP server: the application of one process, and the processes."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import uvicorn
from anyio.to_thread import current_default_thread_limiter, run_sync
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from recommenders_miner import __version__
from recommenders_miner.backend import end_with_parent
from recommenders_miner.errors import RecommendersMinerError
from recommenders_miner.serving.guard import Guard
from recommenders_miner.serving.loading import Load
from recommenders_miner.serving.metrics import SHARED_FOLDER
from recommenders_miner.serving.problems import add_handlers
from recommenders_miner.serving.routes import Door, data, of_poprox, operation, recommendations
from recommenders_miner.serving.service import Service
from recommenders_miner.serving.settings import Settings

LOGGER = logging.getLogger("recommenders_miner")

FACTORY = "recommenders_miner.serving.server:app_from_environment"
_START_FAILED = 3
"""The status of a process that tells uvicorn's supervisor that others would fail, too."""

_DESCRIPTION = """Recommendations, events that become clicks and training data, and the articles.

Errors are application/problem+json; their `detail` says what to change. 503 with Retry-After asks to come again."""


def create_app(
    settings: Settings, load: Load | None = None, on_failure: Callable[[Exception], None] | None = None
) -> FastAPI:
    """Make the application of one process.

    Args:
        settings: what it serves, and to whom.
        load: loads a model from an export; by default `Recommender.load`.
        on_failure: called, on another thread, where models or articles cannot be loaded at the start.

    Raises:
        RecommendersMinerError: other machines can reach it, and it has no token.
    """
    settings.require_token()
    service = Service(settings, load, on_failure)

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        # Endpoints are `def` and run on these threads: an `async def` that computes would hold up all others.
        current_default_thread_limiter().total_tokens = settings.threads
        service.start()
        yield
        await run_sync(service.stop)

    app = FastAPI(
        title="recommenders-miner",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=running,
        redirect_slashes=False,
    )
    places = settings.threads + settings.waiting
    app.add_middleware(Guard, metrics=service.metrics, places=places, seconds=settings.body_seconds)
    add_handlers(app)
    door = Door(settings.token)
    for router in (operation(service), recommendations(service, door), of_poprox(service, door), data(service, door)):
        app.include_router(router)
    return app


def app_from_environment(load: Load | None = None) -> FastAPI:
    """Make the application of a process, which ends if it cannot load its models, and with its parent if it has one."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    LOGGER.setLevel(logging.INFO)
    if multiprocessing.parent_process():  # a worker that outlives it would keep the port
        end_with_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))
    return create_app(Settings.from_environment(), load, _give_up)


def _give_up(error: Exception) -> None:
    is_ours = isinstance(error, RecommendersMinerError | OSError)
    LOGGER.error("The server cannot start: %s", error, exc_info=None if is_ours else error)
    logging.shutdown()
    os._exit(_START_FAILED)


def run(settings: Settings, factory: str = FACTORY) -> int:
    """Serve until a signal ends it; return the exit status.

    Args:
        settings: what to serve; its processes find them in the environment.
        factory: what makes the application of a process, as uvicorn names it.
    """
    os.environ |= settings.to_environment()
    config = uvicorn.Config(
        factory,
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
        timeout_worker_healthcheck=60,  # on a busy machine a process that is still importing does not answer for long
    )
    if settings.workers == 1:
        uvicorn.Server(config).run()
        return 0
    with tempfile.TemporaryDirectory(prefix="recommenders-miner-metrics-") as folder:
        os.environ[SHARED_FOLDER] = folder
        supervisor = Multiprocess(config, sockets=[config.bind_socket()])
        supervisor.run()
    return int(any(process.exitcode == _START_FAILED for process in supervisor.processes))


if __name__ == "__main__":
    try:
        sys.exit(run(Settings.from_environment()))
    except RecommendersMinerError as error:
        sys.exit(f"Error: {error}")
