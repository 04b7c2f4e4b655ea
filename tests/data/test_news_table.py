import csv
import logging
from datetime import date, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from recommenders_miner.data import tsv
from recommenders_miner.data.news import NewsTable, UnknownNewsError
from recommenders_miner.errors import DataFormatError, RecommendersMinerError

COLUMNS = ("ids", "category", "subcategory", "title", "abstract", "title_entities", "abstract_entities")


def row(news_id, title="A title", category="sports", abstract="Text.", entities="[]", url="https://x/1"):
    return "\t".join([news_id, category, f"{category}_a", title, abstract, url, entities, entities])


def write(tmp_path, *rows, end="\n", name="news.tsv"):
    path = tmp_path / name
    path.write_bytes(b"".join((line if isinstance(line, bytes) else line.encode()) + end.encode() for line in rows))
    return path


def columns(table):
    return {name: getattr(table, name).to_pylist() for name in COLUMNS}


def test_reads_mind_rows_as_they_are(tmp_path):
    entities = '[{"Label": "Ünïon", "Type": "O", "WikidataId": "Q1", "Confidence": 1.0}]'
    path = write(
        tmp_path,
        row("N1", title='He said "No', entities=entities),
        row("N2", title="東京 😀", abstract="", category="foodanddrink"),
        row("N1", title='He said "No', entities=entities, url="https://elsewhere"),
        row("N3", title='"quoted"', entities=""),
        end="\r\n",
    )
    table = NewsTable.read(path)
    assert columns(table) == {
        "ids": ["", "N1", "N2", "N3"],
        "category": ["", "sports", "foodanddrink", "sports"],
        "subcategory": ["", "sports_a", "foodanddrink_a", "sports_a"],
        "title": ["", 'He said "No', "東京 😀", '"quoted"'],
        "abstract": ["", "Text.", "", "Text."],
        "title_entities": ["", entities, "[]", ""],
        "abstract_entities": ["", entities, "[]", ""],
    }
    assert (table.skipped, len(table), repr(table)) == (None, 4, "NewsTable(3 news)")


HEADER = "\t".join(["news_id", "category", "subcategory", "title", "abstract", "url", "title_entities", "entities"])


def test_a_header_is_an_error_or_left_out(tmp_path):
    path = write(tmp_path, HEADER, row("N1"), row("N2"))
    with pytest.raises(DataFormatError, match=r"news\.tsv, line 1: the line is a header \(news_id, category, "):
        NewsTable.read(path)
    table = NewsTable.read(path, on_error="skip")
    assert table.ids.to_pylist() == ["", "N1", "N2"]
    assert table.lines.tolist() == [0, 2, 3]
    assert table.skipped.counts == {"header line": 1}


ENTITIES = '[{"Label": "A \\"B\\"", "Type": "O", "WikidataId": "Q1", "Confidence": 1.0}]'
TEXTS = st.text(st.sampled_from("ab \"',;"), max_size=6).filter(lambda text: text.strip('"'))


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(texts=st.lists(st.tuples(TEXTS, TEXTS, st.sampled_from(["", "[]", ENTITIES])), min_size=1, max_size=6))
def test_a_table_that_pandas_saved_is_the_same(tmp_path, quoting, texts):
    rows = [row(f"N{k}", title, abstract=abstract, entities=of) for k, (title, abstract, of) in enumerate(texts)]
    table = NewsTable.read(write(tmp_path, *rows))
    assume(table.title.to_pylist()[1:] == [title for title, _, _ in texts])  # and not taken for CSV itself
    options = {"sep": "\t", "header": False, "index": False, "quoting": quoting}
    pd.DataFrame([line.split("\t") for line in rows]).to_csv(tmp_path / "saved.tsv", **options)
    assert columns(NewsTable.read(tmp_path / "saved.tsv")) == columns(table)


@pytest.mark.parametrize("title", ['"A"', '"A" and "B"', '""', '"', 'He said ""No""', '"A ""B""" and "C'])
def test_quotes_that_are_not_those_of_a_csv_stay(tmp_path, title):
    assert NewsTable.read(write(tmp_path, row("N1", title), row("N2", 'A "B'))).title[1].as_py() == title
    table = NewsTable.read(write(tmp_path, row("N1", '"A ""B"""'), row("N2", entities=ENTITIES)))
    assert table.title[1].as_py() == '"A ""B"""'


