"""The network that all the systems share: news encoder, user encoder, click predictor."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from recommenders_miner.encoders import NewsEncoder
from recommenders_miner.io.news_features import NewsFeatures
from recommenders_miner.layers import CompositeLayer, DotProduct

Tensor = Any
News = dict[str, Tensor]


class UserEncoder(CompositeLayer):
    """What turns a history into a user; each paper's own is a subclass.

    A user encoder that does not look at the candidate overrides `encode` alone. One that does overrides `call`, the
    direct form, and gives evaluation its cheaper equal in two parts: `encode`, whose result is kept for a history, and
    `attend`, which fits it to one candidate category.
    """

    category_aware = False

    def encode(self, history: News, mask: Tensor, user: Tensor, training: bool | None = None) -> Any:
        """Encodes histories without a candidate.

        Args:
            history: the features of each position: `vector` (B, M, d), `category` (B, M) int32, ….
            mask: (B, M) bool, true at a click.
            user: (B,) int32 user ids.
            training: whether dropout is on.

        Returns:
            Whatever stands for the user: an array, or a structure of arrays, of B rows.
        """
        raise NotImplementedError

    def attend(self, state: Any, category: Tensor) -> Any:
        """Fits B encodings to P candidate categories each, (B, P) int32; returns users (B, P, …)."""
        raise NotImplementedError

    def describe(self, history: News, mask: Tensor, user: Tensor) -> Tensor:
        """Returns users (B, …) that no candidate has a part in, to look at or to search with."""
        return self.encode(history, mask, user)

    def call(self, history: News, mask: Tensor, user: Tensor, candidates: News, training: bool | None = None) -> Tensor:
        """Returns the user of each sample, (B, …), or of each sample and candidate, (B, C, …)."""
        return self.encode(history, mask, user, training=training)


@keras.saving.register_keras_serializable(package="recommenders_miner")
class NewsRecommender(keras.Model):
    """Scores the candidates of impressions: `s = click_predictor(user_encoder(history), news_encoder(candidate))`.

    It is a plain Keras model on the batches of `TrainingBatches`: compile it with a categorical cross-entropy from
    logits and it trains as Eq. 6 of the MINER paper says (NCE over one click and the non-clicks beside it). Each
    distinct news of a batch is encoded once, whatever the number of places where it stands.

    Args:
        news_encoder: from a dict of features, U rows each, to vectors (U, d).
        user_encoder: a `UserEncoder`.
        click_predictor: layer from users (B, …) and candidate vectors (B, C, d) to scores (B, C); may take a `mask`.
    """

    PARTS = ("news_encoder", "user_encoder", "click_predictor")

    def __init__(
        self,
        news_encoder: NewsEncoder,
        user_encoder: UserEncoder,
        click_predictor: keras.layers.Layer | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.news_encoder = news_encoder
        self.user_encoder = user_encoder
        self.click_predictor = click_predictor or DotProduct()

    def prepare(self, features: NewsFeatures) -> dict[str, np.ndarray]:
        """Returns the features that the network reads of a table's news, by name, N+1 rows each.

        Args:
            features: the table's features, which may keep what is costly on disk.
        """
        return {**self.news_encoder.prepare(features), "category": features["category"]}

    def encode_news(self, features: News, training: bool | None = None) -> News:
        """Encodes U news: `vector` (U, d), and the `category` (U,) that the user encoder may want."""
        return {"vector": self.news_encoder(features, training=training), "category": features["category"]}

    def call(self, inputs: dict[str, Any], training: bool | None = None) -> Tensor:
        """Scores a batch in the form of `TrainingBatches`; (B, C) float32, -1e9 for padding candidates."""
        groups = [self.encode_news(features, training=training) for features in inputs["news"]]
        news = {name: ops.concatenate([group[name] for group in groups]) for name in groups[0]}
        samples = inputs["samples"]
        users = [self._users(news, sample, training) for sample in samples]
        positions = ops.concatenate([sample["candidates"] for sample in samples])
        mask = positions > 0
        scores = self.score(ops.concatenate(users), _gather(news, positions)["vector"], mask, training=training)
        return ops.where(mask, scores, -1e9)

    def _users(self, news: News, sample: News, training: bool | None) -> Tensor:
        history, candidates = _gather(news, sample["history"]), _gather(news, sample["candidates"])
        return self.user_encoder(history, sample["history"] > 0, sample["user"], candidates, training=training)

    def score(self, users: Tensor, candidates: Tensor, mask: Tensor, training: bool | None = None) -> Tensor:
        """Scores candidate vectors (B, C, d) for users (B, …) or (B, C, …), in training and in evaluation alike.

        Args:
            users: what the user encoder returned.
            candidates: (B, C, d).
            mask: (B, C) bool, false for padding.
            training: whether losses are added.

        Returns:
            (B, C) float32.
        """
        return self.click_predictor(users, candidates, mask=mask, training=training)

    # === Saving ===

    def build(self, input_shape: Any = None) -> None:
        """Creates all weights, by one forward pass over a batch of two words."""
        news = {**self.news_encoder.example(), "category": ops.ones((1,), "int32")}
        positions = ops.zeros((1, 2), "int32")
        sample = {"history": positions, "candidates": positions, "user": ops.zeros((1,), "int32")}
        self.call({"news": (news,), "samples": (sample,)}, training=False)
        self.built = True

    def get_build_config(self) -> dict[str, Any]:
        """Returns what `build_from_config` needs: nothing, but Keras calls it only where there is something."""
        return {"input_shape": None}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Creates all weights, for those of a file to be loaded into."""
        self.build()

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make this network again."""
        parts = {part: keras.saving.serialize_keras_object(getattr(self, part)) for part in self.PARTS}
        return {**super().get_config(), **parts}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> NewsRecommender:
        """Makes a network of what `get_config` returned."""
        parts = {part: keras.saving.deserialize_keras_object(config[part]) for part in cls.PARTS}
        return cls(**{**config, **parts})


def _gather(news: News, positions: Tensor) -> News:
    """Looks every feature of the news up at some positions."""
    return {name: ops.take(values, positions, axis=0) for name, values in news.items()}
