import bz2
import gzip
import logging
import lzma
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommenders_miner.data import tsv
from recommenders_miner.data.tsv import LineErrors, SkipReport, names_columns, read_tsv
from recommenders_miner.errors import DataFormatError

COLUMNS = ("name", "text")


def read(path, on_error="raise", separator="\t"):
    """The rows and line numbers of a file, and the report."""
    errors = LineErrors(path, on_error)
    rows, lines = [], []
    for table, numbers in read_tsv(path, COLUMNS, errors, separator):
        rows += zip(*(column.to_pylist() for column in table.columns), strict=True)
        lines += numbers.tolist()
        assert numbers.dtype == np.int64
    return rows, lines, errors.report


def write(tmp_path, content):
    path = tmp_path / "file.tsv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "text", ['"', '""', 'say "no', "'", "\\t", "a\rb", "äß東😀", "\u2028", "\x85", "\x00", " ", "NULL", ""]
)
def test_text_is_taken_as_it_is(tmp_path, text):
    assert read(write(tmp_path, f"{text}\t{text}\n"))[0] == [(text, text)]


@pytest.mark.parametrize("separator", ["", "::", "\n", "é"])
def test_a_separator_is_one_ascii_character(tmp_path, separator):
    with pytest.raises(ValueError, match="one ASCII character"):
        read(write(tmp_path, "a\tb\n"), separator=separator)


def test_on_error_is_checked(tmp_path):
    with pytest.raises(ValueError, match='"raise" or "skip"'):
        LineErrors(tmp_path, "ignore")


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        *((bad, f"expected 2 tab-separated columns (name, text), got {n}.") for bad, n in ((b"x", 1), (b"a\tb\tc", 3))),
        (b"", "expected 2 tab-separated columns (name, text), got 1."),
        (b"c\t\xff", "the line is not valid UTF-8. Convert the file to UTF-8."),
    ],
)
def test_a_line_with_an_error_is_named(tmp_path, bad, problem):
    path = write(tmp_path, "ä\tb\n".encode() + bad + b"\nd\t\xc3\n")
    with pytest.raises(DataFormatError) as caught:
        read(path)
    assert (caught.value.line, str(caught.value)) == (2, f"{path}, line 2: {problem}")


NEWS_HEADER = "news_id category subcategory title abstract url title_entities abstract_entities"
LOG_HEADER = "impression_id user_id time history impressions"


@pytest.mark.parametrize(
    "header",
    [
        *(NEWS_HEADER, LOG_HEADER, NEWS_HEADER.upper(), "\ufeff" + LOG_HEADER, f"#{LOG_HEADER}"),
        *('"' + '" "'.join(names.split()) + '"' for names in (NEWS_HEADER, LOG_HEADER)),
        "nid cat subcat title abs url titleEntities abstractEntities",
        "News-ID Category SubCategory Title Abstract URL Entities_title Entities_abstract",
        "id vert subvert headline body link entities abstract.entities",
        "ItemId section sub_section title teaser  ent ent2",
        "impid uid timestamp clicked_news candidates",
        "index user date hist imp",
        "0 1 2 3 4 5 6 7",
        "0 1 2 3 4",
        "head relation tail",
    ],
)
def test_names_of_columns_are_a_header_wherever_they_come_from(header):
    assert names_columns(header.split(" "))


@pytest.mark.parametrize(
    "line",
    [
        *("N1 sports golf Title Text https://x [] []", "N1 news news News news  [] []", "1 U1 time N1 N1-0"),
        *(
            "news1 news news-sub News news url [] []",
            "article-7 category sub title   [] []",
            "id sport golf Goal   [] []",
        ),
        *("0 1 2", "Q1 P31 Q5", "1 2 3 4 5", "news", "", " ", "a b"),
    ],
)
def test_values_are_no_header(line):
    assert not names_columns(line.split(" "))


@pytest.mark.parametrize("header", ["name\ttext", "Name\tText\tURL", "id\tText\r"])
def test_a_header_is_an_error_that_is_named_or_left_out(tmp_path, header):
    path = write(tmp_path, f"{header}\na\tb\nname\ttext\n")
    with pytest.raises(DataFormatError, match=r"file\.tsv, line 1: the line is a header \(.*Delete the line; .*skip"):
        read(path)
    rows, lines, report = read(path, on_error="skip")
    assert (rows, lines) == ([("a", "b"), ("name", "text")], [2, 3])
    assert (report.counts, report.lines) == ({"header line": 1}, {"header line": [1]})


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_packed_file_is_read(tmp_path, pack):
    assert read(write(tmp_path, pack(b"a\tb\nc\td"))) == ([("a", "b"), ("c", "d")], [1, 2], None)
    with pytest.raises(DataFormatError, match=r"file\.tsv: is packed, and damaged: "):
        read(write(tmp_path, pack(b"a\tb\nc\td")[:-6]))


