"""Ingesting logs larger than memory, and the folder that they become."""

import gzip
import logging
import os
import signal
import subprocess
import sys
import zlib
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import fs

from recommenders_miner.data import ingest as reading
from recommenders_miner.data import log as logs
from recommenders_miner.data import partition, tsv
from recommenders_miner.data.folders import Split
from recommenders_miner.data.ingest import find_sources, ingest
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.sampling import TrainingSamples
from recommenders_miner.data.tsv import content_digest
from recommenders_miner.errors import DataFormatError, FolderExistsError, RecommendersMinerError
from tests.data.written_log import arrays_of, assert_same, impressions, is_mapped, line, write

IDS = ["N1", "N2", "N3", "N4-x"]
SOME_LINES = [line(f"N{1 + k % 3}-1 N4-x-0", f"N{1 + k % 2}", str(k), f"U{k % 7}") for k in range(40)]


@pytest.fixture
def news_file(tmp_path):
    path = tmp_path / "news.tsv"
    path.write_text("".join(f"{news_id}\tnews\t\tTitle of {news_id}\t\t\t[]\t[]\n" for news_id in IDS))
    return path


@pytest.fixture
def small_stretches(monkeypatch):
    monkeypatch.setattr(reading, "_STRETCH_BYTES", 300)
    monkeypatch.setattr(reading, "_CANDIDATES_AT_ONCE", 5)
    monkeypatch.setattr(tsv, "BLOCK_BYTES", 100)


def contents(folder):
    return {path.name: path.read_bytes() for path in (folder / "behaviors").iterdir()}


