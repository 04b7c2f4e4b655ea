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

    Call arguments:
        features: dict with the feature, (U,) int32.

    Returns:
        (U, dim).
    """

    def __init__(self, feature: str, vocabulary_size: int, dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = {"feature": feature, "vocabulary_size": vocabulary_size, "dim": dim}
        self.features, self.dim = (feature,), dim
        self.embedding = keras.layers.Embedding(
            vocabulary_size, dim, embeddings_initializer=random_vectors(), dtype=self.dtype_policy
        )

    def call(self, features: dict[str, Any], training: bool | None = None) -> Any:
        """See the class for the shapes."""
        return self.embedding(features[self.config["feature"]])
