"""Commands of an editor's policies: tradeoff, which says what one costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recommenders_miner.cli.app import DataDir, OnError, Seed, a_split, app, console, existing, new_folder, open_model
from recommenders_miner.data.folders import Split
from recommenders_miner.progress import progress_bar


def _dials(text: str) -> str:
    try:
        good = all(0 <= float(dial) <= 1 for dial in text.split(","))
    except ValueError:
        good = False
    if not good:
        raise typer.BadParameter(f"{text!r}: expected numbers from 0 to 1, like 0,0.5,1.")
    return text


@app.command()
def tradeoff(
    run: Annotated[Path, typer.Argument(help="Folder of a run or of a saved model.")],
    data: DataDir,
    policy: Annotated[Path, typer.Option(help="The policy's YAML file.", callback=existing)],
    out: Annotated[Path, typer.Option(help="Folder for the tables and the charts.", callback=new_folder)],
    split: Annotated[str, typer.Option(help="The split whose impressions are put in order.", callback=a_split)] = "dev",
    k: Annotated[int, typer.Option("--k", help="How long the lists are.", min=1, max=1000)] = 10,
    dials: Annotated[
        str, typer.Option(help="Strengths of the policy's reranker, separated by commas.", callback=_dials)
    ] = "0,0.1,0.25,0.5,0.75,1",
    by: Annotated[
        list[str] | None,
        typer.Option(help="Also by groups of users: clicks, activity, or a column of users.parquet; may be repeated."),
    ] = None,
    impressions: Annotated[
        int | None, typer.Option(help="Take so many impressions at random; by default all.", min=1)
    ] = None,
    seed: Seed = 42,
    on_error: OnError = "raise",
) -> None:
    """Say what a policy costs: accuracy against diversity and exposure along its dial, as a table and as charts."""
    files, training_files = Split.find(data, split), Split.find(data, "train")
    from recommenders_miner.evaluation.user_groups import require_group
    from recommenders_miner.reranking import Policy

    rules = Policy.read(policy)
    for group in by or ():
        require_group(group, files.behaviors)
    model = open_model(run)
    import numpy as np

    from recommenders_miner.data.log import ImpressionLog
    from recommenders_miner.data.news import NewsTable
    from recommenders_miner.data.ragged import Ragged
    from recommenders_miner.experiments.tradeoff import tradeoff

    dataset = model.read(files.news, files.behaviors, on_error)
    log = dataset.log
    training_news = NewsTable.read(training_files.news, on_error)
    training_log = ImpressionLog.read(training_files.behaviors, training_news, on_error)
    with progress_bar("scoring") as report:
        scores = model.score_log(dataset, progress=report)
    if impressions and impressions < len(log):
        taken = np.sort(np.random.default_rng(seed).permutation(len(log))[:impressions])
        scores = Ragged(scores, log.candidates.offsets).take(taken).values
        log = log.select(taken)
    turned = [float(dial) for dial in dials.split(",")]
    with progress_bar("arranging") as report:
        found = tradeoff(
            rules, scores, log, dataset.news, training_log, training_news, turned, k, by or (), seed, report
        )
    found.write(out, {"run": str(run), "data": str(data), "split": split, "file": str(policy), "seed": seed})
    console.print(found.worth(), soft_wrap=True)
    console.print(f"Look at {out / 'tradeoff.md'} and {out / 'tradeoff.png'}.", soft_wrap=True)
