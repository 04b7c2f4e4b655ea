"""Category-aware attention weighting (MINER, Section 3.3)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recommenders_miner.layers.cosine import cosine


@keras.saving.register_keras_serializable(package="recommenders_miner")
class CategoryBias(keras.layers.Layer):
    """The bias of a candidate's category on the clicked news: `λ cos(b_j, b_c)` in Equation (5) of MINER.

    `b_j` and `b_c` are the category vectors of clicked news j and of the candidate. λ is one learned scalar,
    the weight `scale`. The result goes into the `bias` of `PolyAttention`. The cosine is computed in float32;
    that of a zero vector is 0, so padding and news of unknown category may have the zero vector.

    Args:
        scale_initializer: initialiser of `scale`. λ starts at 1.
        **kwargs: arguments of `keras.layers.Layer`.

    Call arguments:
        history_category: (B, M, e), category vectors of the clicked news.
        candidate_category: (B, C, e), category vectors of the candidates, or (B, e) for one candidate a user.

    Returns:
        (B, C, M), or (B, M) for one candidate a user, in the compute dtype.

    Raises:
        ValueError: the arguments do not have these ranks.

    Example:
    ```python
    bias = CategoryBias()(history_category, candidate_category)
    interests = PolyAttention()(history, mask=mask, bias=bias)
    ```

    Reference:
        MINER: Multi-Interest Matching Network for News Recommendation, Findings of ACL 2022.
    """

    def __init__(self, scale_initializer: str | keras.Initializer = "ones", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale_initializer = keras.initializers.get(scale_initializer)

    def build(
        self, history_category_shape: tuple[int | None, ...], candidate_category_shape: tuple[int | None, ...]
    ) -> None:
        """Create the weight λ."""
        self.scale = self.add_weight(name="scale", shape=(), initializer=self.scale_initializer)

    def call(self, history_category: Any, candidate_category: Any) -> Any:
        """Compute λ·cos; see the class for the shapes."""
        one_candidate = len(candidate_category.shape) == 2
        if len(history_category.shape) != 3 or not (one_candidate or len(candidate_category.shape) == 3):
            raise ValueError(
                "CategoryBias expects history_category (B, M, e) and candidate_category (B, C, e) or (B, e). "
                f"Received shapes {tuple(history_category.shape)} and {tuple(candidate_category.shape)}."
            )
        if one_candidate:
            candidate_category = ops.expand_dims(candidate_category, axis=1)
        bias = ops.cast(self.scale, "float32") * cosine(candidate_category, history_category)
        bias = ops.cast(bias, self.compute_dtype)
        return ops.squeeze(bias, axis=1) if one_candidate else bias

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again."""
        return super().get_config() | {"scale_initializer": keras.initializers.serialize(self.scale_initializer)}