def test_rows_and_row_of(tmp_path):
    table = NewsTable.read(write(tmp_path, row("N7"), row("N3")))
    assert dict(table.row_of) == {"N7": 1, "N3": 2}
    assert table.row_of is table.row_of
    rows = table.rows(["N3", "N7", "N3"])
    assert rows.dtype == np.int32
    assert rows.tolist() == [2, 1, 2]
    assert table.rows([]).shape == (0,)
    with pytest.raises(UnknownNewsError, match="2 news ids are not among the table's 2: 'N9', ''"):
        table.rows(["N3", "N9", ""])


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("N2\tsports\ttitle", r"expected 8 tab-separated columns \(news id, category.*abstract entities\), got 3"),
        (row(""), "the news id, column 1, is empty"),
        (row("N2").encode() + b"\xe9", "not valid UTF-8"),
        (row("N1", title="Another"), "the news id 'N1' stands in line 1 with another content"),
    ],
)
@pytest.mark.parametrize("block_bytes", [1, 2**20])
def test_a_line_with_an_error_is_named_or_skipped(tmp_path, monkeypatch, bad, problem, block_bytes, caplog):
    monkeypatch.setattr(tsv, "BLOCK_BYTES", block_bytes)
    path = write(tmp_path, row("N1"), bad, row("N3"))
    with pytest.raises(DataFormatError, match=problem) as caught:
        NewsTable.read(path)
    assert (caught.value.path, caught.value.line) == (path, 2)
    assert [file.name for file in tmp_path.iterdir()] == ["news.tsv"]
    with caplog.at_level(logging.WARNING, logger="recommenders_miner"):
        table = NewsTable.read(path, on_error="skip")
    assert table.ids.to_pylist() == ["", "N1", "N3"]
    assert list(table.skipped.counts.values()) == [1]
    assert list(table.skipped.lines.values()) == [[2]]
    assert caplog.messages == [table.skipped.summary()]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_the_earliest_line_with_an_error_is_reported(tmp_path, order):
    bad = ["too few", row(""), row("N1", title="Another")]
    path = write(tmp_path, row("N1"), *(bad[k] for k in order))
    with pytest.raises(DataFormatError) as caught:
        NewsTable.read(path)
    assert caught.value.line == 2


def test_a_file_without_a_usable_line_is_an_error(tmp_path):
    with pytest.raises(DataFormatError, match="no line could be used"):
        NewsTable.read(write(tmp_path, "x", "y"), on_error="skip")
    with pytest.raises(DataFormatError, match="does not exist; expected 8 tab-separated columns"):
        NewsTable.read(tmp_path / "absent.tsv")


def test_from_columns():
    table = NewsTable.from_columns(["a", "b"], ["A", "B"], category=["x", None], abstract=["p", "q"])
    empty = dict.fromkeys(COLUMNS, [""] * 3)
    given = {"ids": ["", "a", "b"], "title": ["", "A", "B"], "category": ["", "x", ""], "abstract": ["", "p", "q"]}
    assert columns(table) == empty | given
    assert NewsTable.from_columns([], []).ids.to_pylist() == [""]


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"ids": ["a", "b"], "titles": ["A"]}, "2 news ids, but 1 entries of title"),
        ({"ids": ["a"], "titles": ["A"], "extra": {"body": []}}, "1 news ids, but 0 entries of body"),
        ({"ids": ["a", ""], "titles": ["A", "B"]}, "line 2: the news id, column 1, is empty"),
        ({"ids": ["a", "b", "a"], "titles": ["A", "B", "C"]}, "line 3: the news id 'a' stands in line 1"),
    ],
)
def test_from_columns_checks(columns, problem):
    with pytest.raises(DataFormatError, match=problem):
        NewsTable.from_columns(**columns)


