"""The clock of MIND's files: times of day without a zone, which the package takes as UTC."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_FORMATS = ("%m/%d/%Y %I:%M:%S %p", "%Y-%m-%d %H:%M:%S")


def unix_seconds(time: datetime) -> int:
    """Return Unix seconds of a time by the files' clock; a zone of its own does not count."""
    return int(time.replace(tzinfo=UTC).timestamp())


def file_time(seconds: int) -> datetime:
    """Return the time by the files' clock, without a zone, of Unix seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).replace(tzinfo=None)


def parse_times(texts: pa.ChunkedArray) -> np.ndarray:
    """Return Unix seconds of times as `11/12/2019 2:14:46 PM` or `2019-11-12 14:14:46`, (texts,) int64.

    What is no time since 1970 is -1.
    """
    times = pc.coalesce(*(pc.strptime(texts, format=form, unit="s", error_is_null=True) for form in _FORMATS))
    # strptime takes 2/30 for 3/1 or 3/2; a day that ran over so is at most the third.
    ran_over = pc.and_(
        pc.less_equal(pc.day(times), 3),
        pc.match_substring_regex(texts, "^[0-9]+[/-]([0-9]+-)?(29|30|31)[/ ]"),
    )
    seconds = pc.if_else(ran_over, None, times).cast(pa.int64())
    return np.maximum(pc.fill_null(seconds, -1).to_numpy(), -1)


def mind_times(seconds: np.ndarray) -> pa.StringArray:
    """Write Unix seconds as MIND does, who pads minutes and seconds but not the rest: `11/9/2019 2:04:46 PM`."""
    padded = pc.strftime(pa.array(seconds).cast(pa.timestamp("s")), format="%m/%d/%Y %I:%M:%S %p", locale="C")
    return pc.replace_substring_regex(padded, r"(^|[/ ])0", r"\1")
