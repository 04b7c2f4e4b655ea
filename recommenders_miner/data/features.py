"""News as a model sees it: one array a feature, one row an article.

A feature is one declaration: its name, its kind, the vocabularies that it needs and the function that makes it of a
table. An encoder that names it in its `features` gets it, and the vocabularies are built for those that are named.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from recommenders_miner.data import cache as array_cache
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.text import tokenize
from recommenders_miner.data.vectors import article_vectors
from recommenders_miner.data.vocabularies import Vocabularies

if TYPE_CHECKING:
    from recommenders_miner.hparams import HParams

Kind = Literal["tokens", "id", "number", "vector", "rows"]


@dataclass(frozen=True)
class Feature:
    """What a network may read of an article.

    Kinds are `tokens`, (N+1, length), ids with zeros behind, or other values beside ids; `id`, (N+1,) int32; `number`,
    (N+1,); `vector`, (N+1, d); and `rows`, (N+1, length) int32, related articles as rows of the same table, 0 for none.
    Those come into a batch as the clicked articles do, so that a news encoder can read them: see `NewsEncoder.relate`.
    """

    name: str  # by which encoders ask for it
    kind: Kind
    make: Callable[[NewsFeatures], np.ndarray] | None = None  # None where an encoder makes it, in `prepare`
    needs: tuple[str, ...] = ()  # the vocabularies that it is made with
    told_by: str | None = None  # the feature whose zeros tell the length of `tokens`; itself where None


FEATURES: dict[str, Feature] = {}


def declare(feature: Feature) -> Feature:
    """Make a feature known by its name."""
    FEATURES[feature.name] = feature
    return feature


def feature(
    name: str, kind: Kind, needs: Sequence[str] = (), told_by: str | None = None
) -> Callable[[Callable[[NewsFeatures], np.ndarray]], Callable[[NewsFeatures], np.ndarray]]:
    """Declare the feature that the decorated function makes; see `Feature`."""

    def decorate(make: Callable[[NewsFeatures], np.ndarray]) -> Callable[[NewsFeatures], np.ndarray]:
        declare(Feature(name, kind, make, tuple(needs), told_by))
        return make

    return decorate


def length_feature(name: str) -> str | None:
    """Return the feature whose zeros tell the length of another; None where that is no sequence."""
    declared = FEATURES.get(name)
    return (declared.told_by or name) if declared and declared.kind == "tokens" else None


def with_related(features: Mapping[str, np.ndarray], rows: np.ndarray, hops: int) -> np.ndarray:
    """Return rows of a table, and those of articles related to them up to so many steps away; some repeatedly.

    `features` are arrays of N+1 rows, with those of related articles among them where there are hops.
    """
    found = [rows.ravel()]
    for _ in range(hops):
        found.append(np.unique(np.concatenate([array[found[-1]].ravel() for array in _of_related(features).values()])))
    return np.concatenate(found)


def refer(features: Mapping[str, np.ndarray], position_of: np.ndarray) -> dict[str, np.ndarray]:
    """Return the features of some articles with related ones as positions, 0 where `position_of` (N+1,) has none."""
    return {**features, **{name: position_of[array] for name, array in _of_related(features).items()}}


def _of_related(features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array for name, array in features.items() if name in FEATURES and FEATURES[name].kind == "rows"}


class NewsFeatures(Mapping[str, np.ndarray]):
    """The features of a table's news, each made when it is first asked for.

    Every array has N+1 rows, row 0 the padding article, all zeros. Names that the vocabularies lack are id 1, unknown.

    Args:
        news: the table, N articles and the padding row.
        vocabularies: what names the ids.
        hparams: lengths, as `title_size`; `cache` false keeps nothing on disk.
        cache: folder for what is costly to compute; None keeps nothing.
    """

    def __init__(
        self, news: NewsTable, vocabularies: Vocabularies, hparams: HParams, cache: str | Path | None = None
    ) -> None:
        self.news, self.vocabularies, self.hparams = news, vocabularies, hparams
        self.cache = Path(cache) if cache is not None and hparams.cache else None
        self._made: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._made:
            self._made[name] = FEATURES[name].make(self)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name, declared in FEATURES.items() if declared.make)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def kept(self, name: str, key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the array of a digest `key` from the cache, or make and keep it; a damaged one is made anew."""
        if self.cache is None:
            return make()
        made = functools.cache(make)  # once, too, where it cannot be written
        return array_cache.kept(self.cache / f"{name}-{key}", key, name, lambda append: append(**{name: made()}))[name]

    @functools.cached_property
    def weighed_titles(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The TF-IDF terms of each title and their weights."""
        hparams = self.hparams
        return self.vocabularies.terms.weigh(self.news.texts("title"), hparams.title_size, hparams.word_segmenter)


def padded(sequences: Sequence[Sequence[float]], size: int, dtype: str = "int32") -> np.ndarray:
    """Set N lists, none longer than `size`, into a matrix (N+1, size) below a row of zeros."""
    lengths = np.array([0, *map(len, sequences)])
    matrix = np.zeros((len(lengths), size), dtype)
    matrix[np.arange(size) < lengths[:, None]] = np.concatenate([[], *sequences])
    return matrix


@feature("title", "tokens", needs=["words"])
def _title(features: NewsFeatures) -> np.ndarray:
    """Words, (N+1, title_size) int32; one unknown word for an article without a title, so that it is no padding."""
    size = features.hparams.title_size
    return padded([ids or [1] for ids in _word_ids(features, "title", size)], size)


@feature("abstract", "tokens", needs=["words"])
def _abstract(features: NewsFeatures) -> np.ndarray:
    """Words, (N+1, body_size) int32; zeros alone for an article without an abstract."""
    size = features.hparams.body_size
    return padded(_word_ids(features, "abstract", size), size)


def _word_ids(features: NewsFeatures, text: str, size: int) -> list[list[int]]:
    words, segmenter = features.vocabularies.words, features.hparams.word_segmenter
    return [words.encode(tokenize(text, segmenter)[:size]) for text in features.news.texts(text)]


@feature("body", "tokens", needs=["words"])
def _body(features: NewsFeatures) -> np.ndarray:
    """Words of the text itself, the column `body` of articles.parquet, (N+1, body_size) int32; zeros without one."""
    size = features.hparams.body_size
    return padded(_word_ids(features, "body", size), size)


@feature("article_vector", "vector", needs=["vector_scale"])
def _article_vector(features: NewsFeatures) -> np.ndarray:
    """A ready-made vector, (N+1, d) float32; see `article_vectors`."""
    return article_vectors(features.hparams.article_vectors, features.news)


@feature("category", "id", needs=["categories"])
def _category(features: NewsFeatures) -> np.ndarray:
    return np.array([0, *features.vocabularies.categories.encode(features.news.texts("category"))], "int32")


@feature("subcategory", "id", needs=["subcategories"])
def _subcategory(features: NewsFeatures) -> np.ndarray:
    return np.array([0, *features.vocabularies.subcategories.encode(features.news.texts("subcategory"))], "int32")


@feature("entities", "tokens", needs=["entities"])
def _entities(features: NewsFeatures) -> np.ndarray:
    """The title's Wikidata entities, (N+1, entity_size) int32."""
    from recommenders_miner.data.entities import title_entities  # imports pydantic, in a quarter of a second

    names, size = features.vocabularies.entities, features.hparams.entity_size
    return padded([names.encode(entities[:size]) for entities in title_entities(features.news)], size)


@feature("related_entities", "tokens", needs=["entities", "click_graph"])
def _related_entities(features: NewsFeatures) -> np.ndarray:
    """The entities that the click graph joins to the title's, (N+1, entity_size · neighbours) int32."""
    return features.vocabularies.click_graph.around(features["entities"])


@feature("clicked_before", "rows", needs=["entities", "click_graph"])
def _clicked_before(features: NewsFeatures) -> np.ndarray:
    """The articles that most users clicked right before this one, (N+1, neighbours) int32."""
    return features.vocabularies.click_graph.rows_before(features.news)


@feature("word_entities", "tokens", needs=["entities", "neighbours"], told_by="title")
def _word_entities(features: NewsFeatures) -> np.ndarray:
    """The Wikidata entity that each word of the title belongs to, 0 for none, (N+1, title_size) int32."""
    from recommenders_miner.data.entities import word_entities

    names, size = features.vocabularies.entities, features.hparams.title_size
    rows = word_entities(features.news, size, features.hparams.word_segmenter)
    return padded([[names[name] if name else 0 for name in row] for row in rows], size)


@feature("pieces", "tokens", needs=["pieces"])
def _pieces(features: NewsFeatures) -> np.ndarray:
    """The title's word pieces from `[CLS]` to `[SEP]`, (N+1, title_size) int32; see `Pieces`."""
    return _pieces_of(features, "title", features.hparams.title_size)


@feature("abstract_pieces", "tokens", needs=["pieces"])
def _abstract_pieces(features: NewsFeatures) -> np.ndarray:
    """The abstract's, (N+1, text_size) int32; zeros alone for an article without one."""
    return _pieces_of(features, "abstract", features.hparams.text_size)


@feature("body_pieces", "tokens", needs=["pieces"])
def _body_pieces(features: NewsFeatures) -> np.ndarray:
    """Those of the text itself, the column `body` of articles.parquet, (N+1, text_size) int32."""
    return _pieces_of(features, "body", features.hparams.text_size)


def _pieces_of(features: NewsFeatures, text: str, size: int) -> np.ndarray:
    pieces = features.vocabularies.pieces
    digest = hashlib.blake2b(f"{pieces.digest} {size} {features.news.digest}".encode(), digest_size=16).hexdigest()

    def make() -> np.ndarray:
        texts = features.news.texts(text)
        encoded = pieces.encode(texts, size)
        # A title is never nothing, so that it is no padding.
        return padded([ids if of or text == "title" else [] for ids, of in zip(encoded, texts, strict=True)], size)

    return features.kept("pieces" if text == "title" else f"{text}_pieces", digest, make)


@feature("term", "tokens", needs=["terms"])
def _term(features: NewsFeatures) -> np.ndarray:
    """The title's distinct TF-IDF terms, ascending, (N+1, title_size) int32; see `TermWeights`."""
    return padded(features.weighed_titles[0], features.hparams.title_size)


@feature("term_weight", "tokens", needs=["terms"], told_by="term")
def _term_weight(features: NewsFeatures) -> np.ndarray:
    """Their weights, (N+1, title_size) float32."""
    return padded(features.weighed_titles[1], features.hparams.title_size, "float32")


@feature("news_id", "id", needs=["news"])
def _news_id(features: NewsFeatures) -> np.ndarray:
    """The article itself."""
    return np.array([0, *features.vocabularies.news.encode(features.news.texts("ids"))], "int32")
