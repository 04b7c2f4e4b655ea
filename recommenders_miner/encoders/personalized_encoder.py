"""NPA's news encoder, up to where the user comes in."""

from __future__ import annotations

from typing import Any

import keras

from recommenders_miner.encoders.news_encoder import NewsEncoder
from recommenders_miner.encoders.token_vectors import TokenVectors
from recommenders_miner.layers import PersonalizedAttention, WordConvolution


@keras.saving.register_keras_serializable(package="recommenders_miner")
class PersonalizedEncoder(NewsEncoder):
    """The words of a title in context, and the keys by which each user weighs them: all of a news that no user changes.

    Which words count is up to the user, so a news has no vector by itself. But its convolution and its keys, which are
    nearly all of the work, serve every user; `pool_by_query` turns them into the vector that one user sees.

    Wu et al., "NPA: Neural News Recommendation with Personalized Attention", KDD 2019, Sections 3.1 and 3.3.

    Args:
        words: the vectors of a title's words.
        convolution: what sets them into context; its filters are the dimension d of a news' vector.
        attention_dim: length q of queries and keys.

    Call arguments:
        features: dict with `title` (U, L) int32, zeros behind the words.

    Returns:
        dict of `words` (U, L, d), `keys` (U, L, q) and `title` (U, L) int32.
    """

    PARTS = ("words", "convolution")
    features = ("title",)

    def __init__(
        self, words: TokenVectors, convolution: WordConvolution, attention_dim: int = 200, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.config = {"attention_dim": attention_dim}
        self.words, self.convolution, self.dim = words, convolution, convolution.config["filters"]
        self.attention = PersonalizedAttention(attention_dim, dtype=self.dtype_policy)

    def call(self, features: dict[str, Any], training: bool | None = None) -> dict[str, Any]:
        """See the class for the shapes."""
        words = self.convolution(self.words(features["title"], training=training), training=training)
        return {"words": words, "keys": self.attention.keys(words), "title": features["title"]}
