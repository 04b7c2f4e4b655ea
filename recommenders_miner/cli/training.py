"""Commands that train, compare, train and reproduce, and the one that lists what can be trained, models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from recommenders_miner.backend import import_backend_quietly
from recommenders_miner.cli.app import DataDir, Overrides, Scale, Seed, app, console, parse_overrides, resumable

SkipUnavailable = Annotated[
    bool, typer.Option("--skip-unavailable", help="Leave out models whose language model cannot be had.")
]


@app.command()
def compare(
    data: DataDir,
    out: Annotated[Path, typer.Option(help="Folder for results.json, results.md, the chart, and the models.")],
    models: Annotated[
        str, typer.Option(help="Names of hyperparameter files, separated by commas; all: those of MINER's Table 2.")
    ] = "all",
    scale: Scale = "paper",
    option: Overrides = None,
    seed: Seed = 42,
    seeds: Annotated[int, typer.Option(help="Repeat with this many seeds and report mean and spread.", min=1)] = 1,
    skip_unavailable: SkipUnavailable = False,
) -> None:
    """Train and evaluate models side by side."""
    import_backend_quietly()
    from recommenders_miner.experiments.compare import compare
    from recommenders_miner.experiments.runs import TABLE_2

    names = TABLE_2 if models == "all" else [name.strip() for name in models.split(",")]
    every_seed = range(seed, seed + seeds)
    with resumable(out):
        found = compare(data, names, out, parse_overrides(option), every_seed, skip_unavailable, scale)
    console.print(found.render())
    console.print(f"Look at {out / 'results.md'} and {out / 'results.png'}.", soft_wrap=True)


@app.command()
def train(
    data: DataDir,
    out: Annotated[Path, typer.Option(help="Folder of the run: a checkpoint after each epoch, then the model.")],
    hparams: Annotated[str, typer.Option(help="Name or path of a hyperparameter file.")] = "miner",
    scale: Scale = "paper",
    option: Overrides = None,
    seed: Seed = 42,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's checkpoint.")] = False,
) -> None:
    """Train one model, evaluating on dev after each epoch where there is a dev split."""
    import_backend_quietly()
    from recommenders_miner.data.folders import Split
    from recommenders_miner.hparams import prepare_hparams
    from recommenders_miner.models import MODELS

    values = prepare_hparams(hparams, **{"scale": scale, **parse_overrides(option)})
    split = Split.find(data, "train")
    dev = Split.find(data, "dev") if (data / "dev").exists() else None
    model = MODELS[values.model_type](values, seed=seed)
    valid = (dev.news, dev.behaviors) if dev else ()
    verbose = 1 if sys.stdout.isatty() else 2
    model.fit(split.news, split.behaviors, *valid, run_dir=out, resume=resume, verbose=verbose)
    model.save(out / "model")
    console.print(f"The model is in {out / 'model'}.")


@app.command()
def reproduce(
    experiment: Annotated[str, typer.Argument(help="table2, table3, figure3, figure4, figure5, figure6 or all.")],
    data: DataDir,
    out: Annotated[Path, typer.Option(help="Folder for the runs, and for results.md with its figures.")],
    seeds: Annotated[int, typer.Option(help="Runs of each model, each with its own seed.", min=1)] = 3,
    scale: Annotated[
        str, typer.Option(help="fast: sizes for two cores and little data; paper: as published.")
    ] = "fast",
    seed: Seed = 42,
    option: Overrides = None,
    skip_unavailable: SkipUnavailable = False,
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
    console.print(f"The page is {page}; its figures are in {out / 'results'}.", soft_wrap=True)


@app.command()
def models() -> None:
    """List the models: their papers, what they read, and their hyperparameter files."""
    import_backend_quietly()
    from recommenders_miner.hparams import hparams_files, prepare_hparams
    from recommenders_miner.models import MODELS
    from recommenders_miner.tables import terminal_table

    settings = {name: prepare_hparams(name) for name in hparams_files()}
    table = terminal_table()
    for header in ("model", "paper", "year", "reads", "hyperparameter files"):
        table.add_column(header, no_wrap=header in ("model", "year"))
    for name, model in MODELS.items():
        reads = [*settings[name].features, *(["user id"] if model.user_aware else [])]
        files = [file for file, hparams in settings.items() if hparams.model_type == name]
        table.add_row(name, model.paper, str(model.year), ", ".join(reads), ", ".join(files))
    console.print(table)
