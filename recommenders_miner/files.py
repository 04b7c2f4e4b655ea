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

from recommenders_miner.errors import NotWrittenError, RecommendersMinerError

try:
    import fcntl
except ImportError:  # on Windows nothing is locked, and so nothing is ever taken for left behind
    fcntl = None

_NEW, _OLD = "new", "old"
_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


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
        NotWrittenError: the disk is full, or the folder may not be written to.
    """
    path = Path(path)
    with workplace(path) as place:
        yield place / path.name
        os.replace(place / path.name, path)


def require_replaceable(folder: str | Path, sign: str, what: str) -> None:
    """Refuses a folder that holds something else than what is to be written there.

    Args:
        folder: the folder; it may be missing or empty.
        sign: the file that it has to hold otherwise.
        what: what such a folder is, for the message.

    Raises:
        RecommendersMinerError: the folder holds something else.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()) and not (folder / sign).exists():
        raise RecommendersMinerError(f"{folder}: not overwritten, since it holds something else than {what}.")


@contextmanager
def whole_folder(folder: str | Path) -> Iterator[Path]:
    """Lends an empty folder that takes the place of `folder` when the block ends without an error.

    After an error it is removed and what stood at `folder` before still stands. A process that is killed leaves the
    folder as it was, or the new one, whole; or, in the moment between two renamings, neither, until `recover` is called
    or the folder is written again.

    Args:
        folder: the folder to write.

    Yields:
        The temporary folder, on the same disk.

    Raises:
        NotWrittenError: the disk is full, or the parent folder may not be written to.
    """
    folder = Path(folder)
    with workplace(folder) as place:
        (place / _NEW).mkdir()
        yield place / _NEW
        if folder.exists():
            os.rename(folder, place / _OLD)
        os.rename(place / _NEW, folder)


def recover(path: str | Path) -> None:
    """Ends what killed processes began at `path`, if any: the only new folder there is gets its place, the rest goes.

    Nothing is done where the system refuses it.

    Args:
        path: a file or folder that is written by `whole_file` or `whole_folder`.
    """
    path = Path(path)
    for place in _left_behind(path):
        with contextlib.suppress(OSError):
            # The old folder is moved away when the new one is whole, so with both here only a renaming is missing.
            if (place / _OLD).exists() and (place / _NEW).exists() and not path.exists():
                os.rename(place / _NEW, path)
            shutil.rmtree(place)


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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        recover(path)
        place, lock = _locked_workplace(path)
    except OSError as error:
        raise NotWrittenError(path, error) from error
    try:
        yield place
    except NotWrittenError:
        raise
    except OSError as error:
        if error.errno in _CANNOT_WRITE:
            raise NotWrittenError(path, error) from error
        raise
    finally:
        shutil.rmtree(place, ignore_errors=True)
        if lock is not None:
            os.close(lock)


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
    if fcntl is None or not path.parent.is_dir():
        return
    name = re.compile(rf"\.{re.escape(path.name)}\.\w{{8}}\.tmp")
    for place in [entry for entry in path.parent.iterdir() if name.fullmatch(entry.name)]:
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
