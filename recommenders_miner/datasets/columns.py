"""Reading named columns of CSV and Parquet files, a batch of rows at a time, with the line of every error.

The lines of a Parquet file are its rows, the first one being 1.
"""

from __future__ import annotations

import csv
import difflib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.ragged import Ragged
from recommenders_miner.data.tsv import LineErrors, require_file
from recommenders_miner.errors import DataFormatError

BATCH_ROWS = 50_000
"""How many rows are read at a time. Results do not depend on it."""

NO_TIME = np.iinfo(np.int64).min
"""Stands for a text that is no time, and for none."""

LAST_SECOND = 253_402_300_799
"""The end of the year 9999, after which MIND's form has no way to write a time."""

UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""Units of times that are numbers since 1970, with how many of each a second has."""

_MOST_NAMED = 100  # columns that a message names
_LONGEST_FIELD = 2**24
_PARQUET, _GZIP, _UTF16 = b"PAR1", b"\x1f\x8b", (b"\xff\xfe", b"\xfe\xff")
_NOT_IN_A_USER = "[\\x00-\\x1f\\x7f\x85\u2028\u2029\ufeff]"
_NOT_IN_AN_ARTICLE = "[\\x00-\\x20\\x7f\x85\u2028\u2029\ufeff]"
_UNDECODED = re.compile("[\ud800-\udfff]")


@dataclass
class Block:
    """Some rows of a file: their columns by what these have to hold, and which rows are sound.

    Attributes:
        table: the columns, of strings if the file is a CSV, else of the types that they have there.
        lines: (rows,) int64, the 1-based line of each row.
        errors: of the file; told of bad rows.
        sound: (rows,) bool, the rows that nothing bad is reported of.
    """

    table: pa.Table
    lines: np.ndarray
    errors: LineErrors
    sound: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.sound = np.ones(len(self.lines), bool)

    def report(self, reason: str, bad: np.ndarray, describe: Callable[[int], str], remedy: str | None = None) -> None:
        """Report bad rows.

        Args:
            reason: the kind of error, as what is left out is counted by it.
            bad: (rows,) bool.
            describe: says what is wrong with a row. Called for one row only.
            remedy: what the user can do about it.
        """
        rows = np.flatnonzero(bad)
        self.sound &= ~bad
        self.errors.add(reason, self.lines[rows], lambda k: describe(int(rows[k])), remedy)

    def ids(self, column: str) -> pa.StringArray:
        """Return a column of ids, which are texts or whole numbers, as texts.

        Raises:
            DataFormatError: it holds something else; so do the other kinds of columns.
        """
        kind = self.table[column].type
        if not (_is_whole(kind) or pa.types.is_string(kind)):
            raise self._misfit(column, "ids are texts or whole numbers")
        return self.table[column].cast(pa.string()).combine_chunks()

    def news_ids(self, column: str) -> pa.StringArray:
        """Return a column of ids of articles; those that behaviors.tsv cannot hold between its spaces are bad."""
        return self._checked_ids("news id", column, _NOT_IN_AN_ARTICLE, "a space, tab, line end or the like")

    def user_ids(self, column: str) -> pa.StringArray:
        """Return a column of user ids; those that a column of behaviors.tsv cannot hold are bad. A space is no harm."""
        return self._checked_ids("user id", column, _NOT_IN_A_USER, "a tab, line end or the like")

    def _checked_ids(self, kind: str, column: str, unfit: str, characters: str) -> pa.StringArray:
        ids = self.ids(column)
        self.report(
            f"empty {kind}",
            is_blank(ids),
            lambda _: f"the {kind}, column {column!r}, is empty.",
            "--on-error skip leaves such rows out, and counts them.",
        )
        self.report(
            f"{kind} with {characters}",
            pc.match_substring_regex(ids, unfit).fill_null(False).to_numpy(zero_copy_only=False),
            lambda row: f"the {kind}, column {column!r}, holds {characters}: {ids[row].as_py()!r}.",
            "MIND's files have no way to write it; replace such characters, by _ for example.",
        )
        return ids

    def texts(self, column: str) -> pa.StringArray:
        """Return a column of texts; whole numbers and truth values are written out."""
        kind = self.table[column].type
        if self.table[column].null_count == len(self.table):  # of whatever type a writer makes a column without a value
            return pa.nulls(len(self.table), pa.string())
        if not (pa.types.is_string(kind) or _is_whole(kind) or pa.types.is_boolean(kind)):
            raise self._misfit(column, "expected texts")
        return self.table[column].cast(pa.string()).combine_chunks()

    def integers(self, column: str) -> np.ndarray:
        """Return a column of whole numbers, (rows,) int64; missing and negative ones are bad, and -1 or negative."""
        values = self.table[column]
        if not pa.types.is_integer(values.type):
            raise self._misfit(column, "expected whole numbers")
        numbers = values.cast(pa.int64(), safe=False).fill_null(-1).to_numpy()
        self.report(f"no {column}", numbers < 0, lambda _: f"column {column!r} has no usable value.")
        return numbers

    def lists(self, column: str) -> Ragged:
        """Return a column of lists of whole numbers, int64; a missing list is empty, a missing number left out."""
        lists = self.table[column].combine_chunks()
        is_list = pa.types.is_list(lists.type) or pa.types.is_large_list(lists.type)
        if not is_list or not (pa.types.is_integer(lists.type.value_type) or pa.types.is_null(lists.type.value_type)):
            raise self._misfit(column, "expected lists of whole numbers")
        numbers = pc.list_flatten(lists)
        real = pc.is_valid(numbers).to_numpy(zero_copy_only=False)
        values = numbers.cast(pa.int64(), safe=False).fill_null(0).to_numpy()[real]
        row_of = pc.list_parent_indices(lists).to_numpy()[real]
        return Ragged.of_lengths(values, np.bincount(row_of, minlength=len(lists)))

    def _misfit(self, column: str, expected: str) -> DataFormatError:
        kind = self.table[column].type
        gaps = "pandas makes floats of whole numbers where one is missing: astype('Int64') before writing."
        remedy = gaps if pa.types.is_floating(kind) else None
        return DataFormatError(self.errors.path, f"column {column!r} holds {kind}; {expected}.", remedy=remedy)


def _is_whole(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale == 0)


def is_blank(values: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return whether each value is missing or the empty text, (rows,) bool."""
    blank = pc.equal(values.fill_null(""), "") if pa.types.is_string(values.type) else pc.is_null(values)
    return np.asarray(blank)


