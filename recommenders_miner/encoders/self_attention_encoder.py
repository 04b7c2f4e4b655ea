"""NRMS' title encoder, for entities as well."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recommenders_miner.encoders.news_encoder import NewsEncoder
from recommenders_miner.encoders.token_vectors import TokenVectors
from recommenders_miner.layers import AdditiveAttention, SelfAttention


@keras.saving.register_keras_serializable(package="recommenders_miner")
class SelfAttentionEncoder(NewsEncoder):
    """A title as words that attend to each other, then pooled by additive attention.

    Wu et al., "Neural News Recommendation with Multi-Head Self-Attention" (NRMS), EMNLP 2019, Section 2.1.

    Args:
        words: the vectors of a title's words.
        num_heads: attention heads.
        head_dim: dimension of a head; the news vector has d = num_heads · head_dim.
        attention_dim: hidden dimension of the additive attention.
        dropout: share of activations dropped in training, after the self-attention.
        feature: what is read, `title` or another feature of ids with zeros behind.

    Call arguments:
        features: dict with the feature, (U, L) int32, zeros behind the words.

    Returns:
        (U, d) news vectors; zero for a title without words.
    """

    PARTS = ("words",)

    def __init__(
        self,
        words: TokenVectors,
        num_heads: int = 20,
        head_dim: int = 20,
        attention_dim: int = 200,
        dropout: float = 0.2,
        feature: str = "title",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.config = {
            "num_heads": num_heads,
            "head_dim": head_dim,
            "attention_dim": attention_dim,
            "dropout": dropout,
            "feature": feature,
        }
        self.features, self.dim = (feature,), num_heads * head_dim
        self.words = words
        self.self_attention = SelfAttention(num_heads, head_dim, dtype=self.dtype_policy)
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.pooling = AdditiveAttention(attention_dim, dtype=self.dtype_policy)

    def call(self, features: dict[str, Any], training: bool | None = None) -> Any:
        """See the class for the shapes."""
        ids = features[self.config["feature"]]
        mask = ops.not_equal(ids, 0)
        words = self.words(ids, training=training)
        words = self.dropout(self.self_attention(words, mask=mask), training=training)
        return self.pooling(words, mask=mask)
