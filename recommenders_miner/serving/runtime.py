"""Answers from an export, by numpy and onnxruntime: no TensorFlow, Keras or JAX is in the process."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.vocabulary import UNKNOWN_ID
from recommenders_miner.errors import DataFormatError, UnknownNewsError
from recommenders_miner.serving.live import LiveContext
from recommenders_miner.serving.network import ExportedNetwork
from recommenders_miner.serving.plane import plane
from recommenders_miner.serving.segments import Arrays, Pool, Query, Segment, allowed_in, best, highest
from recommenders_miner.serving.snapshot import read_snapshot, write_snapshot

RERANKED = 1000
"""Articles that the whole model scores, where interests alone do not say how it ranks them."""
SCORED_EXACTLY = 400
"""Articles whose scores have to be right in the whole pool: a policy looks at no more of them closely."""
_SCORED_AT_ONCE = 2048
_TEXTS = ("category", "subcategory", "abstract", "title_entities", "abstract_entities")


class Recommender:
    """Recommends articles of a pool to users as the exported model would; to change the pool disturbs no reader.

    Example:
    ```python
    recommender = Recommender.load("export")
    recommender.add_articles([{"id": "N1", "title": "Lakers win again", "category": "sports"}])
    recommender.recommend(["N1"], k=10)
    ```

    Args:
        network: the exported model's parts.

    Attributes:
        name: of the model: its type and a digest of its weights, as `miner-3f2a91c0`.
        kind: its type, as `miner`.
        his_size: the newest clicks of a history that are read.
    """

    def __init__(self, network: ExportedNetwork) -> None:
        self.network, manifest = network, network.manifest
        self.name, self.kind, self.his_size = manifest["name"], manifest["model"], manifest["his_size"]
        self._search: dict[str, Any] | None = manifest["search"]
        horizon = manifest["hparams"].get("horizon", 0.0)
        self._live = LiveContext(manifest["context"], network.counts, horizon) if manifest["context"] else None
        self._in_one = bool(self._live or manifest["related"]["hops"])  # articles are counted, or encoded, together
        self._pool, self._lock = Pool(), threading.RLock()

    @classmethod
    def load(cls, export: str | Path, snapshot: str | Path | None = None, threads: int = 1) -> Self:
        """Load an export, and the articles of a snapshot, which several processes share in memory.

        Args:
            export: the folder that `export_model` wrote.
            snapshot: the folder that `save_snapshot` wrote; without one there are no articles yet.
            threads: processor threads that one request may use.

        Raises:
            DataFormatError: one of the folders is damaged, or the snapshot is of another model.
        """
        recommender = cls(ExportedNetwork(Path(export), threads))
        for segment in [] if snapshot is None else read_snapshot(Path(snapshot), recommender.name):
            recommender._join(segment)
        return recommender

    def save_snapshot(self, folder: str | Path) -> None:
        """Write the articles and what the network made of them to a folder, in the place of one that stands there."""
        with self._lock:
            segments = [self._merged(list(self._pool.segments))] if self._pool.places else []
        write_snapshot(Path(folder), self.name, segments)

    # === Articles ===

    def __len__(self) -> int:
        return len(self._pool.places)

    def __contains__(self, news_id: object) -> bool:
        return news_id in self._pool.places

    def ids(self) -> list[str]:
        """Return the ids of all articles."""
        return list(self._pool.places)

    def article(self, news_id: str) -> dict[str, Any]:
        """Return an article as it was added, without what is empty; `KeyError` where there is none."""
        return _row(self._pool, news_id)

    def add_articles(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add articles, or replace those of the same ids.

        Args:
            rows: of each `id` and `title`, and what else is known: `category`, `subcategory`, `abstract`, `published`
                (Unix seconds), any other column; of several with one id the last counts.

        Raises:
            DataFormatError: an article has no id or title, or a column has values of several types, or of another type
                than in the articles that are there; nothing is changed.
        """
        rows = list({row.get("id"): row for row in rows}.values())
        if faulty := [row for row in rows if not row.get("id") or not isinstance(row.get("title"), str)]:
            raise DataFormatError("articles", f"one has no id or no title: {str(dict(faulty[0]))[:200]}.")
        if not rows:
            return
        extra = dict.fromkeys(("published", *(name for row in rows for name in row)))
        columns = {name: [row.get(name) for row in rows] for name in ("id", "title", *_TEXTS, *extra)}
        ids, titles, texts = columns.pop("id"), columns.pop("title"), {name: columns.pop(name) for name in _TEXTS}
        try:
            table = NewsTable.from_columns(ids, titles, **texts, extra=columns)
        except (pa.ArrowException, TypeError) as error:
            raise DataFormatError("articles", f"a column cannot be read: {error}.") from error
        self.add_table(table)

    def add_table(self, table: NewsTable) -> None:
        """Add the articles of a news table, or replace those of the same ids; errors as of `add_articles`."""
        if len(table) < 2:
            return
        if not self._in_one:
            self._join(self._segment(table))
            return
        with self._lock:
            pool = self._pool.without(table.texts("ids")).accepting(table)
            if pool.places:
                table = table.joined(_joined([segment.table for segment in pool.segments]).select(list(pool.places)))
            self._pool = Pool().joined(self._segment(table), self._merged)

    def remove(self, ids: Iterable[str]) -> None:
        """Take articles out; ids that are not there are passed over."""
        with self._lock:
            self._pool = self._pool.without(ids)

    def _segment(self, table: NewsTable) -> Segment:
        return Segment.of(table, self.network.encode(table), self._rank(table))

    def _join(self, segment: Segment) -> None:
        with self._lock:
            pool = self._pool.without(segment.table.texts("ids")).accepting(segment.table)
            self._pool = pool.joined(segment, self._merged)

    def _merged(self, segments: list[Segment]) -> Segment:
        """Return the articles of several segments, those that were removed left out, as one."""
        if len(segments) == 1 and segments[0].alive.all():
            return segments[0]
        rows = [np.flatnonzero(segment.alive) for segment in segments]
        pairs = list(zip(segments, rows, strict=True))
        news = {name: np.concatenate([of.news[name][own] for of, own in pairs]) for name in segments[0].news}
        table = _joined([of.table.select(of.table.ids.take(own + 1).to_pylist()) for of, own in pairs])
        return Segment.of(table, news, np.concatenate([of.rank[own] for of, own in pairs]))

    def _rank(self, table: NewsTable) -> np.ndarray:
        """Return what decides between equal scores, (N,): what training found popular leads, then the newest."""
        vocabularies, places = self.network.vocabularies, np.zeros(len(table) - 1, np.int64)
        if "popular" in vocabularies:
            places = np.array(vocabularies.popular.encode(table.texts("ids")))
            places[places == UNKNOWN_ID] = len(vocabularies.popular)
        latest = 2**34
        return places * latest - np.clip(table.published[1:], 0, latest - 1)

    def apart(self) -> Self:
        """Return a recommender of the same model without articles."""
        return type(self)(self.network)

    # === Answers ===

    def recommend(
        self,
        history: Sequence[str],
        k: int = 10,
        *,
        user: str | None = None,
        max_age: float | None = None,
        where: Mapping[str, Any] | None = None,
        exclude: Collection[str] = (),
        keep_clicked: bool = False,
        now: float | None = None,
        shortlist: int | None = None,
    ) -> list[tuple[str, float]]:
        """Return the k best articles for a history, best first.

        Equal scores, as all are without a history in most models, are in the order of what training found popular, then
        of age.

        Args:
            history: ids of the clicked articles, newest last; those that are not there are passed over.
            k: how many.
            user: the user's id, for the models that know users.
            max_age: seconds since publication, at most; articles that say nothing of it are left out.
            where: values, or lists of values, that columns must have, as `{"category": ["sports", "news"]}`.
            exclude: ids that must not be among them.
            keep_clicked: whether articles of the history may be.
            now: Unix seconds; the present where left out.
            shortlist: score only so many articles, the best in the vectors' main directions; all where left out.

        Returns:
            At most k pairs of id and score.

        Raises:
            HParamsError: `where` names a column that no article has, or values of another type.
        """
        pool, now = self._pool, time.time() if now is None else now
        if not pool.places or k < 1:
            return []
        pairs = allowed_in(pool, max_age, where, {*exclude, *(() if keep_clicked else history)}, now)
        clicks = self._known(pool, history)
        clicked = self._clicked(pool, clicks, user)
        if self._search is None:
            chosen = [pool_id for segment, of in pairs for pool_id in segment.ids_of(np.flatnonzero(of))]
        else:
            query, is_exact = self._query(pool, clicked), self._search["exact"]
            depth = k if is_exact else max(shortlist or RERANKED, k)
            near = shortlist if is_exact else depth
            found = best([(segment, query.search(segment, of, depth, near)) for segment, of in pairs], depth)
            if is_exact:
                return found
            chosen = [news_id for news_id, _ in found]
        scores = self._scores(pool, clicks, self.network.run("user", clicked), chosen, user, now)
        ranks = [pool.segments[number].rank[row] for number, row in map(pool.places.__getitem__, chosen)]
        order = np.lexsort((ranks, -scores))[:k]
        return [(chosen[place], float(scores[place])) for place in order]

    def score_pool(
        self,
        history: Sequence[str],
        exact: int = SCORED_EXACTLY,
        *,
        user: str | None = None,
        max_age: float | None = None,
        where: Mapping[str, Any] | None = None,
        exclude: Collection[str] = (),
        now: float | None = None,
    ) -> tuple[list[str], np.ndarray]:
        """Score all articles for a history, for what chooses among them by more than their scores.

        The `exact` best have the scores of `recommend`, and stand before all others. These are in the order of what
        their scores are at most, or of the search where the whole model does not score all.

        Returns:
            The articles' ids, the same list as long as the articles are the same, and their scores, (N,) float32; -inf
            for articles of the history and those that the limits leave out, which are those of `recommend`.
        """
        pool, now = self._pool, time.time() if now is None else now
        pairs = allowed_in(pool, max_age, where, {*exclude, *history}, now)
        scores = np.concatenate([np.zeros(0, "float32"), *(np.where(of, 0, -np.inf) for _, of in pairs)])
        chosen = np.flatnonzero(scores > -np.inf)
        if not len(chosen):
            return pool.ids, scores
        clicks = self._known(pool, history)
        clicked = self._clicked(pool, clicks, user)
        if self._search is not None:
            query = self._query(pool, clicked)
            scores = np.concatenate([query.search(segment, of, exact) for segment, of in pairs])
            if self._search["exact"]:
                return pool.ids, scores
            chosen = highest(scores, max(exact, RERANKED))
        state = self.network.run("user", clicked)
        whole = self._scores(pool, clicks, state, [pool.ids[row] for row in chosen.tolist()], user, now)
        scores[chosen] = -np.inf
        if (most := scores.max()) > -np.inf:
            scores += whole.min() - most
        scores[chosen] = whole
        return pool.ids, scores

    def score(
        self, history: Sequence[str], candidates: Sequence[str], *, user: str | None = None, now: float | None = None
    ) -> np.ndarray:
        """Score candidates for a history, (candidates,) float32; arguments are those of `recommend`.

        Raises:
            UnknownNewsError: a candidate is not there.
        """
        pool = self._pool
        if unknown := [news_id for news_id in candidates if news_id not in pool.places]:
            some = ", ".join(map(repr, unknown[:5]))
            raise UnknownNewsError(f"{len(unknown)} of {len(candidates)} candidates are not there: {some}")
        clicks = self._known(pool, history)
        state = self.network.run("user", self._clicked(pool, clicks, user)) if candidates else {}
        return self._scores(pool, clicks, state, candidates, user, time.time() if now is None else now)

    def _known(self, pool: Pool, history: Sequence[str]) -> list[str]:
        return [news_id for news_id in history if news_id in pool.places][-self.his_size :]

    def _clicked(self, pool: Pool, clicks: Sequence[str], user: str | None) -> Arrays:
        """Return what the parts `user`, `search` and `explain` read of a user."""
        users = self.network.vocabularies.users.encode([user or ""]) if self.network.manifest["user_aware"] else [0]
        mask = np.full((1, max(len(clicks), 1)), bool(clicks))
        history = {f"history.{name}": values for name, values in pool.gather(clicks).items()}
        return {**history, "mask": mask, "user": np.array(users, "int32")}

    def _query(self, pool: Pool, clicked: Arrays) -> Query:
        categories = None
        if self._search["by_category"]:
            categories = np.unique(np.concatenate([segment.runs[0] for segment in pool.segments]))
            clicked = {**clicked, "category": categories}
        [interests] = self.network.run("search", clicked)["interests"]
        return Query(self._search["aggregation"], interests, self._match, categories)

    def _match(self, vectors: np.ndarray, interests: np.ndarray) -> np.ndarray:
        return self.network.run("match", {"vectors": vectors, "interests": interests})["best"]

    def _scores(
        self, pool: Pool, clicks: Sequence[str], state: Arrays, candidates: Sequence[str], user: str | None, now: float
    ) -> np.ndarray:
        context = self._context(pool, clicks, candidates, user, now)
        found = [np.zeros(0, "float32")]
        for first in range(0, len(candidates), _SCORED_AT_ONCE):
            part = slice(first, first + _SCORED_AT_ONCE)
            shown = {f"candidates.{name}": values for name, values in pool.gather(candidates[part]).items()}
            shown |= {name: values[:, part] for name, values in context.items()}
            found.append(self.network.run("score", {**state, **shown})["scores"][0])
        return np.concatenate(found)

    # === Context, and reasons ===

    def record(self, events: Iterable[tuple[str, str, int, bool]]) -> None:
        """Tell what happened: user, article, Unix seconds, and whether it is a click, else a showing.

        Models that read how articles do at the moment count it within seconds; others have no use for it.
        """
        if self._live is not None:
            self._live.record(events)

    def click(self, user: str, article: str, time: int) -> None:
        """Tell of one click; see `record`."""
        self.record([(user, article, time, True)])

    def _context(
        self, pool: Pool, clicks: Sequence[str], candidates: Sequence[str], user: str | None, now: float
    ) -> Arrays:
        if self._live is None or not candidates:
            return {}
        return {"context": self._live.of(pool.segments[0].table, clicks, candidates, user, now)}

    def explain(
        self, history: Sequence[str], candidates: Sequence[str], *, user: str | None = None, now: float | None = None
    ) -> dict[str, Any]:
        """Say why candidates score as they do, in the form of `explain.Explanation.to_json`; errors as of `score`."""
        from recommenders_miner.explain import Explanation, without_each  # which imports what prints tables

        pool, now = self._pool, time.time() if now is None else now
        clicks, opened = self._known(pool, history), {}
        of_each = [self.score(some, candidates, user=user, now=now) for some in (clicks, *without_each(clicks))]
        if "explain" in self.network and candidates:
            shown = {f"candidates.{name}": values for name, values in pool.gather(candidates).items()}
            context = self._context(pool, clicks, candidates, user, now)
            opened = self.network.run("explain", {**self._clicked(pool, clicks, user), **shown, **context})
        interests = None
        if "scores" in opened:
            interests = self.network.manifest["interests"], opened["scores"][0], opened["weights"][0]
        attention = opened["attention"][0] if "attention" in opened else None
        rows = {news_id: _row(pool, news_id) for news_id in (*clicks, *candidates)}
        named = ({i: row.get(name, "") for i, row in rows.items()} for name in ("title", "category"))
        return Explanation.of(self.kind, clicks, candidates, np.stack(of_each), interests, attention, *named).to_json()

    def map(self, history: Sequence[str], limit: int = 2000, *, user: str | None = None) -> dict[str, Any]:
        """Return places in a plane of the user's interests, the history and the newest `limit` articles.

        Without vectors to search by, nothing is on it.
        """
        pool = self._pool
        if self._search is None or not pool.places:
            return {"articles": [], "interests": []}
        clicks = self._known(pool, history)
        newest = sorted(pool.places, key=lambda news_id: -pool.published(news_id))
        ids = list(dict.fromkeys([*clicks, *newest[:limit]]))
        vectors = pool.gather(ids)["vector"][0].astype("float32")
        interests = self._query(pool, self._clicked(pool, clicks, user)).interests.mean(axis=0)
        return plane(ids, vectors, interests[: len(interests) * bool(clicks)], functools.partial(_row, pool))


def _row(pool: Pool, news_id: str) -> dict[str, Any]:
    number, row = pool.places[news_id]
    table = pool.segments[number].table
    found = {"id": news_id, **{name: getattr(table, name)[row + 1].as_py() for name in ("title", *_TEXTS)}}
    for name in [] if table.extra is None else table.extra.column_names:
        found[name] = table.extra[name][row + 1].as_py()
    return {name: value for name, value in found.items() if value not in (None, "")}


def _joined(tables: Sequence[NewsTable]) -> NewsTable:
    return functools.reduce(NewsTable.joined, tables)