# === Files ===


def read_columns(
    path: Path, columns: Sequence[str], errors: LineErrors, separator: str = ",", optional: Sequence[str] = ()
) -> Iterator[Block]:
    """Read some columns of a file, which is Parquet if it begins as such, else CSV with a header.

    Args:
        path: the file.
        columns: names of the columns that are needed.
        errors: told of every faulty line.
        separator: what stands between the columns of a CSV.
        optional: names of columns that are read where the file has them.

    Raises:
        DataFormatError: the file is missing, empty or not readable, lacks a column, or has a faulty line and errors are
            raised.
    """
    require_file(path, "a CSV file with a header, or a Parquet file")
    with open(path, "rb") as file:
        start = file.read(len(_PARQUET))
    if start == _PARQUET:
        yield from _read_parquet(path, columns, optional, errors)
    elif start.startswith(_GZIP):
        raise DataFormatError(path, "is packed by gzip.", remedy=f"Unpack it: gunzip {path.name}")
    elif start.startswith(_UTF16):
        raise DataFormatError(path, "is UTF-16.", remedy="Convert it to UTF-8: iconv -f UTF-16 -t UTF-8")
    else:
        yield from _read_csv(path, columns, optional, errors, separator)


def _read_parquet(path: Path, columns: Sequence[str], optional: Sequence[str], errors: LineErrors) -> Iterator[Block]:
    import pyarrow.parquet as pq

    first_row = 1
    try:
        # What the footer says of the columns of a row group is not asked: where that is damaged, pyarrow 26 ends the
        # process.
        with pq.ParquetFile(path) as file:
            wanted = _find_columns(path, file.schema_arrow.names, columns, optional)
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=wanted):
                batch.validate(full=True)  # reading alone takes any bytes for UTF-8
                table = pa.table({name: _plain(batch.column(name)) for name in wanted})
                yield Block(table, np.arange(first_row, first_row + len(table)), errors)
                first_row += len(table)
    except DataFormatError:
        raise
    except Exception as error:  # pyarrow lets through whatever a damaged file leads it into
        raise DataFormatError(path, f"is not readable as Parquet: {error}") from None


