"""Reading named columns of CSV and Parquet files, a batch of rows at a time, with the line of every fault.

The lines of a Parquet file are its rows, the first one being 1.
"""

from __future__ import annotations

import csv
import difflib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.tsv import LineFaults, require_file
from recommenders_miner.data.write import blocks_of_rows
from recommenders_miner.datasets.typed_columns import is_text
from recommenders_miner.errors import DataFormatError

BATCH_ROWS = 50_000
"""How many rows are read at a time. Results do not depend on it."""

_MOST_NAMED = 100
"""Columns that a message names."""

_PARQUET_MAGIC = b"PAR1"
_PARQUET_BATCHES = 4
"""How many batches of Parquet are read at once, since its dictionaries of texts are read anew each time."""
_BYTES_OF_TEXT = 2**24
"""How much of texts that Parquet stores but once is written out at a time."""
_MOST_VALUES_A_BYTE, _FREE_VALUES = 32, 2**19
_MOST_BYTES_A_BYTE, _FREE_BYTES = 64, 2**28
_LONGEST_FIELD = 2**24
_PACKED, _UTF16 = b"\x1f\x8b", (b"\xff\xfe", b"\xfe\xff")


def read_columns(
    path: Path,
    columns: Sequence[str],
    faults: LineFaults,
    separator: str = ",",
    optional: Sequence[str] = (),
    retained: bool = False,
) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """Reads some columns of a file, which is Parquet if it begins as such, else CSV with a header.

    Args:
        path: the file.
        columns: names of the columns that are needed.
        faults: told of every faulty line.
        separator: what stands between the columns of a CSV.
        optional: names of columns that are read where the file has them.
        retained: whether the caller keeps all rows. Then a Parquet file is refused whose texts, each written out, take
            64 times its size and 256 MiB.

    Yields:
        A table of the columns, of strings if the file is a CSV, else of the types that they have there; and the
        1-based line of each of its rows, (rows,) int64.

    Raises:
        DataFormatError: the file is missing, empty or not readable, lacks a column, or has a faulty line and faults are
            raised.
    """
    require_file(path, "a CSV file with a header, or a Parquet file")
    with open(path, "rb") as file:
        start = file.read(len(_PARQUET_MAGIC))
    if start == _PARQUET_MAGIC:
        yield from _read_parquet(path, columns, optional, retained)
    elif start.startswith(_PACKED):
        raise DataFormatError(path, "is packed by gzip.", remedy=f"Unpack it: gunzip {path.name}")
    elif start.startswith(_UTF16):
        raise DataFormatError(path, "is UTF-16.", remedy="Convert it to UTF-8: iconv -f UTF-16 -t UTF-8")
    else:
        yield from _read_csv(path, columns, optional, faults, separator)


def find_columns(path: Path, found: Sequence[str], columns: Sequence[str], optional: Sequence[str] = ()) -> list[str]:
    """Returns the columns of a file that are to be read.

    Raises:
        DataFormatError: the file lacks one that is needed, or has one of them twice.
    """
    for column in columns:
        if column not in found:
            named = found[:_MOST_NAMED]
            nearest = difflib.get_close_matches(column, named, n=1, cutoff=0.0)
            more = f" and {len(found) - len(named):,} more" if len(found) > len(named) else ""
            raise DataFormatError(
                path,
                f"there is no column {column!r}; the columns are {', '.join(map(repr, named))}{more}.",
                remedy=_separator_remedy(found) or (f"Did you mean {nearest[0]!r}?" if nearest else None),
            )
    wanted = [*dict.fromkeys([*columns, *(column for column in optional if column in found)])]
    for column in wanted:
        if found.count(column) > 1:
            raise DataFormatError(path, f"there are {found.count(column)} columns {column!r}.", remedy="Rename them.")
    return wanted


def _separator_remedy(found: Sequence[str]) -> str | None:
    """Says that another separator may be meant, where the columns look like one."""
    inside = [mark for mark in ";\t|," if len(found) == 1 and mark in found[0]]
    return f"Is the separator another one? separator: {json.dumps(inside[0])}" if inside else None


# === Parquet ===


def _read_parquet(
    path: Path, columns: Sequence[str], optional: Sequence[str], retained: bool
) -> Iterator[tuple[pa.Table, np.ndarray]]:
    import pyarrow.parquet as pq

    first_row, values, room = 1, Counter(), _FREE_BYTES + _MOST_BYTES_A_BYTE * path.stat().st_size
    try:
        metadata = pq.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
        wanted = find_columns(path, schema.names, columns, optional)
        _require_plausible(path, metadata.num_rows)
        # A text that is stored once and meant a million times is read as such, and written out where there is room.
        repeated = [name for name in wanted if is_text(schema.field(name).type)]
        with pq.ParquetFile(path, read_dictionary=repeated) as file:
            for batch in file.iter_batches(batch_size=_PARQUET_BATCHES * BATCH_ROWS, columns=wanted):
                values.update({name: _count_values(batch.column(name)) for name in wanted})
                _require_plausible(path, max(values.values()))
                batch.validate(full=True)  # reading alone takes any bytes for UTF-8
                text = sum(_bytes_of_texts(column) for column in batch.columns)
                room -= text.sum() if retained else 0
                if room < 0:
                    raise _implausible(path, f"its texts take more than {_MOST_BYTES_A_BYTE} times its size.")
                for rows in blocks_of_rows(text, _BYTES_OF_TEXT):
                    part = batch.slice(rows.start, rows.stop - rows.start)
                    columns_of = {name: _written_out(part.column(name)) for name in wanted}
                    yield pa.table(columns_of), np.arange(first_row + rows.start, first_row + rows.stop)
                first_row += batch.num_rows
    except DataFormatError:
        raise
    except Exception as error:  # pyarrow lets through whatever a damaged file leads it into
        raise DataFormatError(path, f"is not readable as Parquet: {error}") from None


