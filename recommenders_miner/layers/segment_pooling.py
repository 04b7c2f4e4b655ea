"""Pooling the parts of one sequence, each into a vector of its own."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recommenders_miner.layers.additive_attention import AdditiveAttention
from recommenders_miner.layers.masked_softmax import masked_softmax


@keras.saving.register_keras_serializable(package="recommenders_miner")
class SegmentPooling(keras.layers.Layer):
    """Pool each segment of a sequence into a vector, as the words of every news that stands in one text.

        w_st = softmax_t(a_t) over the positions t of segment s
        v_s  = Σ_t w_st h_t

    with `attention` a_t = q^T tanh(W h_t + b), with `mean` a_t = 0. The softmax is in float32. A segment without a
    position gives the zero vector.

    Args:
        pooling: `attention` or `mean`.
        attention_dim: length of the query q.
        **kwargs: arguments of `keras.layers.Layer`.

    Call arguments:
        values: (B, T, d).
        mask: (B, S, T) bool, True where a position belongs to a segment.

    Returns:
        (B, S, d), in the compute dtype.

    Raises:
        ValueError: `pooling` is neither of the two.
    """

    def __init__(self, pooling: str = "attention", attention_dim: int = 200, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if pooling not in ("attention", "mean"):
            raise ValueError(f"pooling must be attention or mean. Received {pooling!r}.")
        self.pooling, self.attention_dim = pooling, attention_dim
        self.attention = AdditiveAttention(attention_dim, dtype=self.dtype_policy) if pooling == "attention" else None

    def build(self, values_shape: tuple[int | None, ...]) -> None:
        """Create the weights for vectors of length `values_shape[-1]`."""
        if self.attention is not None:
            self.attention.build(values_shape)

    def call(self, values: Any, mask: Any) -> Any:
        """Pool `values`; see the class for the shapes."""
        logits = ops.zeros_like(values[..., 0]) if self.attention is None else self.attention.logits(values)
        weights = masked_softmax(ops.expand_dims(logits, axis=-2), mask)
        return ops.matmul(ops.cast(weights, self.compute_dtype), values)

    def compute_mask(self, inputs: Any, previous_mask: Any | None = None) -> None:
        """No mask goes on: the masked axis is pooled away."""
        return None

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again."""
        return super().get_config() | {"pooling": self.pooling, "attention_dim": self.attention_dim}