def test_the_digest_names_the_content(tmp_path):
    table = NewsTable.read(write(tmp_path, row("N1"), row("N2")))
    same = NewsTable.read(write(tmp_path, row("N1"), row("N2"), end="\r\n", name="same.tsv"))
    assert table.digest == same.digest
    others = [
        NewsTable.read(write(tmp_path, row("N2"), row("N1"))),
        NewsTable.read(write(tmp_path, row("N1"), row("N2", title="A titl", abstract="eText."))),
        NewsTable.from_columns(["N1", "N2"], ["A title", "A title"]),
        NewsTable.from_columns(["N1N2"], ["A title"]),
    ]
    assert len({other.digest for other in [table, *others]}) == 5


def test_frame_shows_news_in_the_order_asked_for():
    columns = {"category": ["x", "y"], "subcategory": ["x1", "y1"]}
    frame = NewsTable.from_columns(["N1", "N2"], ["A title", "Another"], **columns).frame(["N2", "N1", "N2"])
    assert frame.index.tolist() == ["N2", "N1", "N2"]
    assert frame.to_dict("list") == {
        "category": ["y", "x", "y"],
        "subcategory": ["y1", "x1", "y1"],
        "title": ["Another", "A title", "Another"],
    }
    with pytest.raises(UnknownNewsError, match="'N3'"):
        NewsTable.from_columns(["N1"], ["A title"]).frame(["N3"])


def test_select_keeps_some_news_each_once():
    table = NewsTable.from_columns(["N1", "N2", "N3"], ["One", "Two", "Three"], category=["a", "b", "c"])
    some = table.select(["N3", "N1", "N3"])
    assert some.ids.to_pylist() == ["", "N3", "N1"]
    assert some.title.to_pylist() == ["", "Three", "One"]
    assert some.rows(["N1"]).tolist() == [2]
    with pytest.raises(UnknownNewsError, match="'N9'"):
        table.select(["N1", "N9"])


def test_what_stands_beside_the_file_is_aligned_with_its_rows(tmp_path):
    path = write(tmp_path, row("N1"), row("N2"), row("N3"))
    plain = NewsTable.read(path)
    assert plain.extra is None
    articles = {"published": pa.array([30, None, 10], pa.int64()), "id": ["N3", "N9", "N1"], "body": ["c", "x", "a"]}
    pq.write_table(pa.table(articles), tmp_path / "articles.parquet")
    table = NewsTable.read(path)
    assert table.extra.to_pydict() == {"published": [None, 10, None, 30], "body": [None, "a", None, "c"]}
    assert table.extra.schema.field("published").type == pa.int64()
    assert table.select(["N3", "N2"]).extra.to_pydict() == {"published": [None, 30, None], "body": [None, "c", None]}
    titles = [["N1", "N2", "N3"], ["A title"] * 3, ["sports"] * 3, ["sports_a"] * 3, ["Text."] * 3, ["[]"] * 3]
    same, other = (
        NewsTable.from_columns(*titles, ["[]"] * 3, extra={"published": published, "body": ["a", None, "c"]})
        for published in ([10, None, 30], [10, None, 31])
    )
    assert same.extra.equals(table.extra)
    assert table.digest == same.digest
    assert len({table.digest, plain.digest, other.digest}) == 3


@pytest.mark.parametrize("content", [b"PAR1 but no more", pa.table({"body": ["x"]}), pa.table({"id": [[1]]})], ids=type)
def test_articles_that_cannot_be_read_are_named(tmp_path, content):
    path = write(tmp_path, row("N1"))
    if isinstance(content, bytes):
        (tmp_path / "articles.parquet").write_bytes(content)
    else:
        pq.write_table(content, tmp_path / "articles.parquet")
    with pytest.raises(
        DataFormatError, match=r"articles\.parquet: is not readable \(.+expected Parquet with a column id"
    ):
        NewsTable.read(path)


NOON = 1_577_880_000  # of the first of January 2020, UTC
NOON_IN_OSLO = datetime(2020, 1, 1, 13, tzinfo=timezone(timedelta(hours=1)))


def read_with(tmp_path, **columns):
    """A table of three articles, with columns of these in an articles.parquet."""
    path = write(tmp_path, row("N1"), row("N2"), row("N3"))
    pq.write_table(pa.table({"id": ["N1", "N2", "N3"], **columns}), tmp_path / "articles.parquet")
    return NewsTable.read(path)


