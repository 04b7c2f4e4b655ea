"""What an inspection finds, as plain figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from rich.console import Group

_NOT_IN_JSON = {"in_json": False}

PERCENTILES = (0, 5, 25, 50, 75, 90, 95, 99, 100)


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
        """Counts some numbers."""
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
        """Returns the smallest of the numbers that at least so many percent do not exceed; there has to be one."""
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
    is_error: bool
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


@dataclass(frozen=True)
class NewsFacts:
    """What a news table holds.

    Attributes:
        news: distinct news.
        repeated: lines that repeat an earlier one.
        without_title: news.
        without_category: news.
        without_abstract: news.
        subcategories: distinct ones.
        with_title_entities: news whose title names a Wikidata entity.
        entities_readable: whether titles' and abstracts' entities are JSON of MIND's form.
        title_words: of each title, as spaces separate them.
        categories: news of each category, the most frequent first.
    """

    news: int
    repeated: int
    without_title: int
    without_category: int
    without_abstract: int
    subcategories: int
    with_title_entities: int
    entities_readable: bool
    title_words: Distribution
    categories: Mapping[str, int]


@dataclass(frozen=True)
class LogFacts:
    """What a click log holds. Impressions that cannot be read, and news that are not known, do not count.

    Attributes:
        impressions: how many.
        users: distinct ones.
        candidates: news shown, each as often as it was.
        news_shown: distinct ones.
        labelled: whether the log says what was clicked.
        clicks: candidates clicked on.
        without_history: impressions.
        without_click: impressions of a labelled log.
        without_non_click: impressions of a labelled log.
        unlabelled: impressions without labels, those left out among labelled ones included.
        unknown_candidates: candidates that the news table lacks.
        unknown_in_histories: news in impressions' histories that the table lacks.
        repeated_ids: impressions with the id of an earlier one.
        repeated_rows: impressions that equal an earlier one but for the id.
        contradictory: impressions that show a news both as clicked and as not clicked.
        clicks_in_history: clicks on news that the impression's own history holds; 0 in an unlabelled log.
        non_clicks_in_history: other candidates of a labelled log that the impression's own history holds.
        first: the earliest time, by the clock of the files.
        last: the latest.
        history_length: of each impression.
        candidates_per_impression: of each impression.
        clicks_per_impression: of each impression of a labelled log.
        showings: of each news shown.
        hours: of each impression, its time in whole hours since 1970.
        category_showings: candidates of each category.
        category_clicks: clicks of each category.
    """

    impressions: int
    users: int
    candidates: int
    news_shown: int
    labelled: bool
    clicks: int
    without_history: int
    without_click: int
    without_non_click: int
    unlabelled: int
    unknown_candidates: int
    unknown_in_histories: int
    repeated_ids: int
    repeated_rows: int
    contradictory: int
    clicks_in_history: int
    non_clicks_in_history: int
    first: datetime
    last: datetime
    history_length: Distribution
    candidates_per_impression: Distribution
    clicks_per_impression: Distribution
    showings: Distribution
    hours: Distribution = field(metadata=_NOT_IN_JSON)
    category_showings: Mapping[str, int]
    category_clicks: Mapping[str, int]

    @property
    def click_rate(self) -> float | None:
        """Clicks per candidate; None in an unlabelled log."""
        return self.clicks / self.candidates if self.labelled else None

    @property
    def click_share_in_history(self) -> float | None:
        """The share of the clicks that are on news of the impression's own history; None without clicks."""
        return self.clicks_in_history / self.clicks if self.clicks else None

    @property
    def non_click_share_in_history(self) -> float | None:
        """The same of the candidates that were not clicked on; None in an unlabelled log, and without such."""
        non_clicks = self.candidates - self.clicks if self.labelled else 0
        return self.non_clicks_in_history / non_clicks if non_clicks else None


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


@dataclass(frozen=True)
class Comparison:
    """What of a split train does not know. Shares lie between 0 and 1; those of clicks are None where none are known.

    Attributes:
        cold_candidates: share of the candidates that train neither showed nor has in its histories.
        cold_clicks: the same of the clicks.
        absent_candidates: share of the candidates that train's news table lacks.
        absent_clicks: the same of the clicks.
        new_users: share of the users of whom train has no impression.
        before_train_ends: impressions that are not later than train's last.
        changed_news: news that train's table has with another title or category.
    """

    cold_candidates: float
    cold_clicks: float | None
    absent_candidates: float
    absent_clicks: float | None
    new_users: float
    before_train_ends: int
    changed_news: int


@dataclass(frozen=True)
class DataReport:
    """What a data set holds, and what is wrong with it.

    Attributes:
        folder: the data set.
        splits: what each split holds, by name.
        beside_train: of each split but train, what train does not know of it; empty where train cannot be read.
        findings: what is wrong, or may be; errors first.
    """

    folder: Path
    splits: Mapping[str, SplitReport]
    beside_train: Mapping[str, Comparison]
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What would break training, or reading the data."""
        return tuple(finding for finding in self.findings if finding.is_error)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What may be wrong."""
        return tuple(finding for finding in self.findings if not finding.is_error)

    def to_json(self) -> dict[str, Any]:
        """Returns all of it as JSON can hold it; distributions as percentiles and mean."""
        return _jsonable(self)

    def to_markdown(self) -> str:
        """Returns a page of tables and findings."""
        from recommenders_miner.inspection.report_tables import to_markdown

        return to_markdown(self)

    def render(self) -> Group:
        """Returns the same for the terminal."""
        from recommenders_miner.inspection.report_tables import render

        return render(self)


def _jsonable(value: Any) -> Any:
    if isinstance(value, Distribution):
        percentiles = {str(percent): value.percentile(percent) for percent in PERCENTILES} if value.total else {}
        return {"percentiles": percentiles, "mean": value.mean if value.total else None}
    if dataclasses.is_dataclass(value):
        shown = [entry.name for entry in dataclasses.fields(value) if entry.metadata.get("in_json", True)]
        return {name: _jsonable(getattr(value, name)) for name in shown}
    if isinstance(value, Mapping):
        return {key: _jsonable(entry) for key, entry in value.items()}
    if isinstance(value, tuple):
        return [_jsonable(entry) for entry in value]
    return str(value) if isinstance(value, Path | datetime) else value
