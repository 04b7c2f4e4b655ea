"""What is wrong with a split, or may be, and what can be done about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.errors import DataFormatError
from recommenders_miner.inspection.data_report import Comparison, Finding, LogFacts
from recommenders_miner.inspection.measure import UNKNOWN_CANDIDATE, UNKNOWN_IN_HISTORY, DoubtfulRows
from recommenders_miner.io.impression_log import ImpressionLog
from recommenders_miner.io.news_table import NewsTable
from recommenders_miner.io.tsv import SkipReport

_SHOWN = 5

_RIGHT_FORM = "recommenders-miner demo-data writes files of the right form, to compare with."
_COLUMNS = "Take tabs and line breaks out of the texts; each line needs all columns, the empty ones too."
_LABELS = "Write each candidate as N123-1 (clicked) or N123-0 (not clicked), or, in a test split, none with a label."
_UNKNOWN = "Is news.tsv that of the same split? Add the news to it, or take the ids out."
_REMEDIES = {
    "bytes that are not UTF-8": "Convert the file to UTF-8.",
    "wrong number of columns": _COLUMNS,
    "empty news id": "Give each news an id, or take these lines out.",
    "news id repeated with another content": "Keep one line of each news.",
    "bad impression id": "Number the impressions 1, 2, 3, ….",
    "empty user id": "Name the user, or take these lines out.",
    "bad time": "Write times as 11/12/2019 2:14:46 PM or 2019-11-12 14:14:46.",
    "no candidates": "Take these lines out: they show nothing.",
    "no known candidates": _UNKNOWN,
    "bad label": _LABELS,
    "some candidates labelled and some not": _LABELS,
    "labels where the log has none, or none where it has them": _LABELS,
    "unknown news id among the candidates": _UNKNOWN,
    "unknown news id in the history": _UNKNOWN,
}
"""What to do about what the readers of `news.tsv` and `behaviors.tsv` leave out, by their names for it."""


def of_missing(path: Path) -> Finding:
    """Makes a finding of a file that is not there."""
    return Finding(path, "the file is missing.", "A split needs both news.tsv and behaviors.tsv.", is_error=True)


def from_error(error: DataFormatError) -> Finding:
    """Makes a finding of a file that cannot be read at all."""
    lines = () if error.line is None else (error.line,)
    return Finding(error.path, error.problem, error.remedy or _RIGHT_FORM, is_error=True, lines=lines)


def from_skipped(skipped: SkipReport) -> Iterator[Finding]:
    """Makes a finding of each kind of fault that a reader left out: by default, readers stop there."""
    for reason, count in skipped.counts.items():
        lines = tuple(skipped.lines[reason])
        yield Finding(
            skipped.path, f"{reason}: {count:,}.", _REMEDIES.get(reason, _RIGHT_FORM), is_error=True, lines=lines
        )


def of_news(
    path: Path, news: NewsTable, line_of: np.ndarray, entities_fault: DataFormatError | None
) -> Iterator[Finding]:
    """Yields what may be wrong with a news table.

    Args:
        path: its file.
        news: the table.
        line_of: (N,) the 1-based line of each news.
        entities_fault: the first fault in the entities, which most models do not read, if there is one.
    """
    if entities_fault is not None:
        row = news.row_of.get(str(entities_fault.path).rpartition(" ")[2])  # "the title entities of news N1"
        yield Finding(
            path,
            f"{entities_fault.path}: {entities_fault.problem}",
            "DKN, HieRec and miner-knowledge stop there; write [] where there are no entities.",
            is_error=False,
            lines=() if row is None else (int(line_of[row - 1]),),
        )
    for column, texts, effect in (
        ("title", news.title, "Models that read titles cannot tell them apart."),
        ("category", news.category, "Models that read categories take them for one more category."),
    ):
        empty = np.flatnonzero(_is_blank(texts.slice(1)))
        if len(empty):
            yield Finding(
                path, f"{len(empty):,} news have no {column}.", effect, False, tuple(line_of[empty[:_SHOWN]].tolist())
            )


def of_log(path: Path, log: ImpressionLog, facts: LogFacts, doubtful: DoubtfulRows, name: str) -> Iterator[Finding]:
    """Yields what is wrong with a log whose lines can be read, or may be.

    Args:
        path: its file.
        log: the log, read with `on_error="skip"`.
        facts: its figures.
        doubtful: its doubtful rows.
        name: of the split: a test split needs no labels.
    """
    if name != "test":
        yield from _of_labels(path, facts, "evaluate on" if name == "dev" else "train on")
    if facts.without_history == len(log):
        yield Finding(
            path,
            "no impression has a history: models know nothing of the readers.",
            "recommenders-miner split makes histories of the clicks of a log.",
            is_error=False,
        )
    # Where whole lines were left out, the place of an impression does not tell its line.
    knows_lines = set(log.skipped.counts) <= {UNKNOWN_CANDIDATE, UNKNOWN_IN_HISTORY}
    for rows, problem, remedy in (
        (
            doubtful.repeated_ids,
            "impressions have the id of an earlier one",
            "explain and prediction.zip name impressions by their ids: number them anew.",
        ),
        (
            doubtful.repeated_rows,
            "impressions equal an earlier one but for the id",
            "They count twice in training and evaluation: take them out unless they happened twice.",
        ),
    ):
        if len(rows):
            shown = ", ".join(map(str, log.impression_id[rows[:_SHOWN]].tolist())) + (
                ", …" if len(rows) > _SHOWN else ""
            )
            lines = tuple((rows[:_SHOWN] + 1).tolist()) if knows_lines else ()
            yield Finding(path, f"{len(rows):,} {problem} (ids {shown}).", remedy, is_error=False, lines=lines)


def _of_labels(path: Path, log: LogFacts, use: str) -> Iterator[Finding]:
    if not log.labelled:
        yield Finding(path, f"no candidate has a label: there is nothing to {use}.", _LABELS, is_error=True, lines=(1,))
    elif log.without_click + log.without_non_click == log.impressions:
        yield Finding(
            path,
            f"no impression has both a click and a non-click: there is nothing to {use}.",
            "Add the news that were shown and not clicked on, as N123-0.",
            is_error=True,
        )


def of_comparison(path: Path, found: Comparison, log: LogFacts, training_log: LogFacts) -> Iterator[Finding]:
    """Yields what may be wrong with a split in view of train.

    Args:
        path: the split's behaviors.tsv.
        found: its comparison to train.
        log: its figures.
        training_log: those of train.
    """
    if found.before_train_ends:
        yield Finding(
            path,
            f"{found.before_train_ends:,} of {log.impressions:,} impressions are not later than train's last "
            f"(which is at {training_log.last}; they begin at {log.first}): train may know what they ask for.",
            "recommenders-miner split DIR OUT makes splits that do not overlap in time.",
            is_error=False,
        )


def _is_blank(texts: pa.StringArray) -> np.ndarray:
    return pc.equal(pc.utf8_trim_whitespace(texts), "").to_numpy(zero_copy_only=False)