impression_lines = st.builds(
    lambda number, user, history, shown: line(
        " ".join(f"{news_id}-{label}" for news_id, label in shown), " ".join(history), str(number), user
    ),
    st.integers(0, 999),
    st.sampled_from(["U1", "U2", "Ü3", '"', "U5"]),
    st.lists(st.sampled_from(IDS), max_size=3),
    st.lists(st.tuples(st.sampled_from(IDS), st.integers(0, 1)), min_size=1, max_size=4),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    files=st.lists(st.lists(impression_lines, min_size=1, max_size=12), min_size=1, max_size=3),
    sizes=st.tuples(st.integers(1, 400), st.integers(1, 30), st.integers(1, 200)),
    parts=st.integers(1, 4),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_each_part_is_what_reading_its_users_lines_gives(tmp_path_factory, news_file, files, sizes, parts, end):
    folder = tmp_path_factory.mktemp("log")
    paths = [write(folder, *lines, end=end, name=f"{k}.tsv") for k, lines in enumerate(files)]
    with pytest.MonkeyPatch.context() as patch:
        for (module, name), size in zip(
            [(reading, "_STRETCH_BYTES"), (reading, "_CANDIDATES_AT_ONCE"), (tsv, "BLOCK_BYTES")], sizes, strict=True
        ):
            patch.setattr(module, name, size)
        log = ingest(paths, folder / "out", news_file, parts=parts)
    everything = [text for lines in files for text in lines]
    assert len(log) == len(everything)
    assert log.num_parts == parts
    assert impressions(log) == [found for k in range(parts) for found in impressions(log.part(k))]
    for part in range(parts):
        own = [text for text in everything if zlib.crc32(text.split("\t")[1].encode()) % parts == part]
        if own:
            read = ImpressionLog.read(write(folder, *own), NewsTable.read(news_file), cache=False)
            assert_same(log.part(part), read)
        else:
            assert len(log.part(part)) == 0


def test_processes_change_nothing_and_a_kill_leaves_nothing_that_counts(tmp_path, news_file, small_stretches):
    plain, packed = write(tmp_path, *SOME_LINES, name="a.tsv"), tmp_path / "b.tsv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    ingest([plain, packed], tmp_path / "one", news_file, parts=3)
    code = "\n".join(
        [
            "import os, signal, sys",
            "from recommenders_miner.data import ingest as reading, tsv",
            "reading._STRETCH_BYTES, reading._CANDIDATES_AT_ONCE, tsv.BLOCK_BYTES = 300, 5, 100",
            "if __name__ == '__main__':",
            "    if sys.argv[4:]: reading.join_parts = lambda *_: os.kill(os.getpid(), signal.SIGKILL)",
            "    sources, out, news = sys.argv[1].split(':'), sys.argv[2], sys.argv[3]",
            "    reading.ingest(sources, out, news, workers=2, parts=3)",
            "    assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules",
        ]
    )
    (tmp_path / "run.py").write_text(code)
    command = [sys.executable, tmp_path / "run.py", f"{plain}:{packed}", tmp_path / "two", news_file]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    # The pipe is closed when the last process that has it ends: those that read do not outlive their parent.
    killed = subprocess.run([*command, "kill"], env=environment, stdout=subprocess.PIPE, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    [left] = (tmp_path / "two").iterdir()
    assert left.name.startswith(".behaviors.")
    with pytest.raises(DataFormatError, match="no whole log"):
        ImpressionLog.open(tmp_path / "two")
    subprocess.run(command, env=environment, check=True)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["behaviors", "news.tsv"]


@pytest.mark.parametrize("bad", ["x", line("N9-1"), "", line("N1"), line(history="N1 N8")])
@pytest.mark.parametrize("at", [0, 17, 38])
def test_an_error_names_its_file_and_line(tmp_path, news_file, small_stretches, bad, at):
    lines = [*SOME_LINES[:at], bad, *SOME_LINES[at:]]
    paths = [write(tmp_path, *SOME_LINES, name="a.tsv"), write(tmp_path, *lines, name="b.tsv")]
    with pytest.raises(DataFormatError) as caught:
        ingest(paths, tmp_path / "out", news_file, parts=2)
    assert (caught.value.path, caught.value.line) == (paths[1], at + 1)
    assert list((tmp_path / "out").iterdir()) == []


def test_what_is_skipped_is_counted_over_files_and_named_by_line(tmp_path, news_file, small_stretches, caplog):
    lines = ["x", *SOME_LINES[:20], line("N1-1 N9-0"), line("N1 N2"), *SOME_LINES[20:], "x", "", line(history="N8")]
    paths = [write(tmp_path, *SOME_LINES, "", "", name="a.tsv"), write(tmp_path, *lines, name="b.tsv")]
    with caplog.at_level(logging.WARNING, logger="recommenders_miner"):
        log = ingest(paths, tmp_path / "out", news_file, parts=2, on_error="skip")
    plain = ImpressionLog.read(paths[1], NewsTable.read(news_file), on_error="skip", cache=False)
    assert log.skipped.counts == plain.skipped.counts
    assert log.skipped.counts["wrong number of columns"] == 3
    assert caplog.messages[0] == plain.skipped.summary()
    assert len(log) == 2 * len(SOME_LINES) + 2
    assert ImpressionLog.open(tmp_path / "out").skipped == log.skipped
    assert caplog.messages[-1] == log.skipped.summary()


def test_an_unlabelled_log_stays_so(tmp_path, news_file):
    log = ingest([write(tmp_path, line("N1 N2"), line("N3"))], tmp_path / "out", news_file, parts=1)
    assert not log.labelled
    with pytest.raises(DataFormatError, match="line 2: the impression has labels, but those before it have none"):
        ingest([write(tmp_path, line("N1 N2"), line("N3-1"))], tmp_path / "other", news_file, parts=1)


@pytest.mark.parametrize(("lines", "problem"), [([], "the file is empty"), (["x"], "no line could be used")])
def test_a_log_without_an_impression_is_an_error(tmp_path, news_file, lines, problem):
    with pytest.raises(DataFormatError, match=problem):
        ingest([write(tmp_path, *lines)], tmp_path / "out", news_file, on_error="skip")


def test_the_folder_stands_in_the_place_of_a_split(tmp_path, news_file):
    data = tmp_path / "data"
    (tmp_path / "entity_embedding.vec").write_text("Q1\t0.5\n")
    log = ingest([write(tmp_path, *SOME_LINES)], data / "train", news_file, parts=2)
    split, news = Split.find(data, "train"), NewsTable.read(news_file)
    for copied in ("news.tsv", "entity_embedding.vec"):
        assert (data / "train" / copied).read_bytes() == (tmp_path / copied).read_bytes()
    read = ImpressionLog.read(split.behaviors, news)
    assert_same(read, log)
    assert all(is_mapped(array) for array in arrays_of(read).values())
    assert read.digest == log.digest == ImpressionLog.open(data / "train").digest
    assert content_digest(split.behaviors) == content_digest(data / "train" / "behaviors")
    other = NewsTable.from_columns(IDS[::-1], IDS)
    with pytest.raises(DataFormatError, match=r"with other news .*train/news\.tsv"):
        ImpressionLog.read(split.behaviors, other)
    assert read.part(1).digest != read.part(0).digest != read.digest
    assert np.shares_memory(read.part(1).candidates.values, read.candidates.values)
    os.truncate(split.behaviors / "labels.bin", 3)
    with pytest.raises(DataFormatError, match=r"labels\.bin is damaged"):
        ImpressionLog.open(split.behaviors)


@pytest.mark.parametrize("accumulate_steps", [1, 2])
def test_training_goes_through_the_parts_in_turns_and_a_step_depends_on_its_number_alone(
    tmp_path, news_file, accumulate_steps
):
    log = ingest([write(tmp_path, *SOME_LINES)], tmp_path / "out", news_file, parts=3)
    orders = []
    for epoch in range(3):
        options = {"clicks_per_user": 2, "accumulate_steps": accumulate_steps}
        samples = TrainingSamples(log, batch_size=8, npratio=2, **options)
        first = epoch * samples.steps_per_epoch
        steps = [samples.of_step(first + step) for step in range(samples.steps_per_epoch)]
        late = TrainingSamples(log, batch_size=8, npratio=2, **options).of_step(first + 3)
        np.testing.assert_array_equal(np.concatenate(late, axis=None), np.concatenate(steps[3], axis=None))
        shown, candidates = (np.concatenate(arrays) for arrays in zip(*steps, strict=True))
        assert sorted(shown.tolist()) == list(range(len(SOME_LINES)))
        for impression, rows in zip(shown, candidates.tolist(), strict=True):
            slots = slice(*log.candidates.offsets[impression : impression + 2])
            label_of = dict(zip(log.candidates.values[slots].tolist(), log.labels[slots].tolist(), strict=True))
            assert [label_of[row] for row in rows if row] == [1, 0]
        part_of = np.searchsorted(log.parts[:, 0], shown, side="right") - 1
        assert len([*groupby(part_of)]) == 3
        orders.append(tuple(shown.tolist()))
    assert len(set(orders)) == 3
    assert len({tuple(dict.fromkeys(np.searchsorted(log.parts[:, 0], order, side="right"))) for order in orders}) > 1


def test_what_is_in_the_way_is_refused(tmp_path, news_file):
    source, out = write(tmp_path, *SOME_LINES), tmp_path / "out"
    with pytest.raises(RecommendersMinerError, match=r"has a behaviors\.tsv"):
        ingest([source], tmp_path, news_file)
    ingest([source], out, news_file, parts=1)
    with pytest.raises(FolderExistsError):
        ingest([source], out, news_file)
    other = tmp_path / "other.tsv"
    other.write_text("N0\tnews\t\tTitle\t\t\t[]\t[]\n" + news_file.read_text())
    with pytest.raises(RecommendersMinerError, match="is another one than that of"):
        ingest([source], out, other)
    assert ingest([source], out, other, overwrite=True).candidates.values.min() == 2
    assert (out / "news.tsv").read_bytes() == other.read_bytes()
    (out / "articles.parquet").write_bytes(b"of other news")
    with pytest.raises(RecommendersMinerError, match=r"articles\.parquet: is another one than that of"):
        ingest([source], out, other)
    ingest([source], out, other, overwrite=True)
    assert not (out / "articles.parquet").exists()
    with pytest.raises(ValueError, match="no sources"):
        ingest([], tmp_path / "none", other)


def test_ids_of_users_beyond_two_gibibytes_are_an_error(tmp_path, news_file, monkeypatch):
    monkeypatch.setattr(partition, "_MOST_LETTERS", 10)
    with pytest.raises(RecommendersMinerError, match="the ids of all users together take more than 2 GiB"):
        ingest([write(tmp_path, *SOME_LINES)], tmp_path / "out", news_file, parts=3)
    assert list((tmp_path / "out").iterdir()) == []


def test_sources_are_files_folders_patterns_and_uris(tmp_path, news_file):
    first, second = (write(tmp_path, *SOME_LINES, name=f"behaviors-{k}.tsv") for k in "12")
    assert find_sources(str(tmp_path)) == find_sources(f"{tmp_path}/behaviors-*") == [first, second]
    uris = find_sources(tmp_path.as_uri())
    assert uris == [first.as_uri(), second.as_uri()]
    spaced = tmp_path / "a folder"
    (spaced / "sub").mkdir(parents=True)
    for name in ("part 1", "sub/part-2", "_SUCCESS", ".part 1.crc"):
        (spaced / name).write_text("\n".join(SOME_LINES))
    assert find_sources(spaced.as_uri()) == [(spaced / name).as_uri() for name in ("part 1", "sub/part-2")]
    assert len(ingest(find_sources(spaced.as_uri()), tmp_path / "spaced", news_file)) == 2 * len(SOME_LINES)
    with pytest.raises(DataFormatError, match="there is no file"):
        find_sources(f"{tmp_path}/none-*")
    by_uri = ingest(uris, tmp_path / "one", news_file, parts=2)
    assert_same(by_uri, ingest(iter([first, second]), tmp_path / "two", news_file, parts=2))
    with pytest.raises(DataFormatError, match=r"file:///nowhere/x: the path does not exist"):
        ingest(["file:///nowhere/x"], tmp_path / "three", news_file)


def test_the_uris_of_files_keep_all_but_the_path_of_the_folders(monkeypatch):
    store = fs._MockFileSystem()
    store.create_dir("bucket/logs")
    for name in ("behaviors 1.tsv", "news.tsv", "_SUCCESS"):
        store.open_output_stream(f"bucket/logs/{name}").close()
    file_systems = SimpleNamespace(from_uri=lambda uri: (store, "bucket/logs"))
    monkeypatch.setattr(reading, "fs", SimpleNamespace(**vars(fs) | {"FileSystem": file_systems}))
    uri = "s3://KEY:SECRET@bucket/logs{}?endpoint_override=http://localhost:9000"
    assert find_sources(uri.format("/")) == [uri.format("/behaviors%201.tsv")]


def test_blocks_of_a_log_change_no_count(tmp_path, news_file, monkeypatch):
    log = ingest([write(tmp_path, *SOME_LINES, line("N1-0"), line("N2-1"))], tmp_path / "out", news_file, parts=2)
    empty = ingest([write(tmp_path, line("N1-1"))], tmp_path / "few", news_file, parts=9)
    none = next(part for part in map(empty.part, range(9)) if not len(part))
    assert (none.labelled, none.clicks.tolist(), none.has_both.tolist()) == (False, [], [])
    whole = log.candidates.sums(log.labels == 1)
    both = (whole > 0) & (whole < log.candidates.lengths)
    counts = [np.bincount(log.candidates.values[kept], minlength=5) for kept in (log.labels >= 0, log.labels == 1)]
    monkeypatch.setattr(logs, "_IMPRESSIONS_AT_ONCE", 3)
    monkeypatch.setattr(logs, "_CANDIDATES_AT_ONCE", 7)
    assert log.clicks.tolist() == whole.tolist()
    assert log.has_both.tolist() == both.tolist()
    assert log.count_articles(5).tolist() == np.array(counts).tolist()
    assert [len(list(rows)) for _, rows in groupby(log.label_blocks(), len)] == [14]
