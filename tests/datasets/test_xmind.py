"""xMIND over a MIND folder, both by hand in their own forms."""

import gzip
import json
import os
import shutil
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recommenders_miner.datasets import convert_xmind, xmind
from recommenders_miner.errors import DataFormatError
from tests.datasets.read_back import articles, impressions, news

ENTITIES = '[{"Label": "Hen", "OccurrenceOffsets": [4], "SurfaceForms": ["hen"], "WikidataId": "Q1"}]'
TRAIN = [
    ["N1", "farm", "poultry", 'The hen "sings"', "A hen, loud", "https://example.org/1", ENTITIES, "[]"],
    ["N2", "town", "trams", "Trams return", "", "https://example.org/2", "[]", "[]"],
    ["N3", "town", "parks", "Park opens", "At nine", "https://example.org/3", "[]", "[]"],
]
DEV = [TRAIN[0], ["N4", "farm", "goats", "A goat", "Brown", "https://example.org/4", "[]", "[]"]]
TRAIN_TEXTS = """\
nid\ttitle\tabstract
N1\t"Kana ""laulaa"" \tkovaa"\t"Kana, äänekäs"
N2\tRaitiovaunut palaavat\t
"""
DEV_TEXTS = 'nid\ttitle\tabstract\nN4\tVuohi\tRuskea\nN1\t"Kana ""laulaa"" \tkovaa"\t"Kana, äänekäs"\n'


