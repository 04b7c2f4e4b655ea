"""xMIND: MIND in one of 14 languages. Titles and abstracts are replaced, all else stays as it was.

xMIND's files, `xMINDsmall_train/news.tsv` and the like, are tab-separated, have the header `nid title abstract`, and
quote texts as CSV does. The copies on the Hugging Face hub are Parquet files with the same columns.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.folders import BEHAVIORS_FILE, NEWS_FILE, SPLIT_NAMES, split_folders
from recommenders_miner.data.news import FILE_COLUMNS
from recommenders_miner.data.tsv import LineFaults, OnError, read_tsv, require_file
from recommenders_miner.data.write import write_table
from recommenders_miner.datasets.column_files import read_columns
from recommenders_miner.datasets.conversion import Conversion, conversion_to
from recommenders_miner.datasets.news_rows import one_line
from recommenders_miner.datasets.typed_columns import ids_of, texts_of
from recommenders_miner.errors import DataFormatError

_COLUMNS = ("nid", "title", "abstract")


def convert_xmind(
    mind: str | Path, texts: Sequence[str | Path], out: str | Path, on_error: OnError = "raise"
) -> Conversion:
    """Writes MIND in another language: each split of `mind`, its titles and abstracts replaced by xMIND's.

    News that xMIND lacks keep their own texts, and are counted. behaviors.tsv and vectors of entities are hard links to
    the files of `mind` where the file system has these, else copies. The places of entities in a title
    (`OccurrenceOffsets`) stay as they are, and are those of the English title.

    Args:
        mind: MIND's folder, with train/ and dev/, or with news.tsv and behaviors.tsv itself.
        texts: files of xMIND of one language, or folders that hold some. They are pooled: each serves every split.
        out: the folder to write. One that holds an earlier conversion is replaced.
        on_error: "raise" stops at the first faulty line; "skip" leaves faulty lines of xMIND out and counts them.

    Raises:
        DataFormatError: a file is missing or faulty, no news of `mind` is translated, or two files translate a news in
            different words.
        RecommendersMinerError: `out` holds something else.
    """
    folders = split_folders(mind)
    files = [file for path in texts for file in _find_files(Path(path))]
    settings = {"converter": "xmind", "source": str(mind), "texts": [str(file) for file in files]}
    with conversion_to(out, settings) as conversion:
        translations = _read_translations(files, conversion, on_error)
        for name, folder in folders.items():
            split = name if name in SPLIT_NAMES else "all"
            _convert_split(folder, split, translations, conversion)
        if not any(counts["news"] > counts["news in their own language"] for counts in conversion.counts.values()):
            raise DataFormatError(
                files[0],
                f"translates no news of {mind}.",
                remedy="Is it of the same size of MIND, and of the same split?",
            )
    return conversion


def _find_files(path: Path) -> list[Path]:
    if not path.is_dir():
        require_file(path, "a file of xMIND, or a folder that holds some")
        return [path]
    files = sorted(file for kind in ("*.tsv", "*.parquet", "*.parquet.gzip") for file in path.rglob(kind))
    if not files:
        raise DataFormatError(
            path, "there are no files of xMIND, *.tsv or *.parquet.", remedy="Unpack the archives: unzip 'xMIND*.zip'"
        )
    return files


def _read_translations(files: Sequence[Path], conversion: Conversion, on_error: OnError) -> pa.Table:
    """The texts of xMIND, each news once."""
    place_of: dict[str, int] = {}
    kept: list[pa.Table] = []
    for path in files:
        faults = LineFaults(path, on_error)
        for block, lines in read_columns(path, _COLUMNS, faults, separator="\t", retained=True):
            rows = pa.table(
                [ids_of(path, block, "nid"), *(one_line(texts_of(path, block, name)) for name in _COLUMNS[1:])],
                names=list(_COLUMNS),
            )
            ids = rows["nid"].to_pylist()
            nameless = np.flatnonzero([not news_id for news_id in ids])
            faults.add("empty news id", lines[nameless], lambda _: "the news id, column 'nid', is empty.")
            untitled = pc.equal(rows["title"], "").to_numpy()
            faults.add("empty title", lines[untitled], lambda _: "the title, column 'title', is empty.")
            new = _first_rows(ids, ~untitled, place_of)
            kept.append(rows.take(pa.array(new, pa.int64())))
            known = pa.concat_tables(kept)
            again = [row for row in np.setdiff1d(np.arange(len(ids)), new).tolist() if ids[row] and not untitled[row]]
            _report_clashes(known, rows, again, [place_of[ids[row]] for row in again], lines, faults)
            faults.raise_earliest()
        conversion.finish(faults)
    if not place_of:
        raise DataFormatError(files[0], "there are no texts that could be used.")
    return pa.concat_tables(kept).combine_chunks()


def _first_rows(ids: Sequence[str | None], usable: np.ndarray, place_of: dict[str, int]) -> list[int]:
    """The rows whose id comes for the first time, which is noted in `place_of`."""
    rows = []
    for row, news_id in enumerate(ids):
        if news_id and usable[row] and news_id not in place_of:
            place_of[news_id] = len(place_of)
            rows.append(row)
    return rows


def _report_clashes(
    known: pa.Table, rows: pa.Table, again: Sequence[int], places: Sequence[int], lines: np.ndarray, faults: LineFaults
) -> None:
    first, later = known.take(pa.array(places, pa.int64())), rows.take(pa.array(again, pa.int64()))
    differs = np.zeros(len(again), bool)
    for name in _COLUMNS[1:]:
        differs |= pc.not_equal(first[name], later[name]).to_numpy()
    clashing = np.array(again, np.int64)[differs]
    faults.add(
        "news translated twice, in different words",
        lines[clashing],
        lambda k: f"the news {rows['nid'][int(clashing[k])].as_py()!r} came before with another text.",
        remedy="Name the files of one language only; --on-error skip keeps the first text.",
    )


def _convert_split(folder: Path, split: str, translations: pa.Table, conversion: Conversion) -> None:
    target = conversion.folder / split
    target.mkdir()
    news = pa.concat_tables(_read_news(folder / NEWS_FILE))
    place = pc.index_in(news["news id"], value_set=translations["nid"].combine_chunks())
    for column in _COLUMNS[1:]:
        translated = translations[column].combine_chunks().take(place.combine_chunks())
        texts = pc.coalesce(translated, news[column].combine_chunks())
        news = news.set_column(FILE_COLUMNS.index(column), column, texts)
    write_table(target / NEWS_FILE, news)
    require_file(folder / BEHAVIORS_FILE, "the click log of the split")
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        if path.name != NEWS_FILE and not path.name.startswith("."):
            _link(path, target / path.name)
    conversion.note(split, news=news.num_rows, news_in_their_own_language=place.null_count)


def _read_news(path: Path) -> Iterator[pa.Table]:
    for block, _ in read_tsv(path, FILE_COLUMNS, LineFaults(path, "raise")):
        yield block


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)
