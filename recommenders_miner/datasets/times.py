"""Times of other people's logs as Unix seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.datasets.typed_columns import is_text
from recommenders_miner.errors import DataFormatError

NO_TIME = np.iinfo(np.int64).min
"""Stands for a text that is no time, and for none."""

LAST_SECOND = 253_402_300_799
"""The end of the year 9999, after which MIND's form has no way to write a time."""

UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""Units of times that are numbers since 1970, with how many of each a second has."""

_NUMBER = r"^[0-9]{1,19}(\.[0-9]*)?$"


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
        """Returns the times of some rows.

        A time with a zone is brought to UTC; one without counts as UTC. Fractions of a second are dropped.

        Args:
            path: the file, for the message.
            values: the column.

        Returns:
            (rows,) int64 Unix seconds, `NO_TIME` where there is no time or none that can be read.

        Raises:
            DataFormatError: the column is of a type that holds no times, or numbers of an unknown unit.
        """
        kind = values.type
        if pa.types.is_dictionary(kind):
            return self.seconds(path, values.cast(kind.value_type))
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            zone = kind.tz if pa.types.is_timestamp(kind) else None
            seconds = values.cast(pa.timestamp("s", zone), safe=False).cast(pa.int64())
            return seconds.fill_null(NO_TIME).to_numpy()
        if is_text(kind):
            return self._of_texts(values)
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            if self.unit is None:
                raise DataFormatError(
                    path,
                    f"the times in column {self.column!r} are numbers ({kind}), and their unit is not known.",
                    remedy=f"Say it: {{column: {self.column}, unit: s}}, or ms, us, ns.",
                )
            return _of_numbers(values, UNITS[self.unit])
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

    def _of_texts(self, values: pa.ChunkedArray) -> np.ndarray:
        if self.unit is not None:
            numbers = pc.replace_substring_regex(values, r"\.[0-9]*$", "")
            sound = pc.match_substring_regex(values, _NUMBER)
            return _of_numbers(pc.if_else(sound, numbers, None).cast(pa.uint64()), UNITS[self.unit])
        if self.format is None:
            return _parsed(values, datetime.fromisoformat)
        form = self.format
        return _parsed(values, lambda text: datetime.strptime(text, form))


def _of_numbers(values: pa.ChunkedArray, per_second: int) -> np.ndarray:
    if pa.types.is_floating(values.type):
        numbers = values.to_numpy() / per_second
        sound = np.isfinite(numbers) & (np.abs(numbers) <= LAST_SECOND)
        return np.where(sound, np.floor(np.where(sound, numbers, 0)).astype(np.int64), NO_TIME)
    missing = pc.is_null(values).to_numpy()
    wide = values if pa.types.is_uint64(values.type) else values.cast(pa.int64())
    return np.where(missing, NO_TIME, (wide.fill_null(0).to_numpy() // per_second).astype(np.int64))


def _parsed(values: pa.ChunkedArray, parse: Callable[[str], datetime]) -> np.ndarray:
    seconds = np.full(len(values), NO_TIME, np.int64)
    for row, text in enumerate(values.to_pylist()):
        if not text:
            continue
        try:
            time = parse(text)
            seconds[row] = int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() // 1)
        except (ValueError, OverflowError):
            continue
    return seconds
