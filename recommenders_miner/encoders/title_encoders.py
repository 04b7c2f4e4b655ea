"""Titles as words: their vectors, and the two encoders over them, NRMS' and LSTUR's."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.encoders.base import NewsEncoder, news_encoder
from recommenders_miner.encoders.initial_vectors import InitialVectors
from recommenders_miner.hparams import HParams, hparam
from recommenders_miner.layers import AdditiveAttention, CompositeLayer, SelfAttention, WordConvolution


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


def word_vectors(hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> TokenVectors:
    """Return the word vectors that an encoder starts with."""
    initializer, dim = vectors.words()
    return TokenVectors(len(vocabularies.words), dim, hparams.dropout, initializer)


class SelfAttentionHParams(HParams):
    """Hyperparameters of multi-head self-attention."""

    head_num: int = hparam("model", 20, "heads of self-attention", ge=1)
    head_dim: int = hparam("model", 20, "dimension of a head", ge=1)


@news_encoder("self_attention", SelfAttentionHParams)
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
    features = ("title",)

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

    @classmethod
    def over(cls, tokens: TokenVectors, hparams: HParams, feature: str = "title") -> SelfAttentionEncoder:
        """Make an encoder of the sizes of `hparams` over some token vectors."""
        return cls(
            tokens,
            num_heads=hparams.head_num,
            head_dim=hparams.head_dim,
            attention_dim=hparams.attention_hidden_dim,
            dropout=hparams.dropout,
            feature=feature,
        )

    @classmethod
    def from_hparams(cls, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsEncoder:
        """See `NewsEncoder.from_hparams`."""
        return cls.over(word_vectors(hparams, vocabularies, vectors), hparams)

    def call(self, features: dict[str, Any], training: bool | None = None) -> Any:
        """See the class for the shapes."""
        ids = features[self.config["feature"]]
        mask = ops.not_equal(ids, 0)
        words = self.words(ids, training=training)
        words = self.dropout(self.self_attention(words, mask=mask), training=training)
        return self.pooling(words, mask=mask)


class ConvolutionHParams(HParams):
    """Hyperparameters of a convolution over words."""

    filter_num: int = hparam("model", 400, "filters of the title CNN", ge=1)
    window_size: int = hparam("model", 3, "words under one filter", ge=1)
    cnn_activation: str = hparam("model", "relu", "activation of the title CNN")


def word_convolution(hparams: HParams) -> WordConvolution:
    """Return a convolution over words."""
    return WordConvolution(hparams.filter_num, hparams.window_size, hparams.cnn_activation, hparams.dropout)


@news_encoder("cnn", ConvolutionHParams)
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

    @classmethod
    def from_hparams(cls, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsEncoder:
        """See `NewsEncoder.from_hparams`."""
        words = word_vectors(hparams, vocabularies, vectors)
        return cls(words, word_convolution(hparams), hparams.attention_hidden_dim)

    def call(self, features: dict[str, Any], training: bool | None = None) -> Any:
        """See the class for the shapes."""
        title = features["title"]
        contexts = self.convolution(self.words(title, training=training), training=training)
        return self.pooling(contexts, mask=ops.not_equal(title, 0))
