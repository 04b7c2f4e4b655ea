"""Files and folders are written whole or not at all, whatever stops who writes them; YAML makes plain values."""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import os
import shutil
import time

import pytest

from recommenders_miner.errors import FolderExistsError, NotWrittenError
from recommenders_miner.storage import atomic_write, cache_home, new_folder, parse_yaml, require_replaceable

posix_only = pytest.mark.skipif(os.name != "posix", reason="there is no fork, and not everybody may make links")


def write_file(path, content):
    with atomic_write(path) as temporary:
        temporary.write_text(content)


def write_folder(folder, content):
    with new_folder(folder, overwrite=True) as new:
        (new / "a").write_text(content)
        (new / "b").write_text(content)


def content_of(path):
    if not path.is_dir():
        return path.read_text() if path.exists() else None
    [content] = {part.read_text() for part in path.iterdir()}
    assert sorted(part.name for part in path.iterdir()) == ["a", "b"]
    return content


both = pytest.mark.parametrize("write", [write_file, write_folder])


def stop_at_every_call(stop, run):
    """Run something time and again, stopped before a later one of the calls that change the disk each time.

    Args:
        stop: called before the call.
        run: returns whether it ended without being stopped, which ends it all.

    Yields:
        After each run; the caller looks at what is left on the disk.
    """
    finished = False
    for moment in itertools.count():
        calls = itertools.count()

        def stopping(call, *args, calls=calls, moment=moment, **kwargs):
            if next(calls) == moment:
                stop()
            return call(*args, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            for name in ("mkdir", "rename", "replace", "fsync", "unlink", "rmdir"):
                patch.setattr(os, name, functools.partial(stopping, getattr(os, name)))
            finished = run()
        yield
        if finished:
            return


def ends_alive(work):
    """Do some work in a child process; return whether it was not killed."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 77)
    return code == 0


@posix_only
@both
@pytest.mark.parametrize("existing", [True, False])
def test_a_kill_leaves_the_old_or_the_new_or_nothing_and_never_a_part(tmp_path, write, existing):
    target, found = tmp_path / "home" / "target", set()
    # os._exit is as SIGKILL: nothing is cleaned up
    for _ in stop_at_every_call(lambda: os._exit(77), lambda: ends_alive(lambda: write(target, "new"))):
        found.add(content_of(target) if target.exists() else None)
        shutil.rmtree(tmp_path / "home", ignore_errors=True)
        if existing:
            write(target, "old")
    assert "new" in found
    assert found <= {"old", "new", None}


@both
def test_what_a_kill_left_goes_a_day_later_and_what_others_named_so_stays(tmp_path, write):
    old, young = tmp_path / ".target.0123abcd.tmp", tmp_path / ".target.89abcdef.tmp"
    others = [tmp_path / name for name in (".target.backup", ".target.0123abcd.tmp.kept", ".other.0123abcd.tmp")]
    for path in (old, young, *others):
        path.mkdir()
        (path / "part").touch()
    for path in (old, *others):
        os.utime(path, times=(time.time() - 2 * 24 * 3600,) * 2)
    write(tmp_path / "target", "new")
    assert set(tmp_path.iterdir()) == {young, *others, tmp_path / "target"}


@both
@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), OSError(errno.EIO, "broken"), OSError(errno.ENOSPC, "full")], ids=repr
)
def test_ctrl_c_or_an_error_at_any_call_leaves_the_old_or_the_new(tmp_path, write, error):
    target, stopped = tmp_path / "target", []
    write(target, "old")

    def stop():
        stopped.append(error)
        raise error

    def run():
        stopped.clear()
        with contextlib.suppress(KeyboardInterrupt, NotWrittenError):
            write(target, "new")
        return not stopped

    found = []
    for _ in stop_at_every_call(stop, run):
        found.append(content_of(target))
        write(target, "old")
    assert set(found) == {"old", "new"}
    with pytest.raises(ConnectionError), new_folder(tmp_path / "other"):
        raise ConnectionError("what has nothing to do with the disk passes as it is")
    assert not (tmp_path / "other").exists()


@both
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EBUSY, errno.EXDEV])
def test_where_nothing_can_be_written_the_error_says_so_and_the_old_stands(tmp_path, monkeypatch, write, code):
    target = tmp_path / "target"
    write(target, "old")

    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("pathlib.Path.write_text", refuse)
    with pytest.raises(NotWrittenError, match=r"target: not written \(.+\); what was there is unchanged") as caught:
        write(target, "new")
    assert caught.value.errno == code
    assert content_of(target) == "old"
    assert list(tmp_path.iterdir()) == [target]


@both
def test_places_where_nothing_can_stand(tmp_path, write):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotWrittenError, match="below: not written"):
        write(tmp_path / "file" / "below", "x")
    with pytest.raises(NotWrittenError, match=r"not written \(File name too long"):
        write(tmp_path / ("x" * 300), "new")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_folder_that_holds_something_is_refused_unless_it_is_to_be_overwritten(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with new_folder(folder) as new:  # an empty one may stand there
        (new / "a").write_text("old")
    with pytest.raises(FolderExistsError, match="folder: exists already"), new_folder(folder):
        pytest.fail("the block was entered")
    assert (folder / "a").read_text() == "old"
    write_folder(folder, "new")
    assert content_of(folder) == "new"
    with pytest.raises(NotWrittenError, match="other: not written"), new_folder(tmp_path / "other"):
        write_folder(tmp_path / "other", "of another process meanwhile")
    assert content_of(tmp_path / "other") == "of another process meanwhile"
    assert {*tmp_path.iterdir()} == {folder, tmp_path / "other"}


@posix_only
@pytest.mark.parametrize(
    ("write", "make", "problem"),
    [
        (write_folder, lambda path: path.write_text("mine"), "Not a directory"),
        (write_folder, lambda path: path.symlink_to("nowhere"), "Not a directory"),
        (write_folder, lambda path: (path.mkdir(), os.chdir(path)), "it is the working folder"),
        (write_file, lambda path: path.mkdir(), "Is a directory"),
    ],
    ids=["file", "link", "working folder", "folder"],
)
def test_what_is_of_another_kind_stays(tmp_path, monkeypatch, write, make, problem):
    monkeypatch.chdir(tmp_path)
    target = tmp_path / "target"
    make(target)
    before = os.lstat(target)
    for name in (target, os.path.relpath(target)):
        with pytest.raises(NotWrittenError, match=rf"not written \({problem}"):
            write(name, "new")
    assert os.path.samestat(before, os.lstat(target))
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_mount_point_is_refused_at_the_start_for_it_cannot_be_replaced(tmp_path, monkeypatch, overwrite):
    folder = tmp_path / "disk"
    folder.mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: os.fspath(path) == str(folder))
    refused = pytest.raises(NotWrittenError, match=r"disk: not written \(it is a mount point.+ a folder within it")
    with refused, new_folder(folder, overwrite):
        pytest.fail("the block was entered")
    with refused:
        require_replaceable(folder)
    write_folder(folder / "within", "new")
    assert content_of(folder / "within") == "new"


@posix_only
def test_a_link_to_a_folder_is_replaced_and_what_it_led_to_stays(tmp_path):
    write_folder(tmp_path / "far", "old")
    link = tmp_path / "near" / "link"
    link.parent.mkdir()
    link.symlink_to(tmp_path / "far")
    write_folder(link, "new")
    assert not link.is_symlink()
    assert (content_of(link), content_of(tmp_path / "far")) == ("new", "old")
    assert list(link.parent.iterdir()) == [link]


def test_the_cache_lies_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.delenv("RECOMMENDERS_MINER_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_home() == tmp_path / "recommenders_miner"
    monkeypatch.setenv("RECOMMENDERS_MINER_HOME", str(tmp_path / "own"))
    assert cache_home() == tmp_path / "own"


def test_yaml_of_plain_values():
    assert parse_yaml("a: [1, 2.5, x, null, true]\nb: {c: 2024-01-02}")["a"] == [1, 2.5, "x", None, True]
    assert parse_yaml("") is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: &a [1]\nb: *a", r"aliases .* are not read(.|\n)*line 2"),
        ("!!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("[" * 700 + "]" * 700, "maximum recursion depth"),
        ("9" * 5000, "Exceeds the limit"),
        ("1" + ":1" * 5000, "Exceeds the limit"),
        ("a" * 2**15, "at most 16,384 are read"),
        ("a: b: c", "mapping values are not allowed here"),
    ],
    ids=lambda text: text[:20],
)
def test_other_yaml_is_refused(text, problem):
    with pytest.raises(ValueError, match=problem):
        parse_yaml(text)
