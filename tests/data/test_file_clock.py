"""Times as MIND's files write them."""

from datetime import UTC, datetime

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.data.behaviors import file_time, mind_times, unix_seconds

times = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31, 23, 59, 59)).map(lambda t: t.replace(microsecond=0))


@settings(deadline=None)
@given(times)
def test_any_time_is_written_with_minutes_and_seconds_padded_only(time):
    half = "AM" if time.hour < 12 else "PM"
    expected = f"{time.month}/{time.day}/{time.year} {time.hour % 12 or 12}:{time:%M:%S} {half}"
    assert mind_times(np.array([unix_seconds(time)])).to_pylist() == [expected]


@settings(deadline=None)
@given(times)
def test_seconds_of_a_time_give_it_back(time):
    seconds = unix_seconds(time)
    assert seconds == int(time.replace(tzinfo=UTC).timestamp())
    assert file_time(np.int64(seconds)) == time
