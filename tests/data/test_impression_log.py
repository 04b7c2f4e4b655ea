import logging
from collections import Counter
from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommenders_miner.data import tsv
from recommenders_miner.data.behaviors import file_time, mind_times, parse_times, read_users, unix_seconds
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.errors import DataFormatError
from tests.data.written_log import DTYPES, NEWS, arrays_of, assert_same, impressions, line, read, seconds, write


def test_histories_are_complete_and_the_separator_is_free(tmp_path):
    log = read(write(tmp_path, line(history="N1  N2 N3 " * 200, separator=";")), separator=";")
    assert log.histories.values.tolist() == [1, 2, 3] * 200


@settings(deadline=None)
@given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31, 23, 59, 59)).map(lambda t: t.replace(microsecond=0)))
def test_any_time_is_written_as_mind_does_and_comes_back(time):
    half = "AM" if time.hour < 12 else "PM"
    written = mind_times(np.array([unix_seconds(time)]))
    assert written.to_pylist() == [f"{time.month}/{time.day}/{time.year} {time.hour % 12 or 12}:{time:%M:%S} {half}"]
    forms = [*written.to_pylist(), f"{time:%m/%d/%Y %I:%M:%S %p}", str(time), f"{time.isoformat()}.999Z", f"{time} UTC"]
    forms += [f"{time:%Y/%m/%d %I:%M:%S%p}", f"{time:%m/%d/%Y, %I:%M:%S.5 %p} GMT", f" {time}+00 ", f"{time} -0000"]
    assert parse_times(pa.chunked_array([forms])).tolist() == [unix_seconds(time)] * len(forms)
    assert unix_seconds(time) == seconds(*time.timetuple()[:6])
    assert file_time(np.int64(unix_seconds(time))) == time


@given(
    st.datetimes(datetime(1971, 1, 1), datetime(9998, 1, 1)).map(lambda t: t.replace(second=0, microsecond=0)),
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from(["{:+03d}:{:02d}", "{:+03d}{:02d}"]),
)
def test_a_time_with_a_zone_is_brought_to_utc_and_needs_no_seconds(time, minutes, form):
    hours, rest = divmod(abs(minutes), 60)
    zone = form.format(hours, rest).replace("+", "+" if minutes >= 0 else "-")
    forms = [f"{time:%Y-%m-%dT%H:%M}{zone}", f"{time:%m/%d/%Y %I:%M %p} {zone}", f"{time}.25 {zone}"]
    assert parse_times(pa.chunked_array([forms])).tolist() == [unix_seconds(time) - 60 * minutes] * 3


