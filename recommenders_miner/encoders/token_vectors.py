"""Sequences of words or entities as vectors."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recommenders_miner.layers import CompositeLayer


@keras.saving.register_keras_serializable(package="recommenders_miner")
class TokenVectors(CompositeLayer):
    """The vectors of a title's words (or of other ids), exactly zero behind the last one.

    The zeros make a news vector independent of the length that its title is padded to, also under a convolution, whose
    window reaches beyond the last word.

    Args:
        vocabulary_size: rows of the embedding: padding (0), unknown (1), then words or entities.
        dim: dimension of a vector.
        dropout: share of activations dropped in training.
        initializer: the embedding's; `PretrainedVectors` to start from vectors of one's own.
        trained: whether training changes the vectors.

    Call arguments:
        ids: (U, L) int32, 0 behind the last.

    Returns:
        (U, L, dim).
    """

    PARTS = ("initializer",)

    def __init__(
        self,
        vocabulary_size: int,
        dim: int,
        dropout: float = 0.0,
        initializer: str | keras.initializers.Initializer = "uniform",
        trained: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.config = {"vocabulary_size": vocabulary_size, "dim": dim, "dropout": dropout, "trained": trained}
        self.initializer = keras.initializers.get(initializer)
        self.embedding = keras.layers.Embedding(
            vocabulary_size,
            dim,
            embeddings_initializer=self.initializer,
            trainable=trained,
            dtype=self.dtype_policy,
        )
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def call(self, ids: Any, training: bool | None = None) -> Any:
        """See the class for the shapes."""
        vectors = self.dropout(self.embedding(ids), training=training)
        return vectors * ops.cast(ops.not_equal(ids, 0), vectors.dtype)[..., None]
