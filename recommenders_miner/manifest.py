"""The manifest of a folder: size and digest of each file, by which a changed, missing or added one is found.

    {"format": 1, "files": {"network.keras": {"bytes": 88064, "blake2b": "…"}, "pieces/tokenizer.json": {…}, …}}

It guards against accidents: a copy that was cut short, a file of another version, an edit. It is no signature; whoever
writes a folder can write its manifest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container
from pathlib import Path

from recommenders_miner.errors import DataFormatError

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
_DIGEST_BYTES = 16
_REMEDY = "Copy the folder anew from where it is whole, or make it again."


def file_digest(path: Path) -> str:
    """Returns a hex BLAKE2b digest of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=_DIGEST_BYTES)).hexdigest()


def write_manifest(folder: Path) -> None:
    """Writes the manifest of all files that a folder holds."""
    entries = {
        name: {"bytes": path.stat().st_size, "blake2b": file_digest(path)} for name, path in _files(folder).items()
    }
    text = json.dumps({"format": FORMAT_VERSION, "files": entries}, indent=1) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def check_manifest(folder: Path, known: Container[str]) -> None:
    """Compares a folder with its manifest.

    Args:
        folder: holds the manifest.
        known: what is read of such a folder, files and folders, where it is there; none of these may have been added
            since, not even as an empty folder or a link to one. What has another name, as a README, may.

    Raises:
        DataFormatError: the manifest cannot be read, or a file was changed, added or removed; the error names it.
    """
    sizes_and_digests = _read(folder / MANIFEST)
    files = _files(folder)
    for name, (size, digest) in sizes_and_digests.items():
        path = files.get(name)
        if path is None:
            raise DataFormatError(folder / name, "is missing, and the manifest names it.", remedy=_REMEDY)
        if path.stat().st_size != size:
            problem = f"has {path.stat().st_size:,} bytes, and {size:,} when it was written."
            raise DataFormatError(path, problem, remedy=_REMEDY)
        if file_digest(path) != digest:
            raise DataFormatError(path, "has another content than when it was written.", remedy=_REMEDY)
    written = {*sizes_and_digests, *(name.partition("/")[0] for name in sizes_and_digests)}
    for path in sorted(folder.rglob("*"), reverse=True):  # so that of an added folder a file is named, if it has any
        name = path.relative_to(folder).as_posix()
        is_used = path.is_file() or path.is_symlink() or path.parent == folder
        if is_used and name not in written and name.partition("/")[0] in known:
            raise DataFormatError(path, "was added after the folder was written.", remedy="Remove it.")


def _read(path: Path) -> dict[str, tuple[int, str]]:
    """The size and digest of each file that a manifest names."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT_VERSION:
            raise ValueError(f"it has the format {manifest['format']!r}")
        entries = {name: (entry["bytes"], entry["blake2b"]) for name, entry in manifest["files"].items()}
        if not all(isinstance(size, int) for size, _ in entries.values()):
            raise ValueError("a size is no whole number")
        return entries
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DataFormatError(path, f"is no readable manifest ({error}).", remedy=_REMEDY) from None


def _files(folder: Path) -> dict[str, Path]:
    """All files of a folder but its manifest, by name relative to it, in alphabetical order."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in paths if path != folder / MANIFEST}
