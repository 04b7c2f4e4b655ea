"""DKN: Wang et al., "DKN: Deep Knowledge-Aware Network for News Recommendation", WWW 2018."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import keras
import pydantic
from keras import ops

from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.encoders import (
    EntityHParams,
    InitialVectors,
    NewsEncoder,
    TokenVectors,
    build_encoder,
    news_encoder,
    word_vectors,
)
from recommenders_miner.errors import HParamsError
from recommenders_miner.hparams import Activation, HParams, Sizes, hparam
from recommenders_miner.layers import CandidateAttention, News, Tensor
from recommenders_miner.models.base import BaseModel, register
from recommenders_miner.models.network import ClickPredictor, NewsRecommender, UserEncoder, Users


class KnowledgeCNNHParams(EntityHParams):
    """Hyperparameters of DKN's news encoder."""

    entity_graph: str | None = hparam(
        "info", None, "file of triples, a line `head relation tail`, whose neighbours are an entity's context"
    )
    filter_num: int = hparam("model", 400, "filters of each width", ge=1)
    window_sizes: Sizes = hparam("model", [1, 2, 3], "words under the filters")
    cnn_activation: Activation = hparam("model", "relu", "activation of the CNN")

    @pydantic.model_validator(mode="after")
    def _windows_fit(self) -> Self:
        if not 1 <= max(self.window_sizes, default=0) <= self.title_size:
            raise HParamsError(
                f"window_sizes: expected one or more, none longer than title_size, {self.title_size}; "
                f"got {self.window_sizes}."
            )
        return self


class DKNHParams(HParams):
    """Hyperparameters of DKN's click predictor."""

    layer_sizes: Sizes = hparam("model", [300], "its hidden layers")


