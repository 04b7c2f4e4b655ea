"""Scores of a whole log: each news encoded once, each distinct history once, the candidates scored in bulk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from recommenders_miner.encoders.whole_table import NetworkPart, batches_of, encode_table, filled, padded_size
from recommenders_miner.io.batches import history_matrix
from recommenders_miner.io.impression_log import ImpressionLog
from recommenders_miner.io.news_features import length_edges


class LogScorer:
    """Scores logs with a `NewsRecommender`, without a Python loop over impressions or candidates.

    1. Every news of the table is encoded once, in batches of equal title length.
    2. Every reader, a distinct history (and user, where the user's id matters), is encoded once.
    3. A reader's candidates, from all the impressions that share the history, are scored together, each once. Where a
       user's interests depend on the candidate's category, they are found once per reader and category (SPEC
       identity 1), from sums kept per reader (identity 2).

    Args:
        network: the network, built.
        his_size: newest clicks of a history that are used.
        user_aware: whether two users with the same history differ.
        news_batch: news encoded at once.
        reader_batch: histories encoded at once.
    """

    def __init__(
        self,
        network: Any,
        his_size: int,
        *,
        user_aware: bool = False,
        news_batch: int = 1024,
        reader_batch: int = 128,
    ) -> None:
        self.network, self.his_size, self.user_aware = network, his_size, user_aware
        self.news_batch, self.reader_batch = news_batch, reader_batch
        self.category_aware = network.user_encoder.category_aware
        self.candidates_at_once = network.click_predictor.candidates_at_once
        self.candidates_of_a_user = min(self.candidates_at_once, network.click_predictor.candidates_of_a_user)
        self.news_part = NetworkPart(network, network.encode_news)
        self.user_part = NetworkPart(network, network.user_encoder.encode)
        self.description_part = NetworkPart(network, network.user_encoder.describe)
        self.attend_part = NetworkPart(network, network.user_encoder.attend)
        self.score_part = NetworkPart(network, network.score)

    # === News ===

    def encode_news(self, features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Encodes a news table.

        Args:
            features: arrays of N+1 rows, row 0 the padding news.

        Returns:
            The network's news, by name, N+1 rows each: `vector` (N+1, d) and whatever else its user encoder reads.
        """
        return encode_table(self.news_part, features, self.news_batch)

    # === Readers ===

    def readers(self, log: ImpressionLog, users: np.ndarray) -> Readers:
        """Finds the distinct readers of a log, shortest history first.

        Args:
            log: the log.
            users: (log users,) int32 ids that the model gives to the log's users.
        """
        user = users[log.user_of] if self.user_aware else np.zeros(len(log), "int32")
        key = log.history_of.astype("int64") * (int(user.max(initial=0)) + 1) + user
        _, first, reader_of = np.unique(key, return_index=True, return_inverse=True)
        histories = log.history_of[first]
        lengths = np.minimum(np.diff(log.history_offsets)[histories], self.his_size)
        order = np.argsort(lengths, kind="stable")
        rank = np.empty(len(order), "int64")
        rank[order] = np.arange(len(order))
        return Readers(histories[order], user[first][order], lengths[order], rank[reader_of])

    def describe_users(
        self, news: dict[str, np.ndarray], log: ImpressionLog, users: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the users of a log without a candidate, one a reader, (R, …), and each impression's reader (I,)."""
        readers = self.readers(log, users)
        batches = self._encode_readers(self.description_part, news, log, readers)
        return np.concatenate([states[: len(batch)] for batch, states in batches]), readers.reader_of

    def _encode_readers(
        self, part: NetworkPart, news: dict[str, np.ndarray], log: ImpressionLog, readers: Readers
    ) -> Iterator[tuple[np.ndarray, Any]]:
        """Yields (readers, states): a batch of reader indices (R,), ascending, and a part's encoding of them."""
        edges = length_edges(readers.lengths, 5)
        for batch, length in _by_length(readers.lengths, edges, [self.reader_batch] * len(edges)):
            members = filled(batch, padded_size(len(batch)))
            history = history_matrix(log, readers.histories[members], length)
            states = part.predict_on_batch(
                {
                    "history": _rows(news, history),
                    "mask": history > 0,
                    "user": readers.users[members],
                }
            )
            yield batch, states

    # === Scores ===

    def score(
        self,
        news: dict[str, np.ndarray],
        log: ImpressionLog,
        users: np.ndarray,
        progress: Callable[[float], None] | None = None,
    ) -> np.ndarray:
        """Scores every candidate of a log.

        Args:
            news: what `encode_news` gave.
            log: impressions over those news, labelled or not.
            users: (log users,) int32 ids that the model gives to the log's users.
            progress: told the share that is done, now and then.

        Returns:
            (candidates,) float32, in the order of `log.candidates`.
        """
        readers = self.readers(log, users)
        reader_of = np.repeat(readers.reader_of, np.diff(log.offsets))
        # A reader may be shown a news in several impressions; `place_of` says where each candidate's score will be.
        num_news = int(log.candidates.max(initial=0)) + 1
        shown, place_of = np.unique(reader_of * num_news + log.candidates, return_inverse=True)
        reader_of, candidates = np.divmod(shown, num_news)
        num_categories = int(news["category"].max(initial=0)) + 1 if self.category_aware else 1
        category = news["category"][candidates] if self.category_aware else 0
        pair_of = reader_of * num_categories + category
        order = np.argsort(pair_of, kind="stable")
        pairs, starts, counts = _cut(
            *np.unique(pair_of[order], return_index=True, return_counts=True), self.candidates_of_a_user
        )
        scores = np.empty(len(shown), "float32")
        done = 0
        for batch, states in self._encode_readers(self.user_part, news, log, readers):
            first, last = np.searchsorted(pairs, [batch[0] * num_categories, (batch[-1] + 1) * num_categories])
            users_of_pairs = self._attend(states, *np.divmod(pairs[first:last], num_categories), batch[0])
            edges = length_edges(counts[first:last], 4)
            for members, size in _by_length(counts[first:last], edges, self.candidates_at_once // edges):
                slot = starts[first:last][members, None] + np.arange(size)
                real = np.arange(size) < counts[first:last][members, None]
                slots = order[np.where(real, slot, 0)]
                rows = np.where(real, candidates[slots], 0)
                fill = filled(np.arange(len(members)), padded_size(len(members)))
                width = np.pad(rows[fill], [(0, 0), (0, padded_size(size) - size)])
                block = self.score_part.predict_on_batch(
                    {
                        "users": _rows(users_of_pairs, members[fill]),
                        "candidates": _rows(news, width),
                        "mask": width > 0,
                    }
                )
                scores[slots[real]] = block[: len(members), :size][real]
            done += len(batch)
            if progress:
                progress(done / len(readers.histories))
        return scores[place_of]

    def _attend(self, states: Any, reader: np.ndarray, category: np.ndarray, first_reader: int) -> Any:
        """Returns the user of each (reader, category) pair, the pairs sorted by reader."""
        reader = reader - first_reader
        if not self.category_aware:
            return _rows(states, reader)
        _, starts, counts = np.unique(reader, return_index=True, return_counts=True)
        place = np.arange(len(reader)) - np.repeat(starts, counts)
        rows = len(states["totals"])
        categories = np.zeros((rows, padded_size(int(counts.max()))), "int32")
        categories[reader, place] = category
        return self.attend_part.predict_on_batch({"state": states, "category": categories})[reader, place]


def _by_length(lengths: np.ndarray, edges: np.ndarray, batch_sizes: Sequence[int]) -> Iterator[tuple[np.ndarray, int]]:
    """Yields (members, length): indices that fit the length, a batch of them at a time."""
    group = np.searchsorted(edges, lengths)
    for index, (length, batch_size) in enumerate(zip(edges, batch_sizes, strict=True)):
        for batch in batches_of(np.flatnonzero(group == index), batch_size):
            yield batch, int(length)


def _rows(structure: Any, index: np.ndarray) -> Any:
    """Takes rows of every array of a structure."""
    return keras.tree.map_structure(lambda array: array[index], structure)


def _cut(
    pairs: np.ndarray, starts: np.ndarray, counts: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cuts runs of more than `size` candidates into several of the same pair: (pairs, starts, counts)."""
    pieces = -(-counts // size)
    run = np.repeat(np.arange(len(pairs)), pieces)
    skipped = size * (np.arange(len(run)) - np.repeat(np.cumsum(pieces) - pieces, pieces))
    return pairs[run], starts[run] + skipped, np.minimum(counts[run] - skipped, size)


@dataclass(frozen=True)
class Readers:
    """The distinct readers of a log, sorted by history length.

    Attributes:
        histories: (R,) rows of the log's histories.
        users: (R,) int32 user ids of the model, 0 where they do not matter.
        lengths: (R,) clicks that are used.
        reader_of: (I,) the reader of each impression.
    """

    histories: np.ndarray
    users: np.ndarray
    lengths: np.ndarray
    reader_of: np.ndarray


def score_directly(
    network: Any, features: Mapping[str, np.ndarray], log: ImpressionLog, users: np.ndarray, his_size: int
) -> np.ndarray:
    """Scores a log as training would, impression by impression in batches, each candidate's user computed for it alone.

    The plain form that `LogScorer` must agree with, and the way for networks that cannot be taken apart.

    Args:
        network: the network, built.
        features: arrays of N+1 rows, row 0 the padding news.
        log: impressions over those news.
        users: (log users,) int32 ids that the model gives to the log's users.
        his_size: newest clicks of a history that are used.

    Returns:
        (candidates,) float32, in the order of `log.candidates`.
    """
    scores = np.empty(len(log.candidates), "float32")
    sizes = np.diff(log.offsets)
    together = int(np.clip(network.click_predictor.candidates_at_once // sizes.max(), 1, 32))
    for impressions in batches_of(np.arange(len(log)), together):
        width = int(sizes[impressions].max())
        real = np.arange(width) < sizes[impressions, None]
        slots = np.where(real, log.offsets[impressions, None] + np.arange(width), 0)
        history = history_matrix(log, log.history_of[impressions], his_size)
        candidates = np.where(real, log.candidates[slots], 0)
        rows = np.unique(np.concatenate([[0], history.ravel(), candidates.ravel()]))
        batch = {
            "news": ({name: array[rows] for name, array in features.items()},),
            "samples": (
                {
                    "history": np.searchsorted(rows, history).astype("int32"),
                    "candidates": np.searchsorted(rows, candidates).astype("int32"),
                    "user": users[log.user_of[impressions]],
                },
            ),
        }
        scores[slots[real]] = network.predict_on_batch(batch)[real]
    return scores
