"""The names that Microsoft Recommenders' models give to what ours have too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.tsv import OnError
from recommenders_miner.errors import NoVectorError
from recommenders_miner.evaluation.scoring import score_directly

ByImpression = tuple[list[int], list[np.ndarray], list[np.ndarray]]
"""Impression indices, and the labels and scores of each."""


class RecommendersNames:
    """Recommenders' attributes and methods of a model, for notebooks that were written against them.

    Those that read files take `on_error` besides, as `BaseModel.fit` does.
    """

    @property
    def model(self) -> keras.Model | None:
        """The network; also what Recommenders calls `scorer`."""
        return self.network

    scorer = model

    @property
    def loss(self) -> keras.losses.Loss | None:
        """The loss that the network is compiled with, None before it is."""
        return None if self.network is None else self.network.loss

    @property
    def train_optimizer(self) -> keras.optimizers.Optimizer | None:
        """The optimiser that the network is compiled with, None before it is."""
        return None if self.network is None else self.network.optimizer

    @property
    def newsencoder(self) -> keras.layers.Layer:
        """The network's news encoder."""
        self.require_built()
        return self.network.news_encoder

    @property
    def userencoder(self) -> keras.layers.Layer:
        """The network's user encoder."""
        self.require_built()
        return self.network.user_encoder

    def run_fast_eval(
        self, news_filename: str | Path, behaviors_file: str | Path, on_error: OnError = "raise"
    ) -> ByImpression:
        """Score each impression, articles and histories encoded once; return impression indices, labels and scores."""
        data = self.read(news_filename, behaviors_file, on_error)
        return _by_impression(data.log, self.score_log(data))

    def run_slow_eval(
        self, news_filename: str | Path, behaviors_file: str | Path, on_error: OnError = "raise"
    ) -> ByImpression:
        """Do as `run_fast_eval`, but compute every impression from its words, as in training."""
        data = self.read(news_filename, behaviors_file, on_error)
        features = self.network_features(data)
        scores = score_directly(
            self.network, features, data.log, data.users, self.hparams.his_size, self.context_of(data)
        )
        return _by_impression(data.log, scores)

    def run_news(self, news_filename: str | Path, on_error: OnError = "raise") -> dict[int, np.ndarray]:
        """Encode a news file; return row of the news table (0 is padding) → vector (d,).

        Raises:
            NoVectorError: an article has a vector in view of a user only.
        """
        self.require_built()
        news = self.encode_table(NewsTable.read(news_filename, on_error))
        if "vector" not in news:
            raise NoVectorError(f"{type(self).__name__} has no vector of an article by itself, without a user.")
        return dict(enumerate(news["vector"]))

    def run_user(
        self, news_filename: str | Path, behaviors_file: str | Path, on_error: OnError = "raise"
    ) -> dict[int, Any]:
        """Encode the users of a behaviors file; return impression index → user.

        A user is a vector (d,); for MINER, interest vectors (K, d), without category weights for want of a candidate.
        """
        data = self.read(news_filename, behaviors_file, on_error)
        news = self.log_scorer.encode_news(self.network_features(data))
        users = self.log_scorer.distinct_users(data.log, data.users)
        vectors = self.log_scorer.user_vectors(news, data.log, users)
        return dict(enumerate(vectors[users.of_impression]))


def _by_impression(log: ImpressionLog, scores: np.ndarray) -> ByImpression:
    """Cut flat scores into Recommenders' three lists."""
    cuts = log.candidates.offsets[1:-1]
    return list(range(len(log))), np.split(np.asarray(log.labels), cuts), np.split(scores, cuts)
