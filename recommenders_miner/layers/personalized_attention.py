"""Personalised attention: pool a sequence with a query of the user's own (NPA)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recommenders_miner.layers.masked_softmax import masked_softmax


@keras.saving.register_keras_serializable(package="recommenders_miner")
class PersonalizedAttention(keras.layers.Layer):
    """Pool the words of a title, or the news of a history, as one user would weigh them.

        a_i = q_u^T tanh(W v_i + b)
        w   = softmax_i(a_i)
        v   = Σ_i w_i v_i

    with the query q_u of user u. The keys tanh(W v_i + b) have nothing to do with the user: where many users meet the
    same values, `keys` computes them once, and `pool_by_query` does the rest.

    Args:
        dim: length q of the queries and keys; 200 in the paper.
        **kwargs: arguments of `keras.layers.Layer`.

    Call arguments:
        values: (B, T, d).
        query: (B, q).
        mask: (B, T) bool, True at valid positions. None: all are valid.
        return_weights: also return the attention weights.

    Returns:
        (B, d) pooled vectors, in the compute dtype; zero for a sequence of padding alone. With `return_weights`, a pair
        of these and the weights (B, T), in the compute dtype.

    Raises:
        ValueError: `dim` is below 1.

    Reference:
        Wu et al., "NPA: Neural News Recommendation with Personalized Attention", KDD 2019, Section 3.3.
    """

    def __init__(self, dim: int = 200, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if dim < 1:
            raise ValueError(f"dim must be at least 1. Received dim={dim}.")
        self.dim = dim

    def build(self, values_shape: tuple[int | None, ...], query_shape: tuple[int | None, ...] | None = None) -> None:
        """Create the weights for vectors of length `values_shape[-1]`."""
        self.kernel = self.add_weight(name="kernel", shape=(values_shape[-1], self.dim), initializer="glorot_uniform")
        self.bias = self.add_weight(name="bias", shape=(self.dim,), initializer="zeros")

    def keys(self, values: Any) -> Any:
        """Compute the keys (…, T, q) of values (…, T, d)."""
        if not self.built:
            self.build(values.shape)
            self.built = True
        kernel, bias = (ops.cast(weight, self.compute_dtype) for weight in (self.kernel, self.bias))
        return ops.tanh(ops.matmul(ops.cast(values, self.compute_dtype), kernel) + bias)

    def call(self, values: Any, query: Any, mask: Any | None = None, return_weights: bool = False) -> Any:
        """Pool `values`; see the class for the shapes."""
        return pool_by_query(values, self.keys(values), query, mask, return_weights)

    def compute_mask(self, inputs: Any, previous_mask: Any | None = None) -> None:
        """No mask goes on: the masked axis is pooled away."""
        return None

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again."""
        return super().get_config() | {"dim": self.dim}


def pool_by_query(values: Any, keys: Any, query: Any, mask: Any | None = None, return_weights: bool = False) -> Any:
    """Pool sequences by the inner products of their keys with a query: `Σ_i softmax_i(q^T k_i) v_i`.

    Args:
        values: (B, …, T, d).
        keys: (B, …, T, q).
        query: (B, q); serves all the sequences of its row.
        mask: (B, …, T) bool, True at valid positions. None: all are valid.
        return_weights: also return the weights.

    Returns:
        (B, …, d), in the dtype of `values`; zero for a sequence of padding alone. The softmax is in float32. With
        `return_weights`, a pair of these and the weights (B, …, T), in the dtype of `values`.
    """
    shape = ops.shape(keys)
    # One product of matrices a user, whatever the axes between.
    flat = ops.reshape(keys, (shape[0], -1, keys.shape[-1]))
    logits = ops.reshape(ops.matmul(flat, ops.cast(query, keys.dtype)[:, :, None]), shape[:-1])
    weights = ops.cast(masked_softmax(logits, mask), values.dtype)
    pooled = ops.squeeze(ops.matmul(ops.expand_dims(weights, axis=-2), values), axis=-2)
    return (pooled, weights) if return_weights else pooled
