"""Candidate-aware attention: a history as one candidate sees it (DKN)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recommenders_miner.layers.composite_layer import CompositeLayer
from recommenders_miner.layers.masked_softmax import masked_softmax


@keras.saving.register_keras_serializable(package="recommenders_miner")
class CandidateAttention(CompositeLayer):
    """Pool the clicked news once for each candidate, by a small network over both.

        a_cj = v^T relu(W [h_c; h_j] + b)
        w_c  = softmax_j(a_cj)
        u_c  = Σ_j w_cj h_j

    W [h_c; h_j] is computed as W_c h_c + W_j h_j, so that the candidates and the clicks go through it once each and not
    once a pair. The softmax is in float32. A padded click gets a weight of exactly 0, and a history of padding alone
    gives the zero vector.

    Args:
        dim: hidden dimension of the network.
        **kwargs: arguments of `keras.layers.Layer`.

    Call arguments:
        history: (B, M, d), vectors of the clicked news.
        candidates: (B, C, d), vectors of the candidates.
        mask: (B, M) bool, True at a click. None: no padding.
        return_weights: also return the attention weights.

    Returns:
        (B, C, d), in the compute dtype. With `return_weights`, a pair of these and the weights (B, C, M).

    Reference:
        Wang et al., "DKN: Deep Knowledge-Aware Network for News Recommendation", WWW 2018, Section 4.4.
    """

    def __init__(self, dim: int = 100, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = {"dim": dim}
        self.of_click = keras.layers.Dense(dim, dtype=self.dtype_policy)
        self.of_candidate = keras.layers.Dense(dim, use_bias=False, dtype=self.dtype_policy)
        self.logit = keras.layers.Dense(1, use_bias=False, dtype=self.dtype_policy)

    def call(self, history: Any, candidates: Any, mask: Any | None = None, return_weights: bool = False) -> Any:
        """Pool `history`; see the class for the shapes."""
        pairs = self.of_candidate(candidates)[:, :, None, :] + self.of_click(history)[:, None, :, :]
        logits = ops.squeeze(self.logit(ops.relu(pairs)), axis=-1)
        weights = ops.cast(masked_softmax(logits, None if mask is None else mask[:, None, :]), self.compute_dtype)
        pooled = ops.matmul(weights, history)
        return (pooled, weights) if return_weights else pooled
