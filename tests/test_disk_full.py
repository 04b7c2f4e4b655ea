"""Disks that are really full or read-only: small ones in memory, where the tests may mount them (Linux, as root)."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys

import pytest

from recommenders_miner.data.log import CACHE_FOLDER, ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.errors import NotWrittenError
from recommenders_miner.storage import atomic_write

DISK_BYTES = 2**20
NEWS = NewsTable.from_columns(["N1", "N2"], ["moss on roofs", "a calm sea"])
LINE = "1\tU1\t11/12/2019 2:14:46 PM\tN1\tN1-0 N2-1\n"


class Disk:
    """A small disk in memory."""

    def __init__(self, folder):
        self.folder = folder
        self._run("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", folder)

    def make_read_only(self):
        self._run("mount", "-o", "remount,ro", self.folder)

    def fill_but(self, free):
        """Leaves some bytes free, rounded down to pages."""
        (self.folder / "filler").write_bytes(b"x" * (shutil.disk_usage(self.folder).free - free))

    def close(self):
        self._run("umount", "--lazy", self.folder)  # logged errors may still hold files

    @staticmethod
    def _run(*command):
        subprocess.run([str(word) for word in command], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        disk = Disk(folder)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no disk can be mounted here")
    yield disk
    disk.close()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write_log(folder, lines):
    path = folder / "behaviors.tsv"
    path.write_text(LINE * lines)
    return path


@pytest.mark.parametrize("obstacle", ["full", "read-only"])
def test_a_log_is_read_where_its_cache_cannot_be_kept(disk, caplog, obstacle):
    path = write_log(disk.folder, 10_000)
    if obstacle == "full":
        disk.fill_but(2**17)
    else:
        disk.make_read_only()
    before = names(disk.folder)
    with caplog.at_level(logging.WARNING, logger="recommenders_miner"):
        log = ImpressionLog.read(path, NEWS)
    assert len(log) == 10_000
    assert "No cache of" in caplog.text
    assert ("No space left on device" if obstacle == "full" else "Read-only file system") in caplog.text
    assert names(disk.folder) == before
    assert CACHE_FOLDER not in before


@pytest.mark.parametrize("obstacle", ["full", "read-only"])
def test_a_file_that_cannot_be_written_is_named_and_the_old_one_stands(disk, obstacle):
    path = disk.folder / "words.txt"
    path.write_text("old")
    if obstacle == "full":
        disk.fill_but(2**14)
    else:
        disk.make_read_only()
    before = names(disk.folder)
    expected = pytest.raises(NotWrittenError, match=r"words\.txt: not written \((No space|Read-only)")
    with expected, atomic_write(path) as partial:
        partial.write_bytes(b"x" * 2**18)
    assert path.read_text() == "old"
    assert names(disk.folder) == before


@pytest.mark.slow
@pytest.mark.parametrize("obstacle", ["full", "read-only"])
def test_a_model_that_cannot_be_saved_leaves_the_old_one_whole(disk, obstacle):
    from recommenders_miner.models import load_model
    from tests.models.toy import IDS, fresh_toy_model

    first, second = fresh_toy_model("nrms", seed=1), fresh_toy_model("nrms", seed=2)
    first.save(disk.folder / "saved")
    before = names(disk.folder)
    if obstacle == "full":
        for free in (2**12, 2**14, 2**15, 2**16):
            disk.fill_but(free)
            with pytest.raises(NotWrittenError, match=r"saved.*: not written"):
                second.save(disk.folder / "saved")
            (disk.folder / "filler").unlink()
    else:
        disk.make_read_only()
        with pytest.raises(NotWrittenError, match="Read-only file system"):
            second.save(disk.folder / "saved")
    assert names(disk.folder) == before
    loaded = load_model(disk.folder / "saved")
    loaded.set_news(first.news)
    assert loaded.score(IDS[:2], IDS).tolist() == first.score(IDS[:2], IDS).tolist()


@pytest.mark.skipif(os.name != "posix", reason="there are no such limits")
def test_a_limit_on_file_sizes_is_a_full_disk(tmp_path):
    code = (
        "import resource, sys\nfrom recommenders_miner.errors import NotWrittenError\n"
        "from recommenders_miner.data.vocabulary import Vocabulary\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "try:\n    Vocabulary([f'word{k}' for k in range(9_999)]).save(sys.argv[1])\n"
        "except NotWrittenError as error:\n    print(error)\n"
    )
    path = tmp_path / "words.txt"
    path.write_text("old")
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)
    assert "words.txt: not written (File too large); what was there is unchanged" in done.stdout
    assert path.read_text() == "old"
    assert names(tmp_path) == ["words.txt"]
