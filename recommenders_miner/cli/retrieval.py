"""The command that retrieves from a large pool: recall."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recommenders_miner.cli.app import DataDir, app, console, open_model
from recommenders_miner.cli.serving import Run
from recommenders_miner.progress import progress_bar

if TYPE_CHECKING:
    from rich.table import Table

    from recommenders_miner.evaluation.metrics import Evaluation


@app.command()
def recall(
    run: Run,
    data: DataDir,
    split: Annotated[str, typer.Option(help="The split whose news are the pool, and whose clicks are looked for.")] = (
        "dev"
    ),
    k: Annotated[str, typer.Option("--k", help="How many articles are retrieved; several, separated by commas.")] = (
        "10,50,100,200"
    ),
    strategy: Annotated[
        str, typer.Option(help="average, multi or category; auto: what finds the model's own best.")
    ] = "auto",
    index: Annotated[str, typer.Option(help="flat: exact; ivf, hnsw: faster in pools of a million.")] = "flat",
    rerank: Annotated[
        int | None, typer.Option(help="Score that many of the articles found by the full model.", min=1)
    ] = None,
    in_turns: Annotated[
        bool, typer.Option("--in-turns", help="With multi: each interest chooses in turn, so that each has its share.")
    ] = False,
    max_age_days: Annotated[
        float | None,
        typer.Option(help="Leave out articles first seen longer before the impression, or after it.", min=0),
    ] = None,
    keep_clicked: Annotated[
        bool, typer.Option("--keep-clicked", help="Keep articles of the user's own history.")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the metrics to this file.")] = None,
) -> None:
    """Retrieve from all the news of a split, and count the clicked articles among the top k."""
    model = open_model(run)
    import numpy as np

    from recommenders_miner.data.folders import Split
    from recommenders_miner.data.log import ImpressionLog
    from recommenders_miner.data.news import NewsTable
    from recommenders_miner.data.ragged import Ragged
    from recommenders_miner.evaluation.beyond_accuracy import BeyondAccuracy
    from recommenders_miner.evaluation.metrics import evaluate_recall
    from recommenders_miner.retrieval.news_recall import NewsRecall, first_seen
    from recommenders_miner.storage import atomic_write

    cutoffs = _cutoffs(k)
    files = Split.find(data, split)
    dataset = model.read(files.news, files.behaviors)
    log, news = dataset.log, dataset.news
    if not log.labelled:
        raise typer.BadParameter("the split has no labels: there are no clicks to look for.", param_hint="--split")
    files = Split.find(data, "train")
    training_news = NewsTable.read(files.news)
    training_log = ImpressionLog.read(files.behaviors, training_news)
    search = NewsRecall(
        model,
        dataset,
        strategy,
        index,
        rerank=rerank,
        in_turns=in_turns,
        keep_clicked=keep_clicked,
        first_seen=None if max_age_days is None else first_seen(news, [(training_log, training_news), (log, news)]),
        max_age_days=max_age_days,
    )
    with progress_bar("retrieving") as report:
        rows, _ = search.search(log, dataset.users, max(cutoffs), report)
    evaluation = evaluate_recall(rows, log, cutoffs)
    lists = Ragged.of_lengths(rows[rows > 0], (rows > 0).sum(axis=1))
    beyond = BeyondAccuracy.fit(log, news, training_log, training_news, pool=np.arange(1, len(news)))
    for cutoff in cutoffs:
        evaluation = evaluation.with_metrics_of(replace(beyond, k=cutoff).evaluate_lists(lists))
    if json_file:
        document = {
            "model": str(run),
            "split": split,
            "pool": len(news) - 1,
            "strategy": search.strategy,
            "index": index,
            "rerank": search.rerank,
            "in_turns": in_turns,
            "max_age_days": max_age_days,
            "keep_clicked": keep_clicked,
            "num_impressions": evaluation.num_impressions,
            "num_left_out": evaluation.num_left_out,
            "metrics": evaluation.metrics,
            "standard_errors": {n: error for n, error in evaluation.standard_errors.items() if math.isfinite(error)},
        }
        with atomic_write(json_file) as temporary:
            temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    title = f"Retrieved from {len(news) - 1:,} articles, {search.strategy}, {index}"
    console.print(_table(evaluation, cutoffs, title))
    counts = f"{evaluation.num_impressions:,} impressions; {evaluation.num_left_out:,} more have no click."
    console.print(f"{counts} In percent, novelty in bits, calibration in nats; docs/metrics.md says what they are.")


def _cutoffs(text: str) -> list[int]:
    """Read whole numbers separated by commas, ascending."""
    try:
        cutoffs = sorted({int(word) for word in text.split(",")})
    except ValueError:
        cutoffs = [0]
    if cutoffs[0] < 1:
        raise typer.BadParameter(f"{text!r}: expected numbers like 10,50,100.", param_hint="--k")
    return cutoffs


def _table(evaluation: Evaluation, cutoffs: list[int], title: str) -> Table:
    """Show accuracy, and what the lists are like beside it, with standard errors, a row a cutoff."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from recommenders_miner.experiments.comparison_table import Column

    def cell(column: Column) -> str:
        value, error = evaluation.metrics.get(column.name), evaluation.standard_errors.get(column.name)
        shown = "-" if value is None else column.write(value)
        return shown if error is None or math.isnan(error) else f"{shown}\n±{column.write(error)}"

    shown = Table(title=title, box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    shown.add_column("k", justify="right")
    names = ("recall", "hit_rate", "ndcg", "ild", "novelty", "calibration", "coverage")
    for name in names:
        shown.add_column(Column.of_metric(name).title, justify="right")
    for cutoff in cutoffs:
        shown.add_row(str(cutoff), *(cell(Column.of_metric(f"{name}@{cutoff}")) for name in names))
    return shown
