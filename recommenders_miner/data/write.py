"""Writing MIND's files from columns, a block of lines at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.cache import pack_strings
from recommenders_miner.data.file_clock import mind_times

BLOCK_TOKENS = 2**20
"""How many news ids of histories and candidates are written at a time, roughly. The file does not depend on it."""


@dataclass(frozen=True)
class BehaviorsBlock:
    """Some lines of a `behaviors.tsv`, news being places in a list of ids.

    Attributes:
        impression_id: (rows,) int64.
        user: the user ids.
        time: (rows,) int64 Unix seconds, written as UTC.
        histories: (total,) the news of the histories, one history after another.
        history_length: (rows,) int64.
        candidates: (total,) the news shown.
        labels: (total,) 0 or 1, or -1 throughout a log without labels.
        num_candidates: (rows,) int64.
    """

    impression_id: np.ndarray
    user: pa.StringArray
    time: np.ndarray
    histories: np.ndarray
    history_length: np.ndarray
    candidates: np.ndarray
    labels: np.ndarray
    num_candidates: np.ndarray


def write_behaviors(path: Path, ids: pa.StringArray, blocks: Iterable[BehaviorsBlock]) -> None:
    """Writes a `behaviors.tsv` as MIND has it, with MIND's own clock: `11/9/2019 2:14:46 PM`.

    Args:
        path: the file.
        ids: of the news.
        blocks: its lines.
    """
    shown = pa.concat_arrays([*(pc.binary_join_element_wise(ids, label, "-") for label in ("0", "1")), ids])
    with open(path, "wb") as file:
        for block in blocks:
            columns = [
                pa.array(block.impression_id).cast(pa.string()),
                block.user,
                mind_times(block.time),
                _joined(ids, block.histories, block.history_length),
                _joined(shown, block.candidates + len(ids) * (block.labels.astype(np.int64) % 3), block.num_candidates),
            ]
            file.write(_lines(columns))


def write_table(path: Path, table: pa.Table) -> None:
    """Writes columns of strings, separated by tabs, without a header and without quoting."""
    with open(path, "wb") as file:
        for batch in table.to_batches():
            file.write(_lines(batch.columns))


def blocks_of_rows(tokens: np.ndarray, most: int | None = None) -> Iterator[slice]:
    """Cuts rows into stretches that hold so many tokens that they are written at once.

    Args:
        tokens: (rows,) how many each row has.
        most: how many tokens are written at once; None: `BLOCK_TOKENS`. A single row may have more.
    """
    block = np.cumsum(tokens) // (most or BLOCK_TOKENS)
    cuts = np.flatnonzero(np.diff(block)) + 1
    yield from (slice(start, end) for start, end in pairwise([0, *cuts.tolist(), len(tokens)]))


def _joined(words: pa.StringArray, places: np.ndarray, counts: np.ndarray) -> pa.StringArray:
    """Texts of words separated by spaces; `counts` says how many each has."""
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pc.binary_join(pa.ListArray.from_arrays(offsets, words.take(pa.array(places))), " ")


def _lines(columns: Sequence[pa.Array]) -> memoryview:
    rows = pc.binary_join_element_wise(*columns, "\t")
    return pack_strings(pc.binary_join_element_wise(rows, "", "\n"))[0].data
