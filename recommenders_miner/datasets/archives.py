"""Unpacking zip files that come from elsewhere, so that none can write outside its folder or fill the disk."""

from __future__ import annotations

import errno
import re
import shutil
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from recommenders_miner.errors import DataFormatError
from recommenders_miner.progress import progress_bar

MAX_ENTRIES = 10_000
MAX_BYTES = 8 * 2**30
"""More than any of the known archives unpacks to."""

_CHUNK_BYTES = 2**20
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|]')
_REMEDY = "Nothing of it was kept. Is it the right file? Fetch it again."
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError, ValueError, OverflowError)
"""What `zipfile` raises for files that are no zip files, or damaged ones, or compressed in a way it does not know."""


def zip_entries(path: str | Path) -> list[PurePosixPath]:
    """Return the names of the files in a zip file, after the checks of `extract_zip`.

    Raises:
        DataFormatError: it is no zip file, or one that is refused.
        OSError: the file cannot be read.
    """
    with _opened(Path(path)) as archive:
        return list(_safe_entries(Path(path), archive))


def extract_zip(path: str | Path, targets: Mapping[PurePosixPath, Path]) -> None:
    """Unpack files of a zip file to where they are wanted, in folders that exist.

    An archive is refused as a whole if any of its entries, wanted or not, is absolute, has a drive letter, a `..`, a
    backslash or another character that not every system can have in a name, is called something longer than 1,024 bytes
    or deeper than 32 names, is a link or a device, is encrypted or compressed otherwise than by Deflate, or stands
    there twice (capitals and the spelling of accents do not count); if it has more than `MAX_ENTRIES` entries; or if
    what is wanted unpacks to more than `MAX_BYTES` or than the disk has room for, by its own account, to which it is
    held.

    Args:
        path: the zip file.
        targets: the file to write for each entry that is wanted, all on the same disk.

    Raises:
        DataFormatError: it is no zip file, is damaged, or is refused. What has been written is not to be used.
        OSError: the disk is full or cannot be written.
    """
    path = Path(path)
    with _opened(path) as archive, progress_bar(f"unpacking {path.name}") as report:
        entries = {entry: targets[name] for name, entry in _safe_entries(path, archive).items() if name in targets}
        free = min((shutil.disk_usage(target.parent).free for target in entries.values()), default=0)
        limit, declared = min(MAX_BYTES, free), sum(entry.file_size for entry in entries)
        if declared > limit:
            problem = f"unpacks to {declared:,} bytes, more than the {limit:,} that are allowed or free."
            raise DataFormatError(path, problem)
        written = 0
        for entry, target in entries.items():
            with archive.open(entry) as packed, open(target, "xb") as file:
                while chunk := packed.read(_CHUNK_BYTES):  # `zipfile` ends it at `file_size`, whatever is behind that
                    file.write(chunk)
                    written += len(chunk)
                    report(written / declared, target.name)
                if file.tell() != entry.file_size:
                    problem = f"{entry.filename} has {file.tell():,} bytes, but is listed with {entry.file_size:,}."
                    raise DataFormatError(path, problem, remedy=_REMEDY)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except DataFormatError:
        raise
    except (*_DAMAGE, OSError) as error:
        # An offset before the beginning of the file is an invalid argument to the system.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        problem = f"is no zip file, or a damaged one ({str(error) or type(error).__name__})."
        raise DataFormatError(path, problem, remedy=_REMEDY) from error


def _safe_entries(path: Path, archive: zipfile.ZipFile) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """Return the files of an archive by name, folders left out, unless one of its entries is refused."""
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise DataFormatError(path, f"has {len(entries):,} entries, more than the {MAX_ENTRIES:,} that are allowed.")
    files: dict[PurePosixPath, zipfile.ZipInfo] = {}
    seen: set[str] = set()
    for entry in entries:
        # orig_filename is the name as stored: `filename` ends at a NUL, and has the system's separators replaced.
        name = entry.orig_filename
        problem = _problem(entry) or ("stands there twice" if _folded(name) in seen else None)
        if problem:
            raise DataFormatError(path, f"the entry {name[:200]!r} {problem}.", remedy=_REMEDY)
        if not name.endswith("/"):
            seen.add(_folded(name))
            files[PurePosixPath(name)] = entry
    for name in files:
        if any(_folded(str(folder)) in seen for folder in name.parents):
            raise DataFormatError(path, f"the entry {str(name)[:200]!r} lies in another file.", remedy=_REMEDY)
    return files


def _problem(entry: zipfile.ZipInfo) -> str | None:
    """Return why an entry is refused by itself, None where it is not."""
    name, kind = entry.orig_filename, stat.S_IFMT(entry.external_attr >> 16)
    parts = name.removesuffix("/").split("/")
    refusals = {
        "has a path longer than 1,024 bytes": _num_bytes(name) > 1024,
        "has a path of more than 32 names": len(parts) > 32,
        "has an absolute path": name.startswith("/") or re.match("[A-Za-z]:", name),
        "has a character in its name that not every system allows": _FORBIDDEN.search(name),
        "has a path that leaves its folder or is empty": not {"", ".", ".."}.isdisjoint(parts),
        # Windows drops them, so that two names become one.
        "has a name that ends in a dot or a space": any(part.endswith((".", " ")) for part in parts),
        "has a name longer than 255 bytes": any(_num_bytes(part) > 255 for part in parts),
        "is a link": kind == stat.S_IFLNK,
        "is a device or another special file": kind not in (0, stat.S_IFREG, stat.S_IFDIR),
        "is encrypted": entry.flag_bits & 0x1,
        "is compressed otherwise than by Deflate": entry.compress_type not in _COMPRESSIONS,
    }
    return next((problem for problem, applies in refusals.items() if applies), None)


def _num_bytes(name: str) -> int:
    return len(name.encode("utf-8", "surrogatepass"))


def _folded(name: str) -> str:
    """Return what file systems take for the same name, on one system or another."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
