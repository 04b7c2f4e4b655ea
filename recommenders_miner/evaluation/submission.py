"""Files of scores and of ranks: one line per impression, in the order of the log.

MIND-large's test split has 2.4 million impressions and some 90 million candidates, so lines are
built by Arrow's string kernels, a block of impressions at a time.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.errors import DataFormatError
from recommenders_miner.evaluation.metrics import check_scores, rank_candidates
from recommenders_miner.storage import atomic_write

IMPRESSIONS_PER_BLOCK = 50_000
BYTES_PER_BLOCK = 16 << 20


def write_scores(path: str | Path, scores: np.ndarray, offsets: np.ndarray) -> None:
    """Writes scores as text: a line per impression, the scores of its candidates separated by single spaces.

    Each number has the fewest digits that give back its exact value in its own precision, so that the file
    has no ties that the scores did not have.

    Args:
        path: the text file to write.
        scores: (candidates,) float32 or float64.
        offsets: (impressions + 1,) int64, where each impression begins and ends.

    Raises:
        ValueError: if a score is not finite or lengths disagree.
    """
    scores, offsets = check_scores(scores, offsets)
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        for _, candidates, block_offsets in _blocks(offsets):
            joined = _join_by_impression(scores[candidates], block_offsets, " ")
            _write_strings(file, pc.binary_join_element_wise(joined, pa.scalar("\n"), ""))


def read_scores(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads what `write_scores` writes.

    Args:
        path: the text file. An empty line is an impression without candidates.

    Returns:
        (candidates,) float64 scores and (impressions + 1,) int64 offsets.

    Raises:
        DataFormatError: with the line that holds something other than finite numbers.
        FileNotFoundError: if there is no such file.
    """
    scores, lengths = [np.empty(0)], [np.zeros(1, np.int64)]
    num_lines = 0
    with open(path, encoding="utf-8", errors="replace") as file:
        while lines := file.readlines(BYTES_PER_BLOCK):
            try:
                block_scores, block_lengths = _parse_lines(lines)
            except ValueError:
                bad = next(i for i, line in enumerate(lines) if not _is_parsable(line))
                words = re.split(r"[ \t\n\v\f\r]+", lines[bad])
                word = next(word for word in words if not _is_parsable(word))
                problem = f"expected finite numbers separated by spaces, found {word[:40]!r}."
                raise DataFormatError(path, problem, line=num_lines + bad + 1) from None
            scores.append(block_scores)
            lengths.append(block_lengths)
            num_lines += len(lines)
    return np.concatenate(scores), np.cumsum(np.concatenate(lengths))


def write_submission(
    path_zip: str | Path,
    impression_ids: Sequence[int] | Sequence[str] | np.ndarray,
    scores: np.ndarray,
    offsets: np.ndarray,
) -> None:
    """Writes the ranks of every impression's candidates as the MIND leaderboard takes them.

    The zip file holds `prediction.txt` and nothing else, a line per impression: `impression_id [r1,r2,…]`,
    where r1 is the rank of the first candidate. The same input gives the same bytes.

    Args:
        path_zip: the zip file to write, `prediction.zip` by custom.
        impression_ids: (impressions,) the first column of behaviors.tsv.
        scores: (candidates,) float32 or float64, higher is better; ties are broken by candidate order.
        offsets: (impressions + 1,) int64, where each impression begins and ends.

    Raises:
        ValueError: if a score is not finite or lengths disagree.
    """
    scores, offsets = check_scores(scores, offsets)
    if len(impression_ids) != offsets.size - 1:
        raise ValueError(f"There are {len(impression_ids)} impression ids for {offsets.size - 1} impressions.")
    # Level 1 takes a tenth of the default level's time and makes the file a sixth larger. A member opened by
    # its name is dated 1980-01-01, so that the bytes do not depend on the clock.
    with (
        atomic_write(path_zip) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("prediction.txt", "w") as file,
    ):
        for impressions, candidates, block_offsets in _blocks(offsets):
            ids = pa.array(np.asarray(impression_ids[impressions])).cast(pa.string())
            ranks = rank_candidates(scores[candidates], block_offsets)
            joined = _join_by_impression(ranks, block_offsets, ",")
            _write_strings(file, pc.binary_join_element_wise(ids, pa.scalar(" ["), joined, pa.scalar("]\n"), ""))


def _blocks(offsets: np.ndarray) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Cuts a log into blocks: which impressions, which candidates, and the block's own offsets."""
    num_impressions = offsets.size - 1
    for start in range(0, num_impressions, IMPRESSIONS_PER_BLOCK):
        stop = min(start + IMPRESSIONS_PER_BLOCK, num_impressions)
        candidates = slice(offsets[start], offsets[stop])
        yield slice(start, stop), candidates, offsets[start : stop + 1] - offsets[start]


def _join_by_impression(values: np.ndarray, offsets: np.ndarray, separator: str) -> pa.StringArray:
    strings = pa.array(values).cast(pa.string())
    return pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), strings), separator)


def _write_strings(file: BinaryIO, strings: pa.StringArray) -> None:
    one_list = pa.ListArray.from_arrays(pa.array([0, len(strings)], pa.int32()), strings)
    file.write(pc.binary_join(one_list, "")[0].as_buffer())


def _parse_lines(lines: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Parses lines of numbers.

    Returns:
        The numbers of all lines, float64, and how many each line holds, int64.

    Raises:
        ValueError: if something is not a finite number.
    """
    trimmed = pc.ascii_trim_whitespace(pa.array(lines, pa.string()))
    words = pc.ascii_split_whitespace(trimmed)
    # Arrow splits an empty line into one empty word.
    lengths = np.where(pc.equal(trimmed, ""), 0, pc.list_value_length(words))
    words = words.flatten()
    numbers = np.asarray(words.filter(pc.not_equal(words, "")).cast(pa.float64()))
    if not np.isfinite(numbers).all():
        raise ValueError("not all of the numbers are finite")
    return numbers, lengths


def _is_parsable(text: str) -> bool:
    try:
        _parse_lines([text])
    except ValueError:
        return False
    return True
