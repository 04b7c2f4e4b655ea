"""Splits by time: what is in which split, and what a history may know. A plain restatement of the rule is the judge."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from recommenders_miner.cli import app
from recommenders_miner.data import write as tsv_writer
from recommenders_miner.data.folders import split_folders
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.data.split import split_by_time
from recommenders_miner.errors import DataFormatError, FolderExistsError, RecommendersMinerError
from tests.command_line import run

MIDNIGHT = datetime(2024, 2, 29)


@dataclass(frozen=True)
class Impression:
    """A line of behaviors.tsv in plain Python; `time` is in seconds after midnight."""

    time: int
    shown: tuple[tuple[str, int], ...] = (("N1", 1), ("N2", 0))
    history: tuple[str, ...] = ()
    user: str = "U1"
    id: int = 0

    def line(self):
        shown = " ".join(f"{news}-{label}" for news, label in self.shown)
        time = MIDNIGHT + timedelta(seconds=self.time)
        return f"{self.id}\t{self.user}\t{time:%m/%d/%Y %I:%M:%S %p}\t{' '.join(self.history)}\t{shown}\n"

    @property
    def clicked(self):
        return [news for news, label in self.shown if label]

    def news(self):
        return {*self.history, *(news for news, _ in self.shown)}


def news_line(news_id, title="", url="u"):
    return f"{news_id}\tsports\tcurling\t{title or f'About {news_id}'}\t\thttps://example.org/{url}\t[]\t[]\n"


def numbered(impressions):
    return [replace(impression, id=number) for number, impression in enumerate(impressions, start=1)]


def write(folder, impressions, news=("N1", "N2", "N3", "N4")):
    folder.mkdir(parents=True)
    (folder / "news.tsv").write_text("".join(map(news_line, news)))
    (folder / "behaviors.tsv").write_text("".join(i.line() for i in impressions))
    return folder


def read(folder):
    """A split that was written, through the package's own readers, and the ids of its articles."""
    table = NewsTable.read(folder / "news.tsv")
    log = ImpressionLog.read(folder / "behaviors.tsv", table, cache=False)
    ids, users, labels = table.ids.to_pylist(), log.users.to_pylist(), Ragged(log.labels, log.candidates.offsets)
    found = [
        Impression(
            time=int(log.time[i] - MIDNIGHT.replace(tzinfo=UTC).timestamp()),
            shown=tuple((ids[row], int(label)) for row, label in zip(log.candidates[i], labels[i], strict=True)),
            history=tuple(ids[row] for row in log.histories[log.history_of[i]]),
            user=users[log.user_of[i]],
            id=int(log.impression_id[i]),
        )
        for i in range(len(log))
    ]
    return found, ids[1:]


def at(seconds):
    return MIDNIGHT + timedelta(seconds=seconds)


def rebuilt(impression, log, before):
    """The history that an impression should have: what its user clicked on before a time."""
    own = [other for other in log if other.user == impression.user]
    first = min(own, key=lambda other: other.time)
    past = sorted((other for other in own if other.time < before), key=lambda other: other.time)
    return (*first.history, *(news for other in past for news in other.clicked))


