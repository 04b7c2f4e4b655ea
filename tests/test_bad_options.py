"""Every command, and every option of it, with values that are wrong: a line that names what is at fault, and no more.

The cases are made of typer's own description of the commands, so that a new option has its own.
"""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from types import UnionType
from typing import Union, get_args, get_origin, get_type_hints

import pytest
import typer

from recommenders_miner.cli import main
from recommenders_miner.cli.app import app

NONSENSE = "nonsense"
A_FILE, A_FOLDER = "a-file", "a-folder"
FILES = ("scores", "submission", "json_file", "figure")
WRITTEN = ("out", "log", "snapshot", *FILES)

VALID = {
    "data": "data",
    "mind": "data",
    "news": "data/dev/news.tsv",
    "run": "run",
    "exports": "run",
    "logs": "data",
    "runs": "run",
    "schema": "schema.yaml",
    "what": "mind-demo",
    "experiment": "table2",
    "impression": "1",
    "texts": "texts",
    "files": "words.json",
    "bundle": "data",
    "policy": "policy.yaml",
    "source": "data",
    "names": "names.tsv",
}
"""Values of what a command cannot do without, which only have to be well-formed: `out` is new wherever it is."""

ANYTHING_GOES = {("recommend", "user"), ("recommend", "history")}
"""Options whose every value is one: ids, which the news may lack, in what only a model can tell."""

NEWS = "".join(f"N{i}\tnews\tworld\tTitle {i}\t\t\t[]\t[]\n" for i in range(1, 4))
BEHAVIORS = "1\tU1\t11/{day}/2019 9:00:00 AM\tN3\tN1-1 N2-0\n2\tU2\t11/{day}/2019 9:05:00 AM\t\tN1-0 N3-1\n"


def commands(of=app, path=()):
    """Yield the words of every command, and of each parameter typer's description and the type that Python code has."""
    described = typer.main.get_command(of).commands
    for command in of.registered_commands:
        name = command.name or command.callback.__name__
        kinds = get_type_hints(command.callback)
        yield (*path, name), [(parameter, kinds[parameter.name]) for parameter in described[name].params]
    for group in of.registered_groups:
        yield from commands(group.typer_instance, (*path, group.name))


def scalar(kind):
    """Return the type of one value: `int` of `list[int] | None`."""
    if get_origin(kind) in (list, Union, UnionType):
        return scalar(next(part for part in get_args(kind) if part is not type(None)))
    return kind


def bad_values(parameter, kind):
    """Yield values that are wrong for a parameter, by its type and name."""
    kind, lowest = scalar(kind), getattr(parameter, "min", None)
    if kind in (int, float):
        yield from (NONSENSE, "", "1e400x", *([] if lowest is None else [str(lowest - 1)]))
    if kind is float:
        yield from ("nan", "inf", "-inf")
    elif kind is datetime:
        yield from (NONSENSE, "2019-13-45")
    elif parameter.name == "option":
        yield from (NONSENSE, "epochs=[1", "epochs=*a")
    elif parameter.name in WRITTEN:
        yield from (f"{A_FILE}/below", A_FOLDER if parameter.name in FILES else A_FILE)
    elif kind is Path:
        yield from (NONSENSE, f"{A_FILE}/below", "x" * 300)
    elif kind not in (int, float):
        yield NONSENSE


def flag(parameter):
    return max((word for word in parameter.opts if word.startswith("-")), key=len, default="")


def words_for(parameter, value):
    """Return the words that give a parameter a value."""
    return [flag(parameter), value] if flag(parameter) else [value]


def cases():
    """Yield every command with each of its parameters wrong in turn, the others that it needs being right.

    With each stands what has to be named: the wrong value or the option.
    """
    for path, parameters in commands():
        for wrong, kind in parameters:
            if (path[-1], wrong.name) in ANYTHING_GOES:
                continue
            if scalar(kind) is bool:
                yield [*path, f"{flag(wrong)}={NONSENSE}"], [flag(wrong)]
                continue
            for value in bad_values(wrong, kind):
                words = [*path]
                for parameter, _ in parameters:
                    if parameter is wrong:
                        words += words_for(parameter, value)
                    elif parameter.required:
                        words += words_for(parameter, VALID.get(parameter.name, "new"))
                yield words, [word for word in (value, flag(wrong), "-o" * (wrong.name == "option")) if word]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder with the least that commands read."""
    folder = tmp_path_factory.mktemp("options")
    for split, day in (("train", 9), ("dev", 15)):
        (folder / "data" / split).mkdir(parents=True)
        (folder / "data" / split / "news.tsv").write_text(NEWS)
        (folder / "data" / split / "behaviors.tsv").write_text(BEHAVIORS.format(day=day))
    (folder / A_FILE).write_text("no model, no data")
    (folder / "words.json").write_text("{}")
    (folder / "names.tsv").write_text("Denmark\tQ35\n")
    (folder / "schema.yaml").write_text("{}")
    (folder / "policy.yaml").write_text("places: 10\n")
    (folder / A_FOLDER).mkdir()
    (folder / "texts").mkdir()
    (folder / "run").mkdir()
    (folder / "run" / "model.keras").write_bytes(b"not read")
    return folder


CASES = list(cases())


@pytest.mark.parametrize(("words", "named"), CASES, ids=[" ".join(words)[:80] for words, _ in CASES])
def test_what_is_wrong_is_named_in_a_line(words, named, folder, monkeypatch, capsys):
    def too_late(*arguments):
        raise AssertionError("the backend is imported before the command line is looked at")

    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    for module in ("app", "training"):
        monkeypatch.setattr(sys.modules[f"recommenders_miner.cli.{module}"], "import_backend_quietly", too_late)
    monkeypatch.setattr("urllib.request.urlopen", too_late)
    before = sorted(folder.rglob("*"))
    monkeypatch.setattr(sys, "argv", ["recommenders-miner", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    printed = capsys.readouterr()
    shown = " ".join((printed.out + printed.err).replace("│", " ").split())
    assert caught.value.code in (1, 2), shown
    assert "Traceback" not in shown, printed.err
    assert any(name[:40] in shown.replace(" ", "") for name in named), shown
    assert "Please report it" not in shown
    left = [path for path in sorted(folder.rglob("*")) if path not in before and ".recommenders_miner" not in str(path)]
    assert not left, "nothing is written"


def test_every_command_has_cases():
    walked = [words for words, _ in CASES]
    for path, parameters in commands():
        assert not parameters or any(words[: len(path)] == [*path] for words in walked), path
