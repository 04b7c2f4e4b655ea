"""The news encoders that papers share: of words, of entities, of labels, and several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import keras
import numpy as np
import pydantic
from keras import ops

from recommenders_miner.data.features import NewsFeatures
from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.encoders.base import NewsEncoder, news_encoder
from recommenders_miner.encoders.initial_vectors import InitialVectors, PretrainedVectors, random_vectors
from recommenders_miner.hparams import Activation, HParams, hparam
from recommenders_miner.layers import AdditiveAttention, CompositeLayer, News, SelfAttention, Tensor, WordConvolution

# === Words ===


class TokenVectors(CompositeLayer):
    """The vectors of a title's words (or of other ids), exactly zero behind the last one: of (U, L) ids (U, L, dim).

    The zeros make a news vector independent of the length that its title is padded to, also under a convolution, whose
    window reaches beyond the last word. The embedding has rows for padding (0), unknown (1), then words or entities;
    training changes it where `trained`.
    """

    def __init__(
        self, vocabulary_size: int, dim: int, dropout: float, initializer: Any, trained: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.embedding = keras.layers.Embedding(
            vocabulary_size, dim, embeddings_initializer=initializer, trainable=trained, dtype=self.dtype_policy
        )
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def call(self, ids: Tensor, training: bool | None = None) -> Tensor:
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
class SelfAttentionEncoder(NewsEncoder):
    """A title as words that attend to each other, then pooled by additive attention; zero for one without words.

    Wu et al., "Neural News Recommendation with Multi-Head Self-Attention" (NRMS), EMNLP 2019, Section 2.1.

    The news vector has d = num_heads · head_dim. `attention_dim` is the hidden dimension of the additive attention,
    dropout comes before it, and `feature` is what is read, `title` or another one of ids (U, L) with zeros behind.
    """

    features = ("title",)

    def __init__(
        self,
        words: TokenVectors,
        num_heads: int,
        head_dim: int,
        attention_dim: int,
        dropout: float,
        feature: str = "title",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.features, self.dim = (feature,), num_heads * head_dim
        self.words = words
        self.self_attention = SelfAttention(num_heads, head_dim, dtype=self.dtype_policy)
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.pooling = AdditiveAttention(attention_dim, dtype=self.dtype_policy)

    @classmethod
    def over(
        cls, tokens: TokenVectors, hparams: HParams, feature: str = "title", head_num: int | None = None
    ) -> SelfAttentionEncoder:
        """Make an encoder of the sizes of `hparams` over some token vectors; the number of heads may be another."""
        heads = (head_num or hparams.head_num, hparams.head_dim)
        return cls(tokens, *heads, hparams.attention_hidden_dim, hparams.dropout, feature)

    @classmethod
    def from_hparams(cls, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsEncoder:
        """See `NewsEncoder.from_hparams`."""
        return cls.over(word_vectors(hparams, vocabularies, vectors), hparams)

    def call(self, features: News, training: bool | None = None) -> Tensor:
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
    cnn_activation: Activation = hparam("model", "relu", "activation of the title CNN")


def word_convolution(hparams: HParams) -> WordConvolution:
    """Return a convolution over words."""
    return WordConvolution(hparams.filter_num, hparams.window_size, hparams.cnn_activation, hparams.dropout)


@news_encoder("cnn", ConvolutionHParams)
class CNNEncoder(NewsEncoder):
    """A title through a convolution over its words, pooled by additive attention; zero for one without words.

    An et al., "Neural News Recommendation with Long- and Short-term User Representations" (LSTUR), ACL 2019, Section
    3.1.

    `convolution` sets the words into context; its filters are the news vector's dimension d.
    """

    features = ("title",)
    attention = AdditiveAttention

    def __init__(
        self, words: TokenVectors, convolution: WordConvolution, attention_dim: int = 200, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.words, self.convolution, self.dim = words, convolution, convolution.config["filters"]
        self.pooling = self.attention(attention_dim, dtype=self.dtype_policy)

    @classmethod
    def from_hparams(cls, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsEncoder:
        """See `NewsEncoder.from_hparams`."""
        words = word_vectors(hparams, vocabularies, vectors)
        return cls(words, word_convolution(hparams), hparams.attention_hidden_dim)

    def in_context(self, features: News, training: bool | None = None) -> Tensor:
        """Return the words of titles in context, (U, L, d)."""
        return self.convolution(self.words(features["title"], training=training), training=training)

    def call(self, features: News, training: bool | None = None) -> Tensor:
        """See the class for the shapes."""
        return self.pooling(self.in_context(features, training), mask=ops.not_equal(features["title"], 0))


# === Entities ===


class EntityHParams(HParams):
    """Hyperparameters of encoders that read entities."""

    entity_embedding: str | None = hparam(
        "info", None, "file of entity vectors in MIND's format; also looked for beside the training news"
    )

    more_entities: str | None = hparam(
        "info", None, "a further such file, as that of dev, whose entities are known too; passed over where missing"
    )


class KnowledgeHParams(SelfAttentionHParams, EntityHParams):
    """Hyperparameters of HieRec's news encoder."""

    entity_size: int = hparam("data", 5, "entities of a title that are read", ge=1)
    entity_head_num: int | None = hparam("model", None, "heads over entities; None: as many as over words", ge=1)
    news_dim: int | None = hparam("model", None, "dimension of a news vector; None: that of all heads", ge=1)


