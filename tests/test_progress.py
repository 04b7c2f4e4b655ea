"""Progress bars: shown where someone looks, and gone afterwards."""

import io

import pytest
from rich.console import Console

from recommenders_miner import progress


@pytest.fixture
def terminal(monkeypatch):
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    monkeypatch.setattr(progress._bars.live, "console", console)
    monkeypatch.setattr(progress, "console", console)
    monkeypatch.setattr(progress._bars, "disable", True)
    return console.file


def test_the_command_line_shows_what_runs_and_what_runs_within(terminal):
    progress.show_progress_bars()
    with progress.progress_bar("outer") as outer:
        outer(0.25, "first of four")
        with progress.progress_bar("inner") as inner:
            inner(0.5)
            progress._bars.refresh()
            shown = terminal.getvalue()
    assert all(text in shown for text in ("outer", "25%", "first of four", "inner", "50%"))
    assert not progress._bars.tasks


def test_an_error_leaves_no_bar_behind(terminal):
    progress.show_progress_bars()
    with pytest.raises(ValueError, match="wrong"), progress.progress_bar("working"):
        raise ValueError("wrong")
    assert not progress._bars.tasks
    assert not progress._bars.live.is_started


@pytest.mark.parametrize("command_line", [False, True], ids=["a library", "no terminal"])
def test_a_library_shows_none_nor_does_a_command_without_a_terminal(monkeypatch, terminal, command_line):
    monkeypatch.setattr(progress, "console", Console(file=io.StringIO(), force_terminal=False))
    if command_line:
        progress.show_progress_bars()
    with progress.progress_bar("working") as report:
        report(0.5, "half")
    assert terminal.getvalue() == ""
