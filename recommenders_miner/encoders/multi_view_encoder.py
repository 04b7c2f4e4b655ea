"""NAML's news encoder, which sees a news from several sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from recommenders_miner.encoders.category_encoder import CategoryEncoder
from recommenders_miner.encoders.news_encoder import NewsEncoder
from recommenders_miner.encoders.token_vectors import TokenVectors
from recommenders_miner.layers import AdditiveAttention, WordConvolution


@keras.saving.register_keras_serializable(package="recommenders_miner")
class MultiViewEncoder(NewsEncoder):
    """Texts and labels of a news, a vector each, pooled by attention over these views.

        r^t, r^b = texts through a CNN and additive attention      r^c, r^sc = f(V e + v) of the labels
        r        = Σ_i α_i r^i,   α = softmax_i(q^T tanh(U r^i + u))

    A text without words has no view: it is left out of the attention.

    Wu et al., "Neural News Recommendation with Attentive Multi-View Learning" (NAML), IJCAI 2019, Section 3.1.

    Args:
        words: the vectors of the words of all the texts.
        convolutions: what sets the words into context, one for each of `texts`, each of d filters.
        labels: encoders of labels, each of dimension d.
        texts: the features that are read as words.
        attention_dim: hidden dimension of the additive attentions.

    Call arguments:
        features: dict with every feature of `texts`, (U, L) int32, zeros behind the words, and of `labels`, (U,) int32.

    Returns:
        (U, d) news vectors.
    """

    PARTS = ("words", "convolutions", "labels")

    def __init__(
        self,
        words: TokenVectors,
        convolutions: Sequence[WordConvolution],
        labels: Sequence[CategoryEncoder],
        texts: Sequence[str] = ("title", "abstract"),
        attention_dim: int = 200,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.config = {"texts": list(texts), "attention_dim": attention_dim}
        self.words, self.convolutions, self.labels = words, list(convolutions), list(labels)
        self.features = (*texts, *(label.features[0] for label in labels))
        self.dim = self.convolutions[0].config["filters"]
        self.word_poolings = [AdditiveAttention(attention_dim, dtype=self.dtype_policy) for _ in texts]
        self.view_pooling = AdditiveAttention(attention_dim, dtype=self.dtype_policy)

    def call(self, features: dict[str, Any], training: bool | None = None) -> Any:
        """See the class for the shapes."""
        views, seen = self.views(features, training=training)
        return self.view_pooling(views, mask=seen)

    def views(self, features: dict[str, Any], training: bool | None = None) -> tuple[Any, Any]:
        """Returns the views (U, V, d), in the order of `self.features`, and which of them a news has, (U, V) bool."""
        views, seen = [], []
        for text, convolution, pooling in zip(self.config["texts"], self.convolutions, self.word_poolings, strict=True):
            mask = ops.not_equal(features[text], 0)
            words = self.words(features[text], training=training)
            views.append(pooling(convolution(words, training=training), mask=mask))
            seen.append(ops.any(mask, axis=-1))
        for label in self.labels:
            views.append(label(features, training=training))
            seen.append(ops.ones_like(seen[0]))
        return ops.stack(views, axis=1), ops.stack(seen, axis=1)
