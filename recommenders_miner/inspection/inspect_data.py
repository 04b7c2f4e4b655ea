"""Going through a data set without stopping at its first error."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow.compute as pc

from recommenders_miner.data.entities import news_neighbours, title_entities
from recommenders_miner.data.folders import (
    INGESTED,
    NEWS_FILE,
    SPLIT_NAMES,
    UNREAD,
    log_in,
    split_folders,
    unread_folders,
)
from recommenders_miner.data.log import LABELS_REMEDY, ImpressionLog
from recommenders_miner.data.news import NewsTable, read_news_lines
from recommenders_miner.data.tsv import LineErrors, OnError, SkipReport
from recommenders_miner.data.vectors import read_vector_names, read_word_vectors
from recommenders_miner.data.vocabulary import Vocabulary
from recommenders_miner.errors import DataFormatError
from recommenders_miner.inspection import facts
from recommenders_miner.inspection.facts import (
    UNKNOWN_CANDIDATE,
    UNKNOWN_IN_HISTORY,
    Comparison,
    DoubtfulRows,
    LogFacts,
    find_blank,
)
from recommenders_miner.inspection.report import DataReport, Finding, SplitReport

T = TypeVar("T", NewsTable, ImpressionLog)

_SHOWN = 5

_KNOWN_SHARE, _KNOWN_ODDS, _KNOWN_IMPRESSIONS = 0.1, 10, 5
"""Where histories hold a greater share of their impressions' clicks, with odds so many times those of the non-clicks, a
warning says that they may know what was clicked; a few impressions alone say nothing.

Histories that leak hold next to all clicks, and next to no non-clicks. Users do return to an article: up to 8 % of the
clicks of the demo data, with 7 times the odds of the non-clicks. Of few articles, a long history holds most, clicked
again or not: up to half of the clicks of the tiny demo data, but with 5 times the odds at most. Hence both bounds.
"""

_RIGHT_FORM = "recommenders-miner demo-data writes files of the right form, to compare with."
_MAKE_HISTORIES = "recommenders-miner split DIR OUT --histories-at impression"
_UNKNOWN = "Is news.tsv that of the same split? Add the news to it, or leave the ids out by --on-error skip."
_AS_IT_CAME = "A split that is to be submitted is left as it came."
_REMEDIES = {
    "bytes that are not UTF-8": "Convert the file to UTF-8.",
    "header line": "Delete the line.",
    "wrong number of columns": (
        "Take tabs and line breaks out of the texts; each line needs all columns, the empty ones too."
    ),
    "empty news id": "Give each article an id, or take these lines out.",
    "news id repeated with another content": "Keep one line of each article.",
    "bad impression id": "Number the impressions 1, 2, 3, ….",
    "empty user id": "Name the user, or take these lines out.",
    "bad time": "Write times as 11/12/2019 2:14:46 PM or 2019-11-12 14:14:46.",
    "no candidates": "Take these lines out: they show nothing.",
    "no known candidates": _UNKNOWN,
    "bad label": LABELS_REMEDY,
    "some candidates labelled and some not": LABELS_REMEDY,
    "labels where the log has none, or none where it has them": LABELS_REMEDY,
    UNKNOWN_CANDIDATE: _UNKNOWN,
    UNKNOWN_IN_HISTORY: _UNKNOWN,
}
"""What to do about what the readers of `news.tsv` and `behaviors.tsv` leave out, by their names for it."""


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
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # the report has all that the readers warn of
    try:
        return _inspect(data_dir)
    finally:
        logging.disable(before)


def _inspect(data_dir: Path) -> DataReport:
    folders = split_folders(data_dir)
    remedy = "Rename it if it is one of these."
    found = [Finding(path, UNREAD, remedy) for path in unread_folders(data_dir)]
    if "train" not in folders and folders.keys() & set(SPLIT_NAMES) and data_dir not in folders.values():
        remedy = "recommenders-miner split DIR OUT makes train and dev of any log."
        found.append(Finding(data_dir / "train", "the folder is missing: there is nothing to train on.", remedy, True))
    splits = {name: _inspect_split(name, folder, found) for name, folder in folders.items()}
    readable = {name: split for name, split in splits.items() if split.log is not None}
    train, beside_train = readable.pop("train", None), {}
    for name, split in readable.items() if train else ():
        tables = split.log, split.news, train.log, train.news
        beside_train[name], changed = facts.compare_to_train(*tables)
        logs = split.report.log, train.report.log
        ids, lines = split.news.ids.take(changed).to_pylist(), split.line_of[changed]
        found += _of_comparison(folders[name], beside_train[name], *logs, ids, lines)
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
    news_path, log_path = folder / NEWS_FILE, log_in(folder)
    news_facts = log_facts = log = line_of = None
    entities: list[str] = []
    news = _read(NewsTable.read, news_path, found)
    if news is not None:
        line_of, repeated = news.lines, _repeated_lines(news_path, news)
        entities_error = None
        try:
            news_neighbours(news, Vocabulary([]))  # reads the entities of titles and of abstracts
            entities = list(dict.fromkeys(itertools.chain.from_iterable(title_entities(news))))
        except DataFormatError as error:
            entities_error = error
        news_facts = facts.NewsFacts(news=news, repeated=repeated, entities_readable=entities_error is None)
        found += _of_news(news_path, news, line_of, entities_error)
    if news is not None or not log_path.exists():
        log = _read(lambda path, on_error: ImpressionLog.read(path, news, on_error, cache=False), log_path, found)
    if log is not None:
        doubtful = facts.find_doubtful_rows(log)
        log_facts = facts.measure_log(log, news, doubtful)
        found += _of_log(log_path, log, log_facts, doubtful, name)
    vectors = tuple(sorted(path.name for path in folder.glob("*.vec")))
    share = _share_with_vector(folder / "entity_embedding.vec", entities, found)
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
    except DataFormatError as error:
        found.append(_of_error(error))
        return None
    if table.skipped is not None:  # as an ingested log's may be
        found += _of_skipped(table.skipped)
    return table


def _share_with_vector(path: Path, entities: list[str], found: list[Finding]) -> float | None:
    """The share of a split's distinct entities whose vector can be read; what cannot be is a warning: few models do."""
    if not path.exists():
        return None
    try:
        # All of the file, as in training, which stops at a bad vector that no title asks for, too.
        vocabulary = Vocabulary.of_names([*read_vector_names(path), *entities])
        _, has_vector = read_word_vectors(path, vocabulary, np.random.default_rng(0))
    except DataFormatError as error:
        remedy = "DKN, HieRec and miner-knowledge stop there if it is train's. Mend the file, or take such lines out."
        found.append(replace(_of_error(error), remedy=error.remedy or remedy, is_error=False))
        return None
    return float(has_vector[vocabulary.encode(entities)].mean()) if entities else None


