"""The articles that a recommender knows, in arrays, and the search for the best of them for one user.

A pool is a few segments, each with its articles in the order of their categories, so that the articles of a category
are a run of rows. A change makes a new pool, which shares the segments that stay; whoever reads the old one goes on
undisturbed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.news import NewsTable
from recommenders_miner.errors import DataFormatError, HParamsError
from recommenders_miner.retrieval.news_pool import weighted_mean

_FIRST_WEIGHED = 64
"""Articles of the highest bounds that are weighed first; how many does not matter much."""
_SKETCH_DIM = 64

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Segment:
    """N articles: their table, its N+1 rows in the order of categories, and what the network reads of them.

    Attributes:
        table: the news table.
        news: arrays of N rows by name, `vector` (N, d) among them where the model has vectors.
        rank: (N,) what decides between equal scores, the lowest first.
        alive: (N,) bool, false for what has been removed or replaced.
    """

    table: NewsTable
    news: Arrays
    rank: np.ndarray
    alive: np.ndarray

    @classmethod
    def of(cls, table: NewsTable, news: Arrays, rank: np.ndarray) -> Segment:
        """Sort a table's articles (N+1 rows) and their arrays (N rows) by category."""
        everything = np.ones(len(rank), bool)
        if "category" not in news:
            return cls(table, news, rank, everything)
        order = np.argsort(news["category"], kind="stable")
        table = table.select(table.ids.take(order + 1).to_pylist())
        return cls(table, {name: values[order] for name, values in news.items()}, rank[order], everything)

    def without(self, rows: Sequence[int]) -> Segment:
        """Return the segment with some rows dead; what is derived of its articles stays."""
        alive = self.alive.copy()
        alive[rows] = False
        return self._with(alive=alive)

    def accepting(self, table: NewsTable) -> Segment:
        """Return the segment without further columns that have another type in a table, which dead rows alone fill.

        Raises:
            DataFormatError: such a column says something of an article that is alive.
        """
        own, new = self.table.extra, table.extra
        for name in [] if own is None or new is None else {*own.column_names} & {*new.column_names}:
            said = own.select([name]).slice(1).filter(self.alive)
            types = new.schema.field(name).type, said.schema.field(name).type
            if types[0] == types[1]:
                continue
            try:
                pa.concat_tables([said, new.select([name])], promote_options="permissive")
            except pa.ArrowException:
                if said[name].null_count < len(said):
                    problem = f"the column {name} is of the type {types[0]} here, and of the type {types[1]} in others."
                    raise DataFormatError("articles", problem, remedy="Give it the same type everywhere.") from None
                own = own.drop_columns(name)
        return self if own is self.table.extra else self._with(table=replace(self.table, extra=own))

    def _with(self, **changed: Any) -> Segment:
        """Return a copy with other values, and what is derived of its articles."""
        other = copy(self)
        for name, value in changed.items():
            object.__setattr__(other, name, value)
        return other

    def ids_of(self, rows: np.ndarray) -> list[str]:
        """Return the ids of some rows."""
        return self.table.ids.take(rows + 1).to_pylist()

    @cached_property
    def sketch(self) -> tuple[np.ndarray, np.ndarray]:
        """The directions (d, s) that most of the vectors is in, and the vectors' parts in these, (N, s), s ≤ 64."""
        vectors = self.news["vector"]
        directions = np.linalg.eigh(vectors.T @ vectors)[1][:, -_SKETCH_DIM:]
        return directions, np.ascontiguousarray(vectors @ directions)

    @cached_property
    def runs(self) -> tuple[np.ndarray, np.ndarray]:
        """The ids of the categories (P,), and where their rows begin and the last one's end (P+1,)."""
        categories, starts = np.unique(self.news["category"], return_index=True)
        return categories, np.append(starts, len(self.rank))


