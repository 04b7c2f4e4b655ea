"""Times in the forms that logs have them."""

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pytest

from recommenders_miner.datasets.columns import NO_TIME, TimeColumn
from recommenders_miner.errors import DataFormatError

AFTERNOON = int(datetime(2019, 11, 12, 14, 14, 46, tzinfo=UTC).timestamp())


def seconds(values, **options):
    column = values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([pa.array(values)])
    return TimeColumn("t", **options).seconds(Path("f"), column).tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2019-11-12 14:14:46", AFTERNOON),
        ("2019-11-12T14:14:46Z", AFTERNOON),
        ("2019-11-12T15:14:46.999+01:00", AFTERNOON),
        ("2019-11-12", AFTERNOON - 14 * 3600 - 14 * 60 - 46),
        ("2019-02-29", NO_TIME),
        ("11/12/2019", NO_TIME),
        ("1573568086", NO_TIME),
        ("", NO_TIME),
        (None, NO_TIME),
    ],
)
def test_texts_are_iso_8601_where_nothing_is_said(text, expected):
    assert seconds(pa.chunked_array([pa.array([text], pa.string())])) == [expected]


def test_texts_in_a_format_of_ones_own():
    texts = ["12.11.2019 14:14:46", "31.02.2019 00:00:00", "2019-11-12"]
    assert seconds(texts, format="%d.%m.%Y %H:%M:%S") == [AFTERNOON, NO_TIME, NO_TIME]
    assert seconds(["11/12/2019 2:14:46 PM"], format="%m/%d/%Y %I:%M:%S %p") == [AFTERNOON]


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_numbers_of_a_unit_as_numbers_and_as_texts(unit, factor):
    number = AFTERNOON * factor
    assert seconds([number, None], unit=unit) == [AFTERNOON, NO_TIME]
    assert seconds([str(number), f"{number}.5", "x", "", "9" * 30], unit=unit) == [AFTERNOON] * 2 + [NO_TIME] * 3
    assert seconds(pa.chunked_array([pa.array([number], pa.uint64())]), unit=unit) == [AFTERNOON]
    assert seconds([float(number) + 0.25, float("nan"), float("inf")], unit=unit) == [AFTERNOON, NO_TIME, NO_TIME]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Copenhagen"])
def test_columns_of_times_are_taken_in_any_unit_and_zone(unit, zone):
    times = pa.array([AFTERNOON, None]).cast(pa.timestamp("s")).cast(pa.timestamp(unit, zone))
    assert seconds(pa.chunked_array([times])) == [AFTERNOON, NO_TIME]


def test_dates_are_their_first_second():
    assert seconds([date(2019, 11, 12)]) == [AFTERNOON - 14 * 3600 - 14 * 60 - 46]


def test_an_offset_in_python_times_is_brought_to_utc():
    time = datetime(2019, 11, 12, 16, 14, 46, tzinfo=timezone(timedelta(hours=2)))
    assert seconds([time]) == [AFTERNOON]


def test_numbers_of_an_unknown_unit_and_columns_of_other_types_are_errors():
    with pytest.raises(DataFormatError, match="their unit is not known"):
        seconds([1])
    with pytest.raises(DataFormatError, match="column 't' holds bool; expected times, texts or numbers"):
        seconds([True])
