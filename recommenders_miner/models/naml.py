"""NAML: Wu et al., "Neural News Recommendation with Attentive Multi-View Learning", IJCAI 2019."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import pydantic
from keras import ops

from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.encoders import (
    CategoryEncoder,
    CategoryHParams,
    ConvolutionHParams,
    InitialVectors,
    NewsEncoder,
    TokenVectors,
    build_encoder,
    news_encoder,
    word_convolution,
    word_vectors,
)
from recommenders_miner.hparams import Activation, HParams, hparam
from recommenders_miner.layers import AdditiveAttention, News, Tensor, WordConvolution
from recommenders_miner.models.base import BaseModel, register
from recommenders_miner.models.network import NewsRecommender, UserEncoder


class MultiViewHParams(ConvolutionHParams, CategoryHParams):
    """Hyperparameters of NAML's news encoder."""

    body_size: int = hparam("data", 50, "words of an abstract, or a body, that are read", ge=1)
    view_texts: Annotated[list[Literal["title", "abstract", "body"]], pydantic.Field(min_length=1)] = hparam(
        "model", ["title", "abstract"], "the texts that are views; body is a column of articles.parquet"
    )
    dense_activation: Activation = hparam("model", "relu", "activation behind category embeddings")


@news_encoder("multi_view", MultiViewHParams)
class MultiViewEncoder(NewsEncoder):
    """Texts and labels of an article, a vector each, pooled by attention over these views.

        r^t, r^b = texts through a CNN and additive attention      r^c, r^sc = f(V e + v) of the labels
        r        = Σ_i α_i r^i,   α = softmax_i(q^T tanh(U r^i + u))

    A text without words has no view: it is left out of the attention. Section 3.1 of the paper. The texts share their
    words' vectors, each has a convolution of d filters, and each label an encoder of dimension d.
    """

    def __init__(
        self,
        words: TokenVectors,
        convolutions: Sequence[WordConvolution],
        labels: Sequence[CategoryEncoder],
        texts: Sequence[str],
        attention_dim: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.words, self.convolutions, self.labels = words, list(convolutions), list(labels)
        self.features = (*texts, *(label.features[0] for label in labels))
        self.dim = self.convolutions[0].config["filters"]
        self.word_poolings = [AdditiveAttention(attention_dim, dtype=self.dtype_policy) for _ in texts]
        self.view_pooling = AdditiveAttention(attention_dim, dtype=self.dtype_policy)

    @classmethod
    def reads(cls, hparams: HParams) -> tuple[str, ...]:
        """Return the features that such an encoder is made of."""
        return (*hparams.view_texts, "category", "subcategory")

    @classmethod
    def from_hparams(cls, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsEncoder:
        """See `NewsEncoder.from_hparams`."""
        behind = hparams.filter_num, hparams.dense_activation
        labels = [
            CategoryEncoder("category", len(vocabularies.categories), hparams.vert_emb_dim, *behind),
            CategoryEncoder("subcategory", len(vocabularies.subcategories), hparams.subvert_emb_dim, *behind),
        ]
        texts = list(dict.fromkeys(hparams.view_texts))
        words = word_vectors(hparams, vocabularies, vectors)
        convolutions = [word_convolution(hparams) for _ in texts]
        return cls(words, convolutions, labels, texts, hparams.attention_hidden_dim)

    def call(self, features: News, training: bool | None = None) -> Tensor:
        """See the class for the shapes."""
        views, seen = self.views(features, training=training)
        return self.view_pooling(views, mask=seen)

    def views(self, features: News, training: bool | None = None) -> tuple[Tensor, Tensor]:
        """Return the views (U, V, d), in the order of `features`, and which of them an article has, (U, V) bool."""
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


class NAMLUserEncoder(UserEncoder):
    """The clicked articles, pooled by additive attention (Section 3.2)."""

    def __init__(self, attention_dim: int = 200, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pooling = AdditiveAttention(attention_dim, dtype=self.dtype_policy)

    def encode_history(self, history: News, mask: Tensor, user: Tensor, training: bool | None = None) -> Tensor:
        """Return user vectors (B, d); zero for an empty history."""
        return self.pooling(history["vector"], mask=mask)

    def attention_weights(self, history: News, mask: Tensor, user: Tensor, candidates: News) -> Tensor:
        """Return the attention weights of the clicked articles, (B, 1, 1, M)."""
        _, weights = self.pooling(history["vector"], mask=mask, return_weights=True)
        return weights[:, None, None, :]


@register("naml", paper="Wu et al., Neural News Recommendation with Attentive Multi-View Learning, IJCAI", year=2019)
class NAMLModel(BaseModel):
    """NAML: news from title, abstract, category and subcategory (`MultiViewEncoder`); the score is a dot product.

    The paper's settings, those of naml.yaml: 300-d GloVe words, 400 filters of window 3, category embeddings of 100,
    attention 200, dropout 20 %, 4 negatives, Adam. Where an article has no abstract, its view is left out here; the
    paper does not say.
    """

    news_encoder = "multi_view"

    def build_network(self, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsRecommender:
        """Return the untrained network."""
        news_encoder = build_encoder(hparams, vocabularies, vectors)
        return NewsRecommender(news_encoder, NAMLUserEncoder(hparams.attention_hidden_dim))
