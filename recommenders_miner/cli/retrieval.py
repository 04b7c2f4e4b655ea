"""The command that retrieves from a large pool: recall."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recommenders_miner.cli.app import DataDir, app, console, open_model
from recommenders_miner.progress import progress_bar

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table

    from recommenders_miner.evaluation.metrics import Evaluation
    from recommenders_miner.io.news_table import NewsTable


@app.command()
def recall(
    run: Annotated[Path, typer.Argument(help="Folder of a run or of a saved model.")],
    data: DataDir,
    split: Annotated[str, typer.Option(help="The split whose news are the pool, and whose clicks are looked for.")] = (
        "dev"
    ),
    k: Annotated[str, typer.Option("--k", help="How many news are retrieved; several, separated by commas.")] = (
        "10,50,100,200"
    ),
    strategy: Annotated[
        str, typer.Option(help="average, multi or category; auto: what finds the model's own best.")
    ] = "auto",
    index: Annotated[str, typer.Option(help="flat: exact; ivf, hnsw: faster in pools of a million.")] = "flat",
    rerank: Annotated[
        int | None, typer.Option(help="Score that many of the news found by the full model.", min=1)
    ] = None,
    in_turns: Annotated[
        bool, typer.Option("--in-turns", help="With multi: each interest chooses in turn, so that each has its share.")
    ] = False,
    max_age_days: Annotated[
        float | None,
        typer.Option(help="Leave out news first seen longer before the impression, or after it.", min=0),
    ] = None,
    keep_clicked: Annotated[bool, typer.Option("--keep-clicked", help="Keep news of the reader's own history.")] = (
        False
    ),
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Retrieve from all the news of a split, and count the clicked ones among the top k."""
    model = open_model(run)
    from recommenders_miner.files import whole_file
    from recommenders_miner.io.splits import Split
    from recommenders_miner.retrieval.news_recall import NewsRecall
    from recommenders_miner.retrieval.recall_metrics import evaluate_recall

    cutoffs = _cutoffs(k)
    files = Split.find(data, split)
    dataset = model.read(files.news, files.behaviors)
    if not dataset.log.labelled:
        raise typer.BadParameter("the split has no labels: there are no clicks to look for.", param_hint="--split")
    search = NewsRecall(
        model,
        files.news,
        strategy,
        index,
        rerank=rerank,
        in_turns=in_turns,
        keep_clicked=keep_clicked,
        first_seen=None if max_age_days is None else _first_seen(data, split, dataset.news),
        max_age_days=max_age_days,
    )
    with progress_bar("retrieving") as report:
        rows, _ = search.search(dataset.log, dataset.users, max(cutoffs), report)
    evaluation = evaluate_recall(rows, dataset.log, cutoffs)
    settings = {
        "model": str(run),
        "split": split,
        "pool": len(dataset.news) - 1,
        "strategy": search.strategy,
        "index": index,
        "rerank": search.rerank,
        "in_turns": in_turns,
        "max_age_days": max_age_days,
        "keep_clicked": keep_clicked,
    }
    if json_file:
        figures = {
            **settings,
            "num_impressions": evaluation.num_impressions,
            "num_left_out": evaluation.num_left_out,
            "metrics": evaluation.metrics,
            "standard_errors": {n: error for n, error in evaluation.standard_errors.items() if math.isfinite(error)},
        }
        with whole_file(json_file) as temporary:
            temporary.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    console.print(_table(evaluation, cutoffs, f"Retrieved from {settings['pool']:,} news, {search.strategy}, {index}"))
    console.print(f"{evaluation.num_impressions:,} impressions; {evaluation.num_left_out:,} more have no click.")


def _cutoffs(text: str) -> list[int]:
    """Reads whole numbers separated by commas, ascending."""
    try:
        cutoffs = sorted({int(word) for word in text.split(",")})
    except ValueError:
        cutoffs = [0]
    if cutoffs[0] < 1:
        raise typer.BadParameter(f"{text!r}: expected numbers like 10,50,100.", param_hint="--k")
    return cutoffs


def _first_seen(data: Path, split: str, news: NewsTable) -> np.ndarray:
    """Finds since when the news can be recommended, by the logs of the training split and of this one."""
    from recommenders_miner.io.impression_log import ImpressionLog
    from recommenders_miner.io.news_table import NewsTable
    from recommenders_miner.io.splits import Split
    from recommenders_miner.retrieval.first_seen import first_seen

    splits = [Split.find(data, name) for name in dict.fromkeys(("train", split))]
    tables = [NewsTable.read(files.news) for files in splits]
    logs = [ImpressionLog.read(files.behaviors, table) for files, table in zip(splits, tables, strict=True)]
    return first_seen(news, zip(logs, tables, strict=True))


def _table(evaluation: Evaluation, cutoffs: list[int], title: str) -> Table:
    """Shows percentages with their standard errors, a row a cutoff."""
    from rich.table import Table

    shown = Table("k", title=title)
    names = {"recall": "recall %", "hit_rate": "hit rate %", "ndcg": "nDCG %"}
    for heading in names.values():
        shown.add_column(heading, justify="right")
    for cutoff in cutoffs:
        keys = [f"{name}@{cutoff}" for name in names]
        figures = (f"{100 * evaluation.metrics[key]:.2f} ± {100 * evaluation.standard_errors[key]:.2f}" for key in keys)
        shown.add_row(str(cutoff), *figures)
    return shown
