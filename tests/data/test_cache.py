import json
import logging
import os
import shutil
import threading

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.data import cache
from recommenders_miner.data.cache import ArrayParts, ArrayWriter, load, pack_strings, store, unpack_strings
from tests.killed_at import every_kill

ARRAYS = {
    "labels": np.array([1, 0, 0], np.int8),
    "offsets": np.arange(6, dtype=np.int64).reshape(2, 3),
    "empty": np.zeros(0, np.int32),
}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "root" / "entry"
    store(folder, "key", ARRAYS, {"note": [1, None]})
    return folder


def assert_whole(cached):
    assert cached.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(cached.arrays[name], array)
        assert cached.arrays[name].dtype == array.dtype


def test_what_is_stored_comes_back_memory_mapped_and_read_only(folder):
    cached = load(folder, "key", verify=True)
    assert_whole(cached)
    assert cached.meta == {"note": [1, None]}
    assert isinstance(cached.arrays["offsets"], np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        cached.arrays["labels"][0] = 5
    assert sorted(path.name for path in folder.parent.iterdir()) == ["entry"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "empty.npy",
        "labels.npy",
        "manifest.json",
        "offsets.npy",
    ]


def test_an_absent_cache_is_none_without_a_warning(tmp_path, caplog):
    assert load(tmp_path / "nothing", "key") is None
    assert not caplog.records


def cut_array(folder):
    path = folder / "offsets.npy"
    path.write_bytes(path.read_bytes()[:-1])


def lengthen_array(folder):
    path = folder / "offsets.npy"
    path.write_bytes(path.read_bytes() + b"\x00")


def cut_array_header(folder):
    (folder / "offsets.npy").write_bytes(b"\x93NUM")


def remove_array(folder):
    (folder / "labels.npy").unlink()


def cut_manifest(folder):
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes()[:-40])


def remove_manifest(folder):
    (folder / "manifest.json").unlink()


def replace_manifest(folder):
    (folder / "manifest.json").write_text("[1]")


def edit_manifest(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def other_version(folder):
    edit_manifest(folder, format=cache.FORMAT_VERSION + 1)


def arrays_as_list(folder):
    edit_manifest(folder, arrays=["labels"])


def other_dtype(folder):
    np.save(folder / "labels.npy", np.array([1, 0, 0], np.uint8))


def other_shape(folder):
    np.save(folder / "offsets.npy", np.arange(6).reshape(3, 2))


def pickled_array(folder):
    path = folder / "labels.npy"
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)
    entry = {"bytes": path.stat().st_size, "dtype": "|O", "shape": [1], "blake2b": ""}
    edit_manifest(folder, arrays={"labels": entry})


@pytest.mark.parametrize(
    "damage",
    [
        cut_array,
        lengthen_array,
        cut_array_header,
        remove_array,
        cut_manifest,
        remove_manifest,
        replace_manifest,
        other_version,
        arrays_as_list,
        other_dtype,
        other_shape,
        pickled_array,
    ],
)
def test_a_damaged_cache_counts_as_absent_and_is_replaced(folder, damage, caplog):
    damage(folder)
    with caplog.at_level(logging.WARNING, logger="recommenders_miner"):
        assert load(folder, "key") is None
    assert len(caplog.records) == 1
    assert "will be rebuilt" in caplog.text
    store(folder, "key", ARRAYS)
    assert_whole(load(folder, "key", verify=True))
    assert [path.name for path in folder.parent.iterdir()] == ["entry"]


def test_another_key_does_not_match(folder):
    assert load(folder, "other") is None


def test_a_changed_byte_is_found_by_verify(folder):
    path = folder / "labels.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    assert load(folder, "key") is not None
    assert load(folder, "key", verify=True) is None


def test_a_valid_cache_is_not_replaced(folder):
    before = (folder / "labels.npy").stat().st_ino
    store(folder, "key", ARRAYS)
    assert (folder / "labels.npy").stat().st_ino == before
    assert [path.name for path in folder.parent.iterdir()] == ["entry"]


