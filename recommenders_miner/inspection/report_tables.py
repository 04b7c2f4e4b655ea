"""A report as tables, in Markdown and for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from recommenders_miner.experiments.markdown import markdown_table
from recommenders_miner.inspection.data_report import (
    PERCENTILES,
    Comparison,
    DataReport,
    Finding,
    LogFacts,
    NewsFacts,
    SplitReport,
)

MOST_FREQUENT = 10
_NOTHING = "-"


@dataclass(frozen=True)
class ReportTable:
    """A table of a report.

    Attributes:
        title: what it shows.
        header: above the columns; the first one names the rows.
        rows: as many cells each.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def to_markdown(report: DataReport) -> str:
    """Writes a report as a page of Markdown."""
    parts = [f"# {report.folder}", _verdict(report)]
    parts += [f"- **{_kind(finding)}:** {finding}" for finding in report.findings]
    for table in _tables(report):
        parts += [f"\n## {table.title}\n", markdown_table(table.header, table.rows)]
    return "\n".join(parts) + "\n"


def render(report: DataReport) -> Group:
    """Lays a report out for the terminal: its tables, then what was found."""
    shown = []
    for content in _tables(report):
        table = Table(
            title=Text(content.title), title_justify="left", box=SIMPLE_HEAD, show_edge=False, pad_edge=False,
            collapse_padding=True,
        )  # fmt: skip
        for place, name in enumerate(content.header):
            table.add_column(Text(name), justify="right" if place else "left", no_wrap=not place)
        for row in content.rows:
            table.add_row(*map(Text, row))
        shown += [table, ""]
    for finding in report.findings:
        style = "bold red" if finding.is_error else "bold yellow"
        # In one line, however long, so that paths can be copied.
        line = Text.assemble((f"{_kind(finding)}: ", style), str(finding), no_wrap=True, overflow="ignore")
        shown.append(line)
    return Group(*shown, _verdict(report))


def _kind(finding: Finding) -> str:
    return "Error" if finding.is_error else "Warning"


def _verdict(report: DataReport) -> str:
    if report.errors:
        return (
            f"{_count(len(report.errors), 'error')}, {_count(len(report.warnings), 'warning')}: training would break."
        )
    return f"Nothing that would break training; {_count(len(report.warnings), 'warning')}."


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


# === The tables ===


def _tables(report: DataReport) -> Iterator[ReportTable]:
    names = list(report.splits)
    yield ReportTable("What is there", ["", *names], _facts(report))
    if quantiles := list(_percentiles(report)):
        yield ReportTable("Percentiles and mean", ["", *map(str, PERCENTILES), "mean"], quantiles)
    if report.beside_train:
        yield ReportTable("What train does not know", ["", *report.beside_train], _beside_train(report))
    if categories := _categories(report):
        header = [f"{name} {what}" for name in _readable(report) for what in ("news", "shown", "clicked")]
        yield ReportTable("Categories: % of the news, of those shown, of those clicked", ["", *header], categories)


_LOG_FACTS: dict[str, Callable[[LogFacts], str]] = {
    "impressions": lambda log: _number(log.impressions),
    "users": lambda log: _number(log.users),
    "candidates": lambda log: _number(log.candidates.values),
    "clicks": lambda log: _number(log.clicks) if log.labelled else _NOTHING,
    "click rate": lambda log: _percent(log.click_rate),
    "first impression": lambda log: str(log.first),
    "last impression": lambda log: str(log.last),
    "impressions without history": lambda log: _number(log.without_history),
    "… without a click": lambda log: _number(log.without_click) if log.labelled else _NOTHING,
    "… without a non-click": lambda log: _number(log.without_non_click) if log.labelled else _NOTHING,
    "… without labels": lambda log: _number(log.unlabelled),
    "… with an id that is there before": lambda log: _number(log.repeated_ids),
    "… equal to one before": lambda log: _number(log.repeated_rows),
    "… with a news clicked and not clicked": lambda log: _number(log.contradictory),
    "clicks that their history holds": lambda log: _percent(log.click_share_in_history),
    "non-clicks that their history holds": lambda log: _percent(log.non_click_share_in_history),
    "unknown ids among candidates": lambda log: _number(log.unknown_candidates),
    "unknown ids in histories": lambda log: _number(log.unknown_in_histories),
    "news shown": lambda log: _number(log.news_shown),
}
_NEWS_FACTS: dict[str, Callable[[NewsFacts], str]] = {
    "news in the table": lambda news: _number(news.news),
    "… in a second line": lambda news: _number(news.repeated),
    "… without title": lambda news: _number(news.without_title),
    "… without category": lambda news: _number(news.without_category),
    "… without abstract": lambda news: _number(news.without_abstract),
    "categories": lambda news: _number(len(news.categories.keys() - {""})),
    "subcategories": lambda news: _number(news.subcategories),
    "titles with entities": lambda news: _number(news.with_title_entities) if news.entities_readable else "unreadable",
}


