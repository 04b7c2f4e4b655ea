"""Memory-mapped cache of numpy arrays in a folder, which is either whole or absent.

A cache folder holds one `.npy` file per array and `manifest.json`, which is the record of what belongs there:

    {"format": 1, "key": "…", "meta": {…},
     "arrays": {"labels": {"bytes": 928, "dtype": "|i1", "shape": [800], "blake2b": "…"}, …}}

The folder is filled in a workplace beside its own (see `files`), brought to disk, then renamed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self

import numpy as np
import pyarrow as pa

from recommenders_miner.data.mapped_arrays import map_array
from recommenders_miner.manifest import file_digest
from recommenders_miner.storage import workplace

LOGGER = logging.getLogger("recommenders_miner")

FORMAT_VERSION = 1
_MANIFEST = "manifest.json"


class CachedArrays(NamedTuple):
    """What a cache folder holds: read-only memory-mapped arrays by name, and the writer's own JSON."""

    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]


class _DamagedCacheError(Exception):
    """A cache folder is not what its manifest says."""


def load(folder: str | Path, key: str, verify: bool = False) -> CachedArrays | None:
    """Opens a cache without reading its arrays.

    Args:
        folder: the cache folder.
        key: what it must have been stored under.
        verify: also compare every file's digest, which reads all of it. Without it, the manifest, the file
            sizes, dtypes and shapes are checked.

    Returns:
        The arrays, or None where there is no such cache. A damaged one, or one of another format version,
        counts as absent, with a warning in the log.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):  # Path.is_dir() raises where a name is too long
        return None
    try:
        return _open_folder(folder, key, verify)
    except Exception as error:  # json and numpy let through whatever damaged files lead them into
        LOGGER.warning("The cache %s cannot be used and will be rebuilt (%r).", folder, error)
        return None


def discard(folder: str | Path, why: Exception) -> None:
    """Removes a cache whose arrays are not what their reader stored, and warns of it in the log."""
    LOGGER.warning("The cache %s is removed and will be rebuilt (%r).", folder, why)
    shutil.rmtree(folder, ignore_errors=True)


def store(
    folder: str | Path, key: str, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any] | None = None
) -> None:
    """Writes a cache, so that another process sees either all of it or none: see `storing`.

    Args:
        folder: the cache folder; its parents are made as needed.
        key: identifies the content; `load` asks for it.
        arrays: numeric arrays by name; a name must be usable as a file name.
        meta: anything that JSON can hold.

    Raises:
        OSError: the folder cannot be written. Nothing of this cache is left behind, and nothing of those that
            killed processes began under the same name.
    """
    with storing(folder, key) as writer:
        writer.append(**arrays)
        writer.meta.update(meta or {})


@contextlib.contextmanager
def storing(folder: str | Path, key: str) -> Iterator[ArrayWriter]:
    """Fills a cache part by part; when the block ends, the cache is in its place.

    If a valid cache with this key is there already, for instance because another process stored it in the
    meantime, that one stays; a damaged one is replaced. If the block raises, nothing of this cache is left.

    Args:
        folder: the cache folder; its parents are made as needed.
        key: identifies the content; `load` asks for it.

    Raises:
        OSError: the folder cannot be written. Nothing of this cache is left behind, and nothing of those that
            killed processes began under the same name.
    """
    folder = Path(folder)
    is_first = not folder.parent.exists()
    try:
        with workplace(folder) as place:
            partial = place / "arrays"
            partial.mkdir()
            with ArrayWriter(partial) as writer:
                yield writer
                entries = writer.finish()
            manifest = {"format": FORMAT_VERSION, "key": key, "meta": writer.meta, "arrays": entries}
            with open(partial / _MANIFEST, "w", encoding="utf-8") as file:
                json.dump(manifest, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            _sync_folder(partial)
            _move_into_place(place, folder, key)
            _sync_folder(folder.parent)
    finally:
        if is_first:
            with contextlib.suppress(OSError):  # it holds the cache, or another one
                folder.parent.rmdir()


class ArrayParts:
    """Arrays in memory that grow by parts, as those of `ArrayWriter` do on disk.

    Attributes:
        meta: the writer's own, anything that JSON can hold.
    """

    def __init__(self) -> None:
        self.meta: dict[str, Any] = {}
        self._parts: dict[str, list[np.ndarray]] = {}

    def append(self, **parts: np.ndarray) -> None:
        """Adds rows to arrays, which begin with their first part."""
        for name, part in parts.items():
            self._parts.setdefault(name, []).append(part)

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the arrays; can be called once, since it gives up each one's parts as it joins them."""
        return {name: np.concatenate(self._parts.pop(name)) for name in list(self._parts)}


