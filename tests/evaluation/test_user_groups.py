"""Metrics by group of users, against a loop over the impressions of each group."""

import math
from dataclasses import replace
from statistics import fmean, stdev

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.errors import DataFormatError
from recommenders_miner.evaluation.user_groups import USERS_FILE, UserGroups

NEWS = NewsTable.from_columns(["A", "B"], ["one", "two"])


def log_of(users, clicks):
    count = len(users)
    return ImpressionLog.from_columns(NEWS, [["A"] * n for n in clicks], [["A", "B"]] * count, [[0, 1]] * count, users)


def names_of(groups):
    return [groups.names[place] for place in groups.of_impression]


def test_groups_by_clicks_and_by_activity():
    log = log_of(["u", "v", "u", "w", "x"], [0, 1, 4, 19, 50])
    assert names_of(UserGroups.find("clicks", log)) == ["0", "1-4", "1-4", "5-19", "50 or more"]
    assert names_of(UserGroups.find("activity", log)) == ["2-4", "1", "2-4", "1", "1"]
    assert names_of(UserGroups.find("candidates", log)) == ["1-10"] * 5


def test_each_group_has_the_mean_and_error_of_its_impressions():
    rng = np.random.default_rng(0)
    log = log_of([f"u{i % 7}" for i in range(40)], rng.choice([0, 3, 9, 60], 40))
    values = {"ndcg@10": rng.random(40), "calibration@10": np.where(rng.random(40) < 0.3, np.nan, rng.random(40))}
    groups = UserGroups.find("clicks", log)
    found = groups.evaluate(values)
    assert list(found) == [name for name in groups.names if name in names_of(groups)]
    for name, evaluation in found.items():
        for metric, column in values.items():
            of_group = zip(column, names_of(groups), strict=True)
            members = [value for value, of in of_group if of == name and not math.isnan(value)]
            assert evaluation.metrics[metric] == pytest.approx(fmean(members))
            assert evaluation.standard_errors[metric] == pytest.approx(stdev(members) / math.sqrt(len(members)))
        assert evaluation.num_impressions == names_of(groups).count(name)


def test_groups_by_a_column_of_the_users(tmp_path):
    users = [f"u{i}" for i in range(30)]
    log = replace(log_of([*users, "new", "u0"], [1] * 32), path=tmp_path / "behaviors.tsv")
    regions = [["north", "south", None][i % 3] for i in range(30)]
    table = pa.table({"id": users[::-1], "region": regions[::-1], "age": pa.array(range(30)[::-1], pa.int32())})
    pq.write_table(table, tmp_path / USERS_FILE)
    expected = [region or "not known" for region in [*regions, None, "north"]]
    assert names_of(UserGroups.find("region", log)) == expected
    by_age = names_of(UserGroups.find("age", log))
    assert by_age[:30:7] == ["from 0", "from 7", "from 14", "from 21", "from 21"]
    assert by_age[30:] == ["not known", "from 0"]
    ages = pa.array([math.nan, *map(float, range(29))])
    lists = pa.array([["x"]] * 30)
    pq.write_table(pa.table({"id": users, "age": ages, "lists": lists}), tmp_path / USERS_FILE)
    by_age = names_of(UserGroups.find("age", log))
    assert [by_age.count(name) for name in ("not known", "from 0", "from 21")] == [3, 7, 8]
    with pytest.raises(DataFormatError, match="'lists' must hold numbers or text to group users by, not list"):
        UserGroups.find("lists", log)
    with pytest.raises(DataFormatError, match="'id' names users, not groups of them"):
        UserGroups.find("id", log)


def test_a_column_that_is_not_there_is_named_with_the_nearest_one(tmp_path):
    log = replace(log_of(["u"], [1]), path=tmp_path / "behaviors.tsv")
    with pytest.raises(DataFormatError, match=r"users.parquet: is not there.*Group by clicks, activity or"):
        UserGroups.find("region", log)
    pq.write_table(pa.table({"id": ["u"], "region": ["x"]}), tmp_path / USERS_FILE)
    with pytest.raises(DataFormatError, match=r"no column 'regoin'. Did you mean 'region'"):
        UserGroups.find("regoin", log)
    pq.write_table(pa.table({"user": ["u"], "region": ["x"]}), tmp_path / USERS_FILE)
    with pytest.raises(DataFormatError, match="no column 'id'"):
        UserGroups.find("region", log)
    (tmp_path / USERS_FILE).write_text("no parquet")
    with pytest.raises(DataFormatError, match="no Parquet file"):
        UserGroups.find("region", log)
