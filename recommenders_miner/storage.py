"""Writing a file or a folder whole or not at all, whatever stops the process that writes.

What is being written stands in a workplace: a hidden folder `.NAME.xxxxxxxx.tmp` beside its final place, which its
process holds locked. The system lets go of the lock when the process dies, so a workplace without a lock was left
behind by one that was killed, and the next one that writes the same file or folder clears it away.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recommenders_miner.errors import FolderExistsError, NotWrittenError, RecommendersMinerError

try:
    import fcntl
except ImportError:  # on Windows nothing is locked, and so nothing is ever taken for left behind
    fcntl = None

_NEW, _OLD, _DISCARDED = "new", "old", "discarded"
_CANNOT_WRITE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENAMETOOLONG,
}
_ANOTHER_CAME_BETWEEN = {errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY}
_EXCHANGE_ATTEMPTS = 10


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Lends a temporary name that becomes `path` when the block ends without an error.

    After an error the temporary file is removed and what stood at `path` before still stands. A missing
    folder is made.

    Args:
        path: the file to write.

    Yields:
        The temporary name, on the same disk.

    Raises:
        NotWrittenError: the disk is full, the folder may not be written to, or `path` is a folder itself.
    """
    path = Path(path)
    with _as_not_written(path):
        if os.path.isdir(path):
            raise _system_error(errno.EISDIR)
    with workplace(path) as place:
        yield place / path.name
        with _as_not_written(path):
            os.replace(place / path.name, path)


atomic_write = whole_file


