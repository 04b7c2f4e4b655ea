"""Commands of an editor's policies: policy check, which tries one on a log, and tradeoff, which says what one costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recommenders_miner.cli.app import (
    DataDir,
    OnError,
    Seed,
    a_split,
    app,
    console,
    existing,
    new_file,
    new_folder,
    open_model,
    say_skipped,
)
from recommenders_miner.data.folders import Split
from recommenders_miner.progress import progress_bar

if TYPE_CHECKING:
    from recommenders_miner.reranking.offline import Review

policy = typer.Typer(
    help="Try an editor's policy: pins, quotas, floors, ages and the like; docs/policies.md.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(policy, name="policy")


@policy.callback()
def _commands() -> None:
    pass


@policy.command()
def check(
    policy: Annotated[Path, typer.Argument(help="YAML file of the policy.", callback=existing)],
    data: DataDir,
    run: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a run or of a saved model, whose lists to arrange.",
            show_default="popularity in train",
            callback=existing,
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="train, dev or test: whose impressions.", callback=a_split)] = "dev",
    k: Annotated[
        int | None, typer.Option("--k", help="How long lists are.", show_default="the policy's places", min=1, max=1000)
    ] = None,
    dial: Annotated[
        float | None, typer.Option(help="Strength of the reranker.", show_default="the policy's", min=0, max=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="What exploration draws depends on it.", min=0)] = 42,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the same to this file.", callback=new_file)
    ] = None,
    on_error: OnError = "raise",
) -> None:
    """Say what a policy would have done to the lists of a log: what each rule moved, and where rules clashed."""
    from recommenders_miner.reranking import Plan, Policy, news_columns

    read = Policy.read(policy)
    files = Split.find(data, split)
    from recommenders_miner.data.log import ImpressionLog
    from recommenders_miner.data.news import NewsTable
    from recommenders_miner.evaluation.baselines import popularity_scores
    from recommenders_miner.reranking.offline import Review, arrange_log
    from recommenders_miner.storage import atomic_write

    if run is None:
        training_files = Split.find(data, "train")
        tables = [NewsTable.read(path.news, on_error) for path in (files, training_files)]
        logs = [
            ImpressionLog.read(path.behaviors, table, on_error)
            for path, table in zip((files, training_files), tables, strict=True)
        ]
        news, log = tables[0], logs[0]
        plan = Plan(read, news_columns(news))
        if not logs[1].labelled:
            logs[1].require("count clicks in")
        scores = popularity_scores(log, news, logs[1], tables[1])
    else:
        model = open_model(run)
        dataset = model.read(files.news, files.behaviors, on_error)
        news, log = dataset.news, dataset.log
        plan = Plan(read, news_columns(news))
        with progress_bar("scoring") as report:
            scores = model.score_log(dataset, progress=report)
    for warning in plan.warnings:
        console.print(f"{policy}: {warning}", soft_wrap=True)
    review, users = Review(plan, news), log.users.take(log.user_of).to_pylist()
    with progress_bar("arranging") as report:
        for number, listing in enumerate(arrange_log(plan, log, scores, k, seed=seed, dial=dial)):
            review.add(listing, f"{users[number]}, impression {log.impression_id[number]}")
            report((number + 1) / len(log))
    if json_file:
        document = {"policy": str(policy), "split": split, "run": run and str(run), "k": k or read.places, "dial": dial}
        with atomic_write(json_file) as temporary:
            text = json.dumps(document | {"warnings": plan.warnings} | review.to_dict(), indent=2, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")
    _print(review, read.name, k or read.places)
    say_skipped(table.skipped for table in (news, log))


def _print(review: Review, name: str, places: int) -> None:
    """Print what each rule did, with what rules clashed, and an example of each."""
    from recommenders_miner.tables import terminal_table

    table = terminal_table(title=f"{name}: {review.lists:,} lists of {places}")
    table.add_column("rule")
    for header in ("lists", "moved", "left out", "not kept", "for, in lists"):
        table.add_column(header, justify="left" if header.startswith("for") else "right")
    for title, rule in review.rules.items():
        clashes = "\n".join(f"{other}: {count:,}" for other, count in rule.clashes.most_common())
        counts = (rule.lists, rule.places, rule.held_back, rule.relaxed)
        if rule.examples or title not in ("ages", "shown", "same_story", "explore", "topics"):
            table.add_row(title, *(f"{count:,}" for count in counts), clashes)
    console.print(table)
    share = review.replaced / max(review.lists, 1)
    console.print(f"{review.changed:,} of {review.lists:,} lists changed; {share:.2f} articles of each were replaced.")
    console.print(
        "Lists that a rule changed; articles that it moved, those that fell by it among them; articles among the best "
        "by score that it left out; lists in which it was not kept, and for what.",
        soft_wrap=True,
    )
    for title, rule in review.rules.items():
        for example in rule.examples[:1]:
            console.print(f"{title}, for example {example}", soft_wrap=True, highlight=False)


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
        typer.Option(
            help="Also by groups: clicks, activity, candidates, or a column of users.parquet; may be repeated."
        ),
    ] = None,
    impressions: Annotated[
        int | None,
        typer.Option(
            help="Take so many impressions at random, which are then all that is known of what users were shown.",
            show_default="all",
            min=1,
        ),
    ] = None,
    seed: Seed = 42,
    on_error: OnError = "raise",
) -> None:
    """Say what a policy costs: accuracy against diversity and exposure along its dial, as a table and as charts."""
    files, training_files = Split.find(data, split), Split.find(data, "train")
    from recommenders_miner.evaluation.user_groups import require_group
    from recommenders_miner.reranking import Plan, Policy, news_columns

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
    log, plan = dataset.log, Plan(rules, news_columns(dataset.news))
    log.require("evaluate on")
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
            plan, scores, log, dataset.news, training_log, training_news, turned, k, by or (), seed, report
        )
    found.write(out, {"run": str(run), "data": str(data), "split": split, "file": str(policy), "seed": seed})
    for warning in found.warnings:
        console.print(f"{policy}: {warning}", soft_wrap=True)
    say_skipped(table.skipped for table in (dataset.news, log, training_news, training_log))
    console.print(found.worth(), soft_wrap=True)
    console.print(f"Look at {out / 'tradeoff.md'} and {out / 'tradeoff.png'}.", soft_wrap=True)
