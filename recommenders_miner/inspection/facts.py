"""What an inspection finds, as plain figures. Each says beside its declaration how a report's table names it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Any, Self

import numpy as np

NOTHING = "-"


@dataclass(frozen=True, eq=False)
class Distribution:
    """How often each value occurs among some whole numbers.

    Attributes:
        values: the distinct ones, ascending, (distinct,).
        counts: how often each of them occurs, (distinct,) int64.
    """

    values: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, numbers: np.ndarray) -> Self:
        """Count some numbers."""
        return cls(*np.unique(numbers, return_counts=True))

    @property
    def total(self) -> int:
        """How many numbers there are."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        """The mean of the numbers, of which there has to be one."""
        return float((self.values * self.counts).sum() / self.total)

    def percentile(self, percent: float) -> int:
        """Return the smallest number that at least so many percent do not exceed; there has to be one."""
        needed = max(1, int(np.ceil(self.total * percent / 100)))
        return int(self.values[np.searchsorted(np.cumsum(self.counts), needed)])


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
    def place(self) -> str:
        """The file, and the lines."""
        if not self.lines:
            return str(self.path)
        kind = "line" if len(self.lines) == 1 else "lines"
        return f"{self.path}, {kind} {', '.join(map(str, self.lines))}"

    def __str__(self) -> str:
        return f"{self.place}: {self.problem} {self.remedy}".rstrip()


def _row(name: str, show: Callable[[Any], Any] | None = None) -> Any:
    """Declare a figure that is a row of the table; `show` takes what is shown from the facts, by default the figure."""
    return field(metadata={"row": name, "show": show})


def _if_labelled(name: str) -> Callable[[LogFacts], int | None]:
    return lambda log: getattr(log, name) if log.labelled else None


@dataclass(frozen=True)
class NewsFacts:
    """What a news table holds: each figure counts articles, unless its row says otherwise.

    Attributes:
        entities_readable: whether titles' and abstracts' entities are JSON of MIND's form.
        title_words: of each title, as spaces separate them.
        categories: articles of each category, the most frequent first.
    """

    news: int = _row("news in the table")
    repeated: int = _row("… in a second line")
    without_title: int = _row("… without title")
    without_category: int = _row("… without category")
    without_abstract: int = _row("… without abstract")
    categories: Mapping[str, int] = _row("categories", lambda news: len(news.categories.keys() - {""}))
    subcategories: int = _row("subcategories")
    with_title_entities: int = _row(
        "titles with entities", lambda news: news.with_title_entities if news.entities_readable else "unreadable"
    )
    entities_readable: bool
    title_words: Distribution


@dataclass(frozen=True)
class LogFacts:
    """What a click log holds. Impressions that cannot be read, and unknown articles, do not count.

    Shares are None where there is nothing to take them of; figures of clicks are 0 in an unlabelled log.

    Attributes:
        candidates: articles shown, each as often as it was; `news_shown` counts each once.
        first, last: the earliest time and the latest, by the clock of the files.
        unlabelled: impressions without labels, those left out among labelled ones included.
        labelled: whether the log says what was clicked.
        clicks_in_history, non_clicks_in_history: candidates that the impression's own history holds.
        history_length, candidates_per_impression: of each impression.
        clicks_per_impression: of each impression of a labelled log.
        showings: of each article shown.
        hours: of each impression, its time in whole hours since 1970; not in the JSON.
        category_showings: candidates of each category.
        category_clicks: clicks of each category.
    """

    impressions: int = _row("impressions")
    users: int = _row("users")
    candidates: int = _row("candidates")
    clicks: int = _row("clicks", _if_labelled("clicks"))
    click_rate: float | None = _row("click rate")
    first: datetime = _row("first impression")
    last: datetime = _row("last impression")
    without_history: int = _row("impressions without history")
    without_click: int = _row("… without a click", _if_labelled("without_click"))
    without_non_click: int = _row("… without a non-click", _if_labelled("without_non_click"))
    unlabelled: int = _row("… without labels")
    repeated_ids: int = _row("… with an id that is there before")
    repeated_rows: int = _row("… equal to one before")
    contradictory: int = _row("… with an article clicked and not clicked")
    click_share_in_history: float | None = _row("clicks that their history holds")
    non_click_share_in_history: float | None = _row("non-clicks that their history holds")
    unknown_candidates: int = _row("unknown ids among candidates")
    unknown_in_histories: int = _row("unknown ids in histories")
    news_shown: int = _row("news shown")
    labelled: bool
    clicks_in_history: int
    non_clicks_in_history: int
    history_length: Distribution
    candidates_per_impression: Distribution
    clicks_per_impression: Distribution
    showings: Distribution
    hours: Distribution = field(metadata={"in_json": False})
    category_showings: Mapping[str, int]
    category_clicks: Mapping[str, int]


@dataclass(frozen=True)
class Comparison:
    """What of a split train does not know. Shares lie between 0 and 1; those of clicks are None where none are known.

    Attributes:
        cold_candidates, cold_clicks: shares of articles that train neither showed nor has in its histories.
        absent_candidates, absent_clicks: shares of articles that train's news table lacks.
    """

    cold_candidates: float = _row("candidates of news that train never showed")
    cold_clicks: float | None = _row("clicks on such news")
    absent_candidates: float = _row("candidates of news that train's table lacks")
    absent_clicks: float | None = _row("clicks on such news, lacking there")
    new_users: float = _row("users without an impression in train")
    before_train_ends: int = _row("impressions that are not later than train's last")
    changed_news: int = _row("news with another title or category than in train")


@dataclass(frozen=True)
class SplitReport:
    """What a split holds.

    Attributes:
        name: of the split.
        folder: where it lies.
        news: its news; None where they cannot be read.
        log: its impressions; None where they, or the news, cannot be read.
        vectors: the names of its files of vectors.
        entities_with_vector: share of the distinct entities of its titles that its `entity_embedding.vec` has; None
            where the one or the other cannot be read, or there are none.
    """

    name: str
    folder: Path
    news: NewsFacts | None
    log: LogFacts | None
    vectors: tuple[str, ...]
    entities_with_vector: float | None


def table_rows(kind: type, columns: Sequence[Any]) -> list[list[str]]:
    """Lay out facts of one kind, a column each; None is a column of dashes."""
    rows = []
    for spec in dataclasses.fields(kind):
        if "row" in spec.metadata:
            show = spec.metadata["show"] or attrgetter(spec.name)
            rows.append([spec.metadata["row"], *(shown(facts and show(facts)) for facts in columns)])
    return rows


def shown(value: Any) -> str:
    """Write a figure: counts with commas, shares in percent, a dash for None."""
    if value is None:
        return NOTHING
    if isinstance(value, float):
        return f"{100 * value:.1f} %"
    return f"{value:,}" if isinstance(value, int) else str(value)
