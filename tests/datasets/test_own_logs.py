"""One's own logs, as CSV and Parquet, with impressions and without, read back as the package reads MIND."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import re
import zipfile
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from pyarrow import feather

from recommenders_miner.data.split import split_by_time
from recommenders_miner.datasets import Negatives, convert_own_logs
from recommenders_miner.datasets import columns as columns_module
from recommenders_miner.datasets.own import LogSchema, TimeColumn
from recommenders_miner.errors import DataFormatError, RecommendersMinerError
from tests.datasets.read_back import articles, impressions, news

NEWS = """\
key,headline,section,teaser,online
a,"Harbour ""reopens"", twice",local,"Two
lines\tand a tab",2024-03-01 08:00:00
b,Owls return,nature,,2024-03-01T09:00:00Z
c,Kiln found,nature,An old one,2024-03-01 10:00:00+01:00
"""
SHOWN = """\
reader,when,article,hit,page
ann,2024-03-02 10:00:00,a,1,p1
ann,2024-03-02 10:00:01,b,0,p1
bob,2024-03-02 11:00:00,c,false,p2
bob,2024-03-02 11:00:00,a,TRUE,p2
ann,2024-03-02 12:00:00,c,1,p3
ann,2024-03-02 12:00:00,b,0,p3
"""
CLICKS = """\
reader,when,article
ann,1709373600,a
bob,1709377200,b
cid,1709380800,c
ann,1709384400,a
ann,1709388000,b
"""
NEWS_YAML = """\
news: {file: news.csv, id: key, title: headline, category: section, abstract: teaser, published: online}
"""
SHOWN_YAML = (
    NEWS_YAML
    + """\
