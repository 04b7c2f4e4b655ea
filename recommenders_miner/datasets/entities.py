"""Entities for data that comes without any, from a list of names."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa

from recommenders_miner.data.entities import EntityNames
from recommenders_miner.data.folders import INGESTED, NEWS_FILE, log_in, split_folders
from recommenders_miner.data.news import FILE_COLUMNS, read_news_lines
from recommenders_miner.data.tsv import LineErrors, describe_columns
from recommenders_miner.data.write import require_apart, write_table
from recommenders_miner.errors import DataFormatError
from recommenders_miner.storage import new_folder

_OF_TEXT = {"title": "title entities", "abstract": "abstract entities"}


def link_entities(
    data: str | Path, out: str | Path, names: str | Path, overwrite: bool = False
) -> dict[str, tuple[int, int]]:
    """Copy a data folder, with the entities in each `news.tsv` that titles and abstracts name.

    A text that has entities keeps them. Names are found as they stand in the list, capitals too, as whole words.

    Args:
        data: the folder, with its splits.
        out: the folder to write.
        names: a file of a name, a tab and an id (of Wikidata, say) a line; an id may have several names.
        overwrite: whether to replace a folder `out` that holds something.

    Returns:
        By split, how many news there are and how many titles have an entity.

    Raises:
        DataFormatError: a file is missing, or a line is of another form.
        FolderExistsError: `out` holds something.
        RecommendersMinerError: `out` is a source, or a folder around one.
    """
    known, splits, counts = EntityNames.read(names), split_folders(data), {}
    require_apart(Path(out), Path(data), Path(names))
    with new_folder(out, overwrite) as folder:
        for source in {Path(data), *splits.values()}:
            target = folder / source.relative_to(data)
            target.mkdir(exist_ok=True)
            for path in filter(Path.is_file, source.iterdir()):
                shutil.copy2(path, target)
        for split, source in splits.items():
            target = folder / source.relative_to(data)
            if log_in(source).name == INGESTED:
                shutil.copytree(log_in(source), target / INGESTED)
            news = _linked(_read(source / NEWS_FILE), known)
            write_table(target / NEWS_FILE, news)
            named = sum(found not in ("", "[]") for found in news["title entities"].to_pylist())
            counts[split] = len(news), named
    return counts


def _read(path: Path) -> pa.Table:
    errors = LineErrors(path, "raise")
    news = read_news_lines(path, errors)
    errors.raise_earliest()
    if news is None:
        raise DataFormatError(path, f"no line could be used; expected {describe_columns(FILE_COLUMNS)}.")
    return news.select(FILE_COLUMNS)


def _linked(news: pa.Table, known: EntityNames) -> pa.Table:
    for text, column in _OF_TEXT.items():
        pairs = zip(news[text].to_pylist(), news[column].to_pylist(), strict=True)
        found = [known.find(of) if has in ("", "[]") else has for of, has in pairs]
        news = news.set_column(news.schema.names.index(column), column, pa.array(found, pa.string()))
    return news
