"""The Wikidata entities that MIND names in titles and abstracts: which, where, and with which neighbours."""

from __future__ import annotations

import itertools
import json
import reprlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.text import token_places
from recommenders_miner.data.tsv import LineErrors, read_tsv
from recommenders_miner.data.vocabulary import Vocabulary, token_problem
from recommenders_miner.errors import DataFormatError

_TRIPLE = ("head", "relation", "tail")


def title_entities(news: NewsTable) -> list[list[str]]:
    """Return the Wikidata ids of each title, each once, in the order of the file; N lists, without the padding article.

    Raises:
        DataFormatError: an article's entities are no JSON list of objects with a `WikidataId`.
    """
    return [_names(entities) for entities in _read(news, "title_entities")]


def word_entities(news: NewsTable, size: int) -> list[list[str]]:
    """Return for each of the first `size` words of a title the Wikidata id that it belongs to; "" for none.

    A word belongs to an entity if it overlaps one of its occurrences: `OccurrenceOffsets`, counted in characters, with
    the lengths of `SurfaceForms`. Of several entities the first in the file counts.

    Raises:
        DataFormatError: as `title_entities`, or an offset is no whole number, or a form no text.
    """
    titles = news.title.to_pylist()[1:]
    return [
        _entity_of_words(title, entities, size)
        for title, entities in zip(titles, _read(news, "title_entities"), strict=True)
    ]


def news_neighbours(news: NewsTable, entities: Vocabulary) -> np.ndarray:
    """Return the pairs of entities that share an article, in its title or abstract.

    Args:
        news: the news.
        entities: those that are known; others have no part.

    Returns:
        (P, 2) int32 ids, both ways, each pair once.

    Raises:
        DataFormatError: as `title_entities`.
    """
    both = zip(_read(news, "title_entities"), _read(news, "abstract_entities"), strict=True)
    named = ({entities[name] for part in parts for name in _names(part) if name in entities} for parts in both)
    return _distinct_pairs(pair for ids in named for pair in itertools.permutations(sorted(ids), 2))


def graph_neighbours(path: str | Path, entities: Vocabulary) -> np.ndarray:
    """Return the pairs of entities that a triple joins.

    Args:
        path: a file of triples, a line `head relation tail`, separated by tabs.
        entities: those that are known; triples with others are passed over.

    Returns:
        (P, 2) int32 ids, both ways, each pair once.

    Raises:
        DataFormatError: the file is missing, or a line has not three columns.
    """
    errors = LineErrors(Path(path), "raise")
    pairs: list[tuple[int, int]] = []
    for block, _ in read_tsv(Path(path), _TRIPLE, errors):
        for head, tail in zip(block["head"].to_pylist(), block["tail"].to_pylist(), strict=True):
            if head in entities and tail in entities and head != tail:
                pairs += [(entities[head], entities[tail]), (entities[tail], entities[head])]
        errors.raise_earliest()
    return _distinct_pairs(pairs)


def _distinct_pairs(pairs: Iterable[tuple[int, int]]) -> np.ndarray:
    return np.unique(np.array(list(pairs), "int32").reshape(-1, 2), axis=0)


def _entity_of_words(title: str, entities: list[dict[str, Any]], size: int) -> list[str]:
    places = token_places(title)[:size]
    owners = [""] * len(places)
    for entity in reversed(entities):
        for offset, form in zip(entity.get("OccurrenceOffsets", ()), entity.get("SurfaceForms", ()), strict=False):
            for word, (start, end) in enumerate(places):
                if start < offset + len(form) and offset < end:
                    owners[word] = entity["WikidataId"]
    return owners


def _names(entities: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(entity["WikidataId"] for entity in entities))


def _read(news: NewsTable, column: str) -> Iterable[list[dict[str, Any]]]:
    """Yield the entities of each article in a column of the table, the padding article left out."""
    texts = getattr(news, column).to_pylist()[1:]
    for text, news_id in zip(texts, news.ids.to_pylist()[1:], strict=True):
        yield [] if text in ("", "[]") else _parsed(text, f"the {column.replace('_', ' ')} of news {news_id}")


def _parsed(text: str, place: str) -> list[dict[str, Any]]:
    try:
        entities = json.loads(text)
        if not isinstance(entities, list):
            raise TypeError("not a list")
        for entity in entities:
            _require(entity["WikidataId"], str, "a WikidataId")
            if problem := token_problem(entity["WikidataId"], ()):
                raise ValueError(f"a WikidataId {problem}")
            for offset in entity.get("OccurrenceOffsets", ()):
                _require(offset, int, "an offset")
            for form in entity.get("SurfaceForms", ()):
                _require(form, str, "a surface form")
        return entities
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataFormatError(
            place,
            f"expected a JSON list of objects with a WikidataId, got {text[:80]!r} ({error!r}).",
        ) from None


def _require(value: Any, kind: type, what: str) -> None:
    if not isinstance(value, kind) or value == "":
        raise TypeError(f"{what} is {reprlib.repr(value)}")
