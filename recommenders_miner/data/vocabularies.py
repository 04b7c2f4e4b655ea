"""The vocabularies of a model: what turns words, categories, users and entities into ids.

A vocabulary is one declaration: its name, and the function that builds it of the training tables. A feature names those
that it needs, and a model has the vocabularies of its features, and no others.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from recommenders_miner.data.click_graph import ClickGraph
from recommenders_miner.data.counts import shrunk_rate
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.pieces import Pieces
from recommenders_miner.data.terms import TermWeights
from recommenders_miner.data.text import are_unspaced, tokenize
from recommenders_miner.data.vectors import article_vectors, read_vector_names
from recommenders_miner.data.vocabulary import Vocabulary
from recommenders_miner.errors import HParamsError

if TYPE_CHECKING:
    from recommenders_miner.hparams import HParams

LOGGER = logging.getLogger("recommenders_miner")
_PRIOR_SHOWINGS = 100.0


@dataclass(frozen=True)
class TrainingTables:
    """The training news and impressions that vocabularies are built of, and the model's hyperparameters."""

    news: NewsTable
    log: ImpressionLog
    hparams: HParams
    features: frozenset[str]  # of articles, that the model reads
    find: Callable[[str], str] = str  # says where a file is that a hyperparameter names
    user_aware: bool = True  # whether the model knows users by their ids


class Vocabularies:
    """What a model knows by name. Anything else it comes across later is id 1, unknown; id 0 is padding.

    Each is an attribute: `words`, `categories`, `subcategories`, `users`, `entities`, `news` (the candidates of the
    training log) and `popular` (those of them that are clicked on most) are `Vocabulary`; `pieces` a `Pieces`; `terms`
    a `TermWeights`; `click_graph` a `ClickGraph`. Arrays only say where training starts from: `neighbours` (P, 2) are
    pairs of entity ids that are each other's context, `vector_scale` (2, d) is that of ready-made vectors.

    Args:
        parts: the vocabularies by name.
    """

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self.parts = dict(parts)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "parts":
            raise AttributeError(name)
        if name not in self.parts:
            raise HParamsError(
                f"The model has no vocabulary of {name}: it has {', '.join(self.parts) or 'none'}. Was it built for "
                "other features than it is asked for?"
            )
        return self.parts[name]

    def __contains__(self, name: str) -> bool:
        return name in self.parts

    @classmethod
    def build(cls, names: Iterable[str], tables: TrainingTables, given: Mapping[str, Vocabulary] | None = None) -> Self:
        """Build the vocabularies of some names of a training set, but those that are given."""
        parts = cls(given or {})
        for name in dict.fromkeys(names):
            if name not in parts:
                parts.parts[name] = _BUILDERS[name](tables, parts)
        return parts

    def save(self, folder: str | Path) -> None:
        """Write words.txt, categories.txt, …, one name a line, and what else there is, into a folder."""
        for name, part in self.parts.items():
            if isinstance(part, Vocabulary):
                part.save(Path(folder) / f"{name}.txt")
            elif not isinstance(part, np.ndarray):
                part.save(Path(folder) / name)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote."""
        folder = Path(folder)
        parts: dict[str, Any] = {path.stem: Vocabulary.load(path) for path in sorted(folder.glob("*.txt"))}
        for name, kind in {"pieces": Pieces, "terms": TermWeights, "click_graph": ClickGraph}.items():
            if (folder / name).is_dir():
                parts[name] = kind.load(folder / name)
        return cls(parts)


Builder = Callable[[TrainingTables, Vocabularies], Any]
_BUILDERS: dict[str, Builder] = {}

COMMON = ("words", "categories", "subcategories", "users", "popular")
"""What every model knows; the others are built for the features that need them."""


def vocabulary(name: str) -> Callable[[Builder], Builder]:
    """Declare the vocabulary that the decorated function builds, of the tables and what is built already."""

    def decorate(build: Builder) -> Builder:
        _BUILDERS[name] = build
        return build

    return decorate


@vocabulary("words")
def _words(tables: TrainingTables, built: Vocabularies) -> Vocabulary:
    """The words of the training titles, and of abstracts and bodies where a model reads them."""
    read = ["title", *(name for name in ("abstract", "body") if name in tables.features)]
    texts = list(itertools.chain.from_iterable(map(tables.news.texts, read)))
    segmenter = tables.hparams.word_segmenter
    if segmenter == "none" and sum(map(are_unspaced, texts)) > len(texts) / 2:
        LOGGER.warning(
            "Most texts are in a script without spaces between words, and each is read as a word or two. "
            "-o word_segmenter=icu finds their words."
        )
    return Vocabulary.build((tokenize(text, segmenter) for text in texts), min_count=tables.hparams.min_word_count)


@vocabulary("categories")
def _categories(tables: TrainingTables, built: Vocabularies) -> Vocabulary:
    return Vocabulary.build([name] for name in tables.news.texts("category") if name)


@vocabulary("subcategories")
def _subcategories(tables: TrainingTables, built: Vocabularies) -> Vocabulary:
    return Vocabulary.build([name] for name in tables.news.texts("subcategory") if name)


@vocabulary("users")
def _users(tables: TrainingTables, built: Vocabularies) -> Vocabulary:
    """The users of the training log; none for a model that knows them by their histories alone, to save the memory."""
    return Vocabulary.of_names(tables.log.users.to_pylist() if tables.user_aware else [])


@vocabulary("entities")
def _entities(tables: TrainingTables, built: Vocabularies) -> Vocabulary:
    """The entities that have vectors, and those of the training titles."""
    from recommenders_miner.data.entities import title_entities  # imports pydantic, in a quarter of a second

    named = (name for names in title_entities(tables.news) for name in names)
    with_vectors = map(read_vector_names, entity_files(tables.hparams, tables.find))
    return Vocabulary.of_names([*itertools.chain(*with_vectors), *named])


def entity_files(hparams: HParams, find: Callable[[str], str]) -> list[str]:
    """Return the files of entity vectors that hyperparameters name, the further one only where it is there."""
    first, more = getattr(hparams, "entity_embedding", None), getattr(hparams, "more_entities", None)
    further = [find(more)] if first and more and Path(find(more)).is_file() else []
    return [find(first), *further] if first else []


@vocabulary("neighbours")
def _neighbours(tables: TrainingTables, built: Vocabularies) -> np.ndarray:
    from recommenders_miner.data.entities import graph_neighbours, news_neighbours

    graph = getattr(tables.hparams, "entity_graph", None)
    return (
        graph_neighbours(tables.find(graph), built.entities) if graph else news_neighbours(tables.news, built.entities)
    )


@vocabulary("click_graph")
def _click_graph(tables: TrainingTables, built: Vocabularies) -> ClickGraph:
    """The neighbours of articles and of entities, as many as GLORY's hyperparameters say."""
    hparams = tables.hparams
    options = {"neighbours": (hparams.graph_neighbours, hparams.entity_neighbours), "entity_size": hparams.entity_size}
    return ClickGraph.of_log(tables.log, tables.news, built.entities, **options)


