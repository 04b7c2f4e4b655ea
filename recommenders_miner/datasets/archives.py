"""Unpacking zip files that come from elsewhere, so that none can write outside its folder or fill the disk."""

from __future__ import annotations

import errno
import re
import shutil
import stat
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from recommenders_miner.errors import DataFormatError
from recommenders_miner.progress import progress_bar

MAX_ENTRIES = 10_000
MAX_BYTES = 8 * 2**30
"""More than any of the known archives unpacks to."""

_CHUNK_BYTES = 2**20
_NAME = re.compile(r'[^\x00-\x1f\x7f/\\:*?"<>|]+(?<![. ])')
"""Of a file or folder. Dots and spaces at the end, as in "..", are refused since Windows drops them."""
_REMEDY = "Nothing of it was kept. Is it the right file? Fetch it again."


def zip_entries(path: str | Path) -> list[PurePosixPath]:
    """Return the names of the files in a zip file, after the checks of `extract_zip`."""
    with _opened(Path(path)) as (_, files):
        return list(files)


def extract_zip(path: str | Path, targets: Mapping[PurePosixPath, Path]) -> None:
    """Unpack files of a zip file to where they are wanted, in folders that exist.

    An archive is refused as a whole if any of its entries, wanted or not, is absolute, has a drive letter, a `..`, a
    backslash or another character that not every system can have in a name, has a longer path than any system takes, is
    a link or a device, is encrypted or compressed otherwise than by Deflate, or stands there twice (capitals and the
    spelling of accents do not count); if it has more than `MAX_ENTRIES` entries; or if what is wanted unpacks to more
    than `MAX_BYTES` or than the disk has room for, by its own account, to which it is held.

    Args:
        path: the zip file.
        targets: the file to write for each entry that is wanted, on the same disk; what is not in it is passed over.

    Raises:
        DataFormatError: it is no zip file, is damaged, or is refused. What has been written is not to be used.
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
            yield archive, _safe_files(path, archive.infolist())
    except DataFormatError:
        raise
    except Exception as error:  # of damaged files `zipfile` and `zlib` raise many kinds
        # An offset before the beginning of the file is an invalid argument to the system.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        problem = f"is no zip file, or a damaged one ({str(error) or type(error).__name__})."
        raise DataFormatError(path, problem, remedy=_REMEDY) from error


def _safe_files(path: Path, entries: list[zipfile.ZipInfo]) -> dict[PurePosixPath, zipfile.ZipInfo]:
    if len(entries) > MAX_ENTRIES:
        raise DataFormatError(path, f"has {len(entries):,} entries, more than the {MAX_ENTRIES:,} that are allowed.")
    # orig_filename is the name as stored: `filename` ends at a NUL, and has the system's separators replaced.
    files = [entry for entry in entries if not entry.orig_filename.endswith("/")]
    counts = Counter(_folded(entry.orig_filename) for entry in files)
    for entry in entries:
        name = entry.orig_filename
        problem = _problem(entry) or ("stands there twice" if counts[_folded(name)] > 1 else None)
        if not problem and any(_folded(str(folder)) in counts for folder in PurePosixPath(name).parents[:-1]):
            problem = "lies in another file"
        if problem:
            raise DataFormatError(path, f"the entry {name[:200]!r} {problem}.", remedy=_REMEDY)
    return {PurePosixPath(entry.orig_filename): entry for entry in files}


def _problem(entry: zipfile.ZipInfo) -> str | None:
    """Return why an entry is refused by itself, None where it is not."""
    name, kind = entry.orig_filename, stat.S_IFMT(entry.external_attr >> 16)
    parts = name.removesuffix("/").split("/")
    path_bytes, *name_bytes = [len(part.encode("utf-8", "surrogatepass")) for part in (name, *parts)]
    refusals = {
        "has a path that is too long": path_bytes > 1024 or len(parts) > 32 or max(name_bytes) > 255,
        "has a path that leaves its folder, or that not every system allows": not all(map(_NAME.fullmatch, parts)),
        "is a link, a device or another special file": kind not in (0, stat.S_IFREG, stat.S_IFDIR),
        "is encrypted": entry.flag_bits & 0x1,
        "is compressed otherwise than by Deflate": entry.compress_type
        not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
    }
    return next((problem for problem, applies in refusals.items() if applies), None)


def _folded(name: str) -> str:
    """Return what file systems take for the same name, on one system or another."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