@contextmanager
def new_folder(folder: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Lend a temporary folder that becomes `folder` when the block ends without an error.

    Args:
        folder: the folder to write; it may exist if it is empty.
        overwrite: whether to remove one that holds something first.

    Raises:
        FolderExistsError: something stands there.
        NotWrittenError: the disk is full, or the parent folder may not be written to.
    """
    folder = Path(folder)
    if os.path.lexists(folder) and not overwrite and (not folder.is_dir() or any(folder.iterdir())):
        raise FolderExistsError(folder)
    with whole_folder(folder) as partial:
        yield partial


def cache_home() -> Path:
    """Return RECOMMENDERS_MINER_HOME, by default `recommenders_miner` in the user's cache: where fetched files are kept."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("RECOMMENDERS_MINER_HOME") or cache / "recommenders_miner")


def require_replaceable(folder: str | Path, sign: str, what: str) -> None:
    """Refuses a folder that holds something else than what is to be written there.

    Args:
        folder: the folder; it may be missing or empty.
        sign: the file that it has to hold otherwise.
        what: what such a folder is, for the message.

    Raises:
        RecommendersMinerError: the folder holds something else, or is a file or a link that leads nowhere.
    """
    folder = Path(folder)
    if not os.path.lexists(folder):
        return
    if not os.path.isdir(folder):
        raise RecommendersMinerError(f"{folder}: not overwritten, since it is no folder.")
    if any(folder.iterdir()) and not (folder / sign).exists():
        raise RecommendersMinerError(f"{folder}: not overwritten, since it holds something else than {what}.")


@contextmanager
def whole_folder(folder: str | Path) -> Iterator[Path]:
    """Lends an empty folder that takes the place of `folder` when the block ends without an error.

    After an error or Ctrl-C it is removed and what stood at `folder` before still stands. A process that is killed
    leaves the folder as it was, or the new one, whole; or, in the moment between two renamings, neither, until
    `recover` is called or the folder is written again. Of several processes that write one folder at a time, the last
    to end has its place.

    Args:
        folder: the folder to write. Where it is a link to a folder, the new one takes the place of the link, and the
            folder that it led to stays as it is.

    Yields:
        The temporary folder, on the same disk.

    Raises:
        NotWrittenError: the disk is full, the parent folder may not be written to, or `folder` is a file, a link that
            leads nowhere, or the working folder, which would be lost from under the process.
    """
    folder = Path(folder)
    with _as_not_written(folder):
        if os.path.lexists(folder) and not os.path.isdir(folder):
            raise _system_error(errno.ENOTDIR)
        if os.path.isdir(folder) and not os.path.islink(folder) and os.path.samefile(folder, os.curdir):
            raise OSError(errno.EBUSY, "it is the working folder")
    with workplace(folder) as place:
        (place / _NEW).mkdir()
        yield place / _NEW
        with _as_not_written(folder):
            _exchange(place, folder)


def recover(path: str | Path) -> None:
    """Ends what killed processes began at `path`, if any: the only new folder there is gets its place, the rest goes.

    Nothing is done where the system refuses it.

    Args:
        path: a file or folder that is written by `whole_file` or `whole_folder`.
    """
    path = Path(path)
    for place in _left_behind(path):
        with contextlib.suppress(OSError):
            if _is_between_renamings(place) and not os.path.lexists(path):
                os.rename(place / _NEW, path)
            _clear(place, path)


@contextmanager
def workplace(path: Path) -> Iterator[Path]:
    """Lends a hidden folder beside `path`, on the same disk, which goes when the block ends.

    Args:
        path: what is to be written; its parent folders are made.

    Yields:
        The empty folder.

    Raises:
        NotWrittenError: the disk is full, or the parent folder may not be written to.
    """
    with _as_not_written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        recover(path)
        place, lock = _locked_workplace(path)
    try:
        yield place
    except NotWrittenError:
        raise
    except OSError as error:
        if error.errno in _CANNOT_WRITE:
            raise NotWrittenError(path, error) from error
        raise
    finally:
        try:
            _clear(place, path)
        finally:
            if lock is not None:
                os.close(lock)


@contextmanager
def _as_not_written(path: Path) -> Iterator[None]:
    """Tells whatever the system refuses as an error that names the path."""
    try:
        yield
    except OSError as error:
        raise NotWrittenError(path, error) from error


def _system_error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def _exchange(place: Path, folder: Path) -> None:
    """Renames the folder, if there is one, to the workplace's old one, and the workplace's new one to the folder.

    What ends it in between, an error or Ctrl-C, has the old folder put back. Where even that is refused or interrupted,
    both stay in the workplace for `recover`.
    """
    try:
        _rename_both(place, folder)
    except BaseException:
        with contextlib.suppress(OSError):
            if os.path.lexists(place / _OLD) and not os.path.lexists(folder):
                os.rename(place / _OLD, folder)
        raise


def _rename_both(place: Path, folder: Path) -> None:
    """Does the two renamings of `_exchange`, again where another process put its folder there or took it away."""
    old, new = place / _OLD, place / _NEW
    for attempt in range(_EXCHANGE_ATTEMPTS):
        try:
            if os.path.lexists(folder):
                if os.path.lexists(old):  # moved here before the other process put there what stands there now
                    os.rename(old, place / f"{_OLD}-{attempt}")
                os.rename(folder, old)
            os.rename(new, folder)
        except OSError as error:
            is_last = attempt == _EXCHANGE_ATTEMPTS - 1
            if error.errno not in _ANOTHER_CAME_BETWEEN or is_last or not os.path.lexists(new):
                raise
        else:
            return


def _is_between_renamings(place: Path) -> bool:
    """Whether a workplace has an old folder and a new one, both whole.

    The old one is moved there when the new one is whole, and `_clear` deletes neither while both have these names.
    """
    return os.path.lexists(place / _OLD) and os.path.lexists(place / _NEW)


def _clear(place: Path, path: Path) -> None:
    """Removes a workplace, unless it has the only folders that there are; nothing is done where the system refuses it.

    The new folder loses its name before anything is deleted, so that one that is deleted in part, because the process
    is killed at it, is never taken for whole. The old one is deleted only where something stands in its place.
    """
    with contextlib.suppress(OSError):
        if _is_between_renamings(place):
            if not os.path.lexists(path):
                return
            os.rename(place / _NEW, place / _DISCARDED)
        shutil.rmtree(place, ignore_errors=True)


def _locked_workplace(path: Path) -> tuple[Path, int | None]:
    """Makes a workplace; returns it and the descriptor that holds its lock, None where there are no locks."""
    while True:
        place = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
        if fcntl is None:
            return place, None
        try:
            lock = os.open(place, os.O_RDONLY)
        except FileNotFoundError:
            continue
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        if place.exists():
            return place, lock
        os.close(lock)  # before it was locked, another process took it for left behind


def _left_behind(path: Path) -> Iterator[Path]:
    """Yields the workplaces of `path` whose processes are dead, each locked while it is looked at."""
    if fcntl is None:
        return
    try:
        names = os.listdir(path.parent)
    except OSError:
        return
    pattern = re.compile(rf"\.{re.escape(path.name)}\.\w{{8}}\.tmp")
    for place in [path.parent / name for name in names if pattern.fullmatch(name)]:
        try:
            lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            if _is_free(lock):
                yield place
        finally:
            os.close(lock)


def _is_free(lock: int) -> bool:
    """Locks a descriptor, if nobody has."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