@pytest.fixture
def folders(tmp_path):
    """A folder of MIND, one of xMIND, and one to write."""
    for split, rows, log, texts in (
        ("train", TRAIN, "1\tU1\t11/12/2019 2:14:46 PM\tN2\tN1-1 N3-0\n", TRAIN_TEXTS),
        ("dev", DEV, "2\tU1\t11/13/2019 2:14:46 PM\tN1\tN4-1 N1-0\n", DEV_TEXTS),
    ):
        folder, translated = tmp_path / "mind" / split, tmp_path / "fin" / f"xMINDsmall_{split}"
        folder.mkdir(parents=True)
        translated.mkdir(parents=True)
        (translated / "news.tsv").write_text(texts)
        (folder / "news.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
        (folder / "behaviors.tsv").write_text(log)
        (folder / "entity_embedding.vec").write_text("Q1\t0.5\n")
        table = pa.table({"id": [row[0] for row in rows], "published": [1] * len(rows)})
        pq.write_table(table, folder / "articles.parquet")
        (folder / ".recommenders_miner_cache").mkdir()
    return tmp_path / "mind", tmp_path / "fin", tmp_path / "out"


def test_titles_and_abstracts_are_replaced_and_all_else_stays(folders):
    mind, texts, out = folders
    conversion = convert_xmind(mind, [texts], out)
    assert news(out / "train") == {
        "N1": ("farm", "poultry", 'Kana "laulaa"  kovaa', "Kana, äänekäs"),
        "N2": ("town", "trams", "Raitiovaunut palaavat", ""),
        "N3": ("town", "parks", "Park opens", "At nine"),  # xMIND lacks it
    }
    before = [line.split("\t") for line in (mind / "train" / "news.tsv").read_text().splitlines()]
    after = [line.split("\t") for line in (out / "train" / "news.tsv").read_text().splitlines()]
    assert [row[:3] + row[5:] for row in after] == [row[:3] + row[5:] for row in before]
    assert conversion.counts == {
        "train": {"news": 3, "news in their own language": 1},
        "dev": {"news": 2, "news in their own language": 0},
    }
    assert impressions(out / "train") == [(1, "U1", 1573568086, ["N2"], {"N1": 1, "N3": 0})]
    assert articles(out / "dev") == {"N1": {"published": 1}, "N4": {"published": 1}}


@pytest.mark.parametrize("can_link", [True, False])
def test_other_files_are_linked_or_copied_where_links_cannot_be_made(folders, monkeypatch, can_link):
    mind, texts, out = folders
    if not can_link:
        monkeypatch.setattr(xmind.os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    convert_xmind(mind, [texts], out)
    names = ["articles.parquet", "behaviors.tsv", "entity_embedding.vec", "news.tsv"]
    assert sorted(path.name for path in (out / "dev").iterdir()) == names
    assert os.path.samefile(out / "dev" / "behaviors.tsv", mind / "dev" / "behaviors.tsv") == can_link
    assert (out / "dev" / "behaviors.tsv").read_bytes() == (mind / "dev" / "behaviors.tsv").read_bytes()


def test_a_single_split_and_parquet_files_of_the_hub(folders):
    mind, texts, out = folders
    rows = pa.table({"nid": ["N4", "N9"], "title": ["Vuohi", "Muu"], "abstract": [None, "muu"]})
    pq.write_table(rows, texts / "dev.parquet.gzip", compression="gzip")
    convert_xmind(mind / "dev", [texts / "dev.parquet.gzip"], out)
    assert news(out / "dev") == {
        "N1": ("farm", "poultry", 'The hen "sings"', "A hen, loud"),
        "N4": ("farm", "goats", "Vuohi", ""),
    }


def test_two_languages_at_once_are_an_error_that_names_the_line(folders):
    mind, texts, out = folders
    (texts / "xMINDsmall_train" / "news.tsv").write_text(TRAIN_TEXTS.replace("kovaa", "hyvin"))
    says = r"xMINDsmall_train/news\.tsv, line 2: the news 'N1' came before with another"
    with pytest.raises(DataFormatError, match=says):
        convert_xmind(mind, [texts], out)
    assert not out.exists()
    convert_xmind(mind, [texts], out, on_error="skip")
    assert news(out / "train")["N1"][2] == 'Kana "laulaa"  kovaa'


def test_packed_texts_and_json_are_read_and_a_zip_file_is_named(folders):
    mind, texts, out = folders
    expected = convert_xmind(mind, [texts], out) and news(out / "train")
    for name in ("train", "dev"):
        path = texts / f"xMINDsmall_{name}" / "news.tsv"
        path.with_name("news.tsv.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    convert_xmind(mind, [texts], out.with_name("packed"))
    assert news(out.with_name("packed") / "train") == expected
    rows = [{"nid": "N2", "title": "Raitiovaunut", "abstract": None}]
    (texts / "fin.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    convert_xmind(mind, [texts / "fin.jsonl"], out.with_name("json"))
    assert news(out.with_name("json") / "train")["N2"] == ("town", "trams", "Raitiovaunut", "")
    with zipfile.ZipFile(texts / "xMINDsmall_dev.zip", "w") as archive:
        archive.writestr("news.tsv", DEV_TEXTS)
    says = r"xMINDsmall_dev\.zip: is a zip file .* Unpack the zip file: unzip xMINDsmall_dev\.zip"
    with pytest.raises(DataFormatError, match=says):
        convert_xmind(mind, [texts / "xMINDsmall_dev.zip"], out.with_name("zip"))


def test_a_header_in_mind_is_an_error_or_left_out(folders):
    mind, texts, out = folders
    path = mind / "dev" / "news.tsv"
    header = "news_id category subcategory title abstract url title_entities abstract_entities"
    path.write_text("\t".join(header.split()) + "\n" + path.read_text())
    with pytest.raises(DataFormatError, match=r"mind/dev/news\.tsv, line 1: the line is a header"):
        convert_xmind(mind, [texts], out)
    conversion = convert_xmind(mind, [texts], out, on_error="skip")
    assert sorted(news(out / "dev")) == ["N1", "N4"]
    assert conversion.left_out == {str(path): {"header line": 1}}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("nid\ttitle\nN1\tKana\n", "no column 'abstract'; the columns are 'nid', 'title'"),
        ("nid\ttitle\tabstract\n", "there are no texts that could be used"),
        ("nid\ttitle\tabstract\n\tKana\t\n", "line 2: the news id, column 'nid', is empty"),
        ("nid\ttitle\tabstract\nN1\t\tx\n", "line 2: the title, column 'title', is empty"),
        ("nid\ttitle\tabstract\nN1\tKana\n", "line 2: expected 3 columns, as in the header, got 2"),
        ('nid\ttitle\tabstract\nN1\t"Kana\tx\n', "not readable as CSV"),
        ("nid\ttitle\tabstract\nX9\tToinen\t\n", "translates no article"),
    ],
)
def test_bad_texts_are_named(folders, content, says):
    mind, texts, out = folders
    (texts / "one.tsv").write_text(content)
    with pytest.raises(DataFormatError, match=says):
        convert_xmind(mind, [texts / "one.tsv"], out)
    assert not out.exists()


def test_missing_files_are_errors(folders):
    mind, texts, out = folders
    with pytest.raises(DataFormatError, match="the path does not exist; expected a file of xMIND"):
        convert_xmind(mind, [texts / "nothing"], out)
    (mind / "dev" / "behaviors.tsv").unlink()
    with pytest.raises(DataFormatError, match=r"behaviors\.tsv"):
        convert_xmind(mind, [texts], out)
    shutil.rmtree(texts)
    texts.mkdir()
    with pytest.raises(DataFormatError, match="there are no files of xMIND"):
        convert_xmind(mind, [texts], out)