@pytest.mark.parametrize(
    ("published", "seconds"),
    [
        (pa.array([datetime(2020, 1, 1, 12)] * 2 + [None], pa.timestamp("us")), [NOON, NOON, 0]),
        (pa.array([datetime(2020, 1, 1, 12, 0, 0, 900_000)] * 3, pa.timestamp("ns")), [NOON] * 3),
        (pa.array([NOON_IN_OSLO] * 3, pa.timestamp("ms", "Europe/Oslo")), [NOON] * 3),
        (pa.array([date(2020, 1, 1)] * 3, pa.date32()), [NOON - 12 * 3600] * 3),
        (pa.array([date(2020, 1, 1)] * 3, pa.date64()), [NOON - 12 * 3600] * 3),
        (pa.array([NOON + 0.9, float("nan"), None]), [NOON, 0, 0]),
        (pa.array([NOON, None, 5], pa.uint32()), [NOON, 0, 5]),
        (pa.nulls(3), [0, 0, 0]),
    ],
    ids=lambda of: str(getattr(of, "type", "")),
)
def test_times_of_publication_are_seconds_whatever_their_type(tmp_path, published, seconds):
    table = read_with(tmp_path, published=published)
    assert table.published.tolist() == [0, *seconds]
    assert table.extra.schema.field("published").type == pa.int64()
    assert table.joined(NewsTable.from_columns(["N4"], ["four"], extra={"published": [7]})).published[-1] == 7


@pytest.mark.parametrize("published", [["2020-01-01"] * 3, [float("inf"), 1.0, 2.0], [[1], [2], [3]]])
def test_a_column_published_of_something_else_is_named(tmp_path, published):
    with pytest.raises(DataFormatError, match=r"articles\.parquet: column 'published' holds .+; expected Unix seconds"):
        read_with(tmp_path, published=published)


def test_bodies_of_any_text_type_and_in_paragraphs_are_texts(tmp_path):
    table = read_with(
        tmp_path,
        body=[["One.", None, "Two."], [], None],
        view=pa.array(["a", "b", None], pa.string_view()),
        coded=pa.array(["a", "b", "a"]).dictionary_encode(),
        place=[{"x": 1}] * 3,
    )
    assert table.texts("body") == ["One. Two.", "", ""]
    assert (table.texts("view"), table.texts("coded")) == (["a", "b", ""], ["a", "b", "a"])
    assert table.select(["N2"]).joined(table).texts("view") == ["b", "a", ""]
    assert table.digest
    with pytest.raises(DataFormatError, match=r"articles\.parquet: column 'place' holds struct<.+>; expected texts"):
        table.texts("place")


def test_articles_of_which_nothing_but_the_id_is_said_are_none(tmp_path):
    table = read_with(tmp_path)
    assert table.extra is None
    assert table.select(["N1"]).joined(table).texts("ids") == ["N1", "N2", "N3"]


def test_joined_tables_keep_their_own_articles_and_columns():
    first = NewsTable.from_columns(["N1", "N2"], ["one", "two"], extra={"published": [1, 2]})
    second = NewsTable.from_columns(["N2", "N3"], ["other", "three"], extra={"published": [8, 9], "body": ["x", "y"]})
    plain = NewsTable.from_columns(["N4"], ["four"])
    joined = first.joined(second).joined(plain)
    assert len(joined.lines) == len(joined)
    assert joined.ids.to_pylist() == ["", "N1", "N2", "N3", "N4"]
    assert joined.texts("title") == ["one", "two", "three", "four"]
    assert joined.published.tolist() == [0, 1, 2, 9, 0]
    assert joined.texts("body") == ["", "", "y", ""]
    assert plain.joined(plain).extra is None
    assert plain.joined(first).published.tolist() == [0, 0, 1, 2]
    odd = NewsTable.from_columns(["N5"], ["five"], extra={"published": ["yesterday"]})
    with pytest.raises(RecommendersMinerError, match=r"articles\.parquet do not go together"):
        first.joined(odd)