ERRORS = {
    "columns": ("1\tU1\tN1", r"expected 5 tab-separated columns \(impression id, .*impressions\), got 3"),
    "bad id": (line(number="x1"), "impression id 'x1' is not a non-negative integer"),
    "huge id": (line(number="9" * 30), "is not a non-negative integer"),
    "no user": (line(user=""), "the user id is empty"),
    "no time": (line(time=""), "expected a time like 11/12/2019 2:14:46 PM or 2019-11-12 14:14:46, got ''"),
    "24 hours": (line(time="11/12/2019 14:14:46 PM"), "got '11/12/2019 14:14:46 PM'"),
    "no half": (line(time="11/12/2019 2:14:46"), "expected a time"),
    "day first": (line(time="31/12/2019 2:14 PM"), "expected a time"),
    "zone by name": (line(time="2019-11-12 14:14:46 CET"), "expected a time"),
    "no clock": (line(time="2019-11-12"), "expected a time"),
    "no such day": (line(time="2/30/2020 2:14:46 AM"), "expected a time"),
    "no such ISO day": (line(time="2019-11-31 14:14:46"), "expected a time"),
    "short year": (line(time="11/12/19 2:14:46 PM"), "expected a time"),
    "no candidates": (line(""), "the impression has no candidates"),
    "spaces only": (line("  "), "the impression has no candidates"),
    "label 2": (line("N1-0 N2-2"), "the label after the last hyphen must be 0 or 1, got 'N2-2'"),
    "empty label": (line("N1-"), "must be 0 or 1, got 'N1-'"),
    "mixed": (line("N1-0 N2"), "some candidates of the impression have a label and some have none"),
    "other kind": (line("N1 N2"), "the impression has no labels, but those before it have them"),
    "unknown labelled": (
        line("N1-0 N9-1"),
        "the candidate 'N9-1' is not in the news table.*same split.*skip",
    ),
    "unknown plain": (line("N9"), "the candidate 'N9' is not in the news table"),
    "unknown history": (
        line(history="N1 N8 N9"),
        "the news 'N8' in the history is not in the news table.*same split",
    ),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_names_file_and_line_and_leaves_no_files(tmp_path, kind):
    bad, problem = ERRORS[kind]
    path = write(tmp_path, line(), line(number="2"), bad, line(number="4"))
    with pytest.raises(DataFormatError, match=problem) as caught:
        read(path, cache=True)
    assert (caught.value.path, caught.value.line) == (path, 3)
    assert str(caught.value).startswith(f"{path}, line 3: ")
    assert list(tmp_path.iterdir()) == [path]


def test_a_header_is_an_error_or_left_out(tmp_path):
    path = write(tmp_path, "impression_id\tuser_id\ttime\thistory\timpressions", line(), line(number="4"))
    with pytest.raises(DataFormatError, match=r"behaviors\.tsv, line 1: the line is a header .*skip"):
        read(path)
    log = read(path, on_error="skip")
    assert log.impression_id.tolist() == [1, 4]
    assert log.skipped.counts == {"header line": 1}


def test_labels_in_an_unlabelled_log_are_an_error(tmp_path):
    with pytest.raises(DataFormatError, match="line 2: the impression has labels, but those before it have none"):
        read(write(tmp_path, line("N1"), line("N1-0")))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    kinds=st.lists(st.sampled_from(list(ERRORS)), min_size=1, max_size=4),
    gap=st.integers(0, 2),
    block_bytes=st.sampled_from([1, 200, 2**20]),
)
def test_the_earliest_line_with_an_error_is_reported(tmp_path, block_bytes, kinds, gap):
    bad = [text for kind in kinds for text in [ERRORS[kind][0]] + [line()] * gap]
    path = write(tmp_path, line(), *bad)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tsv, "BLOCK_BYTES", block_bytes)
        with pytest.raises(DataFormatError, match=ERRORS[kinds[0]][1]) as caught:
            read(path)
    assert caught.value.line == 2


def test_a_file_without_a_usable_line_is_an_error(tmp_path):
    with pytest.raises(DataFormatError, match="no line could be used"):
        read(write(tmp_path, "x", line("N9-1")), cache=True, on_error="skip")
    with pytest.raises(DataFormatError, match="the file is empty; expected 5 tab-separated columns"):
        read(write(tmp_path), cache=True)
    assert [path.name for path in tmp_path.iterdir()] == ["behaviors.tsv"]


def test_skip_names_the_first_lines_of_each_reason(tmp_path, caplog):
    skipped = (ERRORS[kind][0] for kind in ("columns", "bad id", "no time"))
    path = write(tmp_path, line("N9-1 N2-1 N8-0", "N7 N1 N7"), *skipped, line("N1-0 N9-0", "N7 N1 N7", user="U2"))
    with caplog.at_level(logging.WARNING, logger="recommenders_miner"):
        log = read(path, on_error="skip")
    assert [entry[1:2] + entry[3:] for entry in impressions(log)] == [("U1", [1], [2], [1]), ("U2", [1], [1], [0])]
    assert log.skipped.lines == {
        "unknown news id among the candidates": [1, 5],
        "unknown news id in the history": [1, 5],
        "wrong number of columns": [2],
        "bad impression id": [3],
        "bad time": [4],
    }
    assert caplog.messages == [log.skipped.summary()]


