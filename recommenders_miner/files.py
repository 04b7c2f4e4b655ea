"""Writing a file or a folder whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recommenders_miner.errors import RecommendersMinerError


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Lends a temporary name that becomes `path` when the block ends without an error.

    After an error the temporary file is removed and what stood at `path` before still stands. A missing
    folder is made.

    Args:
        path: the file to write.

    Yields:
        The temporary name, in the same folder.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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

    After an error it is removed and what stood at `folder` before still stands.

    Args:
        folder: the folder to write.

    Yields:
        The temporary folder, beside the one to be written.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    new = workplace / "new"
    try:
        new.mkdir()
        yield new
        if folder.exists():
            os.rename(folder, workplace / "old")
        os.rename(new, folder)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
