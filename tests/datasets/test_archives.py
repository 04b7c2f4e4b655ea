"""Zip files that try to write elsewhere, to fill the disk or to be read in two ways. All are made here."""

from __future__ import annotations

import os
import random
import stat
import struct
import zipfile
from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.datasets import archives
from recommenders_miner.datasets.archives import extract_zip, zip_entries
from recommenders_miner.errors import DataFormatError
from recommenders_miner.storage import new_folder
from tests.datasets.mind_like import read


def make_zip(path, *entries):
    """A zip file of (name, content) or (name, content, mode), names stored as given, as `zipfile` would not do it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, *mode in entries:
            info = zipfile.ZipInfo("x")
            info.filename = info.orig_filename = name
            if mode:
                info.create_system, info.external_attr = 3, mode[0] << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


def unpack(archive, folder):
    """Unpack all that there is, as it is called."""
    with new_folder(folder) as new:
        targets = {name: new / name for name in zip_entries(archive)}
        for target in targets.values():
            target.parent.mkdir(parents=True, exist_ok=True)
        extract_zip(archive, targets)


def refuse(archive, tmp_path, match):
    """Check that an archive is refused, though only another entry is wanted, and that nothing but it is left."""
    before = set(tmp_path.rglob("*"))
    with pytest.raises(DataFormatError, match=match) as caught:
        unpack(archive, tmp_path / "out")
    assert str(archive) in str(caught.value)
    assert set(tmp_path.rglob("*")) == before
    assert not list(tmp_path.parent.glob("evil*"))


def test_files_are_unpacked_whatever_folders_they_lie_in_without_their_permissions(tmp_path):
    files = {"top.txt": b"1", "deep/er/ünder.txt": b"22" * 10**6, "run": b"5"}
    entries = [(*file, stat.S_IFREG | 0o6777) if file[0] == "run" else file for file in files.items()]
    archive = make_zip(tmp_path / "a.zip", ("deep/", b""), *entries)
    assert zip_entries(archive) == [PurePosixPath(name) for name in files]
    unpack(archive, tmp_path / "out")
    assert read(tmp_path / "out") == files
    assert stat.S_IMODE((tmp_path / "out" / "run").stat().st_mode) & 0o7111 == 0


def test_only_what_is_wanted_is_unpacked_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_BYTES", 10)
    archive = make_zip(tmp_path / "a.zip", ("x/wanted", b"1"), ("other", b"2" * 10**6))
    extract_zip(archive, {PurePosixPath("x/wanted"): tmp_path / "mine", PurePosixPath("none"): tmp_path / "none"})
    assert read(tmp_path).keys() == {"a.zip", "mine"}
    assert (tmp_path / "mine").read_bytes() == b"1"


# === Names and kinds ===

UNSAFE = "/evil|//host/evil|C:evil|../evil|a/../../evil|a/..|..|.|./evil|a//evil||a\\..\\..\\evil|\\\\host\\evil"
UNSAFE = [*UNSAFE.replace("||", "|").split("|"), "good.txt\0.exe", "\0", "a\nb", "file:stream"]


@pytest.mark.parametrize("name", UNSAFE, ids=ascii)
def test_a_name_that_is_more_than_a_name_is_refused_though_it_is_not_wanted(tmp_path, name):
    archive = make_zip(tmp_path / "a.zip", ("good", b"1"), (name, b"evil"))
    refuse(archive, tmp_path, "leaves its folder, or that not every system")
    with pytest.raises(DataFormatError, match="leaves its folder"):
        extract_zip(archive, {PurePosixPath("good"): tmp_path / "good"})


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_what_is_no_plain_file_is_refused(tmp_path, kind):
    archive = make_zip(tmp_path / "a.zip", ("good", b"1"), ("evil", b"/etc", kind | 0o777))
    refuse(archive, tmp_path, "is a link, a device or another special file")


def tampered(path, content, offset, local_offset, form, value):
    """A zip file of one entry with a field overwritten, in the central directory and in the entry's own header."""
    data = bytearray(make_zip(path, ("a", content)).read_bytes())
    struct.pack_into(form, data, data.index(b"PK\1\2") + offset, value)
    struct.pack_into(form, data, local_offset, value)
    path.write_bytes(data)
    return path


def test_an_encrypted_entry_is_refused(tmp_path):
    refuse(tampered(tmp_path / "a.zip", b"1", 8, 6, "<H", 0x1), tmp_path, "encrypted")


# === Bombs and damage ===


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


@pytest.mark.parametrize("content", [b"", b"no zip file", b"PK\3\4", b"<html>404</html>", bytes(1000)])
def test_what_is_no_zip_file_is_named(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    refuse(tmp_path / "a.zip", tmp_path, "is no zip file")
    with pytest.raises(FileNotFoundError):
        zip_entries(tmp_path / "none.zip")


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
