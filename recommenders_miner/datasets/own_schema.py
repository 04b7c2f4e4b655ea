"""The YAML file that says which columns of one's own logs hold what.

news:
  file: articles.csv            # beside the YAML file, or an absolute path; several as a list
  id: article_id
  title: headline
  category: section             # optional, as are subcategory, abstract and published
  published: {column: online_since, format: "%d.%m.%Y %H:%M"}
  columns: [body, premium]      # optional: further ones that articles.parquet gets as they are
events:
  file: [clicks-1.csv, clicks-2.csv]
  user: visitor
  time: {column: ts, unit: ms}  # a plain name: ISO 8601, or a column of times in a Parquet file
  news: article_id
  clicked: was_clicked          # optional: whether the row was clicked on; without it every row is a click
  impression: page_view         # optional: which rows were shown together
"""

from __future__ import annotations

import dataclasses
import difflib
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recommenders_miner.data.news import FILE_COLUMNS
from recommenders_miner.data.tsv import require_file
from recommenders_miner.datasets.columns import UNITS, TimeColumn
from recommenders_miner.errors import DataFormatError
from recommenders_miner.storage import parse_yaml

_LONGEST_NAME = 255  # of a file
_EXPECTED = "a YAML file with the sections news and events"
_TAKEN = ("id", "published", *FILE_COLUMNS)  # names that a further column cannot have


@dataclass(frozen=True, kw_only=True)
class NewsColumns:
    """Where the articles are.

    Attributes:
        file: the files, one after another.
        separator: what stands between the columns of a CSV.
        id: the column of the article's id; the others, and those that are None, likewise.
        title: titles.
        category: category names.
        subcategory: subcategory names.
        abstract: abstracts.
        published: when an article could first be read.
        columns: further columns, which articles.parquet gets under their names: texts from a CSV, from Parquet what
            they are there.
    """

    file: list[Path]
    separator: str = ","
    id: str
    title: str
    category: str | None = None
    subcategory: str | None = None
    abstract: str | None = None
    published: TimeColumn | None = None
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EventColumns:
    """Where the events are.

    Attributes:
        file: the files, one after another.
        separator: what stands between the columns of a CSV.
        user: the column of the user id; the others, and those that are None, likewise.
        time: when it happened.
        news: the article's id.
        clicked: whether the article was clicked on, or only shown. None: every event is a click.
        impression: which events were shown together. None: those of one user and second.
    """

    file: list[Path]
    separator: str = ","
    user: str
    time: TimeColumn
    news: str
    clicked: str | None = None
    impression: str | None = None


@dataclass(frozen=True)
class LogSchema:
    """What a YAML file says.

    Attributes:
        news: where the articles are.
        events: where the events are.
    """

    news: NewsColumns
    events: EventColumns

    @classmethod
    def read(cls, path: str | Path) -> LogSchema:
        """Read a YAML file; see the module for its form.

        Raises:
            DataFormatError: the file is missing or no YAML, a key is unknown (the nearest known one is named), one that
                is needed is missing, or a value has the wrong type.
        """
        path = Path(path)
        require_file(path, _EXPECTED)
        try:
            content = parse_yaml(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataFormatError(path, f"is not readable as YAML: {error}") from None
        sections = _mapping(path, content, "the file", ["news", "events"], ["news", "events"])
        news = _section(path, sections["news"], NewsColumns, "news")
        events = _section(path, sections["events"], EventColumns, "events")
        if events.impression is not None and events.clicked is None:
            raise DataFormatError(
                path,
                "events: there is an impression, and nothing says which of its rows were clicked on.",
                remedy="Name the column with 'clicked', or leave 'impression' out if every row is a click.",
            )
        return cls(news, events)


def _section(path: Path, content: Any, kind: type, name: str) -> Any:
    """Read a section as a `NewsColumns` or `EventColumns`."""
    specs = dataclasses.fields(kind)
    needed = [spec.name for spec in specs if spec.default is dataclasses.MISSING]
    values = _mapping(path, content, name, [spec.name for spec in specs], needed)
    readers = {"file": _files, "columns": _further_columns, "published": _time_column, "time": _time_column}
    read = {key: readers.get(key, _column)(path, value, f"{name}: {key}") for key, value in values.items()}
    if read.get("separator") == "\\t":  # which YAML takes for two characters unless it is quoted
        read["separator"] = "\t"
    separator = read.get("separator", ",")
    if len(separator) != 1 or separator in '\r\n"':
        raise DataFormatError(path, f"{name}: separator: expected one character, got {separator!r}.")
    return kind(**read)


def _mapping(path: Path, content: Any, where: str, known: Sequence[str], needed: Sequence[str]) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise DataFormatError(path, f"{where}: expected the keys {', '.join(known)}, got {_shown(content)}.")
    for key in content:
        if key not in known:
            nearest = difflib.get_close_matches(reprlib.repr(key), known, n=1, cutoff=0.0)[0]
            raise DataFormatError(path, f"{where}: unknown key {_shown(key)}.", remedy=f"Did you mean {nearest!r}?")
    for key in needed:
        if content.get(key) is None:
            raise DataFormatError(path, f"{where}: the key {key!r} is missing.", remedy=f"Needed: {', '.join(needed)}.")
    return {key: value for key, value in content.items() if value is not None}


def _files(path: Path, value: Any, where: str) -> list[Path]:
    names = value if isinstance(value, list) else [value]
    if not names:
        raise DataFormatError(path, f"{where}: the list is empty.")
    files = [path.parent / _text(path, name, where, "a path or a list of paths") for name in names]
    if any(len(part.encode(errors="surrogatepass")) > _LONGEST_NAME for file in files for part in file.parts):
        raise DataFormatError(path, f"{where}: a name in a path is longer than {_LONGEST_NAME} bytes.")
    return files


def _further_columns(path: Path, value: Any, where: str) -> tuple[str, ...]:
    names = value if isinstance(value, list) else [value]
    names = tuple(dict.fromkeys(_text(path, name, where, "the name of a column or a list of names") for name in names))
    for name in names:
        if name in _TAKEN:
            raise DataFormatError(
                path, f"{where}: {name!r} means something else in news.tsv or articles.parquet.", remedy="Rename it."
            )
    return names


def _time_column(path: Path, value: Any, where: str) -> TimeColumn:
    if isinstance(value, str):
        return TimeColumn(value)
    known = [spec.name for spec in dataclasses.fields(TimeColumn)]
    values = _mapping(path, value, where, known, ["column"])
    read = {key: _text(path, text, f"{where}: {key}", "a text") for key, text in values.items()}
    if "format" in read and "unit" in read:
        raise DataFormatError(path, f"{where}: give a format or a unit, not both.")
    if read.get("unit", "s") not in UNITS:
        raise DataFormatError(path, f"{where}: unit: expected {', '.join(UNITS)}, got {read['unit']!r}.")
    return TimeColumn(**read)


def _column(path: Path, value: Any, where: str) -> str:
    return _text(path, value, where, "the name of a column")


def _text(path: Path, value: Any, where: str, expected: str) -> str:
    if not isinstance(value, str) or value == "":
        raise DataFormatError(
            path,
            f"{where}: expected {expected}, got {_shown(value)}.",
            remedy="Quote it if it looks like a number.",
        )
    return value


def _shown(value: Any) -> str:
    return f"{reprlib.repr(value)} ({type(value).__name__})"
