"""Commands that train, compare, train and reproduce, and the one that lists what can be trained, models."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from recommenders_miner.backend import import_backend_quietly
from recommenders_miner.cli.app import (
    Address,
    DataDir,
    OnError,
    Overrides,
    Scale,
    Seed,
    Workers,
    app,
    as_job,
    console,
    finite,
    hparams_file,
    new_folder,
    parse_overrides,
    resumable,
    say_skipped,
)
from recommenders_miner.data.folders import Split, split_folders

if TYPE_CHECKING:
    from recommenders_miner.experiments.plan import Plan

SkipUnavailable = Annotated[
    bool, typer.Option("--skip-unavailable", help="Exit with status 0 although some models cannot run or failed.")
]
Experiment = Literal["table2", "table3", "figure3", "figure4", "figure5", "figure6", "plus", "recommenders", "all"]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would run, what not and why, and stop.")]


def _known_models(names: str) -> str:
    """Refuse a list that names neither a hyperparameter file nor a floor: `HParamsError`."""
    from recommenders_miner.evaluation.baselines import FLOORS

    for name in names.split(","):
        if name.strip() not in ("all", *FLOORS):
            hparams_file(name.strip())
    return names


def _see_plan(dry_run: bool) -> Callable[[Mapping[str, Plan]], None]:
    """Return what prints a plan, and ends the command where no more is wanted."""

    def see(planned: Mapping[str, Plan]) -> None:
        width = max(map(len, planned), default=0)
        for name, plan in planned.items():
            console.print(f"{name:{width}}  {plan.state}", soft_wrap=True, highlight=False)
        if dry_run:
            raise typer.Exit

    return see


def _end(failed: Mapping[str, str], skip_unavailable: bool) -> None:
    """End with status 1 where a model failed."""
    if failed and not skip_unavailable:
        console.print(f"No figures of {', '.join(failed)}. The same command tries them again, and keeps the others.")
        raise typer.Exit(1)


@app.command()
def compare(
    data: DataDir,
    out: Annotated[
        Path,
        typer.Option(help="Folder for results.json, results.md, the chart, and the models.", callback=new_folder),
    ],
    models: Annotated[
        str,
        typer.Option(
            help="Names of hyperparameter files, separated by commas, and all for those of MINER's Table 2; "
            "popularity-now or another floor alone: no training.",
            callback=_known_models,
        ),
    ] = "all",
    scale: Scale = "paper",
    option: Overrides = None,
    seed: Seed = 42,
    seeds: Annotated[int, typer.Option(help="Repeat with this many seeds and report mean and spread.", min=1)] = 1,
    rerank: Annotated[
        bool,
        typer.Option("--rerank", help="Also show each model with boosted trees over it; needs -o held_out=users."),
    ] = False,
    normative: Annotated[
        bool,
        typer.Option(
            "--normative", help="Also show normative diversity (RADio), and how evenly articles and sources are listed."
        ),
    ] = False,
    on_error: OnError = "raise",
    skip_unavailable: SkipUnavailable = False,
    dry_run: DryRun = False,
) -> None:
    """Train and evaluate models side by side.

    A model that cannot run, or fails, becomes a row that says why, and the others go on; the exit status is then 1.
    """
    overrides = parse_overrides(option)
    for split in ("train", "dev"):
        Split.find(data, split)
    import_backend_quietly()
    from recommenders_miner.experiments.compare import compare
    from recommenders_miner.experiments.runs import TABLE_2

    names = [name for part in models.split(",") for name in (TABLE_2 if part.strip() == "all" else [part.strip()])]
    every_seed = range(seed, seed + seeds)
    with resumable(out):
        see = _see_plan(dry_run)
        found = compare(data, names, out, overrides, every_seed, scale, see, rerank, on_error, normative)
    console.print(found.render())
    console.print(f"Look at {out / 'results.md'} and {out / 'results.png'}.", soft_wrap=True)
    _end(found.failed, skip_unavailable)


@app.command()
def train(
    data: DataDir,
    out: Annotated[
        Path,
        typer.Option(help="Folder of the run: a checkpoint after each epoch, then the model.", callback=new_folder),
    ],
    hparams: Annotated[
        str, typer.Option(help="Name or path of a hyperparameter file.", callback=hparams_file)
    ] = "miner",
    scale: Scale = "paper",
    option: Overrides = None,
    seed: Seed = 42,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's checkpoint.")] = False,
    with_dev: Annotated[bool, typer.Option("--with-dev", help="Train on dev too, as for a leaderboard.")] = False,
    workers: Workers = 1,
    address: Address = None,
    gpus_per_worker: Annotated[
        float, typer.Option(help="GPUs that each worker has to itself.", min=0, callback=finite)
    ] = 0,
    on_error: OnError = "raise",
) -> None:
    """Train one model, evaluating on dev after each epoch where there is a dev split."""
    as_job(address)
    overrides = parse_overrides(option)
    split = Split.find(data, "train")
    import_backend_quietly()
    from recommenders_miner.data.split import join_splits
    from recommenders_miner.experiments.runs import Variant, require_known_models
    from recommenders_miner.models import MODELS

    require_known_models(overrides, [hparams])
    values = Variant(hparams).hparams(scale, overrides)
    if with_dev:
        data = join_splits(data, out / "train-and-dev", on_error=on_error, overwrite=True)
        split = Split.find(data, "train")
    dev = Split.find(data, "dev") if "dev" in split_folders(data) else None
    if dev is None and not with_dev:
        console.print(f"There is no dev split in {data}: the epochs are not evaluated.", soft_wrap=True)
    model = MODELS[values.model_type](values, seed=seed)
    valid = (dev.news, dev.behaviors) if dev else ()
    options = {"run_dir": out, "resume": resume, "on_error": on_error, "verbose": 1 if sys.stdout.isatty() else 2}
    if workers > 1 or address:
        from recommenders_miner import distributed

        options |= {"workers": workers, "address": address, "gpus_per_worker": gpus_per_worker}
        distributed.fit(model, split.news, split.behaviors, *valid, **options)
    else:
        model.fit(split.news, split.behaviors, *valid, **options)
        model.save(out / "model")
    say_skipped((model.train_iterator.skipped | model.test_iterator.skipped).values())
    console.print(f"The model is in {out / 'model'}.")


@app.command()
def reproduce(
    experiment: Annotated[Experiment, typer.Argument(help="A table or a figure, all of these, plus, or recommenders.")],
    data: DataDir,
    out: Annotated[
        Path, typer.Option(help="Folder for the runs, and for results.md with its figures.", callback=new_folder)
    ],
    seeds: Annotated[int, typer.Option(help="Runs of each model, each with its own seed.", min=1)] = 3,
    scale: Scale = "fast",
    seed: Seed = 42,
    option: Overrides = None,
    size: Annotated[
        Literal["small", "large"], typer.Option(help="Whose figures of the paper's Table 2: MIND-small's or large's.")
    ] = "small",
    on_error: OnError = "raise",
    skip_unavailable: SkipUnavailable = False,
    dry_run: DryRun = False,
) -> None:
    """Re-run an experiment of the MINER paper, and set what is found beside what it reports.

    `recommenders` does so for the notebooks of Microsoft Recommenders. Finished runs are kept: the same command goes on
    where it was stopped. With a test split without labels, table2 writes each model's prediction.zip.
    """
    overrides = parse_overrides(option)
    for split in ("train", "dev"):
        Split.find(data, split)
    import_backend_quietly()
    from recommenders_miner.experiments import Study, reproduce
    from recommenders_miner.experiments.paper import PAPER

    every_seed = range(seed, seed + seeds)
    study = Study(data, out, every_seed, scale, overrides, size, on_error)
    with resumable(out):
        page = reproduce(study, [*PAPER] if experiment == "all" else [experiment], _see_plan(dry_run))
    say_skipped(study.runs.dev.left_out)
    console.print(f"Look at {page}; its figures are in {out / 'results'}.", soft_wrap=True)
    _end(study.failed, skip_unavailable)


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
