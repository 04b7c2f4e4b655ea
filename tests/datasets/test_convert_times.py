"""Times in the forms that logs have them."""

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recommenders_miner.data.tsv import LineErrors
from recommenders_miner.datasets.columns import NO_TIME, Block
from recommenders_miner.errors import DataFormatError

AFTERNOON = int(datetime(2019, 11, 12, 14, 14, 46, tzinfo=UTC).timestamp())
MIDNIGHT = int(datetime(2019, 11, 12, tzinfo=UTC).timestamp())


def seconds(values, **options):
    block = Block(pa.table({"t": values}), np.arange(len(values)), LineErrors(Path("f"), "raise"))
    return block.seconds("t", **options).tolist()


@pytest.mark.parametrize(
    ("value", "options", "expected"),
    [
        ("2019-11-12 14:14:46", {}, AFTERNOON),  # ISO 8601 where nothing is said
        ("2019-11-12T15:14:46.999+01:00", {}, AFTERNOON),
        ("2019-11-12", {}, MIDNIGHT),
        ("2019-02-29", {}, NO_TIME),
        ("1573568086", {}, NO_TIME),
        ("12.11.2019 14:14:46", {"format": "%d.%m.%Y %H:%M:%S"}, AFTERNOON),
        ("31.02.2019 00:00:00", {"format": "%d.%m.%Y %H:%M:%S"}, NO_TIME),
        ("11/12/2019 2:14:46 PM", {"format": "%m/%d/%Y %I:%M:%S %p"}, AFTERNOON),
        (date(2019, 11, 12), {}, MIDNIGHT),
        (datetime(2019, 11, 12, 16, 14, 46, tzinfo=timezone(timedelta(hours=2))), {}, AFTERNOON),
    ],
)
def test_texts_and_times(value, options, expected):
    values = pa.array([value, None])
    assert seconds(values, **options) == [expected, NO_TIME]


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_units_of_numbers_texts_and_times_of_any_zone(unit, factor):
    number = AFTERNOON * factor
    assert seconds(pa.array([number, None]), unit=unit) == [AFTERNOON, NO_TIME]
    assert seconds(pa.array([number], pa.uint64()), unit=unit) == [AFTERNOON]
    texts = [str(number), f"{number}.5", "x", "", "9" * 30]
    assert seconds(pa.array(texts), unit=unit) == [AFTERNOON] * 2 + [NO_TIME] * 3
    floats = [float(number) + 0.25, float("nan"), float("inf")]
    assert seconds(pa.array(floats), unit=unit) == [AFTERNOON, NO_TIME, NO_TIME]
    for zone in (None, "UTC", "Europe/Copenhagen"):
        times = pa.array([AFTERNOON, None]).cast(pa.timestamp("s")).cast(pa.timestamp(unit, zone))
        assert seconds(times) == [AFTERNOON, NO_TIME]


def test_numbers_of_an_unknown_unit_and_columns_of_other_types_are_errors():
    with pytest.raises(DataFormatError, match="their unit is not known"):
        seconds(pa.array([1]))
    with pytest.raises(DataFormatError, match="column 't' holds bool; expected times, texts or numbers"):
        seconds(pa.array([True]))
