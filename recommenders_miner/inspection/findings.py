"""What is wrong with a split, or may be, and what can be done about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.tsv import SkipReport
from recommenders_miner.errors import DataFormatError
from recommenders_miner.inspection.data_report import Comparison, Finding, LogFacts
from recommenders_miner.inspection.measure import UNKNOWN_CANDIDATE, UNKNOWN_IN_HISTORY, DoubtfulRows

_SHOWN = 5

_KNOWN_SHARE, _KNOWN_ODDS, _KNOWN_IMPRESSIONS = 0.1, 10, 5
"""Where histories hold a greater share of their impressions' clicks, with odds so many times those of the non-clicks, a
warning says that they may know what was clicked; a few impressions alone say nothing.

Histories that leak hold next to all clicks, and next to no non-clicks. Readers do return to a news: up to 8 % of the
clicks of the demo data, with 7 times the odds of the non-clicks. Of few news, a long history holds most, clicked again
or not: up to half of the clicks of the tiny demo data, but with 5 times the odds at most. Hence both bounds.
"""

_RIGHT_FORM = "recommenders-miner demo-data writes files of the right form, to compare with."
_MAKE_HISTORIES = "recommenders-miner split DIR OUT --histories-at impression"
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
            f"{_MAKE_HISTORIES} makes them of the clicks before each impression.",
            is_error=False,
        )
    yield from _of_rows(path, log, facts, doubtful)


def _of_rows(path: Path, log: ImpressionLog, facts: LogFacts, doubtful: DoubtfulRows) -> Iterator[Finding]:
    """Yields what may be wrong with single impressions."""
    if facts.labelled:
        by_id = "explain and prediction.zip name impressions by their ids: number them anew."
        twice = "They count twice in training and evaluation: take them out unless they happened twice."
    else:
        by_id = "Leave them in a split that is to be submitted as it came; explain takes the first one of an id."
        twice = "Leave them in a split that is to be submitted as it came: a submission has a line for each."
    clicks_known, non_clicks_known = facts.click_share_in_history or 0.0, facts.non_click_share_in_history or 0.0
    # Where whole lines were left out, the place of an impression does not tell its line.
    knows_lines = set(log.skipped.counts) <= {UNKNOWN_CANDIDATE, UNKNOWN_IN_HISTORY}
    for rows, problem, remedy in (
        (doubtful.repeated_ids, "impressions have the id of an earlier one", by_id),
        (doubtful.repeated_rows, "impressions equal an earlier one but for the id", twice),
        (
            doubtful.contradictory,
            "impressions show a news both as clicked and as not clicked",
            "Training and evaluation take it for both: keep one label of each news.",
        ),
        (
            _knowing(log, doubtful, clicks_known, non_clicks_known),
            f"impressions have in their history what is clicked in them: {100 * clicks_known:.1f} % of the clicks and "
            f"{100 * non_clicks_known:.1f} % of the non-clicks are there",
            "Models then learn to find the clicks in the history. Unless readers do return to the same news so often, "
            f"empty the column of histories: {_MAKE_HISTORIES} makes them of past clicks.",
        ),
    ):
        if len(rows):
            lines = tuple((rows[:_SHOWN] + 1).tolist()) if knows_lines else ()
            shown = _some(log.impression_id[rows])
            yield Finding(path, f"{len(rows):,} {problem} (ids {shown}).", remedy, is_error=False, lines=lines)


def _knowing(log: ImpressionLog, doubtful: DoubtfulRows, clicks: float, non_clicks: float) -> np.ndarray:
    """The impressions whose history holds a click of their own, ascending; none where so many may be chance.

    `clicks` and `non_clicks` are the shares of these that histories hold.
    """
    clicked = doubtful.in_history[log.labels[doubtful.in_history] == 1]
    impressions = np.unique(log.candidates.row_of(clicked))
    too_many = clicks > _KNOWN_SHARE and clicks * (1 - non_clicks) > _KNOWN_ODDS * non_clicks * (1 - clicks)
    return impressions if too_many and len(impressions) >= _KNOWN_IMPRESSIONS else impressions[:0]


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


def of_changed_news(path: Path, news: NewsTable, line_of: np.ndarray, changed: np.ndarray) -> Iterator[Finding]:
    """Yields that a split describes news otherwise than train does, if it does.

    Args:
        path: the split's news.tsv.
        news: its table.
        line_of: (N,) the 1-based line of each news.
        changed: from `find_changed_news`.
    """
    if len(changed):
        yield Finding(
            path,
            f"{len(changed):,} news have another title or category than in train "
            f"(ids {_some(news.ids.take(changed))}).",
            "Models read each as its split has it. If an id stands for two news, give one of them another.",
            is_error=False,
            lines=tuple(line_of[changed[:_SHOWN] - 1].tolist()),
        )


def of_vectors(error: DataFormatError, name: str) -> Finding:
    """Makes a finding of a file of entities' vectors that cannot be read, which few models do.

    Args:
        error: what its reader said.
        name: of the split; models read the file of train.
    """
    if name in ("dev", "test"):
        effect = "Models read train's file, but recommenders-miner split puts the vectors of all splits into it."
    else:
        effect = "DKN, HieRec and miner-knowledge stop there."
    remedy = error.remedy or "Mend the file, or take such lines out."
    lines = () if error.line is None else (error.line,)
    return Finding(error.path, error.problem, f"{effect} {remedy}", is_error=False, lines=lines)


def _is_blank(texts: pa.StringArray) -> np.ndarray:
    return pc.equal(pc.utf8_trim_whitespace(texts), "").to_numpy(zero_copy_only=False)


def _some(ids: np.ndarray | pa.StringArray) -> str:
    """The first few of some ids."""
    return ", ".join(map(str, ids[:_SHOWN].tolist())) + (", …" if len(ids) > _SHOWN else "")
