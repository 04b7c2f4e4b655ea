"""Layers that see each vector of a sequence in the context of the others."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recommenders_miner.layers.common import CompositeLayer, ConfiguredLayer, masked_softmax, require_positive


@keras.saving.register_keras_serializable(package="recommenders_miner")
class SelfAttention(ConfiguredLayer):
    """Relate the words of a title, or the articles of a history, to each other, as NRMS does.

    Each head computes `softmax(Q K^T / sqrt(head_dim)) V` with its own parts of Q, K and V, which are
    products of the input with three kernels, without bias. The heads' outputs are concatenated, and that is
    the output. NRMS' code has no projection after the heads; `keras.layers.MultiHeadAttention` always has
    one, which is why it does not serve.

    The softmax is in float32. As a key, a padded position gets a weight of exactly 0, and a sequence of
    padding alone gives zeros. As a query, a padded position still gets an output, which whatever pools the
    sequence has to mask: the layer passes its mask on. A Keras mask that `values` carries is used when `mask`
    is not given.

    Args:
        num_heads: number of heads.
        head_dim: length of a head's output.
        query_initializer: initialiser of the weight `query_kernel`, (d, num_heads * head_dim).
        key_initializer: initialiser of the weight `key_kernel`, of the same shape.
        value_initializer: initialiser of the weight `value_kernel`, of the same shape. The three initialisers
            are apart so that none shares its seed with another, which would start Q, K and V as one.
        **kwargs: arguments of `keras.layers.Layer`.

    Call arguments:
        values: (B, T, d).
        mask: (B, T) bool, True at valid positions. None: all are valid.
        return_weights: also return the attention weights.

    Returns:
        (B, T, num_heads * head_dim), in the compute dtype. With `return_weights`, a pair of these and the weights
        (B, num_heads, T, T), in the compute dtype: how much of each position, the last axis, goes into each other.

    Raises:
        ValueError: a size is below 1, or an argument has the wrong rank.

    Reference:
        Neural News Recommendation with Multi-Head Self-Attention (NRMS), EMNLP 2019, Section 2.1.
    """

    PARTS = ("query_initializer", "key_initializer", "value_initializer")

    def __init__(
        self,
        num_heads: int = 20,
        head_dim: int = 20,
        query_initializer: str | keras.Initializer = "glorot_uniform",
        key_initializer: str | keras.Initializer = "glorot_uniform",
        value_initializer: str | keras.Initializer = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        require_positive(num_heads=num_heads, head_dim=head_dim)
        self.config = {"num_heads": num_heads, "head_dim": head_dim}
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.query_initializer = keras.initializers.get(query_initializer)
        self.key_initializer = keras.initializers.get(key_initializer)
        self.value_initializer = keras.initializers.get(value_initializer)
        self.supports_masking = True

    def build(self, values_shape: tuple[int | None, ...]) -> None:
        """Create the weights for vectors of length `values_shape[-1]`."""
        shape = (values_shape[-1], self.num_heads * self.head_dim)
        self.query_kernel = self.add_weight(name="query_kernel", shape=shape, initializer=self.query_initializer)
        self.key_kernel = self.add_weight(name="key_kernel", shape=shape, initializer=self.key_initializer)
        self.value_kernel = self.add_weight(name="value_kernel", shape=shape, initializer=self.value_initializer)

    def call(self, values: Any, mask: Any | None = None, return_weights: bool = False) -> Any:
        """Attend within each sequence; see the class for the shapes."""
        fits = len(values.shape) == 3 and (mask is None or len(mask.shape) == 2)
        self.require(fits, "values (B, T, d) and mask (B, T)", values=values, mask=mask)
        # On a CPU three products take less time than one with a fused kernel, whose result has to be cut up
        # again. The scale goes into the small kernel rather than the large logits.
        query = self._split_heads(ops.matmul(values, self.query_kernel * self.head_dim**-0.5))
        key = self._split_heads(ops.matmul(values, self.key_kernel))
        value = self._split_heads(ops.matmul(values, self.value_kernel))

        logits = ops.matmul(query, ops.swapaxes(key, -1, -2))
        key_mask = None if mask is None else ops.expand_dims(mask, axis=(1, 2))
        weights = ops.cast(masked_softmax(logits, key_mask), self.compute_dtype)
        attended = self._join_heads(ops.matmul(weights, value))
        return (attended, weights) if return_weights else attended

    def _split_heads(self, projected: Any) -> Any:
        """(B, T, num_heads * head_dim) -> (B, num_heads, T, head_dim)."""
        heads = ops.reshape(projected, (-1, ops.shape(projected)[1], self.num_heads, self.head_dim))
        return ops.transpose(heads, (0, 2, 1, 3))

    def _join_heads(self, heads: Any) -> Any:
        """(B, num_heads, T, head_dim) -> (B, T, num_heads * head_dim)."""
        joined = ops.transpose(heads, (0, 2, 1, 3))
        return ops.reshape(joined, (-1, ops.shape(joined)[1], self.num_heads * self.head_dim))

    def compute_mask(self, inputs: Any, previous_mask: Any | None = None) -> Any:
        """Return the mask of the input: the positions of the output are the same."""
        return previous_mask


@keras.saving.register_keras_serializable(package="recommenders_miner")
class WordConvolution(CompositeLayer):
    """One convolution over the words of a text, then dropout: `c_i = f(F [w_{i-k}; …; w_{i+k}] + b)`.

    Beyond both ends of a text stand zeros, so the words must be zero behind the last one, as `TokenVectors` gives them.

    Args:
        filters: filters of the convolution.
        window: words under a filter, 2k + 1.
        activation: f.
        dropout: share of activations dropped in training.
        **kwargs: arguments of `keras.layers.Layer`.

    Call arguments:
        words: (U, L, e).

    Returns:
        (U, L, filters), in the compute dtype; not zero behind the last word.

    References:
        NPA (KDD 2019), NAML (IJCAI 2019), LSTUR (ACL 2019).
    """

    def __init__(
        self, filters: int = 400, window: int = 3, activation: str = "relu", dropout: float = 0.2, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.config = {"filters": filters, "window": window, "activation": activation, "dropout": dropout}
        self.convolution = keras.layers.Conv1D(
            filters, window, padding="same", activation=activation, dtype=self.dtype_policy
        )
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def call(self, words: Any, training: bool | None = None) -> Any:
        """See the class for the shapes."""
        return self.dropout(self.convolution(words), training=training)
