"""Killing a process at each of the moments that count: before every call that changes what is on the disk."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from unittest import mock

CALLS = ((os, "mkdir"), (os, "rename"), (os, "replace"), (os, "open"), (os, "close"), (tempfile, "mkdtemp"))
_KILLED, _MOST_CALLS = 77, 500


def every_kill(work: Callable[[], None]) -> Iterator[int]:
    """Runs some work in child processes that die, each a call later than the one before, until one ends alive.

    Args:
        work: writes something.

    Yields:
        After each death, the number of the call that it came before; the caller looks at what is left on the disk.
    """
    for moment in range(_MOST_CALLS):
        child = os.fork()
        if child == 0:
            _die_at(moment, work)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, _KILLED), code
        if code == 0:
            return
        yield moment
    raise AssertionError("the work has no end")


def _die_at(moment: int, work: Callable[[], None]) -> None:
    """Does the work, up to a call; does not return."""
    calls = 0

    def counted(call: Callable, *args, **kwargs):
        nonlocal calls
        if calls == moment:
            os._exit(_KILLED)  # as SIGKILL does: nothing is cleaned up, and the system lets go of locks
        calls += 1
        return call(*args, **kwargs)

    try:
        with contextlib.ExitStack() as patches:
            for module, name in (*CALLS, (shutil, "rmtree")):
                call = getattr(module, name)
                patch = mock.patch.object(module, name, lambda *a, _call=call, **k: counted(_call, *a, **k))
                patches.enter_context(patch)
            work()
    except BaseException:
        os._exit(1)
    os._exit(0)