ids = st.sampled_from(["N1", "N2", "N3", "N4-x"])
logs = st.booleans().flatmap(
    lambda labelled: st.lists(
        st.tuples(
            st.integers(0, 10**18 - 1),
            st.sampled_from(["U1", "U2", "Ü3", '"']),
            st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)),
            st.lists(ids, max_size=3),
            st.lists(st.tuples(ids, st.integers(0, 1) if labelled else st.none()), min_size=1, max_size=4),
        ),
        min_size=1,
        max_size=12,
    )
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    rows=logs,
    block_bytes=st.integers(1, 300),
    space=st.sampled_from([" ", "  "]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_any_log_equals_its_restatement_at_any_block_size(tmp_path, rows, block_bytes, space, end):
    lines = [
        line(
            space.join(news_id if label is None else f"{news_id}-{label}" for news_id, label in shown),
            space.join(history),
            str(number),
            user,
            f"{time.month}/{time.day}/{time.year} {time:%I:%M:%S %p}",
        )
        for number, user, time, history, shown in rows
    ]
    expected = [
        (
            number,
            user,
            seconds(*time.timetuple()[:6]),
            NEWS.rows(history).tolist(),
            NEWS.rows([news_id for news_id, _ in shown]).tolist(),
            [-1 if label is None else label for _, label in shown],
        )
        for number, user, time, history, shown in rows
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tsv, "BLOCK_BYTES", block_bytes)
        log = read(write(tmp_path, *lines, end=end))
    assert impressions(log) == expected
    assert {name: array.dtype for name, array in arrays_of(log).items()} == DTYPES
    assert not any(array.flags.writeable for array in arrays_of(log).values())
    assert (log.num_impressions, log.skipped) == (len(rows), None)
    assert f"ImpressionLog({len(rows)} {'labelled' if log.labelled else 'unlabelled'} impressions, " in repr(log)
    assert log.users.to_pylist() == list(dict.fromkeys(user for _, user, *_ in rows))
    distinct = list(dict.fromkeys(tuple(entry[3]) for entry in expected))
    assert [tuple(part.tolist()) for part in np.split(log.histories.values, log.histories.offsets[1:-1])] == distinct
    in_memory = ImpressionLog.from_columns(
        NEWS,
        histories=[history for *_, history, _ in rows],
        candidates=[[news_id for news_id, _ in shown] for *_, shown in rows],
        labels=[[label for _, label in shown] for *_, shown in rows] if log.labelled else None,
        users=[user for _, user, *_ in rows],
        time=[entry[2] for entry in expected],
        impression_id=[entry[0] for entry in expected],
    )
    assert_same(in_memory, log)


tokens = st.lists(st.sampled_from(["N1-0", "N1-1", "N2-0", "N3-1", "N9-1", "N1-7", "N2"]), max_size=3)
histories = st.lists(st.sampled_from(["N1", "N2", "N8", "N9"]), max_size=3)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(rows=st.lists(st.tuples(tokens, histories), min_size=1, max_size=12), block_bytes=st.integers(1, 300))
def test_skipping_equals_its_restatement(tmp_path, rows, block_bytes):
    counts, expected = Counter(), []
    for number, (shown, history) in enumerate(rows, start=1):
        known = [token.split("-") for token in shown if not token.startswith("N9")]
        if not shown:
            counts["no candidates"] += 1
            continue
        if "N1-7" in shown:
            counts["bad label"] += 1
            continue
        counts["unknown news id among the candidates"] += len(shown) - len(known)
        labels = [int(token[1]) if len(token) == 2 else -1 for token in known]
        if not known:
            counts["no known candidates"] += 1
        elif min(labels) == -1 < max(labels):
            counts["some candidates labelled and some not"] += 1
        elif expected and (expected[0][-1][0] == -1) != (labels[0] == -1):
            counts["labels where the log has none, or none where it has them"] += 1
        else:
            news = [int(news_id[1]) for news_id in history if news_id in ("N1", "N2")]
            counts["unknown news id in the history"] += len(history) - len(news)
            candidates = [int(token[0][1]) for token in known]
            expected.append((number, "U1", seconds(2019, 11, 12, 14, 14, 46), news, candidates, labels))
    lines = [
        line(" ".join(shown), " ".join(history), str(number)) for number, (shown, history) in enumerate(rows, start=1)
    ]
    path = write(tmp_path, *lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tsv, "BLOCK_BYTES", block_bytes)
        if not expected:
            with pytest.raises(DataFormatError, match="no line could be used"):
                read(path, on_error="skip")
            return
        log = read(path, on_error="skip")
    assert impressions(log) == expected
    assert log.skipped.counts == +counts


def test_from_columns_with_defaults():
    log = ImpressionLog.from_columns(NEWS, [["N1"], [], ["N1"]], [["N2", "N3"], ["N1"], ["N3"]])
    assert impressions(log) == [
        (1, "anonymous", 0, [1], [2, 3], [-1, -1]),
        (2, "anonymous", 0, [], [1], [-1]),
        (3, "anonymous", 0, [1], [3], [-1]),
    ]
    assert log.history_of.tolist() == [0, 1, 0]
    assert isinstance(log.users, pa.StringArray)
    assert {name: array.dtype for name, array in arrays_of(log).items()} == DTYPES


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"histories": [[]]}, "2 impressions, but 1 entries of histories"),
        ({"users": ["U1"]}, "2 impressions, but 1 entries of users"),
        ({"histories": [["N1"], ["N1", "N9"]]}, "line 2: the history news 'N9' is not in the news table"),
        (
            {"candidates": [["N1", "N2"], ["", "N3"]]},
            "line 2: the candidate news '' is not in the news table",
        ),
        ({"candidates": [["N1", "N2"], []]}, "line 2: there are no candidates"),
        ({"labels": [[1, 0], [0]]}, "line 2: 2 candidates, but 1 labels"),
        ({"labels": [[1, 0], [0, 2]]}, r"line 2: a label must be 0 or 1, got \[0, 2\]"),
        ({"candidates": [], "histories": [], "labels": []}, "there are no candidates"),
    ],
)
def test_from_columns_checks(columns, problem):
    sound = {
        "histories": [[], ["N1"]],
        "candidates": [["N1", "N2"], ["N2", "N3"]],
        "labels": [[0, 1], [1, 0]],
    }
    assert len(ImpressionLog.from_columns(NEWS, **sound)) == 2
    with pytest.raises(DataFormatError, match=problem):
        ImpressionLog.from_columns(NEWS, **sound | columns)


