"""Files of scores and of ranks: one line per impression, in the order of the log.

MIND-large's test split has 2.4 million impressions and some 90 million candidates, so lines are built by Arrow's string
kernels, a block of impressions at a time.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recommenders_miner.data.cache import pack_strings
from recommenders_miner.data.past_clicks import CONVERSION_FILE
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.errors import DataFormatError
from recommenders_miner.evaluation.metrics import check_scores, rank_candidates
from recommenders_miner.storage import atomic_write

if TYPE_CHECKING:
    from recommenders_miner.data.log import ImpressionLog

IMPRESSIONS_PER_BLOCK = 50_000
BYTES_PER_BLOCK = 16 << 20
MIND_FILE, EBNERD_FILE = "prediction.txt", "predictions.txt"


def write_scores(path: str | Path, scores: Ragged) -> None:
    """Write scores as text: a line per impression, the scores of its candidates separated by single spaces.

    Each number has the fewest digits that give back its exact value in its own precision, float32 or float64, so that
    the file has no ties that the scores did not have.
    """
    scores = check_scores(scores)
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        for _, block in _blocks(scores):
            file.write(pack_strings(pc.binary_join_element_wise(_join_rows(block, " "), pa.scalar("\n"), ""))[0].data)


def write_parquet(path: str | Path, impression_id: np.ndarray, scores: Ragged) -> None:
    """Write scores as Parquet: `impression_id` and `scores`, a list for each impression."""
    lists = pa.LargeListArray.from_arrays(scores.offsets, check_scores(scores).values)
    pq.write_table(pa.table({"impression_id": impression_id, "scores": lists}), path)


def read_scores(path: str | Path, log: ImpressionLog | None = None) -> Ragged:
    """Read what `write_scores` writes, float64; an empty line is an impression without candidates.

    Raises:
        DataFormatError: with the line that holds something other than finite numbers, or not a number for each
            candidate of the log that the file belongs to.
        FileNotFoundError: if there is no such file.
    """
    blocks = [Ragged(np.empty(0), np.zeros(1, np.int64))]
    num_lines = 0
    with open(path, encoding="utf-8", errors="replace") as file:
        while lines := file.readlines(BYTES_PER_BLOCK):
            try:
                blocks.append(_parse_lines(lines))
            except ValueError:
                bad = next(i for i, line in enumerate(lines) if not _is_parsable(line))
                words = re.split(r"[ \t\n\v\f\r]+", lines[bad])
                word = next(word for word in words if not _is_parsable(word))
                problem = f"expected finite numbers separated by spaces, found {word[:40]!r}."
                raise DataFormatError(path, problem, line=num_lines + bad + 1) from None
            num_lines += len(lines)
    scores = Ragged.concat(blocks)
    if log is not None:
        line = problem = None
        if len(scores) != len(log):
            problem = f"has {len(scores)} lines, but the log has {len(log)} impressions."
        elif (wrong := scores.lengths != log.candidates.lengths).any():
            line = int(wrong.argmax()) + 1
            counts = scores.lengths[line - 1], log.candidates.lengths[line - 1]
            problem = "has {} scores, but the impression has {} candidates.".format(*counts)
        if problem:
            raise DataFormatError(path, problem, line=line, remedy="The file belongs to another behaviors.tsv.")
    return scores


def submission_file(data_dir: str | Path) -> str:
    """Return what a leaderboard calls the file in a submission's zip: as MIND's does, unless the data is EB-NeRD's."""
    try:
        description = json.loads((Path(data_dir) / CONVERSION_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return MIND_FILE
    converter = description.get("converter") if isinstance(description, dict) else None
    return EBNERD_FILE if converter == "ebnerd" else MIND_FILE


def write_submission(
    path_zip: str | Path,
    impression_ids: Sequence[int] | Sequence[str] | np.ndarray,
    scores: Ragged,
    file_name: str = MIND_FILE,
) -> None:
    """Write the ranks of every impression's candidates as the MIND leaderboard takes them, `prediction.zip` by custom.

    The zip file holds `file_name` and nothing else, a line per impression: `impression_id [r1,r2,…]`, where r1 is the
    rank of the first candidate; ties are broken by candidate order. The same input gives the same bytes. EB-NeRD's
    leaderboard takes the same lines under another name, which `submission_file` knows.
    """
    scores = check_scores(scores)
    if len(impression_ids) != len(scores):
        raise ValueError(f"There are {len(impression_ids)} impression ids for {len(scores)} impressions.")
    # Level 1 takes a tenth of the default level's time and makes the file a sixth larger. A member opened by
    # its name is dated 1980-01-01, so that the bytes do not depend on the clock.
    with (
        atomic_write(path_zip) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(file_name, "w") as file,
    ):
        for impressions, block in _blocks(scores):
            ids = pa.array(np.asarray(impression_ids[impressions])).cast(pa.string())
            ranks = _join_rows(Ragged(rank_candidates(block), block.offsets), ",")
            lines = pc.binary_join_element_wise(ids, pa.scalar(" ["), ranks, pa.scalar("]\n"), "")
            file.write(pack_strings(lines)[0].data)


def _blocks(scores: Ragged) -> Iterator[tuple[slice, Ragged]]:
    """Yield which impressions a block has, and their scores."""
    for start in range(0, len(scores), IMPRESSIONS_PER_BLOCK):
        stop = start + IMPRESSIONS_PER_BLOCK
        yield slice(start, stop), scores.slice(start, stop)


def _join_rows(rows: Ragged, separator: str) -> pa.StringArray:
    strings = pa.array(rows.values).cast(pa.string())
    return pc.binary_join(pa.ListArray.from_arrays(pa.array(rows.offsets, pa.int32()), strings), separator)


def _parse_lines(lines: Sequence[str]) -> Ragged:
    """Parse lines of numbers, float64; raise ValueError where something is not a finite number."""
    trimmed = pc.ascii_trim_whitespace(pa.array(lines, pa.string()))
    words = pc.ascii_split_whitespace(trimmed)
    # Arrow splits an empty line into one empty word.
    lengths = np.where(pc.equal(trimmed, ""), 0, pc.list_value_length(words))
    words = words.flatten()
    numbers = np.asarray(words.filter(pc.not_equal(words, "")).cast(pa.float64()))
    if not np.isfinite(numbers).all():
        raise ValueError("not all of the numbers are finite")
    return Ragged.of_lengths(numbers, lengths)


def _is_parsable(text: str) -> bool:
    try:
        _parse_lines([text])
    except ValueError:
        return False
    return True
