"""Commands that answer with what has been trained, or make it ready to: recommend, explain, export."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from recommenders_miner import progress
from recommenders_miner.backend import import_backend_quietly
from recommenders_miner.cli.app import (
    Address,
    DataDir,
    OnError,
    Workers,
    app,
    as_job,
    console,
    existing,
    model_folder,
    new_file,
    new_file_or_output,
    open_model,
    print_json,
    replaced_folder,
)
from recommenders_miner.cli.evaluating import Run, SplitName
from recommenders_miner.data.folders import Split

if TYPE_CHECKING:
    from recommenders_miner.data.news import NewsTable

_SHOWN_IDS = 5


@app.command()
def recommend(
    run: Run,
    news: Annotated[Path, typer.Option(help="news.tsv with the articles clicked, and to choose from without --pool.")],
    history: Annotated[str, typer.Option(help="Ids of clicked news, newest last, separated by commas.")] = "",
    user: Annotated[str | None, typer.Option(help="The user's id, for models that know users.")] = None,
    histories: Annotated[
        Path | None,
        typer.Option(
            help="Many users instead, a line each: user id, tab, ids of clicked news separated by spaces; or a "
            'behaviors.tsv; or JSON, {"user": …, "history": […]}.',
            callback=existing,
        ),
    ] = None,
    pool: Annotated[
        Path | None,
        typer.Option(
            help="What to choose from: ids, one a line, or a news.tsv, whose articles need not be in --news.",
            callback=existing,
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="How many.", min=1)] = 10,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json",
            help="Write JSON, a line for each user; - writes to standard output.",
            callback=new_file_or_output,
        ),
    ] = None,
    all_users: Annotated[
        Path | None,
        typer.Option(
            help="Every user of a behaviors.tsv, or of an ingested log, by what they had clicked in the end; goes with "
            "--parquet.",
            callback=existing,
        ),
    ] = None,
    parquet: Annotated[
        Path | None, typer.Option(help="Write user, ids and scores of --all-users to this file.", callback=new_file)
    ] = None,
    workers: Workers = 1,
    address: Address = None,
    on_error: OnError = "raise",
) -> None:
    """Recommend news for a history, or for each of many.

    Clicks on articles that are not in the files are ignored, and counted. Users without any get what was popular.
    """
    as_job(address)
    if bool(all_users) != bool(parquet):
        raise typer.BadParameter("--all-users and --parquet go together.", param_hint="--all-users")
    if all_users and (histories or history or user or json_file):
        raise typer.BadParameter("goes without --history, --histories, --user and --json.", param_hint="--all-users")
    from rich.table import Table

    from recommenders_miner.data.behaviors import read_users
    from recommenders_miner.data.news import NewsTable
    from recommenders_miner.storage import atomic_write

    if histories and (history or user):
        raise typer.BadParameter("goes without --history and --user.", param_hint="--histories")
    asked = read_users(histories) if histories else [(user, history.replace(",", " ").split())]
    table, ids = NewsTable.read(news, on_error), None
    if pool:
        table, ids = _with_pool(table, pool, on_error)
    if all_users:
        options = {"k": k, "workers": workers, "address": address}
        return _recommend_to_all(run, table, ids, all_users, parquet, on_error, options)
    model = open_model(run)
    model.set_news(table)
    gone = [[news_id for news_id in clicked if news_id not in table.row_of] for _, clicked in asked]
    _say_gone(gone, f"clicks, in {sum(map(bool, gone)):,} of {len(gone):,} histories, are on")
    known = [[news_id for news_id in clicked if news_id in table.row_of] for _, clicked in asked]
    found = model.recommend_all(known, ids, k, [user for user, _ in asked])

    def article(news_id: str, score: float) -> dict[str, Any]:
        names = {name: getattr(table, name)[table.row_of[news_id]].as_py() for name in ("category", "title")}
        return {"id": news_id, "score": round(score, 6), **names}

    documents = [
        {"user": user, "history": clicked, "ignored": ignored, "recommended": [article(*pair) for pair in best]}
        for (user, _), clicked, ignored, best in zip(asked, known, gone, found, strict=True)
    ]
    if str(json_file) == "-":
        for document in documents:
            print_json(document, indent=None)
        return
    if json_file:
        lines = "".join(f"{json.dumps(document, ensure_ascii=False)}\n" for document in documents)
        with atomic_write(json_file) as temporary:
            temporary.write_text(lines, encoding="utf-8")
        console.print(f"Recommendations for {len(documents):,} histories written to {json_file}.")
        return
    for document in documents:
        who = "a user" if document["user"] is None else f"user {document['user']},"
        shown = Table("", "score", "news", "category", "title")
        shown.title = f"For {who} who clicked {len(document['history'])} articles"
        for place, of_one in enumerate(document["recommended"], start=1):
            shown.add_row(str(place), f"{of_one['score']:.3f}", of_one["id"], of_one["category"], of_one["title"])
        console.print(shown)


def _recommend_to_all(
    run: Path,
    table: NewsTable,
    pool: list[str] | None,
    users: Path,
    out: Path,
    on_error: OnError,
    options: dict[str, Any],
) -> None:
    """Write recommendations for all users of a log."""
    import pyarrow.parquet as pq

    from recommenders_miner.data.log import ImpressionLog
    from recommenders_miner.storage import atomic_write, require_model

    require_model(model_folder(run))
    import_backend_quietly()
    from recommenders_miner.distributed import recommend_all_users

    log = ImpressionLog.read(users, table, on_error)
    with atomic_write(out) as partial, progress.progress_bar("recommending") as report:
        found = recommend_all_users(model_folder(run), log, table, pool, progress=report, **options)
        writer = None
        for batch in found:
            writer = writer or pq.ParquetWriter(partial, batch.schema)
            writer.write_batch(batch)
        writer.close()
    console.print(f"Recommendations for {len(log.users):,} users written to {out}.", soft_wrap=True)


def _with_pool(table: NewsTable, path: Path, on_error: OnError) -> tuple[NewsTable, list[str]]:
    """Read a pool: a table in which its articles are, too, and which they are."""
    from recommenders_miner.data.news import NewsTable
    from recommenders_miner.data.tsv import LineErrors, read_tsv, require_file
    from recommenders_miner.errors import DataFormatError

    require_file(path, "news ids, one a line, or a news.tsv")
    with open(path, "rb") as file:
        is_table = b"\t" in file.readline()
    if is_table:
        further = NewsTable.read(path, on_error)
        return table.joined(further), further.texts("ids")
    errors = LineErrors(path, "raise")
    ids = [news_id for block, _ in read_tsv(path, ["news id"], errors) for news_id in block["news id"].to_pylist()]
    gone = [news_id for news_id in ids if news_id and news_id not in table.row_of]
    ids = [news_id for news_id in ids if news_id in table.row_of]
    if not ids:
        raise DataFormatError(path, "none of its ids is among the news.", remedy="Does --news name the right file?")
    _say_gone([gone], f"ids of {path} are those of")
    return table, ids


def _say_gone(gone: list[list[str]], what: str) -> None:
    """Say how many ids are passed over, and the first of them."""
    names = list(dict.fromkeys(news_id for ids in gone for news_id in ids))
    if names:
        shown = ", ".join(names[:_SHOWN_IDS]) + (", …" if len(names) > _SHOWN_IDS else "")
        counted = f"{sum(map(len, gone)):,} {what} articles that are not among the news, and ignored: {shown}"
        progress.console.print(counted, soft_wrap=True, highlight=False)


@app.command()
def explain(
    run: Run,
    data: DataDir,
    impression: Annotated[int, typer.Option(help="Which impression: its id in behaviors.tsv.")],
    split: SplitName = "dev",
    top: Annotated[int, typer.Option(help="How many candidates, the best first.", min=1)] = 5,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json",
            help="Write all of it as JSON; - writes it to standard output instead.",
            callback=new_file_or_output,
        ),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Draw the three best candidates, as PNG and SVG.", callback=new_file)
    ] = None,
    on_error: OnError = "raise",
) -> None:
    """Explain the scores of an impression: which interests count, and which clicks they come from."""
    files = Split.find(data, split)
    model = open_model(run)
    from recommenders_miner.explain import find_impression
    from recommenders_miner.plots.one_user import draw_explanation
    from recommenders_miner.plots.style import save_figure
    from recommenders_miner.storage import atomic_write

    dataset = model.read(files.news, files.behaviors, on_error)
    user, history, candidates, labels = find_impression(dataset, impression, files.behaviors)
    model.set_news(dataset.news.select([*history, *candidates]))
    ranking = (-model.score(history, candidates, user)).argsort(kind="stable")
    best = ranking[:top]
    explanation = dataclasses.replace(
        model.explain(history, [candidates[index] for index in best], user),
        labels=None if labels is None else labels[best],
    )
    document = {"impression": impression, "user": user, **explanation.to_json()}
    to_stdout = str(json_file) == "-"
    if to_stdout:
        print_json(document)
    else:
        title = f"Impression {impression}, user {user}: {len(ranking)} candidates"
        if labels is not None:
            title += f"; clicked: rank {', '.join(map(str, 1 + labels[ranking].nonzero()[0])) or '-'}"
        console.print(title, style="bold", highlight=False)
        console.print(explanation.render())
    if json_file and not to_stdout:
        with atomic_write(json_file) as temporary:
            temporary.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if figure:
        save_figure(draw_explanation(explanation, dataset.news.category.to_pylist()[1:]), figure)


@app.command()
def export(
    run: Run,
    out: Annotated[Path, typer.Argument(help="The folder to write.", callback=replaced_folder)],
    format: Annotated[
        Literal["onnx", "saved_model"],
        typer.Option(help="ONNX, which `serve` takes, or TensorFlow's SavedModel."),
    ] = "onnx",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
) -> None:
    """Write a model as files that answer without TensorFlow, once they are found to say what it says."""
    model = open_model(run)
    from recommenders_miner.serving.export import export_model

    manifest = export_model(model, out, format, overwrite)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 2**20
    said = f"{manifest['name']}: {', '.join(manifest['parts'])} written to {out}, {size:.1f} MiB."
    if parity := manifest.get("parity"):
        said += f" Its scores are the model's to {parity['largest_difference']:.0e} of the largest."
    console.print(said, soft_wrap=True, highlight=False)
