"""Splitting a click log by time into train, dev and test, so that nothing of the future is known to the past."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.behaviors import file_time, unix_seconds
from recommenders_miner.data.folders import (
    ARTICLES_FILE,
    BEHAVIORS_FILE,
    NEWS_FILE,
    SPLIT_NAMES,
    Split,
    log_in,
    split_folders,
)
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import FILE_COLUMNS, NewsTable, read_news_lines
from recommenders_miner.data.partition import join_logs
from recommenders_miner.data.past_clicks import Histories, are_past_clicks, require_length
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.data.tsv import LineErrors, OnError
from recommenders_miner.data.write import require_apart, write_articles, write_behaviors, write_table
from recommenders_miner.errors import DataFormatError
from recommenders_miner.storage import new_folder

LOGGER = logging.getLogger("recommenders_miner")

HistoriesAt = Literal["impression", "split"]


@dataclass(frozen=True)
class SplitCounts:
    """What a split holds; `first` and `last` are times of impressions, ISO 8601, by the clock of the files."""

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
    overwrite: bool = False,
    on_error: OnError = "raise",
) -> dict[str, SplitCounts]:
    """Split a MIND-format data set by time, with histories that hold past clicks only.

    The splits that the source has already are pooled; one without labels is left out, with a warning. Each impression
    goes to one split, by its time alone, and keeps its place in the order of the files; impressions of one second stay
    together. Impression ids are kept where they are all distinct, else numbered anew.

    A rebuilt history is that of the user's first impression, whose clicks are older than the log, followed by the
    user's earlier clicks in the log, oldest first. A click of the same second is not earlier.

    The news table of a split, and its `articles.parquet` where the source has one, hold the articles that its
    impressions and histories refer to, as in MIND: articles that train does not know are cold in dev, and those that
    dev showed are what there was to retrieve from. An article that nobody refers to is in no split.

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
        all_news: give each split the whole table, with the articles that nobody refers to.
        max_history: clicks of a history that are kept, the newest; None keeps all.
        overwrite: whether to replace a folder `out` that holds something.
        on_error: "raise" stops at the first faulty line; "skip" leaves out such lines, and ids that the news lack.
            `split.json` says how many.

    Raises:
        DataFormatError: a file is missing or faulty, no split has labels, or a split would be empty.
        FolderExistsError: `out` holds something.
        RecommendersMinerError: `out` is `source` or a folder around it.
    """
    source, out = Path(source), Path(out)
    if not 0 < dev_share < 1:
        raise ValueError(f"dev_share must lie between 0 and 1, got {dev_share}.")
    require_length(max_history)
    require_apart(out, source)
    with new_folder(out, overwrite) as new:
        folders = split_folders(source)
        log, news, articles, left_out = _pool(folders, on_error)
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
                "No history of train has a click%s: user encoders cannot learn from it.",
                why if histories_at == "split" else "",
            )
        written = {}
        for index, name in enumerate(SPLIT_NAMES[: len(starts)]):
            folder, here = new / name, np.flatnonzero(split_of == index)
            folder.mkdir()
            ids = news["news id"].combine_chunks()
            needed = write_behaviors(folder / BEHAVIORS_FILE, ids, [(log, histories, here)]) | all_news
            write_table(folder / NEWS_FILE, news.filter(pa.array(needed)))
            if articles is not None:
                write_articles(folder / ARTICLES_FILE, articles.filter(pa.array(needed)))
            _write_vectors(folder, folders.values())
            written[name] = SplitCounts(
                impressions=len(here),
                users=len(np.unique(log.user_of[here])),
                news=int(needed.sum()),
                clicks=int((log.labels[log.candidates.places(here).values] == 1).sum()),
                first=str(file_time(log.time[here].min())),
                last=str(file_time(log.time[here].max())),
            )
        description = {
            "source": str(source),
            "starts": {name: str(file_time(start)) for name, start in zip(written, starts, strict=True)},
            "histories": f"at each {histories_at}" if rebuild_histories else "kept",
            "all_news": all_news,
            "splits": {name: asdict(counts) for name, counts in written.items()},
            **({"left_out": left_out} if left_out else {}),
        }
        (new / "split.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    return written


def join_splits(
    data_dir: str | Path,
    out: str | Path,
    names: Sequence[str] = ("train", "dev"),
    on_error: OnError = "raise",
    overwrite: bool = False,
) -> Path:
    """Write labelled splits as one, `out/train`, their histories as they are: to train on dev too, for a leaderboard.

    `on_error` is as of `split_by_time`; `overwrite` replaces what is in `out`.

    Raises:
        DataFormatError: a file is missing or faulty, or no split has labels.
        FolderExistsError: `out` holds something, and is not to be replaced.
    """
    folders = {name: Split.find(data_dir, name).news.parent for name in names}
    with new_folder(Path(out), overwrite) as new:
        log, news, articles, _ = _pool(folders, on_error)
        folder = new / "train"
        folder.mkdir()
        everything = [(log, Histories.of_log(log), np.arange(len(log)))]
        write_behaviors(folder / BEHAVIORS_FILE, news["news id"].combine_chunks(), everything)
        write_table(folder / NEWS_FILE, news)
        if articles is not None:
            write_articles(folder / ARTICLES_FILE, articles)
        _write_vectors(folder, folders.values())
    return Path(out)


def _pool(
    folders: Mapping[str, Path], on_error: OnError
) -> tuple[ImpressionLog, pa.Table, pa.Table | None, dict[str, dict[str, int]]]:
    """Read splits as one log, whose articles are rows of one table of news; splits without labels are left out.

    Return the log, with the files' own impression ids where they are all distinct, else 1 … I; the lines of news.tsv;
    and the rows of articles.parquet, in the same order, None where no split has one; and what was left out of each
    file, counted by reason.
    """
    logs, tables, lines, left_out = [], [], [], {}
    for name, folder in folders.items():
        path = folder / NEWS_FILE
        table = NewsTable.read(path, on_error)
        log = ImpressionLog.read(log_in(folder), table, on_error, cache=False)
        if not log.labelled:
            LOGGER.warning("%s has no labels, and is left out: nobody knows what was clicked in it.", name)
            continue
        logs.append(log)
        tables.append(table)
        left_out |= {str(read.skipped.path): read.skipped.counts for read in (table, log) if read.skipped}
        # What NewsTable has accepted, as it stands in the file, with the urls.
        of_file = read_news_lines(path, LineErrors(path, on_error)).select(FILE_COLUMNS)
        lines.append(of_file.filter(pc.is_in(of_file["news id"], value_set=table.ids.slice(1))))
    if not logs:
        raise DataFormatError(
            next(iter(folders.values())),
            "there are no labels: nobody knows what was clicked.",
            remedy="Candidates need to be written as N123-1 (clicked) and N456-0 (not clicked).",
        )
    news = _distinct_news(pa.concat_tables(lines))
    ids = news["news id"].combine_chunks()
    rows = [pc.index_in(table.ids, value_set=ids).fill_null(0).to_numpy() for table in tables]
    counted = {path: counts for path, counts in left_out.items() if counts}
    return _join(logs, rows), news, _join_articles(tables, ids), counted


def _distinct_news(news: pa.Table) -> pa.Table:
    """Return the lines that describe an article for the first time; warn where a later one does so differently."""
    described = news.drop_columns("url").group_by(news.drop_columns("url").column_names).aggregate([]).num_rows
    first = np.unique(news["news id"].combine_chunks().dictionary_encode().indices.to_numpy(), return_index=True)[1]
    if described > len(first):
        LOGGER.warning(
            "%s news have another category, title, abstract or entities in a later split; their first description "
            "is kept.",
            f"{described - len(first):,}",
        )
    return news.take(np.sort(first))


def _join_articles(tables: Sequence[NewsTable], ids: pa.StringArray) -> pa.Table | None:
    """Join what the splits know of articles besides news.tsv; of an article, what the first split with a file knows."""
    tables = [table for table in tables if table.extra is not None]
    if not tables:
        return None
    try:
        joined = pa.concat_tables([table.extra for table in tables], promote_options="permissive")
    except pa.ArrowException as error:
        raise DataFormatError(Path(ARTICLES_FILE), f"columns differ from those of other splits: {error}") from None
    joined = joined.take(pc.index_in(ids, value_set=pa.concat_arrays([table.ids for table in tables])))
    return joined.add_column(0, "id", ids)


def _join(logs: Sequence[ImpressionLog], rows: Sequence[np.ndarray]) -> ImpressionLog:
    """Join logs, the articles of each given as rows of the joint table."""

    def moved(articles: Ragged, row: np.ndarray) -> Ragged:
        return Ragged(row[articles.values].astype(np.int32), articles.offsets)

    log = join_logs(
        [
            replace(log, candidates=moved(log.candidates, row), histories=moved(log.histories, row))
            for log, row in zip(logs, rows, strict=True)
        ]
    )
    is_distinct = len(np.unique(log.impression_id)) == len(log)
    return log if is_distinct else replace(log, impression_id=np.arange(1, len(log) + 1))


def _starts(
    source: Path, time: np.ndarray, dev_from: datetime | None, dev_share: float, test_from: datetime | None
) -> np.ndarray:
    """Return when each split begins, (2 or 3,) int64 Unix seconds, ascending, none of them empty."""
    ordered = np.sort(time)
    ends = [] if test_from is None else [unix_seconds(test_from)]
    before_test = ordered[: np.searchsorted(ordered, ends[0])] if ends else ordered
    if dev_from is not None:
        dev_start = unix_seconds(dev_from)
    else:
        dev_start = before_test[-max(1, round(dev_share * len(before_test)))] if len(before_test) else ordered[0]
    starts = [ordered[0], dev_start, *ends]
    counts = np.diff(np.searchsorted(ordered, starts), append=len(ordered))
    for name, count in zip(SPLIT_NAMES, counts.tolist(), strict=False):
        if count <= 0:
            limits = ", ".join(
                f"{name} from {file_time(start)}" for name, start in zip(SPLIT_NAMES, starts, strict=False)
            )
            raise DataFormatError(
                source,
                f"{name} would have no impressions ({limits}).",
                remedy=f"The log goes from {file_time(ordered[0])} to {file_time(ordered[-1])}; choose times between.",
            )
    return np.array(starts, np.int64)


def _write_vectors(folder: Path, sources: Iterable[Path]) -> None:
    """Join the files of vectors of the sources; of a name that several have, the first vector counts."""
    files: dict[str, list[Path]] = {}
    for path in (path for source in sources for path in sorted(source.glob("*.vec"))):
        files.setdefault(path.name, []).append(path)
    for name, paths in files.items():
        seen: set[bytes] = set()
        with open(folder / name, "wb") as joined:
            for path in paths:
                with open(path, "rb") as file:
                    for line in file:
                        word = line.split(maxsplit=1)[:1]
                        if word and word[0] not in seen:
                            joined.write(line.rstrip(b"\r\n") + b"\n")
                            seen.add(word[0])
