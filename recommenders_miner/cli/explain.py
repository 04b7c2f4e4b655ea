"""The command explain."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from recommenders_miner.cli.app import DataDir, app, console, open_model


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(help="Folder of a run or of a saved model.")],
    data: DataDir,
    impression: Annotated[int, typer.Option(help="Which impression: its id in behaviors.tsv.")],
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "dev",
    top: Annotated[int, typer.Option(help="How many candidates, the best first.", min=1)] = 5,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all of it as JSON; - writes it to standard output instead.")
    ] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw the three best candidates, as PNG and SVG.")] = None,
) -> None:
    """Explain the scores of an impression: which interests count, and which clicks they come from."""
    model = open_model(run)
    from recommenders_miner.data.folders import Split
    from recommenders_miner.explain import Impression
    from recommenders_miner.plots.explanation import draw_explanation
    from recommenders_miner.plots.style import save_figure
    from recommenders_miner.storage import atomic_write

    files = Split.find(data, split)
    dataset = model.read(files.news, files.behaviors)
    shown = Impression.find(dataset, impression, files.behaviors)
    model.set_news(dataset.news.select([*shown.history, *shown.candidates]))
    ranking = (-model.score(shown.history, shown.candidates, shown.user)).argsort(kind="stable")
    best = ranking[:top]
    explanation = dataclasses.replace(
        model.explain(shown.history, [shown.candidates[index] for index in best], shown.user),
        labels=None if shown.labels is None else shown.labels[best],
    )
    document = {"impression": impression, "user": shown.user, **explanation.to_json()}
    as_json = json.dumps(document, indent=1, ensure_ascii=False)
    if str(json_file) == "-":
        typer.echo(as_json)
    else:
        title = f"Impression {impression}, user {shown.user}: {len(ranking)} candidates"
        if shown.labels is not None:
            title += f"; clicked: rank {', '.join(map(str, 1 + shown.labels[ranking].nonzero()[0])) or '-'}"
        console.print(title, style="bold", highlight=False)
        console.print(explanation.render())
    if json_file and str(json_file) != "-":
        with atomic_write(json_file) as temporary:
            temporary.write_text(as_json + "\n", encoding="utf-8")
    if figure:
        save_figure(draw_explanation(explanation, dataset.news.category.to_pylist()[1:]), figure)