def _repeated_lines(path: Path, news: NewsTable) -> int:
    """Count the lines of a readable file that repeat an article of its table."""
    usable = pc.sum(pc.not_equal(read_news_lines(path, LineErrors(path, "skip"))["news id"], "")).as_py()
    contradicting = news.skipped.counts.get("news id repeated with another content", 0)
    return usable - (len(news) - 1) - contradicting


# === What is wrong, or may be ===


def _of_error(error: DataFormatError) -> Finding:
    """Make a finding of a file that cannot be read at all."""
    lines = () if error.line is None else (error.line,)
    return Finding(error.path, error.problem, error.remedy or _RIGHT_FORM, is_error=True, lines=lines)


def _of_skipped(skipped: SkipReport) -> Iterator[Finding]:
    """Make a finding of each kind of line that a reader left out: by default, readers stop there."""
    for reason, count in skipped.counts.items():
        lines = tuple(skipped.lines.get(reason, ()))  # an ingested log has the counts alone
        yield Finding(skipped.path, f"{reason}: {count:,}.", _REMEDIES.get(reason, _RIGHT_FORM), True, lines)


def _of_news(
    path: Path, news: NewsTable, line_of: np.ndarray, entities_error: DataFormatError | None
) -> Iterator[Finding]:
    """Yield what may be wrong with a news table whose row k stands in line `line_of[k]`; few models read entities."""
    if entities_error is not None:
        remedy = "DKN, HieRec and miner-knowledge stop there; write [] where there are no entities."
        yield Finding(path, entities_error.problem, remedy, lines=(entities_error.line,))
    for column, texts, effect in (
        ("title", news.title, "Models that read titles cannot tell them apart."),
        ("category", news.category, "Models that read categories take them for one more category."),
    ):
        empty = find_blank(texts)
        if len(empty):
            yield Finding(path, f"articles without a {column}: {len(empty):,}.", effect, lines=_first(line_of[empty]))


