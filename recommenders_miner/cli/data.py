"""Commands that make data: demo-data, convert-dict."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated

import typer

from recommenders_miner.cli.app import app, console
from recommenders_miner.progress import progress_bar


@app.command("demo-data")
def demo_data(
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    preset: Annotated[str, typer.Option(help="tiny, demo or mind-small.")] = "demo",
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 42,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Remove what is in the folder first.")] = False,
) -> None:
    """Write the synthetic benchmark: click logs in MIND's format whose truth is known."""
    from recommenders_miner.datasets.synthetic.benchmark import NUM_STEPS, PRESETS, write_synthetic_benchmark

    if preset not in PRESETS:
        raise typer.BadParameter(f"{preset!r}: the presets are {', '.join(PRESETS)}.", param_hint="--preset")
    steps = itertools.count()
    with progress_bar("synthetic benchmark") as report:
        write_synthetic_benchmark(out, preset, seed, lambda step: report(next(steps) / NUM_STEPS, step), overwrite)
    console.print(f"The synthetic benchmark, preset {preset}, is in {out}.")


@app.command("convert-dict")
def convert_dict(
    files: Annotated[list[Path], typer.Argument(help="Dictionaries of Microsoft Recommenders, such as word_dict.pkl.")],
) -> None:
    """Turn pickled dictionaries into JSON beside them, without running what a pickle may hold."""
    from recommenders_miner.compat.dictionaries import convert_pickle

    for file in files:
        console.print(f"{file} is now also in {convert_pickle(file)}.")
