"""Zip files that try to write elsewhere, to fill the disk or to be read in two ways. All are made here."""

from __future__ import annotations

import io
import os
import random
import stat
import string
import struct
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.datasets import archives
from recommenders_miner.datasets.archives import extract_zip, zip_entries
from recommenders_miner.errors import DataFormatError, NotWrittenError


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


def files_in(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refuse(archive, tmp_path, match, **options):
    """Checks that an archive is refused and that nothing but it is left."""
    before = {path for path in tmp_path.rglob("*")}
    with pytest.raises(DataFormatError, match=match) as caught:
        extract_zip(archive, tmp_path / "out", **options)
    assert str(archive) in str(caught.value)
    assert {path for path in tmp_path.rglob("*")} == before
    assert not list(tmp_path.parent.glob("evil*"))


def test_paths_that_are_long_but_not_too_long_are_unpacked(tmp_path):
    deep, long = "a/" * 31 + "b", "/".join("ü" * 100 for _ in range(5))
    extract_zip(make_zip(tmp_path / "a.zip", (deep, b"1"), (long, b"2")), tmp_path / "out")
    assert files_in(tmp_path / "out") == {deep: b"1", long: b"2"}


def test_files_are_unpacked_with_their_folders(tmp_path):
    archive = make_zip(tmp_path / "a.zip", ("top.txt", b"1"), ("deep/", b""), ("deep/er/ünder.txt", b"22" * 10**6))
    extract_zip(archive, tmp_path / "out")
    assert files_in(tmp_path / "out") == {"top.txt": b"1", "deep/er/ünder.txt": b"22" * 10**6}
    assert zip_entries(archive) == [PurePosixPath("top.txt"), PurePosixPath("deep/er/ünder.txt")]


def test_only_what_is_wanted_is_unpacked_and_counted(tmp_path):
    archive = make_zip(tmp_path / "a.zip", ("wanted", b"1"), ("other", b"2" * 10**6))
    extract_zip(archive, tmp_path / "out", wanted=lambda name: name == PurePosixPath("wanted"), max_bytes=10)
    assert files_in(tmp_path / "out") == {"wanted": b"1"}


def test_what_stood_there_is_replaced_as_a_whole(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    extract_zip(make_zip(tmp_path / "a.zip", ("new", b"1")), tmp_path / "out")
    assert files_in(tmp_path / "out") == {"new": b"1"}


# === Names ===

TRICKS = {
    "/evil": "absolute",
    "//host/evil": "absolute",
    "C:evil": "absolute",
    "c:/evil": "absolute",
    "../evil": "leaves its folder",
    "a/../../evil": "leaves its folder",
    "a/..": "leaves its folder",
    "..": "leaves its folder",
    ".": "leaves its folder",
    "./evil": "leaves its folder",
    "a//evil": "leaves its folder",
    "": "leaves its folder",
    "a\\..\\..\\evil": "character",
    "..\\evil": "character",
    "\\evil": "character",
    "\\\\host\\evil": "character",
    "good.txt\0.exe": "character",
    "\0": "character",
    "a\nb": "character",
    "file:stream": "character",
    "a?": "character",
    "a.": "dot or a space",
    "a /b": "dot or a space",
    "a" * 300: "longer than",
    "ü" * 200: "longer than",
    "a/" * 32 + "b": "more than 32 names",
    f"{'ü' * 110}/" * 5: "longer than 1,024 bytes",
    "a/" * 31_000 + "b": "longer than 1,024 bytes",
}


@pytest.mark.parametrize("name", TRICKS, ids=lambda name: repr(name[:20]))
def test_a_name_that_is_more_than_a_name_is_refused(tmp_path, name):
    refuse(make_zip(tmp_path / "a.zip", ("good", b"1"), (name, b"evil")), tmp_path, TRICKS[name])


@pytest.mark.parametrize("name", ["../evil", "/evil", "a\\b"])
def test_a_bad_entry_that_is_not_wanted_is_refused_too(tmp_path, name):
    archive = make_zip(tmp_path / "a.zip", ("good", b"1"), (name, b"evil"))
    refuse(archive, tmp_path, "entry", wanted=lambda name: name == PurePosixPath("good"))
    with pytest.raises(DataFormatError, match="entry"):
        zip_entries(archive)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a", "a"),
        ("news.tsv", "NEWS.tsv"),
        ("straße", "STRASSE"),
        ("d/a", "D/a"),
        ("é", "e\N{COMBINING ACUTE ACCENT}"),
    ],
)
def test_an_entry_that_is_there_twice_is_refused(tmp_path, first, second):
    refuse(make_zip(tmp_path / "a.zip", (entry(first), b"1"), (entry(second), b"2")), tmp_path, "twice")


