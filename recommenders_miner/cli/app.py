"""What the commands share: the application, the console, options with their checks, and how a model is opened.

What can be checked without the data is checked while the command line is read: nothing heavy is imported before.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from recommenders_miner import __version__, progress
from recommenders_miner.backend import import_backend_quietly
from recommenders_miner.data.folders import SPLIT_NAMES, split_name
from recommenders_miner.storage import parse_yaml, require_model, require_replaceable, require_writable

if TYPE_CHECKING:
    from recommenders_miner.data.tsv import SkipReport

app = typer.Typer(
    help="MINER and the news recommenders that its paper compares with.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(markup=False, emoji=False)
"""Prints what it is given as it stands: paths and ids of users may look like Rich's markup, `[/a]` or `:smile:`."""

# === Checks of options ===


def new_file(path: Path | None) -> Path | None:
    """Refuse, before any work is done, a file that could not be written, and `-`, which would be the name of one."""
    if str(path) == "-":
        raise typer.BadParameter("-: this does not go to standard output; name a file.")
    if path is not None:
        require_writable(path)
    return path


def new_file_or_output(path: Path | None) -> Path | None:
    """Refuse, before any work is done, a file that could not be written; `-` is standard output."""
    return path if str(path) == "-" else new_file(path)


def new_folder(path: Path | None) -> Path | None:
    """Refuse, before any work is done, a folder that could not be written to."""
    if path is not None:
        require_writable(path, is_folder=True)
    return path


def replaced_folder(path: Path) -> Path:
    """Refuse, before any work is done, a folder that could not be made anew in the place of what stands there."""
    require_writable(path, is_folder=True)
    require_replaceable(path)
    return path


def existing(path: Path | None) -> Path | None:
    """Refuse a file or folder that there is none of."""
    if path is not None and not os.path.exists(path):
        raise typer.BadParameter(f"{path}: there is no such file or folder.")
    return path


