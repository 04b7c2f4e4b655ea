"""Logs of one's own, in CSV or Parquet files whose columns a YAML file names, as a data folder in MIND's form."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.folders import WHOLE
from recommenders_miner.data.news import FILE_COLUMNS
from recommenders_miner.data.past_clicks import PAST_CLICKS, require_length
from recommenders_miner.data.tsv import LineErrors, OnError
from recommenders_miner.datasets.click_logs import (
    NO_NEGATIVES,
    clicks_with_negatives,
    first_clicks,
    group_shown,
    write_log,
)
from recommenders_miner.datasets.columns import LAST_SECOND, NO_TIME, Block, TimeColumn, is_blank, read_columns
from recommenders_miner.datasets.conversion import Conversion, FirstRows, Interned, conversion_to, news_rows
from recommenders_miner.datasets.negatives import Negatives
from recommenders_miner.datasets.own_schema import EventColumns, LogSchema, NewsColumns
from recommenders_miner.errors import DataFormatError

_TRUE, _FALSE = ("1", "true", "yes", "t", "y", "1.0"), ("0", "false", "no", "f", "n", "0.0")
_NOT_TOGETHER = "Rows that were shown together need one second, or one id in a column that 'impression' names."


def convert_own_logs(
    schema: str | Path,
    out: str | Path,
    negatives: Negatives | None = None,
    on_error: OnError = "raise",
    max_history: int | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Write `out/all/`, with news.tsv and behaviors.tsv, of one's own logs.

    Where the events say what was clicked on and what was not, the rows of one impression and user become one; without a
    column of impressions, those of one user and second. Where every event is a click, a click becomes an impression
    with drawn negatives (`recommenders_miner.datasets.negatives` says which, and what follows from that), and a user's
    later clicks on the same article are left out.

    Impressions are numbered in the order of time. Their history is what the user clicked on in an earlier second, a
    click being as old as the row that says so, and an impression as its earliest row. `split_by_time` then makes train
    and dev of it. What the YAML file names of articles that news.tsv has no room for, `published` and further columns,
    stands in articles.parquet.

    Args:
        schema: the YAML file that names files and columns; see `own_schema`.
        out: the folder to write.
        negatives: how negatives are drawn where every event is a click.
        on_error: "raise" stops at the first faulty row; "skip" leaves faulty rows out and counts them.
        max_history: clicks of a history that are kept, the newest; None keeps all.
        overwrite: whether to replace a folder `out` that holds something.

    Raises:
        DataFormatError: the YAML file or a table is missing or faulty, or its events are all clicks or none.
        FolderExistsError: `out` holds something.
        ValueError: `max_history` is negative.
    """
    require_length(max_history)
    layout = LogSchema.read(schema)
    negatives = negatives or Negatives()
    clicks_only = layout.events.clicked is None
    settings = {"converter": "own", "source": str(schema), "max_history": max_history, **PAST_CLICKS}
    settings |= {"negatives": asdict(negatives)} if clicks_only else {}
    sources, path = [Path(schema), *layout.news.file, *layout.events.file], layout.events.file[0]
    with conversion_to(out, settings, sources, overwrite) as conversion:
        news = _read_news(layout.news, conversion, on_error)
        ids = news["news id"].combine_chunks()
        _refuse_misread(layout.news.file[0], ids)
        events, users = _read_events(layout.events, ids, conversion, on_error)
        if clicks_only:
            clicks = first_clicks(events)
            log = clicks_with_negatives(clicks, news, users, negatives)
            write_log(conversion, log, news, max_history, path, NO_NEGATIVES)
            conversion.note(WHOLE, repeated_clicks_left_out=len(events) - len(clicks))
        else:
            log, clicked_at = group_shown(events, users)
            write_log(conversion, log, news, max_history, path, _NOT_TOGETHER, clicked_at)
    return conversion


# === News ===


def _read_news(columns: NewsColumns, conversion: Conversion, on_error: OnError) -> pa.Table:
    """Return the columns of news.tsv, `published` where the files say, and the further columns."""
    news = FirstRows(FILE_COLUMNS)
    places, times = [], [np.empty(0, np.int64)]
    texts = [columns.title, columns.category, columns.subcategory, columns.abstract]
    named = [columns.id, *texts, *columns.columns, columns.published and columns.published.column]
    wanted = list(dict.fromkeys(name for name in named if name is not None))
    for path in columns.file:
        errors = LineErrors(path, on_error)
        for block in read_columns(path, wanted, errors, columns.separator):
            ids = block.news_ids(columns.id)
            rows = news_rows(ids, *(None if name is None else block.texts(name) for name in texts))
            for name in columns.columns:
                rows = rows.append_column(name, _or_null(block.table[name]))
            published = np.full(len(ids), NO_TIME)
            if columns.published is not None:
                published = _published(block, columns.published)
            try:
                news.add(
                    block,
                    rows,
                    ids,
                    reason="news id repeated with another content",
                    says=f"the news id {{}}, column {columns.id!r}, came before with another content.",
                    remedy="Each article needs one row; --on-error skip keeps the first.",
                )
            except pa.ArrowException as error:
                raise DataFormatError(path, f"columns are of other types than in the files before: {error}") from None
            errors.raise_earliest()
            dated = np.flatnonzero(block.sound & (published != NO_TIME))
            places += [news.place_of[news_id] for news_id in ids.take(dated).to_pylist()]
            times.append(published[dated])
        conversion.finish(errors)
    if not news.place_of:
        raise DataFormatError(columns.file[0], "there are no news.")
    table = news.table
    if columns.published is not None:
        earliest = np.full(len(table), np.iinfo(np.int64).max)
        np.minimum.at(earliest, np.array(places, np.int64), np.concatenate(times))
        published = pa.array(earliest, mask=earliest == np.iinfo(np.int64).max)
        table = table.add_column(len(FILE_COLUMNS), "published", published)
    return table


