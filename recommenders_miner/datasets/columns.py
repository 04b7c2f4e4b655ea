"""Reading named columns of CSV, JSON, Parquet and Arrow files, a batch of rows at a time, with the line of every error.

The lines of a Parquet or Arrow file are its rows, the first one being 1.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.behaviors import read_time
from recommenders_miner.data.news import seconds_of_times
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.data.tsv import ARROW, PARQUET, LineErrors, open_data
from recommenders_miner.errors import DataFormatError, nearest

BATCH_ROWS = 50_000
"""How many rows are read at a time. Results do not depend on it."""

NO_TIME = np.iinfo(np.int64).min
"""Stands for a text that is no time, and for none."""

LAST_SECOND = 253_402_300_799
"""The end of the year 9999, after which MIND's form has no way to write a time."""

UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""Units of times that are numbers since 1970, with how many of each a second has."""

_LONGEST_FIELD = 2**24
_START_BYTES = 4096
_JSON = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:(\[)\s*[{\]]|\{\s*[\"}])")  # no header of a CSV, as [id] or {id}
_UNDECODED = re.compile("[\ud800-\udfff]")
_UNFIT = {
    "news id": ("[\\x00-\\x20\\x7f\x85\u2028\u2029\ufeff]", "a space, tab, line end or the like"),
    "user id": ("[\\x00-\\x1f\\x7f\x85\u2028\u2029\ufeff]", "a tab, line end or the like"),
}
"""What ids cannot hold, since behaviors.tsv has no way to write it, as a pattern and in words."""


@dataclass
class Block:
    """Some rows of a file: their columns by what these have to hold, and which rows are sound.

    Columns that hold something else raise a `DataFormatError`.

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
        """Report bad rows, (rows,) bool; otherwise as `LineErrors.add`, given rows in the place of lines."""
        rows = np.flatnonzero(bad)
        self.sound &= ~bad
        self.errors.add(reason, self.lines[rows], lambda k: describe(int(rows[k])), remedy)

    def ids(self, column: str, kind: str | None = None) -> pa.StringArray:
        """Return a column of ids, texts or whole numbers, as texts; empty ones are bad, if it is said what they are of.

        A whole number that was written as a float, as 1.0, is 1. Bad, too, are ids of the kinds "news id" and "user id"
        with characters that behaviors.tsv cannot hold.
        """
        ids = _whole(self.table[column])
        if not (_is_whole(ids.type) or pa.types.is_string(ids.type)):
            raise self._misfit(column, "ids are texts or whole numbers")
        ids = pc.replace_substring_regex(ids.cast(pa.string()).combine_chunks(), r"^([0-9]+)\.0+$", r"\1")
        if kind is not None:
            remedy = "--on-error skip leaves such rows out, and counts them."
            self.report(f"empty {kind}", is_blank(ids), lambda _: f"the {kind}, column {column!r}, is empty.", remedy)
        if kind in _UNFIT:
            pattern, characters = _UNFIT[kind]
            self.report(
                f"{kind} with {characters}",
                np.asarray(pc.match_substring_regex(ids, pattern).fill_null(False)),
                lambda row: f"the {kind}, column {column!r}, holds {characters}: {ids[row].as_py()!r}.",
                "MIND's files have no way to write it; replace such characters, by _ for example.",
            )
        return ids

    def texts(self, column: str) -> pa.StringArray:
        """Return a column of texts; whole numbers and truth values are written out."""
        values = _whole(self.table[column])
        if values.null_count == len(values):  # of whatever type a writer makes a column without a value
            return pa.nulls(len(values), pa.string())
        if not (pa.types.is_string(values.type) or _is_whole(values.type) or pa.types.is_boolean(values.type)):
            raise self._misfit(column, "expected texts")
        return values.cast(pa.string()).combine_chunks()

    def integers(self, column: str) -> np.ndarray:
        """Return a column of whole numbers, (rows,) int64; missing and negative ones are bad, and -1 or negative."""
        values = _whole(self.table[column])
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
        real = np.asarray(numbers.is_valid())
        values = numbers.cast(pa.int64(), safe=False).fill_null(0).to_numpy()[real]
        return Ragged.of_lengths(
            values, np.bincount(pc.list_parent_indices(lists).to_numpy()[real], minlength=len(lists))
        )

    def seconds(self, column: str, format: str | None = None, unit: str | None = None) -> np.ndarray:
        """Return a column of times, (rows,) int64 Unix seconds, `NO_TIME` where there is none that can be read.

        A time with a zone is brought to UTC; one without counts as UTC. Fractions of a second are dropped. Texts are
        written in `format`, as `datetime.strptime` has it, or else in ISO 8601 or as `read_time` says; numbers have a
        `unit`.
        """
        values, kind = self.table[column], self.table[column].type
        if (seconds := seconds_of_times(values)) is not None:
            return seconds.fill_null(NO_TIME).to_numpy()
        if pa.types.is_string(kind) and unit is None:
            return np.array([_seconds_of(text, format) for text in values.to_pylist()], np.int64)
        if pa.types.is_string(kind):
            sound = pc.match_substring_regex(values, r"^[0-9]{1,19}(\.[0-9]*)?$")
            values = pc.if_else(sound, pc.replace_substring_regex(values, r"\.[0-9]*$", ""), None).cast(pa.uint64())
        elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise self._misfit(column, "expected times, texts or numbers")
        elif unit is None:
            raise DataFormatError(
                self.errors.path,
                f"the times in column {column!r} are numbers ({kind}), and their unit is not known.",
                remedy=f"Say it: {{column: {column}, unit: s}}, or ms, us, ns.",
            )
        missing = np.asarray(values.is_null(nan_is_null=True))
        if pa.types.is_floating(kind):
            numbers = values.fill_null(0).to_numpy() / UNITS[unit]
            missing |= ~(np.abs(numbers) <= LAST_SECOND)
            numbers = np.floor(np.where(missing, 0, numbers)).astype(np.int64)
        else:
            numbers = values.fill_null(0).cast(pa.int64(), safe=False).to_numpy() // UNITS[unit]
        return np.where(missing, NO_TIME, numbers)

    def _misfit(self, column: str, expected: str) -> DataFormatError:
        kind = self.table[column].type
        digits = "Floats that are not whole numbers, or too large to be exact: write integers or texts."
        remedy = digits if pa.types.is_floating(kind) else None
        return DataFormatError(self.errors.path, f"column {column!r} holds {kind}; {expected}.", remedy=remedy)


