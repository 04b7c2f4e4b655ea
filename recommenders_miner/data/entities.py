"""The Wikidata entities that MIND names in titles and abstracts: which, where, and with which neighbours."""

from __future__ import annotations

import itertools
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, TypeAdapter, ValidationError
from pydantic.alias_generators import to_pascal

from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.text import Segmenter, token_places
from recommenders_miner.data.tsv import LineErrors, read_tsv
from recommenders_miner.data.vocabulary import Vocabulary, token_problem
from recommenders_miner.errors import DataFormatError

_TRIPLE = ("head", "relation", "tail")
_PIECE = re.compile(r"\w+|\S")


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


class EntityNames:
    """Entities by name, to be found in texts of data that comes without any.

    Args:
        names: the id of each name; several names may have one id.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = dict(names)
        lengths: dict[str, set[int]] = {}
        for name in names:
            lengths.setdefault(_PIECE.search(name)[0], set()).add(len(name))
        self._lengths = {first: sorted(of, reverse=True) for first, of in lengths.items()}

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a file of a name, a tab and an id a line; raise `DataFormatError` where it is of another form."""
        errors, names = LineErrors(Path(path), "raise"), {}
        for block, lines in read_tsv(Path(path), ("name", "id"), errors):
            pairs = zip(block["name"].to_pylist(), block["id"].to_pylist(), lines.tolist(), strict=True)
            for name, entity, line in pairs:
                problem = token_problem(entity, ())
                if problem or not name.strip():
                    raise DataFormatError(path, f"the id {problem}." if problem else "the name is empty.", line=line)
                if names.setdefault(name.strip(), entity) != entity:
                    raise DataFormatError(path, f"the name {name!r} stands there twice, with different ids.", line=line)
        return cls(names)

    def find(self, text: str) -> str:
        """Return the entities that a text names, each letter as in the name, in MIND's JSON; of names that overlap, the
        first, and of these the longest.
        """
        found: dict[str, dict[str, Any]] = {}
        end = 0
        for piece in _PIECE.finditer(text):
            start = piece.start()
            for length in self._lengths.get(piece[0], ()) if start >= end else ():
                name, following = text[start : start + length], text[start + length : start + length + 1]
                if name in self._names and not _goes_on(name, following):
                    entity = found.setdefault(self._names[name], {"OccurrenceOffsets": [], "SurfaceForms": []})
                    entity["OccurrenceOffsets"].append(start)
                    entity["SurfaceForms"].append(name)
                    end = start + length
                    break
        listed = [{"Label": of["SurfaceForms"][0], "WikidataId": name, **of} for name, of in found.items()]
        return json.dumps(listed, ensure_ascii=False)


def _goes_on(name: str, following: str) -> bool:
    """Say whether a word does not end with a name, given the character behind it; "" at the end of the text."""
    is_mark = bool(following) and unicodedata.category(following).startswith("M")
    return is_mark or (name[-1].isalnum() and following.isalnum())


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
