"""Categories and subcategories as vectors."""

from __future__ import annotations

from typing import Any

import keras

from recommenders_miner.encoders.news_encoder import NewsEncoder, random_vectors


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
