"""Disks that are really full or read-only: small ones in memory, where the tests may mount them (Linux, as root)."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys

import pytest

from recommenders_miner.data.log import CACHE_FOLDER, ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.errors import NotWrittenError

DISK_BYTES = 2**20
NEWS = NewsTable.from_columns(["N1", "N2"], ["moss on roofs", "a calm sea"])
LINE = "1\tU1\t11/12/2019 2:14:46 PM\tN1\tN1-0 N2-1\n"


def run(*command):
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


@pytest.fixture(params=["full", "read-only"])
def disk(request, tmp_path):
    """A small disk in memory, and what makes it full but for some bytes, or read-only."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        run("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", folder)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no disk can be mounted here")

    def obstruct(free):
        if request.param == "read-only":
            run("mount", "-o", "remount,ro", folder)
        else:
            (folder / "filler").write_bytes(b"x" * (shutil.disk_usage(folder).free - free))

    yield folder, obstruct
    run("umount", "--lazy", folder)  # logged errors may still hold files


def names(folder):
    return sorted(path.name for path in folder.iterdir())


REASONS = r"(No space left on device|Read-only file system)"


def test_a_log_is_read_where_its_cache_cannot_be_kept(disk, caplog):
    folder, obstruct = disk
    path = folder / "behaviors.tsv"
    path.write_text(LINE * 10_000)
    obstruct(2**17)
    before = names(folder)
    with caplog.at_level(logging.WARNING, logger="recommenders_miner"):
        assert len(ImpressionLog.read(path, NEWS)) == 10_000
    assert re.search(f"No cache of .*{REASONS}", caplog.text)
    assert names(folder) == before
    assert CACHE_FOLDER not in before


@pytest.mark.slow
@pytest.mark.parametrize("free", [2**12, 2**14])
def test_a_model_that_cannot_be_saved_leaves_the_old_one_whole(disk, free):
    from recommenders_miner.models import load_model
    from tests.models.toy import IDS, fresh_toy_model

    folder, obstruct = disk
    first, second = fresh_toy_model("nrms", seed=1), fresh_toy_model("nrms", seed=2)
    first.save(folder / "saved")
    obstruct(free)
    before = names(folder)
    with pytest.raises(NotWrittenError, match=rf"saved.*: not written \({REASONS}"):
        second.save(folder / "saved")
    assert names(folder) == before
    loaded = load_model(folder / "saved")
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
