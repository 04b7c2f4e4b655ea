"""The global click graph: which articles users clicked right before which, and which entities that brings together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.past_clicks import before_the_log
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.data.vocabulary import UNKNOWN_ID, Vocabulary
from recommenders_miner.errors import DataFormatError

ARTICLES_FILE, NEIGHBOURS_FILE = "articles.txt", "neighbours.npz"


@dataclass(frozen=True, eq=False)
class ClickGraph:
    """The nearest neighbours in the graphs of articles and of entities, nearest first, zeros behind.

    An edge goes from a click of a training history to the next one, for each user who clicked so. A user counts once,
    with the history of the first impression, so that no click counts that a model is trained to find. Two entities have
    as many edges, both ways, as there are from articles with the one in the title to articles with the other. Nothing
    is a neighbour of itself.

    Attributes:
        articles: the articles that have edges.
        before: (articles, M) int32, the articles clicked right before each by most users, by ids of `articles`.
        of_entity: (entities, E) int32, the entities that each has most edges with, by the ids of their vocabulary.
    """

    articles: Vocabulary
    before: np.ndarray
    of_entity: np.ndarray

    @classmethod
    def of_log(
        cls, log: ImpressionLog, news: NewsTable, entities: Vocabulary, *, neighbours: tuple[int, int], entity_size: int
    ) -> Self:
        """Build the graph of a training log and its news.

        Args:
            log: the impressions.
            news: their news.
            entities: the entities that are known.
            neighbours: at most how many, M of an article and E of an entity.
            entity_size: entities of a title that count.
        """
        from recommenders_miner.data.entities import title_entities

        _, histories = before_the_log(log)
        of_one_user = np.diff(histories.rows()) == 0
        pairs = np.stack([histories.values[1:], histories.values[:-1]])[:, of_one_user]
        rows, place = np.unique(pairs, return_inverse=True)
        articles = Vocabulary.of_names(news.ids.take(rows).to_pylist())
        (target, source), users = np.unique(pairs, axis=1, return_counts=True)
        ids, once = place.reshape(pairs.shape) + UNKNOWN_ID + 1, np.ones(pairs.shape[1])
        before = _nearest(*ids, once, len(articles), neighbours[0])
        named = Ragged.of_lists([[], *(entities.encode(names[:entity_size]) for names in title_entities(news))])
        own = named.take(target)
        others = named.take(source[own.rows()])
        own, weight = others.repeat(own.values), others.repeat(users[own.rows()])
        ends = np.stack([own, others.values])
        both_ways = np.concatenate([ends, ends[::-1]], axis=1)
        of_entity = _nearest(*both_ways, np.tile(weight, 2), len(entities), neighbours[1])
        return cls(articles, before, of_entity)

    def rows_before(self, news: NewsTable) -> np.ndarray:
        """Return `before` by the rows of a news table, (N+1, M) int32; 0 for articles that it lacks."""
        own = np.array([0, *self.articles.encode(news.texts("ids"))])
        row_of = np.zeros(len(self.articles), "int32")
        row_of[own] = np.arange(len(own))
        row_of[: UNKNOWN_ID + 1] = 0
        return row_of[self.before[own]]

    def around(self, entities: np.ndarray) -> np.ndarray:
        """Return the neighbours of the entities of articles, (N, size) int32: (N, size · E) int32, zeros behind."""
        found = self.of_entity[entities].reshape(len(entities), -1)
        return np.take_along_axis(found, np.argsort(found == 0, axis=1, kind="stable"), axis=1)

    def save(self, folder: str | Path) -> None:
        """Write the articles, an id a line, and the neighbours, as numbers."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.articles.save(Path(folder) / ARTICLES_FILE)
        np.savez_compressed(Path(folder) / NEIGHBOURS_FILE, before=self.before, of_entity=self.of_entity)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote."""
        articles, path = Vocabulary.load(Path(folder) / ARTICLES_FILE), Path(folder) / NEIGHBOURS_FILE
        with np.load(path, allow_pickle=False) as found:
            graph = cls(articles, found["before"], found["of_entity"])
        sizes = (len(articles), len(graph.of_entity))
        for size, ids in zip(sizes, (graph.before, graph.of_entity), strict=True):
            if ids.ndim != 2 or len(ids) != size or ids.min(initial=0) < 0 or ids.max(initial=0) >= size:
                raise DataFormatError(path, f"expected neighbours of {size} nodes, by their ids.")
        return graph


def _nearest(of: np.ndarray, neighbour: np.ndarray, weight: np.ndarray, nodes: int, count: int) -> np.ndarray:
    """Return the `count` neighbours of each node by the sum of weights of their edges, ties by id: (nodes, count).

    Edges (edges,) of ids that no vocabulary knows, and of a node with itself, are passed over.
    """
    known = (of > UNKNOWN_ID) & (neighbour > UNKNOWN_ID) & (of != neighbour)
    keys, edge = np.unique(of[known].astype("int64") * nodes + neighbour[known], return_inverse=True)
    own, other = np.divmod(keys, nodes)
    order = np.lexsort((other, -np.bincount(edge, weight[known], minlength=len(keys)), own))
    ranks = Ragged.of_lengths(order, np.bincount(own, minlength=nodes)).ranks()
    near = ranks < count
    table = np.zeros((nodes, count), "int32")
    table[own[order][near], ranks[near]] = other[order][near]
    return table
