"""The vocabularies of a model: what turns words, categories, users and entities into ids."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from recommenders_miner.data.entities import title_entities
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.pieces import Pieces
from recommenders_miner.data.terms import IDF_FILE, TERMS_FILE, TermWeights
from recommenders_miner.data.text import tokenize
from recommenders_miner.data.vocabulary import Vocabulary

_FILES = ("words", "categories", "subcategories", "users", "entities")
_NEWS_FILE = "news.txt"
_PIECES_FOLDER = "pieces"
SAVED_NAMES = frozenset({*(f"{name}.txt" for name in _FILES), _NEWS_FILE, _PIECES_FOLDER, TERMS_FILE, IDF_FILE})
"""What `Vocabularies.load` looks for in a folder."""


@dataclass(frozen=True)
class Vocabularies:
    """What a model knows by name. Anything else it meets later is id 1, unknown; id 0 is padding.

    Attributes:
        words: the words of the training titles, and of the abstracts where a model reads them.
        categories: the categories of the training news.
        subcategories: the subcategories of the training news.
        users: the users of the training log.
        entities: Wikidata ids; empty for models that do not read them.
        pieces: the word pieces of the pretrained language model, where there is one.
        neighbours: (P, 2) int32, pairs of entity ids that are each other's context, where a model wants them. They only
            say where training starts from, so `save` leaves them out.
        news: the ids of the candidates of the training log, where a model knows news by their ids.
        terms: the TF-IDF terms of the training titles and their weights, where a model reads them.
    """

    words: Vocabulary
    categories: Vocabulary
    subcategories: Vocabulary
    users: Vocabulary
    entities: Vocabulary
    pieces: Pieces | None = None
    neighbours: np.ndarray | None = None
    news: Vocabulary | None = None
    terms: TermWeights | None = None

    @classmethod
    def build(
        cls,
        news: NewsTable,
        log: ImpressionLog,
        *,
        min_word_count: int = 1,
        abstracts: bool = False,
        entities: Iterable[str] | None = None,
        pieces: Pieces | None = None,
        news_ids: bool = False,
        terms: TermWeights | None = None,
    ) -> Self:
        """Builds the vocabularies of a training set.

        Args:
            news: the training news; its padding row adds nothing.
            log: the training impressions.
            min_word_count: words that the texts hold less often stay unknown.
            abstracts: whether the words of the abstracts are wanted too.
            entities: entities to know beside those of the training titles, for instance all that have vectors; None
                leaves entities alone.
            pieces: the word pieces of a pretrained language model.
            news_ids: whether the ids of the news are wanted.
            terms: TF-IDF terms.

        Raises:
            DataFormatError: the entities of a title are asked for and are no JSON of MIND's form.
        """
        texts = news.title.to_pylist()[1:] + (news.abstract.to_pylist()[1:] if abstracts else [])
        known = [] if entities is None else [*entities, *(name for names in title_entities(news) for name in names)]
        return cls(
            words=Vocabulary.build(map(tokenize, texts), min_count=min_word_count),
            categories=Vocabulary.build([name] for name in news.category.to_pylist()[1:] if name),
            subcategories=Vocabulary.build([name] for name in news.subcategory.to_pylist()[1:] if name),
            users=Vocabulary.of_names(log.users.to_pylist()),
            entities=Vocabulary.of_names(known),
            pieces=pieces,
            news=Vocabulary.of_names(news.ids.take(np.unique(log.candidates.values)).to_pylist()) if news_ids else None,
            terms=terms,
        )

    def sizes(self) -> dict[str, int]:
        """Returns the number of ids of each vocabulary that there is, by name."""
        sizes = {name: len(getattr(self, name)) for name in _FILES}
        if self.pieces is not None:
            sizes["pieces"] = self.pieces.tokenizer.vocabulary_size()
        if self.news is not None:
            sizes["news"] = len(self.news)
        if self.terms is not None:
            sizes["terms"] = len(self.terms.terms)
        return sizes

    def save(self, folder: str | Path) -> None:
        """Writes words.txt, categories.txt, …, one name a line, and what else there is, into `folder`."""
        for name in _FILES:
            getattr(self, name).save(Path(folder) / f"{name}.txt")
        if self.pieces is not None:
            self.pieces.save(Path(folder) / _PIECES_FOLDER)
        if self.news is not None:
            self.news.save(Path(folder) / _NEWS_FILE)
        if self.terms is not None:
            self.terms.save(folder)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Reads what `save` wrote.

        Raises:
            DataFormatError: a file is missing or damaged.
            PresetError: the word pieces are.
        """
        pieces, news = Path(folder) / _PIECES_FOLDER, Path(folder) / _NEWS_FILE
        return cls(
            **{name: Vocabulary.load(Path(folder) / f"{name}.txt") for name in _FILES},
            pieces=Pieces.load(pieces) if pieces.is_dir() else None,
            news=Vocabulary.load(news) if news.exists() else None,
            terms=TermWeights.load(folder) if (Path(folder) / TERMS_FILE).exists() else None,
        )
