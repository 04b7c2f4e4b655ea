"""The memory-mapped cache of a log."""

import logging
import os
import time

import numpy as np
import pytest

from recommenders_miner.data.behaviors import read_behaviors
from recommenders_miner.data.log import CACHE_FOLDER, ImpressionLog
from recommenders_miner.errors import DataFormatError
from tests.data.written_log import (
    NEWS,
    arrays_of,
    assert_same,
    is_mapped,
    line,
    make_news,
    read,
    write,
)


def entries(folder):
    return sorted(path.name for path in (folder / CACHE_FOLDER).iterdir())


@pytest.fixture
def never_parse(monkeypatch):
    """Makes reading of a file an error, so that what is returned must come from a cache."""

    def activate():
        def fail(*_):
            raise AssertionError("the file was parsed again")

        monkeypatch.setattr("recommenders_miner.data.log.read_behaviors", fail)

    return activate


def test_the_second_read_is_memory_mapped_and_equal(tmp_path, never_parse):
    path = write(tmp_path, line(user="Ü"), line("N3-1", "", number="5"))
    plain = read(path)
    first = read(path, cache=True)
    never_parse()
    second = read(path, cache=True)
    assert_same(first, plain)
    assert_same(second, plain)
    assert all(map(is_mapped, arrays_of(second).values()))
    assert len(entries(tmp_path)) == 1
    assert entries(tmp_path)[0].startswith("behaviors-")


def test_the_cache_can_lie_elsewhere(tmp_path, never_parse):
    data, elsewhere = tmp_path / "data", tmp_path / "else" / "where"
    data.mkdir()
    path = write(data, line(history=""))
    first = read(path, cache=elsewhere)
    assert list(data.iterdir()) == [path]
    never_parse()
    assert_same(read(path, cache=str(elsewhere)), first)
    assert len(first.histories.values) == 0


def test_no_file_or_table_is_mistaken_for_another(tmp_path):
    path = write(tmp_path, line("N1-0 N2-1"))
    other = write(tmp_path, line("N2-0 N1-1"), name="other.tsv")
    swapped = make_news("N2", "N1")
    for _ in range(2):
        assert read(path, cache=True).candidates.values.tolist() == [1, 2]
        assert read(path, swapped, cache=True).candidates.values.tolist() == [2, 1]
        assert read(other, cache=True).candidates.values.tolist() == [2, 1]
        assert read(other, swapped, cache=True).candidates.values.tolist() == [1, 2]
    assert len(entries(tmp_path)) == 4
    write(tmp_path, line("N3-0"))
    assert read(path, cache=True).candidates.values.tolist() == [3]
    assert len(entries(tmp_path)) == 5, "the first cache may still be in use"


def test_the_digest_names_the_content(tmp_path):
    path, other = write(tmp_path, line("N1-0 N2-1")), write(tmp_path, line("N2-0 N1-1"), name="other.tsv")
    for cache in (True, False):
        assert read(path, cache=cache).digest == read(path, cache=cache).digest != read(other, cache=cache).digest
    swapped = make_news("N2", "N1", "N3")
    assert read(path, cache=True).digest != read(path, swapped, cache=True).digest
    in_memory = [ImpressionLog.from_columns(NEWS, [["N1"]], [["N2"]], users=[user]).digest for user in ("a", "a", "b")]
    assert in_memory[0] == in_memory[1] != in_memory[2]


def test_modes_are_not_confused_and_the_report_is_kept_whatever_the_path(tmp_path, never_parse, caplog):
    path, cache = write(tmp_path, line("N1-0 N9-0"), line(number="2")), tmp_path / "shared"
    skipped = read(path, cache=cache, on_error="skip")
    with pytest.raises(DataFormatError, match="'N9-0'"):
        read(path, cache=cache)
    never_parse()
    caplog.clear()
    again = read(path, cache=cache, on_error="skip")
    assert_same(again, skipped)
    assert again.skipped.counts == {"unknown news id among the candidates": 1}
    assert caplog.messages == [again.skipped.summary()]
    assert read(path.rename(tmp_path / "moved"), cache=cache, on_error="skip").skipped.path == tmp_path / "moved"


def test_a_damaged_cache_is_read_anew_and_replaced(tmp_path, caplog):
    path = write(tmp_path, line("N1-0 N9-0 N2-1"))
    first = read(path, on_error="skip")
    read(path, cache=True, on_error="skip")
    [array] = (tmp_path / CACHE_FOLDER).glob("*/candidates.bin")
    np.array([77, 1], np.int32).tofile(array)
    caplog.clear()
    assert_same(read(path, cache=True, on_error="skip"), first)
    assert "is removed and will be rebuilt" in caplog.text
    caplog.clear()
    assert_same(read(path, cache=True, on_error="skip"), first)
    assert caplog.messages == [first.skipped.summary()]


@pytest.mark.parametrize("way", ["written to", "replaced"])
def test_what_was_read_of_a_file_that_changed_meanwhile_is_not_cached(tmp_path, monkeypatch, caplog, way):
    path, other = write(tmp_path, line("N1-0")), write(tmp_path, line("N2-0"), name="other.tsv")
    original, age = path.read_bytes(), path.stat().st_mtime_ns
    os.utime(other, ns=(age, age))

    def read_late(*arguments):
        time.sleep(0.02)  # the clock of files has ticks
        if way == "written to":
            path.write_bytes(other.read_bytes())
        else:
            other.rename(path)
        return read_behaviors(*arguments)

    with monkeypatch.context() as patch:
        calls = iter([read_late, read_behaviors])
        patch.setattr("recommenders_miner.data.log.read_behaviors", lambda *a: next(calls)(*a))
        assert read(path, cache=True).candidates.values.tolist() == [2]
    assert "the file changed while it was read" in caplog.text
    path.write_bytes(original)
    assert read(path, cache=True).candidates.values.tolist() == [1]


@pytest.mark.parametrize("place", ["a file", "a file/folder", "x" * 300])
def test_without_a_place_for_a_cache_reading_goes_on_with_one_warning(tmp_path, caplog, place):
    path = write(tmp_path, line())
    plain = read(path)
    (tmp_path / "a file").write_text("")
    with caplog.at_level(logging.WARNING, logger="recommenders_miner"):
        log = read(path, cache=tmp_path / place)
    assert_same(log, plain)
    assert len(caplog.messages) == 1
    assert "No cache of" in caplog.text
    assert not log.candidates.values.flags.writeable
