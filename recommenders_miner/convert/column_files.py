"""Reading named columns of CSV and Parquet files, a batch of rows at a time, with the line of every fault.

The lines of a Parquet file are its rows, the first one being 1.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from recommenders_miner.errors import DataFormatError
from recommenders_miner.io.tsv import LineFaults, require_file

BATCH_ROWS = 50_000
"""How many rows are read at a time. Results do not depend on it."""

_PARQUET_MAGIC = b"PAR1"


def read_columns(
    path: Path,
    columns: Sequence[str],
    faults: LineFaults,
    separator: str = ",",
    optional: Sequence[str] = (),
) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """Reads some columns of a file, which is Parquet if it begins as such, else CSV with a header.

    Args:
        path: the file.
        columns: names of the columns that are needed.
        faults: told of every faulty line.
        separator: what stands between the columns of a CSV.
        optional: names of columns that are read where the file has them.

    Yields:
        A table of the columns, of strings if the file is a CSV, else of the types that they have there; and the
        1-based line of each of its rows, (rows,) int64.

    Raises:
        DataFormatError: the file is missing, empty or not readable, lacks a column, or has a faulty line and faults are
            raised.
    """
    require_file(path, "a CSV file with a header, or a Parquet file")
    with open(path, "rb") as file:
        is_parquet = file.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC
    if is_parquet:
        yield from _read_parquet(path, columns, optional)
    else:
        yield from _read_csv(path, columns, optional, faults, separator)


def find_columns(path: Path, found: Sequence[str], columns: Sequence[str], optional: Sequence[str] = ()) -> list[str]:
    """Returns the columns of a file that are to be read.

    Raises:
        DataFormatError: the file lacks one that is needed, or has one of them twice.
    """
    for column in columns:
        if column not in found:
            nearest = difflib.get_close_matches(column, found, n=1, cutoff=0.0)
            raise DataFormatError(
                path,
                f"there is no column {column!r}; the columns are {', '.join(map(repr, found))}.",
                remedy=f"Did you mean {nearest[0]!r}?" if nearest else None,
            )
    wanted = [*dict.fromkeys([*columns, *(column for column in optional if column in found)])]
    for column in wanted:
        if found.count(column) > 1:
            raise DataFormatError(path, f"there are {found.count(column)} columns {column!r}.", remedy="Rename them.")
    return wanted


# === Parquet ===


def _read_parquet(path: Path, columns: Sequence[str], optional: Sequence[str]) -> Iterator[tuple[pa.Table, np.ndarray]]:
    import pyarrow.parquet as pq

    first_row = 1
    try:
        with pq.ParquetFile(path) as file:
            wanted = find_columns(path, file.schema_arrow.names, columns, optional)
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=wanted):
                batch.validate(full=True)  # reading alone takes any bytes for UTF-8
                yield pa.table(batch).select(wanted), np.arange(first_row, first_row + batch.num_rows)
                first_row += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise DataFormatError(path, f"is not readable as Parquet: {error}") from None


# === CSV ===


def _read_csv(
    path: Path, columns: Sequence[str], optional: Sequence[str], faults: LineFaults, separator: str
) -> Iterator[tuple[pa.Table, np.ndarray]]:
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
