"""The vocabularies of a model: what turns words, categories, users and entities into ids."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from recommenders_miner.io.entities import title_entities
from recommenders_miner.io.impression_log import ImpressionLog
from recommenders_miner.io.news_table import NewsTable
from recommenders_miner.io.pieces import Pieces
from recommenders_miner.io.tokenize import tokenize
from recommenders_miner.io.vocabulary import Vocabulary

_FILES = ("words", "categories", "subcategories", "users", "entities")
_PIECES_FOLDER = "pieces"


@dataclass(frozen=True)
class Vocabularies:
    """What a model knows by name. Anything else it meets later is id 1, unknown; id 0 is padding.

    Attributes:
        words: the words of the training titles.
        categories: the categories of the training news.
        subcategories: the subcategories of the training news.
        users: the users of the training log.
        entities: Wikidata ids; empty for models that do not read them.
        pieces: the word pieces of the pretrained language model, where there is one.
    """

    words: Vocabulary
    categories: Vocabulary
    subcategories: Vocabulary
    users: Vocabulary
    entities: Vocabulary
    pieces: Pieces | None = None

    @classmethod
    def build(
        cls,
        news: NewsTable,
        log: ImpressionLog,
        *,
        min_word_count: int = 1,
        entities: Iterable[str] | None = None,
        pieces: Pieces | None = None,
    ) -> Self:
        """Builds the vocabularies of a training set.

        Args:
            news: the training news; its padding row adds nothing.
            log: the training impressions.
            min_word_count: words that the titles hold less often stay unknown.
            entities: entities to know beside those of the training titles, for instance all that have vectors; None
                leaves entities alone.
            pieces: the word pieces of a pretrained language model.

        Raises:
            DataFormatError: the entities of a title are asked for and are no JSON of MIND's form.
        """
        known = [] if entities is None else [*entities, *(name for names in title_entities(news) for name in names)]
        return cls(
            words=Vocabulary.build(map(tokenize, news.title.to_pylist()[1:]), min_count=min_word_count),
            categories=Vocabulary.build([name] for name in news.category.to_pylist()[1:] if name),
            subcategories=Vocabulary.build([name] for name in news.subcategory.to_pylist()[1:] if name),
            users=Vocabulary(log.users.to_pylist()),
            entities=Vocabulary(list(dict.fromkeys(known))),
            pieces=pieces,
        )

    def save(self, folder: str | Path) -> None:
        """Writes words.txt, categories.txt, …, one name a line, and the tokenizer of the word pieces, into `folder`."""
        for name in _FILES:
            getattr(self, name).save(Path(folder) / f"{name}.txt")
        if self.pieces is not None:
            self.pieces.save(Path(folder) / _PIECES_FOLDER)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Reads what `save` wrote; raises DataFormatError where a file is missing or damaged."""
        pieces = Path(folder) / _PIECES_FOLDER
        return cls(
            **{name: Vocabulary.load(Path(folder) / f"{name}.txt") for name in _FILES},
            pieces=Pieces(pieces) if pieces.is_dir() else None,
        )
