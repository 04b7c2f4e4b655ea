"""Choose the Keras backend, and how the C library keeps memory: what a process settles before `keras` is imported.

Keras takes its backend from KERAS_BACKEND when it is first imported. Where the user has not chosen, it is TensorFlow,
which is installed with the package; where that was removed, JAX, else torch.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import logging
import multiprocessing
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Callable

from recommenders_miner.errors import RecommendersMinerError


def choose_backend() -> None:
    """Set KERAS_BACKEND where the user has not, and keep what TensorFlow says below errors out of the terminal."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # A filter, since TensorFlow sets its logger's level anew when it is imported in a notebook.
    logging.getLogger("tensorflow").addFilter(lambda record: record.levelno >= logging.ERROR)
    if "KERAS_BACKEND" in os.environ or "keras" in sys.modules:
        return
    for backend in ("tensorflow", "jax", "torch"):
        if importlib.util.find_spec(backend) is not None:
            os.environ["KERAS_BACKEND"] = backend
            return


def import_backend_quietly() -> None:
    """Import Keras and its backend without a word: TensorFlow 2.21 greets on stderr whatever its log level is.

    It does so from C++, so the file descriptor itself is turned away; what an import that fails wrote is shown.
    """
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as heard:
        os.dup2(heard.fileno(), 2)
        try:
            importlib.import_module("keras")
        except BaseException as error:
            heard.seek(0)
            os.write(terminal, heard.read())
            if not isinstance(error, ImportError | ValueError):
                raise
            chosen = os.environ.get("KERAS_BACKEND")
            remedy = "Install it, or set KERAS_BACKEND to another: tensorflow, jax or torch."
            raise RecommendersMinerError(f"The backend {chosen} cannot be imported ({error}). {remedy}") from error
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def end_with_parent(end: Callable[[], object] = lambda: os._exit(1)) -> None:
    """Let a thread call `end` when the process that started this one has ended, whatever has ended it.

    Those of a pool wait for work from each other's pipes, and would wait for ever after a kill of their parent.
    """
    parent, number = multiprocessing.parent_process(), os.getppid()

    def watch() -> None:
        if parent is not None:
            parent.join()
        while os.getppid() == number:
            time.sleep(1)
        end()

    threading.Thread(target=watch, daemon=True).start()


@functools.cache
def keep_freed_memory() -> bool:
    """Keep the memory of freed tensors in the process, in one heap, instead of giving it back at once.

    A training step on CPU allocates and frees tensors of many megabytes, as a block of a log does when it is read. By
    default glibc asks the kernel for each and returns it, and the page faults of the next step cost as much time as the
    arithmetic: see benchmarks/README.md. The process' peak stays what it was; it only does not shrink between steps.

    It holds for the whole process, so only those call it whose process it is: the command line, and `BaseModel.fit`.
    RECOMMENDERS_MINER_MALLOC=default leaves the C library alone. Returns whether something was changed, as on Linux.
    """
    if os.environ.get("RECOMMENDERS_MINER_MALLOC") == "default" or platform.libc_ver()[0] != "glibc":
        return False
    trim_threshold, top_pad, mmap_max, arena_max = -1, -2, -4, -8  # from glibc's malloc.h
    settings = {mmap_max: 0, trim_threshold: 2**31 - 1, top_pad: 2**26, arena_max: 1}
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(option, value) for option, value in settings.items())
