"""The clock of MIND's files: times of day without a zone, which the package takes as UTC."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def unix_seconds(time: datetime) -> int:
    """Returns Unix seconds of a time by the files' clock; a zone of its own does not count."""
    return int(time.replace(tzinfo=UTC).timestamp())


def file_time(seconds: int) -> datetime:
    """Returns the time by the files' clock, without a zone, of Unix seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).replace(tzinfo=None)


def mind_times(seconds: np.ndarray) -> pa.StringArray:
    """Writes Unix seconds as MIND does, who pads minutes and seconds but not the rest: `11/9/2019 2:04:46 PM`."""
    padded = pc.strftime(pa.array(seconds).cast(pa.timestamp("s")), format="%m/%d/%Y %I:%M:%S %p", locale="C")
    return pc.replace_substring_regex(padded, r"(^|[/ ])0", r"\1")
