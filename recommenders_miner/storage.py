"""Files and folders that appear whole or not at all, the folder of fetched files, and YAML of plain values.

What is being written stands beside its final place under a hidden temporary name, `.NAME.xxxxxxxx.tmp`, and is renamed
when it is whole. What a killed process left under such a name does no harm; a day later the next one that writes the
same file or folder removes it.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from recommenders_miner.errors import FolderExistsError, NotWrittenError, RecommendersMinerError

_CANNOT_WRITE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG),
    *(errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.EBUSY, errno.EXDEV),
}
_LEFT_BEHIND_SECONDS = 24 * 3600
_MOST_CHARACTERS = 2**14


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Lend a temporary name, in the folder of `path`, that becomes `path` when the block ends without an error.

    After an error the temporary file is removed and what stood at `path` before still stands. A missing folder is made.

    Raises:
        NotWrittenError: the disk is full, the folder may not be written to, or `path` is a folder itself.
    """
    path = Path(path)
    if os.path.isdir(path):
        raise NotWrittenError(path, OSError(errno.EISDIR, os.strerror(errno.EISDIR)))
    with _temporary_name(path) as temporary:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)


@contextmanager
def new_folder(folder: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Lend a temporary folder beside `folder` that becomes it when the block ends without an error.

    Args:
        folder: the folder to write; it may exist if it is empty.
        overwrite: whether to remove one that holds something, which happens when the new one is whole. Of a link to a
            folder only the link is removed.

    Raises:
        FolderExistsError: something stands there.
        NotWrittenError: the disk is full, the parent folder may not be written to, or what is to be overwritten is no
            folder, or is the working folder or a mount point.
    """
    folder = Path(folder)
    if os.path.lexists(folder):
        if not overwrite and not (folder.is_dir() and not any(folder.iterdir())):
            raise FolderExistsError(folder)
        if not folder.is_dir():
            raise NotWrittenError(folder, OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)))
        require_replaceable(folder)
    with _temporary_name(folder) as temporary:
        temporary.mkdir()
        yield temporary
        if not (overwrite and os.path.lexists(folder)):
            os.rename(temporary, folder)
            return
        old = _hidden_beside(folder)
        os.rename(folder, old)
        try:
            os.rename(temporary, folder)
        except BaseException:
            os.rename(old, folder)
            raise
        _remove(old)


def require_replaceable(folder: str | Path) -> None:
    """Find out before a long piece of work that no folder could take the place of one: `NotWrittenError`."""
    folder = Path(folder)
    if os.path.ismount(folder):
        raise NotWrittenError(folder, OSError("it is a mount point, which stays: name a folder within it"))
    if folder.is_dir() and not folder.is_symlink() and folder.samefile(os.curdir):
        raise NotWrittenError(folder, OSError("it is the working folder"))


def require_writable(path: str | Path, is_folder: bool = False) -> None:
    """Find out before a long piece of work that its result could not be written: `NotWrittenError`."""
    path = Path(path)
    there = next(place for place in (path, *path.absolute().parents) if os.path.lexists(place))
    problem = None
    if not os.path.isdir(there):
        problem = errno.ENOTDIR if is_folder or there != path else None
    elif there == path and not is_folder:
        problem = errno.EISDIR
    if problem is None and not os.access(there, os.W_OK):
        problem = errno.EACCES
    if problem is not None:
        raise NotWrittenError(path, OSError(problem, os.strerror(problem)))


MODEL_FILE = "model.keras"


def require_model(folder: str | Path) -> Path:
    """Return the file of a saved model; `RecommendersMinerError` where the folder has none."""
    path = Path(folder) / MODEL_FILE
    if not os.path.isfile(path):
        raise RecommendersMinerError(f"{folder}: holds no saved model ({MODEL_FILE} is missing).")
    return path


def cache_home() -> Path:
    """Return where fetched files are kept: RECOMMENDERS_MINER_HOME, or `recommenders_miner` in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("RECOMMENDERS_MINER_HOME") or cache / "recommenders_miner")


def parse_yaml(text: str) -> Any:
    """Return what a YAML document of at most 16,384 characters says, in plain Python values: tags make no objects.

    Aliases are refused: ten lists, each of ten aliases of the one before, are ten billion values.

    Raises:
        ValueError: the text is something else; the message says where, if that is known.
    """
    if len(text) > _MOST_CHARACTERS:
        raise ValueError(f"it has {len(text):,} characters, and at most {_MOST_CHARACTERS:,} are read")
    try:
        for event in yaml.parse(text, yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise ValueError(f"aliases (*name) are not read; write the value out\n{event.start_mark}")
        value = yaml.safe_load(text)
        repr(value)  # raises for a number too long to be printed, which no message could show
        return value
    except Exception as error:  # beside its own errors PyYAML lets through those of int(), datetime and others
        raise ValueError(str(error)) from None


@contextmanager
def _temporary_name(path: Path) -> Iterator[Path]:
    """Lend a name beside `path` for a file or folder, which is removed when the block ends, if it is still there."""
    temporary = _hidden_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{glob.escape(path.name)}.????????.tmp"):
            with contextlib.suppress(OSError):
                if time.time() - left.lstat().st_mtime > _LEFT_BEHIND_SECONDS:
                    _remove(left)
        yield temporary
    except OSError as error:
        # What is read meanwhile may be refused by the system, too.
        at = str(error.filename or temporary)
        is_ours = temporary.name in at or at in map(str, (path, *path.parents))
        if error.errno in _CANNOT_WRITE and is_ours and not isinstance(error, NotWrittenError):
            raise NotWrittenError(path, error) from error
        raise
    finally:
        _remove(temporary)


def _hidden_beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there and the system lets us."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