events: {file: events.csv, user: reader, time: when, news: article, clicked: hit, impression: page}
"""
)
CLICKS_YAML = NEWS_YAML + "events: {file: events.csv, user: reader, time: {column: when, unit: s}, news: article}\n"
NO_PAGES = SHOWN_YAML.replace(", impression: page", "")
NOON = 1709380800
CANDIDATES = [{"a": 1, "b": 0}, {"c": 0, "a": 1}, {"c": 1, "b": 0}]
MARCH_1 = NOON - 36 * 3600


@pytest.fixture
def convert(tmp_path):
    """Writes the files, converts them, and gives the folder of the split `all`."""

    def write_and_convert(schema=SHOWN_YAML, events=SHOWN, articles=NEWS, out="out", **options):
        for name, content in (("news.csv", articles), ("events.csv", events), ("logs.yaml", schema)):
            if isinstance(content, pa.Table):
                pq.write_table(content, tmp_path / name, row_group_size=max(2, len(content) // 9))  # whatever its name
            else:
                (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        write_and_convert.counts = convert_own_logs(tmp_path / "logs.yaml", tmp_path / out, **options)
        return tmp_path / out / "all"

    return write_and_convert


@pytest.fixture
def failure(convert, tmp_path):
    """Gives what is said of files that cannot be converted; nothing may be left of it."""

    def message(*files, **options):
        with pytest.raises(DataFormatError) as caught:
            convert(*files, **options)
        assert not (tmp_path / "out").exists()
        return str(caught.value)

    return message


def zipped(text):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("table.csv", text)
    return file.getvalue()


def shown(folder):
    return [candidates for *_, candidates in impressions(folder)]


def histories(folder):
    return [history for _, _, _, history, _ in impressions(folder)]


# === Impressions ===


def test_rows_of_an_impression_become_a_line_with_the_users_earlier_clicks(convert):
    folder = convert()
    assert impressions(folder) == [
        (1, "ann", NOON - 7200, [], {"a": 1, "b": 0}),
        (2, "bob", NOON - 3600, [], {"c": 0, "a": 1}),
        (3, "ann", NOON, ["a"], {"c": 1, "b": 0}),
    ]
    counts = {"news": 3, "users": 2, "impressions": 3, "candidates": 6, "clicks": 3}
    none = dict.fromkeys(("impressions without a click", "impressions without a negative"), 0)
    assert convert.counts.counts["all"] == counts | none
    assert news(folder) == {  # texts lose tabs and line ends and nothing else
        "a": ("local", "", 'Harbour "reopens", twice', "Two lines and a tab"),
        "b": ("nature", "", "Owls return", ""),
        "c": ("nature", "", "Kiln found", "An old one"),
    }


def test_without_a_column_of_impressions_rows_of_one_user_and_second_belong_together(convert, caplog):
    found = [(user, candidates) for _, user, _, _, candidates in impressions(convert(NO_PAGES))]
    assert found == [("ann", {"a": 1}), ("ann", {"b": 0}), ("bob", CANDIDATES[1]), ("ann", CANDIDATES[2])]
    assert caplog.text == ""
    convert(NO_PAGES, SHOWN.replace("11:00:00,a", "11:00:02,a"), out="apart")
    assert "lack a click, or an article that was passed over" in caplog.text
    assert "'impression'" in caplog.text


def test_histories_can_be_cut_to_the_newest_clicks(convert):
    events = SHOWN + "ann,2024-03-02 13:00:00,a,1,p4\nann,2024-03-02 13:00:00,b,0,p4\n"
    assert histories(convert(events=events, max_history=1)) == [[], [], ["a"], ["c"]]


@pytest.mark.parametrize("batch_rows", [1, 2])
def test_the_size_of_batches_does_not_matter(convert, monkeypatch, batch_rows):
    monkeypatch.setattr(columns_module, "BATCH_ROWS", batch_rows)
    folder = convert(articles=NEWS + NEWS.split("\n", 1)[1])  # an article twice with the same content counts once
    assert shown(folder) == CANDIDATES
    assert sorted(news(folder)) == ["a", "b", "c"]


HEADER, *ROWS = [line.split(",") for line in SHOWN.splitlines()]
EVENT_TABLE = pa.table(dict(zip(HEADER, map(list, zip(*ROWS, strict=True)), strict=True)))
TIMES = pa.array(np.array([0, 1, 3600, 3600, 7200, 7200]) + NOON - 7200).cast(pa.timestamp("s"))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"reader": EVENT_TABLE["reader"].dictionary_encode(), "page": pa.array([1, 1, 2, 2, 3, 3], pa.int16())},
        {"hit": pa.array([True, False, False, True, True, False]), "unused": pa.nulls(6)},
        {"hit": pa.array([1.0, 0.0, 0.0, 1.0, 1.0, 0.0])},
        {"when": TIMES.cast(pa.timestamp("ns", "UTC"))},
        *({name: EVENT_TABLE[name].cast(kind) for name in HEADER} for kind in (pa.string_view(), pa.large_string())),
    ],
)
def test_parquet_gives_the_same_as_csv(convert, changes):
    one = convert()
    other = convert(events=pa.table({name: EVENT_TABLE[name] for name in HEADER} | changes), out="again")
    for name in ("news.tsv", "behaviors.tsv"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.parametrize(
    ("schema", "events"),
    [
        (SHOWN_YAML.replace("events.csv,", 'events.csv, separator: ";",'), "\ufeff" + SHOWN.replace(",", ";")),
        (SHOWN_YAML.replace("events.csv,", "events.csv, separator: \\t,"), SHOWN.replace(",", "\t")),
        (SHOWN_YAML, SHOWN.replace(",1,p", ",1.0,p").replace(",0,p", ",0.0,p")),  # as pandas writes flags with gaps
        (SHOWN_YAML.replace("events.csv", "[events.csv, more.csv]"), "".join(SHOWN.splitlines(keepends=True)[:4])),
    ],
)
def test_other_separators_a_byte_order_mark_flags_as_numbers_and_several_files(convert, tmp_path, schema, events):
    head, *rows = SHOWN.splitlines(keepends=True)
    (tmp_path / "more.csv").write_text(head + "".join(rows[3:]))
    assert shown(convert(schema, events)) == CANDIDATES


def arrow(table):
    file = io.BytesIO()
    feather.write_feather(table, file, chunksize=2)
    return file.getvalue()


def parquet(table):
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


RECORDS = [record | {"hit": record["hit"].lower() in ("1", "true")} for record in EVENT_TABLE.to_pylist()]
LINES = "".join(json.dumps(record) + "\n" for record in RECORDS)


@pytest.mark.parametrize(
    "events",
    [
        *(pack(SHOWN.encode()) for pack in (gzip.compress, bz2.compress, lzma.compress)),
        *(form(EVENT_TABLE) for form in (arrow, parquet)),
        *(gzip.compress(form(EVENT_TABLE)) for form in (arrow, parquet)),
        *(LINES, "\ufeff" + LINES.replace("\n", "\r\n\n"), gzip.compress(LINES.encode())),
        *(json.dumps(RECORDS), json.dumps(RECORDS, indent=1), json.dumps(RECORDS, ensure_ascii=False)),
    ],
    ids=[
        *("gzip", "bzip2", "xz", "feather", "parquet", "feather in gzip", "parquet in gzip"),
        *(
            "JSON lines",
            "JSON with a mark and blank lines",
            "JSON lines in gzip",
            "list",
            "indented list",
            "plain list",
        ),
    ],
)
def test_what_can_only_be_one_form_is_read_as_it_whatever_the_name(convert, monkeypatch, events):
    monkeypatch.setattr(columns_module, "BATCH_ROWS", 4)
    expected = impressions(convert())
    assert impressions(convert(events=events, out="again")) == expected


def test_json_may_lack_keys_and_hold_numbers_texts_and_lists(convert):
    articles_json = [{"key": 1, "headline": "A\ud800", "tags": ["t"]}, {"key": 2.0, "headline": None, "score": 1}]
    articles_json += [{"key": "x-1", "headline": "C", "tags": None, "score": "high"}]
    rows = "".join(json.dumps(row) + "\n" for row in articles_json)
    schema = "news: {file: news.csv, id: key, title: headline, columns: [tags, score]}\n" + SHOWN_YAML.split("\n", 1)[1]
    folder = convert(schema, SHOWN.replace(",a,", ",1,").replace(",b,", ",2.0,").replace(",c,", ",x-1,"), rows)
    assert shown(folder) == [{"1": 1, "2": 0}, {"x-1": 0, "1": 1}, {"x-1": 1, "2": 0}]
    assert news(folder) == {"1": ("", "", "A?", ""), "2": ("", "", "", ""), "x-1": ("", "", "C", "")}
    assert articles(folder)["1"] == {"tags": ["t"], "score": None}
    assert [articles(folder)[key]["score"] for key in ("2", "x-1")] == ["1", "high"]


def test_a_nan_of_json_beside_texts_is_a_missing_text(convert):
    rows = '{"key": "a", "headline": NaN}\n{"key": "b", "headline": "B"}\n{"key": "c", "headline": 1.5}\n'
    schema = "news: {file: news.csv, id: key, title: headline}\n" + SHOWN_YAML.split("\n", 1)[1]
    assert [title for _, _, title, _ in news(convert(schema, articles=rows)).values()] == ["", "B", "1.5"]


def test_a_further_column_that_parquet_cannot_hold_is_an_error(convert, tmp_path):
    rows = "".join(f'{{"key": "{key}", "headline": "x", "tags": {{}}}}\n' for key in "abc")
    schema = "news: {file: news.csv, id: key, title: headline, columns: [tags]}\n" + SHOWN_YAML.split("\n", 1)[1]
    with pytest.raises(RecommendersMinerError, match=r"^articles\.parquet: not writable \(.+tags.+\)"):
        convert(schema, articles=rows)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("in_news", ["1", "1.0"])
@pytest.mark.parametrize("in_events", ["1", "1.0", "1.000"])
def test_whole_numbers_that_a_csv_has_as_floats_are_the_same_ids(convert, in_news, in_events):
    rows, events = NEWS.replace("\na,", f"\n{in_news},"), SHOWN.replace(",a,", f",{in_events},").replace("ann", "7.0")
    assert shown(convert(events=events.replace(",p3", ",3.0"), articles=rows))[0] == {"1": 1, "b": 0}
    assert [user for _, user, *_ in impressions(convert(events=events, articles=rows, out="again"))] == [
        "7",
        "bob",
        "7",
    ]


def test_whole_numbers_that_parquet_has_as_floats_are_ids_and_a_missing_one_is_an_error(convert, failure):
    rows, events = NEWS.replace("\na,", "\n1,"), EVENT_TABLE.to_pylist()
    numbers = [{"a": 1.0, "b": 2.0, "c": 3.0}[event["article"]] for event in events]
    rows = rows.replace("\nb,", "\n2,").replace("\nc,", "\n3,")
    floats = EVENT_TABLE.set_column(2, "article", [pa.array(numbers, pa.float32())])
    folder = convert(events=floats, articles=rows, out="floats")
    assert shown(folder)[0] == {"1": 1, "2": 0}
    gap = EVENT_TABLE.set_column(2, "article", [pa.array([None, *numbers[1:]])])
    assert "events.csv, line 1: the article None" in failure(events=gap, articles=rows)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("part-*.csv", ["part-1.csv", "part-2.csv"]),
        ("part-?.csv.gz", ["part-1.csv.gz", "part-2.csv.gz"]),
        ("parts", ["parts/a.csv", "parts/day=2/b.csv"]),
        ("**/p.csv", ["x/p.csv", "y/z/p.csv"]),
        ("day=*", ["day=1/p.csv", "day=2/p.csv"]),
        ("[1].csv", ["[1].csv"]),
    ],
)
def test_a_pattern_or_a_folder_stands_for_its_files(convert, tmp_path, pattern, names):
    head, *rows = SHOWN.splitlines(keepends=True)
    for name, part in zip(names, (rows[:2], rows[2:]) if len(names) > 1 else (rows,), strict=True):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        content = (head + "".join(part)).encode()
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    if pattern == "parts":
        (tmp_path / "parts" / "_SUCCESS").touch()
        (tmp_path / "parts" / ".a.csv.crc").write_bytes(b"x")
    assert shown(convert(SHOWN_YAML.replace("file: events.csv", f"file: '{pattern}'"), out="out")) == CANDIDATES


@pytest.mark.parametrize(
    "form",
    [
        *("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S.123", "%Y-%m-%d %H:%M:%S.123456 UTC", "%Y-%m-%d %H:%M:%S UTC"),
        *("%m/%d/%Y %I:%M:%S %p", "%Y-%m-%d %I:%M:%S %p", "%Y/%m/%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S+0000"),
    ],
)
def test_times_in_forms_that_can_mean_one_thing_are_read(convert, form):
    expected = [time for _, _, time, *_ in impressions(convert())]
    events = re.sub(r"2024-[^,]+", lambda text: f"{datetime.fromisoformat(text[0]):{form}}", SHOWN)
    assert [time for _, _, time, *_ in impressions(convert(events=events, out="again"))] == expected
    if ":%S " in form or form.endswith("%S"):
        events = re.sub(r":\d\d([ ,])", r"\1", events)  # without seconds
        assert {time % 60 for _, _, time, *_ in impressions(convert(events=events, out="minutes"))} == {0}


# === Further columns ===


def test_published_and_further_columns_stand_in_articles_parquet(convert, tmp_path):
    schema = SHOWN_YAML.replace("published: online", "published: online, columns: [section, body]")
    articles_csv = "key,headline,section,teaser,online,body\na,A,local,,2024-03-01,Long\nb,B,,,,\nc,C,x,,2024-03-02,\n"
    folder = convert(schema, articles=articles_csv)
    expected = {
        "a": {"published": MARCH_1, "section": "local", "body": "Long"},
        "b": {"published": None, "section": None, "body": None},
        "c": {"published": MARCH_1 + 24 * 3600, "section": "x", "body": None},
    }
    assert articles(folder) == expected
    split_by_time(folder, tmp_path / "data", dev_share=0.34)
    assert articles(tmp_path / "data" / "dev") == expected


def test_further_columns_of_parquet_keep_their_types(convert, failure, tmp_path):
    schema = SHOWN_YAML.replace("published: online", "columns: [premium, score, tags]")
    columns = {"key": ["a", "b", "c"], "headline": ["x"] * 3, "section": ["y"] * 3, "teaser": ["z"] * 3}
    columns |= {"premium": [True, None, False], "score": [0.5, 1.5, None], "tags": [["t"], [], None]}
    folder = convert(schema, articles=pa.table(columns))
    assert articles(folder)["a"] == {"premium": True, "score": 0.5, "tags": ["t"]}
    assert articles(folder)["c"] == {"premium": False, "score": None, "tags": None}
    pq.write_table(pa.table(columns | {"score": ["high"] * 3}), tmp_path / "more.parquet")
    schema = schema.replace("news.csv", "[news.csv, more.parquet]")
    with pytest.raises(DataFormatError, match=r"more\.parquet: columns have other types in other files"):
        convert(schema, articles=pa.table(columns), out="again")


# === Clicks only ===


def test_clicks_get_negatives_that_the_user_does_not_click_on(convert, tmp_path):
    folder = convert(CLICKS_YAML, CLICKS, negatives=Negatives(count=2, draw="uniform", seed=7))
    assert [(user, history, candidates) for _, user, _, history, candidates in impressions(folder)] == [
        ("ann", [], {"a": 1, "c": 0}),  # b is ann's later
        ("bob", [], {"b": 1, "a": 0, "c": 0}),
        ("cid", [], {"c": 1, "a": 0, "b": 0}),
        ("ann", ["a"], {"b": 1, "c": 0}),
    ]
    assert convert.counts.counts["all"]["repeated clicks left out"] == 1
    described = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert described["negatives"] == {"count": 2, "window_hours": 24.0, "draw": "uniform", "seed": 7}
    assert described["counts"]["all"]["impressions"] == 4


LATE = NEWS.replace("2024-03-01 08:00:00", "2024-03-05 08:00:00")


@pytest.mark.parametrize(
    ("rows", "item", "expected"),
    [
        (NEWS.replace("2024-03-01 10:00:00+01:00", "2024-03-02 11:30:00"), "c", [False, False, True, True]),
        (NEWS.replace("2024-03-01T09:00:00Z", ""), "b", [False, True, True, True]),  # since its first click
        (LATE, "a", [True, False, False, False]),
    ],
)
def test_an_article_is_no_negative_before_it_is_published(convert, rows, item, expected):
    assert [item in candidates for candidates in shown(convert(CLICKS_YAML, CLICKS, rows))] == expected


# === Errors ===

OF_BOB = "bob,2024-03-02 11:00:00,c,"


@pytest.mark.parametrize(
    ("good", "bad", "says"),
    [
        (OF_BOB, "bob,yesterday,c,", "column 'when': 'yesterday' is not a time"),
        (OF_BOB, "bob,1969-12-31 23:59:59,c,", "is not a time from 1970"),
        (OF_BOB, ",2024-03-02 11:00:00,c,", "the user id, column 'reader', is empty"),
        (OF_BOB, '"b\tob",2024-03-02 11:00:00,c,', "'b\\tob'"),
        ("11:00:00,c,", "11:00:00,z,", "the article 'z', column 'article', is not among the news"),
        ("c,false", "c,maybe", "column 'hit': expected 1 or 0, true or false, got 'maybe'"),
        ("c,false,p2", "c,false,", "the impression id, column 'page', is empty"),
        ("c,false,p2", "c,false,p2,9", "expected 5 columns, as in the header, got 6"),
        ("c,false,p2", 'c,"false"x,p2', "not readable as CSV"),
    ],
)
def test_a_bad_event_is_named_with_its_line_or_left_out_and_counted(convert, failure, caplog, good, bad, says):
    events = SHOWN.replace(good, bad, 1)
    message = failure(events=events)
    assert "events.csv, line 4: " in message
    assert says in message
    assert shown(convert(events=events, on_error="skip")) == [{"a": 1, "b": 0}, {"a": 1}, {"c": 1, "b": 0}]
    [reasons] = convert.counts.left_out.values()
    assert list(reasons.values()) == [1]
    assert "line 4" in caplog.text


@pytest.mark.parametrize(
    ("good", "bad", "says"),
    [
        ("b,Owls", ",Owls", "the news id, column 'key', is empty"),
        ("b,Owls", "b c,Owls", "holds a space, tab, line end or the like: 'b c'"),
        ("b,Owls", "a,Owls", "the news id 'a', column 'key', came before with another content"),
        ("2024-03-01T09:00:00Z", "1 March", "column 'online': '1 March' is not a time"),
    ],
)
def test_a_bad_article_is_named_with_its_line(convert, failure, good, bad, says):
    rows = NEWS.replace(good, bad)
    message = failure(articles=rows)
    assert "news.csv, line 4: " in message  # the first article takes two lines
    assert says in message
    assert sorted(news(convert(articles=rows, on_error="skip"))) == ["a", "c"]
    assert len(convert.counts.left_out) == 2  # the article, and the events of it


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"articles": NEWS.encode().replace(b"Kiln", b"K\xefln")}, "news.csv, line 5: the line is not valid UTF-8"),
        (
            {"schema": SHOWN_YAML.replace("article,", "artikel,")},
            "events.csv: there is no column 'artikel'; the columns are 'reader', 'when', 'article', 'hit', 'page'. "
            "Did you mean 'article'?",
        ),
        ({"schema": SHOWN_YAML.replace("events.csv", "x" * 300)}, "the path cannot be used (File name too long)"),
        ({"schema": NO_PAGES, "events": SHOWN.replace("page", "reader")}, "there are 2 columns 'reader'"),
        (
            {"events": SHOWN.replace(",0,", ",1,").replace("false", "1")},
            "nothing was shown and passed over. Leave 'clicked' and 'impression' out",
        ),
        *(({"events": text}, "events.csv") for text in ("", "\n\n", SHOWN[:29], "PAR1 and no more")),
        ({"events": SHOWN.replace(",", ";")}, 'Is the separator another one? separator: ";"'),
        ({"events": gzip.compress(SHOWN.encode())[:-9]}, "events.csv: is packed, and damaged: Compressed file ended"),
        ({"events": gzip.compress(bytes(257) + b"ustar")}, "is an archive. Unpack it: tar -xf events.csv"),
        ({"events": SHOWN.encode("utf-16")}, "is UTF-16; expected a CSV file with a header"),
        ({"events": zipped(SHOWN)}, "events.csv: is a zip file or a spreadsheet; expected a CSV file"),
        ({"articles": zipped(NEWS)}, "Unpack the zip file: unzip news.csv"),
        ({"events": b"\x28\xb5\x2f\xfd" + b"x" * 20}, "is packed by zstd"),
        ({"events": pickle.dumps([1])}, "is a pickle of Python"),
        ({"events": LINES + '{"reader": 1,\n'}, "events.csv, line 7: the line is not readable as JSON"),
        ({"events": LINES + '"ann"\n'}, "events.csv, line 7: the line is JSON, but no object"),
        ({"events": '{"reader": "ann",\n'}, "events.csv, line 1: the line is not readable as JSON"),
        ({"events": '{"reader": "ann"}\n3\n'}, "there is no column 'when'; the columns are 'reader'"),
        ({"events": "[3"}, "events.csv: there is no column"),  # of a CSV
        ({"events": '[{"reader": 3}'}, "events.csv: is not readable as JSON"),
        ({"events": '[{"reader": 3}, 4]'}, "is a list of JSON, but not of objects"),
        ({"events": b"ARROW1\0\0" + b"x" * 20}, "events.csv: is not readable as Arrow: "),
        ({"schema": SHOWN_YAML.replace("events.csv", "none-*.csv")}, "events: file: there is no file "),
    ],
)
def test_files_that_cannot_be_read_are_errors(failure, files, says):
    assert says in failure(**files)


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        ("article", [1.5, None], "column 'article' holds double; ids are texts or whole numbers. Floats that are not"),
        (
            "article",
            [1.0, 2.0**53],
            "column 'article' holds double; ids are texts or whole numbers. Floats that are not",
        ),
        ("when", [True, False], "column 'when' holds bool"),
        ("when", [1, 2], "are numbers (int64), and their unit is not known. Say it: {column: when, unit: s}"),
        ("hit", [["a"], []], "column 'hit' holds list<"),
        ("hit", [1.0, None], "events.csv, line 2: column 'hit'"),
        (
            "reader",
            pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\1\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")),
            "events.csv: is not readable as Parquet: ",
        ),
    ],
)
def test_a_parquet_column_of_a_wrong_type_is_an_error(failure, column, values, says):
    good = {"reader": ["x", "y"], "when": ["2024-03-02"] * 2, "article": ["a", "b"], "hit": [1, 0], "page": [1, 1]}
    assert says in failure(events=pa.table(good | {column: values}))


def test_ids_that_look_like_labels_and_long_fields_are_kept(convert):
    rows, events = NEWS.replace("b,Owls", "a-1,Owls"), SHOWN.replace(",b,", ",a-1,")
    folder = convert(events=events, articles=rows.replace("An old one", "x" * 200_000))  # longer than csv expects
    assert shown(folder)[0] == {"a": 1, "a-1": 0}
    assert len(news(folder)["c"][3]) == 200_000


def test_a_column_of_parquet_without_a_value_is_missing_whatever_its_type(convert):
    rows = {"key": pa.array([1, 2, 3]).cast(pa.decimal128(19, 0)), "headline": ["x"] * 3, "teaser": ["y"] * 3}
    rows |= {"section": pa.nulls(3, pa.float64()), "online": pa.nulls(3, pa.string())}
    events = SHOWN.replace(",a,", ",1,").replace(",b,", ",2,").replace(",c,", ",3,")
    assert news(convert(events=events, articles=pa.table(rows)))["3"] == ("", "", "x", "y")


def test_a_folder_around_the_sources_is_not_replaced(convert, tmp_path):
    with pytest.raises(RecommendersMinerError, match="would take the place of its source"):
        convert(out=".", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.csv", "logs.yaml", "news.csv"]


# === The YAML file ===

NEWS_KEYS = {"file": "n.csv", "id": "key", "title": "headline"}
EVENT_KEYS = {"file": "e.csv", "user": "who", "time": "when", "news": "what"}


def read_schema(tmp_path, content):
    path = tmp_path / "logs.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return LogSchema.read(path)


def test_columns_are_read_and_files_stand_beside_the_yaml_and_what_is_optional_may_be_left_out(tmp_path):
    published = {"column": "online", "format": "%d.%m.%Y"}
    news = {"category": "c", "subcategory": None, "published": published, "columns": ["x", "x"]}
    events = {"file": ["/x/1.csv", "2.csv"], "time": {"column": "t", "unit": "ms"}, "clicked": "k", "impression": "i"}
    schema = read_schema(tmp_path, {"news": NEWS_KEYS | news, "events": EVENT_KEYS | events})
    assert schema.news.file == [tmp_path / "n.csv"]
    assert (schema.news.category, schema.news.subcategory, schema.news.columns) == ("c", None, ["x"])
    assert schema.news.published == TimeColumn(**published)
    assert [str(path) for path in schema.events.file] == ["/x/1.csv", str(tmp_path / "2.csv")]
    assert schema.events.time == TimeColumn(column="t", unit="ms")
    assert (schema.events.clicked, schema.events.impression) == ("k", "i")
    assert read_schema(tmp_path, {"news": NEWS_KEYS, "events": EVENT_KEYS}).events.time == TimeColumn(column="when")


@pytest.mark.parametrize(
    ("news", "events", "says"),
    [
        ({"titel": "x"}, {}, r"news: titel: there is no such key. Did you mean 'title'\?"),
        (
            {},
            {"time": {"column": "t", "units": "s"}},
            r"time: units: there is no such key. Did you mean 'unit'\?",
        ),
        ({}, {"time": {"unit": "s"}}, "events: time: column: the key is missing"),
        ({}, {"time": {"colum": "t"}}, r"events: time: colum: there is no such key\. Did you mean 'column'"),
        ({"id": 3}, {}, r"news: id: Input should be a valid string, got 3 \(int\)"),
        ({"id": ""}, {}, "news: id: .*, got ''"),
        ({"columns": ["body", "title"]}, {}, "news: columns: 'title' means something else in news.tsv"),
        ({"file": []}, {}, r"news: file: .*, got \[\]"),
        ({"separator": "::"}, {}, "news: separator: .*, got '::'"),
        (
            {},
            {"time": {"column": "t", "unit": "h"}},
            "unit: Input should be 's', 'ms', 'us' or 'ns', got 'h'",
        ),
        ({}, {"time": {"column": "t", "unit": "s", "format": "%Y"}}, "a format or a unit, not both"),
        ({}, {"impression": "i"}, "nothing says which of its rows were clicked on"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path, news, events, says):
    with pytest.raises(DataFormatError, match=rf"logs\.yaml: .*{says}"):
        read_schema(tmp_path, {"news": NEWS_KEYS | news, "events": EVENT_KEYS | events})


@pytest.mark.parametrize(
    "content", ["", "[", "- 1", "news: {}", "!!python/object/apply:os.system ['echo no']", "news: 1\nevents: 2"]
)
def test_what_is_no_such_file_is_an_error(tmp_path, content):
    with pytest.raises(DataFormatError, match=r"logs\.yaml"):
        read_schema(tmp_path, content)
