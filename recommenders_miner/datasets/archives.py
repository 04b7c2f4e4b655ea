"""Taking zip files apart that come from elsewhere, so that none can write outside its folder or fill the disk."""

from __future__ import annotations

import errno
import re
import shutil
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from recommenders_miner.errors import DataFormatError
from recommenders_miner.progress import progress_bar
from recommenders_miner.storage import new_folder

MAX_ENTRIES = 10_000
MAX_BYTES = 8 * 2**30
"""More than any of the known archives unpacks to."""

_CHUNK_BYTES = 2**20
_ENCRYPTED = 0x1
_MAX_NAME_BYTES, _MAX_PATH_BYTES, _MAX_PATH_PARTS = 255, 1024, 32
_COMPRESSIONS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|]')
"""What one system or another cannot have in a name or reads as more than a name."""

_REMEDY = "Nothing of it was kept. Is it the right file? Fetch it again."
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError, ValueError, OverflowError)
"""What `zipfile` raises for files that are no zip files, or damaged ones, or compressed in a way it does not know."""


def zip_entries(path: str | Path) -> list[PurePosixPath]:
    """Returns the names of the files in a zip file, after the checks of `extract_zip`.

    Raises:
        DataFormatError: it is no zip file, or one that is refused.
        OSError: the file cannot be read.
    """
    with _opened(Path(path)) as archive:
        return list(_safe_entries(Path(path), archive))


def extract_zip(
    path: str | Path,
    folder: str | Path,
    wanted: Callable[[PurePosixPath], bool] = lambda name: True,
    max_bytes: int = MAX_BYTES,
) -> None:
    """Unpacks files of a zip file into a folder, which appears when all of them are there.

    An archive is refused as a whole if any of its entries, wanted or not, is absolute, has a drive letter, a `..`, a
    backslash or another character that not every system can have in a name, is called something longer than 1,024 bytes
    or deeper than 32 names, is a link or a device, is encrypted or compressed otherwise than by Deflate, or stands
    there twice (capitals and accents' spelling do not count); if it has more than `MAX_ENTRIES` entries; or if what is
    wanted unpacks, by its own account or in fact, to more than `max_bytes` or than the disk has room for.

    Args:
        path: the zip file.
        folder: where to; what stands there is replaced.
        wanted: says of a file's name whether to unpack it.
        max_bytes: of all unpacked files together.

    Raises:
        DataFormatError: it is no zip file, is damaged, or is refused.
        NotWrittenError: the disk is full or cannot be written.
    """
    path = Path(path)
    with (
        _opened(path) as archive,
        new_folder(folder, overwrite=True) as new,
        progress_bar(f"unpacking {path.name}") as report,
    ):
        entries = {name: entry for name, entry in _safe_entries(path, archive).items() if wanted(name)}
        limit = min(max_bytes, shutil.disk_usage(new).free)
        declared = sum(entry.file_size for entry in entries.values())
        if declared > limit:
            raise DataFormatError(
                path, f"unpacks to {declared:,} bytes, more than the {limit:,} that are allowed or free."
            )
        written = 0
        for name, entry in entries.items():
            target = new / name
            target.parent.mkdir(parents=True, exist_ok=True)
            before = written
            with archive.open(entry) as packed, open(target, "xb") as file:
                while chunk := packed.read(_CHUNK_BYTES):
                    written += len(chunk)
                    if written > limit:
                        raise DataFormatError(
                            path, f"unpacks to more than the {limit:,} bytes allowed.", remedy=_REMEDY
                        )
                    file.write(chunk)
                    report(written / max(declared, 1), name.name)
            if written - before != entry.file_size:
                problem = f"{name} has {written - before:,} bytes, but is listed with {entry.file_size:,}."
                raise DataFormatError(path, problem, remedy=_REMEDY)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except DataFormatError:
        raise
    except (*_DAMAGE, OSError) as error:
        # A place before the beginning of the file is an invalid argument to the system.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        problem = f"is no zip file, or a damaged one ({str(error) or type(error).__name__})."
        raise DataFormatError(path, problem, remedy=_REMEDY) from error


def _safe_entries(path: Path, archive: zipfile.ZipFile) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """The files of an archive by name, folders left out.

    Raises:
        DataFormatError: one of them is refused.
    """
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise DataFormatError(path, f"has {len(entries):,} entries, more than the {MAX_ENTRIES:,} that are allowed.")
    files: dict[PurePosixPath, zipfile.ZipInfo] = {}
    seen: set[str] = set()
    for entry in entries:
        # orig_filename is the name as stored: `filename` ends at a NUL, and has the system's separators replaced.
        name = entry.orig_filename
        if fault := _fault_of_name(name) or _fault_of_kind(entry):
            raise DataFormatError(path, f"the entry {name[:200]!r} {fault}.", remedy=_REMEDY)
        if name.endswith("/"):
            continue
        if (folded := _folded(name)) in seen:
            raise DataFormatError(path, f"the entry {name[:200]!r} stands there twice.", remedy=_REMEDY)
        seen.add(folded)
        files[PurePosixPath(name)] = entry
    if both := next(_files_that_are_folders(files, seen), None):
        raise DataFormatError(path, f"the entry {str(both)[:200]!r} lies in another file.", remedy=_REMEDY)
    return files


def _fault_of_name(name: str) -> str | None:
    """Says what is wrong with an entry's name; None where nothing is."""
    if len(name.encode("utf-8", "surrogatepass")) > _MAX_PATH_BYTES:
        return f"has a path longer than {_MAX_PATH_BYTES:,} bytes"
    parts = name.removesuffix("/").split("/")
    if len(parts) > _MAX_PATH_PARTS:
        return f"has a path of more than {_MAX_PATH_PARTS} names"
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "has an absolute path"
    if _FORBIDDEN.search(name):
        return "has a character in its name that not every system allows"
    if any(part in ("", ".", "..") for part in parts):
        return "has a path that leaves its folder or is empty"
    if any(part.endswith((".", " ")) for part in parts):  # Windows drops them, so that two names become one
        return "has a name that ends in a dot or a space"
    if any(len(part.encode("utf-8", "surrogatepass")) > _MAX_NAME_BYTES for part in parts):
        return f"has a name longer than {_MAX_NAME_BYTES} bytes"
    return None


def _fault_of_kind(entry: zipfile.ZipInfo) -> str | None:
    """Says why an entry is not a plain file or folder; None where it is."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "is a link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a device or another special file"
    if entry.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if entry.compress_type not in _COMPRESSIONS:
        return "is compressed otherwise than by Deflate"
    return None


def _folded(name: str) -> str:
    """What file systems take for the same name, on one system or another."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _files_that_are_folders(files: Iterable[PurePosixPath], seen: set[str]) -> Iterator[PurePosixPath]:
    return (name for name in files for above in name.parents if _folded(str(above)) in seen)
