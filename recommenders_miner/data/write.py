"""Writing MIND's files from columns, a block of lines at a time, and what else is known of articles beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.behaviors import mind_times
from recommenders_miner.data.cache import pack_strings
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.errors import RecommendersMinerError
from recommenders_miner.storage import atomic_write

BLOCK_TOKENS = 2**20
"""How many ids, of histories and candidates, are written at a time, roughly. The file does not depend on it."""


@dataclass(frozen=True)
class BehaviorsBlock:
    """Some lines of a `behaviors.tsv`, articles being places in a list of ids.

    Attributes:
        impression_id: (rows,) int64.
        user: the user ids.
        time: (rows,) int64 Unix seconds, written as UTC.
        histories: the articles of each history.
        candidates: the articles of each impression.
        labels: one for each candidate, 0 or 1, or -1 throughout a log without labels.
    """

    impression_id: np.ndarray
    user: pa.StringArray
    time: np.ndarray
    histories: Ragged
    candidates: Ragged
    labels: np.ndarray


def write_behaviors(path: Path, ids: pa.StringArray, blocks: Iterable[BehaviorsBlock]) -> None:
    """Write a `behaviors.tsv` as MIND has it, with MIND's own clock: `11/9/2019 2:14:46 PM`.

    Args:
        path: the file.
        ids: of the articles.
        blocks: its lines.
    """
    shown = pa.concat_arrays([*(pc.binary_join_element_wise(ids, label, "-") for label in ("0", "1")), ids])
    with open(path, "wb") as file:
        for block in blocks:
            labelled = block.candidates.values + len(ids) * (block.labels.astype(np.int64) % 3)
            columns = [
                pa.array(block.impression_id).cast(pa.string()),
                block.user,
                mind_times(block.time),
                _joined(ids, block.histories),
                _joined(shown, Ragged(labelled, block.candidates.offsets)),
            ]
            file.write(_lines(columns))


def write_table(path: Path, table: pa.Table) -> None:
    """Write columns of strings, separated by tabs, without a header and without quoting."""
    with open(path, "wb") as file:
        for batch in table.to_batches():
            file.write(_lines(batch.columns))


def write_articles(path: Path, table: pa.Table) -> None:
    """Write an `articles.parquet`.

    Args:
        path: the file.
        table: one row an article, in the order of news.tsv: its `id`, and columns of any type and name, null where
            something is not known. `published` is int64 Unix seconds.
    """
    import pyarrow.parquet as pq

    with atomic_write(path) as partial:
        pq.write_table(table, partial)


def blocks_of_rows(tokens: np.ndarray, most: int | None = None) -> Iterator[slice]:
    """Cut rows into stretches that hold so many tokens that they are written at once.

    Args:
        tokens: (rows,) how many each row has.
        most: how many tokens are written at once; None: `BLOCK_TOKENS`. A single row may have more.
    """
    block = np.cumsum(tokens) // (most or BLOCK_TOKENS)
    cuts = np.flatnonzero(np.diff(block)) + 1
    yield from (slice(start, end) for start, end in pairwise([0, *cuts.tolist(), len(tokens)]))


def require_apart(out: Path, *sources: Path) -> None:
    """Refuse to write a folder that a source is, or lies in, since overwriting it would remove the source.

    Raises:
        RecommendersMinerError: it is so.
    """
    for source in sources:
        if out.resolve() in (source.resolve(), *source.resolve().parents):
            raise RecommendersMinerError(f"{out}: the result would take the place of its source, {source}.")


def _joined(words: pa.StringArray, places: Ragged) -> pa.StringArray:
    """Join the words of each row with spaces."""
    offsets = places.offsets.astype(np.int32)
    return pc.binary_join(pa.ListArray.from_arrays(offsets, words.take(pa.array(places.values))), " ")


def _lines(columns: Sequence[pa.Array]) -> memoryview:
    rows = pc.binary_join_element_wise(*columns, "\t")
    return pack_strings(pc.binary_join_element_wise(rows, "", "\n"))[0].data