@pytest.mark.parametrize(
    ("content", "form"),
    [
        ("a\tb\n".encode("utf-16"), "UTF-16"),
        (b"PK\x03\x04\x14", "a zip file or a spreadsheet"),
        (b"PAR1\x15\x04", "a Parquet file"),
        (b"ARROW1\0\0", "an Arrow (Feather) file"),
        (gzip.compress(b"PK\x03\x04\x14", mtime=0), "a zip file"),
    ],
)
def test_a_file_that_is_no_text_is_named(tmp_path, content, form):
    with pytest.raises(DataFormatError, match=rf"file\.tsv: is {re.escape(form)}.*expected 2 tab-separated columns"):
        read(write(tmp_path, content), on_error="skip")


@pytest.mark.parametrize("text", ["PK", "PAR1", "ARROW1", "BZh9", "SQLite format 3", "Obj", "7z"])
def test_text_may_begin_as_other_forms_do(tmp_path, text):
    assert read(write(tmp_path, f"{text}\tb\n"))[0] == [(text, "b")]


def test_the_caller_gets_the_lines_before_an_error_first(tmp_path):
    blocks = read_tsv(write(tmp_path, "a\tb\nbad\nc\td\n"), COLUMNS, LineErrors(tmp_path, "raise"))
    assert next(blocks)[1].tolist() == [1]
    with pytest.raises(DataFormatError):
        next(blocks)


def test_skip_leaves_out_and_counts(tmp_path, caplog):
    path = write(tmp_path, "a\tb\nbad\nc\td\n\xff\n\ne\tf\n".encode("latin-1"))
    errors = LineErrors(path, "skip")
    with caplog.at_level(logging.WARNING, logger="recommenders_miner"):
        lines = np.concatenate([numbers for _, numbers in read_tsv(path, COLUMNS, errors)])
        report = errors.log_summary()
    assert lines.tolist() == [1, 3, 6]
    assert report.path == path
    # Line 4 has both errors.
    assert report.counts == {"bytes that are not UTF-8": 1, "wrong number of columns": 3}
    assert report.lines == {"bytes that are not UTF-8": [4], "wrong number of columns": [2, 4, 5]}
    assert [record.getMessage() for record in caplog.records] == [report.summary()]


def test_a_report_names_the_first_few_lines_of_each_reason(tmp_path):
    report = SkipReport(tmp_path / "x.tsv")
    assert "nothing was left out" in report.summary()
    report.add("odd", np.array([3, 3, 4]))
    report.add("odd", np.arange(4, 1004))
    report.add("even", np.array([2]))
    assert report.counts == {"odd": 1003, "even": 1}
    assert report.lines == {"odd": [3, 4, 5, 6, 7], "even": [2]}
    summary = report.summary()
    for part in ("x.tsv", "odd: 1,003", "3, 4, 5, 6, 7", "even: 1"):
        assert part in summary


field = st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r"), max_size=6)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    rows=st.lists(st.lists(field, min_size=1, max_size=3), min_size=1, max_size=12).filter(  # blank lines among them
        lambda rows: any(any(row) or len(row) > 1 for row in rows)
    ),
    end=st.sampled_from(["\n", "\r\n"]),
    mark=st.sampled_from(["", "\ufeff"]),
    block_bytes=st.integers(1, 40),
)
def test_any_file_equals_a_plain_split_at_any_block_size(tmp_path, rows, end, mark, block_bytes):
    content = mark + end.join("\t".join(row) for row in rows)
    path = write(tmp_path, content)
    while rows[-1] == [""]:
        rows = rows[:-1]
    if not mark and content.startswith("\ufeff"):
        rows[0][0] = rows[0][0][1:]
    expected = [(line, tuple(row)) for line, row in enumerate(rows, start=1) if len(row) == 2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tsv, "BLOCK_BYTES", block_bytes)
        found, lines, report = read(path, on_error="skip")
    assert list(zip(lines, found, strict=True)) == expected
    assert sum(report.counts.values()) == len(rows) - len(expected)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("x" * 300, "the path cannot be used"),
        ("circle", "the path cannot be used"),
        *((name, "the path does not exist") for name in ("nowhere.tsv", "x\0", "file.tsv/x")),
        (".", "the path is a folder"),
        (b"", "the file is empty"),
        *((content, "nothing but blank lines") for content in (b"\n\r\n", b"\xef\xbb\xbf")),
    ],
)
def test_where_there_is_nothing_to_read_is_an_error(tmp_path, name, problem):
    path = write(tmp_path, name if isinstance(name, bytes) else "a\tb\n")
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(DataFormatError, match=rf"{problem}.*expected 2 tab-separated columns \(name, text\)"):
        read(path if isinstance(name, bytes) else tmp_path / name)
