"""Commands that use a trained model: evaluate, recommend."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from recommenders_miner.cli.app import DataDir, app, console, open_model
from recommenders_miner.progress import progress_bar


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a run or of a saved model.")],
    data: DataDir,
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "dev",
    scores: Annotated[Path | None, typer.Option(help="Write the candidates' scores, one line an impression.")] = None,
    submission: Annotated[Path | None, typer.Option(help="Write MIND's prediction.zip.")] = None,
) -> None:
    """Evaluate a saved model; write its scores, or a submission for an unlabelled test split."""
    from recommenders_miner.data.folders import Split
    from recommenders_miner.data.ragged import Ragged
    from recommenders_miner.evaluation.metrics import evaluate_scores
    from recommenders_miner.evaluation.submission import write_scores, write_submission

    model = open_model(run)
    files = Split.find(data, split)
    dataset = model.read(files.news, files.behaviors)
    log = dataset.log
    with progress_bar("scoring") as report:
        found = Ragged(model.score_log(dataset, progress=report), log.candidates.offsets)
    if scores:
        write_scores(scores, found)
        console.print(f"Scores written to {scores}.")
    if submission:
        write_submission(submission, log.impression_id, found)
        console.print(f"Submission written to {submission}.")
    if log.labelled:
        result = evaluate_scores(found.values, log.labels, found.offsets, model.hparams.metrics)
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

    from recommenders_miner.data.news import NewsTable

    table = NewsTable.read(news)
    model = open_model(run)
    model.set_news(table)
    clicked = [news_id for news_id in history.split(",") if news_id]
    shown = Table("", "score", "news", "category", "title", title=f"For a user who clicked {len(clicked)} articles")
    for place, (news_id, score) in enumerate(model.recommend(clicked, k=k, user=user), start=1):
        row = table.row_of[news_id]
        shown.add_row(str(place), f"{score:.3f}", news_id, table.category[row].as_py(), table.title[row].as_py())
    console.print(shown)
