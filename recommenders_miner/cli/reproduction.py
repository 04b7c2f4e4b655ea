"""The command that re-runs the paper's experiments: reproduce."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recommenders_miner.backend import import_backend_quietly
from recommenders_miner.cli.app import DataDir, Overrides, Seed, app, console, parse_overrides, resumable


@app.command()
def reproduce(
    experiment: Annotated[str, typer.Argument(help="table2, table3, figure3, figure4, figure5, figure6 or all.")],
    data: DataDir,
    out: Annotated[Path, typer.Option(help="Folder for the runs, and for results.md with its figures.")],
    seeds: Annotated[int, typer.Option(help="Runs of each system, each with its own seed.", min=1)] = 3,
    scale: Annotated[
        str, typer.Option(help="fast: sizes for two cores and little data; paper: as published.")
    ] = "fast",
    seed: Seed = 42,
    option: Overrides = None,
    skip_unavailable: Annotated[
        bool, typer.Option("--skip-unavailable", help="Leave out models whose language model cannot be had.")
    ] = False,
) -> None:
    """Re-run an experiment of the MINER paper, and set what is found beside what it reports.

    Finished runs are kept: the same command goes on where it was stopped.
    """
    import_backend_quietly()
    from recommenders_miner.experiments import EXPERIMENTS, Study, reproduce

    if experiment not in (*EXPERIMENTS, "all"):
        known = ", ".join([*EXPERIMENTS, "all"])
        raise typer.BadParameter(f"{experiment!r}: the experiments are {known}.", param_hint="EXPERIMENT")
    every_seed = range(seed, seed + seeds)
    study = Study(data, out, every_seed, scale, skip_unavailable, parse_overrides(option))
    with resumable(out):
        page = reproduce(study, [*EXPERIMENTS] if experiment == "all" else [experiment])
    console.print(f"The page is {page}; its figures are in {out / 'results'}.")