@vocabulary("pieces")
def _pieces(tables: TrainingTables, built: Vocabularies) -> Pieces:
    if not tables.hparams.plm:
        raise HParamsError("Word pieces need plm, the name or folder of a pretrained language model.")
    return Pieces(tables.hparams.plm)


@vocabulary("terms")
def _terms(tables: TrainingTables, built: Vocabularies) -> TermWeights:
    hparams = tables.hparams
    return TermWeights.fit(tables.news.texts("title"), hparams.title_size, hparams.max_terms, hparams.word_segmenter)


@vocabulary("vector_scale")
def _vector_scale(tables: TrainingTables, built: Vocabularies) -> np.ndarray:
    """The mean and the standard deviation of the numbers of ready-made vectors, (2, d) float32."""
    if not tables.hparams.article_vectors:
        raise HParamsError("news_encoder: 'vectors' needs article_vectors, a column of articles.parquet or a file.")
    vectors = article_vectors(tables.hparams.article_vectors, tables.news)
    vectors = vectors[vectors.any(axis=1)]
    deviation = vectors.std(axis=0, dtype=np.float64)
    return np.stack([vectors.mean(axis=0, dtype=np.float64), np.where(deviation > 0, deviation, 1)]).astype("float32")


@vocabulary("news")
def _news(tables: TrainingTables, built: Vocabularies) -> Vocabulary:
    showings, _ = tables.log.count_articles(len(tables.news))
    return Vocabulary.of_names(tables.news.ids.take(np.flatnonzero(showings)).to_pylist())


@vocabulary("popular")
def _popular(tables: TrainingTables, built: Vocabularies) -> Vocabulary:
    """The articles that are clicked on more often than is usual when they are shown, the highest rate first."""
    showings, clicks = tables.log.count_articles(len(tables.news))
    usual = clicks.sum() / showings.sum()
    popular = np.flatnonzero(clicks > usual * showings)
    rates = shrunk_rate(clicks[popular], showings[popular], usual, _PRIOR_SHOWINGS)
    return Vocabulary.of_names(tables.news.ids.take(popular[np.argsort(-rates, kind="stable")]).to_pylist())