def _is_whole(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale == 0)


def _whole(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return floats as integers if all are whole and exact: pandas makes floats of integers where one is missing."""
    if not pa.types.is_floating(values.type):
        return values
    numbers = values.to_numpy()  # NaN where there is none
    missing, exact = np.isnan(numbers), 2.0 ** (np.finfo(numbers.dtype).nmant + 1)
    numbers = np.where(missing, 0, numbers)
    if not ((np.abs(numbers) < exact) & (np.floor(numbers) == numbers)).all():
        return values
    return pa.chunked_array([pa.array(numbers.astype(np.int64), mask=missing)])


def is_blank(values: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return whether each value is missing or the empty text, (rows,) bool."""
    blank = pc.equal(values.fill_null(""), "") if pa.types.is_string(values.type) else pc.is_null(values)
    return np.asarray(blank)


def _seconds_of(text: str | None, format: str | None) -> int:
    try:
        time = datetime.fromisoformat(text or "") if format is None else datetime.strptime(text or "", format)
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() // 1)
    except (ValueError, OverflowError):
        read = read_time(text or "") if format is None else None
        return NO_TIME if read is None else read


# === Files ===


def read_columns(
    path: Path, columns: Sequence[str | None], errors: LineErrors, separator: str = ",", optional: Sequence[str] = ()
) -> Iterator[Block]:
    """Read some columns of a file: Parquet, Arrow or JSON, if it begins as such, else CSV with a header.

    Whoever reads a block reports what is bad in it before the next; errors are raised then. Of `columns`, a None is
    passed over; the `optional` ones are read where the file has them. The separator is that of a CSV.
    """
    columns = [column for column in columns if column is not None]
    expected = "a CSV file with a header, JSON lines, or a Parquet or Arrow file"
    with open_data(path, expected, besides=(PARQUET, ARROW)) as file:
        start = file.read(_START_BYTES)
        file.seek(0)
        if start.startswith((b"PAR1", ARROW)):
            tables = _read_arrow(path, file, columns, optional, start.startswith(ARROW))
        elif match := _JSON.match(start):
            tables = _read_json(path, file, columns, optional, errors, is_list=match[1] == b"[")
        else:
            tables = _read_csv(path, file, columns, optional, errors, separator)
        for table, lines in tables:
            yield Block(table, lines, errors)
            errors.raise_earliest()
    errors.raise_earliest()  # of a batch that no row was left of


def _read_arrow(
    path: Path, file: BinaryIO, columns: Sequence[str], optional: Sequence[str], is_arrow: bool
) -> Iterator[tuple[pa.Table, np.ndarray]]:
    import pyarrow.parquet as pq

    first_row = 1
    source = pa.OSFile(str(path)) if isinstance(file, io.BufferedReader) else pa.BufferReader(file.read())
    try:
        # What the footer says of the columns of a row group is not asked: where that is damaged, pyarrow 26 ends the
        # process.
        with pa.ipc.open_file(source) if is_arrow else pq.ParquetFile(source) as reader:
            names = (reader.schema if is_arrow else reader.schema_arrow).names
            wanted = _find_columns(path, names, columns, optional)
            if is_arrow:
                batches = map(reader.get_batch, range(reader.num_record_batches))
            else:
                batches = reader.iter_batches(batch_size=BATCH_ROWS, columns=wanted)
            for batch in batches:
                batch.validate(full=True)  # reading alone takes any bytes for UTF-8
                table = pa.table({name: _plain(batch.column(name)) for name in wanted})
                yield table, np.arange(first_row, first_row + len(table))
                first_row += len(table)
    except DataFormatError:
        raise
    except Exception as error:  # pyarrow lets through whatever a damaged file leads it into
        form = "Arrow" if is_arrow else "Parquet"
        raise DataFormatError(path, f"is not readable as {form}: {error}") from None


def _read_json(
    path: Path, file: BinaryIO, columns: Sequence[str], optional: Sequence[str], errors: LineErrors, is_list: bool
) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """Read objects, one a line or the elements of a list, which then count as lines."""
    records, wanted = _elements(path, file) if is_list else json_lines(file, errors), None
    while batch := list(islice(records, BATCH_ROWS)):
        names = dict.fromkeys(name for _, record in batch for name in record)
        wanted = wanted or _find_columns(path, list(names), columns, optional)
        table = {name: _json_column([record.get(name) for _, record in batch]) for name in wanted}
        yield pa.table(table), np.array([line for line, _ in batch], np.int64)
    if wanted is None:
        errors.raise_earliest()
        raise DataFormatError(path, "there are no objects in it; expected one in each line.")


def json_lines(file: BinaryIO, errors: LineErrors) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the JSON objects of a file that has one a line, with their 1-based lines; pass over blank ones.

    Where errors are raised, nothing is read past the first bad line.
    """
    for line, text in enumerate(file, start=1):
        if not text.strip():
            continue
        try:
            record = json.loads(text)
            problem = "JSON, but no object"
        except (ValueError, RecursionError) as error:
            record, problem = None, f"not readable as JSON ({error})"
        if isinstance(record, dict):
            yield line, record
        else:
            said = f"the line is {problem}; expected one object in each line."
            errors.add("line that is no JSON object", np.array([line]), lambda _, said=said: said)
            if errors.report is None:
                return


def _elements(path: Path, file: BinaryIO) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        elements = json.load(file)
    except (ValueError, RecursionError) as error:
        raise DataFormatError(path, f"is not readable as JSON: {error}") from None
    if not all(isinstance(element, dict) for element in elements):
        raise DataFormatError(path, "is a list of JSON, but not of objects.", remedy="Write one object in each line.")
    return enumerate(elements, start=1)


def _json_column(values: list[Any]) -> pa.Array:
    """Make a column of what JSON holds; values of several kinds are texts."""
    try:
        column = pa.array(values)
    except (pa.ArrowException, ValueError, OverflowError):  # UnicodeError is a ValueError: half a surrogate pair
        known = (None if value != value else value for value in values)  # NaN is pandas' word for a missing one
        texts = (text if isinstance(text, str | None) else json.dumps(text, ensure_ascii=False) for text in known)
        column = pa.array([text and text.encode(errors="replace").decode() for text in texts], pa.string())
    return column.cast(pa.string()) if pa.types.is_null(column.type) else column


def _plain(column: pa.Array) -> pa.Array:
    """Write out a dictionary, and bring texts into the one layout that all of Arrow's functions know."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    is_text = pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type)
    return column.cast(pa.string()) if is_text else column


def _read_csv(
    path: Path, file: BinaryIO, columns: Sequence[str], optional: Sequence[str], errors: LineErrors, separator: str
) -> Iterator[tuple[pa.Table, np.ndarray]]:
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))  # bodies of articles are longer than csv expects
    # Bytes that are not UTF-8 become lone surrogates, so that their line can be named.
    with io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        rows = _sound_rows(csv.reader(text, delimiter=separator, strict=True), errors)
        _, header = next(rows, (0, None))
        if header is None:
            errors.raise_earliest()
            raise DataFormatError(path, "the file holds nothing but blank lines; expected a CSV with a header.")
        wanted = _find_columns(path, header, columns, optional)
        while batch := list(islice(rows, BATCH_ROWS)):
            table = {name: pa.array([row[header.index(name)] for _, row in batch], pa.string()) for name in wanted}
            yield pa.table(table), np.array([line for line, _ in batch], np.int64)


