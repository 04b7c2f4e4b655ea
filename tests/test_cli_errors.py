"""How the command line prints what users named and wrote: as it stands, whatever Rich would make of it."""

from __future__ import annotations

import sys

import pytest
import typer

from recommenders_miner.cli import main
from recommenders_miner.cli.app import console, resumable

MARKUP = ["[/a]", "[bold]x", "[link=x]", ":smile:", "\\[b]"]


@pytest.mark.parametrize("name", MARKUP)
def test_an_error_names_a_folder_as_it_is(tmp_path, monkeypatch, capsys, name):
    monkeypatch.setattr(sys, "argv", ["recommenders-miner", "inspect", f"{tmp_path}{name}"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    assert capsys.readouterr().err.startswith(f"Error: {tmp_path}{name}: holds neither news.tsv and behaviors.tsv")


@pytest.mark.parametrize("name", MARKUP)
def test_an_error_quotes_a_file_as_it_is(tmp_path, monkeypatch, capsys, name):
    (tmp_path / "news.tsv").write_text("N1\tc\ts\tA title\t\t\t[]\t[]\n")
    (tmp_path / "behaviors.tsv").write_text(f"1\tU1\t{name}\t\tN1-1\n")
    monkeypatch.setattr(sys, "argv", ["recommenders-miner", "split", str(tmp_path), str(tmp_path / "out")])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    assert f"got {name!r}" in capsys.readouterr().err


@pytest.mark.parametrize("name", MARKUP)
def test_the_console_of_the_commands_prints_text_as_it_is(monkeypatch, capsys, name):
    console.print(f"Written to {name}.")
    assert capsys.readouterr().out == f"Written to {name}.\n"


@pytest.mark.parametrize("name", MARKUP)
def test_a_stopped_command_names_its_folder_as_it_is(capsys, name):
    with pytest.raises(typer.Exit), resumable(name):
        raise KeyboardInterrupt
    assert f"What is finished is in {name};" in capsys.readouterr().err
