"""The command that looks a data set through: inspect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from recommenders_miner.cli.app import app, console


@app.command()
def inspect(
    data: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder with train/, dev/, test/, or with news.tsv and behaviors.tsv.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Write inspect.json, inspect.md and the plots, inspect.png, to this folder.")
    ] = None,
) -> None:
    """Describe a data set, and say what of it would break training; then the exit status is 1."""
    from recommenders_miner.inspection import inspect_data

    report = inspect_data(data)
    console.print(report.render(), highlight=False, crop=False)
    if out:
        from recommenders_miner.plots.data_page import save_data_page
        from recommenders_miner.storage import atomic_write

        for name, text in (
            ("inspect.json", json.dumps(report.to_json(), indent=1, ensure_ascii=False) + "\n"),
            ("inspect.md", report.to_markdown()),
        ):
            with atomic_write(out / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
        save_data_page(report, out / "inspect.png")
        console.print(f"Written to {out}: inspect.json, inspect.md, inspect.png, inspect.svg.", soft_wrap=True)
    if report.errors:
        raise typer.Exit(1)