class ArrayWriter:
    """Arrays in the `.npy` files of a folder, which grow by parts, so that none need fit into memory.

    Args:
        folder: the folder.

    Attributes:
        meta: the writer's own, anything that JSON can hold.
    """

    def __init__(self, folder: Path) -> None:
        self.meta: dict[str, Any] = {}
        self._folder = folder
        self._files: dict[str, BinaryIO] = {}
        self._shapes: dict[str, tuple[np.dtype, tuple[int, ...]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def append(self, **parts: np.ndarray) -> None:
        """Adds rows to arrays, which begin with their first part."""
        for name, part in parts.items():
            if name not in self._files:
                self._files[name] = open(self._folder / f"{name}.npy", "wb")  # noqa: SIM115
                self._shapes[name] = part.dtype, (0, *part.shape[1:])
                self._write_header(name)
            dtype, (rows, *rest) = self._shapes[name]
            if part.dtype != dtype or list(part.shape[1:]) != rest:
                raise ValueError(f"{name} is {dtype} with rows {rest}; its next part is {part.dtype}, {part.shape}.")
            self._files[name].write(np.ascontiguousarray(part).data)
            self._shapes[name] = dtype, (rows + len(part), *rest)

    def finish(self) -> dict[str, dict[str, Any]]:
        """Brings the files to disk; returns the arrays' entries in the manifest."""
        for name, file in self._files.items():
            file.seek(0)
            self._write_header(name)
            file.flush()
            os.fsync(file.fileno())
        return {name: self._entry(name, *shape) for name, shape in self._shapes.items()}

    def _write_header(self, name: str) -> None:
        # numpy leaves room in a header for the first axis to grow, so the second one fits into the place of the first.
        dtype, shape = self._shapes[name]
        description = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._files[name], description)

    def _entry(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> dict[str, Any]:
        path = self._folder / f"{name}.npy"
        size = path.stat().st_size
        return {"bytes": size, "dtype": dtype.str, "shape": list(shape), "blake2b": file_digest(path)}


def keep(
    folder: str | Path,
    key: str,
    what: str | Path,
    arrays: Mapping[str, np.ndarray],
    meta: Mapping[str, Any] | None = None,
) -> CachedArrays:
    """Stores arrays and opens what was stored, which frees their memory and makes a first run as the second.

    Args:
        folder: the cache folder. Where it cannot be written, a warning is logged.
        key: as in `store`.
        what: what the arrays are, for the warning.
        arrays: as in `store`.
        meta: as in `store`.

    Returns:
        The stored arrays, or the given ones where they could not be stored.
    """
    cached = None
    try:
        store(folder, key, arrays, meta)
    except OSError as error:
        LOGGER.warning("No cache of %s could be kept (%s); it will be made anew next time.", what, error)
    else:
        cached = load(folder, key)
    return CachedArrays(dict(arrays), dict(meta or {})) if cached is None else cached


def pack_strings(strings: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
    """Turns strings into arrays that a cache can hold.

    Returns:
        The strings' UTF-8 bytes one after another, (bytes,) uint8, and where each begins and the last one
        ends, (len(strings) + 1,) int32.
    """
    _, offset_buffer, data_buffer = strings.buffers()
    if len(strings) == 0 or data_buffer is None:
        return np.zeros(0, np.uint8), np.zeros(len(strings) + 1, np.int32)
    offsets = np.frombuffer(offset_buffer, np.int32)[strings.offset : strings.offset + len(strings) + 1]
    return np.frombuffer(data_buffer, np.uint8)[offsets[0] : offsets[-1]], offsets - offsets[0]


def unpack_strings(data: np.ndarray, offsets: np.ndarray) -> pa.StringArray:
    """The strings that `pack_strings` packed, as a view of the two arrays."""
    return pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))


def _open_folder(folder: Path, key: str, verify: bool) -> CachedArrays:
    manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    if (manifest["format"], manifest["key"]) != (FORMAT_VERSION, key):
        raise _DamagedCacheError("it has another format version or key")
    arrays = {name: _open_array(folder / f"{name}.npy", entry, verify) for name, entry in manifest["arrays"].items()}
    return CachedArrays(arrays, manifest["meta"])


def _open_array(path: Path, entry: Mapping[str, Any], verify: bool) -> np.ndarray:
    if path.stat().st_size != entry["bytes"]:
        raise _DamagedCacheError(f"{path.name} has {path.stat().st_size} bytes, not {entry['bytes']}")
    if verify and file_digest(path) != entry["blake2b"]:
        raise _DamagedCacheError(f"{path.name} has another content than it was stored with")
    array = map_array(path)
    if (array.dtype.str, list(array.shape)) != (entry["dtype"], entry["shape"]):
        raise _DamagedCacheError(f"{path.name} has another dtype or shape than it was stored with")
    return array


def _move_into_place(place: Path, folder: Path, key: str) -> None:
    """Renames the arrays in a workplace to `folder`, unless a valid cache is there; a damaged one goes."""
    if folder.is_dir() and not _is_valid(folder, key):
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            os.rename(folder, place / "damaged")
    try:
        os.rename(place / "arrays", folder)
    except OSError:
        if not _is_valid(folder, key):
            raise


def _is_valid(folder: Path, key: str) -> bool:
    try:
        _open_folder(folder, key, verify=False)
    except Exception:  # as in load
        return False
    return True


def _sync_folder(folder: Path) -> None:
    """Brings a folder's entries to disk, where the system can open folders."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
