"""Zip files that try to write elsewhere, to fill the disk or to be read in two ways. All are made here."""

from __future__ import annotations

import io
import os
import random
import stat
import string
import struct
import zipfile
from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.datasets import archives
from recommenders_miner.datasets.archives import extract_zip, zip_entries
from recommenders_miner.errors import DataFormatError, NotWrittenError
from recommenders_miner.storage import new_folder
from tests.datasets.mind_like import read


def entry(name, mode=None):
    """An entry whose name is stored as it is given, which `zipfile` would not do with all of them."""
    info = zipfile.ZipInfo("x")
    info.filename = info.orig_filename = name
    if mode is not None:
        info.create_system, info.external_attr = 3, mode << 16
    return info


def make_zip(path, *entries):
    """A zip file of (name or entry, content) pairs."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(entry(name) if isinstance(name, str) else name, content, zipfile.ZIP_DEFLATED)
    return path


def unpack(archive, folder):
    """Unpack all that there is, as it is called."""
    with new_folder(folder) as new:
        targets = {name: new / name for name in zip_entries(archive)}
        for target in targets.values():
            target.parent.mkdir(parents=True, exist_ok=True)
        extract_zip(archive, targets)


def refuse(archive, tmp_path, match):
    """Check that an archive is refused and that nothing but it is left."""
    before = set(tmp_path.rglob("*"))
    with pytest.raises(DataFormatError, match=match) as caught:
        unpack(archive, tmp_path / "out")
    assert str(archive) in str(caught.value)
    assert set(tmp_path.rglob("*")) == before
    assert not list(tmp_path.parent.glob("evil*"))


def test_files_are_unpacked_whatever_folders_they_lie_in(tmp_path):
    long_path, deep_path = "/".join("ü" * 100 for _ in range(5)), "a/" * 31 + "b"
    files = {"top.txt": b"1", "deep/er/ünder.txt": b"22" * 10**6, long_path: b"3", deep_path: b"4"}
    archive = make_zip(tmp_path / "a.zip", ("deep/", b""), *files.items())
    assert zip_entries(archive) == [PurePosixPath(name) for name in files]
    unpack(archive, tmp_path / "out")
    assert read(tmp_path / "out") == files


def test_only_what_is_wanted_is_unpacked_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_BYTES", 10)
    archive = make_zip(tmp_path / "a.zip", ("x/wanted", b"1"), ("other", b"2" * 10**6))
    extract_zip(archive, {PurePosixPath("x/wanted"): tmp_path / "mine"})
    assert read(tmp_path).keys() == {"a.zip", "mine"}
    assert (tmp_path / "mine").read_bytes() == b"1"


# === Names ===

TRICKS = {
    "absolute": ["/evil", "//host/evil", "C:evil", "c:/evil"],
    "leaves its folder": ["../evil", "a/../../evil", "a/..", "..", ".", "./evil", "a//evil", ""],
    "character": ["a\\..\\..\\evil", "..\\evil", "\\\\host\\evil", "good.txt\0.exe", "\0", "a\nb", "file:stream", "a?"],
    "dot or a space": ["a.", "a /b"],
    "longer than": ["a" * 300, "ü" * 200],
    "more than 32 names": ["a/" * 32 + "b"],
    "longer than 1,024 bytes": [f"{'ü' * 110}/" * 5, "a/" * 31_000 + "b"],
}


@pytest.mark.parametrize(("match", "names"), TRICKS.items(), ids=list(TRICKS))
def test_a_name_that_is_more_than_a_name_is_refused_though_it_is_not_wanted(tmp_path, match, names):
    for name in names:
        archive = make_zip(tmp_path / "a.zip", ("good", b"1"), (name, b"evil"))
        refuse(archive, tmp_path, match)
        with pytest.raises(DataFormatError, match=match):
            extract_zip(archive, {PurePosixPath("good"): tmp_path / "good"})


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("first", "second", "match"),
    [
        ("a", "a", "twice"),
        ("news.tsv", "NEWS.tsv", "twice"),
        ("straße", "STRASSE", "twice"),
        ("d/a", "D/a", "twice"),
        ("é", "e\N{COMBINING ACUTE ACCENT}", "twice"),
        ("a", "a/b", "lies in another file"),
        ("A", "a/b/c", "lies in another file"),
        ("a/B/c", "a/b", "lies in another file"),
    ],
)
def test_what_some_file_system_takes_for_one_name_is_refused(tmp_path, first, second, match):
    for names in ([first, second], [second, first]):
        refuse(make_zip(tmp_path / "a.zip", *((name, b"1") for name in names)), tmp_path, match)


NAME_PIECES = st.sampled_from(["..", ".", "/", "\\", "\0", "C:", "a", "B", "ü", " ", "~", "-", "\u202e"])
NAMES = st.one_of(
    st.lists(NAME_PIECES, max_size=8).map("".join),
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.text(string.printable, max_size=20),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=3, unique=True))
def test_whatever_an_entry_is_called_nothing_is_written_elsewhere(tmp_path_factory, given_names):
    root = tmp_path_factory.mktemp("names")
    archive = make_zip(root / "a.zip", *((name, b"x") for name in given_names))
    (root / "inside").mkdir()
    try:
        unpack(archive, root / "inside" / "out")
    except DataFormatError:
        assert os.listdir(root / "inside") == []
    else:
        assert os.listdir(root / "inside") == ["out"]
        assert set(read(root / "inside" / "out")) == {name for name in given_names if not name.endswith("/")}
    assert set(os.listdir(root)) == {"a.zip", "inside"}


# === Links, devices, encryption ===


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        (stat.S_IFLNK, "is a link"),
        (stat.S_IFCHR, "device"),
        (stat.S_IFBLK, "device"),
        (stat.S_IFIFO, "special"),
        (stat.S_IFSOCK, "special"),
    ],
)
def test_what_is_no_plain_file_is_refused(tmp_path, kind, match):
    refuse(make_zip(tmp_path / "a.zip", ("good", b"1"), (entry("evil", kind | 0o777), b"/etc")), tmp_path, match)


def test_permissions_are_not_taken_over(tmp_path):
    unpack(make_zip(tmp_path / "a.zip", (entry("run", stat.S_IFREG | 0o6777), b"1")), tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out" / "run").stat().st_mode) & 0o7111 == 0


def tampered(path, content, offset, local_offset, form, value):
    """A zip file of one entry with a field overwritten, in the central directory and in the entry's own header."""
    data = bytearray(make_zip(path, ("a", content)).read_bytes())
    struct.pack_into(form, data, data.index(b"PK\1\2") + offset, value)
    struct.pack_into(form, data, local_offset, value)
    path.write_bytes(data)
    return path


