"""Adressa's event log (one week, the light version) as a data folder in MIND's form.

The archive holds a file a day, `20170101` … `20170107`, with a JSON object in each line: an event of a user on a page.
An event of an article has the article's `id`, `title`, `category1`, `publishtime` and more; one of the front page or of
a section has none of these. What was shown beside it is not known, so negatives are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.folders import WHOLE
from recommenders_miner.data.past_clicks import PAST_CLICKS
from recommenders_miner.data.tsv import LineErrors, OnError, open_data, require_file
from recommenders_miner.datasets.columns import LAST_SECOND, NO_TIME, Block, json_lines
from recommenders_miner.datasets.conversion import Conversion, conversion_to, news_rows, write_clicks
from recommenders_miner.datasets.negatives import Negatives
from recommenders_miner.errors import DataFormatError

BATCH_LINES = 50_000
"""How many lines are read at a time. Results do not depend on it."""

_FILES = "a folder of Adressa's files, one a day, or one of these"
_FIELDS = ("userId", "time", "id", "title", "category1", "publishtime", "canonicalUrl", "url")


def convert_adressa(
    source: str | Path,
    out: str | Path,
    negatives: Negatives | None = None,
    on_error: OnError = "raise",
    progress: Callable[[float, str], None] | None = None,
    max_history: int | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Write `out/all/`, with news.tsv, articles.parquet and behaviors.tsv, of Adressa's event log.

    A click is a user's first event with an article; it becomes an impression with drawn negatives, as
    `recommenders_miner.datasets.negatives` says. Left out, and counted, are events without an article and of articles
    that have a title in no event. Category and subcategory are the first and the last part of `category1`; the title,
    categories and time of publication of an article are those of the first event that has them.

    Args:
        source: the folder of the days, or one of their files, unpacked.
        out: the folder to write.
        negatives: how negatives are drawn.
        on_error: "raise" stops at the first faulty line; "skip" leaves faulty lines out and counts them.
        progress: is told the share of the bytes that is read, and the file.
        max_history: clicks of a history that are kept, the newest; None keeps all.
        overwrite: whether to replace a folder `out` that holds something.

    Raises:
        DataFormatError: there is no file, a line is no JSON object, or lacks what an event of an article needs.
        FolderExistsError: `out` holds something.
        ValueError: `max_history` is negative.
    """
    files, negatives = _find_files(Path(source)), negatives or Negatives()
    settings = {"converter": "adressa", "source": str(source), "negatives": asdict(negatives)}
    settings |= {"max_history": max_history, **PAST_CLICKS}
    with conversion_to(out, settings, [Path(source)], on_error, overwrite) as conversion:
        events, descriptions, without_article = [], [], 0
        total, before = sum(path.stat().st_size for path in files), 0
        for path in files:
            if progress is not None:
                progress(before / max(total, 1), path.name)
            before += path.stat().st_size
            with conversion.errors_of(path) as errors:
                for records, lines in _read_records(path, errors):
                    rows = [row for row, record in enumerate(records) if record.get("id") not in (None, "")]
                    without_article += len(records) - len(rows)
                    read, described = _read_events([records[row] for row in rows], lines[rows], errors)
                    events.append(read)
                    descriptions.append(described)
        news, retitled = _articles(pa.concat_tables(descriptions))
        events = pa.concat_tables(events).unify_dictionaries()
        article = events["article"].combine_chunks()
        place = pc.index_in(article.dictionary, value_set=news["news id"].combine_chunks()).take(article.indices)
        titled = events.set_column(2, "article", place)
        titled = titled.filter(pc.is_valid(titled["article"]))
        if not len(titled):
            raise DataFormatError(files[0], "there are no events of articles with a title.")
        repeated = write_clicks(conversion, titled, news, negatives, max_history, files[0])
        conversion.note(
            WHOLE,
            events_without_an_article_left_out=without_article,
            events_of_articles_without_a_title_left_out=len(events) - len(titled),
            repeated_clicks_left_out=repeated,
            articles_with_two_titles=retitled,
        )
    return conversion