ids = st.sampled_from(["N1", "N2", "N3", "N4"])
logs = st.lists(
    st.builds(
        Impression,
        time=st.integers(0, 12),  # so few that many are equal
        shown=st.lists(st.tuples(ids, st.integers(0, 1)), min_size=1, max_size=4).map(tuple),
        history=st.lists(ids, max_size=3).map(tuple),
        user=st.sampled_from(["U1", "U2", "U3"]),
    ),
    min_size=1,
    max_size=20,
).map(numbered)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    log=logs,
    dev_from=st.integers(0, 13),
    test_from=st.none() | st.integers(0, 13),
    mode=st.sampled_from(["impression", "split", "keep"]),
    most=st.none() | st.integers(0, 4),
    block=st.integers(1, 40),
)
def test_any_log_is_split_as_its_restatement_says(tmp_path_factory, log, dev_from, test_from, mode, most, block):
    tmp_path = tmp_path_factory.mktemp("any")
    source, out = write(tmp_path / "source", log), tmp_path / "out"
    starts = {"train": 0, "dev": dev_from} | ({} if test_from is None else {"test": test_from})
    ends = [*list(starts.values())[1:], 99]
    expected = {
        name: [impression for impression in log if start <= impression.time < end]
        for (name, start), end in zip(starts.items(), ends, strict=True)
    }

    def split():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tsv_writer, "BLOCK_TOKENS", block)
            return split_by_time(
                source,
                out,
                dev_from=at(dev_from),
                test_from=None if test_from is None else at(test_from),
                rebuild_histories=mode != "keep",
                histories_at="split" if mode == "split" else "impression",
                max_history=most,
            )

    if not all(expected.values()):
        with pytest.raises(DataFormatError, match="would have no impressions"):
            split()
        assert not out.exists()
        return
    written = split()
    assert sum(counts.impressions for counts in written.values()) == len(log), "impressions are lost or doubled"
    for name, impressions in expected.items():
        found, news = read(out / name)
        if mode != "keep":
            known = {"impression": lambda i: i.time, "split": lambda _, start=starts[name]: start}[mode]
            impressions = [replace(i, history=rebuilt(i, log, known(i))) for i in impressions]
        if most is not None:
            impressions = [replace(i, history=i.history[max(0, len(i.history) - most) :]) for i in impressions]
        assert found == impressions
        assert set(news) == set.union(*(impression.news() for impression in impressions))
        assert written[name].news == len(news)
        assert written[name].clicks == sum(len(impression.clicked) for impression in impressions)
        assert written[name].users == len({impression.user for impression in impressions})


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(log=logs, share=st.floats(0.01, 0.99), test_from=st.none() | st.integers(0, 13))
def test_a_share_puts_the_latest_impressions_into_dev(tmp_path_factory, log, share, test_from):
    tmp_path = tmp_path_factory.mktemp("share")
    source, out = write(tmp_path / "source", log), tmp_path / "out"
    before_test = sorted(i.time for i in log if test_from is None or i.time < test_from)
    wanted = max(1, round(share * len(before_test)))
    arguments = {"dev_share": share, "test_from": None if test_from is None else at(test_from)}
    test_is_empty = test_from is not None and len(before_test) == len(log)
    if not before_test or test_is_empty or before_test[-wanted] == before_test[0]:
        with pytest.raises(DataFormatError, match="would have no impressions"):
            split_by_time(source, out, **arguments)
        return
    split_by_time(source, out, **arguments)
    train, dev = read(out / "train")[0], read(out / "dev")[0]
    assert max(i.time for i in train) < min(i.time for i in dev)
    assert len(train) + len(dev) == len(before_test)
    first_second = sum(i.time == min(j.time for j in dev) for i in dev)
    assert len(dev) >= wanted > len(dev) - first_second


def test_a_split_has_the_articles_that_it_refers_to_or_all(tmp_path):
    source = write(tmp_path / "source", numbered([Impression(1), Impression(2, (("N3", 1), ("N2", 0)))]))
    for all_news, expected in ((False, ["N1", "N2"]), (True, ["N1", "N2", "N3", "N4"])):
        split_by_time(source, tmp_path / "out", dev_from=at(2), all_news=all_news, overwrite=True)
        assert read(tmp_path / "out" / "train")[1] == expected


def test_train_without_histories_is_warned_of(tmp_path, caplog):
    source = write(tmp_path / "source", numbered([Impression(0), Impression(1), Impression(2)]))
    split_by_time(source, tmp_path / "split", dev_from=at(2), histories_at="split")
    assert "No history of train has a click" in caplog.text
    assert "--histories-at impression" in caplog.text
    caplog.clear()
    split_by_time(source, tmp_path / "impression", dev_from=at(2))
    assert caplog.text == ""


def pooled_source(tmp_path):
    source = tmp_path / "source"
    write(source / "train", numbered([Impression(5, user="U1"), Impression(3, user="U2")]), ("N2", "N1"))
    write(source / "dev", numbered([Impression(1, (("N3", 1), ("N1", 0)), ("N4",)), Impression(9, user="U2")]))
    return source