@dataclass(frozen=True, eq=False)
class Pool:
    """Segments, and where each article stands: (segment, row) by id."""

    segments: tuple[Segment, ...] = ()
    places: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def without(self, ids: Iterable[str]) -> Pool:
        """Return the pool without some articles; ids that it lacks are passed over."""
        places, dead = dict(self.places), {}
        for news_id in ids:
            if (place := places.pop(news_id, None)) is not None:
                dead.setdefault(place[0], []).append(place[1])
        segments = list(self.segments)
        for number, rows in dead.items():
            segments[number] = segments[number].without(rows)
        return Pool(tuple(segments), places)

    def accepting(self, table: NewsTable) -> Pool:
        """Return the pool as a table's articles can join it; see `Segment.accepting`."""
        return Pool(tuple(segment.accepting(table) for segment in self.segments), self.places)

    def joined(self, added: Segment, as_one: Callable[[list[Segment]], Segment]) -> Pool:
        """Return the pool with a segment of further articles behind; `as_one` makes one segment of several.

        A segment stays by itself while it is twice the size of all behind it, so that an article is moved but a few
        times.
        """
        segments, tail, size = list(self.segments), [added], len(added.rank)
        while segments and len(segments[-1].rank) < 2 * size:
            tail.insert(0, segments.pop())
            size += len(tail[0].rank)
        segments.append(as_one(tail) if len(tail) > 1 else added)
        last, ids = segments[-1], segments[-1].table.texts("ids")
        rows = np.flatnonzero(last.alive).tolist()
        return Pool(tuple(segments), {**self.places, **{ids[row]: (len(segments) - 1, row) for row in rows}})

    @cached_property
    def ids(self) -> list[str]:
        """The ids of all rows, those that are dead among them, in the order of the segments."""
        return [news_id for segment in self.segments for news_id in segment.table.texts("ids")]

    def published(self, news_id: str) -> int:
        """Return the Unix second in which an article was published, 0 where that is not known."""
        number, row = self.places[news_id]
        return int(self.segments[number].table.published[row + 1])

    def gather(self, ids: Sequence[str]) -> Arrays:
        """Return the arrays of some articles, (1, len(ids), …) by name; of none those of one padding article."""
        first = self.segments[0].news
        places = [self.places[news_id] for news_id in ids]
        if not places:
            return {name: np.zeros((1, 1, *array.shape[1:]), array.dtype) for name, array in first.items()}
        if len({number for number, _ in places}) == 1:
            rows = [row for _, row in places]
            return {name: array[rows][None] for name, array in self.segments[places[0][0]].news.items()}
        return {name: np.stack([self.segments[n].news[name][row] for n, row in places])[None] for name in first}


# === Limits ===


def allowed_in(
    pool: Pool, max_age: float | None, where: Mapping[str, Any] | None, hidden: Collection[str], now: float
) -> list[tuple[Segment, np.ndarray]]:
    """Return the segments, and which of their articles may be found under the limits of `Recommender.recommend`.

    Raises:
        HParamsError: `where` names a column that no article has, or values of another type.
    """
    for name in where or {}:
        if all(_column(segment.table, name) is None for segment in pool.segments):
            raise HParamsError(f"where: no article has a column {name!r}.")
    return [(segment, _allowed(pool, segment, max_age, where, hidden, now)) for segment in pool.segments]


def _allowed(
    pool: Pool,
    segment: Segment,
    max_age: float | None,
    where: Mapping[str, Any] | None,
    hidden: Collection[str],
    now: float,
) -> np.ndarray:
    """Say which articles of a segment may be found, (N,) bool."""
    allowed = segment.alive.copy()
    places = (pool.places[news_id] for news_id in hidden if news_id in pool.places)
    allowed[[row for number, row in places if pool.segments[number] is segment]] = False
    if max_age is not None:
        published = segment.table.published[1:]
        allowed &= (published > 0) & (published >= now - max_age)
    for name, wanted in (where or {}).items():
        allowed &= _has(segment.table, name, list(wanted) if isinstance(wanted, list | tuple | set) else [wanted])
    return allowed


def _column(table: NewsTable, name: str) -> pa.Array | None:
    """Return a column that articles may be limited by; None where the table has none."""
    if name in ("category", "subcategory", "title"):
        return getattr(table, name)
    is_there = table.extra is not None and name in table.extra.column_names
    return table.extra[name].combine_chunks() if is_there else None


def _has(table: NewsTable, column: str, wanted: Sequence[Any]) -> np.ndarray:
    """Say which articles of a table have one of some values in a column, (N,) bool."""
    values = _column(table, column)
    if values is None:
        return np.zeros(len(table) - 1, bool)
    try:
        found = pc.is_in(values, value_set=pa.array(wanted).cast(values.type))
    except (pa.ArrowException, TypeError) as error:
        raise HParamsError(f"where: {column} is of the type {values.type}, not of {wanted!r}.") from error
    return found.to_numpy(zero_copy_only=False)[1:]


# === Search ===


