"""CROWN: news by intents and by how title and body agree, users by attention of the candidate.

Ko et al., "CROWN: A Novel Approach to Comprehending Users' Preferences for Accurate Personalized News Recommendation",
WWW 2025.
"""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
from keras import ops

from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.encoders import (
    CategoryEncoder,
    CategoryHParams,
    InitialVectors,
    NewsEncoder,
    SelfAttentionHParams,
    TokenVectors,
    build_encoder,
    news_encoder,
    word_vectors,
)
from recommenders_miner.errors import HParamsError
from recommenders_miner.hparams import HParams, hparam
from recommenders_miner.layers import (
    AdditiveAttention,
    CompositeLayer,
    News,
    Tensor,
    masked_softmax,
    mean_of_means,
    mean_weights,
    unit_vectors,
)
from recommenders_miner.models.base import BaseModel, register
from recommenders_miner.models.network import DotProductPredictor, NewsRecommender, UserEncoder, Users


class IntentHParams(SelfAttentionHParams, CategoryHParams):
    """Hyperparameters of CROWN's news encoder."""

    body_size: int = hparam("data", 50, "words of an abstract that are read", ge=1)
    feedforward_dim: int = hparam("model", 512, "hidden dimension of the transformer's feed-forward part", ge=1)
    intent_num: int = hparam("model", 3, "intents of a text", ge=1)
    intent_dim: int = hparam("model", 400, "dimension of an intent", ge=1)


class CROWNHParams(IntentHParams):
    """Hyperparameters of CROWN."""

    category_loss: float = hparam("model", 0.3, "weight of the loss of telling a candidate's category", ge=0.0)