def _of_log(path: Path, log: ImpressionLog, facts: LogFacts, doubtful: DoubtfulRows, name: str) -> Iterator[Finding]:
    """Yield what is wrong with a log whose lines can be read, or may be; a split named test needs no labels."""
    problem = log.lacking_to("evaluate on" if name == "dev" else "train on") if name != "test" else ""
    has_lines = path.name != INGESTED
    if problem:  # training goes on where dev is at fault
        lines = (1,) if has_lines and not facts.labelled else ()
        yield Finding(path, problem, LABELS_REMEDY, is_error=name != "dev", lines=lines)
    if facts.without_history == len(log):
        problem = "no impression has a history: models know nothing of the users."
        yield Finding(path, problem, f"{_MAKE_HISTORIES} makes them of the clicks before each impression.")
    clicks, non_clicks = facts.click_share_in_history or 0.0, facts.non_click_share_in_history or 0.0
    clicked = doubtful.in_history[log.labels[doubtful.in_history] == 1]
    leaking = np.unique(log.candidates.row_of(clicked))
    many = clicks > _KNOWN_SHARE and clicks * (1 - non_clicks) > _KNOWN_ODDS * non_clicks * (1 - clicks)
    # Where whole lines were left out, the place of an impression does not tell its line.
    knows_lines = has_lines and set(log.skipped.counts) <= {UNKNOWN_CANDIDATE, UNKNOWN_IN_HISTORY}
    for rows, problem, remedy in (
        (
            doubtful.repeated_ids,
            "impressions with the id of an earlier one",
            f"explain and prediction.zip name impressions by their ids: number them anew. {_AS_IT_CAME}",
        ),
        (
            doubtful.repeated_rows,
            "impressions equal to an earlier one but for the id",
            f"They count twice in training and evaluation: take them out unless they happened twice. {_AS_IT_CAME}",
        ),
        (
            doubtful.contradictory,
            "impressions that show an article both as clicked and as not clicked",
            "Training and evaluation take it for both: keep one label of each article.",
        ),
        (
            leaking if many and len(leaking) >= _KNOWN_IMPRESSIONS else (),
            f"histories hold {100 * clicks:.1f} % of the clicks of their own impressions, and {100 * non_clicks:.1f} % "
            "of the non-clicks; impressions whose history holds what is clicked in them",
            "Models then learn to find the clicks in the history. Unless users do return to the same article so often, "
            f"empty the column of histories: {_MAKE_HISTORIES} makes them of past clicks.",
        ),
    ):
        if len(rows):
            problem = f"{problem}: {len(rows):,} (ids {_some(log.impression_id[rows])})."
            yield Finding(path, problem, remedy, lines=_first(rows + 1) if knows_lines else ())


def _of_comparison(
    folder: Path, found: Comparison, log: LogFacts, training_log: LogFacts, ids: Sequence[str], lines: np.ndarray
) -> Iterator[Finding]:
    """Yield what may be wrong with a split in view of train; ids and lines are of the articles that differ there."""
    if found.before_train_ends:
        yield Finding(
            log_in(folder),
            f"{found.before_train_ends:,} of {log.impressions:,} impressions are not later than train's last "
            f"(which is at {training_log.last}; they begin at {log.first}): train may know what they ask for.",
            "recommenders-miner split DIR OUT makes splits that do not overlap in time.",
        )
    if ids:
        yield Finding(
            folder / NEWS_FILE,
            f"articles with another title or category than in train: {len(ids):,} (ids {_some(ids)}).",
            "Models read each as its split has it. If an id stands for two articles, give one of them another.",
            lines=_first(lines),
        )


def _first(numbers: np.ndarray) -> tuple[int, ...]:
    return tuple(numbers[:_SHOWN].tolist())


def _some(ids: Sequence[Any] | np.ndarray) -> str:
    """The first few of some ids."""
    return ", ".join(map(str, ids[:_SHOWN])) + (", …" if len(ids) > _SHOWN else "")
