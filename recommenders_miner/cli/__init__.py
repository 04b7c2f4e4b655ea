"""The command line, `recommenders-miner`. What is heavy is imported where it is used, so that help is quick."""

from __future__ import annotations

import logging
import os
import sys

from rich.logging import RichHandler
from rich.text import Text

from recommenders_miner import progress
from recommenders_miner.backend import keep_freed_memory

# Importing a module of commands puts them into the application, in this order.
from recommenders_miner.cli import data, convert, training, serving  # noqa: F401  # isort: skip
from recommenders_miner.cli.app import app
from recommenders_miner.errors import RecommendersMinerError

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; the package's own errors become one line and exit status 1."""
    keep_freed_memory()
    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=progress.console, show_path=False)],
    )
    logging.getLogger("recommenders_miner").setLevel(logging.INFO)
    progress.show_progress_bars()
    try:
        app()
    except (RecommendersMinerError, FileExistsError) as error:
        if os.environ.get("RECOMMENDERS_MINER_DEBUG"):
            raise
        # A text, not a string: what users named their files, and wrote in them, is no markup.
        progress.console.print(Text.assemble(("Error:", "bold red"), f" {error}"), soft_wrap=True)
        sys.exit(1)
