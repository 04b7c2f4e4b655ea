"""Splitting a click log by time into train, dev and test, so that nothing of the future is known to the past."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from recommenders_miner.data.file_clock import file_time, unix_seconds
from recommenders_miner.data.folders import BEHAVIORS_FILE, NEWS_FILE, SPLIT_NAMES, split_folders
from recommenders_miner.data.past_clicks import Histories, are_past_clicks, log_blocks, require_length
from recommenders_miner.data.pooled_log import PooledLog
from recommenders_miner.data.write import BehaviorsBlock, write_behaviors, write_table
from recommenders_miner.errors import DataFormatError, RecommendersMinerError
from recommenders_miner.storage import new_folder

LOGGER = logging.getLogger("recommenders_miner")

DESCRIPTION_FILE = "split.json"

HistoriesAt = Literal["impression", "split"]


@dataclass(frozen=True)
class SplitCounts:
    """What a split holds.

    Attributes:
        impressions: how many.
        users: how many distinct ones.
        news: lines of its news table.
        clicks: candidates clicked on.
        first: time of the earliest impression, ISO 8601, by the clock of the files.
        last: time of the latest.
    """

    impressions: int
    users: int
    news: int
    clicks: int
    first: str
    last: str


def split_by_time(
    source: str | Path,
    out: str | Path,
    dev_from: datetime | None = None,
    dev_share: float = 0.1,
    test_from: datetime | None = None,
    rebuild_histories: bool | None = None,
    histories_at: HistoriesAt = "impression",
    all_news: bool = False,
    max_history: int | None = None,
) -> dict[str, SplitCounts]:
    """Splits a MIND-format data set by time, with histories that hold past clicks only.

    The splits that the source has already are pooled; one without labels is left out, with a warning. Each impression
    goes to one split, by its time alone, and keeps its place in the order of the files; impressions of one second stay
    together. Impression ids are kept where they are all distinct, else numbered anew.

    A rebuilt history is that of the user's first impression, whose clicks are older than the log, and behind it the
    user's earlier clicks in the log, oldest first. A click of the same second is not earlier.

    The news table of a split holds the news that its impressions and histories refer to, as in MIND: news that train
    does not know are cold in dev, and the news that dev showed are what there was to retrieve from. A news that nobody
    refers to has no date, so it is in none.

    Args:
        source: holds news.tsv and behaviors.tsv, or train/, dev/ and test/ with these, or some of the three.
        out: gets train/, dev/ and perhaps test/, and `split.json`, which says how it was made. Files of vectors
            (`*.vec`) are carried along, so that models find the entities' beside the news.
        dev_from: when dev begins, by the clock of the files. An impression of that second is in dev.
        dev_share: the share of the impressions, the latest ones before test, that dev gets where `dev_from` is None;
            more where the first of them share their second with others. Between 0 and 1.
        test_from: when test begins. None: there is no test split.
        rebuild_histories: False keeps the files' histories, whatever they hold. None keeps those that
            `convert_own_logs` or `convert_adressa` made, which hold past clicks only and know when each was made, and
            rebuilds others, whose clicks are taken for as old as their impressions.
        histories_at: "impression" puts all clicks before an impression into its history. "split" stops at the beginning
            of the impression's split, as MIND does, so that a user has one history in a split.
        all_news: give each split the whole table, those news included that nobody refers to.
        max_history: clicks of a history that are kept, the newest; None keeps all.

    Returns:
        The splits that were written.

    Raises:
        DataFormatError: a file is missing or faulty, no split has labels, or a split would be empty.
        RecommendersMinerError: `out` is `source` or a folder around it, or holds something else than an earlier result.
        ValueError: an argument is out of range.
    """
    source, out = Path(source), Path(out)
    if not 0 < dev_share < 1:
        raise ValueError(f"dev_share must lie between 0 and 1, got {dev_share}.")
    if histories_at not in ("impression", "split"):
        raise ValueError(f'histories_at must be "impression" or "split", got {histories_at!r}.')
    require_length(max_history)
    _require_free(out, source)
    folders = split_folders(source)
    pool = PooledLog.read(folders)
    log = pool.log
    starts = _starts(source, log.time, dev_from, dev_share, test_from)
    split_of = np.searchsorted(starts[1:], log.time, side="right")
    if rebuild_histories is None:
        rebuild_histories = histories_at == "split" or not are_past_clicks(source)
    if rebuild_histories:
        histories = Histories.rebuilt(log, log.time if histories_at == "impression" else starts[split_of])
    else:
        histories = Histories.of_log(log)
    histories = histories.newest(max_history)
    if not histories.length[split_of == 0].any():
        why = ", since a history stops where its split begins; --histories-at impression has them grow"
        LOGGER.warning(
            "No history of train has a click%s: models of readers cannot learn from it.",
            why if histories_at == "split" else "",
        )
    written = {}
    with new_folder(out) as new:
        for index, name in enumerate(SPLIT_NAMES[: len(starts)]):
            folder = new / name
            folder.mkdir()
            written[name] = _write_split(folder, pool, histories, np.flatnonzero(split_of == index), all_news)
            _write_vectors(folder, folders.values())
        description = {
            "source": str(source),
            "starts": {name: str(file_time(start)) for name, start in zip(written, starts, strict=True)},
            "histories": f"at each {histories_at}" if rebuild_histories else "kept",
            "all_news": all_news,
            "splits": {name: asdict(counts) for name, counts in written.items()},
        }
        (new / DESCRIPTION_FILE).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    return written


def _require_free(out: Path, source: Path) -> None:
    """Refuses to replace the source, a folder that holds it, or anything that is not an earlier result."""
    if out.resolve() in (source.resolve(), *source.resolve().parents):
        raise RecommendersMinerError(f"{out}: the result would take the place of its source, {source}.")
    if out.is_file():
        raise RecommendersMinerError(f"{out}: is a file; name a folder to write.")


# === Times ===


def _starts(
    source: Path, time: np.ndarray, dev_from: datetime | None, dev_share: float, test_from: datetime | None
) -> np.ndarray:
    """When each split begins, (2 or 3,) int64 Unix seconds, ascending, none of them empty."""
    ordered = np.sort(time)
    before_test = ordered if test_from is None else ordered[ordered < unix_seconds(test_from)]
    if dev_from is not None:
        dev_start = unix_seconds(dev_from)
    else:
        dev_start = before_test[-max(1, round(dev_share * len(before_test)))] if len(before_test) else ordered[0]
    starts = [ordered[0], dev_start] if test_from is None else [ordered[0], dev_start, unix_seconds(test_from)]
    counts = np.diff(np.searchsorted(ordered, starts), append=len(ordered))
    names = SPLIT_NAMES[: len(starts)]
    for name, count in zip(names, counts.tolist(), strict=True):
        if count <= 0:
            limits = ", ".join(f"{name} from {file_time(start)}" for name, start in zip(names, starts, strict=True))
            raise DataFormatError(
                source,
                f"{name} would have no impressions ({limits}).",
                remedy=f"The log goes from {file_time(ordered[0])} to {file_time(ordered[-1])}; choose times between.",
            )
    return np.array(starts, np.int64)


# === Files ===


def _write_split(
    folder: Path, pool: PooledLog, histories: Histories, impressions: np.ndarray, all_news: bool
) -> SplitCounts:
    """Writes the impressions of a split and the news that they need."""
    log, ids = pool.log, pool.news_ids
    needed = np.full(len(ids), all_news)

    def blocks() -> Iterator[BehaviorsBlock]:
        for block in log_blocks(log, histories, impressions):
            needed[block.candidates] = needed[block.histories] = True
            yield block

    write_behaviors(folder / BEHAVIORS_FILE, ids, blocks())
    write_table(folder / NEWS_FILE, pool.news.filter(pa.array(needed)))
    time = log.time[impressions]
    return SplitCounts(
        impressions=len(impressions),
        users=len(np.unique(log.user_of[impressions])),
        news=int(needed.sum()),
        clicks=int((log.labels[log.candidates.places(impressions).values] == 1).sum()),
        first=str(file_time(time.min())),
        last=str(file_time(time.max())),
    )


def _write_vectors(folder: Path, sources: Iterable[Path]) -> None:
    """Joins the files of vectors of the sources; of a name that several have, the first vector counts."""
    files: dict[str, list[Path]] = {}
    for path in (path for source in sources for path in sorted(source.glob("*.vec"))):
        files.setdefault(path.name, []).append(path)
    for name, paths in files.items():
        if len(paths) == 1:
            shutil.copyfile(paths[0], folder / name)
            continue
        seen: set[bytes] = set()
        with open(folder / name, "wb") as joined:
            for path in paths:
                with open(path, "rb") as file:
                    for line in file:
                        name_and_vector = line.split(maxsplit=1)
                        if name_and_vector and name_and_vector[0] not in seen:
                            joined.write(line.rstrip(b"\r\n") + b"\n")
                            seen.add(name_and_vector[0])
