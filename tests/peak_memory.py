"""The memory that some code takes at most: the peak that `tracemalloc` sees (Python and NumPy), and Arrow's, added."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import Iterator
from types import SimpleNamespace

import pyarrow as pa

_POOLS: list[pa.MemoryPool] = []  # whose arrays may still be alive, which need their pool


@contextlib.contextmanager
def measured() -> Iterator[SimpleNamespace]:
    """Measure the peak of what the block allocates, in bytes, which is `size` when it has ended."""
    before, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.system_memory_pool())
    _POOLS.append(pool)
    peak = SimpleNamespace(size=0)
    tracemalloc.start()
    pa.set_memory_pool(pool)
    try:
        yield peak
    finally:
        pa.set_memory_pool(before)
        peak.size = tracemalloc.get_traced_memory()[1] + pool.max_memory()
        tracemalloc.stop()
