"""Files and folders are written whole or not at all, whatever stops the process that writes."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import subprocess
import sys
import threading

import pytest

from recommenders_miner.errors import NotWrittenError, RecommendersMinerError
from recommenders_miner.storage import recover, require_replaceable, whole_file, whole_folder
from tests.killed_at import CALLS, every_kill

posix_only = pytest.mark.skipif(os.name != "posix", reason="there is no fork, and not everybody may make links")


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


def every_fault(fault, comes, work):
    """Does some work time and again while one of the calls that change the disk raises, each time a later one.

    Args:
        fault: what is raised.
        comes: whether "before" the call has done something or "after".
        work: writes something.

    Yields:
        After each time; the caller looks at what is left on the disk.
    """
    for moment in itertools.count():
        calls = itertools.count()

        def faulty(call, *args, calls=calls, moment=moment, **kwargs):
            is_due = next(calls) == moment
            if is_due and comes == "before":
                raise fault
            result = call(*args, **kwargs)
            if is_due:
                raise fault
            return result

        with pytest.MonkeyPatch.context() as patch:
            for module, name in (*CALLS, (os, "unlink"), (os, "rmdir")):
                call = getattr(module, name)
                patch.setattr(module, name, lambda *a, _call=call, faulty=faulty, **k: faulty(_call, *a, **k))
            with contextlib.suppress(type(fault), NotWrittenError):
                work()
        if next(calls) <= moment:
            return
        yield


FAULTS = [KeyboardInterrupt(), *(OSError(code, os.strerror(code)) for code in (errno.EIO, errno.ENOSPC, errno.ENOENT))]


@pytest.mark.parametrize("comes", ["before", "after"])
@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_ctrl_c_or_an_error_at_any_moment_leaves_the_old_folder_or_the_new_one(tmp_path, fault, comes):
    folder = tmp_path / "folder"
    write_folder(folder, "old")
    found = []
    for _ in every_fault(fault, comes, lambda: write_folder(folder, "new")):
        recover(folder)
        found.append(content_of(folder))
        write_folder(folder, "old")
        assert list(tmp_path.iterdir()) == [folder]
    assert len(found) > 12
    assert set(found) == {"old", "new"}


def test_where_the_old_folder_cannot_be_put_back_both_are_kept_for_the_next_one(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    write_folder(folder, "old")
    rename = os.rename

    def refuse_the_place(source, target):
        if target == folder:
            raise OSError(errno.EIO, "broken")
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse_the_place)
        with pytest.raises(NotWrittenError, match="broken"):
            write_folder(folder, "new")
        assert not folder.exists()
    recover(folder)
    assert content_of(folder) == "new"
    assert list(tmp_path.iterdir()) == [folder]


@posix_only
def test_a_folder_that_is_deleted_in_part_is_never_put_in_a_place(tmp_path):
    """Two processes wrote it; the one that died had both its folders, and the other's stands, then moves away."""
    folder, left = tmp_path / "folder", tmp_path / ".folder.abcdefgh.tmp"

    def leave_both():
        for path in tmp_path.iterdir():
            shutil.rmtree(path)
        write_folder(folder, "other")
        for name in ("old", "new"):
            write_folder(left / name, "dead")

    leave_both()
    for _ in every_kill(lambda: recover(folder)):
        shutil.rmtree(folder)
        recover(folder)
        assert not folder.exists() or content_of(folder) == "dead"
        leave_both()
    assert content_of(folder) == "other"
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("call", [1, 2, 3])
def test_another_process_that_comes_between_the_renamings_does_not_disturb_them(tmp_path, monkeypatch, call):
    folder = tmp_path / "folder"
    write_folder(folder, "old")
    rename, calls = os.rename, itertools.count(1)

    def rename_late(source, target):
        if next(calls) == call:
            write_folder(folder, "theirs")
        rename(source, target)

    monkeypatch.setattr(os, "rename", rename_late)
    write_folder(folder, "ours")
    assert content_of(folder) == "ours"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_that_others_take_away_again_and_again_is_an_error_of_ours(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    write_folder(folder, "old")

    def lose(*_):
        raise FileNotFoundError(errno.ENOENT, "gone")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", lose)
        with pytest.raises(NotWrittenError, match="gone"):
            write_folder(folder, "new")
    assert content_of(folder) == "old"


@posix_only
def test_what_a_living_process_writes_is_left_alone(tmp_path):
    code = (
        "import sys\nfrom recommenders_miner.storage import whole_folder\n"
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


# === Odd places ===


def make_file(path):
    path.write_text("mine")


def make_link_that_leads_nowhere(path):
    path.symlink_to("nowhere")


def make_link_to_itself(path):
    path.symlink_to(path.name)


NO_FOLDERS = [make_file, make_link_that_leads_nowhere, make_link_to_itself]


@posix_only
@pytest.mark.parametrize("make", NO_FOLDERS)
def test_a_folder_does_not_take_the_place_of_what_is_none(tmp_path, make):
    target = tmp_path / "target"
    make(target)
    before = os.lstat(target)
    with pytest.raises(NotWrittenError, match="target: not written"):
        write_folder(target, "new")
    with pytest.raises(RecommendersMinerError, match="target: not overwritten, since it is no folder"):
        require_replaceable(target, "a", "a model")
    assert os.path.samestat(before, os.lstat(target))
    assert list(tmp_path.iterdir()) == [target]


def test_the_working_folder_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (".", tmp_path):
        with pytest.raises(NotWrittenError, match=r"not written \(it is the working folder"):
            write_folder(folder, "new")
    with pytest.raises(NotWrittenError):
        write_folder("..", "new")
    assert list(tmp_path.iterdir()) == []


def test_a_file_does_not_take_the_place_of_a_folder(tmp_path, monkeypatch):
    write_folder(tmp_path / "folder", "old")
    monkeypatch.chdir(tmp_path)
    for folder in ("folder", "."):
        with pytest.raises(NotWrittenError, match="Is a directory"):
            write_file(folder, "new")
    assert content_of(tmp_path / "folder") == "old"
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


@posix_only
def test_a_link_to_a_folder_is_replaced_and_what_it_led_to_stays(tmp_path):
    write_folder(tmp_path / "far" / "folder", "old")
    link = tmp_path / "near" / "link"
    link.parent.mkdir()
    link.symlink_to(tmp_path / "far" / "folder")
    write_folder(link, "new")
    assert not link.is_symlink()
    assert content_of(link) == "new"
    assert content_of(tmp_path / "far" / "folder") == "old"
    assert list(link.parent.iterdir()) == [link]


@pytest.mark.parametrize("write", [write_file, write_folder])
def test_a_name_that_is_too_long_is_said(tmp_path, write):
    with pytest.raises(NotWrittenError, match=r"not written \(File name too long"):
        write(tmp_path / ("x" * 300), "new")