def _sound_rows(reader: Iterator[list[str]], errors: LineErrors) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not blank, are UTF-8 and as long as the first one, each with the line it begins in.

    Where errors are raised, nothing is read past the first bad row, so that the rows before it can be looked at.
    """
    width = 0
    while True:
        line, bad = reader.line_num + 1, None
        try:
            row = next(reader, None)
        except csv.Error as error:
            remedy = "Is a quote opened and not closed, or a quote within a text not doubled?"
            row, bad = [], ("not readable as CSV", f"not readable as CSV: {error}.", remedy)
        if row is None:
            return
        width = width or len(row)
        if row and len(row) != width:
            says = f"expected {width} columns, as in the header, got {len(row)}."
            bad = "wrong number of columns", says, "Is the separator right, and is a text that holds it quoted?"
        elif not (text := "".join(row)).isascii() and _UNDECODED.search(text):
            bad = "bytes that are not UTF-8", "the line is not valid UTF-8.", "Convert the file to UTF-8."
        if bad is not None:
            errors.add(bad[0], np.array([line]), lambda _, says=bad[1]: says, bad[2])
            if errors.report is None:
                return
        elif row:
            yield line, row


def _find_columns(path: Path, found: Sequence[str], columns: Sequence[str], optional: Sequence[str]) -> list[str]:
    """Return the columns of a file that are to be read; those that it lacks, or has twice, are errors."""
    wanted = list(dict.fromkeys([*columns, *(column for column in optional if column in found)]))
    for column in wanted:
        if column not in found:
            remedy = f"Did you mean {nearest(column, found)!r}?" if found else None
            if len(found) == 1 and (inside := re.search("[;\t|,]", found[0])):
                remedy = f"Is the separator another one? separator: {json.dumps(inside[0])}"
            says = f"there is no column {column!r}; the columns are {', '.join(map(repr, found))}."
            raise DataFormatError(path, says, remedy=remedy)
        if found.count(column) > 1:
            raise DataFormatError(path, f"there are {found.count(column)} columns {column!r}.", remedy="Rename them.")
    return wanted