def _require_plausible(path: Path, values: int) -> None:
    """Refuses a file with more values in a column than a log of its size has.

    A value that is repeated takes next to nothing in Parquet, so that a kilobyte can stand for any number of rows. What
    the footer says of a column, and not of the file, is not asked: where that is damaged, pyarrow 26 ends the process.
    """
    size = path.stat().st_size
    if values > _FREE_VALUES + _MOST_VALUES_A_BYTE * size:
        raise _implausible(path, f"it has {values:,} values in a column, in {size:,} bytes.")


def _count_values(column: pa.Array) -> int:
    is_list = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    return max(len(column), len(column.values) if is_list else 0)


def _implausible(path: Path, problem: str) -> DataFormatError:
    return DataFormatError(path, problem, remedy="No log is like that; if yours is, write it as CSV.")


def _bytes_of_texts(column: pa.Array) -> np.ndarray:
    """How many bytes the text in each row of a column takes when it is written out, (rows,) int64; others take none."""
    if not (pa.types.is_dictionary(column.type) and is_text(column.type.value_type)):
        return np.zeros(len(column), np.int64)
    return pc.binary_length(column.dictionary).take(column.indices).cast(pa.int64()).fill_null(0).to_numpy()


def _written_out(column: pa.Array) -> pa.Array:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


# === CSV ===


def _read_csv(
    path: Path, columns: Sequence[str], optional: Sequence[str], faults: LineFaults, separator: str
) -> Iterator[tuple[pa.Table, np.ndarray]]:
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))  # bodies of articles are longer than csv expects
    # Bytes that are not UTF-8 become lone surrogates, so that their line can be named.
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, delimiter=separator, strict=True)
        rows = _numbered_rows(reader, faults)
        _, header = next(rows, (0, None))
        if header is None:
            faults.raise_earliest()
            raise DataFormatError(path, "the file holds nothing but blank lines; expected a CSV with a header.")
        wanted = find_columns(path, header, columns, optional)
        places = [header.index(column) for column in wanted]
        while batch := list(_take(rows, BATCH_ROWS)):
            lines, records = _sound_records(batch, len(header), faults)
            if records:
                fields = [[record[place] for record in records] for place in places]
                table = pa.table([pa.array(field, pa.string()) for field in fields], names=wanted)
                yield table, np.array(lines, np.int64)
            faults.raise_earliest()
        faults.raise_earliest()  # of a batch that no row was left of


def _numbered_rows(reader: Iterator[list[str]], faults: LineFaults) -> Iterator[tuple[int, list[str]]]:
    """Yields the rows that are not blank, each with the line that it begins in."""
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            faults.add(
                "not readable as CSV",
                np.array([line]),
                lambda _, error=error: f"not readable as CSV: {error}.",
                remedy="Is a quote opened and not closed, or a quote within a text not doubled?",
            )
            if faults.report is None:
                return
            continue
        if row:
            yield line, row


def _take(rows: Iterator[tuple[int, list[str]]], count: int) -> Iterator[tuple[int, list[str]]]:
    for _, row in zip(range(count), rows, strict=False):
        yield row


def _sound_records(
    batch: Sequence[tuple[int, list[str]]], width: int, faults: LineFaults
) -> tuple[list[int], list[list[str]]]:
    """The rows of a batch that have as many columns as the header and are UTF-8, and their lines."""
    misshapen = [(line, row) for line, row in batch if len(row) != width]
    faults.add(
        "wrong number of columns",
        np.array([line for line, _ in misshapen], np.int64),
        lambda k: f"expected {width} columns, as in the header, got {len(misshapen[k][1])}.",
        remedy="Is the separator right, and is a text that holds it quoted?",
    )
    undecodable = [line for line, row in batch if not _is_sound_text("".join(row))]
    faults.add(
        "bytes that are not UTF-8",
        np.array(undecodable, np.int64),
        lambda _: "the line is not valid UTF-8.",
        remedy="Convert the file to UTF-8.",
    )
    unusable = {line for line, _ in misshapen}.union(undecodable)
    kept = [(line, row) for line, row in batch if line not in unusable]
    return [line for line, _ in kept], [row for _, row in kept]


def _is_sound_text(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
