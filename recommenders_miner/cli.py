"""The command line, `recommenders-miner`. What is heavy is imported where it is used, so that help is quick."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.logging import RichHandler

from recommenders_miner.backend import import_backend_quietly
from recommenders_miner.errors import RecommendersMinerError

app = typer.Typer(
    help="MINER and the news recommenders that its paper compares with.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()

DataDir = Annotated[
    Path, typer.Option("--data", help="Folder with train/ and dev/, each with news.tsv and behaviors.tsv.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", help="A hyperparameter, key=value; may be repeated.", metavar="KEY=VALUE"),
]
Scale = Annotated[str, typer.Option(help="paper: as published; fast: sizes for two cores and little data.")]
Seed = Annotated[int, typer.Option(help="Fixes weights, shuffling, negatives and dropout.")]


@app.command("demo-data")
def demo_data(
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    preset: Annotated[str, typer.Option(help="tiny, demo or mind-small.")] = "demo",
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 42,
) -> None:
    """Write the planted benchmark: click logs in MIND's format whose truth is known."""
    from recommenders_miner.datasets.planted import PRESETS, write_planted_benchmark

    if preset not in PRESETS:
        raise typer.BadParameter(f"{preset!r}: the presets are {', '.join(PRESETS)}.", param_hint="--preset")
    write_planted_benchmark(out, preset, seed, progress=console.print)
    console.print(f"The planted benchmark, preset {preset}, is in {out}.")


@app.command()
def fetch(
    what: Annotated[str, typer.Argument(help="minilm: a small pretrained language model, 90 MB, Apache-2.0.")],
    out: Annotated[Path | None, typer.Option(help="Folder; by default one of the user's cache.")] = None,
) -> None:
    """Get what models need and the package does not bring."""
    from recommenders_miner.datasets.minilm import fetch_minilm

    if what != "minilm":
        raise typer.BadParameter(f"{what!r}: what can be fetched is minilm.", param_hint="WHAT")
    console.print(f"MiniLM is in {fetch_minilm(out)}.")


@app.command("convert-dict")
def convert_dict(
    files: Annotated[list[Path], typer.Argument(help="Dictionaries of Microsoft Recommenders, such as word_dict.pkl.")],
) -> None:
    """Turn pickled dictionaries into JSON beside them, without running what a pickle may hold."""
    from recommenders_miner.io.recommenders_files import convert_pickle

    for file in files:
        console.print(f"{file} is now also in {convert_pickle(file)}.")


