"""What is wrong with a split, or may be, and what can be done about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recommenders_miner.data.folders import BEHAVIORS_FILE, NEWS_FILE
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.tsv import SkipReport
from recommenders_miner.errors import DataFormatError
from recommenders_miner.inspection.facts import (
    UNKNOWN_CANDIDATE,
    UNKNOWN_IN_HISTORY,
    Comparison,
    DoubtfulRows,
    LogFacts,
    find_blank,
)

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
_LABELS = "Write each candidate as N123-1 (clicked) or N123-0 (not clicked), or, in a test split, none with a label."
_UNKNOWN = "Is news.tsv that of the same split? Add the news to it, or take the ids out."
_AS_IT_CAME = "A split that is to be submitted is left as it came."
_REMEDIES = {
    "bytes that are not UTF-8": "Convert the file to UTF-8.",
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
    "bad label": _LABELS,
    "some candidates labelled and some not": _LABELS,
    "labels where the log has none, or none where it has them": _LABELS,
    UNKNOWN_CANDIDATE: _UNKNOWN,
    UNKNOWN_IN_HISTORY: _UNKNOWN,
}
"""What to do about what the readers of `news.tsv` and `behaviors.tsv` leave out, by their names for it."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with the data, or may be.

    Attributes:
        path: the file or folder.
        problem: what is wrong, in a sentence without the place.
        remedy: what the user can do about it.
        is_error: whether training, or reading the data, would stop there.
        lines: the first few 1-based lines, where there are lines to name.
    """

    path: Path
    problem: str
    remedy: str
    is_error: bool = False
    lines: tuple[int, ...] = ()

    @property
    def kind(self) -> str:
        """What it is called."""
        return "Error" if self.is_error else "Warning"

    @property
    def place(self) -> str:
        """The file, and the lines."""
        if not self.lines:
            return str(self.path)
        kind = "line" if len(self.lines) == 1 else "lines"
        return f"{self.path}, {kind} {', '.join(map(str, self.lines))}"

    def __str__(self) -> str:
        return f"{self.place}: {self.problem} {self.remedy}"


def from_error(path: Path, error: DataFormatError | OSError) -> Finding:
    """Make a finding of a file that cannot be read at all."""
    if isinstance(error, DataFormatError):
        lines = () if error.line is None else (error.line,)
        return Finding(error.path, error.problem, error.remedy or _RIGHT_FORM, is_error=True, lines=lines)
    problem = f"cannot be read ({error.strerror or error})."
    return Finding(path, problem, "Is it yours to read, and on a disk that works?", is_error=True)


def from_skipped(skipped: SkipReport) -> Iterator[Finding]:
    """Make a finding of each kind of line that a reader left out: by default, readers stop there."""
    for reason, count in skipped.counts.items():
        lines = tuple(skipped.lines[reason])
        yield Finding(skipped.path, f"{reason}: {count:,}.", _REMEDIES.get(reason, _RIGHT_FORM), True, lines)


def of_news(
    path: Path, news: NewsTable, line_of: np.ndarray, entities_error: DataFormatError | None
) -> Iterator[Finding]:
    """Yield what may be wrong with a news table whose row k stands in line `line_of[k]`; few models read entities."""
    if entities_error is not None:
        row = news.row_of.get(str(entities_error.path).rpartition(" ")[2])  # "the title entities of news N1"
        problem = f"{entities_error.path}: {entities_error.problem}"
        remedy = "DKN, HieRec and miner-knowledge stop there; write [] where there are no entities."
        yield Finding(path, problem, remedy, lines=() if row is None else (int(line_of[row]),))
    for column, texts, effect in (
        ("title", news.title, "Models that read titles cannot tell them apart."),
        ("category", news.category, "Models that read categories take them for one more category."),
    ):
        empty = find_blank(texts)
        if len(empty):
            yield Finding(path, f"articles without a {column}: {len(empty):,}.", effect, lines=_first(line_of[empty]))


def of_log(path: Path, log: ImpressionLog, facts: LogFacts, doubtful: DoubtfulRows, name: str) -> Iterator[Finding]:
    """Yield what is wrong with a log whose lines can be read, or may be; a split named test needs no labels."""
    use = "evaluate on" if name == "dev" else "train on"
    if name != "test" and not facts.labelled:
        yield Finding(path, f"no candidate has a label: there is nothing to {use}.", _LABELS, is_error=True, lines=(1,))
    elif name != "test" and facts.without_click + facts.without_non_click == facts.impressions:
        problem = f"no impression has both a click and a non-click: there is nothing to {use}."
        yield Finding(path, problem, "Add the articles that were shown and not clicked on, as N123-0.", is_error=True)
    if facts.without_history == len(log):
        problem = "no impression has a history: models know nothing of the users."
        yield Finding(path, problem, f"{_MAKE_HISTORIES} makes them of the clicks before each impression.")
    clicks, non_clicks = facts.click_share_in_history or 0.0, facts.non_click_share_in_history or 0.0
    clicked = doubtful.in_history[log.labels[doubtful.in_history] == 1]
    leaking = np.unique(log.candidates.row_of(clicked))
    many = clicks > _KNOWN_SHARE and clicks * (1 - non_clicks) > _KNOWN_ODDS * non_clicks * (1 - clicks)
    # Where whole lines were left out, the place of an impression does not tell its line.
    knows_lines = set(log.skipped.counts) <= {UNKNOWN_CANDIDATE, UNKNOWN_IN_HISTORY}
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


def of_comparison(
    folder: Path, found: Comparison, log: LogFacts, training_log: LogFacts, ids: Sequence[str], lines: np.ndarray
) -> Iterator[Finding]:
    """Yield what may be wrong with a split in view of train; ids and lines are of the articles that differ there."""
    if found.before_train_ends:
        yield Finding(
            folder / BEHAVIORS_FILE,
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