@pytest.mark.parametrize(("file", "inner"), [("a", "a/b"), ("A", "a/b/c"), ("a/b", "a/B/c")])
def test_a_file_that_is_a_folder_too_is_refused(tmp_path, file, inner):
    for order, names in enumerate([(file, inner), (inner, file)]):
        refuse(make_zip(tmp_path / f"{order}.zip", *((name, b"1") for name in names)), tmp_path, "lies in another file")


NAME_PIECES = st.sampled_from(["..", ".", "/", "\\", "\0", "C:", "a", "B", "ü", " ", "~", "-", "\u202e", "\ud800"[:0]])
NAMES = st.one_of(
    st.lists(NAME_PIECES, max_size=8).map("".join),
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.text(string.printable, max_size=20),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=3, unique=True))
def test_whatever_an_entry_is_called_nothing_is_written_elsewhere(tmp_path_factory, given_names):
    root = tmp_path_factory.mktemp("names")
    archive = make_zip(root / "a.zip", *((name, b"x") for name in given_names))
    (root / "inside").mkdir()
    try:
        extract_zip(archive, root / "inside" / "out")
    except DataFormatError:
        assert os.listdir(root / "inside") == []
    else:
        assert os.listdir(root / "inside") == ["out"]
        written = set(files_in(root / "inside" / "out"))
        assert written == {name for name in given_names if not name.endswith("/")}
    assert set(os.listdir(root)) == {"a.zip", "inside"}


# === Links, devices, encryption ===


@pytest.mark.parametrize(
    ("mode", "match"),
    [
        (stat.S_IFLNK | 0o777, "is a link"),
        (stat.S_IFCHR | 0o666, "device"),
        (stat.S_IFBLK | 0o666, "device"),
        (stat.S_IFIFO | 0o666, "special"),
        (stat.S_IFSOCK | 0o666, "special"),
    ],
)
def test_what_is_no_plain_file_is_refused(tmp_path, mode, match):
    refuse(make_zip(tmp_path / "a.zip", ("good", b"1"), (entry("evil", mode), b"/etc/passwd")), tmp_path, match)


