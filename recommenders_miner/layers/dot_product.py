"""The dot product of a user and a candidate."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="recommenders_miner")
class DotProduct(keras.layers.Layer):
    """Scores a candidate by its dot product with the user: `s = u^T h_c`.

    Call arguments:
        users: (B, d), or (B, C, d) where the user depends on the candidate.
        candidates: (B, C, d).
        mask: accepted as every click predictor does, and not needed: a candidate's score depends on no other's.

    Returns:
        (B, C) float32 scores.
    """

    def call(self, users: Any, candidates: Any, mask: Any = None) -> Any:
        """Score; see the class for the shapes."""
        users, candidates = ops.cast(users, "float32"), ops.cast(candidates, "float32")
        if len(users.shape) == 3:
            return ops.sum(users * candidates, axis=-1)
        return ops.squeeze(ops.matmul(candidates, users[:, :, None]), axis=-1)

    def compute_mask(self, inputs: Any, previous_mask: Any | None = None) -> None:
        """No mask goes on: scores are no sequence of vectors."""
        return None
