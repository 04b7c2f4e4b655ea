"""Attention: by a learned query, a user's, a candidate's, segment by segment, or of a sequence to itself.

In all of them the softmax is in float32, a padded position gets a weight of exactly 0, and a sequence of padding
alone gives the zero vector.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recommenders_miner.layers.common import CompositeLayer, ConfiguredLayer, Shape, Tensor, masked_softmax


class AdditiveAttention(ConfiguredLayer):
    """Pool the words of a title, or the articles of a history, into one vector, as NAML, LSTUR and NRMS do.

        a_i = q^T tanh(W v_i + b)
        w   = softmax_i(a_i)
        v   = Σ_i w_i v_i

    A Keras mask that `values` carries is used when `mask` is not given. `dim` is the length of the query q, 200 in all
    three papers: NAML (IJCAI 2019), Section 3.1; LSTUR (ACL 2019), Section 3.1; NRMS (EMNLP 2019), Section 2.1.

    Call arguments:
        values: (…, T, d).
        mask: (…, T) bool, True at valid positions. None: all are valid.
        return_weights: also return the attention weights.

    Returns:
        The pooled vectors (…, d), in the compute dtype; with `return_weights`, a pair of these and the weights (…, T).
    """

    def __init__(self, dim: int = 200, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dim = dim
        self.initializers = [keras.initializers.GlorotUniform() for _ in range(2)]

    def build(self, values_shape: Shape) -> None:
        """Create the weights for vectors of length `values_shape[-1]`."""
        kernel, query = self.initializers
        self.kernel = self.add_weight(name="kernel", shape=(values_shape[-1], self.dim), initializer=kernel)
        self.bias = self.add_weight(name="bias", shape=(self.dim,), initializer="zeros")
        self.query = self.add_weight(name="query", shape=(self.dim, 1), initializer=query)

    def call(self, values: Tensor, mask: Tensor | None = None, return_weights: bool = False) -> Tensor:
        """Pool `values`; see the class for the shapes."""
        return _pool(values, self.logits(values), mask, return_weights)

    def logits(self, values: Tensor) -> Tensor:
        """Return the attention logits a (…, T) of `values`, from which `call` makes the weights."""
        hidden = ops.tanh(ops.matmul(values, self.kernel) + self.bias)
        return ops.squeeze(ops.matmul(hidden, self.query), axis=-1)


class PersonalizedAttention(ConfiguredLayer):
    """Pool words, or the articles of a history, as one user would weigh them.

    It is `AdditiveAttention` with the query q_u of user u: that of Microsoft Recommenders' NPA. The paper's (KDD 2019,
    Section 3.3) puts the tanh around the query, a_i = v_i^T tanh(W q_u + b). Here the keys tanh(W v_i + b) have nothing
    to do with the user: where many meet the same values, `keys` computes them once, and `pool_by_query` does the rest.

    `dim` is the length q of the queries and keys. Of values (B, T, d), a query (B, q) and a mask (B, T) bool, True at
    valid positions, it gives vectors (B, d) in the compute dtype; with `return_weights`, also the weights (B, T).
    """

    def __init__(self, dim: int = 200, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dim = dim

    def build(self, values_shape: Shape, query_shape: Shape | None = None) -> None:
        """Create the weights for vectors of length `values_shape[-1]`."""
        self.kernel = self.add_weight(name="kernel", shape=(values_shape[-1], self.dim), initializer="glorot_uniform")
        self.bias = self.add_weight(name="bias", shape=(self.dim,), initializer="zeros")

    def keys(self, values: Tensor) -> Tensor:
        """Compute the keys (…, T, q) of values (…, T, d)."""
        if not self.built:
            self.build(values.shape)
            self.built = True
        kernel, bias = (ops.cast(weight, self.compute_dtype) for weight in (self.kernel, self.bias))
        return ops.tanh(ops.matmul(ops.cast(values, self.compute_dtype), kernel) + bias)

    def call(self, values: Tensor, query: Tensor, mask: Tensor | None = None, return_weights: bool = False) -> Tensor:
        """Pool `values`; see the class for the shapes."""
        return pool_by_query(values, self.keys(values), query, mask, return_weights)


def pool_by_query(
    values: Tensor, keys: Tensor, query: Tensor, mask: Tensor | None = None, return_weights: bool = False
) -> Tensor:
    """Pool sequences by the inner products of their keys with a query: `Σ_i softmax_i(q^T k_i) v_i`.

    Of values (B, …, T, d), keys (B, …, T, q), one query (B, q) for all the sequences of a row, and a mask (B, …, T),
    True at valid positions, it gives vectors (B, …, d), zero for a sequence of padding alone, and with `return_weights`
    a pair of these and the weights (B, …, T), all in the dtype of `values`.
    """
    shape = ops.shape(keys)
    # One product of matrices per user, whatever the axes between.
    flat = ops.reshape(keys, (shape[0], -1, keys.shape[-1]))
    logits = ops.reshape(ops.matmul(flat, ops.cast(query, keys.dtype)[:, :, None]), shape[:-1])
    return _pool(values, logits, mask, return_weights)


def _pool(values: Tensor, logits: Tensor, mask: Tensor | None, return_weights: bool) -> Tensor:
    """Sum values (…, T, d) up by the softmax of their logits (…, T), and return the weights too if asked to."""
    weights = ops.cast(masked_softmax(logits, mask), values.dtype)
    pooled = ops.squeeze(ops.matmul(ops.expand_dims(weights, axis=-2), values), axis=-2)
    return (pooled, weights) if return_weights else pooled


class SegmentPooling(ConfiguredLayer):
    """Pool each segment of a sequence into a vector, as the words of every article that stands in one text.

        w_st = softmax_t(a_t) over the positions t of segment s
        v_s  = Σ_t w_st h_t

    with `attention` a_t = q^T tanh(W h_t + b), with `mean` a_t = 0. A segment without a position gives the zero vector.

    Of values (B, T, d) and a mask (B, S, T) bool, True where a position belongs to a segment, it gives (B, S, d) in the
    compute dtype. `attention_dim` is the length of the query q.
    """

    def __init__(self, pooling: str = "attention", attention_dim: int = 200, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.attention = AdditiveAttention(attention_dim, dtype=self.dtype_policy) if pooling == "attention" else None

    def build(self, values_shape: Shape) -> None:
        """Create the weights for vectors of length `values_shape[-1]`."""
        if self.attention is not None:
            self.attention.build(values_shape)

    def call(self, values: Tensor, mask: Tensor) -> Tensor:
        """Pool `values`; see the class for the shapes."""
        logits = ops.zeros_like(values[..., 0]) if self.attention is None else self.attention.logits(values)
        weights = masked_softmax(ops.expand_dims(logits, axis=-2), mask)
        return ops.matmul(ops.cast(weights, self.compute_dtype), values)


class CandidateAttention(CompositeLayer):
    """Pool the clicked articles once for each candidate, by a small network over both (DKN, WWW 2018, Section 4.4).

        a_cj = v^T relu(W [h_c; h_j] + b)
        w_c  = softmax_j(a_cj)
        u_c  = Σ_j w_cj h_j

    W [h_c; h_j] is computed as W_c h_c + W_j h_j, so that candidates and clicks go through it once each and not once
    per pair.

    `dim` is the network's hidden dimension. Of a history (B, M, d), candidates (B, C, d) and a mask (B, M) bool, True
    at a click, it gives (B, C, d) in the compute dtype; with `return_weights`, also the weights (B, C, M).
    """

    def __init__(self, dim: int = 100, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.of_click = keras.layers.Dense(dim, dtype=self.dtype_policy, name="of_click")
        self.of_candidate = keras.layers.Dense(dim, use_bias=False, dtype=self.dtype_policy, name="of_candidate")
        self.logit = keras.layers.Dense(1, use_bias=False, dtype=self.dtype_policy, name="logit")

    def call(
        self, history: Tensor, candidates: Tensor, mask: Tensor | None = None, return_weights: bool = False
    ) -> Tensor:
        """Pool `history`; see the class for the shapes."""
        pairs = self.of_candidate(candidates)[:, :, None, :] + self.of_click(history)[:, None, :, :]
        logits = ops.squeeze(self.logit(ops.relu(pairs)), axis=-1)
        weights = ops.cast(masked_softmax(logits, None if mask is None else mask[:, None, :]), self.compute_dtype)
        pooled = ops.matmul(weights, history)
        return (pooled, weights) if return_weights else pooled


class SelfAttention(ConfiguredLayer):
    """Relate the words of a title, or the articles of a history, to each other (NRMS, EMNLP 2019, Section 2.1).

    Each head computes `softmax(Q K^T / sqrt(head_dim)) V` with its own parts of Q, K and V, which are products of the
    input with three kernels, without bias. The heads' outputs are concatenated, and that is the output. NRMS' code has
    no projection after the heads; `keras.layers.MultiHeadAttention` always has one, which is why it does not serve.

    As a query, a padded position still gets an output, which whatever pools the sequence has to mask: the layer passes
    its mask on. A Keras mask that `values` carries is used when `mask` is not given.

    Call arguments:
        values: (B, T, d).
        mask: (B, T) bool, True at valid positions. None: all are valid.
        return_weights: also return the attention weights.

    Returns:
        (B, T, num_heads * head_dim), in the compute dtype; with `return_weights`, a pair of these and the weights
        (B, num_heads, T, T): how much of each position, the last axis, goes into each other.
    """

    def __init__(self, num_heads: int = 20, head_dim: int = 20, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads, self.head_dim = num_heads, head_dim
        # One each, since one for all would start Q, K and V as one.
        self.initializers = [keras.initializers.GlorotUniform() for _ in range(3)]
        self.supports_masking = True

    def build(self, values_shape: Shape) -> None:
        """Create the weights for vectors of length `values_shape[-1]`."""
        shape = (values_shape[-1], self.num_heads * self.head_dim)
        self.query_kernel, self.key_kernel, self.value_kernel = (
            self.add_weight(name=f"{name}_kernel", shape=shape, initializer=initializer)
            for name, initializer in zip(("query", "key", "value"), self.initializers, strict=True)
        )

    def call(self, values: Tensor, mask: Tensor | None = None, return_weights: bool = False) -> Tensor:
        """Attend within each sequence; see the class for the shapes."""
        # On a CPU three products take less time than one with a fused kernel, whose result has to be cut up
        # again. The scale goes into the small kernel rather than the large logits.
        kernels = (self.query_kernel * self.head_dim**-0.5, self.key_kernel, self.value_kernel)
        heads = (-1, ops.shape(values)[1], self.num_heads, self.head_dim)
        query, key, value = (
            ops.transpose(ops.reshape(ops.matmul(values, kernel), heads), (0, 2, 1, 3)) for kernel in kernels
        )
        logits = ops.matmul(query, ops.swapaxes(key, -1, -2))
        key_mask = None if mask is None else ops.expand_dims(mask, axis=(1, 2))
        weights = ops.cast(masked_softmax(logits, key_mask), self.compute_dtype)
        attended = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
        attended = ops.reshape(attended, (-1, ops.shape(values)[1], self.num_heads * self.head_dim))
        return (attended, weights) if return_weights else attended

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None = None) -> Tensor:
        """Return the mask of the input: the positions of the output are the same."""
        return previous_mask


class WordConvolution(CompositeLayer):
    """One convolution over the words of a text, then dropout: `c_i = f(F [w_{i-k}; …; w_{i+k}] + b)`.

    Beyond both ends of a text stand zeros, so the words must be zero behind the last one, as `TokenVectors` gives them.

    `window` is 2k + 1 words, `activation` is f. Of words (U, L, e) it gives (U, L, filters) in the compute dtype, not
    zero behind the last word. NPA (KDD 2019), NAML (IJCAI 2019) and LSTUR (ACL 2019) have it.
    """

    def __init__(
        self, filters: int = 400, window: int = 3, activation: str = "relu", dropout: float = 0.2, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.convolution = keras.layers.Conv1D(
            filters, window, padding="same", activation=activation, dtype=self.dtype_policy
        )
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def call(self, words: Tensor, training: bool | None = None) -> Tensor:
        """See the class for the shapes."""
        return self.dropout(self.convolution(words), training=training)
