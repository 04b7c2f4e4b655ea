"""PP-Rec: Qi et al., "News Recommendation with Personalized User Interest and Time-aware News Popularity", ACL 2021."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import keras
from keras import ops

from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.encoders import (
    ConcatenatedEncoder,
    InitialVectors,
    NewsEncoder,
    SelfAttentionHParams,
    random_vectors,
)
from recommenders_miner.hparams import HParams, Sizes, hparam
from recommenders_miner.layers import AdditiveAttention, CompositeLayer, News, SelfAttention, Tensor, recent_rate
from recommenders_miner.models.base import register
from recommenders_miner.models.network import ClickPredictor, DotProductPredictor, Interests, UserEncoder
from recommenders_miner.models.nrms import NRMSModel


class PPRecHParams(SelfAttentionHParams):
    """Hyperparameters of PP-Rec."""

    click_rate_window: Literal["1h", "6h", "24h"] = hparam("data", "1h", "showings that the recent click rate is of")
    recency_hours: float = hparam("data", 2.0, "hours of age that share an embedding", gt=0.0)
    recency_levels: int = hparam("model", 1500, "ages that have an embedding; older articles have the last one", ge=1)
    popularity_levels: int = hparam("model", 200, "popularities of clicked articles that have an embedding", ge=2)
    popularity_emb_dim: int = hparam("model", 100, "dimension of the embeddings of ages and of popularities", ge=1)
    content_layers: Sizes = hparam("model", [256, 256], "hidden layers of the popularity by content")
    recency_layers: Sizes = hparam("model", [64, 64], "hidden layers of the popularity by age")
    gate_layers: Sizes = hparam("model", [128, 64], "hidden layers of either gate")


class ScalarNetwork(CompositeLayer):
    """A dense network that makes one number of a vector: of (…, d), (…,) float32.

    `sizes` are its hidden layers, with tanh; `activation` is that of the number.
    """

    def __init__(self, sizes: Sequence[int], activation: str = "linear", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden = [keras.layers.Dense(size, activation="tanh", dtype=self.dtype_policy) for size in sizes]
        self.number = keras.layers.Dense(1, activation, dtype="float32")

    def call(self, vectors: Tensor) -> Tensor:
        """See the class for the shapes."""
        for layer in self.hidden:
            vectors = layer(vectors)
        return ops.squeeze(self.number(vectors), axis=-1)


class LevelEmbedding(CompositeLayer):
    """The embedding of a quantity, by its level: of (…,) float32, (…, dim) in the compute dtype.

    There are embeddings of the levels 0, 1, …, `levels` - 1. Between two of them stands their mean, weighted by how
    near they are, so that training reaches the quantity; what is beyond the first or the last has its embedding.
    """

    def __init__(self, levels: int, dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        start = random_vectors()
        self.of_level = keras.layers.Embedding(levels, dim, embeddings_initializer=start, dtype=self.dtype_policy)

    def call(self, quantity: Tensor) -> Tensor:
        """See the class for the shapes."""
        last = self.config["levels"] - 1
        level = ops.clip(ops.cast(quantity, "float32"), 0.0, float(last))
        below = ops.floor(level)
        share = ops.cast(level - below, self.compute_dtype)[..., None]
        below = ops.cast(below, "int32")
        return (1.0 - share) * self.of_level(below) + share * self.of_level(ops.minimum(below + 1, last))


class ContentPopularityEncoder(ConcatenatedEncoder):
    """A news encoder, and how popular its vector says an article is: `p̂_c = dense(n)` (Sections 3.2 and 3.3).

    Of articles it gives `vector` (U, d) and `popularity` (U,) float32. `sizes` are the dense network's hidden layers.
    """

    def __init__(self, parts: Sequence[NewsEncoder], sizes: Sequence[int] = (256, 256), **kwargs: Any) -> None:
        super().__init__(parts, **kwargs)
        self.popularity = ScalarNetwork(sizes, dtype=self.dtype_policy)

    def call(self, features: News, training: bool | None = None) -> News:
        """See the class for the shapes."""
        vector = super().call(features, training=training)
        return {"vector": vector, "popularity": self.popularity(vector)}


class PPRecUserEncoder(UserEncoder):
    """The clicked articles in each other's context, weighed by what they are and how popular they were (Section 3.4).

        [m_1, …, m_N] = multi-head self-attention over [n_1, …, n_N]
        p_i           = the embedding of the i-th clicked article's popularity
        u             = Σ_i α_i m_i,   α = softmax_i(q^T tanh(W^u [m_i; p_i]))          (2)

    so that a click on what everybody clicks can say less of a user: the content-popularity joint attention, CPJA.

    The paper takes of popularity the recent click rate at the time of the click, at `levels` equal steps from 0 to 1,
    and neither content nor age, through whose quantisation nothing could be trained (a footnote there). MIND does not
    say when a history's clicks were, and a log does not reach back to them. So we take σ(p̂_c) of the content alone, and
    set it between the two nearest levels instead of at one, by which it is trained. W^u has a bias.
    """

    def __init__(
        self,
        num_heads: int = 20,
        head_dim: int = 20,
        attention_dim: int = 200,
        levels: int = 200,
        embedding_dim: int = 100,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.self_attention = SelfAttention(num_heads, head_dim, dtype=self.dtype_policy)
        self.popularity_embedding = LevelEmbedding(levels, embedding_dim, dtype=self.dtype_policy)
        self.joint_attention = AdditiveAttention(attention_dim, dtype=self.dtype_policy)

    def encode_history(self, history: News, mask: Tensor, user: Tensor, training: bool | None = None) -> Tensor:
        """Return user vectors (B, num_heads · head_dim); zero for an empty history."""
        return self._attended(history, mask)[0]

    def attention_weights(self, history: News, mask: Tensor, user: Tensor, candidates: News) -> Tensor:
        """Return α through the heads' attention, (B, 1, 1, M), as `NRMSUserEncoder.attention_weights` does."""
        _, weights, heads = self._attended(history, mask)
        return ops.matmul(weights[:, None, None, :], ops.mean(heads, axis=1, keepdims=True))

    def _attended(self, history: News, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute u (B, d), α (B, M) and the heads' attention (B, heads, M, M)."""
        in_context, heads = self.self_attention(history["vector"], mask=mask, return_weights=True)
        level = ops.sigmoid(history["popularity"]) * (self.config["levels"] - 1)
        both = ops.concatenate([in_context, self.popularity_embedding(level)], axis=-1)
        _, weights = self.joint_attention(both, mask=mask, return_weights=True)
        return ops.squeeze(ops.matmul(weights[:, None, :], in_context), axis=1), weights, heads


class PPRecClickPredictor(ClickPredictor):
    """A candidate's match with the user and its popularity at the moment, the more of the one the less of the other.

    Section 3.3, the time-aware popularity of a candidate with vector n and age r, clicked at a recent rate c_t:

        p̂   = θ p̂_c + (1 - θ) p̂_r,   p̂_r = dense(r),   θ = σ(W^p [n; r] + b^p)
        s_p = w_c c_t + w_p p̂

    where p̂_c is the popularity by content, and r the embedding of the age. Section 3.5, of a user u:

        s = (1 - η) s_m + η s_p,   s_m = u^T n,   η = σ(dense(u))                       (3)

    As in the authors' code, θ comes from a dense network, w_c starts at 19, an age is cut into steps of `recency_hours`
    and an article that nobody was shown before is new.

    c_t is (clicks + 50 c) / (showings + 50) of the last hours, where the paper has clicks / showings of one: c is the
    rate of the article so far, to which few showings are drawn. Both are counted as `CONTEXT` says, `horizon` included.
    """

    not_searchable = "its score depends on when an article is shown"

    def __init__(
        self,
        window: str = "1h",
        recency_hours: float = 2.0,
        levels: int = 1500,
        embedding_dim: int = 100,
        recency_sizes: Sequence[int] = (64, 64),
        gate_sizes: Sequence[int] = (128, 64),
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)  # ages and rates stay float32
        self.columns = ("age", "click_rate", f"showings_{window}", f"clicks_{window}")
        self.recency_embedding = LevelEmbedding(levels, embedding_dim, dtype=self.dtype_policy)
        self.recency_popularity = ScalarNetwork(recency_sizes, dtype=self.dtype_policy)
        self.content_gate = ScalarNetwork(gate_sizes, "sigmoid", dtype=self.dtype_policy)
        self.user_gate = ScalarNetwork(gate_sizes, "sigmoid", dtype=self.dtype_policy)
        self.match = DotProductPredictor(dtype=self.dtype_policy)
        constant = keras.initializers.Constant
        self.rate_weight = self.add_weight((), constant(19.0), dtype="float32", name="rate_weight")
        self.popularity_weight = self.add_weight((), constant(1.0), dtype="float32", name="popularity_weight")

    def call(self, users: Tensor, candidates: News, mask: Tensor = None, training: bool | None = None) -> Tensor:
        """Return scores (B, C) of users (B, d)."""
        gate = self.user_gate(users)[:, None]
        return (1.0 - gate) * self.match(users, candidates) + gate * self.popularity(candidates)

    def interests(self, users: Tensor, candidates: News) -> Interests:
        """Return the match with the user, and the popularity, each with its share of the score."""
        gate = self.user_gate(users)[:, None, None]
        scores = ops.stack([self.match(users, candidates), self.popularity(candidates)], axis=-1)
        weights = ops.concatenate([1.0 - gate, gate], axis=-1)
        return Interests(["user", "popularity"], scores, ops.broadcast_to(weights, ops.shape(scores)))

    def popularity(self, candidates: News) -> Tensor:
        """Return the popularities s_p of candidates at their impressions, (B, C) float32."""
        vector = ops.cast(candidates["vector"], self.compute_dtype)
        recency = self.recency_embedding(ops.floor(candidates["age"] / self.config["recency_hours"]))
        gate = self.content_gate(ops.concatenate([vector, recency], axis=-1))
        predicted = gate * candidates["popularity"] + (1.0 - gate) * self.recency_popularity(recency)
        rate = recent_rate(candidates, self.config["window"])
        return self.rate_weight * rate + self.popularity_weight * predicted


@register(
    "pp-rec",
    paper="Qi et al., PP-Rec: News Recommendation with Personalized User Interest and Time-aware News Popularity, ACL",
    year=2021,
)
class PPRecModel(NRMSModel):
    """PP-Rec: interest as in NRMS, but for the popularity of what was clicked, beside time-aware news popularity.

    The settings of the paper and of the authors' code, those of pp-rec.yaml: 300-d GloVe words, 100-d entities, 20
    heads of 20, embeddings of ages and popularities of 100, one non-click beside a click, which makes the cross-entropy
    the paper's BPR loss, Adam. Where they differ from ours: between a title's words and its entities there is attention
    both ways, which `KnowledgeEncoder` has not; and the code has a second news encoder, for popularity alone.
    """

    hparams_class = PPRecHParams
    news_encoder = "knowledge"

    def around(
        self, news_encoder: NewsEncoder, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors
    ) -> NewsEncoder:
        """Return the news encoder with the popularity by content."""
        return ContentPopularityEncoder([news_encoder], hparams.content_layers)

    def user_encoder(self, hparams: HParams) -> UserEncoder:
        """Return the untrained user encoder."""
        sizes = hparams.head_num, hparams.head_dim, hparams.attention_hidden_dim
        return PPRecUserEncoder(*sizes, hparams.popularity_levels, hparams.popularity_emb_dim)

    def click_predictor(self, hparams: HParams) -> ClickPredictor:
        """Return the untrained click predictor."""
        recency = hparams.recency_hours, hparams.recency_levels, hparams.popularity_emb_dim, hparams.recency_layers
        return PPRecClickPredictor(hparams.click_rate_window, *recency, hparams.gate_layers)
