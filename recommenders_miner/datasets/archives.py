"""Unpacking zip files that come from elsewhere, so that none can write outside its folder or fill the disk."""

from __future__ import annotations

import errno
import re
import shutil
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from recommenders_miner.errors import DataFormatError
from recommenders_miner.progress import progress_bar

MAX_BYTES = 8 * 2**30
"""More than any of the known archives unpacks to."""

_CHUNK_BYTES = 2**20
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\:]|^/|//|(^|/)\.\.?(/|$)")
_REMEDY = "Nothing of it was kept. Is it the right file? Fetch it again."


def zip_entries(path: str | Path) -> list[PurePosixPath]:
    """Return the names of the files in a zip file, after the checks of `extract_zip`."""
    with _opened(Path(path)) as (_, files):
        return list(files)


def extract_zip(path: str | Path, targets: Mapping[PurePosixPath, Path]) -> None:
    """Unpack files of a zip file to where they are wanted, in folders that exist; pass over what is not in it.

    An archive is refused as a whole if any of its entries, wanted or not, is absolute, has a drive letter, a `..`, a
    backslash or a control character, or is a link or a device; or if what is wanted unpacks to more than `MAX_BYTES` or
    than the disk has room for, by its own account, to which it is held. What has been written then is not to be used.
    """
    path = Path(path)
    with _opened(path) as (archive, files), progress_bar(f"unpacking {path.name}") as report:
        wanted = [(entry, targets[name]) for name, entry in files.items() if name in targets]
        free = min((shutil.disk_usage(target.parent).free for _, target in wanted), default=0)
        limit, declared = min(MAX_BYTES, free), sum(entry.file_size for entry, _ in wanted)
        if declared > limit:
            problem = f"unpacks to {declared:,} bytes, more than the {limit:,} that are allowed or free."
            raise DataFormatError(path, problem)
        written = 0
        for entry, target in wanted:
            with archive.open(entry) as packed, open(target, "xb") as file:
                while chunk := packed.read(_CHUNK_BYTES):  # `zipfile` ends it at `file_size`, whatever is behind that
                    file.write(chunk)
                    written += len(chunk)
                    report(written / declared, target.name)
                if file.tell() != entry.file_size:
                    problem = f"{entry.filename} has {file.tell():,} bytes, but is listed with {entry.file_size:,}."
                    raise DataFormatError(path, problem, remedy=_REMEDY)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[zipfile.ZipFile, dict[PurePosixPath, zipfile.ZipInfo]]]:
    """Open a zip file and lend it with its files by name, folders left out, unless one of its entries is refused."""
    try:
        with zipfile.ZipFile(path) as archive:
            files = {}
            for entry in archive.infolist():
                name = entry.orig_filename  # as stored: `filename` ends at a NUL, and has the system's separators
                problem = None
                if _UNSAFE.search(name):
                    problem = "has a path that leaves its folder, or that not every system allows"
                elif stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                    problem = "is a link, a device or another special file"
                if problem:
                    raise DataFormatError(path, f"the entry {name[:200]!r} {problem}.", remedy=_REMEDY)
                if not name.endswith("/"):
                    files[PurePosixPath(name)] = entry
            yield archive, files
    except DataFormatError:
        raise
    except Exception as error:  # of damaged files `zipfile` and `zlib` raise many kinds
        # An offset before the beginning of the file is an invalid argument to the system.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        problem = f"is no zip file, or a damaged one ({str(error) or type(error).__name__})."
        raise DataFormatError(path, problem, remedy=_REMEDY) from error