def _facts(report: DataReport) -> list[list[str]]:
    splits = report.splits.values()
    return [
        *([name, *(write(s.log) if s.log else _NOTHING for s in splits)] for name, write in _LOG_FACTS.items()),
        *([name, *(write(s.news) if s.news else _NOTHING for s in splits)] for name, write in _NEWS_FACTS.items()),
        ["vectors", *(_vectors(split) or _NOTHING for split in splits)],
        ["titles' entities with a vector", *(_percent(split.entities_with_vector) for split in splits)],
    ]


def _vectors(split: SplitReport) -> str:
    return ", ".join(name.removesuffix(".vec").removesuffix("_embedding") for name in split.vectors)


def _percentiles(report: DataReport) -> Iterator[list[str]]:
    for measure, take in (
        ("history", lambda split: split.log and split.log.history_length),
        ("candidates", lambda split: split.log and split.log.candidates_per_impression),
        ("clicks", lambda split: split.log and split.log.clicks_per_impression),
        ("title words", lambda split: split.news and split.news.title_words),
    ):
        for name, split in report.splits.items():
            found = take(split)
            if found is not None and found.total:
                percentiles = [_number(found.percentile(percent)) for percent in PERCENTILES]
                yield [f"{measure}, {name}", *percentiles, f"{found.mean:.1f}"]


_COMPARISON: dict[str, Callable[[Comparison], str]] = {
    "candidates of news that train never showed": lambda found: _percent(found.cold_candidates),
    "clicks on such news": lambda found: _percent(found.cold_clicks),
    "candidates of news that train's table lacks": lambda found: _percent(found.absent_candidates),
    "clicks on such news, lacking there": lambda found: _percent(found.absent_clicks),
    "users without an impression in train": lambda found: _percent(found.new_users),
    "impressions that are not later than train's last": lambda found: _number(found.before_train_ends),
    "news with another title or category than in train": lambda found: _number(found.changed_news),
}


def _beside_train(report: DataReport) -> list[list[str]]:
    return [[name, *map(write, report.beside_train.values())] for name, write in _COMPARISON.items()]


def _readable(report: DataReport) -> list[str]:
    return [name for name, split in report.splits.items() if split.log is not None]


def _categories(report: DataReport) -> list[list[str]]:
    """Rows of shares of the categories that have most news in the first split, and of all others together."""
    splits = [report.splits[name] for name in _readable(report)]
    if not splits:
        return []
    counts = [
        by_category
        for split in splits
        for by_category in (split.news.categories, split.log.category_showings, split.log.category_clicks)
    ]
    names = list(dict.fromkeys(name for split in splits for name in split.news.categories))
    shown, others = names[:MOST_FREQUENT], names[MOST_FREQUENT:]
    groups = {name or "(none)": [name] for name in shown}
    if others:
        groups[f"{len(others)} others"] = others
    return [
        [title, *(_share(sum(by.get(name, 0) for name in members), sum(by.values())) for by in counts)]
        for title, members in groups.items()
    ]


def _number(number: int) -> str:
    return f"{number:,}"


def _percent(share: float | None) -> str:
    return _NOTHING if share is None else f"{100 * share:.1f} %"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if whole else _NOTHING