@news_encoder("knowledge", KnowledgeHParams)
class KnowledgeEncoder(NewsEncoder):
    """A title's words and its entities, each attending to themselves and pooled: `h = W_t t + W_e e`.

    Qi et al., "HieRec: Hierarchical User Interest Modeling for Personalized News Recommendation", ACL 2021, Section
    3.3; MINER's ablation "without BERT" uses it.

    `text` and `entities` are encoders of the two; what they give of a title without words or entities is zero.
    """

    features = ("title", "entities")

    def __init__(self, text: SelfAttentionEncoder, entities: SelfAttentionEncoder, dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.text, self.entities, self.dim = text, entities, dim
        self.text_projection = keras.layers.Dense(dim, use_bias=False, dtype=self.dtype_policy)
        self.entity_projection = keras.layers.Dense(dim, use_bias=False, dtype=self.dtype_policy)

    @classmethod
    def from_hparams(cls, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsEncoder:
        """See `NewsEncoder.from_hparams`."""
        text = SelfAttentionEncoder.from_hparams(hparams, vocabularies, vectors)
        initializer, dim = vectors.entities()
        entities = TokenVectors(len(vocabularies.entities), dim, hparams.dropout, initializer)
        dim = hparams.news_dim or hparams.head_num * hparams.head_dim
        return cls(text, SelfAttentionEncoder.over(entities, hparams, "entities", hparams.entity_head_num), dim)

    def call(self, features: News, training: bool | None = None) -> Tensor:
        """See the class for the shapes."""
        text = self.text_projection(self.text(features, training=training))
        return text + self.entity_projection(self.entities(features, training=training))


# === Ready-made vectors ===


class VectorHParams(HParams):
    """Hyperparameters of ready-made vectors of articles."""

    article_vectors: str | None = hparam(
        "info",
        None,
        "ready-made vectors of articles: a column of articles.parquet; a Parquet file of ids and a column of vectors; "
        "or X.npy, whose rows X.txt names",
    )
    vector_layers: list[Annotated[int, pydantic.Field(ge=1)]] = hparam(
        "model", [], "sizes of hidden layers over ready-made vectors"
    )
    news_dim: int | None = hparam("model", None, "dimension of a projection behind it", ge=1)


@news_encoder("vectors", VectorHParams)
class VectorEncoder(NewsEncoder):
    """Ready-made vectors of articles through a small network: NRMSDocVec of the RecSys Challenge 2024's code.

    Each number is brought to mean 0 and standard deviation 1 over the training news; an article without a vector has
    zeros. Hidden layers of the sizes `layers`, ReLU, each with layer normalisation and dropout, lead to a linear
    projection to `dim` numbers. The original has batch normalisation there, which sees the padding of a batch.

    `size` is the number of numbers d of what is read, `article_vector` (U, d); `scale` starts (2, d), means and
    deviations, which are saved with the weights.
    """

    features = ("article_vector",)

    def __init__(
        self,
        size: int,
        dim: int,
        layers: Sequence[int] = (),
        dropout: float = 0.0,
        scale: keras.initializers.Initializer | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dim = dim
        self.scale = self.add_weight((2, size), scale or "ones", trainable=False, dtype="float32", name="scale")
        self.hidden = [keras.layers.Dense(width, "relu", dtype=self.dtype_policy) for width in layers]
        self.norms = [keras.layers.LayerNormalization(dtype=self.dtype_policy) for _ in layers]
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.projection = keras.layers.Dense(dim, dtype=self.dtype_policy)

    @classmethod
    def from_hparams(cls, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsEncoder:
        """See `NewsEncoder.from_hparams`."""
        scale = vocabularies.vector_scale
        dim = hparams.news_dim or scale.shape[1]
        return cls(scale.shape[1], dim, hparams.vector_layers, hparams.dropout, PretrainedVectors(scale))

    def example(self) -> News:
        """Return what `call` reads, of one article."""
        return {"article_vector": ops.ones((1, self.config["size"]))}

    def call(self, features: News, training: bool | None = None) -> Tensor:
        """See the class for the shapes."""
        vector, scale = ops.cast(features["article_vector"], "float32"), ops.convert_to_tensor(self.scale)
        is_known = ops.any(ops.not_equal(vector, 0), axis=-1, keepdims=True)
        vector = ops.cast(ops.where(is_known, (vector - scale[0]) / scale[1], 0.0), self.compute_dtype)
        for dense, norm in zip(self.hidden, self.norms, strict=True):
            vector = self.dropout(norm(dense(vector)), training=training)
        return self.projection(vector)


# === Labels ===


class CategoryHParams(HParams):
    """Hyperparameters of category embeddings."""

    vert_emb_dim: int = hparam("model", 100, "dimension of category embeddings", ge=1)
    subvert_emb_dim: int = hparam("model", 100, "dimension of subcategory embeddings", ge=1)


class CategoryEncoder(NewsEncoder):
    """One vector per category or subcategory, whose id is in `feature`, of `dim` numbers.

    With `projected_dim` there is a dense layer behind it, as in NAML. The vectors start from `initializer`, by default
    random ones, and stay as they are unless `trained`.
    """

    def __init__(
        self,
        feature: str,
        vocabulary_size: int,
        dim: int,
        projected_dim: int | None = None,
        activation: str = "relu",
        initializer: keras.initializers.Initializer | None = None,
        trained: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.features, self.dim = (feature,), projected_dim or dim
        start = initializer or random_vectors()
        self.embedding = keras.layers.Embedding(
            vocabulary_size, dim, embeddings_initializer=start, trainable=trained, dtype=self.dtype_policy
        )
        self.projection = keras.layers.Dense(self.dim, activation, dtype=self.dtype_policy) if projected_dim else None

    def call(self, features: News, training: bool | None = None) -> Tensor:
        """See the class for the shapes."""
        vector = self.embedding(features[self.config["feature"]])
        return vector if self.projection is None else self.projection(vector)


class ConcatenatedEncoder(NewsEncoder):
    """Several news encoders, the `parts`, side by side, their vectors concatenated."""

    def __init__(self, parts: Sequence[NewsEncoder], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.parts = list(parts)
        self.dim = sum(part.dim for part in self.parts)
        self.features = tuple(dict.fromkeys(name for part in self.parts for name in part.features))

    @property
    def pretrained_weights(self) -> list[Any]:
        """The parts' weights that come from a pretrained language model."""
        return [weight for part in self.parts for weight in part.pretrained_weights]

    def prepare(self, features: NewsFeatures) -> dict[str, np.ndarray]:
        """Return what all the parts read, for a whole table."""
        return {name: array for part in self.parts for name, array in part.prepare(features).items()}

    def example(self) -> News:
        """Return what all the parts read, of one article."""
        return {name: array for part in self.parts for name, array in part.example().items()}

    def call(self, features: News, training: bool | None = None) -> Tensor:
        """See the class for the shapes."""
        return ops.concatenate([part(features, training=training) for part in self.parts], axis=-1)
