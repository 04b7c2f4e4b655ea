"""Entities of a list of names, in a data folder that has none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.data.entities import EntityNames, title_entities
from recommenders_miner.data.ingest import ingest
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.datasets.entities import link_entities
from recommenders_miner.errors import DataFormatError, FolderExistsError, RecommendersMinerError
from tests.command_line import run

HAS = '[{"WikidataId": "Q5"}]'
NEWS = [
    ["N1", "news", "world", "Paris calls", "About Berlin", "https://x/1", "[]", ""],
    ["N2", "news", "world", "Paris again", "", "", HAS, "[]"],
    ["N3", "news", "world", "Nothing", "", "", "", ""],
]


@pytest.fixture
def data(tmp_path):
    for split in ("train", "dev"):
        folder = tmp_path / "data" / split
        folder.mkdir(parents=True)
        (folder / "news.tsv").write_text("".join("\t".join(row) + "\n" for row in NEWS))
        (folder / "behaviors.tsv").write_text("1\tU1\t11/12/2019 2:14:46 PM\t\tN1-1 N2-0\n")
        (folder / ".recommenders_miner_cache").mkdir()
    (tmp_path / "data" / "conversion.json").write_text("{}")
    (tmp_path / "names.tsv").write_text("Paris\tQ90\nBerlin\tQ64\n")
    return tmp_path / "data"


def test_texts_without_entities_get_those_that_they_name(data, tmp_path):
    assert link_entities(data, tmp_path / "out", tmp_path / "names.tsv") == {"train": (3, 2), "dev": (3, 2)}
    written = tmp_path / "out" / "dev"
    table = NewsTable.read(written / "news.tsv")
    assert title_entities(table) == [["Q90"], ["Q5"], []]
    assert [of["WikidataId"] for of in json.loads(table.texts("abstract_entities")[0])] == ["Q64"]
    lines = [line.split("\t") for line in (written / "news.tsv").read_text().splitlines()]
    assert [line[:6] for line in lines] == [row[:6] for row in NEWS]
    assert (written / "behaviors.tsv").read_bytes() == (data / "dev" / "behaviors.tsv").read_bytes()
    assert sorted(path.name for path in written.iterdir()) == ["behaviors.tsv", "news.tsv"]
    assert (tmp_path / "out" / "conversion.json").exists()


def test_the_command_reads_a_single_split_too(data, tmp_path):
    out = tmp_path / "out"
    output = run("convert", "entities", data / "dev", out, "--names", tmp_path / "names.tsv")
    assert "2 of 3 titles" in output
    assert title_entities(NewsTable.read(out / "news.tsv"))[0] == ["Q90"]


def test_an_ingested_log_comes_along(data, tmp_path):
    dev = data / "dev"
    ingest([dev / "behaviors.tsv"], tmp_path / "ingested" / "dev", dev / "news.tsv")
    link_entities(tmp_path / "ingested", tmp_path / "out", tmp_path / "names.tsv")
    written = tmp_path / "out" / "dev"
    assert len(ImpressionLog.open(written, NewsTable.read(written / "news.tsv"))) == 1


def test_nothing_is_written_over_or_left_half_done(data, tmp_path):
    names = tmp_path / "names.tsv"
    with pytest.raises(RecommendersMinerError, match="take the place of its source"):
        link_entities(data, data, names, overwrite=True)
    (tmp_path / "mine").mkdir()
    mine = names.rename(tmp_path / "mine" / "names.tsv")
    with pytest.raises(RecommendersMinerError, match=r"take the place of its source, .+names\.tsv"):
        link_entities(data, mine.parent, mine, overwrite=True)
    names = mine.rename(names)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("")
    with pytest.raises(FolderExistsError):
        link_entities(data, tmp_path / "full", names)
    (data / "dev" / "news.tsv").write_text("N1\tnews\n")
    with pytest.raises(DataFormatError, match=r"news\.tsv, line 1: expected 8"):
        link_entities(data, tmp_path / "out", names)
    (data / "dev" / "news.tsv").write_text("\t".join(NEWS[0]) + "\nN2\tnews\n")
    with pytest.raises(DataFormatError, match=r"news\.tsv, line 2: expected 8"):
        link_entities(data, tmp_path / "out", names)
    (data / "dev" / "news.tsv").write_text("\n")
    with pytest.raises(DataFormatError, match=r"dev/news\.tsv"):
        link_entities(data, tmp_path / "out", names)
    assert not (tmp_path / "out").exists()


# === Entities by name ===

NAMES = {"Paris": "Q90", "Paris Hilton": "Q47899", "City of Light": "Q90", "AC/DC": "Q27593", "C++": "Q2407"}
NAMES |= {"São Paulo": "Q174", "रम": "Q1", "東京": "Q1490"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Paris and the City of Light", {"Q90": [(0, "Paris"), (14, "City of Light")]}),
        ("Paris Hilton in Paris", {"Q47899": [(0, "Paris Hilton")], "Q90": [(16, "Paris")]}),
        ("paris, Parisian, xParis", {}),
        ("(Paris) Paris's", {"Q90": [(1, "Paris"), (8, "Paris")]}),
        ("AC/DC play C++", {"Q27593": [(0, "AC/DC")], "Q2407": [(11, "C++")]}),
        ("Visit São Paulo!", {"Q174": [(6, "São Paulo")]}),
        ("रमा", {}),
        ("東京", {"Q1490": [(0, "東京")]}),
        ("Paris Hiltons", {"Q90": [(0, "Paris")]}),
        ("", {}),
    ],
)
def test_names_are_found_as_whole_words_the_longest_first(text, expected):
    found = json.loads(EntityNames(NAMES).find(text))
    places = {of["WikidataId"]: list(zip(of["OccurrenceOffsets"], of["SurfaceForms"], strict=True)) for of in found}
    assert places == expected


@given(st.lists(st.sampled_from([*NAMES, "and", "Pariser", "café"]), max_size=8), st.sampled_from([" ", ", ", " - "]))
@settings(max_examples=50, deadline=None)
def test_each_name_of_a_text_is_found_where_it_stands(words, separator):
    text = separator.join(words)
    for entity in json.loads(EntityNames(NAMES).find(text)):
        for offset, form in zip(entity["OccurrenceOffsets"], entity["SurfaceForms"], strict=True):
            assert text[offset : offset + len(form)] == form
            assert NAMES[form] == entity["WikidataId"]
    named = sum(len(entity["SurfaceForms"]) for entity in json.loads(EntityNames(NAMES).find(text)))
    assert named == sum(word in NAMES for word in words)


@pytest.mark.parametrize(
    ("lines", "line", "problem"),
    [
        (["Paris\tQ90", "Berlin"], 2, "expected 2 tab-separated columns"),
        (["Paris\t"], 1, "the id is empty"),
        ([" \tQ1"], 1, "the name is empty"),
        (["Paris\tQ90", "Paris\tQ90", "Paris\tQ47899"], 3, "twice, with different ids"),
    ],
)
def test_a_faulty_list_of_names_is_refused(tmp_path, lines, line, problem):
    (tmp_path / "names.tsv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataFormatError, match=problem) as caught:
        EntityNames.read(tmp_path / "names.tsv")
    assert caught.value.line == line
