"""Additive attention: pool a sequence into one vector with a learned query."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recommenders_miner.layers.masked_softmax import masked_softmax


@keras.saving.register_keras_serializable(package="recommenders_miner")
class AdditiveAttention(keras.layers.Layer):
    """Pool the words of a title, or the news of a history, into one vector, as NAML, LSTUR and NRMS do.

        a_i = q^T tanh(W v_i + b)
        w   = softmax_i(a_i)
        v   = Σ_i w_i v_i

    The softmax is in float32. A padded position gets a weight of exactly 0, and a sequence of padding alone
    gives the zero vector. A Keras mask that `values` carries is used when `mask` is not given.

    Args:
        dim: length of the query q; 200 in all three papers.
        kernel_initializer: initialiser of the weight `kernel`, W (d, dim).
        bias_initializer: initialiser of the weight `bias`, b (dim,).
        query_initializer: initialiser of the weight `query`, q (dim, 1).
        **kwargs: arguments of `keras.layers.Layer`.

    Call arguments:
        values: (…, T, d).
        mask: (…, T) bool, True at valid positions. None: all are valid.
        return_weights: also return the attention weights.

    Returns:
        The pooled vectors (…, d), in the compute dtype. With `return_weights`, a pair of these and the
        weights (…, T), in the compute dtype.

    Raises:
        ValueError: `dim` is below 1, or `mask` does not have one axis less than `values`.

    References:
        - Neural News Recommendation with Attentive Multi-View Learning (NAML), IJCAI 2019.
        - Neural News Recommendation with Long- and Short-term User Representations (LSTUR), ACL 2019.
        - Neural News Recommendation with Multi-Head Self-Attention (NRMS), EMNLP 2019.
    """

    def __init__(
        self,
        dim: int = 200,
        kernel_initializer: str | keras.Initializer = "glorot_uniform",
        bias_initializer: str | keras.Initializer = "zeros",
        query_initializer: str | keras.Initializer = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if dim < 1:
            raise ValueError(f"dim must be at least 1. Received dim={dim}.")
        self.dim = dim
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.query_initializer = keras.initializers.get(query_initializer)

    def build(self, values_shape: tuple[int | None, ...]) -> None:
        """Create the weights for vectors of length `values_shape[-1]`."""
        self.kernel = self.add_weight(
            name="kernel", shape=(values_shape[-1], self.dim), initializer=self.kernel_initializer
        )
        self.bias = self.add_weight(name="bias", shape=(self.dim,), initializer=self.bias_initializer)
        self.query = self.add_weight(name="query", shape=(self.dim, 1), initializer=self.query_initializer)

    def call(self, values: Any, mask: Any | None = None, return_weights: bool = False) -> Any:
        """Pool `values`; see the class for the shapes."""
        if mask is not None and len(mask.shape) != len(values.shape) - 1:
            raise ValueError(
                "AdditiveAttention expects values (…, T, d) and a mask (…, T). "
                f"Received values {tuple(values.shape)} and mask {tuple(mask.shape)}."
            )
        weights = ops.cast(masked_softmax(self.logits(values), mask), self.compute_dtype)
        pooled = ops.squeeze(ops.matmul(ops.expand_dims(weights, axis=-2), values), axis=-2)
        return (pooled, weights) if return_weights else pooled

    def logits(self, values: Any) -> Any:
        """Return the attention logits a (…, T) of `values`, from which `call` makes the weights."""
        hidden = ops.tanh(ops.matmul(values, self.kernel) + self.bias)
        return ops.squeeze(ops.matmul(hidden, self.query), axis=-1)

    def compute_mask(self, inputs: Any, previous_mask: Any | None = None) -> None:
        """No mask goes on: the masked axis is pooled away."""
        return None

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again."""
        return super().get_config() | {
            "dim": self.dim,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "query_initializer": keras.initializers.serialize(self.query_initializer),
        }
