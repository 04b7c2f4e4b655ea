"""Categories and subcategories as vectors, alone and beside other encoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from recommenders_miner.data.features import NewsFeatures
from recommenders_miner.encoders.base import NewsEncoder
from recommenders_miner.encoders.initial_vectors import random_vectors
from recommenders_miner.hparams import HParams, hparam


class CategoryHParams(HParams):
    """Hyperparameters of category embeddings."""

    vert_emb_dim: int = hparam("model", 100, "dimension of category embeddings", ge=1)
    subvert_emb_dim: int = hparam("model", 100, "dimension of subcategory embeddings", ge=1)


@keras.saving.register_keras_serializable(package="recommenders_miner")
class CategoryEncoder(NewsEncoder):
    """One vector per category or subcategory.

    Args:
        feature: the feature that holds the id, `category` or `subcategory`.
        vocabulary_size: rows of the embedding, padding and unknown included.
        dim: dimension of the vector.
        projected_dim: dimension of a dense layer behind it, as NAML has one; None leaves it out.
        activation: what follows the dense layer.

    Call arguments:
        features: dict with the feature, (U,) int32.

    Returns:
        (U, projected_dim or dim).
    """

    def __init__(
        self,
        feature: str,
        vocabulary_size: int,
        dim: int,
        projected_dim: int | None = None,
        activation: str = "relu",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.config = {
            "feature": feature,
            "vocabulary_size": vocabulary_size,
            "dim": dim,
            "projected_dim": projected_dim,
            "activation": activation,
        }
        self.features, self.dim = (feature,), projected_dim or dim
        self.embedding = keras.layers.Embedding(
            vocabulary_size, dim, embeddings_initializer=random_vectors(), dtype=self.dtype_policy
        )
        self.projection = (
            keras.layers.Dense(projected_dim, activation=activation, dtype=self.dtype_policy) if projected_dim else None
        )

    def call(self, features: dict[str, Any], training: bool | None = None) -> Any:
        """See the class for the shapes."""
        vector = self.embedding(features[self.config["feature"]])
        return vector if self.projection is None else self.projection(vector)


@keras.saving.register_keras_serializable(package="recommenders_miner")
class ConcatenatedEncoder(NewsEncoder):
    """Several news encoders side by side, their vectors concatenated.

    Args:
        parts: news encoders.

    Call arguments:
        features: dict with every feature that a part reads.

    Returns:
        (U, sum of the parts' dimensions).
    """

    PARTS = ("parts",)

    def __init__(self, parts: Sequence[keras.layers.Layer], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.parts = list(parts)
        self.dim = sum(part.dim for part in self.parts)
        self.features = tuple(dict.fromkeys(name for part in self.parts for name in part.features))

    @property
    def pretrained_weights(self) -> list[Any]:
        """The parts' weights that come from a pretrained language model."""
        return [weight for part in self.parts for weight in part.pretrained_weights]

    def prepare(self, features: NewsFeatures) -> dict[str, np.ndarray]:
        """Return what all the parts read, for a whole table."""
        return {name: array for part in self.parts for name, array in part.prepare(features).items()}

    def example(self) -> dict[str, Any]:
        """Return what all the parts read, of one article."""
        return {name: array for part in self.parts for name, array in part.example().items()}

    def call(self, features: dict[str, Any], training: bool | None = None) -> Any:
        """See the class for the shapes."""
        return ops.concatenate([part(features, training=training) for part in self.parts], axis=-1)
