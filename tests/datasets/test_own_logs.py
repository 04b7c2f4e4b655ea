"""One's own logs, as CSV and Parquet, with impressions and without, read back as the package reads MIND."""

import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommenders_miner.data.split import split_by_time
from recommenders_miner.datasets import Negatives, convert_own_logs
from recommenders_miner.datasets import columns as column_files
from recommenders_miner.errors import DataFormatError, RecommendersMinerError
from tests.datasets.read_back import impressions, news, read_back

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
news:
  file: news.csv
  id: key
  title: headline
  category: section
  abstract: teaser
  published: online
"""
SHOWN_YAML = (
    NEWS_YAML + "events: {file: events.csv, user: reader, time: when, news: article, clicked: hit, impression: page}\n"
)
CLICKS_YAML = NEWS_YAML + "events: {file: events.csv, user: reader, time: {column: when, unit: s}, news: article}\n"


@pytest.fixture
def logs(tmp_path):
    """Writes the files; gives the path of the YAML file and that of the folder to write."""

    def write(schema=SHOWN_YAML, events=SHOWN, articles=NEWS):
        for name, content in (("news.csv", articles), ("events.csv", events), ("logs.yaml", schema)):
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / "logs.yaml", tmp_path / "out"

    return write


def failure(schema, out, **options):
    with pytest.raises(DataFormatError) as caught:
        convert_own_logs(schema, out, **options)
    assert not out.exists()
    return str(caught.value)


# === Impressions ===


def test_rows_of_an_impression_become_a_line_with_the_users_earlier_clicks(logs):
    schema, out = logs()
    conversion = convert_own_logs(schema, out)
    noon = 1709380800
    assert impressions(out / "all") == [
        (1, "ann", noon - 7200, [], {"a": 1, "b": 0}),
        (2, "bob", noon - 3600, [], {"c": 0, "a": 1}),
        (3, "ann", noon, ["a"], {"c": 1, "b": 0}),
    ]
    assert conversion.counts["all"] == {
        "news": 3,
        "users": 2,
        "impressions": 3,
        "candidates": 6,
        "clicks": 3,
        "impressions without a click": 0,
        "impressions without a negative": 0,
    }


def test_texts_lose_tabs_and_line_ends_and_nothing_else(logs):
    schema, out = logs()
    convert_own_logs(schema, out)
    assert news(out / "all") == {
        "a": ("local", "", 'Harbour "reopens", twice', "Two lines and a tab"),
        "b": ("nature", "", "Owls return", ""),
        "c": ("nature", "", "Kiln found", "An old one"),
    }


def test_times_are_written_by_minds_clock(logs):
    schema, out = logs(events=SHOWN.replace("10:00:00", "00:00:05").replace("12:00:00", "12:30:00"))
    convert_own_logs(schema, out)
    written = [line.split("\t")[2] for line in (out / "all" / "behaviors.tsv").read_text().splitlines()]
    assert written == ["3/2/2024 12:00:05 AM", "3/2/2024 11:00:00 AM", "3/2/2024 12:30:00 PM"]


def test_without_a_column_of_impressions_rows_of_one_user_and_second_belong_together(logs):
    schema, out = logs(SHOWN_YAML.replace(", impression: page", ""))
    convert_own_logs(schema, out)
    assert [(user, shown) for _, user, _, _, shown in impressions(out / "all")] == [
        ("ann", {"a": 1}),
        ("ann", {"b": 0}),
        ("bob", {"c": 0, "a": 1}),
        ("ann", {"c": 1, "b": 0}),
    ]


def test_an_impression_id_that_two_users_have_is_two_impressions(logs):
    schema, out = logs(events=SHOWN.replace("p2", "p1"))
    convert_own_logs(schema, out)
    assert [user for _, user, *_ in impressions(out / "all")] == ["ann", "bob", "ann"]


def test_a_news_twice_in_an_impression_is_one_candidate_clicked_if_one_row_is(logs):
    schema, out = logs(events=SHOWN + "ann,2024-03-02 12:00:09,b,1,p3\n")
    convert_own_logs(schema, out)
    assert impressions(out / "all")[2][4] == {"c": 1, "b": 1}


def test_a_click_of_the_same_second_is_not_past(logs):
    schema, out = logs(events=SHOWN.replace("12:00:00", "10:00:00"))
    convert_own_logs(schema, out)
    assert [history for _, user, _, history, _ in impressions(out / "all") if user == "ann"] == [[], []]


def test_a_click_is_as_old_as_the_row_that_says_so(logs, tmp_path):
    """Shown at 10:00 and clicked on at 10:05, a news is in no history of 10:02, nor after the log is split."""
    shown = "ann,2024-03-02 10:00:00,a,0,p1\nann,2024-03-02 10:00:00,b,0,p1\n"
    other = "ann,2024-03-02 10:02:00,a,0,p2\nann,2024-03-02 10:02:00,c,0,p2\n"
    clicked = "ann,2024-03-02 10:05:00,a,1,p1\nann,2024-03-02 10:06:00,a,1,p2\n"
    later = "ann,2024-03-02 10:07:00,b,1,p3\nann,2024-03-02 10:07:00,c,0,p3\n"
    schema, out = logs(events=SHOWN.splitlines()[0] + "\n" + shown + other + clicked + later)
    convert_own_logs(schema, out)
    split_by_time(out / "all", tmp_path / "data", dev_share=0.3)
    histories = [history for _, _, _, history, _ in impressions(out / "all")]
    assert histories == [[], [], ["a", "a"]]
    splits = [impressions(tmp_path / "data" / split) for split in ("train", "dev")]
    assert histories == [history for split in splits for _, _, _, history, _ in split]


def test_histories_can_be_cut_to_the_newest_clicks(logs, tmp_path):
    schema, out = logs(events=SHOWN + "ann,2024-03-02 13:00:00,a,1,p4\nann,2024-03-02 13:00:00,b,0,p4\n")
    convert_own_logs(schema, out, max_history=1)
    assert [history for _, _, _, history, _ in impressions(out / "all")] == [[], [], ["a"], ["c"]]
    with pytest.raises(ValueError, match="max_history"):
        convert_own_logs(schema, tmp_path / "again", max_history=-1)


def test_of_a_log_without_slates_little_can_be_learnt_and_a_warning_says_so(logs, caplog):
    schema, out = logs(SHOWN_YAML.replace(", impression: page", ""), SHOWN.replace("11:00:00,a", "11:00:02,a"))
    convert_own_logs(schema, out)
    assert "lack a click, or a news that was passed over" in caplog.text
    assert "'impression'" in caplog.text


@pytest.mark.parametrize("batch_rows", [1, 2, 50_000])
def test_the_size_of_batches_does_not_matter(logs, monkeypatch, batch_rows):
    monkeypatch.setattr(column_files, "BATCH_ROWS", batch_rows)
    schema, out = logs()
    convert_own_logs(schema, out)
    assert [shown for *_, shown in impressions(out / "all")] == [{"a": 1, "b": 0}, {"c": 0, "a": 1}, {"c": 1, "b": 0}]


def test_parquet_gives_the_same_as_csv(logs, tmp_path):
    schema, out = logs()
    convert_own_logs(schema, out)
    times = pa.array([0, 1, 3600, 3600, 7200, 7200]).cast(pa.int64())
    rows = pa.table(
        {
            "reader": pa.array(["ann", "ann", "bob", "bob", "ann", "ann"]).dictionary_encode(),
            "when": pa.array(times.to_numpy() + 1709373600).cast(pa.timestamp("s")).cast(pa.timestamp("ns", "UTC")),
            "article": ["a", "b", "c", "a", "c", "b"],
            "hit": [True, False, False, True, True, False],
            "page": pa.array([1, 1, 2, 2, 3, 3], pa.int16()),
            "unused": [None] * 6,
        }
    )
    pq.write_table(rows, tmp_path / "events.csv", row_group_size=2)  # the name does not matter
    convert_own_logs(schema, tmp_path / "again")
    for name in ("news.tsv", "behaviors.tsv"):
        assert (tmp_path / "again" / "all" / name).read_bytes() == (out / "all" / name).read_bytes()


def test_slates_with_long_ids_that_parquet_stores_once_are_read(logs, tmp_path):
    """Of 40 rows of a slate, the ids of the user and of the impression take next to nothing in the file."""
    slates, size = 500, 40
    ids = np.repeat([f"{k:036d}" for k in range(slates)], size)
    rows = {"reader": ids, "page": ids, "article": np.resize(["a", "b"], slates * size)}
    rows |= {"when": np.full(slates * size, "2024-03-02 10:00:00"), "hit": np.resize([1, 0], slates * size)}
    schema, out = logs()
    pq.write_table(pa.table(rows), tmp_path / "events.csv", compression="zstd")
    assert (tmp_path / "events.csv").stat().st_size < slates * size
    assert convert_own_logs(schema, out).counts["all"]["impressions"] == slates


def test_texts_that_parquet_stores_once_are_written_out_some_at_a_time(logs, tmp_path, monkeypatch):
    monkeypatch.setattr(column_files, "_BYTES_OF_TEXT", 5)
    schema, out = logs()
    convert_own_logs(schema, out)
    header, *rows = [line.split(",") for line in SHOWN.splitlines()]
    columns = dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(pa.table(columns), tmp_path / "events.csv")
    convert_own_logs(schema, tmp_path / "again")
    assert impressions(tmp_path / "again" / "all") == impressions(out / "all")


def test_several_files_are_read_one_behind_another(logs, tmp_path):
    head, *rows = SHOWN.splitlines(keepends=True)
    schema, out = logs(SHOWN_YAML.replace("events.csv", "[events.csv, more.csv]"), events=head + "".join(rows[:3]))
    (tmp_path / "more.csv").write_text(head + "".join(rows[3:]))
    convert_own_logs(schema, out)
    assert [shown for *_, shown in impressions(out / "all")] == [{"a": 1, "b": 0}, {"c": 0, "a": 1}, {"c": 1, "b": 0}]


def test_another_separator_and_a_byte_order_mark(logs):
    events = "\ufeff" + SHOWN.replace(",", ";")
    schema, out = logs(SHOWN_YAML.replace("events.csv,", 'events.csv, separator: ";",'), events=events)
    convert_own_logs(schema, out)
    assert len(impressions(out / "all")) == 3


def test_the_result_can_be_split_by_time(logs, tmp_path):
    schema, out = logs()
    convert_own_logs(schema, out)
    split_by_time(out / "all", tmp_path / "data", dev_share=0.34)
    assert impressions(tmp_path / "data" / "dev") == [(3, "ann", 1709380800, ["a"], {"c": 1, "b": 0})]


# === Clicks only ===


def test_clicks_get_negatives_that_the_user_does_not_click_on(logs):
    schema, out = logs(CLICKS_YAML, CLICKS)
    conversion = convert_own_logs(schema, out)
    found = impressions(out / "all")
    assert [(user, history) for _, user, _, history, _ in found] == [
        ("ann", []),
        ("bob", []),
        ("cid", []),
        ("ann", ["a"]),
    ]
    assert [shown for *_, shown in found] == [
        {"a": 1, "c": 0},  # b is ann's later
        {"b": 1, "a": 0, "c": 0},
        {"c": 1, "a": 0, "b": 0},
        {"b": 1, "c": 0},
    ]
    assert conversion.counts["all"]["repeated clicks left out"] == 1


def test_a_news_that_is_not_published_yet_is_no_negative(logs):
    schema, out = logs(CLICKS_YAML, CLICKS, NEWS.replace("2024-03-01 10:00:00+01:00", "2024-03-02 11:30:00"))
    convert_own_logs(schema, out)
    assert ["c" in shown for *_, shown in impressions(out / "all")] == [False, False, True, True]


def test_a_click_without_negatives_is_kept_and_counted(logs):
    schema, out = logs(CLICKS_YAML, "reader,when,article\nann,1709373600,a\n")
    conversion = convert_own_logs(schema, out)
    assert impressions(out / "all") == [(1, "ann", 1709373600, [], {"a": 1})]
    assert conversion.counts["all"]["impressions without a negative"] == 1


def test_the_settings_stand_beside_the_data(logs):
    schema, out = logs(CLICKS_YAML, CLICKS)
    convert_own_logs(schema, out, Negatives(count=2, draw="uniform", seed=7))
    described = json.loads((out / "conversion.json").read_text())
    assert described["negatives"] == {"count": 2, "window_hours": 24.0, "draw": "uniform", "seed": 7}
    assert described["counts"]["all"]["impressions"] == 4


# === Faults ===


@pytest.mark.parametrize(
    ("good", "bad", "line", "says"),
    [
        ("bob,2024-03-02 11:00:00,c,", "bob,yesterday,c,", 4, "column 'when': 'yesterday' is not a time"),
        ("bob,2024-03-02 11:00:00,c,", "bob,,c,", 4, "column 'when': '' is not a time"),
        ("bob,2024-03-02 11:00:00,c,", "bob,1969-12-31 23:59:59,c,", 4, "is not a time from 1970"),
        ("bob,2024-03-02 11:00:00,c,", "bob,2024-02-30 11:00:00,c,", 4, "'2024-02-30 11:00:00' is not a time"),
        ("bob,2024-03-02 11:00:00,c,", ",2024-03-02 11:00:00,c,", 4, "the user id, column 'reader', is empty"),
        ("bob,2024-03-02 11:00:00,c,", '"b\tob",2024-03-02 11:00:00,c,', 4, "'b\\tob'"),
        ("11:00:00,c,", "11:00:00,z,", 4, "the news 'z', column 'article', is not among the news"),
        ("c,false", "c,maybe", 4, "column 'hit': expected 1 or 0, true or false, got 'maybe'"),
        ("c,false,p2", "c,false,", 4, "column 'page': the impression id is empty"),
        ("c,false,p2", "c,false,p2,9", 4, "expected 5 columns, as in the header, got 6"),
        ("c,false,p2", 'c,"false"x,p2', 4, "not readable as CSV"),
    ],
)
def test_a_faulty_event_is_named_with_its_line_or_left_out_and_counted(logs, caplog, good, bad, line, says):
    schema, out = logs(events=SHOWN.replace(good, bad, 1))
    message = failure(schema, out)
    assert f"events.csv, line {line}: " in message
    assert says in message
    conversion = convert_own_logs(schema, out, on_error="skip")
    assert [shown for *_, shown in impressions(out / "all")] == [{"a": 1, "b": 0}, {"a": 1}, {"c": 1, "b": 0}]
    [reasons] = conversion.left_out.values()
    assert list(reasons.values()) == [1]
    assert f"line {line}" in caplog.text


@pytest.mark.parametrize(
    ("good", "bad", "line", "says"),
    [
        ("b,Owls", ",Owls", 4, "the news id, column 'key', is empty"),
        ("b,Owls", "b c,Owls", 4, "holds a space, tab, line end or the like: 'b c'"),
        ("b,Owls", "a,Owls", 4, "the news id 'a', column 'key', came before with another content"),
        ("2024-03-01T09:00:00Z", "1 March", 4, "column 'online': '1 March' is not a time"),
    ],
)
def test_a_faulty_news_is_named_with_its_line(logs, good, bad, line, says):
    schema, out = logs(articles=NEWS.replace(good, bad))
    message = failure(schema, out)
    assert f"news.csv, line {line}: " in message  # the first news takes two lines
    assert says in message
    conversion = convert_own_logs(schema, out, on_error="skip")
    assert sorted(news(out / "all")) == ["a", "c"]
    assert len(conversion.left_out) == 2  # the news, and the events of it


@pytest.mark.parametrize("batch_rows", [1, 4, 50_000])
def test_a_news_that_is_there_twice_with_the_same_content_counts_once(logs, monkeypatch, batch_rows):
    monkeypatch.setattr(column_files, "BATCH_ROWS", batch_rows)
    schema, out = logs(articles=NEWS + NEWS.split("\n", 1)[1])
    convert_own_logs(schema, out)
    assert sorted(news(out / "all")) == ["a", "b", "c"]


def test_an_unknown_time_of_publication_is_no_fault(logs):
    schema, out = logs(CLICKS_YAML, CLICKS, NEWS.replace("2024-03-01T09:00:00Z", ""))
    convert_own_logs(schema, out)
    assert impressions(out / "all")[1][4] == {"b": 1, "a": 0, "c": 0}


def test_bytes_that_are_not_utf8_are_named_with_their_line(logs):
    schema, out = logs(articles=NEWS.encode().replace(b"Kiln", b"K\xefln"))
    assert "news.csv, line 5: the line is not valid UTF-8" in failure(schema, out)


def test_a_missing_column_is_an_error_that_names_the_nearest(logs):
    schema, out = logs(SHOWN_YAML.replace("article,", "artikel,"))
    message = failure(schema, out)
    assert "events.csv: there is no column 'artikel'" in message
    assert "'reader', 'when', 'article', 'hit', 'page'" in message
    assert "Did you mean 'article'?" in message


def test_a_column_that_is_there_twice_is_an_error(logs):
    schema, out = logs(SHOWN_YAML.replace(", impression: page", ""), SHOWN.replace("page\n", "reader\n", 1))
    assert "there are 2 columns 'reader'" in failure(schema, out)


def test_ids_that_a_label_could_be_mistaken_in_are_refused(logs):
    schema, out = logs(articles=NEWS.replace("b,Owls", "a-1,Owls"), events=SHOWN.replace(",b,", ",a-1,"))
    assert "'a-1' and 'a' cannot both be" in failure(schema, out)


def test_an_id_that_only_looks_like_a_label_is_kept(logs):
    schema, out = logs(articles=NEWS.replace("b,Owls", "q-1,Owls"), events=SHOWN.replace(",b,", ",q-1,"))
    convert_own_logs(schema, out)
    assert impressions(out / "all")[0][4] == {"a": 1, "q-1": 0}


def test_a_log_where_everything_is_a_click_is_refused_with_the_way_out(logs):
    schema, out = logs(events=SHOWN.replace(",0,", ",1,").replace("false", "1"))
    assert "nothing was shown and passed over. Leave 'clicked' and 'impression' out" in failure(schema, out)
    schema, out = logs(events=SHOWN.replace(",1,", ",0,").replace("TRUE", "0"))
    assert "no event is a click" in failure(schema, out)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"reader,when,article,hit,page\n", b"PAR1", b"PAR1 and no more"])
def test_files_without_events_are_errors(logs, content):
    schema, out = logs(events=content)
    assert "events.csv" in failure(schema, out)


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        ("article", [1.0, None], "column 'article' holds double; ids are texts or whole numbers. pandas makes floats"),
        ("when", [True, False], "column 'when' holds bool"),
        ("when", [1, 2], "are numbers (int64), and their unit is not known. Say it: {column: when, unit: s}"),
        ("hit", [["a"], []], "column 'hit' holds list<"),
    ],
)
def test_a_parquet_column_of_a_wrong_type_is_an_error(logs, tmp_path, column, values, says):
    schema, out = logs()
    good = {"reader": ["x", "y"], "when": ["2024-03-02"] * 2, "article": ["a", "b"], "hit": [1, 0], "page": [1, 1]}
    pq.write_table(pa.table(good | {column: values}), tmp_path / "events.csv")
    assert says in failure(schema, out)


def test_a_parquet_text_that_is_not_utf8_is_an_error(logs, tmp_path):
    schema, out = logs()
    broken = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff"))
    pq.write_table(
        pa.table({"key": ["a"], "headline": broken, "section": ["x"], "teaser": ["y"]}), tmp_path / "n.parquet"
    )
    schema.write_text(SHOWN_YAML.replace("news.csv", "n.parquet").replace("  published: online\n", ""))
    assert "n.parquet: is not readable as Parquet: " in failure(schema, out)


def test_truth_values_with_gaps_are_read_as_pandas_writes_them(logs, tmp_path):
    schema, out = logs()
    rows = {"reader": ["x"] * 3, "when": ["2024-03-02"] * 3, "article": ["a", "b", "c"], "page": [1] * 3}
    pq.write_table(pa.table(rows | {"hit": [1.0, 0.0, None]}), tmp_path / "events.csv")
    assert "events.csv, line 3: column 'hit'" in failure(schema, out)
    convert_own_logs(schema, out, on_error="skip")
    assert impressions(out / "all")[0][4] == {"a": 1, "b": 0}


def test_flags_that_pandas_wrote_as_numbers_are_read(logs):
    schema, out = logs(events=SHOWN.replace(",1,p", ",1.0,p").replace(",0,p", ",0.0,p"))
    convert_own_logs(schema, out)
    assert impressions(out / "all")[0][4] == {"a": 1, "b": 0}


def test_fields_longer_than_csv_expects_are_read(logs):
    schema, out = logs(articles=NEWS.replace("An old one", "x" * 200_000))
    convert_own_logs(schema, out)
    assert len(news(out / "all")["c"][3]) == 200_000


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace(",", ";").encode(), 'Is the separator another one? separator: ";"'),
        (lambda text: text.replace(",", "\t").encode(), 'Is the separator another one? separator: "\\t"'),
        (lambda text: gzip.compress(text.encode()), "is packed by gzip. Unpack it: gunzip events.csv"),
        (lambda text: text.encode("utf-16"), "is UTF-16. Convert it to UTF-8"),
    ],
)
def test_what_is_no_csv_as_was_said_is_told(logs, change, says):
    schema, out = logs(events=change(SHOWN))
    assert says in failure(schema, out)


def test_a_tab_as_separator_needs_no_quotes_in_the_yaml(logs):
    schema, out = logs(SHOWN_YAML.replace("events: {file", "events: {separator: \\t, file"), SHOWN.replace(",", "\t"))
    convert_own_logs(schema, out)
    assert len(impressions(out / "all")) == 3


def test_a_column_of_parquet_without_a_value_is_missing_whatever_its_type(logs, tmp_path):
    schema, out = logs()
    articles = {"key": pa.array([1, 2, 3]).cast(pa.decimal128(19, 0)), "headline": ["x"] * 3, "teaser": ["y"] * 3}
    articles |= {"section": pa.nulls(3, pa.float64()), "online": pa.nulls(3, pa.string())}
    pq.write_table(pa.table(articles), tmp_path / "news.csv")
    (tmp_path / "events.csv").write_text(SHOWN.replace(",a,", ",1,").replace(",b,", ",2,").replace(",c,", ",3,"))
    convert_own_logs(schema, out)
    assert news(out / "all")["3"] == ("", "", "x", "y")


def test_a_news_that_came_out_twice_came_out_the_first_time(logs, tmp_path):
    again = 'a,"Harbour ""reopens"", twice",local,"Two\nlines\tand a tab",2024-02-01 08:00:00\n'
    late = NEWS.replace("2024-03-01 08:00:00", "2024-03-05 08:00:00")
    schema, out = logs(CLICKS_YAML, CLICKS, late)
    convert_own_logs(schema, out)
    logs(CLICKS_YAML, CLICKS, late + again)
    convert_own_logs(schema, tmp_path / "again")
    negatives = [
        {item for *_, shown in impressions(folder / "all") for item, label in shown.items() if not label}
        for folder in (out, tmp_path / "again")
    ]
    assert "a" not in negatives[0]
    assert "a" in negatives[1]


# === The folder ===


def test_an_earlier_conversion_is_replaced_and_nothing_else_is(logs):
    schema, out = logs()
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(RecommendersMinerError, match="holds something else than an earlier conversion"):
        convert_own_logs(schema, out)
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]
    (out / "thesis.txt").unlink()
    convert_own_logs(schema, out)
    schema, out = logs(events=SHOWN.rsplit("ann", 2)[0])
    convert_own_logs(schema, out)
    assert len(impressions(out / "all")) == 2


def test_after_a_fault_the_earlier_conversion_stands_and_nothing_half_written(logs, tmp_path):
    schema, out = logs()
    convert_own_logs(schema, out)
    before = (out / "all" / "behaviors.tsv").read_bytes()
    logs(events=SHOWN.replace("TRUE", "what"))
    with pytest.raises(DataFormatError):
        convert_own_logs(schema, out)
    assert (out / "all" / "behaviors.tsv").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.csv", "logs.yaml", "news.csv", "out"]


# === Any log ===

texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
event = st.tuples(st.integers(0, 3), st.integers(0, 20), st.integers(0, 4), st.booleans(), st.integers(0, 3))


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(titles=st.lists(texts, min_size=5, max_size=5), events=st.lists(event, min_size=1, max_size=25))
def test_any_log_is_read_back_without_loss_and_without_a_look_ahead(tmp_path, titles, events):
    pq.write_table(pa.table({"id": list(range(5)), "title": titles}), tmp_path / "news.parquet")
    columns = dict(zip(["user", "time", "news", "clicked", "page"], map(list, zip(*events, strict=True)), strict=True))
    pq.write_table(pa.table(columns), tmp_path / "events.parquet")
    (tmp_path / "logs.yaml").write_text(
        "news: {file: news.parquet, id: id, title: title}\n"
        "events: {file: events.parquet, user: user, time: {column: time, unit: s}, news: news, clicked: clicked,"
        " impression: page}\n"
    )
    if len(set(columns["clicked"])) == 1:
        with pytest.raises(DataFormatError, match=r"every event is a click|no event is a click"):
            convert_own_logs(tmp_path / "logs.yaml", tmp_path / "out")
        return
    convert_own_logs(tmp_path / "logs.yaml", tmp_path / "out")
    written, log = read_back(tmp_path / "out" / "all")
    plain = [" ".join(filter(None, title.replace("\t", "\n").splitlines())) for title in titles]
    assert ["".join(title.split()) for title in written.title.to_pylist()[1:]] == ["".join(t.split()) for t in plain]

    pages = {}
    for user, time, item, clicked, page in events:
        first, shown = pages.setdefault((page, user), [time, {}])
        pages[page, user][0] = min(first, time)
        shown[str(item)] = max(shown.get(str(item), 0), int(clicked))
    found = impressions(tmp_path / "out" / "all")
    key = lambda page: (page[1], page[0], sorted(page[2].items()))  # noqa: E731
    expected = [(str(user), time, shown) for (_, user), (time, shown) in pages.items()]
    assert sorted([(u, t, s) for _, u, t, _, s in found], key=key) == sorted(expected, key=key)
    assert np.all(np.diff(log.time) >= 0)
    clicked_at = {}
    for user, time, item, clicked, page in events:
        if clicked:
            key = (str(user), page, str(item))
            clicked_at[key] = min(time, clicked_at.get(key, time))
    for _, user, time, history, _ in found:
        past = sorted(item for (who, _, item), when in clicked_at.items() if who == user and when < time)
        assert sorted(history) == past


def test_texts_in_arrows_newest_layout_are_read_as_others_are(logs, tmp_path):
    schema, out = logs()
    convert_own_logs(schema, out)
    header, *rows = [line.split(",") for line in SHOWN.splitlines()]
    columns = zip(header, zip(*rows, strict=True), strict=True)
    table = pa.table({name: pa.array(values).cast(pa.string_view()) for name, values in columns})
    pq.write_table(table, tmp_path / "events.csv")
    convert_own_logs(schema, tmp_path / "again")
    assert impressions(tmp_path / "again" / "all") == impressions(out / "all")
