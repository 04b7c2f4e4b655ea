"""Fastformer as user encoder: Wu et al., "Fastformer: Additive Attention Can Be All You Need", arXiv 2021."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recommenders_miner.encoders import SelfAttentionHParams
from recommenders_miner.hparams import HParams, hparam
from recommenders_miner.layers import AdditiveAttention, CompositeLayer, News, Tensor, masked_softmax
from recommenders_miner.models.base import register
from recommenders_miner.models.network import UserEncoder
from recommenders_miner.models.nrms import NRMSModel


class FastformerHParams(SelfAttentionHParams):
    """Hyperparameters of the user encoder, whose heads are `head_num` of `head_dim`."""

    fastformer_layers: int = hparam("model", 2, "Fastformer layers over the clicked articles", ge=1)


class FastformerAttention(CompositeLayer):
    """Relate the vectors of a sequence through two summaries of it, in time linear in its length (Section 3).

    A head of p dimensions has a query q_i and a key k_i of each position, and sums them up by additive attention:

        q   = Σ_i α_i q_i,   α = softmax_i(w_q^T q_i / √p)     the global query
        p_i = q * k_i                                          elementwise
        k   = Σ_i β_i p_i,   β = softmax_i(w_k^T p_i / √p)     the global key
        r_i = W_r [k * v_i] + q_i

    with W_r over all heads side by side. As in the paper, values share the queries' parameters: v_i = q_i. The softmax
    is in float32 and over the valid positions only. We decide that a head's w_q and w_k read the head's own part; the
    authors' code lets them read all heads.

    Of values (B, T, d) and a mask (B, T), True at valid positions, it gives (B, T, num_heads · head_dim), in the
    compute dtype; at padding it says nothing.
    """

    def __init__(self, num_heads: int = 16, head_dim: int = 16, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = num_heads * head_dim
        self.query, self.key, self.transform = (
            keras.layers.Dense(self.size, use_bias=False, dtype=self.dtype_policy) for _ in range(3)
        )
        # One vector of p per head, as the kernel of a product with all heads.
        self.query_logits, self.key_logits = (
            keras.layers.EinsumDense("bthp,hp->bth", (None, num_heads), dtype=self.dtype_policy) for _ in range(2)
        )

    def call(self, values: Tensor, mask: Tensor) -> Tensor:
        """See the class for the shapes."""
        query, key = self._heads(self.query(values)), self._heads(self.key(values))
        global_query = self._summary(query, self.query_logits, mask)
        global_key = self._summary(global_query * key, self.key_logits, mask)
        side_by_side = (-1, ops.shape(values)[1], self.size)
        return self.transform(ops.reshape(global_key * query, side_by_side)) + ops.reshape(query, side_by_side)

    def _heads(self, projected: Tensor) -> Tensor:
        """(B, T, heads · p) -> (B, T, heads, p)."""
        return ops.reshape(projected, (-1, ops.shape(projected)[1], self.config["num_heads"], self.config["head_dim"]))

    def _summary(self, heads: Tensor, logits: keras.layers.Layer, mask: Tensor) -> Tensor:
        """Pool (B, T, heads, p) over T, each head by itself: (B, 1, heads, p)."""
        weights = masked_softmax(logits(heads) * self.config["head_dim"] ** -0.5, mask[:, :, None], axis=1)
        return ops.sum(ops.cast(weights, self.compute_dtype)[..., None] * heads, axis=1, keepdims=True)


class FastformerUserEncoder(UserEncoder):
    """The clicked articles through Fastformer layers, then pooled by additive attention.

        H ← LayerNorm(H + dropout(Fastformer(H)))

    The layers share their parameters, as the paper says. They have no feed-forward part, and clicks no positions: the
    authors' Keras code leaves both out.
    """

    def __init__(
        self, num_heads: int, head_dim: int, num_layers: int, attention_dim: int, dropout: float = 0.2, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.attention = FastformerAttention(num_heads, head_dim, dtype=self.dtype_policy)
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.norm = keras.layers.LayerNormalization(epsilon=1e-5, dtype=self.dtype_policy)
        self.pooling = AdditiveAttention(attention_dim, dtype=self.dtype_policy)

    def encode_history(self, history: News, mask: Tensor, user: Tensor, training: bool | None = None) -> Tensor:
        """Return user vectors (B, num_heads · head_dim); zero for an empty history."""
        hidden = ops.cast(history["vector"], self.compute_dtype)
        for _ in range(self.config["num_layers"]):
            hidden = self.norm(hidden + self.dropout(self.attention(hidden, mask), training=training))
        return self.pooling(hidden, mask=mask)


@register(
    "fastformer", paper="Wu et al., Fastformer: Additive Attention Can Be All You Need, arXiv 2108.09084", year=2021
)
class FastformerModel(NRMSModel):
    """NRMS with Fastformer in the place of self-attention over the clicked articles; scored by dot product.

    It is the user encoder of UniUM-Fastformer, the first of MIND's leaderboard, on any news encoder. The paper's
    settings: 16 heads of 16, Adam, dropout 20 %.
    """

    hparams_class = FastformerHParams

    def user_encoder(self, hparams: HParams) -> UserEncoder:
        """Return the untrained user encoder."""
        sizes = hparams.head_num, hparams.head_dim, hparams.fastformer_layers, hparams.attention_hidden_dim
        return FastformerUserEncoder(*sizes, hparams.dropout)
