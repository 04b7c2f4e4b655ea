"""Memory-mapped cache of numpy arrays in a folder, which is either whole or absent.

A cache folder holds one file per array, its bytes and nothing else, and `manifest.json`, which says what they are:

    {"format": 3, "key": "…", "meta": {…}, "arrays": {"labels": ["|i1", [800]], …}, "checksums": {"labels": 123, …}, …}
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import shutil
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from recommenders_miner.data.tsv import MANIFEST
from recommenders_miner.storage import new_folder

LOGGER = logging.getLogger("recommenders_miner")

FORMAT_VERSION = 3
_CHECKED_BYTES = 2**26


def load(folder: Path, key: str) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """Open a cache, reading no more than checksums need; None where there is none that was stored under this key.

    It is read-only memory-mapped arrays by name, and the writer's own JSON.

    A damaged one, as far as sizes and checksums tell, or one of another format version is removed, with a warning.
    """
    if not os.path.isdir(folder):  # Path.is_dir() raises where a name is too long
        return None
    try:
        arrays, meta, found = open_arrays(folder)
        if found != key:
            raise ValueError("it has another key")
        return arrays, meta
    except ValueError as error:
        LOGGER.warning("The cache %s is removed and will be rebuilt (%s).", folder, error)
        shutil.rmtree(folder, ignore_errors=True)
        return None


def open_arrays(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any], str]:
    """Open a folder of arrays as `load` does; return its key, too.

    Raises:
        ValueError: it is damaged, as far as sizes and checksums tell, or of another format version.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest.pop("digest") != _digest(manifest):
            raise ValueError("its manifest is damaged")
        if manifest["format"] != FORMAT_VERSION:
            raise ValueError("it has another format version")
        arrays = {}
        for name, (dtype, shape) in manifest["arrays"].items():
            path, kind = folder / f"{name}.bin", np.dtype(dtype)
            size = kind.itemsize * math.prod(shape)
            if path.stat().st_size != size or _checksum(path) != manifest["checksums"][name]:
                raise ValueError(f"{path.name} is damaged")
            # As plain arrays, of which views are made ten times as fast as of `np.memmap`.
            found = np.asarray(np.memmap(path, kind, "r")) if size else np.frombuffer(b"", kind)
            arrays[name] = found.reshape(shape)
        return arrays, manifest["meta"], manifest["key"]
    except Exception as error:  # json and numpy let through whatever damaged files lead them into
        raise ValueError(repr(error)) from error


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(manifest, sort_keys=True).encode(), digest_size=16).hexdigest()


def _checksum(path: Path) -> int:
    """Return the checksum of a file, or of its beginning, so that a log larger than memory opens without being read."""
    with open(path, "rb") as file:
        return zlib.crc32(file.read(min(path.stat().st_size, _CHECKED_BYTES)))


class ArrayWriter:
    """Arrays in the files of a folder, which grow by parts, so that none need fit into memory.

    `kinds` are the dtype and the shape of each array, `meta` is the writer's own, anything that JSON can hold.
    """

    def __init__(self, folder: Path) -> None:
        self.kinds: dict[str, tuple[str, list[int]]] = {}
        self.meta: dict[str, Any] = {}
        self._folder = folder

    def append(self, **parts: np.ndarray) -> None:
        """Add rows to arrays, which begin with their first part and keep its dtype."""
        for name, part in parts.items():
            kind = part.dtype.name if part.dtype.kind == "V" else part.dtype.str  # bfloat16 is known by its name alone
            dtype, (rows, *rest) = self.kinds.get(name, (kind, [0, *part.shape[1:]]))
            with open(self._folder / f"{name}.bin", "ab") as file:
                file.write(np.ascontiguousarray(part, dtype).ravel().view(np.uint8).data)
            self.kinds[name] = dtype, [rows + len(part), *rest]

    def finish(self, key: str) -> None:
        """Write the manifest, which makes a whole of the arrays, under a key that identifies the content."""
        manifest = {"format": FORMAT_VERSION, "key": key, "meta": self.meta, "arrays": self.kinds}
        manifest["checksums"] = {name: _checksum(self._folder / f"{name}.bin") for name in self.kinds}
        content = json.dumps(manifest | {"digest": _digest(manifest)}, indent=1)
        (self._folder / MANIFEST).write_text(content, encoding="utf-8")


class ArraysInMemory:
    """Arrays in memory that grow by parts, as those of an `ArrayWriter` do on disk."""

    def __init__(self) -> None:
        self._parts: dict[str, list[np.ndarray]] = defaultdict(list)

    def append(self, **parts: np.ndarray) -> None:
        """Add rows to arrays."""
        for name, part in parts.items():
            self._parts[name].append(part)

    def joined(self) -> dict[str, np.ndarray]:
        """Return the arrays by name, and forget their parts."""
        return {name: np.concatenate(self._parts.pop(name)) for name in list(self._parts)}


def store(folder: Path, key: str, what: str | Path, fill: Callable[[ArrayWriter], None]) -> None:
    """Let `fill` append arrays to a cache, which `load` found absent, under a key that identifies the content.

    Where it cannot be written, nothing of it is left, and a warning is logged that says `what` is not kept.
    """
    is_first = not os.path.exists(folder.parent)  # Path.exists() raises where a name is too long
    try:
        with new_folder(folder) as partial:
            writer = ArrayWriter(partial)
            fill(writer)
            writer.finish(key)
    except OSError as error:
        if not os.path.isdir(folder):  # else another process stored it in the meantime
            LOGGER.warning("No cache of %s could be kept (%s); it will be made anew next time.", what, error)
    finally:
        if is_first:
            with contextlib.suppress(OSError):  # it holds the cache, or another one
                folder.parent.rmdir()


def kept(
    folder: Path | None, key: str, what: str | Path, fill: Callable[[Callable[..., None]], None]
) -> dict[str, np.ndarray]:
    """Return the arrays of a cache, which is made first if it is not there; in memory where none can be kept.

    `fill` is given a function to append parts to arrays, as `ArrayWriter.append`, and may be called twice.
    """
    if folder is not None:
        if (found := load(folder, key)) is None:
            store(folder, key, what, lambda writer: fill(writer.append))
            found = load(folder, key)
        if found is not None:
            return found[0]
    arrays = ArraysInMemory()
    fill(arrays.append)
    return arrays.joined()


def keep_newest(parent: Path, pattern: str, count: int) -> None:
    """Remove the caches of a folder whose names match, but for so many that were stored last."""
    with contextlib.suppress(OSError):  # another process removes them, too
        found = sorted(parent.glob(pattern), key=lambda folder: folder.stat().st_mtime, reverse=True)
        for folder in found[count:]:
            shutil.rmtree(folder, ignore_errors=True)


def pack_strings(strings: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
    """Return the UTF-8 bytes of strings, (bytes,) uint8, and where each begins, (strings + 1,) int32."""
    _, offset_buffer, data_buffer = strings.buffers()
    if len(strings) == 0 or data_buffer is None:
        return np.zeros(0, np.uint8), np.zeros(len(strings) + 1, np.int32)
    offsets = np.frombuffer(offset_buffer, np.int32)[strings.offset : strings.offset + len(strings) + 1]
    return np.frombuffer(data_buffer, np.uint8)[offsets[0] : offsets[-1]], offsets - offsets[0]


def unpack_strings(data: np.ndarray, offsets: np.ndarray) -> pa.StringArray:
    """Return the strings that `pack_strings` packed, as a view of the two arrays."""
    return pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))
