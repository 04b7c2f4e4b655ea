"""Columns of a file by what they have to hold: ids, texts, whole numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from recommenders_miner.errors import DataFormatError


def ids_of(path: Path, table: pa.Table, column: str) -> pa.StringArray:
    """Returns a column of ids, which are texts or whole numbers, as texts.

    Raises:
        DataFormatError: it holds something else.
    """
    kind = _kind(table, column)
    if not (_is_whole(kind) or is_text(kind)):
        raise _misfit(path, column, kind, "ids are texts or whole numbers")
    return table[column].cast(pa.string()).combine_chunks()


def texts_of(path: Path, table: pa.Table, column: str) -> pa.StringArray:
    """Returns a column of texts; whole numbers and truth values are written out.

    Raises:
        DataFormatError: it holds something else.
    """
    kind = _kind(table, column)
    if table[column].null_count == len(table):  # of whatever type a writer makes a column without a value
        return pa.nulls(len(table), pa.string())
    if not (is_text(kind) or _is_whole(kind) or pa.types.is_boolean(kind)):
        raise _misfit(path, column, kind, "expected texts")
    return table[column].cast(pa.string()).combine_chunks()


def integers_of(path: Path, table: pa.Table, column: str) -> np.ndarray:
    """Returns a column of whole numbers, (rows,) int64, -1 where one is missing.

    Raises:
        DataFormatError: it holds something else.
    """
    values = table[column]
    if not pa.types.is_integer(values.type):
        raise _misfit(path, column, values.type, "expected whole numbers")
    return values.cast(pa.int64(), safe=False).fill_null(-1).to_numpy()


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of that type holds texts, in whichever of Arrow's layouts."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _kind(table: pa.Table, column: str) -> pa.DataType:
    kind = table[column].type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_whole(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale == 0)


def _misfit(path: Path, column: str, kind: pa.DataType, expected: str) -> DataFormatError:
    gaps = "pandas makes floats of whole numbers where one is missing: astype('Int64') before writing."
    remedy = gaps if pa.types.is_floating(kind) else None
    return DataFormatError(path, f"column {column!r} holds {kind}; {expected}.", remedy=remedy)
