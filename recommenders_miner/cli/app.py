"""What the commands share: the application, the console, options, and how a model is opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from recommenders_miner import __version__, progress
from recommenders_miner.backend import import_backend_quietly
from recommenders_miner.storage import parse_yaml

app = typer.Typer(
    help="MINER and the news recommenders that its paper compares with.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(markup=False, emoji=False)
"""Prints what it is given as it stands: paths and ids of users may look like Rich's markup, `[/a]` or `:smile:`."""

DataDir = Annotated[
    Path, typer.Option("--data", help="Folder with train/ and dev/, each with news.tsv and behaviors.tsv.")
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
        help="paper: as published; recommenders: as in Recommenders' notebooks; fast: for two cores and little data."
    ),
]
MaxHistory = Annotated[
    int | None, typer.Option(help="Keep so many clicks of a history, the newest; by default all.", min=0)
]
Seed = Annotated[int, typer.Option(help="Fixes weights, shuffling, negatives and dropout.")]


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
        try:
            overrides[key.strip()] = parse_yaml(value)
        except ValueError as error:
            raise typer.BadParameter(f"{option!r}: the value is no YAML ({error}).", param_hint="-o") from error
    return overrides


def model_folder(run: Path) -> Path:
    """Return where the model of a run lies, or a saved model."""
    return run / "model" if (run / "model").is_dir() else run


def open_model(run: Path) -> Any:
    """Load the model of a run, or a saved model."""
    import_backend_quietly()
    from recommenders_miner.models import load_model

    return load_model(model_folder(run))


def open_reranker(run: Path, data: Path) -> Any:
    """Load the reranker beside the model of a run, or fit it on the data's training split."""
    import_backend_quietly()
    from recommenders_miner.models.reranker import BoostedReranker

    with progress.progress_bar("fitting the reranker") as report:
        return BoostedReranker.beside(model_folder(run), data, report)


@contextmanager
def resumable(out: Path) -> Iterator[None]:
    """Say, after Ctrl-C, that nothing finished is lost and how to go on; exit status 130."""
    try:
        yield
    except KeyboardInterrupt:
        message = f"Stopped. What is finished is in {out}; the same command goes on from there."
        progress.console.print(message, soft_wrap=True)
        raise typer.Exit(130) from None
