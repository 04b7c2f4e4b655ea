"""Commands that measure what has been trained: evaluate, ensemble, recall."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from recommenders_miner.cli.app import (
    Address,
    DataDir,
    OnError,
    Workers,
    a_split,
    app,
    as_job,
    console,
    finite,
    new_file,
    open_model,
    open_reranker,
    say_skipped,
)
from recommenders_miner.data.folders import Split
from recommenders_miner.progress import progress_bar

if TYPE_CHECKING:
    from recommenders_miner.data.log import ImpressionLog
    from recommenders_miner.data.ragged import Ragged
    from recommenders_miner.evaluation.metrics import Evaluation

Run = Annotated[Path, typer.Argument(help="Folder of a run or of a saved model.")]
ScoresFile = Annotated[
    Path | None,
    typer.Option(
        help="Write the candidates' scores, one line an impression; .parquet: as Parquet, of a log in parts a folder.",
        callback=new_file,
    ),
]
Submission = Annotated[
    Path | None, typer.Option(help="Write the zip that MIND's or EB-NeRD's leaderboard takes.", callback=new_file)
]
SubmissionFile = Annotated[
    Literal["prediction.txt", "predictions.txt"] | None,
    typer.Option(
        help="Name of the file in it.", show_default="predictions.txt where the data is EB-NeRD's, else prediction.txt"
    ),
]
SplitName = Annotated[str, typer.Option(help="train, dev or test.", callback=a_split)]


def _cutoffs(text: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]{0,8}(,[1-9][0-9]{0,8})*", text):
        raise typer.BadParameter(f"{text!r}: expected numbers like 10,50,100.")
    return text


@app.command()
def evaluate(
    run: Run,
    data: DataDir,
    split: SplitName = "dev",
    scores: ScoresFile = None,
    submission: Submission = None,
    submission_file: SubmissionFile = None,
    rerank: Annotated[
        bool,
        typer.Option(
            "--rerank",
            help="Put boosted trees over the model's scores: those kept beside it, or else fitted on what it held out "
            "of the data's train, and kept there.",
        ),
    ] = False,
    workers: Workers = 1,
    address: Address = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="Also show the metrics by groups: clicks, activity, candidates, or a column of users.parquet; may be "
            "repeated."
        ),
    ] = None,
    on_error: OnError = "raise",
) -> None:
    """Evaluate a saved model; write its scores, or a submission for an unlabelled test split."""
    as_job(address)
    if rerank and (workers > 1 or address):
        raise typer.BadParameter("goes without --workers and --address.", param_hint="--rerank")
    _evaluate([run], data, split, scores, submission, submission_file, on_error, rerank, workers, address, by or ())


@app.command()
def ensemble(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs or of saved models, of any kinds.")],
    data: DataDir,
    split: SplitName = "dev",
    scores: ScoresFile = None,
    submission: Submission = None,
    submission_file: SubmissionFile = None,
    on_error: OnError = "raise",
) -> None:
    """Evaluate several saved models as one, by the mean of the ranks that they give; otherwise as evaluate."""
    _evaluate(runs, data, split, scores, submission, submission_file, on_error)


def _evaluate(
    runs: list[Path],
    data: Path,
    split: str,
    scores: Path | None,
    submission: Path | None,
    file_name: str | None,
    on_error: OnError,
    rerank: bool = False,
    workers: int = 1,
    address: str | None = None,
    by: Sequence[str] = (),
) -> None:
    files = Split.find(data, split)
    if by:
        from recommenders_miner.evaluation.user_groups import require_group

        for group in by:
            require_group(group, files.behaviors)
    if rerank:
        Split.find(data, "train")
    from recommenders_miner.data.ragged import Ragged
    from recommenders_miner.evaluation.metrics import evaluate_scores, mean_ranks
    from recommenders_miner.evaluation.submission import (
        submission_file,
        write_parquet,
        write_scores,
        write_submission,
    )
    from recommenders_miner.storage import atomic_write

    of_models = []
    for run in runs:
        reranker = open_reranker(run, data, on_error) if rerank else None
        model = reranker.model if reranker else open_model(run)
        dataset = model.read(files.news, files.behaviors, on_error)
        log = dataset.log
        if not (log.labelled or scores or submission):
            raise typer.BadParameter(
                "the split has no labels: name --scores or --submission to write.", param_hint="--split"
            )
        if not (scores or submission):
            log.require("evaluate on")
        shared = workers > 1 or address or log.num_parts > 1
        if log.num_parts > 1 and (len(runs) > 1 or rerank or submission or by):
            raise typer.BadParameter("an ingested log is evaluated by one model, without --rerank, --submission, --by.")
        with progress_bar(f"scoring by {run}" if len(runs) > 1 else "scoring") as report:
            if shared:
                from recommenders_miner.distributed import score_parts

                options = {"on_error": on_error, "progress": report, "workers": workers, "address": address}
                parts = score_parts(model, dataset, (files.news, files.behaviors), **options)
                if log.num_parts > 1:
                    return _evaluate_parts(parts, scores, model.hparams.metrics)
                [(_, of_log)] = parts
                found = of_log.values
            else:
                found = (reranker.score if reranker else model.score_log)(dataset, progress=report)
            of_models.append(Ragged(found, log.candidates.offsets))
    found = of_models[0] if len(of_models) == 1 else mean_ranks(of_models)
    if scores:
        if scores.suffix == ".parquet":
            with atomic_write(scores) as partial:
                write_parquet(partial, log.impression_id, found)
        else:
            write_scores(scores, found)
        console.print(f"Scores written to {scores}.")
    if submission:
        write_submission(submission, log.impression_id, found, file_name or submission_file(data))
        console.print(f"Submission written to {submission}.")
    say_skipped(model.test_iterator.skipped.values())
    if log.labelled and (problem := log.lacking_to("evaluate on")):
        console.print(f"{log.path}: {problem}", soft_wrap=True)
    elif log.labelled:
        _print_metrics(evaluate_scores(found.values, log.labels, found.offsets, model.hparams.metrics))
        for group in by:
            _print_groups(group, log, found, model.hparams.metrics)


def _print_metrics(result: Evaluation) -> None:
    console.print_json(json.dumps(result.metrics))
    console.print(f"{result.num_impressions:,} impressions; {result.num_left_out:,} more lack a click or a non-click.")


def _evaluate_parts(parts: Iterator[tuple[ImpressionLog, Ragged]], scores: Path | None, metrics: Sequence[str]) -> None:
    """Evaluate an ingested log part by part; its scores are a folder of Parquet files."""
    from recommenders_miner.evaluation.metrics import Evaluation, evaluate_scores
    from recommenders_miner.evaluation.submission import write_parquet
    from recommenders_miner.storage import new_folder

    found = []
    with new_folder(scores) if scores else contextlib.nullcontext() as folder:
        for part, (log, of_part) in enumerate(parts):
            if folder:
                write_parquet(folder / f"part-{part:05}.parquet", log.impression_id, of_part)
            if log.labelled and log.has_both.any():
                found.append(evaluate_scores(of_part.values, log.labels, of_part.offsets, metrics))
    if scores:
        console.print(f"Scores written to {scores}.")
    if found:
        _print_metrics(Evaluation.joined(found))


def _print_groups(by: str, log: ImpressionLog, scores: Ragged, metrics: Sequence[str]) -> None:
    """Print the metrics of each group of users, with their standard errors."""
    from recommenders_miner.evaluation.metrics import impression_metrics
    from recommenders_miner.evaluation.user_groups import UserGroups
    from recommenders_miner.experiments.columns import Column
    from recommenders_miner.tables import terminal_table

    values = impression_metrics(scores.values, log.labels, scores.offsets, metrics)
    shown = terminal_table(title=f"By {by}, in percent")
    for name in (by, "impressions", *(Column.of_metric(name).title for name in values)):
        shown.add_column(name, justify="left" if name == by else "right")
    for name, of_group in UserGroups.find(by, log).evaluate(values).items():
        cells = []
        for metric in values:
            value, error = of_group.metrics.get(metric), of_group.standard_errors.get(metric, math.nan)
            spread = "" if math.isnan(error) else f"\n±{100 * error:.2f}"
            cells.append("-" if value is None else f"{100 * value:.2f}{spread}")
        shown.add_row(name, f"{of_group.num_impressions:,}", *cells)
    console.print(shown)


@app.command()
def recall(
    run: Run,
    data: DataDir,
    split: Annotated[
        str, typer.Option(help="The split whose news are the pool, and whose clicks are looked for.", callback=a_split)
    ] = "dev",
    k: Annotated[
        str,
        typer.Option("--k", help="How many articles are retrieved; several, separated by commas.", callback=_cutoffs),
    ] = "10,50,100,200",
    strategy: Annotated[
        Literal["auto", "average", "multi", "category"], typer.Option(help="auto: what finds the model's own best.")
    ] = "auto",
    index: Annotated[
        Literal["flat", "ivf", "hnsw"], typer.Option(help="flat: exact; ivf, hnsw: faster in pools of a million.")
    ] = "flat",
    rerank: Annotated[
        int | None, typer.Option(help="Score that many of the articles found by the full model.", min=1)
    ] = None,
    in_turns: Annotated[
        bool, typer.Option("--in-turns", help="With multi: each interest chooses in turn, so that each has its share.")
    ] = False,
    max_age_days: Annotated[
        float | None,
        typer.Option(
            help="Leave out articles first seen longer before the impression, or after it.", min=0, callback=finite
        ),
    ] = None,
    keep_clicked: Annotated[
        bool, typer.Option("--keep-clicked", help="Keep articles of the user's own history.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the metrics to this file.", callback=new_file)
    ] = None,
    on_error: OnError = "raise",
) -> None:
    """Retrieve from all the news of a split, and count the clicked articles among the top k."""
    if in_turns and strategy != "multi":
        raise typer.BadParameter(f"goes with --strategy multi, not {strategy}.", param_hint="--in-turns")
    files, training_files = Split.find(data, split), Split.find(data, "train")
    model = open_model(run)
    import numpy as np

    from recommenders_miner.data.log import ImpressionLog
    from recommenders_miner.data.news import NewsTable
    from recommenders_miner.data.ragged import Ragged
    from recommenders_miner.evaluation.beyond_accuracy import BeyondAccuracy
    from recommenders_miner.evaluation.metrics import evaluate_recall
    from recommenders_miner.experiments.columns import Column
    from recommenders_miner.retrieval.news_recall import NewsRecall, first_seen
    from recommenders_miner.storage import atomic_write
    from recommenders_miner.tables import terminal_table

    cutoffs = sorted(set(map(int, k.split(","))))
    dataset = model.read(files.news, files.behaviors, on_error)
    log, news = dataset.log, dataset.news
    log.require("look for", non_clicks=False)
    training_news = NewsTable.read(training_files.news, on_error)
    training_log = ImpressionLog.read(training_files.behaviors, training_news, on_error)
    if not training_log.labelled:
        training_log.require("count clicks in")
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
        evaluation = evaluation.with_metrics_of(dataclasses.replace(beyond, k=cutoff).evaluate_lists(lists))
    if json_file:
        errors = {name: error for name, error in evaluation.standard_errors.items() if math.isfinite(error)}
        document = {"model": str(run), "split": split, "pool": len(news) - 1, "strategy": search.strategy}
        document |= {"index": index, "rerank": search.rerank, "in_turns": in_turns, "max_age_days": max_age_days}
        document |= {"keep_clicked": keep_clicked, **dataclasses.asdict(evaluation), "standard_errors": errors}
        with atomic_write(json_file) as temporary:
            temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    names = ("recall", "hit_rate", "ndcg", "ild", "novelty", "calibration", "coverage")
    shown = terminal_table(title=f"Retrieved from {len(news) - 1:,} articles, {search.strategy}, {index}")
    for name in ("k", *(Column.of_metric(name).title for name in names)):
        shown.add_column(name, justify="right")
    for cutoff in cutoffs:
        cells = []
        for column in (Column.of_metric(f"{name}@{cutoff}") for name in names):
            value, error = evaluation.metrics.get(column.name), evaluation.standard_errors.get(column.name, math.nan)
            spread = "" if math.isnan(error) else f"\n±{column.write(error)}"
            cells.append("-" if value is None else column.write(value) + spread)
        shown.add_row(str(cutoff), *cells)
    console.print(shown)
    say_skipped(table.skipped for table in (news, log, training_news, training_log))
    counts = f"{evaluation.num_impressions:,} impressions; {evaluation.num_left_out:,} more have no click."
    console.print(f"{counts} In percent, novelty in bits, calibration in nats; docs/metrics.md says what they are.")
