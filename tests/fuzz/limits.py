"""What a reader may take: time, and memory in proportion to its file.

Memory is the sum of two peaks that are measured in the process itself: that of `tracemalloc`, which sees what Python
and NumPy allocate, and that of a pool of Arrow's, made for the occasion, which sees what Arrow does. Memory maps count
as none. The sum is an upper bound, since the two peaks need not be at one time.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

TIMES_THE_FILE = 64
FLOOR_BYTES = 4 * 2**20
SECONDS = 20

_POOLS: list[pa.MemoryPool] = []
"""Pools whose arrays may still be alive, which need their pool."""


class LimitError(AssertionError):
    """A reader took more time or memory than it may."""


@dataclass
class Peak:
    """The largest amount of memory that a block took, in bytes, known when it has ended."""

    size: int = 0


@contextlib.contextmanager
def measured() -> Iterator[Peak]:
    """Measures the peak of the memory that the block allocates."""
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(pa.system_memory_pool())
    _POOLS.append(pool)
    peak = Peak()
    tracemalloc.start()
    pa.set_memory_pool(pool)
    try:
        yield peak
    finally:
        pa.set_memory_pool(before)
        peak.size = tracemalloc.get_traced_memory()[1] + pool.max_memory()
        tracemalloc.stop()


@contextlib.contextmanager
def limited(most_bytes: int, seconds: float | None = SECONDS) -> Iterator[None]:
    """Refuses a block that runs too long (where seconds are given), or takes more memory than it may.

    Raises:
        LimitError: it does.
    """

    def too_long(*_: object) -> None:
        raise LimitError(f"still reading after {seconds} s")

    alarms = (
        seconds is not None and threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")
    )
    if alarms:
        previous = signal.signal(signal.SIGALRM, too_long)
        signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with measured() as peak:
            yield
    finally:
        if alarms:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
    if peak.size > most_bytes:
        raise LimitError(f"{peak.size:,} bytes of memory; at most {most_bytes:,} are allowed for this file")