def _plain(column: pa.Array) -> pa.Array:
    """Write out a dictionary, and bring texts into the one layout that all of Arrow's functions know."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    is_text = pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type)
    return column.cast(pa.string()) if is_text else column


def _read_csv(
    path: Path, columns: Sequence[str], optional: Sequence[str], errors: LineErrors, separator: str
) -> Iterator[Block]:
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))  # bodies of articles are longer than csv expects
    # Bytes that are not UTF-8 become lone surrogates, so that their line can be named.
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        rows = _sound_rows(csv.reader(file, delimiter=separator, strict=True), errors)
        _, header = next(rows, (0, None))
        if header is None:
            errors.raise_earliest()
            raise DataFormatError(path, "the file holds nothing but blank lines; expected a CSV with a header.")
        wanted = _find_columns(path, header, columns, optional)
        while batch := list(islice(rows, BATCH_ROWS)):
            table = {name: pa.array([row[header.index(name)] for _, row in batch], pa.string()) for name in wanted}
            yield Block(pa.table(table), np.array([line for line, _ in batch], np.int64), errors)
            errors.raise_earliest()
        errors.raise_earliest()  # of a batch that no row was left of


def _sound_rows(reader: Iterator[list[str]], errors: LineErrors) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not blank, are UTF-8 and as long as the first one, each with the line it begins in.

    Where errors are raised, nothing is read past the first bad row, so that the rows before it can be looked at.
    """
    width = 0
    while True:
        line, reason, says, remedy = reader.line_num + 1, None, None, None
        try:
            row = next(reader, None)
        except csv.Error as error:
            row, reason, says = [], "not readable as CSV", f"not readable as CSV: {error}."
            remedy = "Is a quote opened and not closed, or a quote within a text not doubled?"
        if row is None:
            return
        width = width or len(row)
        if row and len(row) != width:
            reason, says = "wrong number of columns", f"expected {width} columns, as in the header, got {len(row)}."
            remedy = "Is the separator right, and is a text that holds it quoted?"
        elif not (text := "".join(row)).isascii() and _UNDECODED.search(text):
            reason, says = "bytes that are not UTF-8", "the line is not valid UTF-8."
            remedy = "Convert the file to UTF-8."
        if reason is not None:
            errors.add(reason, np.array([line]), lambda _, says=says: says, remedy)
            if errors.report is None:
                return
        elif row:
            yield line, row


def _find_columns(path: Path, found: Sequence[str], columns: Sequence[str], optional: Sequence[str]) -> list[str]:
    """Return the columns of a file that are to be read.

    Raises:
        DataFormatError: the file lacks one that is needed, or has one of them twice.
    """
    for column in columns:
        if column not in found:
            named = found[:_MOST_NAMED]
            nearest = difflib.get_close_matches(column, named, n=1, cutoff=0.0)
            remedy = f"Did you mean {nearest[0]!r}?" if nearest else None
            inside = [mark for mark in ";\t|," if len(found) == 1 and mark in found[0]]
            if inside:
                remedy = f"Is the separator another one? separator: {json.dumps(inside[0])}"
            more = f" and {len(found) - len(named):,} more" if len(found) > len(named) else ""
            raise DataFormatError(
                path,
                f"there is no column {column!r}; the columns are {', '.join(map(repr, named))}{more}.",
                remedy=remedy,
            )
    wanted = [*dict.fromkeys([*columns, *(column for column in optional if column in found)])]
    for column in wanted:
        if found.count(column) > 1:
            raise DataFormatError(path, f"there are {found.count(column)} columns {column!r}.", remedy="Rename them.")
    return wanted


