"""Commands that bring other data sets, and one's own logs, into MIND's form, and split logs by time: convert, split."""

from __future__ import annotations

import json
from dataclasses import astuple
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from recommenders_miner.cli.app import (
    MaxHistory,
    OnError,
    app,
    console,
    existing,
    finite,
    replaced_folder,
    say_left_out,
)
from recommenders_miner.progress import progress_bar

if TYPE_CHECKING:
    from recommenders_miner.datasets import Conversion

convert = typer.Typer(
    help="Turn EB-NeRD, Adressa, xMIND, your own logs or those of `serve` into news.tsv and behaviors.tsv.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(convert, name="convert")

_TIME_FORMATS = ["%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%m/%d/%Y %I:%M:%S %p"]
_TO_MINUTES = len("2019-11-14 08:00")  # with seconds, the table would be wider than 80 columns

Out = Annotated[Path, typer.Argument(help="Folder to write.", callback=replaced_folder)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists, whatever it holds.")]
Count = Annotated[int, typer.Option("--negatives", help="Articles drawn beside each click, at most.", min=1)]
Window = Annotated[
    float,
    typer.Option(
        help="Negatives are articles that somebody clicked on so many hours before or after.",
        min=0.01,
        max=8_760_000,
        callback=finite,
    ),
]
Draw = Annotated[
    Literal["popularity", "uniform"],
    typer.Option(help="popularity: in proportion to the clicks on them; uniform: each alike. See docs/data.md."),
]
Seed = Annotated[int, typer.Option(help="The same seed draws the same negatives.", min=0)]


@convert.command()
def ebnerd(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle: articles.parquet, train/, validation/.")],
    out: Out,
    test: Annotated[
        Path | None, typer.Option(help="Folder of the test set: articles.parquet, test/.", callback=existing)
    ] = None,
    max_history: MaxHistory = None,
    on_error: OnError = "raise",
    overwrite: Overwrite = False,
) -> None:
    """EB-NeRD, the data of the RecSys Challenge 2024: train, dev and perhaps test."""
    from recommenders_miner.datasets import convert_ebnerd

    _report(convert_ebnerd(bundle, out, test, max_history, on_error, overwrite))


@convert.command()
def adressa(
    source: Annotated[Path, typer.Argument(help="Folder of the unpacked event log, a file a day.")],
    out: Out,
    count: Count = 20,
    window_hours: Window = 24.0,
    draw: Draw = "popularity",
    seed: Seed = 42,
    max_history: MaxHistory = None,
    on_error: OnError = "raise",
    overwrite: Overwrite = False,
) -> None:
    """Adressa's event log: clicks, with negatives that are drawn."""
    from recommenders_miner.datasets import Negatives, convert_adressa

    negatives = Negatives(count, window_hours, draw, seed)
    with progress_bar("reading") as report:
        conversion = convert_adressa(source, out, negatives, on_error, report, max_history, overwrite)
    _report(conversion)


@convert.command()
def xmind(
    mind: Annotated[Path, typer.Argument(help="MIND's folder, with train/ and dev/.")],
    out: Out,
    texts: Annotated[
        list[Path], typer.Option("--texts", help="File of xMIND, or folder of one language; may be repeated.")
    ],
    on_error: OnError = "raise",
    overwrite: Overwrite = False,
) -> None:
    """MIND in another language: titles and abstracts of xMIND in the place of the English ones."""
    from recommenders_miner.datasets import convert_xmind

    _report(convert_xmind(mind, texts, out, on_error, overwrite))


@convert.command()
def own(
    schema: Annotated[Path, typer.Argument(help="YAML file that names files and columns; see docs/data.md.")],
    out: Out,
    count: Count = 20,
    window_hours: Window = 24.0,
    draw: Draw = "popularity",
    seed: Seed = 42,
    max_history: MaxHistory = None,
    on_error: OnError = "raise",
    overwrite: Overwrite = False,
) -> None:
    """Your own logs, as CSV, JSON or Parquet: impressions, or clicks with negatives that are drawn."""
    from recommenders_miner.datasets import Negatives, convert_own_logs

    negatives = Negatives(count, window_hours, draw, seed)
    _report(convert_own_logs(schema, out, negatives, on_error, max_history, overwrite))


@convert.command()
def served(
    logs: Annotated[Path, typer.Argument(help="Folder of the service's log, or one of its files.", callback=existing)],
    out: Out,
    news: Annotated[Path, typer.Option(help="news.tsv that was served.", callback=existing)],
    max_history: MaxHistory = None,
    on_error: OnError = "raise",
    overwrite: Overwrite = False,
) -> None:
    """The log of `serve`: answers with the clicks on them."""
    from recommenders_miner.datasets.served import convert_served

    _report(convert_served(logs, out, news, on_error, max_history, overwrite))


@convert.command()
def entities(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder with news.tsv and behaviors.tsv, or splits.")],
    out: Out,
    names: Annotated[Path, typer.Option(help="File of entities: a name, a tab and its id, one a line.")],
    overwrite: Overwrite = False,
) -> None:
    """Copy a data folder, with the entities that titles and abstracts name, for data that has none."""
    from recommenders_miner.datasets.entities import link_entities

    for split, (news, named) in link_entities(data, out, names, overwrite).items():
        console.print(f"{split}: {named:,} of {news:,} titles name an entity", soft_wrap=True)
    console.print(f"Written to {out}.", soft_wrap=True)


def _report(conversion: Conversion) -> None:
    """Show what was written and what was left out, and what comes next."""
    for split, counts in conversion.counts.items():
        shown = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
        console.print(f"{split}: {shown}", soft_wrap=True)
    say_left_out(conversion.left_out)
    console.print(f"Written to {conversion.folder}.", soft_wrap=True)
    if list(conversion.counts) == ["all"]:
        console.print(f"Next: recommenders-miner split {conversion.folder / 'all'} DATA", soft_wrap=True)


@app.command()
def split(
    data: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder with news.tsv and behaviors.tsv, or with several splits.")
    ],
    out: Annotated[
        Path,
        typer.Argument(help="Folder to write: train/, dev/, perhaps test/, and split.json.", callback=replaced_folder),
    ],
    dev_from: Annotated[
        datetime | None,
        typer.Option(metavar="TIME", formats=_TIME_FORMATS, help="When dev begins, by the clock of the files."),
    ] = None,
    dev_share: Annotated[
        float | None,
        typer.Option(
            help="Share of the impressions, the latest before test, that dev gets; not with --dev-from.",
            show_default="0.1",
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
    on_error: OnError = "raise",
    overwrite: Overwrite = False,
) -> None:
    """Split a click log by time, with histories of past clicks only."""
    from recommenders_miner.data.split import split_by_time
    from recommenders_miner.tables import terminal_table

    if dev_share is None:
        dev_share = 0.1
    elif dev_from is not None:
        raise typer.BadParameter("--dev-from says already where dev begins.", param_hint="--dev-share")
    if not 0 < dev_share < 1:
        raise typer.BadParameter(f"{dev_share}: expected a share between 0 and 1.", param_hint="--dev-share")
    if rebuild_histories is False and histories_at == "split":
        raise typer.BadParameter("--keep-histories leaves them as they are.", param_hint="--histories-at")
    histories = rebuild_histories, histories_at
    written = split_by_time(
        data, out, dev_from, dev_share, test_from, *histories, all_news, max_history, overwrite, on_error
    )
    table = terminal_table()
    for title in ("Split", "Impressions", "Users", "News", "Clicks", "First", "Last"):
        table.add_column(title, justify="left" if title == "Split" else "right")
    for name, counts in written.items():
        *figures, first, last = astuple(counts)
        table.add_row(name, *(f"{figure:,}" for figure in figures), first[:_TO_MINUTES], last[:_TO_MINUTES])
    console.print(table)
    say_left_out(json.loads((out / "split.json").read_text(encoding="utf-8")).get("left_out", {}))
    console.print(f"Written to {out}.", soft_wrap=True)
