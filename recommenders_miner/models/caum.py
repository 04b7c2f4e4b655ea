"""CAUM: Qi et al., "News Recommendation with Candidate-aware User Modeling", SIGIR 2022."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.encoders import InitialVectors, SelfAttentionHParams, build_encoder
from recommenders_miner.hparams import HParams, Sizes, hparam
from recommenders_miner.layers import News, Tensor, masked_softmax
from recommenders_miner.models.base import BaseModel, register
from recommenders_miner.models.network import DotProductPredictor, NewsRecommender, UserEncoder, Users


class CAUMHParams(SelfAttentionHParams):
    """Hyperparameters of the user encoder."""

    candidate_heads: int = hparam("model", 20, "heads of the candidate-aware self-attention, of head_dim each", ge=1)
    click_window: int = hparam("model", 3, "clicks under the candidate-aware CNN", ge=1)
    candidate_layers: Sizes = hparam("model", [400, 256], "hidden layers of the candidate-aware attention")


class CAUMUserEncoder(UserEncoder):
    """The clicked articles c_i as a candidate n sees them, in long and in short range, then pooled by it.

        l_i = [Σ_j γ^k_ij W^o_k c_j]_k,   γ^k_ij = softmax_j(q_i^T W^r_k c_j + q_n^T W^h_k c_j)
        s_i = W_c [c_{i-h}; …; c_{i+h}; n]
        m_i = P_m [s_i; l_i]
        u   = Σ_i α_i m_i,   α = softmax_i(Φ([m_i; n]))

    with q_i = Q_u c_i, q_n = Q_n n and a network Φ: the candidate-aware self-attention, CNN and attention of the paper.
    The authors' code joins candidate and click by one layer and lets the results attend to each other. A softmax over j
    does not see what is the same for all j, so that this comes to γ with W^r = W^h.

    We decide: a head reads its own part of q_i and q_n, and logits are divided by √head_dim, as in that code; the CNN
    sees zeros beyond both ends of a history, where the code goes round; dropout is on the clicks' vectors only.

    `layer_sizes` are the hidden layers of Φ, with tanh.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 20,
        head_dim: int = 20,
        window: int = 3,
        layer_sizes: Sequence[int] = (400, 256),
        dropout: float = 0.2,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        dense = functools.partial(keras.layers.Dense, dtype=self.dtype_policy)
        projection = functools.partial(dense, num_heads * head_dim, use_bias=False)
        self.click_query, self.click_key, self.value = projection(), projection(), projection()
        self.candidate_query, self.candidate_key = projection(), projection()
        self.split = keras.layers.Reshape((-1, num_heads, head_dim), dtype=self.dtype_policy)
        self.convolution = keras.layers.Conv1D(dim, window, padding="same", dtype=self.dtype_policy)
        self.local_candidate = dense(dim, use_bias=False)
        self.join = dense(dim)
        self.hidden = [dense(size, activation="tanh") for size in layer_sizes]
        self.relevance = dense(1)
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, history_shape: Any = None) -> None:
        """Create the weights, those too that only `bind_candidates` uses."""
        nothing = ops.zeros((1, 1, self.config["dim"]))
        self._users({"clicked": nothing, "mask": ops.ones((1, 1), "bool")}, nothing)

    def encode_history(self, history: News, mask: Tensor, user: Tensor, training: bool | None = None) -> Users:
        """Return `clicked` (B, M, d), zero at padding, and `mask` (B, M) bool."""
        clicked = self.dropout(history["vector"], training=training)
        return {"clicked": clicked * ops.cast(mask, clicked.dtype)[..., None], "mask": mask}

    def bind_candidates(self, state: Users, candidates: News) -> Tensor:
        """Return users (B, C, d), each as its candidate sees it; zero for an empty history."""
        return self._users(state, candidates["vector"])[0]

    def attention_weights(self, history: News, mask: Tensor, user: Tensor, candidates: News) -> Tensor:
        """Return the weights α of the clicks in context, (B, C, 1, M)."""
        state = self.encode_history(history, mask, user)
        return self._users(state, candidates["vector"])[1][:, :, None, :]

    def _users(self, state: Users, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """Compute u (B, C, d) and α (B, C, M)."""
        clicked, mask = state["clicked"], state["mask"]
        local = self.convolution(clicked)[:, None] + self.local_candidate(candidates)[:, :, None]
        joined = self.join(ops.concatenate([local, self._global(clicked, mask, candidates)], axis=-1))
        shown = ops.broadcast_to(ops.cast(candidates, joined.dtype)[:, :, None], ops.shape(joined))
        hidden = ops.concatenate([joined, shown], axis=-1)
        for layer in self.hidden:
            hidden = layer(hidden)
        weights = masked_softmax(ops.squeeze(self.relevance(hidden), axis=-1), mask[:, None, :])
        return ops.einsum("bci,bcid->bcd", ops.cast(weights, joined.dtype), joined), weights

    def _global(self, clicked: Tensor, mask: Tensor, candidates: Tensor) -> Tensor:
        """Compute l, (B, C, M, heads · head_dim)."""
        query, key = self.split(self.click_query(clicked)), self.split(self.click_key(clicked))
        among_clicks = ops.einsum("bihp,bjhp->bhij", query, key)
        query, key = self.split(self.candidate_query(candidates)), self.split(self.candidate_key(clicked))
        with_candidate = ops.einsum("bchp,bjhp->bchj", query, key)
        logits = (among_clicks[:, None] + with_candidate[:, :, :, None, :]) * self.config["head_dim"] ** -0.5
        weights = ops.cast(masked_softmax(logits, mask[:, None, None, None, :]), query.dtype)
        attended = ops.einsum("bchij,bjhp->bcihp", weights, self.split(self.value(clicked)))
        return ops.reshape(attended, (-1, *ops.shape(attended)[1:3], self.value.units))


class CAUMClickPredictor(DotProductPredictor):
    """The dot product of a candidate with the user as it sees it, z = u^T n."""

    candidates_at_once = 512  # each with the attention of every click to every other, in all heads
    not_searchable = "its user depends on the candidate"


@register("caum", paper="Qi et al., News Recommendation with Candidate-aware User Modeling, SIGIR", year=2022)
class CAUMModel(BaseModel):
    """CAUM: the candidate enters the self-attention, the CNN and the attention over the clicks; scored by dot product.

    The settings of the authors' code: 20 heads of 20, a window of 3, Φ of 400 and 256, dropout 20 %, 4 negatives, Adam.
    Its news encoder reads title, entities and topic; here it is any, and `knowledge` is the one with entities.
    """

    hparams_class = CAUMHParams

    def build_network(self, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsRecommender:
        """Return the untrained network."""
        news_encoder = build_encoder(hparams, vocabularies, vectors)
        heads, network = (hparams.candidate_heads, hparams.head_dim), (hparams.candidate_layers, hparams.dropout)
        user_encoder = CAUMUserEncoder(news_encoder.dim, *heads, hparams.click_window, *network)
        return NewsRecommender(news_encoder, user_encoder, CAUMClickPredictor())
