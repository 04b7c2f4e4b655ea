"""Scores of a whole log: each article encoded once, each distinct history once, the candidates scored in bulk."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from recommenders_miner.data.context import Context
from recommenders_miner.data.features import refer, with_related
from recommenders_miner.data.lengths import growing_edges, length_edges
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import distinct_rows
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.encoders.whole_table import (
    NetworkPart,
    batches_of,
    encode_table,
    filled,
    padded_size,
    remainders_first,
)


@dataclass(frozen=True)
class DistinctUsers:
    """The distinct users of a log, histories and, where they matter, user ids, sorted by history length."""

    histories: np.ndarray  # (R,) rows of the log's histories
    users: np.ndarray  # (R,) int32 user ids of the model, 0 where they do not matter
    lengths: np.ndarray  # (R,) clicks that are used
    of_impression: np.ndarray  # (I,) the distinct user of each impression


class LogScorer:
    """Scores logs with a `NewsRecommender`, without a Python loop over impressions or candidates.

    1. Every article of the table is encoded once, in batches of equal title length.
    2. Every distinct user, a history (and user id, where it matters), is encoded once.
    3. A user's candidates, from all the impressions that share the history, are scored together, each once, or once a
       time where scores depend on it. How users are fitted to candidates is up to `UserEncoder.bind_candidates`.

    Args:
        network: the network, built.
        his_size: newest clicks of a history that are used.
        user_aware: whether two users with the same history differ.
        news_batch: articles encoded at once.
    """

    def __init__(self, network: Any, his_size: int, *, user_aware: bool = False, news_batch: int = 1024) -> None:
        self.network, self.his_size, self.user_aware, self.news_batch = network, his_size, user_aware, news_batch
        self.users_at_once = network.user_encoder.users_at_once
        self.candidate_aware = network.user_encoder.candidate_aware
        self.candidates_at_once = network.click_predictor.candidates_at_once
        self.candidates_of_a_user = min(self.candidates_at_once, network.click_predictor.candidates_of_a_user)
        self.news_part = NetworkPart(network, network.encode_table)
        self.relate_parts = [
            NetworkPart(network, functools.partial(network.news_encoder.relate, hop=hop))
            for hop in range(network.news_encoder.hops)
        ]
        self.user_part = NetworkPart(network, network.encode_users)
        self.vectors_part = NetworkPart(network, network.user_vectors)
        self.categories_part = NetworkPart(network, network.user_encoder.for_categories)
        self.score_part = NetworkPart(network, network.score_encoded)

    def encode_news(self, features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Encode a news table, features of N+1 rows: by name what the other parts read, `vector` (N+1, d) and more."""
        news = encode_table(self.news_part, features, self.news_batch)
        for part in self.relate_parts:
            news = self._related(part, news)
        return news

    def encode_rows(self, features: Mapping[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
        """Encode some rows of a news table as `encode_news` does, where articles do not read others of the table."""
        table = np.concatenate([[0], rows])  # the padding article leads every table
        encoded = self.encode_news({name: values[table] for name, values in features.items()})
        return {name: values[1:] for name, values in encoded.items()}

    def _related(self, part: NetworkPart, news: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return a whole table of articles after they learnt once more of each other: see `NewsEncoder.relate`."""
        encoder, found = self.network.news_encoder, []
        for rows in batches_of(np.arange(len(news[encoder.related])), self.news_batch):
            own = {name: values[filled(rows, padded_size(len(rows)))] for name, values in news.items()}
            messages = news[encoder.message][own[encoder.related]]
            outputs = part.predict_on_batch({"news": own, "messages": messages})
            found.append({name: values[: len(rows)] for name, values in outputs.items()})
        return {name: np.concatenate([outputs[name] for outputs in found]) for name in found[0]}

    def distinct_users(self, log: ImpressionLog, users: np.ndarray) -> DistinctUsers:
        """Find the distinct users of a log, shortest history first, given the model's ids (log users,) of its users."""
        user = users[log.user_of] if self.user_aware else np.zeros(len(log), "int32")
        lengths = np.minimum(log.histories.lengths, self.his_size)[log.history_of]
        key = (lengths * len(log.histories) + log.history_of) * (int(user.max(initial=0)) + 1) + user
        _, first, of_impression = np.unique(key, return_index=True, return_inverse=True)
        return DistinctUsers(log.history_of[first], user[first], lengths[first], of_impression)

    def user_vectors(
        self,
        news: dict[str, np.ndarray],
        log: ImpressionLog,
        users: DistinctUsers,
        members: np.ndarray | None = None,
        categories: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return users without a candidate, or as candidates of some categories (P,) int32 meet them.

        `news` is what `encode_news` gave, `members` (members,) which of the log's distinct users are meant, all where
        left out. The result is (members, …), see `UserEncoder.user_vectors`; with categories (members, P, …), see
        `UserEncoder.for_categories`.
        """
        places, vectors = [], []
        part = self.vectors_part if categories is None else self.user_part
        for batch, states in self._encode_users(part, news, log, users, members):
            if categories is not None:
                tiled = np.tile(categories, (len(keras.tree.flatten(states)[0]), 1))
                states = self.categories_part.predict_on_batch({"state": states, "category": tiled})
            places.append(batch)
            vectors.append(states[: len(batch)])  # what stands behind only fills the batch
        return np.concatenate(vectors)[np.argsort(np.concatenate(places))]

    def _encode_users(
        self,
        part: NetworkPart,
        news: dict[str, np.ndarray],
        log: ImpressionLog,
        users: DistinctUsers,
        members: np.ndarray | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield ascending places (R,) among the members and a part's encoding of these users, R rows or more.

        Lengths are those of all the users, so that few shapes come up, whatever the members.
        """
        members = np.arange(len(users.lengths)) if members is None else members
        edges, done = length_edges(users.lengths, 5), 0
        for batch, length in _by_length(users.lengths[members], edges, [self.users_at_once] * len(edges)):
            rows = members[filled(batch, padded_size(len(batch)))]
            history = log.histories.last(users.histories[rows], length)
            distinct, position_of = _distinct(news, history)
            yield (
                batch,
                part.predict_on_batch({"news": distinct, "history": position_of[history], "user": users.users[rows]}),
            )
            done += len(batch)
            if progress:
                progress(done / len(members))

    def score(
        self,
        news: dict[str, np.ndarray],
        log: ImpressionLog,
        users: np.ndarray,
        progress: Callable[[float], None] | None = None,
        context: Context | None = None,
    ) -> np.ndarray:
        """Score every candidate of a log, (candidates,) float32, in the order of `log.candidates.values`.

        `news` is what `encode_news` gave, `users` (log users,) int32 the model's ids of the log's users; `progress` is
        told the share that is done, now and then; `context` is the log's, for networks that read it.
        """
        return self.score_users(news, log, self.distinct_users(log, users), progress, context)

    def deal(self, log: ImpressionLog, users: DistinctUsers, count: int) -> list[np.ndarray]:
        """Deal impressions out to so many workers, in ascending rows: users whole, and of like histories together."""
        of_users = np.bincount(users.of_impression, log.candidates.lengths, len(users.lengths)) + users.lengths
        done = np.cumsum(of_users)
        worker = np.minimum((done - of_users / 2) / done[-1] * count, count - 1).astype(int)
        return [np.flatnonzero(worker[users.of_impression] == index) for index in range(count)]

    def score_some(
        self,
        news: dict[str, np.ndarray],
        log: ImpressionLog,
        users: DistinctUsers,
        impressions: np.ndarray,
        progress: Callable[[float], None] | None = None,
        context: Context | None = None,
    ) -> Ragged:
        """Score the candidates of some impressions, (I,) ascending rows of a log, as `score_users` scores all."""
        names = ("history_of", "user_of", "time", "impression_id")
        shown = log.candidates.take(impressions)
        piece = replace(log, candidates=shown, **{name: getattr(log, name)[impressions] for name in names})
        of_piece = replace(users, of_impression=users.of_impression[impressions])
        scores = self.score_users(news, piece, of_piece, progress, context and replace(context, log=piece))
        return Ragged(scores, shown.offsets)

    def score_users(
        self,
        news: dict[str, np.ndarray],
        log: ImpressionLog,
        users: DistinctUsers,
        progress: Callable[[float], None] | None = None,
        context: Context | None = None,
    ) -> np.ndarray:
        """Score every candidate of a log for users that were found already, as `score` does.

        Those of `users` that no impression has are passed over: a log may be scored piece by piece.
        """
        context = context and context.only(self.network.context)
        members, user_of = np.unique(users.of_impression, return_inverse=True)
        by_user = np.argsort(user_of, kind="stable")
        bounds = np.searchsorted(user_of[by_user], np.arange(len(members) + 1))
        num_news = len(next(iter(news.values())))
        scores = np.empty(len(log.candidates.values), "float32")
        for batch, states in self._encode_users(self.user_part, news, log, users, members, progress):
            impressions = by_user[bounds[batch[0]] : bounds[batch[-1] + 1]]
            places = log.candidates.places(impressions)
            user = places.repeat(user_of[impressions] - batch[0])
            candidates, slots = log.candidates.values[places.values], places.values
            if self.network.context:
                of_each = context.of(places.repeat(impressions), candidates)
                scores[slots] = self._score_states(news, states, np.bincount(user), candidates, of_each)
                continue
            # A user may be shown an article in several impressions; it is scored once.
            shown, place = np.unique(user * num_news + candidates, return_inverse=True)
            user, candidates = np.divmod(shown, num_news)
            scores[slots] = self._score_states(news, states, np.bincount(user), candidates)[place]
        return scores

    def _score_states(
        self,
        news: dict[str, np.ndarray],
        users: Any,
        counts: np.ndarray,
        candidates: np.ndarray,
        context: np.ndarray | None = None,
    ) -> np.ndarray:
        """Score candidates (C,), user after user, for R encoded users: `counts` of them each, none for users behind."""
        user_of, starts, counts = _cut(counts, self.candidates_of_a_user)
        distinct, position_of = _distinct(news, candidates)
        users = keras.tree.map_structure(keras.ops.convert_to_tensor, users)
        scores = np.empty(len(candidates), "float32")
        edges = growing_edges(counts)
        for members, size in _by_length(counts, edges, self.candidates_at_once // edges):
            rows = members[filled(np.arange(len(members)), padded_size(len(members)))]
            place = np.arange(padded_size(size))
            real = place < counts[rows, None]
            slots = np.where(real, starts[rows, None] + place, 0)
            batch = {
                "news": distinct,
                "users": users,
                "user": user_of[rows],
                "candidates": np.where(real, position_of[candidates[slots]], 0),
                **({} if context is None else {"context": context[slots]}),
            }
            own = real[: len(members)]
            scored = self.score_part.predict_on_batch(batch)
            scores[slots[: len(members)][own]] = scored[: len(members)][own]
        return scores


def _by_length(lengths: np.ndarray, edges: np.ndarray, batch_sizes: Sequence[int]) -> Iterator[tuple[np.ndarray, int]]:
    """Yield (members, length): indices that fit the length, a batch of them at a time."""
    group_of = np.searchsorted(edges, lengths)
    by_group = [batches_of(np.flatnonzero(group_of == group), size) for group, size in enumerate(batch_sizes)]
    for group, batch in remainders_first(by_group):
        yield batch, int(edges[group])


def _distinct(news: dict[str, np.ndarray], rows: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    """Return the distinct ones among some rows of the news, padding first, and where each row of the table stands."""
    num_news = len(next(iter(news.values())))
    distinct = distinct_rows(num_news, rows)
    position_of = np.zeros(num_news, "int32")
    position_of[distinct] = np.arange(len(distinct))
    fill = filled(distinct, padded_size(len(distinct)))
    return {name: keras.ops.convert_to_tensor(values[fill]) for name, values in news.items()}, position_of


def _cut(counts: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut each user's run of candidates into pieces of at most `size`: (user, start, count) of each piece."""
    pieces = -(-counts // size)
    user_of = np.repeat(np.arange(len(counts)), pieces)
    skipped = size * (np.arange(len(user_of)) - np.repeat(np.cumsum(pieces) - pieces, pieces))
    return user_of, (np.cumsum(counts) - counts)[user_of] + skipped, np.minimum(counts[user_of] - skipped, size)


def score_directly(
    network: Any,
    features: Mapping[str, np.ndarray],
    log: ImpressionLog,
    users: np.ndarray,
    his_size: int,
    context: Context | None = None,
) -> np.ndarray:
    """Score a log as training would, impression by impression in batches, each candidate's user computed for it alone.

    The plain form that `LogScorer` must agree with; the arguments are those of `LogScorer` and its methods.
    """
    context = context and context.only(network.context)
    scores = np.empty(len(log.labels), "float32")
    sizes = log.candidates.lengths
    together = int(np.clip(network.click_predictor.candidates_at_once // sizes.max(), 1, 32))
    for impressions in batches_of(np.arange(len(log)), together):
        width = int(sizes[impressions].max())
        real = np.arange(width) < sizes[impressions, None]
        slots = np.where(real, log.candidates.offsets[impressions, None] + np.arange(width), 0)
        history = log.histories.last(log.history_of[impressions], his_size)
        candidates = np.where(real, log.candidates.values[slots], 0)
        clicked = with_related(features, history, network.news_encoder.hops)
        rows = np.unique(np.concatenate([[0], clicked, candidates.ravel()]))
        position_of = np.zeros(len(next(iter(features.values()))), "int32")
        position_of[rows] = np.arange(len(rows))
        sample = {
            "history": position_of[history],
            "user": users[log.user_of[impressions]],
            "row": np.arange(len(impressions), dtype="int32"),
            "candidates": position_of[candidates],
        }
        if network.context:
            sample["context"] = context.of(impressions, log.candidates.values[slots])
        news = refer({name: array[rows] for name, array in features.items()}, position_of)
        batch = {"news": (news,), "samples": (sample,)}
        scores[slots[real]] = network.predict_on_batch(batch)[real]
    return scores