def test_the_splits_of_a_source_are_pooled_and_split_anew(tmp_path):
    split_by_time(pooled_source(tmp_path), tmp_path / "out", dev_from=at(4))
    train, dev = read(tmp_path / "out" / "train")[0], read(tmp_path / "out" / "dev")[0]
    # In the order of the files, with numbers of their own, since those of the files are there twice.
    assert [(i.id, i.user, i.time) for i in train] == [(2, "U2", 3), (3, "U1", 1)]
    assert [(i.id, i.user, i.time) for i in dev] == [(1, "U1", 5), (4, "U2", 9)]
    # The first impression of U1 is that of the old dev.
    assert [i.history for i in dev] == [("N4", "N3"), ("N1",)]
    assert read(tmp_path / "out" / "train")[1] == ["N2", "N1", "N3", "N4"]


def test_the_first_description_of_a_news_counts(tmp_path, caplog):
    source = pooled_source(tmp_path)
    lines = [news_line("N1", "Otherwise"), news_line("N2", url="elsewhere"), news_line("N3"), news_line("N4")]
    (source / "dev" / "news.tsv").write_text("".join(lines))
    split_by_time(source, tmp_path / "out", dev_from=at(4))
    assert news_line("N1") in (tmp_path / "out" / "dev" / "news.tsv").read_text()
    assert [message for message in caplog.messages if "description" in message] == [
        "1 news have another category, title, abstract or entities in a later split; their first description is kept."
    ]


def test_a_split_without_labels_is_left_out_with_a_warning(tmp_path, caplog):
    source = pooled_source(tmp_path)
    test = write(source / "test", [Impression(20)])
    (test / "behaviors.tsv").write_text("1\tU1\t2024-02-29 00:00:20\t\tN1 N2\n")
    written = split_by_time(source, tmp_path / "out", dev_from=at(4))
    assert sum(counts.impressions for counts in written.values()) == 4
    assert "test has no labels, and is left out" in caplog.text
    with pytest.raises(DataFormatError, match="there are no labels"):
        split_by_time(test, tmp_path / "other")


def test_vectors_are_carried_along_each_name_once(tmp_path):
    source = pooled_source(tmp_path)
    (source / "train" / "entity_embedding.vec").write_text("Q1\t1\t2\nQ2\t3\t4")
    (source / "dev" / "entity_embedding.vec").write_text("Q2\t9\t9\nQ3\t5\t6\n")
    (source / "dev" / "relation_embedding.vec").write_text("P1\t7\n")
    split_by_time(source, tmp_path / "out", dev_from=at(4))
    for name in ("train", "dev"):
        assert (tmp_path / "out" / name / "entity_embedding.vec").read_text() == "Q1\t1\t2\nQ2\t3\t4\nQ3\t5\t6\n"
        assert (tmp_path / "out" / name / "relation_embedding.vec").read_text() == "P1\t7\n"


def test_what_else_is_known_of_articles_is_carried_along_with_their_rows(tmp_path):
    source = pooled_source(tmp_path)
    rows = {"id": ["N1", "N9", "N2"], "published": pa.array([10, 90, None], pa.int64()), "body": ["one", "-", "two"]}
    pq.write_table(pa.table(rows), source / "train" / "articles.parquet")
    rows = {"id": ["N3", "N1"], "published": pa.array([30, 11], pa.int64()), "premium": [True, False]}
    pq.write_table(pa.table(rows), source / "dev" / "articles.parquet")
    split_by_time(source, tmp_path / "out", dev_from=at(4))
    train = pq.read_table(tmp_path / "out" / "train" / "articles.parquet")
    assert train.schema.field("published").type == pa.int64()
    assert train.to_pylist() == [
        {"id": "N2", "published": None, "body": "two", "premium": None},
        {"id": "N1", "published": 10, "body": "one", "premium": None},
        {"id": "N3", "published": 30, "body": None, "premium": True},
        {"id": "N4", "published": None, "body": None, "premium": None},
    ]
    dev = pq.read_table(tmp_path / "out" / "dev" / "articles.parquet")
    assert dev["id"].to_pylist() == read(tmp_path / "out" / "dev")[1]


def test_articles_whose_columns_differ_between_splits_are_an_error(tmp_path):
    source = pooled_source(tmp_path)
    for split, mood in (("train", 10), ("dev", "May")):
        pq.write_table(pa.table({"id": ["N1"], "mood": [mood]}), source / split / "articles.parquet")
    with pytest.raises(DataFormatError, match=r"articles\.parquet: columns differ from those"):
        split_by_time(source, tmp_path / "out", dev_from=at(4))


