"""Chooses the Keras backend: the one place that touches it, imported before `keras` is.

Keras takes its backend from KERAS_BACKEND when it is first imported. Where the user has not chosen, TensorFlow is used
if it is installed, else JAX, else torch, so that a machine with JAX alone needs no setting.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import tempfile


def choose_backend() -> None:
    """Sets KERAS_BACKEND where the user has not, and keeps what TensorFlow says below errors out of the terminal."""
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
    """Imports Keras and its backend without a word: TensorFlow 2.21 greets on stderr whatever its log level is.

    The greeting comes from C++, so the file descriptor itself is turned away meanwhile; where the import fails, what
    was written there is shown after all.
    """
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as heard:
        os.dup2(heard.fileno(), 2)
        try:
            importlib.import_module("keras")
        except BaseException:
            heard.seek(0)
            os.write(terminal, heard.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
