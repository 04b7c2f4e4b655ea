"""The file: how it is written, what it may not say, and which key an error names."""

import math
from pathlib import Path

import pytest

from recommenders_miner.errors import PolicyError
from recommenders_miner.reranking import Policy


def read(tmp_path, text):
    path = tmp_path / "policy.yaml"
    path.write_text(text, encoding="utf-8")
    return Policy.read(path)


def test_values_as_editors_write_them(tmp_path):
    policy = read(
        tmp_path,
        """
        timezone: Europe/Copenhagen
        pins:
          - {article: N1, place: 1, from: 2019-11-14 06:00, until: 2019-11-14 12:00:00}
          - {article: N2, place: 2, until: 2019-11-15T00:00+00:00}
        quotas: [{column: category, value: sports, at_most: 20%}]
        floors: [{column: region, value: [Funen, Zealand], at_least: 2}]
        ages: [{at_most: 7 d, half_life: 90 min}]
        """,
    )
    assert policy.hours(policy.pins[0]) == (1573707600, 1573729200)
    assert policy.hours(policy.pins[1]) == (-math.inf, 1573776000)
    assert (policy.quotas[0].at_most, policy.quotas[0].value) == (0.2, ("sports",))
    assert policy.floors[0].title == "at least 2 of region Funen or Zealand"
    assert (policy.ages[0].at_most, policy.ages[0].half_life) == (604800, 5400)
    assert set(policy.columns) == {"id", "category", "region", "published"}


def test_the_example_of_the_docs_has_every_key(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "policies.md").read_text(encoding="utf-8")
    policy = read(tmp_path, page.split("```yaml\n")[1].split("```")[0])
    assert policy.model_fields_set == set(Policy.model_fields)


FAULTS = {
    "quotes: []": "quotes: there is no such key. Did you mean 'quotas'?",
    "quotas: [{column: category, atmost: 3}]": "quotas, 1, at_most: the key is missing.",
    "quotas: [{column: category, at_most: 3, values: a}]": "values: there is no such key. Did you mean 'value'?",
    "pins: [{article: N1, place: 1, form: 2019-11-14}]": "pins, 1, form: there is no such key. Did you mean 'from'?",
    "quotas: [{column: category, at_most: 0.2}]": "quotas, 1, at_most: expected a whole number of places, or a share",
    "quotas: [{column: category, at_most: 100000000000000000000}]": (
        "quotas, 1, at_most: Input should be less than or equal to 1000000, found 100000000000000000000"
    ),
    "floors: [{column: c, value: a, at_least: 100000000000000000000}]": "floors, 1, at_least: Input should be less",
    "shown: 100000000000000000000": "shown: Input should be less than or equal to 1000000",
    "pins: [{article: N1, place: 100000000000000000000}]": "pins: N1 at place 100000000000000000000 lies behind",
    "ages: [{at_most: 48}]": "ages, 1, at_most: expected minutes, hours or days, such as 90 min",
    "ages: [{column: category, at_most: 48 h}]": "ages, 1: give a column and a value",
    "ages: [{column: category, value: a}]": "ages, 1: give at_most, half_life or both",
    "pins: [{article: N1, place: 1, from: soon}]": "pins, 1, from: expected a date and time",
    "timezone: Mars/Olympus": "timezone: expected a time zone",
    "rerank: {by: nmr}": "rerank, by: Input should be 'mmr', 'calibrated', 'xquad' or 'pm2'",
    "rerank: {by: pm2}": "rerank: pm2 needs a column",
    "relax: [floor]": "relax: there is no rule 'floor'. Did you mean 'floors'?",
    "relax: [floors, floors]": "relax: 'floors' is there twice",
    "[1, 2]": "expected keys and values",
    "{": "is not readable as YAML",
    # Contradictions
    "{places: 3, floors: [{column: c, value: a, at_least: 2}, {column: c, value: b, at_least: 60%}]}": (
        "floors: at least 2 of c a and at least 60% of c b ask for 4 places, and lists have 3."
    ),
    "{floors: [{column: c, value: a, at_least: 3}], quotas: [{column: c, at_most: 2}]}": (
        "at least 3 of c a (floors) and at most 2 of each c (quotas) cannot both hold"
    ),
    "{floors: [{column: c, value: a, at_least: 3}], quotas: [{column: c, value: [a, b], at_most: 10%}]}": (
        "at least 3 of c a (floors) and at most 10% of c a or b (quotas) cannot both hold"
    ),
    "pins: [{article: N1, place: 1}, {article: N2, place: 1}]": "want the same place at the same time",
    "pins: [{article: N1, place: 1}, {article: N1, place: 2}]": "want the same article at the same time",
    "{places: 3, pins: [{article: N1, place: 4}]}": "N1 at place 4 lies behind the last of the 3 places",
    "pins: [{article: N1, place: 1, from: 2019-11-15, until: 2019-11-14}]": "ends before it begins",
    "{explore: {share: 60%}, topics: {share: 50%}}": "more than 100%",
    "quotas: [{column: c, at_most: 2}, {column: c, at_most: 2}]": "two rules are 'at most 2 of each c'",
}


@pytest.mark.parametrize("text", FAULTS)
def test_a_fault_is_named_with_its_place_and_a_remedy(tmp_path, text):
    with pytest.raises(PolicyError) as error:
        read(tmp_path, text)
    assert FAULTS[text] in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "policy.yaml"))


def test_pins_that_follow_each_other_share_a_place(tmp_path):
    read(tmp_path, "pins: [{article: N1, place: 1, until: 2019-11-14}, {article: N2, place: 1, from: 2019-11-14}]")


def test_a_missing_file_is_an_error_of_the_policy(tmp_path):
    with pytest.raises(PolicyError, match="cannot be read"):
        Policy.read(tmp_path / "none.yaml")
