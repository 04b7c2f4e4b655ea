"""Cosine similarity that is safe at the zero vector."""

from __future__ import annotations

from typing import Any

from keras import ops

# The squared length up to which a vector counts as zero; well above the smallest normal float32 (1.2e-38).
_ZERO_SQUARED_LENGTH = 1e-24


def unit_vectors(vectors: Any) -> Any:
    """Scale vectors to length one along the last axis, in float32.

    The zero vector (length up to 1e-12) stays zero, and its gradient is zero. `keras.ops.normalize` divides
    by a small epsilon there instead, which makes the gradient huge.

    Args:
        vectors: float tensor (…, d).

    Returns:
        float32 tensor (…, d).
    """
    vectors = ops.cast(vectors, "float32")
    squared_length = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    nonzero = squared_length > _ZERO_SQUARED_LENGTH
    # The inner selection keeps rsqrt away from 0: the gradient of a branch not taken must be finite too.
    inverse_length = ops.where(nonzero, ops.rsqrt(ops.where(nonzero, squared_length, 1.0)), 0.0)
    return vectors * inverse_length


def cosine(a: Any, b: Any) -> Any:
    """Cosine of every vector of `a` with every vector of `b`, in float32.

    The cosine of the zero vector with anything is 0, with a zero gradient.

    Args:
        a: float tensor (…, n, d).
        b: float tensor (…, m, d); its leading axes broadcast against those of `a`.

    Returns:
        float32 tensor (…, n, m).
    """
    return ops.matmul(unit_vectors(a), ops.swapaxes(unit_vectors(b), -1, -2))
