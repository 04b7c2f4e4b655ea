"""Going through a data set without stopping at its first fault."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.entities import news_neighbours, title_entities
from recommenders_miner.data.folders import BEHAVIORS_FILE, NEWS_FILE, SPLIT_NAMES, split_folders
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import FILE_COLUMNS, NewsTable
from recommenders_miner.data.tsv import LineFaults, OnError, read_tsv
from recommenders_miner.data.vectors import read_vector_names, read_word_vectors
from recommenders_miner.data.vocabulary import Vocabulary
from recommenders_miner.errors import DataFormatError
from recommenders_miner.inspection import findings
from recommenders_miner.inspection.data_report import DataReport, Finding, SplitReport
from recommenders_miner.inspection.measure import (
    compare_to_train,
    find_changed_news,
    find_doubtful_rows,
    measure_log,
    measure_news,
)

LOGGER = logging.getLogger("recommenders_miner")

ENTITY_VECTORS = "entity_embedding.vec"
CONTRADICTING_NEWS = "news id repeated with another content"

T = TypeVar("T", NewsTable, ImpressionLog)


def inspect_data(data_dir: str | Path) -> DataReport:
    """Takes a data set's figures, and finds what would break training.

    Nothing is written, and no fault of a file stops it: faulty lines are counted and left out, and what can be read of
    the rest is described.

    Args:
        data_dir: holds train/, dev/ and test/, or some of these, or news.tsv and behaviors.tsv itself, which then are
            taken for something to train on, unless the folder's name is dev or test.

    Raises:
        DataFormatError: the folder holds no data at all.
    """
    data_dir = Path(data_dir)
    folders = split_folders(data_dir)
    found: list[Finding] = []
    if "train" not in folders and folders.keys() & set(SPLIT_NAMES) and data_dir not in folders.values():
        remedy = "recommenders-miner split DIR OUT makes train and dev of any log."
        found.append(Finding(data_dir / "train", "the folder is missing: there is nothing to train on.", remedy, True))
    with _without_warnings():
        splits = {name: _inspect_split(name, folder, found) for name, folder in folders.items()}
    train, beside_train = splits.get("train"), {}
    if train is not None and train.log is not None:
        for name, split in splits.items():
            if split is not train and split.log is not None:
                changed = find_changed_news(split.news, train.news)
                beside_train[name] = compare_to_train(split.log, split.news, train.log, train.news, changed)
                path, facts = folders[name] / BEHAVIORS_FILE, split.report.log
                found += findings.of_comparison(path, beside_train[name], facts, train.report.log)
                found += findings.of_changed_news(folders[name] / NEWS_FILE, split.news, split.line_of, changed)
    return DataReport(
        folder=data_dir,
        splits={name: split.report for name, split in splits.items()},
        beside_train=beside_train,
        findings=tuple(sorted(found, key=lambda finding: not finding.is_error)),
    )


@dataclass(frozen=True)
class _InspectedSplit:
    """A split's figures, and its tables, which another split is compared with; None where they cannot be read.

    `line_of`, (N,), are the 1-based lines of the news.
    """

    report: SplitReport
    news: NewsTable | None
    line_of: np.ndarray | None
    log: ImpressionLog | None


def _inspect_split(name: str, folder: Path, found: list[Finding]) -> _InspectedSplit:
    """Takes the figures of a split; what is wrong is added to `found`."""
    news_path, log_path = folder / NEWS_FILE, folder / BEHAVIORS_FILE
    news_facts = log_facts = log = line_of = None
    entities: list[str] = []
    news = _read(lambda on_error: NewsTable.read(news_path, on_error), news_path, found)
    if news is not None:
        line_of, repeated = _lines_of_news(news_path, news)
        entities_fault = _entities_fault(news)
        news_facts = measure_news(news, repeated, entities_fault is None)
        found += findings.of_news(news_path, news, line_of, entities_fault)
        if entities_fault is None:
            entities = list(dict.fromkeys(itertools.chain.from_iterable(title_entities(news))))
        log = _read(lambda on_error: ImpressionLog.read(log_path, news, on_error, cache=False), log_path, found)
    elif not log_path.exists():
        found.append(findings.of_missing(log_path))
    if log is not None:
        doubtful = find_doubtful_rows(log)
        log_facts = measure_log(log, news, doubtful)
        found += findings.of_log(log_path, log, log_facts, doubtful, name)
    vectors = tuple(sorted(path.name for path in folder.glob("*.vec")))
    share = _share_with_vector(folder / ENTITY_VECTORS, entities, name, found)
    return _InspectedSplit(SplitReport(name, folder, news_facts, log_facts, vectors, share), news, line_of, log)


def _read(read: Callable[[OnError], T], path: Path, found: list[Finding]) -> T | None:
    """Reads a file and adds what was left out to `found`; None where nothing of the file can be read."""
    if not path.exists():
        found.append(findings.of_missing(path))
        return None
    try:
        try:
            table = read("skip")
        except DataFormatError:
            read("raise")  # names the first faulty line, where skipping ends with "no line could be used"
            raise
    except (DataFormatError, OSError) as error:
        found.append(findings.from_error(_as_format_error(path, error)))
        return None
    found += findings.from_skipped(table.skipped)
    return table


def _as_format_error(path: Path, error: DataFormatError | OSError) -> DataFormatError:
    """Words what the system says of a file as the readers would."""
    if isinstance(error, DataFormatError):
        return error
    problem = f"cannot be read ({error.strerror or error})."
    return DataFormatError(path, problem, remedy="Is it yours to read, and on a disk that works?")


def _share_with_vector(path: Path, entities: Sequence[str], name: str, found: list[Finding]) -> float | None:
    """Reads the vectors of a split's entities, if it has such a file; a fault is added to `found`.

    Args:
        path: of the vectors.
        entities: the distinct ones of the split's titles.
        name: of the split.
        found: the findings.

    Returns:
        The share of the entities that have a vector; None without entities or without a file that can be read.
    """
    if not path.exists():
        return None
    try:
        # All of the file, as in training, which stops at a faulty vector that no title asks for, too.
        vocabulary = Vocabulary.of_names([*read_vector_names(path), *entities])
        _, has_vector = read_word_vectors(path, vocabulary, np.random.default_rng(0))
    except (DataFormatError, OSError) as error:
        found.append(findings.of_vectors(_as_format_error(path, error), name))
        return None
    return float(has_vector[vocabulary.encode(entities)].mean()) if entities else None


def _lines_of_news(path: Path, news: NewsTable) -> tuple[np.ndarray, int]:
    """Finds where the news of a readable file stand.

    Returns:
        (N,) the 1-based line of each news of the table, and how many lines of the file repeat one of them.
    """
    blocks = read_tsv(path, FILE_COLUMNS, LineFaults(path, "skip"), parse=lambda block: block["news id"])
    ids, lines = zip(*blocks, strict=True)
    texts = pa.chunked_array([chunk for column in ids for chunk in column.chunks]).combine_chunks()
    is_news = pc.not_equal(texts, "").to_numpy(zero_copy_only=False)
    first = np.unique(texts.filter(pa.array(is_news)).dictionary_encode().indices.to_numpy(), return_index=True)[1]
    contradicting = news.skipped.counts.get(CONTRADICTING_NEWS, 0)
    return np.concatenate(lines)[is_news][first], int(is_news.sum()) - len(first) - contradicting


def _entities_fault(news: NewsTable) -> DataFormatError | None:
    """Returns the first fault in the entities of titles and abstracts, if there is one."""
    try:
        news_neighbours(news, Vocabulary([]))
    except DataFormatError as error:
        return error
    return None


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Keeps the readers from warning of what they leave out, all of which the report names."""

    def refuse(record: logging.LogRecord) -> bool:
        return record.levelno > logging.WARNING

    LOGGER.addFilter(refuse)
    try:
        yield
    finally:
        LOGGER.removeFilter(refuse)