def _find_files(source: Path) -> list[Path]:
    """Return the files of the days, in the order of their names."""
    if not source.is_dir():
        require_file(source, _FILES)
        files = [source]
    else:
        files = sorted(path for path in source.rglob("*") if path.is_file() and not path.name.startswith("."))
    for path in files:
        if path.name.endswith((".tar", ".tar.gz", ".tgz", ".zip")):
            raise DataFormatError(path, "is an archive.", remedy=f"Unpack it: tar -xf {path.name}")
    if not files:
        raise DataFormatError(source, "there are no files; expected Adressa's, one a day.")
    return files


def _read_records(path: Path, errors: LineErrors) -> Iterator[tuple[list[dict[str, Any]], np.ndarray]]:
    """Yield the events of a file, some lines at a time and at least once, with their 1-based lines."""
    with open_data(path, _FILES) as file:
        events, batch = json_lines(file, errors), None
        while batch is None or len(batch) == BATCH_LINES:
            batch = list(islice(events, BATCH_LINES))
            # Most of an event, the profile, is not needed.
            records = [{field: record[field] for field in _FIELDS if field in record} for _, record in batch]
            yield records, np.array([line for line, _ in batch], np.int64)
            errors.raise_earliest()


def _read_events(records: Sequence[dict[str, Any]], lines: np.ndarray, errors: LineErrors) -> tuple[pa.Table, pa.Table]:
    """Return the sound events, whose articles are still ids, and what they say of these, each row once."""
    read = {name: _id if name in ("userId", "id") else _text for name in _FIELDS if name != "time"}
    columns = {name: pa.array([of(record.get(name)) for record in records], pa.string()) for name, of in read.items()}
    times = [record.get("time") for record in records]
    is_time = np.array([type(time) in (int, float) and 0 <= time <= LAST_SECOND for time in times], bool)
    block = Block(pa.table(columns), lines, errors)
    block.report("bad time", ~is_time, lambda row: f"the field 'time' is {times[row]!r}; expected Unix seconds.")
    user, article, published = block.ids("userId", "user id"), block.ids("id", "news id"), block.seconds("publishtime")
    errors.raise_earliest()
    time = np.array([int(time) if sound else 0 for time, sound in zip(times, is_time, strict=True)], np.int64)
    sound = pa.array(block.sound)
    events = pa.table({"user": user.dictionary_encode(), "time": time, "article": article.dictionary_encode()})
    described = {
        "id": article,
        "title": columns["title"],
        "category": columns["category1"],
        "url": pc.coalesce(columns["canonicalUrl"], columns["url"]),
        "published": pa.array(np.maximum(published, 0), mask=published == NO_TIME),
    }
    described = pa.table(described).filter(sound)
    return events.filter(sound), _grouped(described, described.column_names).select(described.column_names)


def _grouped(table: pa.Table, keys: str | list[str], *aggregates: tuple[str, str]) -> pa.Table:
    """Group rows, the groups standing in the order of their first rows."""
    numbered = table.append_column("row", pa.array(np.arange(len(table))))
    return numbered.group_by(keys, use_threads=False).aggregate([*aggregates, ("row", "min")]).sort_by("row_min")


def _articles(descriptions: pa.Table) -> tuple[pa.Table, int]:
    """Return the articles that have a title, with what events first say of them, and how many got another title."""
    first = [(name, "first") for name in descriptions.column_names[1:]]
    articles = _grouped(descriptions, "id", *first, ("title", "count_distinct"))
    titled = articles.filter(pc.is_valid(articles["title_first"])).combine_chunks()
    categories = [[part for part in (text or "").split("|") if part] for text in titled["category_first"].to_pylist()]
    news = news_rows(
        titled["id"].combine_chunks(),
        titled["title_first"].combine_chunks(),
        category=[names[0] if names else "" for names in categories],
        subcategory=[names[-1] if names else "" for names in categories],
        url=titled["url_first"].combine_chunks(),
    )
    retitled = pc.sum(pc.greater(titled["title_count_distinct"], 1)).as_py() or 0
    return news.append_column("published", titled["published_first"]), retitled


def _id(value: Any) -> str | None:
    """Return an id as a text; None, which is an error, where it is neither a text nor a whole number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)


def _text(value: Any) -> str | None:
    """Return a text, a question mark standing for half a surrogate pair; None where there is none."""
    return (value.strip().encode(errors="replace").decode() if isinstance(value, str) else "") or None
