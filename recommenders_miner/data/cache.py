"""Memory-mapped cache of numpy arrays in a folder, which is either whole or absent.

A cache folder holds one file per array, its bytes and nothing else, and `manifest.json`, which says what they are:

    {"format": 2, "key": "…", "meta": {…}, "arrays": {"labels": ["|i1", [800]], …}}
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from recommenders_miner.storage import new_folder

LOGGER = logging.getLogger("recommenders_miner")

FORMAT_VERSION = 2
_MANIFEST = "manifest.json"


class CachedArrays(NamedTuple):
    """What a cache folder holds: read-only memory-mapped arrays by name, and the writer's own JSON."""

    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]


def load(folder: Path, key: str) -> CachedArrays | None:
    """Open a cache without reading its arrays; None where there is none that was stored under this key.

    A damaged one, as far as sizes tell, or one of another format version is removed, with a warning in the log.
    """
    if not os.path.isdir(folder):  # Path.is_dir() raises where a name is too long
        return None
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        if (manifest["format"], manifest["key"]) != (FORMAT_VERSION, key):
            raise ValueError("it has another format version or key")
        arrays = {}
        for name, (dtype, shape) in manifest["arrays"].items():
            path, kind = folder / f"{name}.bin", np.dtype(dtype)
            size = path.stat().st_size
            if kind.hasobject or size != kind.itemsize * math.prod(shape):
                raise ValueError(f"{path.name} has {size} bytes, which are not {shape} of {dtype}")
            whole = np.memmap(path, kind, "r") if size else np.frombuffer(b"", kind)
            arrays[name] = whole.reshape(shape)
        return CachedArrays(arrays, manifest["meta"])
    except Exception as error:  # json and numpy let through whatever damaged files lead them into
        discard(folder, error)
        return None


def discard(folder: Path, why: Exception) -> None:
    """Remove a cache that is not what was stored, and warn of it in the log."""
    LOGGER.warning("The cache %s is removed and will be rebuilt (%r).", folder, why)
    shutil.rmtree(folder, ignore_errors=True)


class ArrayWriter:
    """Arrays in the files of a folder, which grow by parts, so that none need fit into memory.

    Attributes:
        kinds: the dtype and the shape of each array.
        meta: the writer's own, anything that JSON can hold.
    """

    def __init__(self, folder: Path) -> None:
        self.kinds: dict[str, tuple[str, list[int]]] = {}
        self.meta: dict[str, Any] = {}
        self._folder = folder

    def append(self, **parts: np.ndarray) -> None:
        """Add rows to arrays, which begin with their first part and keep its dtype."""
        for name, part in parts.items():
            dtype, (rows, *rest) = self.kinds.get(name, (part.dtype.str, [0, *part.shape[1:]]))
            with open(self._folder / f"{name}.bin", "ab") as file:
                file.write(np.ascontiguousarray(part, dtype).data)
            self.kinds[name] = dtype, [rows + len(part), *rest]


def store(folder: Path, key: str, what: str | Path, fill: Callable[[ArrayWriter], None]) -> None:
    """Let `fill` append arrays to a cache, which `load` found absent, under a key that identifies the content.

    Where it cannot be written, nothing of it is left, and a warning is logged that says `what` is not kept.
    """
    is_first = not os.path.exists(folder.parent)  # Path.exists() raises where a name is too long
    try:
        with new_folder(folder) as partial:
            writer = ArrayWriter(partial)
            fill(writer)
            manifest = {"format": FORMAT_VERSION, "key": key, "meta": writer.meta, "arrays": writer.kinds}
            (partial / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    except OSError as error:
        if not os.path.isdir(folder):  # else another process stored it in the meantime
            LOGGER.warning("No cache of %s could be kept (%s); it will be made anew next time.", what, error)
    finally:
        if is_first:
            with contextlib.suppress(OSError):  # it holds the cache, or another one
                folder.parent.rmdir()


def keep(folder: Path, key: str, what: str | Path, arrays: Mapping[str, np.ndarray]) -> CachedArrays:
    """Store arrays and open what was stored, which frees their memory; return the given ones where that fails."""
    store(folder, key, what, lambda writer: writer.append(**arrays))
    return load(folder, key) or CachedArrays(dict(arrays), {})


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
