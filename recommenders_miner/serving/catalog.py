"""The articles of a service as lists and searches need them; their texts are with the models."""

from __future__ import annotations

import json
import math
import sys
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, Self

Row = dict[str, Any]

_SHOWN = ("id", "title", "category", "subcategory", "published")
_NOT_KEPT = (*_SHOWN, "abstract", "title_entities", "abstract_entities")
_LONGEST = 200
_MANY = 1000
"""So many changes are quicker sorted anew than each put in its place."""


class Card(NamedTuple):
    """What is kept of an article: what lists show, columns that it may be found by, and by what its row is known again.

    `published` is in Unix seconds. `columns` has numbers, short texts and lists of these; None where there are none.
    """

    id: str
    title: str
    category: str
    subcategory: str
    published: int | None
    columns: dict[str, Any] | None
    digest: int

    @classmethod
    def of(cls, row: Row) -> Self:
        """Make the card of a row, whose values are such as JSON has."""
        content = json.dumps({name: value for name, value in row.items() if value is not None}, sort_keys=True)
        # Names that many articles share are kept once.
        category, subcategory = (sys.intern(row.get(name) or "") for name in ("category", "subcategory"))
        columns = {
            sys.intern(name): value
            for name, value in row.items()
            if name not in _NOT_KEPT
            and all(map(_is_short, value if isinstance(value, list) and len(value) <= _LONGEST else [value]))
        }
        digest = int.from_bytes(blake2b(content.encode(), digest_size=8).digest())
        published = None if row.get("published") is None else int(row["published"])
        return cls(row["id"], row.get("title") or "", category, subcategory, published, columns or None, digest)

    def column(self, name: str) -> Any:
        """Return what stands in a column; None where nothing is known."""
        return getattr(self, name) if name in _SHOWN else (self.columns or {}).get(name)


def _is_short(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and len(value) <= _LONGEST)


class _Entry(NamedTuple):
    """A card in the order of age, the newest first; `later` tells any two apart."""

    older: int
    later: int
    words: str
    card: Card


class Catalog:
    """Cards of articles, which threads read while one changes them."""

    def __init__(self) -> None:
        self.column_names = {*_SHOWN}  # that articles may be limited by
        self._entries: list[_Entry] = []
        self._entry_of: dict[str, _Entry] = {}
        self._categories: Counter[str] = Counter()
        self._arrivals = 0
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._entry_of)

    def get(self, article: str) -> Card | None:
        """Return an article's card; None where there is no such article."""
        entry = self._entry_of.get(article)
        return None if entry is None else entry.card

    def newest(self) -> list[_Entry]:
        """Return all articles in entries with a `card`, the newest first; not to be changed."""
        return self._entries

    def cards(self) -> list[Card]:
        """Return the cards in the order of their arrival."""
        return [entry.card for entry in sorted(self._entries, key=lambda entry: -entry.later)]

    def change(self, changes: Mapping[str, Card | None]) -> None:
        """Put cards in the place of those of the same articles; None removes an article."""
        with self._lock:
            gone = [entry for article in changes if (entry := self._entry_of.pop(article, None))]
            new = [self._entry(card) for card in changes.values() if card is not None]
            self._entry_of.update((entry.card.id, entry) for entry in new)
            if len(changes) > _MANY:
                entries = sorted(self._entry_of.values())
            else:
                entries = list(self._entries)  # who reads meanwhile goes on with the list as it was
                for entry in gone:
                    del entries[bisect_left(entries, entry)]
                for entry in new:
                    insort(entries, entry)
            self._entries = entries
            self._categories.update(entry.card.category for entry in new)
            self._categories.subtract(Counter(entry.card.category for entry in gone))
            pairs = (pair for entry in new for pair in (entry.card.columns or {}).items())
            self.column_names.update(name for name, value in pairs if not isinstance(value, list))

    def _entry(self, card: Card) -> _Entry:
        self._arrivals += 1
        return _Entry(-(card.published or 0), -self._arrivals, card.title.casefold(), card)

    def categories(self) -> list[str]:
        """Return the names of the categories that there are, sorted."""
        with self._lock:
            return sorted(name for name, count in self._categories.items() if name and count > 0)

    def search(self, words: str, category: str | None, limit: int) -> tuple[int, list[Card]]:
        """Find articles whose titles hold all of some words, whatever their case: how many, and the newest of them."""
        found = self._entries
        if category is not None:
            found = [entry for entry in found if entry.card.category == category]
        for word in words.casefold().split():
            found = [entry for entry in found if word in entry.words]
        return len(found), [entry.card for entry in found[:limit]]


def read_news(path: Path) -> dict[str, Row]:
    """Read a news.tsv, and what articles.parquet beside it knows further: the rows of articles by id.

    Raises:
        DataFormatError: as `NewsTable.read`.
    """
    from recommenders_miner.data.news import NewsTable

    table = NewsTable.read(path)
    names = ("title", "category", "subcategory", "abstract", "title_entities", "abstract_entities")
    columns = {name: table.texts(name) for name in names}
    if table.extra is not None:
        columns = {name: table.extra[name].to_pylist()[1:] for name in table.extra.column_names} | columns
    columns["published"] = [seconds or None for seconds in table.published[1:].tolist()]
    rows = (zip(columns, map(_plain, row), strict=True) for row in zip(*columns.values(), strict=True))
    return {
        article: {"id": article, **{name: value for name, value in row if value is not None}}
        for article, row in zip(table.texts("ids"), rows, strict=True)
    }


def _plain(value: Any) -> Any:
    """Return a value as JSON has it; None where it says nothing."""
    if value in ("", "[]", None) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value if isinstance(value, str | int | float) else json.loads(json.dumps(value, default=str))