def test_rights_are_not_taken_over(tmp_path):
    extract_zip(make_zip(tmp_path / "a.zip", (entry("run", stat.S_IFREG | 0o6777), b"1")), tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out" / "run").stat().st_mode) & 0o7111 == 0


def set_in_directory(path, offset, form, value, also_local=None):
    """Overwrites a field of the first entry in the central directory, and perhaps in the entry's own header."""
    data = bytearray(path.read_bytes())
    struct.pack_into(form, data, data.index(b"PK\1\2") + offset, value)
    if also_local is not None:
        struct.pack_into(form, data, also_local, value)
    path.write_bytes(data)
    return path


def test_an_encrypted_entry_is_refused(tmp_path):
    archive = set_in_directory(make_zip(tmp_path / "a.zip", ("good", b"1")), 8, "<H", 0x1, also_local=6)
    refuse(archive, tmp_path, "is encrypted")


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_entry_of_another_compression_is_refused(tmp_path, compression):
    """Of damaged ones Python raises other errors, and MIND and GloVe have none."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", compression) as archive:
        archive.writestr("a", random.Random(0).randbytes(300))
    refuse(tmp_path / "a.zip", tmp_path, "the entry 'a' is compressed otherwise than by Deflate")
    packed = bytearray((tmp_path / "a.zip").read_bytes())
    packed[60] ^= 0xFF
    (tmp_path / "a.zip").write_bytes(packed)
    refuse(tmp_path / "a.zip", tmp_path, "Deflate")


# === Bombs ===


def test_what_unpacks_to_more_than_is_allowed_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    archive = make_zip(tmp_path / "a.zip", ("a", bytes(600)), ("b", bytes(600)))
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    refuse(archive, tmp_path, r"unpacks to 1,200 bytes, more than the 1,000", max_bytes=1000)


def test_what_the_disk_has_no_room_for_is_refused(tmp_path, monkeypatch):
    archive = make_zip(tmp_path / "a.zip", ("a", bytes(1000)))
    usage = archives.shutil.disk_usage(tmp_path)._replace(free=999)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: usage)
    refuse(archive, tmp_path, "more than the 999")


def test_an_archive_that_understates_what_it_unpacks_to_is_refused(tmp_path):
    archive = set_in_directory(make_zip(tmp_path / "a.zip", ("a", bytes(10**7))), 24, "<I", 100, also_local=22)
    refuse(archive, tmp_path, "CRC|damaged", max_bytes=1000)


def test_more_than_allowed_is_noticed_though_the_list_says_less(tmp_path, monkeypatch):
    archive = make_zip(tmp_path / "a.zip", ("a", bytes(100)))
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: io.BytesIO(bytes(2000)))
    refuse(archive, tmp_path, "more than the 1,000 bytes", max_bytes=1000)


def test_an_archive_that_overstates_what_it_unpacks_to_is_refused(tmp_path):
    archive = set_in_directory(make_zip(tmp_path / "a.zip", ("a", bytes(100))), 24, "<I", 5000, also_local=22)
    refuse(archive, tmp_path, "a has 100 bytes, but is listed with 5,000")


def test_too_many_entries_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_ENTRIES", 3)
    extract_zip(make_zip(tmp_path / "a.zip", *((str(k), b"") for k in range(3))), tmp_path / "out")
    refuse(make_zip(tmp_path / "b.zip", *((str(k), b"") for k in range(4))), tmp_path, "4 entries")


# === Damage ===


@pytest.mark.parametrize("content", [b"", b"no zip file", b"PK\3\4", b"<html>404</html>", bytes(1000)])
def test_what_is_no_zip_file_is_named(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    refuse(tmp_path / "a.zip", tmp_path, "is no zip file")


@settings(max_examples=150, deadline=None)
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
        extract_zip(root / "a.zip", root / "out")
    except DataFormatError:
        assert os.listdir(root) == ["a.zip"]
    else:
        assert set(files_in(root / "out").values()) <= set(content.values())


def test_an_entry_before_the_beginning_of_the_file_is_damage(tmp_path):
    packed = bytearray(make_zip(tmp_path / "a.zip", ("a", b"1")).read_bytes())
    directory = slice(len(packed) - 6, len(packed) - 2)  # where the end record says that the directory begins
    packed[directory] = (int.from_bytes(packed[directory], "little") + 1000).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(packed)
    refuse(tmp_path / "a.zip", tmp_path, "a damaged one")


def test_a_missing_file_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        extract_zip(tmp_path / "none.zip", tmp_path / "out")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    archive = make_zip(tmp_path / "a.zip", ("a", b"1"))
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(NotWrittenError, match="file"):
        extract_zip(archive, tmp_path / "file" / "out")


def test_nothing_half_unpacked_is_left_by_an_interruption(tmp_path, monkeypatch):
    class Interrupted(io.BytesIO):
        def read(self, *_):
            raise KeyboardInterrupt

    archive = make_zip(tmp_path / "a.zip", ("a", b"1"))
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: Interrupted())
    with pytest.raises(KeyboardInterrupt):
        extract_zip(archive, tmp_path / "out")
    assert [path.name for path in Path(tmp_path).iterdir()] == ["a.zip"]