@dataclass(frozen=True, eq=False)
class Query:
    """How a user scores articles by interests: `max` or `mean` over i of s_i = e_i^T h, or `weighted`, Σ_i w_i s_i.

    The weights are w = softmax_i(e_i^T t), t being the article's `target` (MINER, Section 3.4). They add up to 1, so
    that the largest s_i is a bound: see `retrieval.news_pool.WeightedScores`, which searches for many users at once.

    `interests` are (P, K, d): one set for all articles, or those of each category, whose ids are `categories` (P,).
    `match` gives the largest inner products, (n,), of vectors (n, d) with interests (K, d).
    """

    aggregation: str
    interests: np.ndarray
    match: Callable[[np.ndarray, np.ndarray], np.ndarray]
    categories: np.ndarray | None = None

    @property
    def _is_one(self) -> bool:
        """Whether the interests' mean says it all."""
        return self.aggregation == "mean" or self.interests.shape[1] == 1

    def search(self, segment: Segment, allowed: np.ndarray, k: int, shortlist: int | None = None) -> np.ndarray:
        """Return scores (N,) of which the k highest are right: those of the best `allowed` rows (N,) bool.

        The others of these have theirs, or what these are at most; rows that are not allowed, -inf. With a shortlist so
        many articles are scored, all others have -inf: the best by the best and the mean interest together, in the
        vectors' main directions.
        """
        if shortlist is not None and not self._is_one:
            nearly = np.where(allowed, self._nearly(segment), -np.inf)
            return self._of(segment, highest(nearly, shortlist))
        bounds = np.where(allowed, self._bounds(segment), -np.inf)
        if self.aggregation != "weighted":
            return bounds
        first, scores = highest(bounds, max(_FIRST_WEIGHED, k)), bounds.copy()
        scores[first] = self._exact(segment, first)
        lowest, bounds[first] = _kth(scores[first], k), -np.inf
        rest = np.flatnonzero((bounds >= lowest) & (bounds > -np.inf))
        scores[rest] = self._exact(segment, rest)
        return scores

    def _runs(self, segment: Segment) -> Iterable[tuple[slice, np.ndarray]]:
        """Yield the runs of rows that share their interests (K, d), and these."""
        if self.categories is None:
            yield slice(0, len(segment.rank)), self.interests[0]
            return
        categories, bounds = segment.runs
        places = np.searchsorted(self.categories, categories)
        for place, first, end in zip(places, bounds[:-1], bounds[1:], strict=True):
            yield slice(first, end), self.interests[place]

    def _bounds(self, segment: Segment) -> np.ndarray:
        """Return scores (N,), or with `weighted` what they cannot exceed."""
        scores, by_mean = np.empty(len(segment.rank), "float32"), self._is_one
        for rows, interests in self._runs(segment):
            vectors = segment.news["vector"][rows]
            scores[rows] = vectors @ interests.mean(axis=0) if by_mean else self.match(vectors, interests)
        return scores

    def _nearly(self, segment: Segment) -> np.ndarray:
        scores, (directions, vectors) = np.empty(len(segment.rank), "float32"), segment.sketch
        for rows, interests in self._runs(segment):
            sketched = interests @ directions
            scores[rows] = self.match(vectors[rows], sketched) + vectors[rows] @ sketched.mean(axis=0)
        return scores

    def _exact(self, segment: Segment, rows: np.ndarray) -> np.ndarray:
        """Return the scores of some rows (n,), ascending."""
        scores = np.empty(len(rows), "float32")
        for run, interests in self._runs(segment):
            own = slice(*np.searchsorted(rows, (run.start, run.stop)))
            if own.start == own.stop:
                continue
            matches = interests @ segment.news["vector"][rows[own]].T
            if self.aggregation == "weighted":
                logits = interests @ segment.news["target"][rows[own]].T
                scores[own] = weighted_mean(matches, logits)
            else:
                scores[own] = matches.mean(axis=0) if self.aggregation == "mean" else matches.max(axis=0)
        return scores

    def _of(self, segment: Segment, rows: np.ndarray) -> np.ndarray:
        scores = np.full(len(segment.rank), -np.inf, "float32")
        scores[rows] = self._exact(segment, rows)
        return scores


def _kth(values: np.ndarray, k: int) -> float:
    """Return the k-th highest of some values, the lowest where there are fewer, -inf where there are none."""
    return np.partition(values, -min(k, len(values)))[-min(k, len(values))] if len(values) else -np.inf


def highest(values: np.ndarray, count: int) -> np.ndarray:
    """Return where the `count` highest values stand, ascending places; -inf is none."""
    places = np.argpartition(-values, count)[:count] if count < len(values) else np.arange(len(values))
    return np.sort(places[values[places] > -np.inf])


def best(found: Iterable[tuple[Segment, np.ndarray]], k: int) -> list[tuple[str, float]]:
    """Return ids and scores of the k best articles of segments with scores (N,), equal ones by their rank."""
    pairs: list[tuple[float, int, str]] = []
    for segment, scores in found:
        rows = np.flatnonzero(scores > -np.inf)
        rows = rows[scores[rows] >= _kth(scores[rows], k)]
        rows = rows[np.lexsort((segment.rank[rows], -scores[rows]))[:k]]
        ids = segment.ids_of(rows)
        pairs += zip((-scores[rows]).tolist(), segment.rank[rows].tolist(), ids, strict=True)
    return [(news_id, -score) for score, _, news_id in sorted(pairs)[:k]]
