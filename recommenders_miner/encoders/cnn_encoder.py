"""LSTUR's title encoder."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recommenders_miner.encoders.news_encoder import NewsEncoder
from recommenders_miner.encoders.token_vectors import TokenVectors
from recommenders_miner.layers import AdditiveAttention


@keras.saving.register_keras_serializable(package="recommenders_miner")
class CNNTitleEncoder(NewsEncoder):
    """A title through a convolution over its words, pooled by additive attention.

    An et al., "Neural News Recommendation with Long- and Short-term User Representations" (LSTUR), ACL 2019, Section
    3.1; the same title encoder serves NAML (IJCAI 2019).

    Args:
        words: the word vectors of a title.
        filters: filters of the convolution, the news vector's dimension d.
        window: words under a filter.
        activation: what follows the convolution.
        attention_dim: hidden dimension of the additive attention.
        dropout: share of activations dropped in training, after the convolution.

    Call arguments:
        features: dict with `title` (U, L) int32, zeros behind the words.

    Returns:
        (U, d) news vectors; zero for a title without words.
    """

    PARTS = ("words",)
    features = ("title",)

    def __init__(
        self,
        words: TokenVectors,
        filters: int = 400,
        window: int = 3,
        activation: str = "relu",
        attention_dim: int = 200,
        dropout: float = 0.2,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.config = {
            "filters": filters,
            "window": window,
            "activation": activation,
            "attention_dim": attention_dim,
            "dropout": dropout,
        }
        self.words, self.dim = words, filters
        self.convolution = keras.layers.Conv1D(
            filters, window, padding="same", activation=activation, dtype=self.dtype_policy
        )
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.pooling = AdditiveAttention(attention_dim, dtype=self.dtype_policy)

    def call(self, features: dict[str, Any], training: bool | None = None) -> Any:
        """See the class for the shapes."""
        mask = ops.not_equal(features["title"], 0)
        words = self.convolution(self.words(features["title"], training=training))
        return self.pooling(self.dropout(words, training=training), mask=mask)
