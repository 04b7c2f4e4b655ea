"""The four vocabularies of a model: what turns words, categories and users into ids."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from recommenders_miner.io.impression_log import ImpressionLog
from recommenders_miner.io.news_table import NewsTable
from recommenders_miner.io.tokenize import tokenize
from recommenders_miner.io.vocabulary import Vocabulary


@dataclass(frozen=True)
class Vocabularies:
    """What a model knows by name. Anything else it meets later is id 1, unknown; id 0 is padding.

    Attributes:
        words: the words of the training titles.
        categories: the categories of the training news.
        subcategories: the subcategories of the training news.
        users: the users of the training log.
    """

    words: Vocabulary
    categories: Vocabulary
    subcategories: Vocabulary
    users: Vocabulary

    @classmethod
    def build(cls, news: NewsTable, log: ImpressionLog, min_word_count: int = 1) -> Vocabularies:
        """Builds the vocabularies of a training set.

        Args:
            news: the training news; its padding row adds nothing.
            log: the training impressions.
            min_word_count: words that the titles hold less often stay unknown.
        """
        return cls(
            words=Vocabulary.build(map(tokenize, news.title.to_pylist()[1:]), min_count=min_word_count),
            categories=Vocabulary.build([name] for name in news.category.to_pylist()[1:] if name),
            subcategories=Vocabulary.build([name] for name in news.subcategory.to_pylist()[1:] if name),
            users=Vocabulary(log.users.to_pylist()),
        )

    def save(self, folder: str | Path) -> None:
        """Writes words.txt, categories.txt, subcategories.txt and users.txt, one name a line, into `folder`."""
        for spec in fields(self):
            getattr(self, spec.name).save(Path(folder) / f"{spec.name}.txt")

    @classmethod
    def load(cls, folder: str | Path) -> Vocabularies:
        """Reads what `save` wrote; raises DataFormatError where a file is missing or damaged."""
        return cls(**{spec.name: Vocabulary.load(Path(folder) / f"{spec.name}.txt") for spec in fields(cls)})
