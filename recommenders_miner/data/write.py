"""Writing MIND's files from columns, a block of lines at a time, and what else is known of articles beside them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.behaviors import mind_times
from recommenders_miner.data.cache import pack_strings
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.past_clicks import Histories
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.errors import RecommendersMinerError
from recommenders_miner.storage import atomic_write

BLOCK_TOKENS = 2**20
"""How many ids, of histories and candidates, are written at a time, roughly. The file does not depend on it."""


def write_behaviors(
    path: Path, ids: pa.StringArray, logs: Iterable[tuple[ImpressionLog, Histories, np.ndarray]]
) -> np.ndarray:
    """Write a `behaviors.tsv` as MIND has it, with MIND's own clock: `11/9/2019 2:14:46 PM`.

    `logs` are, one after another, logs whose articles are places in `ids`, the histories of their impressions, and
    which impressions are written, in this order. Return which articles stand in the file, (ids,) bool.
    """
    shown = pa.concat_arrays([*(pc.binary_join_element_wise(ids, label, "-") for label in ("0", "1")), ids])
    used = np.zeros(len(ids), bool)
    with open(path, "wb") as file:
        for log, histories, impressions in logs:
            for rows in blocks_of_rows(log.candidates.lengths[impressions] + histories.length[impressions]):
                here = impressions[rows]
                past, slots = histories.take(here), log.candidates.places(here)
                articles, labels = log.candidates.values[slots.values], log.labels[slots.values].astype(np.int64)
                used[past.values] = used[articles] = True
                columns = [
                    pa.array(log.impression_id[here]).cast(pa.string()),
                    log.users.take(pa.array(log.user_of[here])),
                    mind_times(log.time[here]),
                    _joined(ids, past),
                    _joined(shown, Ragged(articles + len(ids) * (labels % 3), slots.offsets)),
                ]
                file.write(_lines(columns))
    return used


def write_table(path: Path, table: pa.Table) -> None:
    """Write columns of strings, separated by tabs, without a header and without quoting."""
    with open(path, "wb") as file:
        for batch in table.to_batches():
            file.write(_lines(batch.columns))


def write_articles(path: Path, table: pa.Table) -> None:
    """Write an `articles.parquet`: a row an article, in the order of news.tsv.

    Beside `id` its columns are of any type and name, null where something is not known; `published` is int64 Unix
    seconds.

    Raises:
        RecommendersMinerError: Parquet cannot hold a column.
    """
    import pyarrow.parquet as pq

    with atomic_write(path) as partial:
        try:
            pq.write_table(table, partial)
        except pa.ArrowException as error:  # of objects without a key, for one
            raise RecommendersMinerError(f"{path.name}: not writable ({error}). Leave the column out.") from None


def blocks_of_rows(tokens: np.ndarray) -> Iterator[slice]:
    """Cut rows, which have so many tokens each, into stretches of roughly `BLOCK_TOKENS`, or of one longer row."""
    block = np.cumsum(tokens) // BLOCK_TOKENS
    cuts = np.flatnonzero(np.diff(block)) + 1
    yield from (slice(start, end) for start, end in pairwise([0, *cuts.tolist(), len(tokens)]))


def require_apart(out: Path, *sources: Path) -> None:
    """Raise a RecommendersMinerError where `out` is a source or a folder around it, which overwriting would remove."""
    for source in filter(os.path.exists, sources):
        if out.resolve() in (source.resolve(), *source.resolve().parents):
            raise RecommendersMinerError(f"{out}: the result would take the place of its source, {source}.")


def _joined(words: pa.StringArray, places: Ragged) -> pa.StringArray:
    """Join the words of each row with spaces."""
    offsets = places.offsets.astype(np.int32)
    return pc.binary_join(pa.ListArray.from_arrays(offsets, words.take(pa.array(places.values))), " ")


def _lines(columns: Sequence[pa.Array]) -> memoryview:
    rows = pc.binary_join_element_wise(*columns, "\t")
    return pack_strings(pc.binary_join_element_wise(rows, "", "\n"))[0].data
