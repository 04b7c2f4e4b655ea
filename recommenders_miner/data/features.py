"""News as a model sees it: one array a feature, one row a news."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from recommenders_miner.data import cache as array_cache
from recommenders_miner.data.entities import title_entities, word_entities
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.text import tokenize
from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.errors import HParamsError
from recommenders_miner.hparams import HParams

# The features that hold a sequence for each news, and the one among them whose zeros tell the sequence's length.
LENGTH_FEATURE = {
    "title": "title",
    "word_entities": "title",
    "abstract": "abstract",
    "entities": "entities",
    "pieces": "pieces",
    "plm_states": "pieces",
    "term": "term",
    "term_weight": "term",
}


class NewsFeatures(Mapping[str, np.ndarray]):
    """The features of a table's news, each made when it is first asked for.

    Every array has N+1 rows, row 0 the padding news, all zeros. Names that the vocabularies lack are id 1, unknown.

    - `title` (N+1, title_size) int32: words, at the left of the row, zeros behind. A news without a title has one
      unknown word, so that it is no padding.
    - `abstract` (N+1, body_size) int32: words; zeros alone for a news without an abstract.
    - `word_entities` (N+1, title_size) int32: the Wikidata entity that each word of the title belongs to, 0 for none.
    - `category`, `subcategory` (N+1,) int32.
    - `entities` (N+1, entity_size) int32: the title's Wikidata entities, zeros behind.
    - `pieces` (N+1, title_size) int32: the title's word pieces from `[CLS]` to `[SEP]`, zeros behind; see `Pieces`.
    - `term` (N+1, title_size) int32: the title's distinct TF-IDF terms, ascending, zeros behind; zeros alone where it
      has no known term. `term_weight` (N+1, title_size) float32: their weights; see `TermWeights`.
    - `news_id` (N+1,) int32: the news itself.

    Args:
        news: the table, N news and the padding row.
        vocabularies: what names the ids.
        hparams: `title_size`, `body_size` and `entity_size` are used; `cache` false keeps nothing on disk.
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
            self._made[name] = _MAKERS[name](self)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_MAKERS)

    def __len__(self) -> int:
        return len(_MAKERS)

    def kept(self, name: str, key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Returns an array from the cache, or makes it and keeps it there; a damaged one is made anew.

        Args:
            name: what the array is, for the name of its folder.
            key: digest of all that it depends on.
            make: computes it.
        """
        if self.cache is None:
            return make()
        folder = self.cache / f"{name}-{key}"
        cached = array_cache.load(folder, key)
        if cached is None:
            cached = array_cache.keep(folder, key, name, {name: make()})
        return cached.arrays[name]

    def _title(self) -> np.ndarray:
        words, size = self.vocabularies.words, self.hparams.title_size
        return padded([words.encode(tokenize(title)[:size]) or [1] for title in self.news.title.to_pylist()[1:]], size)

    def _category(self) -> np.ndarray:
        return np.array([0, *self.vocabularies.categories.encode(self.news.category.to_pylist()[1:])], "int32")

    def _subcategory(self) -> np.ndarray:
        return np.array([0, *self.vocabularies.subcategories.encode(self.news.subcategory.to_pylist()[1:])], "int32")

    def _abstract(self) -> np.ndarray:
        words, size = self.vocabularies.words, self.hparams.body_size
        return padded([words.encode(tokenize(text)[:size]) for text in self.news.abstract.to_pylist()[1:]], size)

    def _word_entities(self) -> np.ndarray:
        names, size = self.vocabularies.entities, self.hparams.title_size
        rows = word_entities(self.news, size)
        return padded([[names[name] if name else 0 for name in row] for row in rows], size)

    def _entities(self) -> np.ndarray:
        names, size = self.vocabularies.entities, self.hparams.entity_size
        return padded([names.encode(entities[:size]) for entities in title_entities(self.news)], size)

    def _pieces(self) -> np.ndarray:
        pieces, size = self.vocabularies.pieces, self.hparams.title_size
        if pieces is None:
            raise HParamsError("Word pieces need plm, the name or folder of a pretrained language model.")
        digest = hashlib.blake2b(f"{pieces.digest} {size} {self.news.digest}".encode(), digest_size=16).hexdigest()
        titles = self.news.title.to_pylist()[1:]
        return self.kept("pieces", digest, lambda: padded(pieces.encode(titles, size), size))

    @functools.cached_property
    def _weighed_titles(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        terms = self.vocabularies.terms
        if terms is None:
            raise HParamsError("TF-IDF features need vocabularies that were built for news_encoder: tfidf.")
        return terms.weigh(self.news.title.to_pylist()[1:], self.hparams.title_size)

    def _term(self) -> np.ndarray:
        return padded(self._weighed_titles[0], self.hparams.title_size)

    def _term_weight(self) -> np.ndarray:
        return padded(self._weighed_titles[1], self.hparams.title_size, "float32")

    def _news_id(self) -> np.ndarray:
        names = self.vocabularies.news
        if names is None:
            raise HParamsError("Ids of news need vocabularies that were built for news_encoder: tfidf.")
        return np.array([0, *names.encode(self.news.ids.to_pylist()[1:])], "int32")


_MAKERS: dict[str, Callable[[NewsFeatures], np.ndarray]] = {
    "title": NewsFeatures._title,
    "abstract": NewsFeatures._abstract,
    "word_entities": NewsFeatures._word_entities,
    "category": NewsFeatures._category,
    "subcategory": NewsFeatures._subcategory,
    "entities": NewsFeatures._entities,
    "pieces": NewsFeatures._pieces,
    "term": NewsFeatures._term,
    "term_weight": NewsFeatures._term_weight,
    "news_id": NewsFeatures._news_id,
}


def padded(sequences: Sequence[Sequence[float]], size: int, dtype: str = "int32") -> np.ndarray:
    """Sets N ragged lists, none longer than `size`, into a matrix (N+1, size) below a row of zeros."""
    lengths = np.array([0, *map(len, sequences)])
    matrix = np.zeros((len(lengths), size), dtype)
    matrix[np.arange(size) < lengths[:, None]] = np.concatenate([[], *sequences])
    return matrix


@dataclass(frozen=True)
class LengthGroups:
    """A table's news in a few groups by length, so that a batch pads each to its own group's lengths only.

    Attributes:
        lengths: (N+1,) a news' length: the sum over its sequence features.
        edges: (G,) the longest length of each group, ascending.
        cuts: by sequence feature, (G,) the longest of it in each group; never shorter than in a group before.
    """

    lengths: np.ndarray
    edges: np.ndarray
    cuts: dict[str, np.ndarray]

    @classmethod
    def plan(cls, features: Mapping[str, np.ndarray], groups: int) -> Self:
        """Makes at most `groups` groups of about the same number of news; one where no feature is a sequence.

        Args:
            features: arrays of N+1 rows.
            groups: how many there may be.
        """
        counts = {
            name: np.count_nonzero(features[LENGTH_FEATURE[name]], axis=1)
            for name in features
            if name in LENGTH_FEATURE
        }
        rows = len(next(iter(features.values())))
        own = [count for name, count in counts.items() if LENGTH_FEATURE[name] == name]
        lengths = np.sum([np.zeros(rows, "int64"), *own], axis=0)
        edges = length_edges(lengths[1:], groups)
        group = np.searchsorted(edges, lengths)
        cuts = {}
        for name, count in counts.items():
            longest = np.ones(len(edges), "int64")
            np.maximum.at(longest, group, count)
            cuts[name] = np.maximum.accumulate(longest)
        return cls(lengths, edges, cuts)

    def group_of(self, rows: np.ndarray) -> np.ndarray:
        """Returns the group of some rows."""
        return np.searchsorted(self.edges, self.lengths[rows])

    def gather(self, features: Mapping[str, np.ndarray], rows: np.ndarray, group: int) -> dict[str, np.ndarray]:
        """Returns the features of some rows that are all of one group, or of groups before it."""
        gathered = {name: array[rows] for name, array in features.items()}
        return {name: a[:, : self.cuts[name][group]] if name in self.cuts else a for name, a in gathered.items()}


def length_edges(lengths: np.ndarray, groups: int) -> np.ndarray:
    """Returns at most `groups` ascending lengths, quantiles of `lengths`, the last its maximum (at least 1)."""
    if not len(lengths):
        return np.array([1])
    quantiles = np.quantile(lengths, np.arange(1, groups + 1) / groups, method="higher")
    return np.unique(np.maximum(quantiles, 1).astype(int))


def growing_edges(lengths: np.ndarray, ratio: float = 1.5, least: int = 8) -> np.ndarray:
    """Returns ascending lengths, the last the maximum of `lengths`, and each at most `ratio` times the one before.

    So nothing longer than `least` is padded by more than that ratio, however uneven the lengths are. Those that no
    length needs are left out.
    """
    largest = int(lengths.max(initial=1))
    steps = max(int(np.ceil(np.log(largest / least) / np.log(ratio))), 0)
    edges = np.unique(np.round(np.geomspace(min(least, largest), largest, steps + 1)).astype(int))
    return edges[np.unique(np.searchsorted(edges, lengths))]
