"""The command line, `recommenders-miner`. What is heavy is imported where it is used, so that help is quick."""

from __future__ import annotations

import logging
import os
import sys
import traceback

from rich.logging import RichHandler
from rich.text import Text

from recommenders_miner import progress
from recommenders_miner.backend import keep_freed_memory

# Importing a module of commands puts them into the application, in this order.
from recommenders_miner.cli import data, convert, training, evaluating, policies, simulating  # noqa: F401 # isort: skip
from recommenders_miner.cli import serving, serve  # noqa: F401 # isort: skip
from recommenders_miner.cli.app import app
from recommenders_miner.errors import RecommendersMinerError

__all__ = ["app", "main"]

_REPORT = "This is an error of recommenders-miner itself. Please report it, with the lines above and the command."


def main() -> None:
    """Run the command line; errors become one line and exit status 1, and those of our own a traceback above it."""
    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal's encoding lacks is no reason to die; files are UTF-8 whatever that is.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=progress.console, show_path=False)],
    )
    logging.getLogger("recommenders_miner").setLevel(logging.INFO)
    progress.show_progress_bars()
    try:
        app()
    except Exception as error:
        if os.environ.get("RECOMMENDERS_MINER_DEBUG"):
            raise
        # What the system refuses concerns a file or a connection of the user's.
        if isinstance(error, OSError) and not isinstance(error, RecommendersMinerError) and error.filename:
            said = f"{error.filename}: {error.strerror}"
        elif isinstance(error, RecommendersMinerError | OSError):
            said = str(error)
        else:
            traceback.print_exc()
            said = _REPORT
        # A text, not a string: what users named their files, and wrote in them, is no markup.
        progress.console.print(Text.assemble(("Error:", "bold red"), f" {said}"), soft_wrap=True)
        sys.exit(1)
