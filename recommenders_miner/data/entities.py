"""The Wikidata entities that MIND names in titles and abstracts: which, where, and with which neighbours."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, TypeAdapter, ValidationError
from pydantic.alias_generators import to_pascal

from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.text import Segmenter, token_places
from recommenders_miner.data.tsv import LineErrors, read_tsv
from recommenders_miner.data.vocabulary import Vocabulary, token_problem
from recommenders_miner.errors import DataFormatError

_TRIPLE = ("head", "relation", "tail")


def title_entities(news: NewsTable) -> list[list[str]]:
    """Return the Wikidata ids of each title, each once, in the order of the file; N lists, the padding left out."""
    return [_names(entities) for entities in _read(news, "title_entities")]


def word_entities(news: NewsTable, size: int, segmenter: Segmenter = "none") -> list[list[str]]:
    """Return for each of the first `size` words of a title the Wikidata id that it belongs to; "" for none.

    A word belongs to an entity if it overlaps one of its occurrences: `OccurrenceOffsets`, counted in characters, with
    the lengths of `SurfaceForms`. Of several entities the first in the file counts.
    """
    owners_of_titles = []
    for title, entities in zip(news.texts("title"), _read(news, "title_entities"), strict=True):
        places = token_places(title, segmenter)[:size]
        owners = [""] * len(places)
        for entity in reversed(entities):
            for offset, form in zip(entity.occurrence_offsets, entity.surface_forms, strict=False):
                for word, (start, end) in enumerate(places):
                    if start < offset + len(form) and offset < end:
                        owners[word] = entity.wikidata_id
        owners_of_titles.append(owners)
    return owners_of_titles


def news_neighbours(news: NewsTable, entities: Vocabulary) -> np.ndarray:
    """Return the pairs of known entities that share an article, in title or abstract: (P, 2) int32, both ways, once."""
    both = zip(_read(news, "title_entities"), _read(news, "abstract_entities"), strict=True)
    named = ({entities[name] for part in parts for name in _names(part) if name in entities} for parts in both)
    return _distinct_pairs(pair for ids in named for pair in itertools.combinations(ids, 2))


def graph_neighbours(path: str | Path, entities: Vocabulary) -> np.ndarray:
    """Return the pairs of known entities that a triple joins: (P, 2) int32, both ways, each pair once.

    The file has a triple a line, `head relation tail`, separated by tabs.
    """
    errors = LineErrors(Path(path), "raise")
    pairs: list[tuple[int, int]] = []
    for block, _ in read_tsv(Path(path), _TRIPLE, errors):
        both = zip(block["head"].to_pylist(), block["tail"].to_pylist(), strict=True)
        pairs += [(entities[a], entities[b]) for a, b in both if a in entities and b in entities and a != b]
        errors.raise_earliest()
    return _distinct_pairs(pairs)


def _distinct_pairs(pairs: Iterable[tuple[int, int]]) -> np.ndarray:
    """Return each pair once and both ways, (P, 2) int32."""
    one_way = np.array(list(pairs), "int32").reshape(-1, 2)
    return np.unique(np.concatenate([one_way, one_way[:, ::-1]]), axis=0)


def _as_token(name: str) -> str:
    if problem := token_problem(name, ()):
        raise ValueError(problem)
    return name


class _Entity(BaseModel):
    """What is used of an entity in MIND's JSON; more may stand there."""

    model_config = ConfigDict(alias_generator=to_pascal, strict=True)

    wikidata_id: Annotated[str, AfterValidator(_as_token)]
    occurrence_offsets: Annotated[list[int], FailFast()] = []
    surface_forms: Annotated[list[str], FailFast()] = []


_ENTITIES = TypeAdapter(Annotated[list[_Entity], FailFast()])


def _names(entities: list[_Entity]) -> list[str]:
    return list(dict.fromkeys(entity.wikidata_id for entity in entities))


def _read(news: NewsTable, column: str) -> Iterator[list[_Entity]]:
    """Yield the entities of each article in a column of the table, the padding article left out."""
    for row, text in enumerate(news.texts(column), start=1):
        try:
            yield [] if text in ("", "[]") else _ENTITIES.validate_json(text)
        except ValidationError as error:
            why = error.errors()[0]["msg"]
            found = f"expected a JSON list of objects with a WikidataId, got {text[:80]!r} ({why})."
            problem = f"the {column.replace('_', ' ')} of news {news.ids[row]}: {found}"
            remedy = "Where there are no entities, write []."
            raise DataFormatError(news.path, problem, line=int(news.lines[row]), remedy=remedy) from None