class TextTransformer(CompositeLayer):
    """One layer of a transformer over the words of a text, and their mean: of (U, L, e) and a mask, (U, e).

    Vaswani et al., NIPS 2017, with sinusoidal positions; zero for a text without words.
    """

    def __init__(
        self, dim: int, num_heads: int, head_dim: int, feedforward_dim: int, dropout: float = 0.2, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        dense = functools.partial(keras.layers.Dense, dtype=self.dtype_policy)
        norm = functools.partial(keras.layers.LayerNormalization, epsilon=1e-5, dtype=self.dtype_policy)
        self.attention = keras.layers.MultiHeadAttention(num_heads, head_dim, dtype=self.dtype_policy)
        self.inner, self.outer = dense(feedforward_dim, activation="relu"), dense(dim)
        self.attention_norm, self.outer_norm = norm(), norm()
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def call(self, words: Tensor, mask: Tensor, training: bool | None = None) -> Tensor:
        """See the class for the shapes."""
        dropout = functools.partial(self.dropout, training=training)
        placed = dropout(words + ops.cast(positions(ops.shape(words)[1], self.config["dim"]), words.dtype))
        attended = self.attention(placed, placed, attention_mask=mask[:, None, :], training=training)
        states = self.attention_norm(placed + dropout(attended))
        states = self.outer_norm(states + dropout(self.outer(dropout(self.inner(states)))))
        return ops.squeeze(ops.matmul(ops.cast(mean_weights(mask), states.dtype)[:, None, :], states), axis=1)


def positions(length: Any, dim: int) -> Tensor:
    """Return sines at even and cosines at odd dimensions of positions 0, 1, …: (length, dim) float32."""
    rates = 1e4 ** (-(np.arange(dim) // 2) * 2 / dim)
    angles = ops.arange(length, dtype="float32")[:, None] * rates.astype("float32")
    return ops.where(np.arange(dim) % 2 == 1, ops.cos(angles), ops.sin(angles))


@news_encoder("intents", IntentHParams)
class IntentEncoder(NewsEncoder):
    """An article by its intents, as its category brings them out, and by how well its body keeps what its title says.

    Category-guided intent disentanglement, of a text with vector t, the mean of its words behind a transformer, and of
    K intents that title and body share:

        c   = W_c [category; subcategory] + b_c
        e_k = relu(W_k [t; c] + b_k),   k = 1 … K
        i   = Σ_k α_k e_k,   α = softmax_k(q^T tanh(W e_k + b))

    Consistency-based news representation, of a title's i_t and a body's i_b:

        n = [i_t; γ i_b; category; subcategory],   γ = (cos(i_t, i_b) + 1) / 2

    so that an article whose body is about something else counts by its title alone. An article without a body has zeros
    in its place.

    News vectors are (U, d), d = 2 · intent_dim + those of the two labels.
    """

    features = ("title", "abstract", "category", "subcategory")

    def __init__(
        self,
        words: TokenVectors,
        texts: list[TextTransformer],
        labels: list[CategoryEncoder],
        intent_num: int = 3,
        intent_dim: int = 400,
        attention_dim: int = 400,
        dropout: float = 0.2,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.words, self.texts, self.labels = words, list(texts), list(labels)
        self.dim = 2 * intent_dim + sum(label.dim for label in self.labels)
        dense = functools.partial(keras.layers.Dense, dtype=self.dtype_policy)
        self.label_projection = dense(self.labels[0].dim)
        self.intents = [dense(intent_dim, activation="relu") for _ in range(intent_num)]
        self.poolings = [AdditiveAttention(attention_dim, dtype=self.dtype_policy) for _ in self.texts]
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    @classmethod
    def from_hparams(cls, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsEncoder:
        """See `NewsEncoder.from_hparams`."""
        words = word_vectors(hparams, vocabularies, vectors)
        sizes = words.config["dim"], hparams.head_num, hparams.head_dim, hparams.feedforward_dim, hparams.dropout
        labels = [
            CategoryEncoder("category", len(vocabularies.categories), hparams.vert_emb_dim),
            CategoryEncoder("subcategory", len(vocabularies.subcategories), hparams.subvert_emb_dim),
        ]
        of_intents = hparams.intent_num, hparams.intent_dim, hparams.attention_hidden_dim, hparams.dropout
        return cls(words, [TextTransformer(*sizes) for _ in range(2)], labels, *of_intents)

    def call(self, features: News, training: bool | None = None) -> Tensor:
        """See the class for the shapes."""
        labels = [label(features, training=training) for label in self.labels]
        topic = self.label_projection(ops.concatenate(labels, axis=-1))
        title, body = (self._intent(place, features, topic, training) for place in range(2))
        cosine = ops.sum(unit_vectors(title) * unit_vectors(body), axis=-1, keepdims=True)
        consistency = ops.cast((cosine + 1.0) / 2.0, body.dtype)
        labels = [self.dropout(label, training=training) for label in labels]
        return ops.concatenate([title, consistency * body, *labels], axis=-1)

    def _intent(self, place: int, features: News, topic: Tensor, training: bool | None) -> Tensor:
        """Return the intents of the title, or of the abstract, as one vector (U, intent_dim); zero without words."""
        ids = features[self.features[place]]
        mask = ops.not_equal(ids, 0)
        text = self.texts[place](self.words(ids, training=training), mask, training=training)
        both = ops.concatenate([text, topic], axis=-1)
        intent = self.poolings[place](ops.stack([layer(both) for layer in self.intents], axis=1))
        return intent * ops.cast(ops.any(mask, axis=-1), intent.dtype)[:, None]


class CROWNUserEncoder(UserEncoder):
    """The clicked articles in a graph with their user, then as a candidate n_c sees them.

    GNN-enhanced user representation: GraphSAGE (Hamilton et al., NIPS 2017), one layer over the bipartite graph of
    users and articles, and attention by the candidate:

        g_j  = W_n n_j + W_u ū + b,   ū = 1/N Σ_i n_i           the user, as the mean of the clicks
        α_cj = softmax_j((K g_j)^T (Q n_c + b_q) / √a)
        u_c  = Σ_j α_cj g_j

    The paper's graph joins users through articles that they share. The authors' code gives each history a graph of its
    own; as its edges are numbered, every article gets the mean of the first positions of the history, the padding's
    too. Ours is the mean of the clicks, and knows of no other user.

    `attention_dim` is a, the dimension of keys and queries.
    """

    def __init__(self, dim: int, attention_dim: int = 400, dropout: float = 0.2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        dense = functools.partial(keras.layers.Dense, dtype=self.dtype_policy)
        self.of_article, self.of_user = dense(dim, use_bias=False), dense(dim)
        self.key, self.query = dense(attention_dim, use_bias=False), dense(attention_dim)
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, history_shape: Any = None) -> None:
        """Create the weights, those too that only `bind_candidates` uses."""
        nothing = ops.zeros((1, 1, self.config["dim"]))
        mask = ops.ones((1, 1), "bool")
        self._users(self.encode_history({"vector": nothing}, mask, None), nothing)

    def encode_history(self, history: News, mask: Tensor, user: Tensor, training: bool | None = None) -> Users:
        """Return `clicked` g (B, M, d), `keys` K g (B, M, a) and `mask` (B, M) bool."""
        mean = ops.matmul(ops.cast(mean_weights(mask), history["vector"].dtype)[:, None, :], history["vector"])
        clicked = self.of_article(history["vector"]) + self.dropout(self.of_user(mean), training=training)
        return {"clicked": clicked, "keys": self.key(clicked), "mask": mask}

    def bind_candidates(self, state: Users, candidates: News) -> Tensor:
        """Return users (B, C, d), each as its candidate sees it; zero for an empty history."""
        return self._users(state, candidates["vector"])[0]

    def attention_weights(self, history: News, mask: Tensor, user: Tensor, candidates: News) -> Tensor:
        """Return the weights α of the clicks, (B, C, 1, M)."""
        return self._users(self.encode_history(history, mask, user), candidates["vector"])[1][:, :, None, :]

    def _users(self, state: Users, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """Compute u (B, C, d) and α (B, C, M)."""
        logits = ops.matmul(self.query(candidates), ops.swapaxes(state["keys"], 1, 2))
        weights = masked_softmax(logits * self.config["attention_dim"] ** -0.5, state["mask"][:, None, :])
        return ops.matmul(ops.cast(weights, state["clicked"].dtype), state["clicked"]), weights


class CROWNClickPredictor(DotProductPredictor):
    """The dot product of a candidate with the user as it sees it; in training also which category a candidate has.

    The auxiliary task tells an article's category by its title's intents i_t, the first `intent_dim` numbers of its
    vector: the cross-entropy of softmax(W i_t + b), a mean over each click's candidates and over the clicks, weighed by
    `weight`. The paper has it of all articles of a batch, the code, where one loss takes the other's place, of the
    clicked ones and the padding.
    """

    columns = ("category",)
    not_searchable = "its user depends on the candidate"

    def __init__(self, categories: int, intent_dim: int = 400, weight: float = 0.3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.category = keras.layers.Dense(categories, dtype="float32")

    def build(self, users_shape: Any = None) -> None:
        """Create the weights that training alone uses."""
        self.category.build((None, None, self.config["intent_dim"]))

    def call(self, users: Tensor, candidates: News, mask: Tensor = None, training: bool | None = None) -> Tensor:
        """Return scores (B, C) of users (B, C, d)."""
        if training:
            logits = self.category(candidates["vector"][..., : self.config["intent_dim"]])
            own = ops.one_hot(candidates["category"], logits.shape[-1], dtype="float32")
            losses = ops.logsumexp(logits, axis=-1) - ops.sum(logits * own, axis=-1)
            self.add_loss(self.config["weight"] * mean_of_means(losses, mask))
        return super().call(users, candidates)


@register(
    "crown",
    paper="Ko et al., CROWN: A Novel Approach to Comprehending Users' Preferences for Accurate Personalized News "
    "Recommendation, WWW",
    year=2025,
)
class CROWNModel(BaseModel):
    """CROWN: articles by their intents and by how title and body agree (`IntentEncoder`), and an attentive user.

    The settings of the authors' code for MIND, those of crown.yaml: 300-d GloVe words, titles of 32 and abstracts of
    128, 10 heads of 30 and a feed-forward part of 512, 3 intents of 400, labels of 50, the category's loss weighed 0.3,
    dropout 20 %, 4 negatives, batch 32, Adam. Labels are trained here, and fixed at random in the code, whose mean over
    words is also over the padding.
    """

    hparams_class = CROWNHParams
    news_encoder = "intents"
    columns = ("category",)

    def build_network(self, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsRecommender:
        """Return the untrained network."""
        if hparams.news_encoder != "intents":
            raise HParamsError(
                f"CROWN tells categories by intents: news_encoder is intents, not {hparams.news_encoder}."
            )
        encoder = build_encoder(hparams, vocabularies, vectors)
        user_encoder = CROWNUserEncoder(encoder.dim, hparams.attention_hidden_dim, hparams.dropout)
        predictor = CROWNClickPredictor(len(vocabularies.categories), hparams.intent_dim, hparams.category_loss)
        return NewsRecommender(encoder, user_encoder, predictor)
