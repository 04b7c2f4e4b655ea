"""Dealing the impressions of logs to parts by user, and joining each part to one log, through files.

What a part gets of a log is a fragment, a file of its own: `FOLDER/PART/NAME`. Joined, a part has the fragments in the
order of their names.
"""

from __future__ import annotations

import hashlib
import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from recommenders_miner.data.cache import ArrayWriter
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.errors import RecommendersMinerError

_MOST_LETTERS = 2**31 - 1  # what the offsets of Arrow's strings can count


def deal(log: ImpressionLog, parts: int, folder: Path, name: str) -> bytes:
    """Write what each part gets of a log, in the order of the log, and return a digest of it all.

    A user belongs to the part that is the CRC-32 of the id modulo the number of parts.
    """
    part_of_user = np.array([zlib.crc32(user) % parts for user in log.users.cast(pa.binary()).to_pylist()], np.int64)
    part = part_of_user[log.user_of]
    order = np.argsort(part, kind="stable")
    digest = hashlib.blake2b(digest_size=16)
    for index, (start, end) in enumerate(pairwise(np.searchsorted(part[order], np.arange(parts + 1)))):
        if end > start:
            content = _packed(log.select(order[start:end]).to_arrays())
            digest.update(content)
            (folder / str(index)).mkdir(exist_ok=True)
            (folder / str(index) / name).write_bytes(content)
    return digest.digest()


def join_parts(folder: Path, parts: int, writer: ArrayWriter, progress: Callable[[float], None]) -> None:
    """Append the parts, one after another, to the arrays of one log, and remove the fragments as they are used up.

    Raises:
        RecommendersMinerError: the ids of all users together have more bytes than their places can count.
    """
    bounds = np.zeros((1, 3), np.int64)  # impressions, histories, users
    slots, clicks, letters = (np.zeros(1, dtype) for dtype in (np.int64, np.int64, np.int32))
    writer.append(parts=bounds, offsets=slots, history_offsets=clicks, user_offsets=letters)
    for part in range(parts):
        files = sorted((folder / str(part)).glob("*"))
        if files:
            log = join_logs([ImpressionLog.from_arrays(_unpacked(file), file) for file in files])
            arrays = log.to_arrays()
            if int(letters[0]) + len(arrays["user_bytes"]) > _MOST_LETTERS:
                problem = "the ids of all users together take more than 2 GiB. Shorten them, to numbers for example."
                raise RecommendersMinerError(f"{folder.parent.parent}: {problem}")
            arrays["history_of"] = arrays["history_of"] + bounds[0, 1].astype(np.int32)
            arrays["user_of"] = arrays["user_of"] + bounds[0, 2].astype(np.int32)
            for name, last in {"offsets": slots, "history_offsets": clicks, "user_offsets": letters}.items():
                arrays[name] = arrays[name][1:] + last
            slots, clicks, letters = (arrays[name][-1:] for name in ("offsets", "history_offsets", "user_offsets"))
            bounds = bounds + np.array([len(log), len(log.histories), len(log.users)])
            writer.append(**arrays)
            shutil.rmtree(folder / str(part))
        writer.append(parts=bounds)
        progress((part + 1) / parts)
    folder.rmdir()


def _packed(arrays: Mapping[str, np.ndarray]) -> pa.Buffer:
    """Make an Arrow file of arrays, each the only value of a column of lists."""
    columns = {
        name: pa.LargeListArray.from_arrays(pa.array([0, len(array)], pa.int64()), pa.array(array))
        for name, array in arrays.items()
    }
    batch, content = pa.record_batch(columns), pa.BufferOutputStream()
    with pa.ipc.new_file(content, batch.schema) as file:
        file.write_batch(batch)
    return content.getvalue()


def _unpacked(path: Path) -> dict[str, np.ndarray]:
    """Map the arrays of a file that `_packed` made."""
    batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
    return {name: batch.column(name).values.to_numpy() for name in batch.schema.names}


def join_logs(logs: Sequence[ImpressionLog]) -> ImpressionLog:
    """Put logs with the same news one after another; there must be at least one.

    Each user and each history is there once, in the order in which impressions name them.
    """
    histories, users = Ragged.concat([log.histories for log in logs]), pa.concat_arrays([log.users for log in logs])
    bytes_of = histories.offsets * histories.values.itemsize, histories.values
    contents = pa.Array.from_buffers(pa.large_binary(), len(histories), [None, *map(pa.py_buffer, bytes_of)])
    history_of, distinct = _numbered(contents, _rebased([(log.history_of, len(log.histories)) for log in logs]))
    user_of, named = _numbered(users, _rebased([(log.user_of, len(log.users)) for log in logs]))
    return ImpressionLog(
        candidates=Ragged.concat([log.candidates for log in logs]),
        labels=np.concatenate([log.labels for log in logs]),
        histories=histories.take(distinct),
        history_of=history_of,
        user_of=user_of,
        time=np.concatenate([log.time for log in logs]),
        impression_id=np.concatenate([log.impression_id for log in logs]),
        users=users.take(pa.array(named)),
    )


def _rebased(indices: Sequence[tuple[np.ndarray, int]]) -> np.ndarray:
    """Join indices into several arrays, each with the array's size, to indices into these put one after another."""
    starts = np.cumsum([0, *(size for _, size in indices)])
    return np.concatenate([array + start for (array, _), start in zip(indices, starts, strict=False)])


def _numbered(keys: pa.Array, of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the distinct keys in the order in which `of`, (rows,) places of keys, first names them.

    Return the number of each row's key, (rows,) int32, and where each number's key stands among the keys.
    """
    same = keys.dictionary_encode().indices.to_numpy()
    first = np.flatnonzero(np.diff(np.maximum.accumulate(same), prepend=-1))
    rows = pa.array(same[of]).dictionary_encode()
    return rows.indices.to_numpy(), first[rows.dictionary.to_numpy()]
