"""Hypothesis for as long as one wants to wait, where its own settings count examples."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import SearchStrategy

UNHURRIED = {"deadline": None, "suppress_health_check": list(HealthCheck)}
_AT_ONCE = 50


def try_for(seconds: float, inputs: SearchStrategy, test: Callable[[Any], None]) -> int:
    """Tests inputs until the time is over; returns how many there were."""
    end, tried = time.monotonic() + seconds, 0
    for number in itertools.takewhile(lambda _: time.monotonic() < end, itertools.count()):

        @seed(number)
        @settings(max_examples=_AT_ONCE, database=None, **UNHURRIED)
        @given(inputs)
        def try_some(value: Any) -> None:
            nonlocal tried
            tried += 1
            test(value)

        try_some()
    return tried
