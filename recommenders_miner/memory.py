"""Tells the C library to keep freed memory for the next training step, or the next block of a file."""

from __future__ import annotations

import ctypes
import functools
import os
import platform

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_NEVER = 2**31 - 1


@functools.cache
def keep_freed_memory() -> bool:
    """Keeps the memory of freed tensors in the process, in one heap, instead of giving it back at once.

    A training step on CPU allocates and frees tensors of many megabytes. By default glibc asks the kernel for each and
    returns it, and the page faults of the next step cost as much time as the arithmetic: see benchmarks/README.md. The
    process' peak stays what it was; it only does not shrink between steps. Set RECOMMENDERS_MINER_MALLOC=default to
    leave the C library alone.

    Returns:
        Whether something was changed; not so on other systems than Linux with glibc.
    """
    if os.environ.get("RECOMMENDERS_MINER_MALLOC") == "default" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: _NEVER, _M_TOP_PAD: 2**26, _M_ARENA_MAX: 1}
    return all(mallopt(option, value) for option, value in settings.items())
