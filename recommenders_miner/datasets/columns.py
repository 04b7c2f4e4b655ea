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

_LONGEST_FIELD = 2**24
_PARQUET = b"PAR1"
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

        So are ids of the kinds "news id" and "user id" with characters that behaviors.tsv cannot hold.
        """
        found = self.table[column].type
        if not (_is_whole(found) or pa.types.is_string(found)):
            raise self._misfit(column, "ids are texts or whole numbers")
        ids = self.table[column].cast(pa.string()).combine_chunks()
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
        real = np.asarray(numbers.is_valid())
        values = numbers.cast(pa.int64(), safe=False).fill_null(0).to_numpy()[real]
        return Ragged.of_lengths(
            values, np.bincount(pc.list_parent_indices(lists).to_numpy()[real], minlength=len(lists))
        )

    def seconds(self, column: str, format: str | None = None, unit: str | None = None) -> np.ndarray:
        """Return a column of times, (rows,) int64 Unix seconds, `NO_TIME` where there is none that can be read.

        A time with a zone is brought to UTC; one without counts as UTC. Fractions of a second are dropped. Texts are
        written in `format`, as `datetime.strptime` has it, or else in ISO 8601; numbers have a `unit`.
        """
        values, kind = self.table[column], self.table[column].type
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            zone = kind.tz if pa.types.is_timestamp(kind) else None
            return values.cast(pa.timestamp("s", zone), safe=False).cast(pa.int64()).fill_null(NO_TIME).to_numpy()
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
        gaps = "pandas makes floats of whole numbers where one is missing: astype('Int64') before writing."
        remedy = gaps if pa.types.is_floating(kind) else None
        return DataFormatError(self.errors.path, f"column {column!r} holds {kind}; {expected}.", remedy=remedy)


def _is_whole(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale == 0)


def is_blank(values: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return whether each value is missing or the empty text, (rows,) bool."""
    blank = pc.equal(values.fill_null(""), "") if pa.types.is_string(values.type) else pc.is_null(values)
    return np.asarray(blank)


def _seconds_of(text: str | None, format: str | None) -> int:
    try:
        time = datetime.fromisoformat(text or "") if format is None else datetime.strptime(text or "", format)
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() // 1)
    except (ValueError, OverflowError):
        return NO_TIME


# === Files ===


def read_columns(
    path: Path, columns: Sequence[str | None], errors: LineErrors, separator: str = ",", optional: Sequence[str] = ()
) -> Iterator[Block]:
    """Read some columns of a file, which is Parquet if it begins as such, else CSV with a header.

    Whoever reads a block reports what is bad in it before the next; errors are raised then. Of `columns`, a None is
    passed over; the `optional` ones are read where the file has them. The separator is that of a CSV.
    """
    columns = [column for column in columns if column is not None]
    require_file(path, "a CSV file with a header, or a Parquet file")
    with open(path, "rb") as file:
        start = file.read(len(_PARQUET))
    if start.startswith(b"\x1f\x8b"):
        raise DataFormatError(path, "is packed by gzip.", remedy=f"Unpack it: gunzip {path.name}")
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataFormatError(path, "is UTF-16.", remedy="Convert it to UTF-8: iconv -f UTF-16 -t UTF-8")
    if start == _PARQUET:
        tables = _read_parquet(path, columns, optional)
    else:
        tables = _read_csv(path, columns, optional, errors, separator)
    for table, lines in tables:
        yield Block(table, lines, errors)
        errors.raise_earliest()
    errors.raise_earliest()  # of a batch that no row was left of


def _read_parquet(path: Path, columns: Sequence[str], optional: Sequence[str]) -> Iterator[tuple[pa.Table, np.ndarray]]:
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
                yield table, np.arange(first_row, first_row + len(table))
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
) -> Iterator[tuple[pa.Table, np.ndarray]]:
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
            nearest = difflib.get_close_matches(column, found, n=1, cutoff=0.0)
            remedy = f"Did you mean {nearest[0]!r}?" if nearest else None
            if len(found) == 1 and (inside := re.search("[;\t|,]", found[0])):
                remedy = f"Is the separator another one? separator: {json.dumps(inside[0])}"
            says = f"there is no column {column!r}; the columns are {', '.join(map(repr, found))}."
            raise DataFormatError(path, says, remedy=remedy)
        if found.count(column) > 1:
            raise DataFormatError(path, f"there are {found.count(column)} columns {column!r}.", remedy="Rename them.")
    return wanted
