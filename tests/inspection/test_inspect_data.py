"""What `inspect_data` says of a data set: the figures, and what would break training."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommenders_miner.data import write as tsv_writer
from recommenders_miner.data.ingest import ingest
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.errors import DataFormatError
from recommenders_miner.inspection import inspect_data
from recommenders_miner.inspection.facts import Distribution, find_doubtful_rows
from recommenders_miner.inspection.report import PERCENTILES
from tests.inspection.conftest import ENTITY, behavior, news, write

# === The figures ===


@pytest.fixture
def data(tmp_path):
    """Two splits, small enough to count by hand."""
    write(
        tmp_path / "train",
        [
            news("N1", entities=ENTITY, abstract="They slide."),
            news("N2", "travel", "trains", "  A  night train "),
            news("N1", entities=ENTITY, abstract="They slide."),
            news("N3", "travel", "ferries", "Six islands in one long, slow day"),
            news("N4", "sports", "chess", "Mate"),
        ],
        [
            behavior(1, "N1-1 N2-0", "", "U1", "11/9/2019 8:00:00 AM"),
            behavior(2, "N2-0 N1-1 N3-1", "N3 N2 N1", "U2", "11/9/2019 9:30:00 AM"),
            behavior(3, "N1-0", "N2", "U1", "11/9/2019 8:59:59 AM"),
            behavior(4, "N3-1 N2-1", "N2", "U1", "11/10/2019 12:00:01 AM"),
        ],
    )
    write(
        tmp_path / "dev",
        [
            *(news("N1"), news("N4", "sports", "chess", "Mate")),
            *(news("N5", "food", "bread", "Rye"), news("N6", "food", "jam", "Plums")),
        ],
        [
            behavior(1, "N1-1 N4-0 N5-1 N6-0", "N1", "U1", "11/10/2019 12:00:02 AM"),
            behavior(2, "N4-1", "", "U3", "11/10/2019 7:00:00 AM"),
        ],
    )
    (tmp_path / "train" / "entity_embedding.vec").write_text("Q136851\t0.5\n")
    return tmp_path


def test_the_figures_of_a_log(data):
    train = inspect_data(data).splits["train"].log
    assert (train.impressions, train.users, train.candidates, train.clicks, train.news_shown) == (4, 2, 8, 5, 3)
    assert train.click_rate == 5 / 8
    assert (train.without_history, train.without_click, train.without_non_click) == (1, 1, 1)
    assert (train.unlabelled, train.unknown_candidates, train.unknown_in_histories) == (0, 0, 0)
    assert (train.clicks_in_history, train.non_clicks_in_history, train.contradictory) == (3, 1, 0)
    assert (train.click_share_in_history, train.non_click_share_in_history) == (3 / 5, 1 / 3)
    assert (str(train.first), str(train.last)) == ("2019-11-09 08:00:00", "2019-11-10 00:00:01")
    assert train.history_length.values.tolist() == [0, 1, 3]
    assert train.history_length.counts.tolist() == [1, 2, 1]
    sizes = train.candidates_per_impression
    assert np.repeat(sizes.values, sizes.counts).tolist() == [1, 2, 2, 3]
    assert train.clicks_per_impression.mean == 5 / 4
    assert train.showings.values.tolist() == [2, 3]  # N3 twice, N1 and N2 three times
    assert train.showings.counts.tolist() == [1, 2]
    assert train.hours.counts.tolist() == [2, 1, 1]
    assert train.category_showings == {"sports": 3, "travel": 5}
    assert train.category_clicks == {"sports": 2, "travel": 3}


def test_the_figures_of_news(data):
    report = inspect_data(data)
    train = report.splits["train"].news
    assert (train.news, train.repeated, train.without_abstract, train.subcategories) == (4, 1, 3, 4)
    assert (train.without_title, train.without_category, train.with_title_entities) == (0, 0, 1)
    assert train.entities_readable
    assert list(train.categories.items()) == [("sports", 2), ("travel", 2)]
    assert train.title_words.values.tolist() == [1, 3, 7]
    assert train.title_words.mean == (3 + 3 + 7 + 1) / 4
    assert report.splits["train"].vectors == ("entity_embedding.vec",)
    assert report.splits["dev"].vectors == ()
    assert (report.splits["train"].entities_with_vector, report.splits["dev"].entities_with_vector) == (1, None)


def test_what_train_does_not_know_of_dev(data):
    found = inspect_data(data).beside_train["dev"]
    # N4 stands in train's table but was not shown there; N5 and N6 are not even in the table.
    assert found.cold_candidates == 4 / 5
    assert found.cold_clicks == 2 / 3
    assert found.absent_candidates == 2 / 5
    assert found.absent_clicks == 1 / 3
    assert found.new_users == 1 / 2
    assert (found.before_train_ends, found.changed_news) == (0, 0)


def test_sound_data_has_no_findings_a_test_split_needs_no_labels_and_nothing_is_written(data):
    write(data / "test", [news("N1"), news("N5")], [behavior(1, "N1 N5", time="2019-11-11 08:00:00")])
    before = sorted(data.rglob("*"))
    report = inspect_data(data)
    assert report.findings == ()
    assert sorted(data.rglob("*")) == before
    test = report.splits["test"].log
    assert (test.unlabelled, test.click_rate, test.clicks_per_impression.total) == (1, None, 0)
    assert report.beside_train["test"].cold_clicks is None
    assert list(report.splits) == ["train", "dev", "test"]


def test_a_folder_with_the_two_files_is_one_split(tmp_path):
    write(tmp_path / "mine")
    report = inspect_data(tmp_path / "mine")
    assert list(report.splits) == ["mine"]
    assert (report.findings, report.beside_train) == ((), {})
    unlabelled = write(tmp_path / "other", behavior_lines=[behavior(shown="N1 N2")])
    assert "there is nothing to train on" in inspect_data(unlabelled).errors[0].problem
    unlabelled.rename(tmp_path / "test")
    assert inspect_data(tmp_path / "test").findings == ()


def test_a_report_as_json_has_percentiles_and_times(data):
    report = json.loads(json.dumps(inspect_data(data).to_json()))
    train = report["splits"]["train"]
    assert train["log"]["first"] == "2019-11-09 08:00:00"
    assert train["log"]["history_length"]["percentiles"]["100"] == 3
    assert train["news"]["categories"] == {"sports": 2, "travel": 2}
    assert report["beside_train"]["dev"]["cold_candidates"] == 0.8
    assert "hours" not in train["log"]


# === What would break training ===

TRAIN_ERRORS = {
    "unknown candidate": (None, [behavior(), behavior(2, "N9-1 N2-0")], 2, "unknown news id among the candidates: 1."),
    "unknown history": (None, [behavior(), behavior(2, history="N1 N8 N9")], 2, "unknown news id in the history: 2."),
    "columns": (None, [behavior(), "2\tU1"], 2, "wrong number of columns: 1."),
    "no labels": (None, [behavior(shown="N1 N2")], 1, "no candidate has a label: there is nothing to train on."),
    "clicks or none": (None, [behavior(shown="N1-1"), behavior(2, "N2-0")], None, "no impression has both a click"),
    "two contents": ([news("N1"), news("N2"), news("N1", title="Other")], None, 3, "news id repeated with another"),
    "only errors": (None, [behavior(number="x"), behavior(number="y")], 1, "impression id 'x' is not a non-negative"),
    "no news": ([], None, None, "the file is empty"),
}


@pytest.mark.parametrize("kind", TRAIN_ERRORS)
def test_what_breaks_training_is_named_with_file_line_and_remedy(tmp_path, kind, caplog):
    news_lines, behavior_lines, line, problem = TRAIN_ERRORS[kind]
    write(tmp_path / "train", news_lines, behavior_lines)
    write(tmp_path / "dev", behavior_lines=[behavior(time="2019-12-01 00:00:00")])
    [error] = inspect_data(tmp_path).errors
    assert error.path == tmp_path / "train" / ("behaviors.tsv" if news_lines is None else "news.tsv")
    assert error.lines == (() if line is None else (line,))
    assert error.problem.startswith(problem)
    assert error.remedy
    assert str(error) == f"{error.place}: {error.problem} {error.remedy}"
    assert not caplog.records, "the report says it all"


def test_missing_files_and_splits_are_errors(tmp_path):
    write(tmp_path / "dev")
    (tmp_path / "dev" / "news.tsv").unlink()
    assert [str(error) for error in inspect_data(tmp_path).errors] == [
        f"{tmp_path}/train: the folder is missing: there is nothing to train on. "
        "recommenders-miner split DIR OUT makes train and dev of any log.",
        f"{tmp_path}/dev/news.tsv: the file is missing. A split needs both news.tsv and behaviors.tsv.",
    ]
    (tmp_path / "dev" / "behaviors.tsv").unlink()
    assert len(inspect_data(tmp_path).errors) == 3
    with pytest.raises(DataFormatError, match="holds neither"):
        inspect_data(tmp_path / "dev")


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_an_ingested_log_is_described_as_its_file_is(data, tmp_path, on_error):
    if on_error == "skip":
        with open(data / "train" / "behaviors.tsv", "a") as file:
            file.write("x\n" + behavior(5, "N1-1 N9-0", "N2", "U1") + "\n")
    expected = inspect_data(data)
    for split in ("train", "dev"):
        behaviors = (data / split / "behaviors.tsv").rename(data / f"{split}.tsv")
        ingest([behaviors], data / split, data / split / "news.tsv", parts=2, on_error=on_error, overwrite=True)
    found = inspect_data(data)
    assert found.to_json()["splits"] == expected.to_json()["splits"]
    assert [of.problem for of in found.findings] == [of.problem for of in expected.findings]
    assert not any(of.lines for of in found.findings if of.path.name == "behaviors"), "an ingested log knows no lines"


def test_a_column_published_that_holds_no_times_is_an_error(tmp_path):
    write(tmp_path / "train")
    pq.write_table(pa.table({"id": ["N1"], "published": ["today"]}), tmp_path / "train" / "articles.parquet")
    [error] = inspect_data(tmp_path).errors
    assert error.path == tmp_path / "train" / "articles.parquet"
    assert error.problem.startswith("column 'published' holds string; expected Unix seconds")


def test_a_file_that_is_a_folder_is_an_error(tmp_path):
    behaviors = write(tmp_path / "train") / "behaviors.tsv"
    behaviors.unlink()
    behaviors.mkdir()
    [error] = inspect_data(tmp_path).errors
    assert "is a folder" in error.problem


# === What may be wrong ===


def test_doubtful_data_are_warned_of(tmp_path):
    unreadable = news("N4", entities="[{]")
    write(
        tmp_path / "train",
        [news("N1"), news("N2", "", title=" "), news("N3", "", title="x"), unreadable],
        [behavior(7, history=""), behavior(8, "N2-1 N1-0", ""), behavior(7, "N3-0", ""), behavior(9, history="")],
    )
    write(tmp_path / "dev", behavior_lines=[behavior(), behavior(2, time="2019-11-09 08:00:01")])
    report = inspect_data(tmp_path)
    assert report.errors == ()
    train, dev = tmp_path / "train", tmp_path / "dev"
    expected = [
        (train / "news.tsv", (4,), "the title entities of news N4: expected a JSON list"),
        (train / "news.tsv", (2,), "articles without a title: 1."),
        (train / "news.tsv", (2, 3), "articles without a category: 2."),
        (train / "behaviors.tsv", (), "no impression has a history"),
        (train / "behaviors.tsv", (3,), "impressions with the id of an earlier one: 1 (ids 7)."),
        (train / "behaviors.tsv", (4,), "impressions equal to an earlier one but for the id: 1 (ids 9)."),
        (dev / "behaviors.tsv", (), "1 of 2 impressions are not later than train's last (which is at 2019-11-09 08:00"),
        (dev / "news.tsv", (2, 3), "articles with another title or category than in train: 2 (ids N2, N3)."),
    ]
    for warning, (path, lines, problem) in zip(report.warnings, expected, strict=True):
        assert (warning.path, warning.lines) == (path, lines)
        assert warning.problem.startswith(problem)
        assert warning.remedy
    assert "split DIR OUT --histories-at impression" in report.warnings[3].remedy
    assert not report.splits["train"].news.entities_readable
    assert (report.splits["train"].news.without_title, report.splits["train"].news.without_category) == (1, 2)
    assert report.beside_train["dev"].changed_news == 2


TIMES = [f"11/9/2019 8:00:0{k} AM" for k in range(10)]
WARNINGS = {
    "histories know the clicks": (
        [behavior(11 + k, "N1-1 N3-0 N2-0", "N2 N1 N2" if k < 5 else "N1", time=time) for k, time in enumerate(TIMES)],
        (1, 2, 3, 4, 5),
        "histories hold 100.0 % of the clicks of their own impressions, and 25.0 % of the non-clicks; impressions "
        "whose history holds what is clicked in them: 10 (ids 11, 12, 13, 14, 15, …).",
        "split DIR OUT --histories-at impression makes them of past clicks",
    ),
    "lines are not known where lines were left out": (
        ["x", behavior(3), behavior(3, "N2-0")],
        (),
        "impressions with the id of an earlier one: 1 (ids 3).",
        "number them anew",
    ),
}


@pytest.mark.parametrize("kind", WARNINGS)
def test_doubtful_impressions_are_warned_of(tmp_path, kind):
    behavior_lines, lines, problem, remedy = WARNINGS[kind]
    [warning] = inspect_data(write(tmp_path / "mine", behavior_lines=behavior_lines)).warnings
    assert (warning.path, warning.lines, warning.problem) == (tmp_path / "mine" / "behaviors.tsv", lines, problem)
    assert remedy in warning.remedy


def test_users_may_return_to_an_article(tmp_path):
    lines = [behavior(number, history="N1" if number % 10 == 0 else "N3") for number in range(1, 101)]
    report = inspect_data(write(tmp_path / "mine", behavior_lines=lines))
    assert report.splits["mine"].log.click_share_in_history == 0.1
    assert not any("what is clicked in them" in str(warning) for warning in report.warnings)


VECTOR_ERRORS = {
    "of no title's entity": ("Q136851\t0.5\t0.5\nQ1\t0.1\tinf\n", 2, "expected a finite number, got 'inf'"),
    "a damaged gzip file": (b"\x1f\x8b\x08\x00nothing", None, "the gzip file is damaged"),
}


@pytest.mark.parametrize("kind", VECTOR_ERRORS)
def test_bad_vectors_of_entities_are_warned_of(data, kind):
    text, line, problem = VECTOR_ERRORS[kind]
    for split in ("train", "dev"):
        (data / split / "entity_embedding.vec").write_bytes(text if isinstance(text, bytes) else text.encode())
    report = inspect_data(data)
    assert report.errors == ()
    train, dev = report.warnings
    assert (train.path, dev.path) == tuple(data / split / "entity_embedding.vec" for split in ("train", "dev"))
    assert train.lines == (() if line is None else (line,))
    assert problem in train.problem
    assert train.remedy
    assert report.splits["train"].entities_with_vector is None


# === Any data ===

numbers = st.lists(st.integers(0, 20), min_size=1, max_size=40)


@settings(deadline=None)
@given(numbers)
def test_percentiles_and_mean_of_a_distribution(values):
    found = Distribution.of(np.array(values))
    assert found.total == len(values)
    assert found.mean == pytest.approx(np.mean(values))
    expected = np.percentile(values, PERCENTILES, method="inverted_cdf").tolist()
    assert [found.percentile(percent) for percent in PERCENTILES] == expected


ids = st.sampled_from(["N1", "N2"])
shown = st.lists(st.tuples(ids, st.integers(0, 1)), min_size=1, max_size=3)


@settings(deadline=None)
@given(
    rows=st.lists(
        st.tuples(shown, st.lists(ids, max_size=2), st.integers(0, 1), st.integers(1, 3)), min_size=1, max_size=15
    ),
    block=st.sampled_from([1, 4, 2**20]),
)
def test_doubtful_rows_equal_a_plain_restatement(rows, block):
    log = ImpressionLog.from_columns(
        NewsTable.from_columns(["N1", "N2"], ["A", "B"]),
        histories=[history for _, history, *_ in rows],
        candidates=[[news_id for news_id, _ in shown] for shown, *_ in rows],
        labels=[[label for _, label in shown] for shown, *_ in rows],
        time=[time for *_, time, _ in rows],
        impression_id=[number for *_, number in rows],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tsv_writer, "BLOCK_TOKENS", block)
        found = find_doubtful_rows(log)
    content = [row[:3] for row in rows]
    assert found.repeated_rows.tolist() == [k for k, row in enumerate(content) if row in content[:k]]
    ids = [number for *_, number in rows]
    assert found.repeated_ids.tolist() == [k for k, number in enumerate(ids) if number in ids[:k]]
    assert found.contradictory.tolist() == [
        k for k, (shown, *_) in enumerate(rows) if {(news_id, 1 - label) for news_id, label in shown} & set(shown)
    ]
    known = [news_id in history for shown, history, *_ in rows for news_id, _ in shown]
    assert found.in_history.tolist() == np.flatnonzero(known).tolist()


NEWS_LINES = [news("N1"), news("N2"), news("N1", title="Other"), news(""), "N3\tx", news("N3", entities="{")]
BEHAVIOR_LINES = [
    *(behavior(), behavior(shown="N1-1"), behavior(shown="N2-0"), behavior(shown="N1 N2"), behavior(shown="N9-1")),
    *(behavior(history="N3 N9"), behavior(user=""), behavior(number="-"), "", behavior(shown="N1-2 N1-1")),
]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(
    news_lines=st.lists(st.sampled_from(NEWS_LINES), max_size=4),
    behavior_lines=st.lists(st.sampled_from(BEHAVIOR_LINES), max_size=4),
)
def test_there_are_errors_just_where_the_readers_or_training_would_stop(tmp_path, news_lines, behavior_lines):
    folder = write(tmp_path / "train", news_lines, behavior_lines)
    try:
        log = ImpressionLog.read(folder / "behaviors.tsv", NewsTable.read(folder / "news.tsv"), cache=False)
        clicks = np.add.reduceat(log.labels == 1, log.candidates.offsets[:-1], dtype=int)
        sound = log.labelled and bool(((clicks > 0) & (clicks < log.candidates.lengths)).any())
    except DataFormatError:
        sound = False
    report = inspect_data(tmp_path)
    assert (report.errors == ()) == sound
    assert report.findings == report.errors + report.warnings
    assert all(finding.remedy for finding in report.findings)
    report.to_markdown(), json.dumps(report.to_json())