def test_splits_come_in_the_order_of_their_use_unless_there_is_none(tmp_path):
    (tmp_path / "all").mkdir()
    assert split_folders(tmp_path) == {"all": tmp_path / "all"}
    for name in ("test", "dev", "other", "train"):
        (tmp_path / name).mkdir()
    assert list(split_folders(tmp_path).items()) == [(name, tmp_path / name) for name in ("train", "dev", "test")]


@pytest.mark.parametrize("file", ["news.tsv", "behaviors.tsv"])
def test_a_folder_with_a_file_of_its_own_is_one_split(tmp_path, monkeypatch, file):
    folder = tmp_path / "mine"
    (folder / "train").mkdir(parents=True)
    (folder / file).touch()
    assert split_folders(folder) == {"mine": folder}
    monkeypatch.chdir(folder)
    assert list(split_folders(".")) == ["mine"]


def test_a_folder_without_splits_is_an_error(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataFormatError, match=r"holds neither news\.tsv .* nor a folder train, dev, test or all"):
            split_folders(folder)


def test_a_bad_line_is_named_and_nothing_is_written(tmp_path):
    source = write(tmp_path / "source", [Impression(1), Impression(2, (("N9", 1),))])
    with pytest.raises(DataFormatError, match=r"behaviors\.tsv, line 2: the candidate 'N9-1'"):
        split_by_time(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_folder_that_exists_is_replaced_only_if_that_is_asked_for_and_never_the_source(tmp_path):
    source = write(tmp_path / "data" / "source", numbered([Impression(1), Impression(2), Impression(3)]))
    for boundary in (2, 3):
        written = split_by_time(source, tmp_path / "out", dev_from=at(boundary), overwrite=True)
        assert written["train"].impressions == boundary - 1
    with pytest.raises(FolderExistsError, match="--overwrite"):
        split_by_time(source, tmp_path / "out")
    for path in (source, tmp_path / "data"):
        with pytest.raises(RecommendersMinerError, match="take the place of its source"):
            split_by_time(source, path, overwrite=True)
    assert sorted(path.name for path in source.iterdir()) == ["behaviors.tsv", "news.tsv"], "it is left as it is"


def test_shares_out_of_range_are_refused(tmp_path):
    for share in (0.0, 1.0):
        with pytest.raises(ValueError, match="dev_share must"):
            split_by_time(tmp_path, tmp_path / "out", dev_share=share)


def test_the_command_says_what_it_wrote(tmp_path):
    log = numbered([Impression(t) for t in range(10)])
    source, out = write(tmp_path / "source", log), tmp_path / "out"
    output = run("split", source, out, "--dev-share", 0.2, "--test-from", "2024-02-29 00:00:08", "--keep-histories")
    assert output.splitlines()[0].split() == ["Split", "Impressions", "Users", "News", "Clicks", "First", "Last"]
    rows = [line.split() for line in output.splitlines()[2:5]]
    assert [row[:5] for row in rows] == [
        ["train", "6", "1", "2", "6"],
        ["dev", "2", "1", "2", "2"],
        ["test", "2", "1", "2", "2"],
    ]
    description = json.loads((out / "split.json").read_text())
    assert description["starts"] == {
        "train": "2024-02-29 00:00:00",
        "dev": "2024-02-29 00:00:06",
        "test": "2024-02-29 00:00:08",
    }
    assert description["histories"] == "kept"
    assert description["splits"]["dev"]["first"] == "2024-02-29 00:00:06"


@pytest.mark.parametrize("time", ["2024-02-29 00:00:07", "2024-02-29T00:00:07", "2/29/2024 12:00:07 AM"])
def test_the_command_reads_times_as_the_files_write_them(tmp_path, time):
    source = write(tmp_path / "source", numbered([Impression(t) for t in range(10)]))
    run("split", source, tmp_path / "out", "--dev-from", time)
    assert len(read(tmp_path / "out" / "dev")[0]) == 3


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--dev-share", "0.1", "--dev-from", "2024-02-29"], "--dev-share"),
        (["--dev-share", "1"], "--dev-share"),
        (["--keep-histories", "--histories-at", "split"], "--histories-at"),
    ],
)
def test_the_command_refuses_contradictions(tmp_path, options, named):
    result = CliRunner().invoke(app, ["split", str(tmp_path), str(tmp_path / "out"), *options])
    assert result.exit_code == 2
    assert named in result.output
