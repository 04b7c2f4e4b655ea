"""Progress bars on standard error: shown by the command line, on a terminal, and by nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

console = Console(stderr=True, markup=False, emoji=False)
"""Whatever else goes to standard error has to go through this console, or it tears the bars."""

Report = Callable[[float, str], None]
"""Told the share of a piece of work that is done, and what is being done."""

_bars = Progress(
    TextColumn("{task.description}", markup=False),
    BarColumn(bar_width=24),
    TaskProgressColumn(),
    TimeRemainingColumn(compact=True),
    TextColumn("{task.fields[doing]}", style="dim", markup=False),
    console=console,
    transient=True,
    disable=True,
)


def show_progress_bars() -> None:
    """Let `progress_bar` show something from now on, if standard error is a terminal."""
    _bars.disable = not console.is_terminal


@contextmanager
def progress_bar(description: str) -> Iterator[Report]:
    """Show a bar, with the time that is left, while the block runs; bars of blocks within it stand below.

    What is yielded is called with the share that is done, 0 to 1, and, if one likes, what is being done.
    """
    outermost = not _bars.tasks
    task = _bars.add_task(description, total=1.0, doing="")
    if outermost:
        _bars.start()
    try:
        yield lambda share, doing="": _bars.update(task, completed=share, doing=doing)
    finally:
        _bars.remove_task(task)
        if outermost and not _bars.disable:
            _bars.stop()
