"""What was found in a data set, as JSON, as a page of Markdown and for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.text import Text

from recommenders_miner.inspection.facts import NOTHING, Comparison, Distribution, Facts, LogFacts, NewsFacts, shown
from recommenders_miner.tables import markdown_table, terminal_table

PERCENTILES = (0, 5, 25, 50, 75, 90, 95, 99, 100)
MOST_FREQUENT = 10


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


@dataclass(frozen=True)
class SplitReport:
    """What a split holds; None where it cannot be read.

    `vectors` are the names of its files of vectors; `entities_with_vector` is the share of the distinct entities of its
    titles that its `entity_embedding.vec` has.
    """

    name: str
    folder: Path
    news: NewsFacts | None
    log: LogFacts | None
    vectors: tuple[str, ...]
    entities_with_vector: float | None


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
        """Return all of it as JSON can hold it; distributions as percentiles and mean."""
        return _jsonable(self)

    def to_markdown(self) -> str:
        """Return a page of findings and tables."""
        parts = [f"# {self.folder}", self._verdict()]
        parts += [f"- **{finding.kind}:** {finding}" for finding in self.findings]
        for title, header, rows in self._tables():
            parts += [f"\n## {title}\n", markdown_table(["", *header], rows)]
        return "\n".join(parts) + "\n"

    def render(self) -> Group:
        """Return the same for the terminal, the findings last."""
        parts: list[Any] = []
        for title, header, rows in self._tables():
            table = terminal_table(title=Text(title), title_justify="left")
            table.add_column(no_wrap=True)
            for name in header:
                table.add_column(Text(name), justify="right")
            for row in rows:
                table.add_row(*map(Text, row))
            parts += [table, ""]
        for finding in self.findings:
            style = "bold red" if finding.is_error else "bold yellow"
            # In one line, however long, so that paths can be copied.
            parts.append(Text.assemble((f"{finding.kind}: ", style), str(finding), no_wrap=True, overflow="ignore"))
        return Group(*parts, self._verdict())

    def counts(self) -> tuple[str, str]:
        """Say how many errors there are, and how many warnings."""
        found = {"error": len(self.errors), "warning": len(self.warnings)}
        errors, warnings = (f"{count or 'no'} {kind}{'' if count == 1 else 's'}" for kind, count in found.items())
        return errors, warnings

    def _verdict(self) -> str:
        errors, warnings = self.counts()
        if self.errors:
            return f"{errors}, {warnings}: training would break."
        return f"Nothing that would break training; {warnings}."

    def _tables(self) -> Iterator[tuple[str, list[str], list[list[str]]]]:
        """Yield titles, headers and rows; the first column, without a header, names the rows."""
        splits = self.splits.values()
        vectors = (
            ", ".join(name.removesuffix(".vec").removesuffix("_embedding") for name in split.vectors)
            for split in splits
        )
        facts = [
            *LogFacts.table_rows([split.log for split in splits]),
            *NewsFacts.table_rows([split.news for split in splits]),
            ["vectors", *(names or NOTHING for names in vectors)],
            ["titles' entities with a vector", *(shown(split.entities_with_vector) for split in splits)],
        ]
        yield "What is there", [*self.splits], facts
        if percentiles := list(self._percentiles()):
            yield "Percentiles and mean", [*map(str, PERCENTILES), "mean"], percentiles
        if self.beside_train:
            rows = Comparison.table_rows([*self.beside_train.values()])
            yield "What train does not know", [*self.beside_train], rows
        readable = [split for split in splits if split.log]
        if readable:
            header = [f"{split.name} {what}" for split in readable for what in ("news", "shown", "clicked")]
            yield "Categories: % of the news, of those shown, of those clicked", header, _categories(readable)

    def _percentiles(self) -> Iterator[list[str]]:
        for measure, part, name in (
            ("history", "log", "history_length"),
            ("candidates", "log", "candidates_per_impression"),
            ("clicks", "log", "clicks_per_impression"),
            ("title words", "news", "title_words"),
        ):
            for split in self.splits.values():
                found = getattr(getattr(split, part), name, None)
                if found is not None and found.total:
                    percentiles = [shown(found.percentile(percent)) for percent in PERCENTILES]
                    yield [f"{measure}, {split.name}", *percentiles, f"{found.mean:.1f}"]


def _categories(splits: list[SplitReport]) -> list[list[str]]:
    """Rows of shares of the categories that have most news in the first split, and of all others together."""
    counts = [
        by_category
        for split in splits
        for by_category in (split.news.categories, split.log.category_showings, split.log.category_clicks)
    ]
    names = list(dict.fromkeys(name for split in splits for name in split.news.categories))
    groups = {name or "(none)": [name] for name in names[:MOST_FREQUENT]}
    if others := names[MOST_FREQUENT:]:
        groups[f"{len(others)} others"] = others
    rows = []
    for title, members in groups.items():
        shares = [(sum(by.get(name, 0) for name in members), sum(by.values())) for by in counts]
        rows.append([title, *(f"{100 * part / whole:.1f}" if whole else NOTHING for part, whole in shares)])
    return rows


def _jsonable(value: Any) -> Any:
    if isinstance(value, Distribution):
        percentiles = {str(percent): value.percentile(percent) for percent in PERCENTILES} if value.total else {}
        return {"percentiles": percentiles, "mean": value.mean if value.total else None}
    if isinstance(value, Facts | SplitReport | DataReport | Finding):
        return {name: _jsonable(entry) for name, entry in vars(value).items() if name != "hours"}
    if isinstance(value, Mapping):
        return {key: _jsonable(entry) for key, entry in value.items()}
    if isinstance(value, tuple):
        return [_jsonable(entry) for entry in value]
    return str(value) if isinstance(value, Path | datetime) else value
