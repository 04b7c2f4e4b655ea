"""Logs of one's own, in CSV or Parquet files whose columns a YAML file names, as a data folder in MIND's form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.past_clicks import PAST_CLICKS, require_length
from recommenders_miner.data.tsv import LineFaults, OnError
from recommenders_miner.datasets.click_logs import (
    NO_NEGATIVES,
    SPLIT,
    Events,
    clicks_with_negatives,
    group_shown,
    warn_of_little_use,
    write_log,
)
from recommenders_miner.datasets.column_files import read_columns
from recommenders_miner.datasets.conversion import Conversion, Interned, conversion_to
from recommenders_miner.datasets.negatives import Negatives
from recommenders_miner.datasets.news_rows import check_news_ids, check_user_ids, misread_ids, news_rows
from recommenders_miner.datasets.own_schema import EventColumns, LogSchema, NewsColumns
from recommenders_miner.datasets.times import LAST_SECOND, NO_TIME
from recommenders_miner.datasets.typed_columns import ids_of, is_text, texts_of
from recommenders_miner.errors import DataFormatError

_TRUE, _FALSE = ("1", "true", "yes", "t", "y", "1.0"), ("0", "false", "no", "f", "n", "0.0")
_NOT_TOGETHER = "Rows that were shown together need one second, or one id in a column that 'impression' names."


def convert_own_logs(
    schema: str | Path,
    out: str | Path,
    negatives: Negatives | None = None,
    on_error: OnError = "raise",
    max_history: int | None = None,
) -> Conversion:
    """Writes `out/all/`, with news.tsv and behaviors.tsv, of one's own logs.

    Where the events say what was clicked on and what was not, the rows of one impression and user become one; without a
    column of impressions, those of one user and second. Where every event is a click, a click becomes an impression
    with drawn negatives (`recommenders_miner.datasets.negatives` says which, and what follows from that), and a user's
    later clicks on the same news are left out.

    Impressions are numbered in the order of time. Their history is what the user clicked on in an earlier second, a
    click being as old as the row that says so, and an impression as its earliest row. `split_by_time` then makes train
    and dev of it.

    Args:
        schema: the YAML file that names files and columns; see `own_logs_schema`.
        out: the folder to write. One that holds an earlier conversion is replaced.
        negatives: how negatives are drawn where every event is a click.
        on_error: "raise" stops at the first faulty row; "skip" leaves faulty rows out and counts them.
        max_history: clicks of a history that are kept, the newest; None keeps all.

    Raises:
        DataFormatError: the YAML file or a table is missing or faulty, or its events are all clicks or none.
        RecommendersMinerError: `out` holds something else.
        ValueError: `max_history` is negative.
    """
    require_length(max_history)
    layout = LogSchema.read(schema)
    negatives = negatives or Negatives()
    clicks_only = layout.events.clicked is None
    settings = {"converter": "own", "source": str(schema), "max_history": max_history, **PAST_CLICKS}
    settings |= {"negatives": asdict(negatives)} if clicks_only else {}
    with conversion_to(out, settings) as conversion:
        news = _read_news(layout.news, conversion, on_error)
        rows = _read_events(layout.events, news.rows["news id"].combine_chunks(), conversion, on_error)
        if clicks_only:
            clicks = rows.events.first_clicks()
            log = clicks_with_negatives(clicks, news.published, rows.users, negatives)
            warn_of_little_use(layout.events.file[0], log, NO_NEGATIVES)
            write_log(conversion, log, news.rows, max_history)
            conversion.note(SPLIT, repeated_clicks_left_out=len(rows.events) - len(clicks))
        else:
            log, clicked_at = group_shown(rows.events, rows.clicked, rows.group, rows.users)
            warn_of_little_use(layout.events.file[0], log, _NOT_TOGETHER)
            write_log(conversion, log, news.rows, max_history, clicked_at)
    return conversion


# === News ===


@dataclass(frozen=True)
class _News:
    """The news.

    Attributes:
        rows: as news.tsv has them.
        published: (N,) int64 Unix seconds, -1 where that is not known.
    """

    rows: pa.Table
    published: np.ndarray


def _read_news(columns: NewsColumns, conversion: Conversion, on_error: OnError) -> _News:
    parts, known, published = [], [], []
    place_of: dict[str, int] = {}
    for path in columns.file:
        faults = LineFaults(path, on_error)
        wanted = [columns.id, columns.title, columns.category, columns.subcategory, columns.abstract]
        named = [name for name in wanted if name is not None]
        if columns.published is not None:
            named.append(columns.published.column)
        for block, lines in read_columns(path, list(dict.fromkeys(named)), faults, columns.separator, retained=True):
            ids = ids_of(path, block, columns.id)
            texts = [None if name is None else texts_of(path, block, name) for name in wanted[1:]]
            title, category, subcategory, abstract = texts
            rows = news_rows(ids, title, category, subcategory, abstract)
            first_seen = np.full(len(ids), -1)
            sound = check_news_ids(ids, lines, columns.id, faults)
            if columns.published is not None:
                first_seen, timely = _published(path, block, columns, lines, faults)
                sound &= timely
            new = _new_news(ids, sound, lines, columns.id, rows, place_of, parts, faults)
            faults.raise_earliest()
            parts.append(rows.take(pa.array(new, pa.int64())))
            dated = np.flatnonzero(sound & (first_seen >= 0))
            known += [place_of[ids[int(row)].as_py()] for row in dated]
            published.append(first_seen[dated])
        conversion.finish(faults)
    if not place_of:
        raise DataFormatError(columns.file[0], "there are no news.")
    news = pa.concat_tables(parts)
    ids = news["news id"].combine_chunks()
    _refuse_misread(columns.file[0], ids)
    return _News(news.combine_chunks(), _earliest(len(ids), known, np.concatenate(published)))


def _earliest(count: int, places: Sequence[int], times: np.ndarray) -> np.ndarray:
    """The earliest time of each of `count` places, int64, -1 where there is none."""
    earliest = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(earliest, np.array(places, np.int64), times)
    return np.where(earliest == np.iinfo(np.int64).max, -1, earliest)


def _published(
    path: Path, block: pa.Table, columns: NewsColumns, lines: np.ndarray, faults: LineFaults
) -> tuple[np.ndarray, np.ndarray]:
    """When news were published, and which rows have no fault in that; before 1970 counts as 1970."""
    values = block[columns.published.column]
    seconds = columns.published.seconds(path, values)
    faulty = np.flatnonzero((seconds == NO_TIME) & ~_is_empty(values))
    faults.add(
        "bad time of publication",
        lines[faulty],
        lambda k: f"column {columns.published.column!r}: {values[int(faulty[k])].as_py()!r} is not a time.",
        remedy=columns.published.remedy,
    )
    sound = np.ones(len(seconds), bool)
    sound[faulty] = False
    return np.where(seconds == NO_TIME, -1, np.maximum(seconds, 0)), sound


def _new_news(
    ids: pa.StringArray,
    sound: np.ndarray,
    lines: np.ndarray,
    column: str,
    rows: pa.Table,
    place_of: dict[str, int],
    earlier: Sequence[pa.Table],
    faults: LineFaults,
) -> list[int]:
    """The rows that hold a news for the first time; one that says something else of it later is a fault."""
    new, repeated = [], []
    for row, news_id in enumerate(ids.to_pylist()):
        if not sound[row]:
            continue
        if news_id in place_of:
            repeated.append(row)
        else:
            place_of[news_id] = len(place_of)
            new.append(row)
    if repeated:
        known = pa.concat_tables([*earlier, rows.take(pa.array(new, pa.int64()))])
        first = known.take(pa.array([place_of[ids[row].as_py()] for row in repeated])).to_pylist()
        again = rows.take(pa.array(repeated)).to_pylist()
        clashing = [row for row, one, other in zip(repeated, first, again, strict=True) if one != other]
        faults.add(
            "news id repeated with another content",
            lines[clashing],
            lambda k: f"the news id {ids[clashing[k]].as_py()!r}, column {column!r}, came before with another content.",
            remedy="Each news needs one row; --on-error skip keeps the first.",
        )
    return new


def _refuse_misread(path: Path, ids: pa.StringArray) -> None:
    misread = np.flatnonzero(misread_ids(ids))
    if len(misread):
        news_id = ids[int(misread[0])].as_py()
        raise DataFormatError(
            path,
            f"the news ids {news_id!r} and {news_id[:-2]!r} cannot both be: -0 and -1 behind an id are its label.",
            remedy="Rename one, or put a letter behind every id.",
        )


# === Events ===


@dataclass(frozen=True)
class _Rows:
    """The sound rows of all files of events.

    Attributes:
        events: who, when and what.
        clicked: (E,) bool; all True where the files do not say.
        group: (E,) int64, which rows were shown together.
        users: what `events.user` refers to.
    """

    events: Events
    clicked: np.ndarray
    group: np.ndarray
    users: pa.StringArray


def _read_events(columns: EventColumns, news_ids: pa.StringArray, conversion: Conversion, on_error: OnError) -> _Rows:
    users, impressions = Interned(), Interned()
    parts, clicked, group = [], [np.empty(0, bool)], [np.empty(0, np.int64)]
    named = [columns.user, columns.time.column, columns.news, columns.clicked, columns.impression]
    wanted = list(dict.fromkeys(name for name in named if name is not None))
    for path in columns.file:
        faults = LineFaults(path, on_error)
        for block, lines in read_columns(path, wanted, faults, columns.separator):
            user, news = ids_of(path, block, columns.user), ids_of(path, block, columns.news)
            time = columns.time.seconds(path, block[columns.time.column])
            sound = check_user_ids(user, lines, columns.user, faults)
            sound &= _check_times(block, columns, time, lines, faults)
            place = pc.index_in(news, value_set=news_ids).fill_null(-1).to_numpy()
            sound &= _check_known(news, place, columns.news, lines, faults)
            label = np.ones(len(lines), bool)
            if columns.clicked is not None:
                label, read = _flags_of(path, block, columns.clicked, lines, faults)
                sound &= read
            if columns.impression is not None:
                impression = ids_of(path, block, columns.impression)
                sound &= _check_impressions(impression, columns.impression, lines, faults)
            faults.raise_earliest()
            kept = np.flatnonzero(sound)
            taken = pa.array(kept)
            parts.append(Events(users.numbers(user.take(taken)), time[kept], place[kept].astype(np.int32)))
            clicked.append(label[kept])
            if columns.impression is not None:
                group.append(impressions.numbers(impression.take(taken)))
        conversion.finish(faults)
    events, flags = Events.join(parts), np.concatenate(clicked)
    _require_use(columns, len(events), flags)
    together = np.concatenate(group) if columns.impression else np.unique(events.time, return_inverse=True)[1]
    return _Rows(events, flags, together, users.texts)


def _check_times(
    block: pa.Table, columns: EventColumns, time: np.ndarray, lines: np.ndarray, faults: LineFaults
) -> np.ndarray:
    sound = (time >= 0) & (time <= LAST_SECOND)
    rows = np.flatnonzero(~sound)
    values = block[columns.time.column]
    faults.add(
        "bad time",
        lines[rows],
        lambda k: f"column {columns.time.column!r}: {values[int(rows[k])].as_py()!r} is not a time from 1970 to 9999.",
        remedy=columns.time.remedy,
    )
    return sound


def _check_known(
    news: pa.StringArray, place: np.ndarray, column: str, lines: np.ndarray, faults: LineFaults
) -> np.ndarray:
    rows = np.flatnonzero(place < 0)
    faults.add(
        "event of a news that is not among the news",
        lines[rows],
        lambda k: f"the news {news[int(rows[k])].as_py()!r}, column {column!r}, is not among the news.",
        remedy="--on-error skip leaves such events out, and counts them.",
    )
    return place >= 0


def _check_impressions(impression: pa.StringArray, column: str, lines: np.ndarray, faults: LineFaults) -> np.ndarray:
    empty = pc.equal(impression.fill_null(""), "").to_numpy(zero_copy_only=False)
    faults.add("empty impression id", lines[empty], lambda _: f"column {column!r}: the impression id is empty.")
    return ~empty


def _flags_of(
    path: Path, block: pa.Table, column: str, lines: np.ndarray, faults: LineFaults
) -> tuple[np.ndarray, np.ndarray]:
    """A column of truth values, and which rows have one, both (rows,) bool."""
    values = block[column]
    if pa.types.is_floating(values.type):  # as pandas writes truth values with gaps
        true, false = (pc.equal(values, mark).fill_null(False).to_numpy() for mark in (1.0, 0.0))
    else:
        texts = pc.utf8_lower(texts_of(path, block, column))
        true, false = (
            pc.is_in(texts, value_set=pa.array(marks)).to_numpy(zero_copy_only=False) for marks in (_TRUE, _FALSE)
        )
    rows = np.flatnonzero(~(true | false))
    faults.add(
        "bad mark of a click",
        lines[rows],
        lambda k: f"column {column!r}: expected 1 or 0, true or false, got {values[int(rows[k])].as_py()!r}.",
    )
    return true, true | false


def _require_use(columns: EventColumns, count: int, clicked: np.ndarray) -> None:
    """Refuses logs that nothing could be learnt from."""
    path = columns.file[0]
    if count == 0:
        raise DataFormatError(path, "there are no events that could be used.")
    if columns.clicked is None:
        return
    if clicked.all():
        raise DataFormatError(
            path,
            f"every event is a click by column {columns.clicked!r}: nothing was shown and passed over.",
            remedy="Leave 'clicked' and 'impression' out of the YAML file: negatives are then drawn.",
        )
    if not clicked.any():
        raise DataFormatError(path, f"no event is a click by column {columns.clicked!r}.")


def _is_empty(values: pa.ChunkedArray) -> np.ndarray:
    """Which values are missing, or the empty text."""
    missing = pc.is_null(values)
    if is_text(values.type):
        missing = pc.or_(missing, pc.equal(values.fill_null(""), ""))
    return missing.to_numpy()
