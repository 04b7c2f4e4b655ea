import contextlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.data import cache
from recommenders_miner.data.cache import load, pack_strings, store, unpack_strings
from tests.data.written_log import is_mapped

ARRAYS = {
    "labels": np.array([1, 0, 0], np.int8),
    "offsets": np.arange(6, dtype=np.int64).reshape(2, 3),
    "empty": np.zeros(0, np.int32),
}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "root" / "entry"
    store(folder, "key", "arrays", fill)
    return folder


def fill(writer):
    writer.append(**{name: array[:1] for name, array in ARRAYS.items()})
    writer.append(**{name: array[1:] for name, array in ARRAYS.items()})
    writer.meta["note"] = [1, None]


def assert_whole(cached):
    arrays, meta = cached
    assert (arrays.keys(), meta) == (ARRAYS.keys(), {"note": [1, None]})
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype


def test_what_is_stored_comes_back_memory_mapped_and_read_only(folder):
    assert_whole(load(folder, "key"))
    arrays, _ = load(folder, "key")
    assert is_mapped(arrays["offsets"])
    assert not is_mapped(arrays["offsets"].copy())
    assert not any(array.flags.writeable for array in arrays.values())
    assert [path.name for path in folder.parent.iterdir()] == ["entry"]
    assert {path.name for path in folder.iterdir()} == {"empty.bin", "labels.bin", "manifest.json", "offsets.bin"}


def test_an_absent_cache_is_none_without_a_warning(tmp_path, caplog):
    assert load(tmp_path / "nothing", "key") is None
    assert not caplog.records


def edit(name, change):
    def damage(folder):
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return damage


DAMAGES = {
    "array cut": edit("offsets.bin", lambda content: content[:-1]),
    "array longer": edit("offsets.bin", lambda content: content + b"\x00"),
    "array changed": edit("labels.bin", lambda _: b"\x01\x01\x00"),
    "array removed": lambda folder: (folder / "labels.bin").unlink(),
    "manifest cut": edit("manifest.json", lambda content: content[:-40]),
    "manifest removed": lambda folder: (folder / "manifest.json").unlink(),
    "manifest replaced": edit("manifest.json", lambda _: b"[1]"),
    "manifest changed": edit("manifest.json", lambda content: content.replace(b"|i1", b"|u1")),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_cache_counts_as_absent_and_is_replaced(folder, damage, caplog):
    damage(folder)
    assert load(folder, "key") is None
    assert len(caplog.records) == 1
    assert "will be rebuilt" in caplog.text
    store(folder, "key", "arrays", fill)
    assert_whole(load(folder, "key"))
    assert [path.name for path in folder.parent.iterdir()] == ["entry"]


@pytest.mark.parametrize(("version", "key"), [(cache.FORMAT_VERSION, "other"), (cache.FORMAT_VERSION + 1, "key")])
def test_a_cache_of_another_version_or_key_counts_as_absent(folder, monkeypatch, version, key):
    monkeypatch.setattr(cache, "FORMAT_VERSION", version)
    assert load(folder, key) is None


@pytest.mark.parametrize("failing", ["pathlib.Path.write_text", "json.dumps", "os.rename"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_crash_while_storing_leaves_nothing(tmp_path, monkeypatch, caplog, failing, error):
    def fail(*_, **__):
        raise error("stopped here")

    folder = tmp_path / "root" / "entry"
    monkeypatch.setattr(failing, fail)
    with contextlib.suppress(KeyboardInterrupt):
        store(folder, "key", "the arrays", fill)
        assert "No cache of the arrays could be kept" in caplog.text
        assert "stopped here" in caplog.text
    assert load(folder, "key") is None
    assert list(tmp_path.iterdir()) == []


def test_a_cache_stored_by_another_process_in_the_meantime_stays(tmp_path, caplog):
    folder = tmp_path / "entry"
    store(folder, "key", "arrays", lambda _: store(folder, "key", "arrays", fill))
    assert_whole(load(folder, "key"))
    assert [path.name for path in tmp_path.iterdir()] == ["entry"]
    assert not caplog.records


@settings(deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"))), st.integers(0, 3))
def test_strings_round_trip(texts, start):
    strings = pa.array(texts, pa.string())[start:]
    data, offsets = pack_strings(strings)
    assert (data.dtype, offsets.dtype) == (np.uint8, np.int32)
    assert data.tobytes().decode() == "".join(texts[start:])
    assert unpack_strings(data, offsets).to_pylist() == texts[start:]