def finite(value: float | None) -> float | None:
    """Refuse what is no number, and infinity, which bounds let through."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value}: expected a finite number.")
    return value


def a_split(name: str) -> str:
    """Return the split of some name, `valid` being dev."""
    if (split := split_name(name)) not in SPLIT_NAMES:
        raise typer.BadParameter(f"{name!r}: expected {', '.join(SPLIT_NAMES[:-1])} or {SPLIT_NAMES[-1]}.")
    return split


def a_cluster(address: str | None) -> str | None:
    """Refuse what is no address of a Ray cluster, and any where Ray is not installed."""
    if address is not None:
        if not re.fullmatch(r"auto|local|((ray|https?)://)?[^/:\s]+:[0-9]+/?", address):
            forms = "auto, HOST:6379, ray://HOST:10001 or http://HOST:8265"
            raise typer.BadParameter(f"{address!r}: expected {forms}.")
        if importlib.util.find_spec("ray") is None:
            raise typer.BadParameter("needs Ray: pip install recommenders-miner[ray].")
    return address


def a_scale(name: str) -> str:
    """Refuse a scale that there is none of: `HParamsError`."""
    from recommenders_miner.hparams import changes_of_scale

    changes_of_scale(name)
    return name


def hparams_file(name: str) -> str:
    """Refuse a hyperparameter file that there is none of: `HParamsError`."""
    from recommenders_miner.hparams import find_hparams_file

    find_hparams_file(Path(name))
    return name


# === Options ===

DataDir = Annotated[
    Path, typer.Option("--data", help="Folder with train/ and dev/, each with news.tsv and behaviors.tsv.")
]
OnError = Annotated[
    Literal["raise", "skip"],
    typer.Option(
        help="raise: stop at the first faulty line; skip: leave out such lines, and news ids that are not in news.tsv, "
        "and count them."
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        "-o",
        help="A hyperparameter; may be repeated. Of one model alone: nrms.KEY=VALUE.",
        metavar="KEY=VALUE",
    ),
]
Scale = Annotated[
    str,
    typer.Option(
        help="paper: as published; recommenders: as in Recommenders' notebooks; fast: for two cores and little data.",
        callback=a_scale,
    ),
]
MaxHistory = Annotated[
    int | None, typer.Option(help="Keep so many clicks of a history, the newest; by default all.", min=0)
]
Workers = Annotated[
    int, typer.Option(help="Processes that share the work: on this machine, or those of --address.", min=1)
]
Address = Annotated[
    str | None,
    typer.Option(
        help="A Ray cluster: auto, HOST:6379 or ray://HOST:10001; http://HOST:8265 hands the whole command to it as a "
        "job. Its nodes see the files at the same paths.",
        callback=a_cluster,
    ),
]
Seed = Annotated[int, typer.Option(help="Fixes weights, shuffling, negatives and dropout.", min=0)]


def _show_version(wanted: bool) -> None:
    if wanted:
        console.print(f"recommenders-miner {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def parse_overrides(options: list[str] | None) -> dict[str, Any]:
    """Read key=value options, the values as YAML: 64 is a number, true a truth value, [a, b] a list."""
    overrides = {}
    for option in options or []:
        key, separator, value = option.partition("=")
        if not separator:
            raise typer.BadParameter(f"{option!r}: expected key=value.", param_hint="-o")
        if key.strip().rpartition(".")[2] == "yaml_file":  # which prepare_hparams has beside hyperparameters
            problem = "it is no hyperparameter; files are named by --hparams or --models."
            raise typer.BadParameter(f"{option!r}: {problem}", param_hint="-o")
        try:
            overrides[key.strip()] = parse_yaml(value)
        except ValueError as error:
            raise typer.BadParameter(f"{option!r}: the value is no YAML ({error}).", param_hint="-o") from error
    return overrides


def as_job(address: str | None) -> None:
    """Hand the whole command to a Ray cluster as a job, show what it prints, and end, where the address is of its jobs.

    The job runs with the address `auto` in the place of its own.
    """
    if address and address.startswith(("http://", "https://")):
        from recommenders_miner.distributed.job import run_job

        raise typer.Exit(run_job(address, [word.replace(address, "auto") for word in sys.argv[1:]]))


# === Models ===


def model_folder(run: Path) -> Path:
    """Return where the model of a run lies, or a saved model."""
    return run / "model" if os.path.isdir(run / "model") else run


def open_model(run: Path) -> Any:
    """Load the model of a run, or a saved model."""
    require_model(model_folder(run))
    import_backend_quietly()
    from recommenders_miner.models import load_model

    return load_model(model_folder(run))


def open_reranker(run: Path, data: Path, on_error: Literal["raise", "skip"] = "raise") -> Any:
    """Load the reranker beside the model of a run, or fit it on the data's training split."""
    require_model(model_folder(run))
    import_backend_quietly()
    from recommenders_miner.models.reranker import BoostedReranker

    with progress.progress_bar("fitting the reranker") as report:
        return BoostedReranker.beside(model_folder(run), data, report, on_error)


# === What is said ===


def print_json(document: Any, indent: int | None = 1) -> None:
    """Print JSON to standard output; where its encoding lacks a character, with escapes in the place of all such."""
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(document, indent=indent)
    typer.echo(text)


def say_skipped(reports: Iterable[SkipReport | None]) -> None:
    """Print what was left out of the tables and logs that were read."""
    say_left_out({report.path: report.counts for report in reports if report})


def say_left_out(left_out: Mapping[Any, Mapping[str, int]]) -> None:
    """Print what was left out of files, counted by reason."""
    for file, reasons in left_out.items():
        if reasons:
            shown = ", ".join(f"{count:,} ({reason})" for reason, count in reasons.items())
            console.print(f"Left out of {file}: {shown}", soft_wrap=True)


@contextmanager
def resumable(out: Path) -> Iterator[None]:
    """Say, after Ctrl-C, that nothing finished is lost and how to go on; exit status 130."""
    try:
        yield
    except KeyboardInterrupt:
        message = f"Stopped. What is finished is in {out}; the same command goes on from there."
        progress.console.print(message, soft_wrap=True)
        raise typer.Exit(130) from None