@news_encoder("kcnn", KnowledgeCNNHParams)
class KnowledgeCNNEncoder(NewsEncoder):
    """A title as three aligned channels, words, entities and the entities' contexts, under filters of several widths.

        W   = [w_i; g(e_i); g(ē_i)]_i,   g(e) = tanh(M e + b)
        c_i = f(h * W_{i:i+l-1} + b),    one number per filter h of width l and word i
        e(t) = max_i c_i of every filter

    Entities and contexts are fixed vectors, which g brings into the space of the words. A word that belongs to no
    entity has zeros in both channels. A filter starts at every word of the title, and sees zeros behind the last one.

    Section 4.3 of the paper. News vectors (U, d), d = filters · number of widths l, are zero for a title without words.
    """

    features = ("title", "word_entities")

    def __init__(
        self,
        words: TokenVectors,
        entities: TokenVectors,
        contexts: TokenVectors,
        filters: int,
        windows: Sequence[int],
        activation: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.words, self.entities, self.contexts = words, entities, contexts
        self.dim = filters * len(windows)
        self.transformation = keras.layers.Dense(words.config["dim"], activation="tanh", dtype=self.dtype_policy)
        self.convolutions = [
            keras.layers.Conv1D(filters, window, activation=activation, dtype=self.dtype_policy) for window in windows
        ]

    @classmethod
    def from_hparams(cls, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsEncoder:
        """See `NewsEncoder.from_hparams`."""
        entities, contexts = (
            TokenVectors(len(vocabularies.entities), dim, 0.0, initializer, trained=False)
            for initializer, dim in (vectors.entities(), vectors.contexts())
        )
        words = word_vectors(hparams, vocabularies, vectors)
        return cls(words, entities, contexts, hparams.filter_num, hparams.window_sizes, hparams.cnn_activation)

    def call(self, features: News, training: bool | None = None) -> Tensor:
        """See the class for the shapes."""
        title, word_entities = features["title"], features["word_entities"]
        words = self.words(title, training=training)
        has_entity = ops.cast(ops.not_equal(word_entities, 0), words.dtype)[..., None]
        knowledge = [
            self.transformation(vectors(word_entities, training=training)) * has_entity
            for vectors in (self.entities, self.contexts)
        ]
        channels = ops.concatenate([words, *knowledge], axis=-1)
        mask = ops.not_equal(title, 0)
        return ops.concatenate([self._max_over_time(channels, mask, filters) for filters in self.convolutions], axis=-1)

    def _max_over_time(self, channels: Tensor, mask: Tensor, convolution: keras.layers.Layer) -> Tensor:
        """Pool over the words of a title what filters of one width give, (U, filters)."""
        behind = convolution.kernel_size[0] - 1
        values = convolution(ops.pad(channels, [(0, 0), (0, behind), (0, 0)]))
        pooled = ops.max(ops.where(mask[..., None], values, ops.cast(-1e4, values.dtype)), axis=1)
        return ops.where(ops.any(mask, axis=-1)[:, None], pooled, ops.zeros_like(pooled))


class DKNUserEncoder(UserEncoder):
    """The clicked articles as they are: only a candidate makes a user of them (Section 4.4)."""

    def encode_history(self, history: News, mask: Tensor, user: Tensor, training: bool | None = None) -> Users:
        """Return `clicked` (B, M, d) and `mask` (B, M) bool."""
        return {"clicked": history["vector"], "mask": mask}


class DKNClickPredictor(ClickPredictor):
    """The user as the candidate sees it, and a network over both: `s = G([Σ_j w_cj e(t_j); e(t_c)])` (Section 4.4).

    What goes into the two networks is layer-normalised, which the paper does not say. Max-pooled features all lie on
    one side of zero, and without this the networks took seven epochs of the demo to notice that titles can be alike.

    `attention_dim` is the hidden dimension of the attention network H, `layer_sizes` are the hidden layers of G.
    """

    candidates_at_once = 4096  # every candidate is set against every click in the attention network
    not_searchable = "its user depends on the candidate"

    def __init__(self, attention_dim: int = 100, layer_sizes: Sequence[int] = (100,), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.news_norm = keras.layers.LayerNormalization(dtype=self.dtype_policy)
        self.user_norm = keras.layers.LayerNormalization(dtype=self.dtype_policy)
        self.attention = CandidateAttention(attention_dim, dtype=self.dtype_policy)
        self.hidden = [keras.layers.Dense(size, activation="relu", dtype=self.dtype_policy) for size in layer_sizes]
        self.score = keras.layers.Dense(1, dtype="float32")

    def call(self, users: Users, candidates: News, mask: Tensor = None, training: bool | None = None) -> Tensor:
        """Return scores (B, C)."""
        candidate, user, _ = self._attended(users, candidates)
        both = ops.concatenate([self.user_norm(user), candidate], axis=-1)
        for layer in self.hidden:
            both = layer(both)
        return ops.squeeze(self.score(both), axis=-1)

    def attention_weights(self, users: Users, candidates: News) -> Tensor:
        """Return the weights w_cj that a candidate gives the clicked articles, (B, C, 1, M)."""
        return self._attended(users, candidates)[2][:, :, None, :]

    def _attended(self, users: Users, candidates: News) -> tuple[Tensor, Tensor, Tensor]:
        """The candidates, the users as they see them (B, C, d), and the weights of the clicks (B, C, M)."""
        clicked, candidate = self.news_norm(users["clicked"]), self.news_norm(candidates["vector"])
        return candidate, *self.attention(clicked, candidate, mask=users["mask"], return_weights=True)


@register("dkn", paper="Wang et al., DKN: Deep Knowledge-Aware Network for News Recommendation, WWW", year=2018)
class DKNModel(BaseModel):
    """DKN: titles as words, entities and their contexts (`KnowledgeCNNEncoder`); users as each candidate sees them.

    The paper's settings, those of dkn.yaml: 100-d words and entities (TransD), 100 filters of each width 1 to 4, Adam
    on the log loss of clicks and as many non-clicks (Section 5.3). Here entities have the vectors of MIND (TransE).
    MIND names no triples, so an entity's context is the mean of the entities that share a training article with it, in
    title or abstract, unless `entity_graph` names a file of triples.
    """

    hparams_class = DKNHParams
    news_encoder = "kcnn"

    def build_network(self, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsRecommender:
        """Return the untrained network."""
        news_encoder = build_encoder(hparams, vocabularies, vectors)
        predictor = DKNClickPredictor(hparams.attention_hidden_dim, hparams.layer_sizes)
        return NewsRecommender(news_encoder, DKNUserEncoder(), predictor)
