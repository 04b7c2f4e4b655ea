"""LSTUR's title encoder."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recommenders_miner.encoders.news_encoder import NewsEncoder
from recommenders_miner.encoders.token_vectors import TokenVectors
from recommenders_miner.layers import AdditiveAttention, WordConvolution


@keras.saving.register_keras_serializable(package="recommenders_miner")
class CNNEncoder(NewsEncoder):
    """A title through a convolution over its words, pooled by additive attention.

    An et al., "Neural News Recommendation with Long- and Short-term User Representations" (LSTUR), ACL 2019, Section
    3.1.

    Args:
        words: the vectors of a title's words.
        convolution: what sets them into context; its filters are the news vector's dimension d.
        attention_dim: hidden dimension of the additive attention.

    Call arguments:
        features: dict with `title` (U, L) int32, zeros behind the words.

    Returns:
        (U, d) news vectors; zero for a title without words.
    """

    PARTS = ("words", "convolution")
    features = ("title",)

    def __init__(
        self, words: TokenVectors, convolution: WordConvolution, attention_dim: int = 200, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.config = {"attention_dim": attention_dim}
        self.words, self.convolution, self.dim = words, convolution, convolution.config["filters"]
        self.pooling = AdditiveAttention(attention_dim, dtype=self.dtype_policy)

    def call(self, features: dict[str, Any], training: bool | None = None) -> Any:
        """See the class for the shapes."""
        title = features["title"]
        contexts = self.convolution(self.words(title, training=training), training=training)
        return self.pooling(contexts, mask=ops.not_equal(title, 0))
