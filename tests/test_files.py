"""Files and folders are written whole or not at all, whatever stops the process that writes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading

import pytest

from recommenders_miner.errors import NotWrittenError, RecommendersMinerError
from recommenders_miner.files import recover, whole_file, whole_folder
from tests.killed_at import every_kill

posix_only = pytest.mark.skipif(os.name != "posix", reason="there is no fork")


def write_folder(folder, content):
    with whole_folder(folder) as new:
        (new / "a").write_text(content)
        (new / "b").write_text(content)


def content_of(folder):
    [content] = {path.read_text() for path in folder.iterdir()}
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b"]
    return content


def write_file(path, content):
    with whole_file(path) as temporary:
        temporary.write_text(content)


@posix_only
@pytest.mark.parametrize("existing", [True, False])
def test_a_kill_leaves_the_old_folder_or_the_new_one_and_the_next_writer_clears_up(tmp_path, existing):
    folder = tmp_path / "home" / "folder"
    if existing:
        write_folder(folder, "old")
    deaths, recovered, found = 0, 0, set()
    for _ in every_kill(lambda: write_folder(folder, "new")):
        deaths += 1
        gone = not folder.exists()
        recover(folder)
        recovered += gone and folder.exists()
        if folder.exists():
            found.add(content_of(folder))
        assert folder.exists() or not existing
        assert not folder.parent.exists() or {path.name for path in folder.parent.iterdir()} <= {"folder"}
        if existing:
            write_folder(folder, "old")
        elif folder.exists():
            os.rename(folder, tmp_path / f"done-{deaths}")
    assert deaths > 8
    assert found == ({"old", "new"} if existing else {"new"})
    assert recovered == existing, "one death falls between the two renamings, where only a recovery finds the folder"


@posix_only
def test_a_kill_leaves_the_old_file_or_the_new_one_and_the_next_writer_clears_up(tmp_path):
    path = tmp_path / "file"
    found = set()
    for _ in every_kill(lambda: write_file(path, "new")):
        found.add(path.read_text() if path.exists() else None)
        write_file(path, "old")
        assert list(tmp_path.iterdir()) == [path]
    assert found == {None, "old", "new"}


@posix_only
def test_what_a_living_process_writes_is_left_alone(tmp_path):
    code = (
        "import sys\nfrom recommenders_miner.files import whole_folder\n"
        "with whole_folder(sys.argv[1]) as new:\n"
        "    (new / 'a').write_text('theirs')\n    (new / 'b').write_text('theirs')\n"
        "    print('writing', flush=True)\n    sys.stdin.readline()\n"
    )
    folder = tmp_path / "folder"
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "writing\n"
        write_folder(folder, "ours")
        recover(folder)
        assert len(list(tmp_path.iterdir())) == 2
        other.communicate("\n")
    assert other.returncode == 0
    assert content_of(folder) == "theirs"
    assert list(tmp_path.iterdir()) == [folder]


def test_threads_that_write_the_same_file_do_not_disturb_each_other(tmp_path):
    path, errors = tmp_path / "file", []

    def work(content):
        try:
            for _ in range(20):
                write_file(path, content)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert path.read_text() in "0123"
    assert list(tmp_path.iterdir()) == [path]


def test_hidden_folders_of_others_are_left_alone(tmp_path):
    for name in (".folder.backup", ".folder.abcdefgh.tmp.kept", ".other.abcdefgh.tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / ".folder.abcdefgh.tmp").write_text("a file, no workplace")
    write_folder(tmp_path / "folder", "new")
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
@pytest.mark.parametrize("write", [write_file, write_folder])
def test_where_nothing_can_be_written_the_error_says_so_and_the_old_stands(tmp_path, monkeypatch, write, code):
    target = tmp_path / "target"
    write(target, "old")

    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    for call in ("pathlib.Path.write_text", "tempfile.mkdtemp"):
        with monkeypatch.context() as patched:
            patched.setattr(call, refuse)
            with pytest.raises(
                NotWrittenError, match=r"target: not written \(.+\); what was there is unchanged"
            ) as caught:
                write(target, "new")
        assert isinstance(caught.value, RecommendersMinerError)
        assert caught.value.errno == code
        assert (target / "a" if target.is_dir() else target).read_text() == "old"
        assert list(tmp_path.iterdir()) == [target]


def test_other_errors_pass_as_they_are(tmp_path):
    with pytest.raises(ConnectionError), whole_file(tmp_path / "file"):
        raise ConnectionError("the network is down")


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotWrittenError, match="below: not written"):
        write_file(tmp_path / "file" / "below", "x")