@pytest.mark.parametrize("failing", ["os.fsync", "json.dump", "os.rename"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_crash_while_storing_leaves_nothing(tmp_path, monkeypatch, failing, error):
    def fail(*_, **__):
        raise error("stopped here")

    folder = tmp_path / "root" / "entry"
    with monkeypatch.context() as patch:
        patch.setattr(failing, fail)
        with pytest.raises(error, match="stopped here"):
            store(folder, "key", ARRAYS)
    assert load(folder, "key") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", [lambda folder: ArrayParts(), ArrayWriter])
def test_arrays_grow_by_parts(tmp_path, make):
    writer = make(tmp_path)
    for part in ([1, 2], [], [3]):
        writer.append(ids=np.array(part, np.int32), pairs=np.zeros((len(part), 2), np.int8))
    if isinstance(writer, ArrayWriter):
        with writer:
            entries = writer.finish()
        found = {name: np.load(tmp_path / f"{name}.npy") for name in entries}
    else:
        found = writer.arrays()
    assert found["ids"].tolist() == [1, 2, 3]
    assert found["ids"].dtype == np.int32
    assert found["pairs"].shape == (3, 2)


def test_parts_of_another_kind_are_refused(tmp_path):
    with ArrayWriter(tmp_path) as writer:
        writer.append(ids=np.zeros(2, np.int32))
        with pytest.raises(ValueError, match="its next part is int64"):
            writer.append(ids=np.zeros(2, np.int64))


def test_a_process_killed_while_storing_leaves_nothing_that_loads(tmp_path, monkeypatch):
    """What `kill -9` leaves: the temporary folder as it was, since nobody could clean up."""
    folder = tmp_path / "entry"

    def killed(*_, **__):
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr("json.dump", killed)
        patch.setattr("shutil.rmtree", lambda *_, **__: None)
        with pytest.raises(OSError):  # noqa: PT011
            store(folder, "key", ARRAYS)
    assert len(list(tmp_path.iterdir())) == 1, "the temporary folder was to be left"
    assert load(folder, "key") is None
    store(folder, "key", ARRAYS)
    assert_whole(load(folder, "key", verify=True))
    assert list(tmp_path.iterdir()) == [folder], "storing was to clear the temporary folder away"


@pytest.mark.skipif(os.name != "posix", reason="there is no fork")
@pytest.mark.parametrize("damaged", [False, True])
def test_a_kill_at_any_moment_leaves_a_whole_cache_or_none_and_the_next_store_clears_up(tmp_path, damaged):
    folder = tmp_path / "root" / "entry"
    deaths, whole = 0, 0
    for _ in every_kill(lambda: store(folder, "key", ARRAYS)):
        deaths += 1
        cached = load(folder, "key", verify=True)
        if cached is not None:
            assert_whole(cached)
            whole += 1
        store(folder, "key", ARRAYS)
        assert_whole(load(folder, "key", verify=True))
        assert [path.name for path in folder.parent.iterdir()] == ["entry"]
        if damaged:
            cut_array(folder)
        else:
            shutil.rmtree(folder.parent)
    assert 0 < whole < deaths


@pytest.mark.parametrize("damaged", [False, True])
def test_storing_the_same_key_at_once_ends_with_a_valid_cache(tmp_path, damaged):
    folder = tmp_path / "entry"
    if damaged:
        store(folder, "key", ARRAYS)
        cut_array(folder)
    errors = []
    barrier = threading.Barrier(8)

    def work():
        barrier.wait()
        try:
            store(folder, "key", ARRAYS)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert_whole(load(folder, "key", verify=True))
    assert [path.name for path in tmp_path.iterdir()] == ["entry"]


def test_a_cache_stored_by_another_process_in_the_meantime_stays(tmp_path, monkeypatch):
    folder = tmp_path / "entry"
    rename = os.rename

    def rename_too_late(source, target):
        with monkeypatch.context() as patch:
            patch.setattr("os.rename", rename)
            store(folder, "key", ARRAYS, {"by": "the other"})
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("os.rename", rename_too_late)
        store(folder, "key", ARRAYS, {"by": "this one"})
    assert load(folder, "key", verify=True).meta == {"by": "the other"}
    assert [path.name for path in tmp_path.iterdir()] == ["entry"]


@settings(deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"))), st.integers(0, 3))
def test_strings_round_trip(texts, start):
    strings = pa.array(texts, pa.string())[start:]
    data, offsets = pack_strings(strings)
    assert (data.dtype, offsets.dtype) == (np.uint8, np.int32)
    assert data.tobytes().decode() == "".join(texts[start:])
    assert unpack_strings(data, offsets).to_pylist() == texts[start:]
