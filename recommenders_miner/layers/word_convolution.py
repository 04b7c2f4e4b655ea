"""Words in the context of their neighbours, by a convolution."""

from __future__ import annotations

from typing import Any

import keras

from recommenders_miner.layers.composite_layer import CompositeLayer


@keras.saving.register_keras_serializable(package="recommenders_miner")
class WordConvolution(CompositeLayer):
    """One convolution over the words of a text, then dropout: `c_i = f(F [w_{i-k}; …; w_{i+k}] + b)`.

    Beyond both ends of a text stand zeros, so the words must be zero behind the last one, as `TokenVectors` gives them.

    Args:
        filters: filters of the convolution.
        window: words under a filter, 2k + 1.
        activation: f.
        dropout: share of activations dropped in training.
        **kwargs: arguments of `keras.layers.Layer`.

    Call arguments:
        words: (U, L, e).

    Returns:
        (U, L, filters), in the compute dtype; not zero behind the last word.

    References:
        NPA (KDD 2019), NAML (IJCAI 2019), LSTUR (ACL 2019).
    """

    def __init__(
        self, filters: int = 400, window: int = 3, activation: str = "relu", dropout: float = 0.2, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.config = {"filters": filters, "window": window, "activation": activation, "dropout": dropout}
        self.convolution = keras.layers.Conv1D(
            filters, window, padding="same", activation=activation, dtype=self.dtype_policy
        )
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def call(self, words: Any, training: bool | None = None) -> Any:
        """See the class for the shapes."""
        return self.dropout(self.convolution(words), training=training)
