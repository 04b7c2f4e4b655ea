"""xMIND: MIND in one of 14 languages. Titles and abstracts are replaced, all else stays as it was.

xMIND's files, `xMINDsmall_train/news.tsv` and the like, are tab-separated, have the header `nid title abstract`, and
quote texts as CSV does. The copies on the Hugging Face hub are Parquet files with the same columns.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.folders import BEHAVIORS_FILE, NEWS_FILE, SPLIT_NAMES, WHOLE, split_folders
from recommenders_miner.data.news import FILE_COLUMNS, read_news_lines
from recommenders_miner.data.tsv import OnError, describe_columns, require_file
from recommenders_miner.data.write import write_table
from recommenders_miner.datasets.columns import is_blank
from recommenders_miner.datasets.conversion import Conversion, FirstRows, conversion_to, one_line
from recommenders_miner.errors import DataFormatError

_COLUMNS = ("nid", "title", "abstract")


def convert_xmind(
    mind: str | Path,
    texts: Sequence[str | Path],
    out: str | Path,
    on_error: OnError = "raise",
    overwrite: bool = False,
) -> Conversion:
    """Write MIND in another language: each split of `mind`, its titles and abstracts replaced by xMIND's.

    Articles that xMIND lacks keep their own texts, and are counted. behaviors.tsv and vectors of entities are hard
    links to the files of `mind` where the file system has these, else copies. The places of entities in a title
    (`OccurrenceOffsets`) stay as they are, and are those of the English title.

    Args:
        mind: MIND's folder, with train/ and dev/, or with news.tsv and behaviors.tsv itself.
        texts: files of xMIND of one language, or folders that hold some. They are pooled: each serves every split.
        out: the folder to write.
        on_error: "raise" stops at the first faulty line; "skip" leaves faulty lines of xMIND out and counts them.
        overwrite: whether to replace a folder `out` that holds something.

    Raises:
        DataFormatError: a file is missing or faulty, no article of `mind` is translated, or two files translate one in
            different words.
        FolderExistsError: `out` holds something.
    """
    folders = split_folders(mind)
    files = [file for path in texts for file in _find_files(Path(path))]
    settings = {"converter": "xmind", "source": str(mind), "texts": [str(file) for file in files]}
    with conversion_to(out, settings, [Path(mind), *files], on_error, overwrite) as conversion:
        translations = _read_translations(files, conversion)
        for name, folder in folders.items():
            _convert_split(folder, name if name in SPLIT_NAMES else WHOLE, translations, conversion)
        if not any(counts["news"] > counts["news in their own language"] for counts in conversion.counts.values()):
            raise DataFormatError(
                files[0],
                f"translates no article of {mind}.",
                remedy="Is it of the same size of MIND, and of the same split?",
            )
    return conversion


def _find_files(path: Path) -> list[Path]:
    if not path.is_dir():
        require_file(path, "a file of xMIND, or a folder that holds some")
        return [path]
    files = sorted(file for kind in ("*.tsv", "*.tsv.gz", "*.parquet", "*.parquet.gzip") for file in path.rglob(kind))
    if not files:
        remedy = "Unpack the archives: unzip 'xMIND*.zip'"
        raise DataFormatError(path, "there are no files of xMIND, *.tsv or *.parquet.", remedy=remedy)
    return files


def _read_translations(files: Sequence[Path], conversion: Conversion) -> pa.Table:
    """Read the texts of xMIND, each article once."""
    first_rows, parts = FirstRows(_COLUMNS), []
    for block in conversion.read(files, _COLUMNS, separator="\t"):
        ids, *texts = block.ids("nid", "news id"), *(one_line(block.texts(name)) for name in _COLUMNS[1:])
        block.report("empty title", is_blank(texts[0]), lambda _: "the title, column 'title', is empty.")
        new = first_rows.pick(
            block,
            pa.table([ids, *texts], names=list(_COLUMNS)),
            reason="article translated twice, in different words",
            says="the news {} came before with another text.",
            remedy="Name the files of one language only; --on-error skip keeps the first text.",
        )
        parts.append(new)
    if not sum(map(len, parts)):
        raise DataFormatError(files[0], "there are no texts that could be used.")
    return pa.concat_tables(parts).combine_chunks()


def _convert_split(folder: Path, split: str, translations: pa.Table, conversion: Conversion) -> None:
    target = conversion.folder / split
    target.mkdir()
    path = folder / NEWS_FILE
    with conversion.errors_of(path) as errors:
        news = read_news_lines(path, errors)
        errors.raise_earliest()
    if news is None:
        raise DataFormatError(path, f"no line could be used; expected {describe_columns(FILE_COLUMNS)}.")
    news = news.drop_columns("line").combine_chunks()
    place = pc.index_in(news["news id"], value_set=translations["nid"].combine_chunks())
    for column in _COLUMNS[1:]:
        texts = pc.coalesce(translations[column].take(place), news[column])
        news = news.set_column(FILE_COLUMNS.index(column), column, texts)
    write_table(target / NEWS_FILE, news)
    require_file(folder / BEHAVIORS_FILE, "the click log of the split")
    for source in sorted(source for source in folder.iterdir() if source.is_file()):
        if source.name != NEWS_FILE and not source.name.startswith("."):
            try:
                os.link(source.resolve(), target / source.name)
            except OSError:
                shutil.copyfile(source, target / source.name)
    conversion.note(split, news=news.num_rows, news_in_their_own_language=place.null_count)
