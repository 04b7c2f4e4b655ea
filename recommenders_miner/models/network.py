"""The network that all the systems share: news encoder, user encoder, click predictor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from recommenders_miner.data.features import NewsFeatures
from recommenders_miner.encoders import NewsEncoder
from recommenders_miner.layers import CompositeLayer, DotProduct

Tensor = Any
News = dict[str, Tensor]
Users = Any
"""Whatever stands for B users: an array, or a structure of arrays, of B rows."""


class Interests(NamedTuple):
    """Click scores taken apart by the interests of a user, `s = Σ_k weight_k · score_k`.

    Attributes:
        names: what the K interests are called.
        scores: (B, C, K) float32, what each says of a candidate.
        weights: (B, C, K) float32, how each enters the click score.
    """

    names: Sequence[str]
    scores: Tensor
    weights: Tensor


class UserEncoder(CompositeLayer):
    """What turns a history into a user; each paper's own is a subclass.

    A user encoder overrides `encode_history`. If all of the candidate matters to the user, `encode_history` returns what the click
    predictor needs to finish the user. If only the candidate's category does, the user encoder overrides `call`, the
    direct form, and gives evaluation its cheaper equal in two parts: `encode_history`, whose result serves all candidates of a
    history, and `bind_candidates`, which makes of it what the click predictor reads. `for_categories` gives the users themselves.

    Attributes:
        columns: features of a news that it reads beside the news encoder's output, as `category`.
        candidate_aware: whether the user depends on the candidate's category.
        users_at_once: histories that evaluation encodes in one step; what `encode_history` returns of one decides it.
    """

    columns: tuple[str, ...] = ()
    candidate_aware = False
    users_at_once = 512

    def encode_history(self, history: News, mask: Tensor, user: Tensor, training: bool | None = None) -> Users:
        """Encodes histories without a candidate.

        Args:
            history: the news at each position: `vector` (B, M, d) or what else the news encoder returns, and `columns`.
            mask: (B, M) bool, true at a click.
            user: (B,) int32 user ids.
            training: whether dropout is on.

        Returns:
            Whatever stands for the user: an array, or a structure of arrays, of B rows. Axis 1 of an array may be as
            long as the history or a title, if zeros behind change nothing.
        """
        raise NotImplementedError

    def bind_candidates(self, state: Users, candidates: News) -> Users:
        """Returns B encodings as the click predictor reads them for their candidates, `category` (B, C) and so on."""
        return state

    def for_categories(self, state: Users, category: Tensor) -> Users:
        """Fits B encodings to P candidate categories each, (B, P) int32; returns users (B, P, …)."""
        raise NotImplementedError

    def user_vectors(self, history: News, mask: Tensor, user: Tensor) -> Tensor:
        """Returns one array of users (B, …) that no candidate has a part in, to look at or to search with."""
        return self.encode_history(history, mask, user)

    def attention_weights(self, history: News, mask: Tensor, user: Tensor, candidates: News) -> Tensor | None:
        """Says which clicks the user's interests are made of; the arguments are those of `call`.

        Returns:
            The share that each interest has of each click, (B, C, K, M), or (B, 1, K, M) where no candidate has a part
            in it; shares add up to 1, padding has none. None where this encoder pays no attention to clicks.
        """
        return None

    def call(self, history: News, mask: Tensor, user: Tensor, candidates: News, training: bool | None = None) -> Users:
        """Returns the user of each sample, (B, …), or of each sample and candidate, (B, C, …)."""
        return self.encode_history(history, mask, user, training=training)


class ClickPredictor(CompositeLayer):
    """What turns users and candidates into scores; each kind is a subclass.

    Attributes:
        columns: features of a candidate that it reads beside the news encoder's output.
        candidates_at_once: candidates that evaluation scores in one step, at most; what a candidate takes of memory
            decides it.
        candidates_of_a_user: candidates in one row of such a step, at most. Rows are padded to equal lengths: 1, which
            pads nothing, is for predictors to which a candidate costs much more than to repeat its user.
        not_searchable: why a large pool cannot be searched by the inner products of users (`UserEncoder.user_vectors`) and
            the news' `vector`; empty where these are the score, or at least a part that finds what scores high.
    """

    columns: tuple[str, ...] = ()
    candidates_at_once = 65_536
    candidates_of_a_user = 65_536
    not_searchable = "its click predictor scores a user and a candidate together"
    pretrained_weights: Sequence[Any] = ()

    def call(self, users: Users, candidates: News, mask: Tensor | None = None, training: bool | None = None) -> Tensor:
        """Scores candidates.

        Args:
            users: what the user encoder returned, (B, …) or (B, C, …).
            candidates: the candidates: `vector` (B, C, d) or what else the news encoder returns, and `columns`.
            mask: (B, C) bool, false for padding. A candidate's score must not depend on others; losses may.
            training: whether losses are added.

        Returns:
            (B, C) float32.
        """
        raise NotImplementedError

    def prepare(self, news: News) -> News:
        """Returns what `call` would make of each news by itself, by name, so that evaluation does it once a news."""
        return {}

    def interests(self, users: Users, candidates: News) -> Interests | None:
        """Takes the scores that `call` gives apart; None where a user is one interest, whose score is the score."""
        return None

    def attention_weights(self, users: Users, candidates: News) -> Tensor | None:
        """Returns what `UserEncoder.attention_weights` does, where it is the candidate that attends to the clicks."""
        return None


@keras.saving.register_keras_serializable(package="recommenders_miner")
class DotProductPredictor(ClickPredictor):
    """The dot product of the user's and the candidate's vector, as in most systems."""

    not_searchable = ""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dot_product = DotProduct(dtype=self.dtype_policy)

    def call(self, users: Users, candidates: News, mask: Tensor | None = None, training: bool | None = None) -> Tensor:
        """Returns scores (B, C) of users (B, d) or (B, C, d)."""
        return self.dot_product(users, candidates["vector"])


@keras.saving.register_keras_serializable(package="recommenders_miner")
class NewsRecommender(keras.Model):
    """Scores the candidates of impressions: `s = click_predictor(user_encoder(history), news_encoder(candidate))`.

    It is a plain Keras model on the batches of `TrainingBatches`: compile it with a categorical cross-entropy from
    logits and it trains as Eq. 6 of the MINER paper says (NCE over one click and the non-clicks beside it). Each
    distinct news of a batch is encoded once, whatever the number of places where it stands.

    Args:
        news_encoder: from a dict of features, U rows each, to vectors (U, d), or to a dict of arrays.
        user_encoder: from histories to users.
        click_predictor: from users and candidates to scores; their dot product where left out.
    """

    PARTS = ("news_encoder", "user_encoder", "click_predictor")

    def __init__(
        self,
        news_encoder: NewsEncoder,
        user_encoder: UserEncoder,
        click_predictor: ClickPredictor | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.news_encoder = news_encoder
        self.user_encoder = user_encoder
        self.click_predictor = click_predictor or DotProductPredictor()

    @property
    def columns(self) -> tuple[str, ...]:
        """Features of a news that user encoder and click predictor read beside the news encoder's output."""
        return tuple(dict.fromkeys((*self.user_encoder.columns, *self.click_predictor.columns)))

    @property
    def pretrained_weights(self) -> list[Any]:
        """Weights that come from a pretrained language model."""
        return [*self.news_encoder.pretrained_weights, *self.click_predictor.pretrained_weights]

    def prepare(self, features: NewsFeatures) -> dict[str, np.ndarray]:
        """Returns the features that the network reads of a table's news, by name, N+1 rows each.

        Args:
            features: the table's features, which may keep what is costly on disk.
        """
        return {**self.news_encoder.prepare(features), **{name: features[name] for name in self.columns}}

    def encode_news(self, features: News, training: bool | None = None) -> News:
        """Encodes U news: `vector` (U, d), or the arrays that the news encoder returns, and `columns`."""
        encoded = self.news_encoder(features, training=training)
        news = encoded if isinstance(encoded, dict) else {"vector": encoded}
        return {**news, **{name: features[name] for name in self.columns}}

    def call(self, inputs: dict[str, Any], training: bool | None = None) -> Tensor:
        """Scores a batch in the form of `TrainingBatches`; (B, C) float32, -1e9 for padding candidates."""
        news = _joined([self.encode_news(features, training=training) for features in inputs["news"]])
        samples = inputs["samples"]
        users = _joined([self._users(news, sample, training) for sample in samples])
        positions = ops.concatenate([sample["candidates"] for sample in samples])
        mask = positions > 0
        scores = self.score(users, _gather(news, positions), mask, training=training)
        return ops.where(mask, scores, -1e9)

    def _users(self, news: News, sample: News, training: bool | None) -> Users:
        """Encodes the user of each sample: once a reader, or for each sample's candidates where they matter."""
        positions, user, reader = sample["history"], sample["user"], sample["reader"]
        if self.user_encoder.candidate_aware:
            positions, user = ops.take(positions, reader, axis=0), ops.take(user, reader, axis=0)
        candidates = _gather(news, sample["candidates"])
        users = self.user_encoder(_gather(news, positions), positions > 0, user, candidates, training=training)
        return users if self.user_encoder.candidate_aware else _rows(users, reader)

    def score(self, users: Users, candidates: News, mask: Tensor, training: bool | None = None) -> Tensor:
        """Scores candidates for users, in training and in evaluation alike: see `ClickPredictor.call`."""
        return self.click_predictor(users, candidates, mask=mask, training=training)

    # === The steps of evaluation, in which news, readers and candidates are apart ===

    def encode_table(self, features: News) -> News:
        """Encodes U news as `encode_news` does, with what the click predictor makes of each beside."""
        news = self.encode_news(features)
        return {**news, **self.click_predictor.prepare(news)}

    def encode_users(self, news: News, history: Tensor, user: Tensor) -> Users:
        """Encodes readers, whose histories (R, M) are positions in the news: see `UserEncoder.encode_history`."""
        return self.user_encoder.encode_history(_gather(news, history), history > 0, user)

    def user_vectors(self, news: News, history: Tensor, user: Tensor) -> Tensor:
        """Encodes readers to look at: see `UserEncoder.user_vectors`."""
        return self.user_encoder.user_vectors(_gather(news, history), history > 0, user)

    def score_encoded(self, news: News, users: Users, user: Tensor, candidates: Tensor) -> Tensor:
        """Scores candidates, (B, C) positions in the news, for rows `user` (B,) of what `encode_users` gave."""
        gathered = _gather(news, candidates)
        return self.score(self.user_encoder.bind_candidates(_rows(users, user), gathered), gathered, candidates > 0)

    # === Saving ===

    def save_weights(self, filepath: str | Path, overwrite: bool = True, max_shard_size: float | None = None) -> None:
        """Saves all weights as Keras does; a name without an ending gets .weights.h5, which Keras asks for."""
        path = Path(filepath)
        super().save_weights(path if path.suffix else f"{path}.weights.h5", overwrite, max_shard_size)

    def load_weights(self, filepath: str | Path, skip_mismatch: bool = False, **kwargs: Any) -> None:
        """Loads what `save_weights` saved, by the same name."""
        path = Path(filepath)
        super().load_weights(path if path.suffix or path.exists() else f"{path}.weights.h5", skip_mismatch, **kwargs)

    def build(self, input_shape: Any = None) -> None:
        """Creates all weights, by one forward pass over a batch of two words."""
        news = {**self.news_encoder.example(), **{name: ops.ones((1,), "int32") for name in self.columns}}
        positions = ops.zeros((1, 2), "int32")
        row = ops.zeros((1,), "int32")
        sample = {"history": positions, "user": row, "reader": row, "candidates": positions}
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


def _rows(structure: Any, index: Tensor) -> Any:
    """Takes rows of every array of a structure."""
    return keras.tree.map_structure(lambda array: ops.take(array, index, axis=0), structure)


def _gather(news: News, positions: Tensor) -> News:
    """Looks every feature of the news up at some positions."""
    return {name: ops.take(values, positions, axis=0) for name, values in news.items()}


def _joined(groups: list[Any]) -> Any:
    """Joins structures of arrays row by row; where axis 1 is longer in one group, the others get zeros behind."""
    return keras.tree.map_structure(lambda *arrays: _concatenated(arrays), *groups)


def _concatenated(arrays: Sequence[Tensor]) -> Tensor:
    lengths = [array.shape[1] for array in arrays if len(array.shape) > 1]
    if len(set(lengths)) > 1:
        arrays = [
            ops.pad(array, [(0, 0), (0, max(lengths) - length), *[(0, 0)] * (len(array.shape) - 2)])
            for array, length in zip(arrays, lengths, strict=True)
        ]
    return ops.concatenate(arrays)
