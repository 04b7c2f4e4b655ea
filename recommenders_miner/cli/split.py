"""The command that splits a log by time: split."""

from __future__ import annotations

from dataclasses import astuple
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from recommenders_miner.cli.app import MaxHistory, app, console
from recommenders_miner.cli.convert import Overwrite

_TIME_FORMATS = ["%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%m/%d/%Y %I:%M:%S %p"]
_DEFAULT_SHARE = 0.1
_TO_MINUTES = len("2019-11-14 08:00")  # with seconds, the table would be wider than 80 columns


@app.command()
def split(
    data: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder with news.tsv and behaviors.tsv, or with several splits.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder to write: train/, dev/, perhaps test/, and split.json.")],
    dev_from: Annotated[
        datetime | None,
        typer.Option(metavar="TIME", formats=_TIME_FORMATS, help="When dev begins, by the clock of the files."),
    ] = None,
    dev_share: Annotated[
        float | None,
        typer.Option(
            help="Share of the impressions, the latest before test, that dev gets; not with --dev-from.",
            show_default=str(_DEFAULT_SHARE),
        ),
    ] = None,
    test_from: Annotated[
        datetime | None,
        typer.Option(metavar="TIME", formats=_TIME_FORMATS, help="When test begins; by default there is none."),
    ] = None,
    rebuild_histories: Annotated[
        bool | None,
        typer.Option(
            "--rebuild-histories/--keep-histories",
            help="Make histories of past clicks only, or leave them as the files have them.",
            show_default="kept where convert own or adressa made them so",
        ),
    ] = None,
    histories_at: Annotated[
        Literal["impression", "split"],
        typer.Option(help="impression: all clicks before it; split: those before its split, as in MIND."),
    ] = "impression",
    max_history: MaxHistory = None,
    all_news: Annotated[
        bool, typer.Option("--all-news", help="Give each split the whole news table, not only what it refers to.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Split a click log by time, with histories of past clicks only."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from recommenders_miner.data.split import split_by_time

    if dev_share is None:
        dev_share = _DEFAULT_SHARE
    elif dev_from is not None:
        raise typer.BadParameter("--dev-from says already where dev begins.", param_hint="--dev-share")
    if not 0 < dev_share < 1:
        raise typer.BadParameter(f"{dev_share}: expected a share between 0 and 1.", param_hint="--dev-share")
    if rebuild_histories is False and histories_at == "split":
        raise typer.BadParameter("--keep-histories leaves them as they are.", param_hint="--histories-at")
    written = split_by_time(
        data, out, dev_from, dev_share, test_from, rebuild_histories, histories_at, all_news, max_history, overwrite
    )
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for title in ("Split", "Impressions", "Users", "News", "Clicks", "First", "Last"):
        table.add_column(title, justify="left" if title == "Split" else "right")
    for name, counts in written.items():
        *figures, first, last = astuple(counts)
        table.add_row(name, *(f"{figure:,}" for figure in figures), first[:_TO_MINUTES], last[:_TO_MINUTES])
    console.print(table)
    console.print(f"Written to {out}.", soft_wrap=True)