@app.command()
def compare(
    data: DataDir,
    out: Annotated[Path, typer.Option(help="Folder for results.json, results.md, results.png and the models.")],
    models: Annotated[
        str, typer.Option(help="Names of hyperparameter files, separated by commas; all: those of MINER's Table 2.")
    ] = "all",
    scale: Scale = "paper",
    option: Overrides = None,
    seed: Seed = 42,
    seeds: Annotated[int, typer.Option(help="Repeat with this many seeds and report mean and spread.", min=1)] = 1,
    skip_unavailable: Annotated[
        bool, typer.Option("--skip-unavailable", help="Leave out models whose language model cannot be had.")
    ] = False,
) -> None:
    """Train and evaluate models side by side."""
    import_backend_quietly()
    from recommenders_miner.compare import TABLE_2, compare, compare_seeds

    names = TABLE_2 if models == "all" else [name.strip() for name in models.split(",")]
    run, runs = (compare, seed) if seeds == 1 else (compare_seeds, range(seed, seed + seeds))
    console.print(run(data, names, out, parse_overrides(option), runs, skip_unavailable, scale).render())
    console.print(f"Written to {out}: results.json, results.md, results.png.")


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
    from recommenders_miner.hparams import prepare_hparams
    from recommenders_miner.io.splits import Split
    from recommenders_miner.models import MODELS

    values = prepare_hparams(hparams, **{"scale": scale, **parse_overrides(option)})
    split = Split.find(data, "train")
    dev = Split.find(data, "dev") if (data / "dev").exists() else None
    model = MODELS[values.model_type](values, seed=seed)
    valid = (dev.news, dev.behaviors) if dev else ()
    model.fit(
        split.news,
        split.behaviors,
        *valid,
        run_dir=out,
        resume=resume,
        verbose=1 if sys.stdout.isatty() else 2,
    )
    model.save(out / "model")
    console.print(f"The model is in {out / 'model'}.")


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a run or of a saved model.")],
    data: DataDir,
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "dev",
    scores: Annotated[Path | None, typer.Option(help="Write the candidates' scores, one line an impression.")] = None,
    submission: Annotated[Path | None, typer.Option(help="Write MIND's prediction.zip.")] = None,
) -> None:
    """Evaluate a saved model; write its scores, or a submission for an unlabelled test split."""
    from recommenders_miner.evaluation.metrics import evaluate_scores
    from recommenders_miner.evaluation.submission import write_scores, write_submission
    from recommenders_miner.io.splits import Split

    model = open_model(run)
    files = Split.find(data, split)
    dataset = model.read(files.news, files.behaviors)
    values = model.score_log(dataset)
    if scores:
        write_scores(scores, values, dataset.log.offsets)
        console.print(f"Scores written to {scores}.")
    if submission:
        write_submission(submission, dataset.log.impression_id, values, dataset.log.offsets)
        console.print(f"Submission written to {submission}.")
    if dataset.log.labelled:
        result = evaluate_scores(values, dataset.log.labels, dataset.log.offsets, model.hparams.metrics)
        console.print_json(json.dumps(result.metrics))
        console.print(
            f"{result.num_impressions:,} impressions; {result.num_left_out:,} more lack a click or a non-click."
        )
    elif not (scores or submission):
        raise typer.BadParameter(
            "the split has no labels: name --scores or --submission to write.", param_hint="--split"
        )


@app.command()
def recommend(
    run: Annotated[Path, typer.Argument(help="Folder of a run or of a saved model.")],
    news: Annotated[Path, typer.Option(help="news.tsv to choose from.")],
    history: Annotated[str, typer.Option(help="Ids of clicked news, newest last, separated by commas.")] = "",
    user: Annotated[str | None, typer.Option(help="The user's id, for models that know users.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many.", min=1)] = 10,
) -> None:
    """Recommend news for a history."""
    from rich.table import Table

    from recommenders_miner.io.news_table import NewsTable

    table = NewsTable.read(news)
    model = open_model(run)
    model.set_news(table)
    clicked = [news_id for news_id in history.split(",") if news_id]
    shown = Table("", "score", "news", "category", "title", title=f"For a reader of {len(clicked)} news")
    for place, (news_id, score) in enumerate(model.recommend(clicked, k=k, user=user), start=1):
        row = table.row_of[news_id]
        shown.add_row(str(place), f"{score:.3f}", news_id, table.category[row].as_py(), table.title[row].as_py())
    console.print(shown)


def parse_overrides(options: list[str] | None) -> dict[str, Any]:
    """Reads key=value options, the values as YAML: 64 is a number, true a truth value, [a, b] a list."""
    overrides = {}
    for option in options or []:
        key, separator, value = option.partition("=")
        if not separator:
            raise typer.BadParameter(f"{option!r}: expected key=value.", param_hint="-o")
        overrides[key.strip()] = yaml.safe_load(value)
    return overrides


def open_model(run: Path) -> Any:
    """Loads the model of a run, or a saved model."""
    import_backend_quietly()
    from recommenders_miner.models import load_model

    return load_model(run / "model" if (run / "model").is_dir() else run)


def main() -> None:
    """Runs the command line; the package's own errors become one line and exit status 1."""
    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=Console(stderr=True), show_path=False)],
    )
    logging.getLogger("recommenders_miner").setLevel(logging.INFO)
    try:
        app()
    except (RecommendersMinerError, FileExistsError) as error:
        if os.environ.get("RECOMMENDERS_MINER_DEBUG"):
            raise
        Console(stderr=True, soft_wrap=True).print(f"[bold red]Error:[/] {error}", highlight=False)
        sys.exit(1)
