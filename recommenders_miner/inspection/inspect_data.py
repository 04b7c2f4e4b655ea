"""Going through a data set without stopping at its first error."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from recommenders_miner.data.entities import news_neighbours, title_entities
from recommenders_miner.data.folders import BEHAVIORS_FILE, NEWS_FILE, SPLIT_NAMES, split_folders
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import FILE_COLUMNS, NewsTable
from recommenders_miner.data.tsv import OnError
from recommenders_miner.data.vectors import read_vector_names, read_word_vectors
from recommenders_miner.data.vocabulary import Vocabulary
from recommenders_miner.errors import DataFormatError
from recommenders_miner.inspection import facts, findings
from recommenders_miner.inspection.findings import Finding
from recommenders_miner.inspection.report import DataReport, SplitReport

_UNDECODABLE = re.compile("[\udc80-\udcff]")
"""What `surrogateescape` makes of bytes that are not UTF-8."""

T = TypeVar("T", NewsTable, ImpressionLog)


def inspect_data(data_dir: str | Path) -> DataReport:
    """Take a data set's figures, and find what would break training.

    Nothing is written, and no error in a file stops it: such lines are counted and left out, and what can be read of
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
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # the report has all that the readers warn of
    try:
        splits = {name: _inspect_split(name, folder, found) for name, folder in folders.items()}
    finally:
        logging.disable(before)
    readable = {name: split for name, split in splits.items() if split.log is not None}
    train, beside_train = readable.pop("train", None), {}
    for name, split in readable.items() if train else ():
        tables = split.log, split.news, train.log, train.news
        beside_train[name], changed = facts.compare_to_train(*tables)
        logs = split.report.log, train.report.log
        ids, lines = split.news.ids.take(changed).to_pylist(), split.line_of[changed]
        found += findings.of_comparison(folders[name], beside_train[name], *logs, ids, lines)
    return DataReport(
        folder=data_dir,
        splits={name: split.report for name, split in splits.items()},
        beside_train=beside_train,
        findings=tuple(sorted(found, key=lambda finding: not finding.is_error)),
    )


class _InspectedSplit(NamedTuple):
    """A split's figures, and its tables, to compare another split with; None where they cannot be read."""

    report: SplitReport
    news: NewsTable | None
    line_of: np.ndarray | None
    log: ImpressionLog | None


def _inspect_split(name: str, folder: Path, found: list[Finding]) -> _InspectedSplit:
    """Take the figures of a split; what is wrong is added to `found`."""
    news_path, log_path = folder / NEWS_FILE, folder / BEHAVIORS_FILE
    news_facts = log_facts = log = line_of = None
    entities: list[str] = []
    news = _read(NewsTable.read, news_path, found)
    if news is not None:
        line_of, repeated = _lines_of_news(news_path, news)
        entities_error = None
        try:
            news_neighbours(news, Vocabulary([]))  # reads the entities of titles and of abstracts
            entities = list(dict.fromkeys(itertools.chain.from_iterable(title_entities(news))))
        except DataFormatError as error:
            entities_error = error
        news_facts = facts.NewsFacts(news=news, repeated=repeated, entities_readable=entities_error is None)
        found += findings.of_news(news_path, news, line_of, entities_error)
    if news is not None or not log_path.exists():
        log = _read(lambda path, on_error: ImpressionLog.read(path, news, on_error, cache=False), log_path, found)
    if log is not None:
        doubtful = facts.find_doubtful_rows(log)
        log_facts = facts.measure_log(log, news, doubtful)
        found += findings.of_log(log_path, log, log_facts, doubtful, name)
    vectors = tuple(sorted(path.name for path in folder.glob("*.vec")))
    share = _share_with_vector(folder / "entity_embedding.vec", entities, name, found)
    return _InspectedSplit(SplitReport(name, folder, news_facts, log_facts, vectors, share), news, line_of, log)


def _read(read: Callable[[Path, OnError], T], path: Path, found: list[Finding]) -> T | None:
    """Read a file and add what was left out to `found`; None where nothing of the file can be read."""
    if not path.exists():
        remedy = "A split needs both news.tsv and behaviors.tsv."
        found.append(Finding(path, "the file is missing.", remedy, is_error=True))
        return None
    try:
        try:
            table = read(path, "skip")
        except DataFormatError:
            read(path, "raise")  # names the first line with an error, where skipping ends with "no line could be used"
            raise
    except (DataFormatError, OSError) as error:
        found.append(findings.from_error(path, error))
        return None
    found += findings.from_skipped(table.skipped)
    return table


def _share_with_vector(path: Path, entities: list[str], name: str, found: list[Finding]) -> float | None:
    """The share of a split's distinct entities whose vector can be read; what cannot be is a warning: few models do."""
    if not path.exists():
        return None
    try:
        # All of the file, as in training, which stops at a bad vector that no title asks for, too.
        vocabulary = Vocabulary.of_names([*read_vector_names(path), *entities])
        _, has_vector = read_word_vectors(path, vocabulary, np.random.default_rng(0))
    except (DataFormatError, OSError) as error:
        if name in ("dev", "test"):
            effect = "Models read train's file, but recommenders-miner split puts the vectors of all splits into it."
        else:
            effect = "DKN, HieRec and miner-knowledge stop there."
        remedy = getattr(error, "remedy", None) or "Mend the file, or take such lines out."
        found.append(replace(findings.from_error(path, error), remedy=f"{effect} {remedy}", is_error=False))
        return None
    return float(has_vector[vocabulary.encode(entities)].mean()) if entities else None


def _lines_of_news(path: Path, news: NewsTable) -> tuple[np.ndarray, int]:
    """Find the line of each row of a readable file's table, (N + 1,), and how many lines repeat an article."""
    line_of, usable = {"": 0}, 0
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            news_id, *others = line.split("\t")
            if news_id and len(others) == len(FILE_COLUMNS) - 1 and not _UNDECODABLE.search(line):
                usable += 1
                line_of.setdefault(news_id, number)
    lines = np.array([line_of[news_id] for news_id in news.ids.to_pylist()])
    contradicting = news.skipped.counts.get("news id repeated with another content", 0)
    return lines, usable - (len(news) - 1) - contradicting