# === Users to recommend to ===

USERS = [("U1", ["N1", "N2"]), ("U2", []), ("U 3", ["N3"])]


@pytest.mark.parametrize(
    "lines",
    [
        ["U1\tN1 N2", "U2\t", "U 3\tN3"],
        ["U1\tN1,N2", "U2\t ", "U 3\tN3, "],
        ["1\tU1\t11/12/2019 2:14:46 PM\tN1 N2\tN7-1 N8-0", "2\tU2\t\t\tN7", "3\tU 3\t?\tN3\t"],
        [
            '{"user": "U1", "history": ["N1", "N2"]}',
            '{"user": "U2", "history": [], "more": 1}',
            '{"history": ["N3"], "user": "U 3"}',
        ],
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_users_are_read_in_every_form(tmp_path, lines, end, start):
    path = tmp_path / "users"
    path.write_bytes((start + end.join(lines)).encode())
    assert read_users(path) == USERS


def test_ids_in_json_may_be_numbers_and_the_user_left_out(tmp_path):
    (tmp_path / "users").write_text('{"history": [1, 2]}\n{"user": 3, "history": []}\n')
    assert read_users(tmp_path / "users") == [(None, ["1", "2"]), ("3", [])]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"N1 N2", "there are 1 columns"),
        (b"a\tb\tc", "there are 3 columns"),
        (b"", "there are 1 columns"),
        (b"U\xff\tN1", "not valid UTF-8"),
        (b'{"user": "U1"', "delimiter"),
        (b'{"user": "U1"}', "no list of ids"),
        (b'{"history": "N1"}', "no list of ids"),
        (b'{"history": [null]}', "no list of ids"),
        (b'{"history": [true]}', "no list of ids"),
        (b'{"user": [], "history": ["N1"]}', "no list of ids"),
        (b'{"history": ' + b"[" * 100_000, "recursion"),
    ],
)
def test_a_line_that_names_no_user_is_named(tmp_path, line, problem):
    path = tmp_path / "users.tsv"
    path.write_bytes(b"U1\tN1\n" + line + b"\nU2\tN2\n")
    with pytest.raises(DataFormatError, match=problem) as caught:
        read_users(path)
    assert caught.value.line == 2
    assert "a user id, a tab, and the ids" in str(caught.value)
    assert str(path) in str(caught.value)
