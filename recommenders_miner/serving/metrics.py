"""What /metrics counts and times, for Prometheus; over several worker processes where they share a folder for it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = CONTENT_TYPE_LATEST
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that names the folder; prometheus-client looks at it when it is first imported."""

_PREFIX = "recommenders_miner_"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class Metrics:
    """The figures of one process."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._stages = Histogram(
            f"{_PREFIX}stage_seconds", "Time of a stage of requests.", ["stage"], buckets=_SECONDS, registry=registry
        )
        self._requests = Histogram(
            f"{_PREFIX}request_seconds",
            "Time from a request's whole body to its answer.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._responses = Counter(
            f"{_PREFIX}responses", "Answers by status.", ["method", "route", "status"], registry=registry
        )
        self.overloads = Counter(f"{_PREFIX}overloads", "Requests refused, all places being taken.", registry=registry)
        self.answers = Counter(f"{_PREFIX}answers", "Recommendations by model.", ["model"], registry=registry)
        self._lists = Counter(f"{_PREFIX}policy_lists", "Lists by policy.", ["policy"], registry=registry)
        self._relaxations = Counter(
            f"{_PREFIX}policy_relaxations", "Lists in which a rule was not kept.", ["policy", "rule"], registry=registry
        )
        self.cold_users = Counter(
            f"{_PREFIX}cold_users", "Recommendations to those without known clicks.", registry=registry
        )
        self.events = Counter(f"{_PREFIX}events", "Events that were new.", ["type"], registry=registry)
        self.candidates = Gauge(
            f"{_PREFIX}candidates",
            "Articles that are chosen from.",
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self.reloads = Counter(
            f"{_PREFIX}reloads", "New models that were taken, or failed to load.", ["outcome"], registry=registry
        )

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage."""
        start = perf_counter()
        try:
            yield
        finally:
            self._stages.labels(name).observe(perf_counter() - start)

    def arranged(self, policy: str, relaxed: Iterable[str]) -> None:
        """Count a list of a policy, and the rules that were not kept."""
        self._lists.labels(policy).inc()
        for rule in relaxed:
            self._relaxations.labels(policy, rule).inc()

    def response(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """Count an answer; time it, unless it was refused at the door."""
        self._responses.labels(method, route, status).inc()
        if seconds is not None:
            self._requests.labels(method, route).observe(seconds)

    def document(self) -> bytes:
        """Return all figures as Prometheus reads them."""
        if SHARED_FOLDER in os.environ:
            shared = CollectorRegistry()
            MultiProcessCollector(shared)
            return generate_latest(shared)
        return generate_latest(self._registry)