def _or_null(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a further column, null in the place of empty texts, which are all that a CSV can write for it."""
    return pc.if_else(pc.equal(values, ""), None, values) if pa.types.is_string(values.type) else values


def _published(block: Block, column: TimeColumn) -> np.ndarray:
    """Return when articles were published, before 1970 counting as 1970."""
    values = block.table[column.column]
    seconds = column.seconds(block.errors.path, values)
    block.report(
        "bad time of publication",
        (seconds == NO_TIME) & ~is_blank(values),
        lambda row: f"column {column.column!r}: {values[row].as_py()!r} is not a time.",
        column.remedy,
    )
    return np.where(seconds == NO_TIME, NO_TIME, np.maximum(seconds, 0))


def _refuse_misread(path: Path, ids: pa.StringArray) -> None:
    """Refuse ids that an unlabelled `behaviors.tsv` cannot tell from another article with a label.

    If both `7` and `7-1` are articles, the candidate `7-1` means the one clicked on or the other one not labelled.
    """
    labelled = ids.filter(pc.match_substring_regex(ids, "-[01]$"))
    misread = labelled.filter(pc.is_in(pc.utf8_slice_codeunits(labelled, 0, stop=-2), value_set=ids))
    if len(misread):
        news_id = misread[0].as_py()
        raise DataFormatError(
            path,
            f"the news ids {news_id!r} and {news_id[:-2]!r} cannot both be: -0 and -1 after an id are its label.",
            remedy="Rename one, or append a letter to every id.",
        )


# === Events ===


def _read_events(
    columns: EventColumns, news_ids: pa.StringArray, conversion: Conversion, on_error: OnError
) -> tuple[pa.Table, pa.StringArray]:
    """Return the sound rows of all files of events, as `click_logs` describes them, and the users."""
    users, impressions = Interned(), Interned()
    parts = []
    named = [columns.user, columns.time.column, columns.news, columns.clicked, columns.impression]
    wanted = list(dict.fromkeys(name for name in named if name is not None))
    for path in columns.file:
        errors = LineErrors(path, on_error)
        for block in read_columns(path, wanted, errors, columns.separator):
            rows = pa.table(_event_columns(block, columns, news_ids)).filter(pa.array(block.sound)).combine_chunks()
            errors.raise_earliest()
            rows = rows.set_column(0, "user", pa.array(users.numbers(rows["user"].combine_chunks())))
            if columns.impression is not None:
                group = impressions.numbers(rows["group"].combine_chunks())
                rows = rows.set_column(4, "group", pa.array(group.astype(np.int64)))
            parts.append(rows)
        conversion.finish(errors)
    path = columns.file[0]
    events = pa.concat_tables(parts) if parts else pa.table({})
    if not len(events):
        raise DataFormatError(path, "there are no events that could be used.")
    if columns.clicked is not None and pc.all(events["clicked"]).as_py():
        raise DataFormatError(
            path,
            f"every event is a click by column {columns.clicked!r}: nothing was shown and passed over.",
            remedy="Leave 'clicked' and 'impression' out of the YAML file: negatives are then drawn.",
        )
    if columns.clicked is not None and not pc.any(events["clicked"]).as_py():
        raise DataFormatError(path, f"no event is a click by column {columns.clicked!r}.")
    return events, users.texts


def _event_columns(block: Block, columns: EventColumns, news_ids: pa.StringArray) -> dict[str, Any]:
    """Return the columns of events, users and groups still being texts; report what is bad in them."""
    news, times = block.ids(columns.news), block.table[columns.time.column]
    read = {
        "user": block.user_ids(columns.user),
        "time": columns.time.seconds(block.errors.path, times),
        "article": pc.index_in(news, value_set=news_ids),
    }
    block.report(
        "bad time",
        (read["time"] < 0) | (read["time"] > LAST_SECOND),
        lambda row: f"column {columns.time.column!r}: {times[row].as_py()!r} is not a time from 1970 to 9999.",
        columns.time.remedy,
    )
    block.report(
        "event of an article that is not among the news",
        pc.is_null(read["article"]).to_numpy(zero_copy_only=False),
        lambda row: f"the article {news[row].as_py()!r}, column {columns.news!r}, is not among the news.",
        "--on-error skip leaves such events out, and counts them.",
    )
    if columns.clicked is not None:
        read |= {"clicked": _flags_of(block, columns.clicked), "group": read["time"]}
    if columns.impression is not None:
        read["group"] = block.ids(columns.impression)
        block.report(
            "empty impression id",
            is_blank(read["group"]),
            lambda _: f"column {columns.impression!r}: the impression id is empty.",
        )
    return read


def _flags_of(block: Block, column: str) -> np.ndarray:
    """Return a column of truth values, (rows,) bool; rows that have none are bad."""
    values = block.table[column]
    if pa.types.is_floating(values.type):  # as pandas writes truth values with gaps
        true, false = (pc.equal(values, mark).fill_null(False).to_numpy() for mark in (1.0, 0.0))
    else:
        texts = pc.utf8_lower(block.texts(column))
        true, false = (np.asarray(pc.is_in(texts, value_set=pa.array(marks))) for marks in (_TRUE, _FALSE))
    block.report(
        "bad mark of a click",
        ~(true | false),
        lambda row: f"column {column!r}: expected 1 or 0, true or false, got {values[row].as_py()!r}.",
    )
    return true
