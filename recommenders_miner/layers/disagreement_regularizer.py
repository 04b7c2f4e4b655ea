"""Disagreement regularisation: keep the interests of a user apart (MINER, Section 3.3)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recommenders_miner.layers.common import ConfiguredLayer, unit_vectors


def disagreement(interests: Any) -> Any:
    """Compute the mean cosine over all K² pairs of a user's interests, the diagonal included: Equation (3) of MINER.

    With the unit vectors `ê_i`, `1/K² Σ_i Σ_j ê_i·ê_j = ||Σ_i ê_i||² / K²`, which costs K·d instead of K²·d.

    Args:
        interests: float tensor (…, K, d).

    Returns:
        float32 tensor (…), from 0 to 1; 1 where all interests point the same way.
    """
    mean_direction = ops.mean(unit_vectors(interests), axis=-2)
    return ops.sum(ops.square(mean_direction), axis=-1)


@keras.saving.register_keras_serializable(package="recommenders_miner")
class DisagreementRegularizer(ConfiguredLayer):
    """Pass interests through unchanged and, in training, add `weight · L_D` to the model's loss.

    `L_D` is the mean of Equation (3) of MINER over the leading axes: over the users, and over their
    candidates where the interests depend on the candidate. The layer has no weights. The loss is computed in
    float32.

    Args:
        weight: β of Equation (7), 0.8 in the paper.
        **kwargs: arguments of `keras.layers.Layer`.

    Call arguments:
        interests: (…, K, d), for example (B, K, d) or (B, C, K, d).
        mask: (…) bool, False leaves a padded user or candidate out of the mean. If all are left out the loss
            is 0.
        training: whether to add the loss; set by Keras.

    Returns:
        `interests`.

    Raises:
        ValueError: `weight` is negative, or `mask` does not have one axis for each leading axis of
            `interests`.

    Example:
    ```python
    interests = PolyAttention()(history, mask=mask)
    interests = DisagreementRegularizer(weight=0.8)(interests)
    ```

    Reference:
        MINER: Multi-Interest Matching Network for News Recommendation, Findings of ACL 2022, Section 3.3.
    """

    def __init__(self, weight: float = 0.8, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if weight < 0:
            raise ValueError(f"weight must not be negative. Received weight={weight}.")
        self.config = {"weight": weight}
        self.weight = weight

    def call(self, interests: Any, mask: Any | None = None, training: bool | None = None) -> Any:
        """Return `interests`; in training also add the loss."""
        fits = mask is None or len(mask.shape) == len(interests.shape) - 2
        expected = "interests (…, K, d) and a mask (…) over their leading axes"
        self.require(fits, expected, interests=interests, mask=mask)
        if training:
            self.add_loss(self.weight * _masked_mean(disagreement(interests), mask))
        return interests


def _masked_mean(values: Any, mask: Any | None) -> Any:
    """Compute the mean of the values whose mask is True; 0 if there is none."""
    if mask is None:
        return ops.mean(values)
    mask = ops.cast(mask, "float32")
    return ops.sum(values * mask) / ops.maximum(ops.sum(mask), 1.0)