# === Times ===


@dataclass(frozen=True)
class TimeColumn:
    """A column of times.

    Attributes:
        column: its name.
        format: how the times are written, in `datetime.strptime`'s form. None: ISO 8601, as in `2019-11-12 14:14:46`.
        unit: a key of `UNITS`: the times are numbers since 1970.
    """

    column: str
    format: str | None = None
    unit: str | None = None

    def seconds(self, path: Path, values: pa.ChunkedArray) -> np.ndarray:
        """Return the times of some rows, (rows,) int64 Unix seconds, `NO_TIME` where there is none that can be read.

        A time with a zone is brought to UTC; one without counts as UTC. Fractions of a second are dropped.

        Args:
            path: the file, for the message.
            values: the column.

        Raises:
            DataFormatError: the column is of a type that holds no times, or numbers of an unknown unit.
        """
        kind = values.type
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            zone = kind.tz if pa.types.is_timestamp(kind) else None
            seconds = values.cast(pa.timestamp("s", zone), safe=False).cast(pa.int64())
            return seconds.fill_null(NO_TIME).to_numpy()
        if pa.types.is_string(kind) and self.unit is None:
            parse = datetime.fromisoformat if self.format is None else self._strptime
            return np.array([_seconds_of(text, parse) for text in values.to_pylist()], np.int64)
        if pa.types.is_string(kind):
            sound = pc.match_substring_regex(values, r"^[0-9]{1,19}(\.[0-9]*)?$")
            values = pc.if_else(sound, pc.replace_substring_regex(values, r"\.[0-9]*$", ""), None).cast(pa.uint64())
            return _seconds_of_numbers(values, UNITS[self.unit])
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            if self.unit is None:
                raise DataFormatError(
                    path,
                    f"the times in column {self.column!r} are numbers ({kind}), and their unit is not known.",
                    remedy=f"Say it: {{column: {self.column}, unit: s}}, or ms, us, ns.",
                )
            return _seconds_of_numbers(values, UNITS[self.unit])
        raise DataFormatError(path, f"column {self.column!r} holds {kind}; expected times, texts or numbers.")

    @property
    def remedy(self) -> str:
        """What to do about a time that cannot be read."""
        if self.unit is not None:
            return f"The times are said to be numbers of {self.unit} since 1970."
        if self.format is not None:
            return f"The times are said to have the format {self.format!r}."
        return (
            "Times are read as ISO 8601, 2019-11-12 14:14:46, unless a format or a unit is given: "
            f"{{column: {self.column}, format: '%d.%m.%Y %H:%M'}} or {{column: {self.column}, unit: ms}}."
        )

    def _strptime(self, text: str) -> datetime:
        return datetime.strptime(text, self.format)


def _seconds_of(text: str | None, parse: Callable[[str], datetime]) -> int:
    try:
        time = parse(text or "")
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() // 1)
    except (ValueError, OverflowError):
        return NO_TIME


def _seconds_of_numbers(values: pa.ChunkedArray, per_second: int) -> np.ndarray:
    if pa.types.is_floating(values.type):
        numbers = values.to_numpy() / per_second
        sound = np.isfinite(numbers) & (np.abs(numbers) <= LAST_SECOND)
        return np.where(sound, np.floor(np.where(sound, numbers, 0)).astype(np.int64), NO_TIME)
    missing = pc.is_null(values).to_numpy()
    wide = values if pa.types.is_uint64(values.type) else values.cast(pa.int64())
    return np.where(missing, NO_TIME, (wide.fill_null(0).to_numpy() // per_second).astype(np.int64))