def test_an_encrypted_entry_is_refused(tmp_path):
    refuse(tampered(tmp_path / "a.zip", b"1", 8, 6, "<H", 0x1), tmp_path, "is encrypted")


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_entry_of_another_compression_is_refused(tmp_path, compression):
    """Of damaged ones Python raises other errors, and MIND and GloVe have none."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", compression) as archive:
        archive.writestr("a", random.Random(0).randbytes(300))
    refuse(tmp_path / "a.zip", tmp_path, "the entry 'a' is compressed otherwise than by Deflate")


# === Bombs ===


def test_what_unpacks_to_more_than_is_allowed_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    archive = make_zip(tmp_path / "a.zip", ("a", bytes(600)), ("b", bytes(600)))
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    monkeypatch.setattr(archives, "MAX_BYTES", 1000)
    refuse(archive, tmp_path, r"unpacks to 1,200 bytes, more than the 1,000")
    usage = archives.shutil.disk_usage(tmp_path)._replace(free=999)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: usage)
    refuse(archive, tmp_path, "more than the 999 that are allowed or free")


@pytest.mark.parametrize(
    ("listed", "match"), [(100, "CRC|damaged"), (2 * 10**7, "a has 10,000,000 bytes, but is listed with 20,000,000")]
)
def test_an_archive_that_lies_about_what_it_unpacks_to_is_refused_and_fills_no_disk(tmp_path, listed, match):
    archive = tampered(tmp_path / "a.zip", bytes(10**7), 24, 22, "<I", listed)
    refuse(archive, tmp_path, match)
    with pytest.raises(DataFormatError, match=match):
        extract_zip(archive, {PurePosixPath("a"): tmp_path / "a"})
    assert (tmp_path / "a").stat().st_size <= listed


def test_too_many_entries_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_ENTRIES", 3)
    unpack(make_zip(tmp_path / "a.zip", *((str(k), b"") for k in range(3))), tmp_path / "out")
    with pytest.raises(DataFormatError, match="4 entries"):
        zip_entries(make_zip(tmp_path / "b.zip", *((str(k), b"") for k in range(4))))


# === Damage ===


@pytest.mark.parametrize("content", [b"", b"no zip file", b"PK\3\4", b"<html>404</html>", bytes(1000)])
def test_what_is_no_zip_file_is_named(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    refuse(tmp_path / "a.zip", tmp_path, "is no zip file")


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_damaged_archive_is_refused_or_unpacks_to_what_was_packed(tmp_path_factory, data):
    root = tmp_path_factory.mktemp("damage")
    content = {"news.tsv": random.Random(0).randbytes(300) + bytes(300), "behaviors.tsv": b"some text " * 50}
    packed = bytearray(make_zip(root / "a.zip", *content.items()).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    packed = packed[: data.draw(st.one_of(st.just(len(packed)), st.integers(0, len(packed))))]
    (root / "a.zip").write_bytes(packed)
    try:
        unpack(root / "a.zip", root / "out")
    except DataFormatError:
        assert os.listdir(root) == ["a.zip"]
    else:
        assert set(read(root / "out").values()) <= set(content.values())


def test_an_entry_before_the_beginning_of_the_file_is_damage(tmp_path):
    packed = bytearray(make_zip(tmp_path / "a.zip", ("a", b"1")).read_bytes())
    directory = slice(len(packed) - 6, len(packed) - 2)  # where the end record says that the directory begins
    packed[directory] = (int.from_bytes(packed[directory], "little") + 1000).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(packed)
    refuse(tmp_path / "a.zip", tmp_path, "a damaged one")


def test_a_missing_file_and_a_place_that_cannot_be_written_are_errors_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        unpack(tmp_path / "none.zip", tmp_path / "out")
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(NotWrittenError, match="file"):
        unpack(make_zip(tmp_path / "a.zip", ("a", b"1")), tmp_path / "file" / "out")


def test_nothing_half_unpacked_is_left_by_an_interruption(tmp_path, monkeypatch):
    class Interrupted(io.BytesIO):
        def read(self, *_):
            raise KeyboardInterrupt

    archive = make_zip(tmp_path / "a.zip", ("a", b"1"))
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: Interrupted())
    with pytest.raises(KeyboardInterrupt):
        unpack(archive, tmp_path / "out")
    assert os.listdir(tmp_path) == ["a.zip"]
