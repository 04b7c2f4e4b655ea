"""Several interest vectors from one click history (MINER, Section 3.3), weighted by category (Section 3.4)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recommenders_miner.layers.common import ConfiguredLayer, cosine, masked_softmax, require_positive


@keras.saving.register_keras_serializable(package="recommenders_miner")
class PolyAttention(ConfiguredLayer):
    """Read K interest vectors from a click history with K learned context codes.

    With the clicked articles `h_j`, the context codes `c_i` and the projection `W^h`, Equations (1), (2) and (5)
    of MINER:

        logit_ij = c_i^T tanh(W^h h_j)
        w_ij     = softmax_j(logit_ij + bias_j)
        e_i      = Σ_j w_ij h_j

    The softmax runs over the history, in float32. A padded position gets a weight of exactly 0, and a user
    without a single click gets the zero vector for every interest. The order of the history does not matter.

    A Keras mask that `history` carries is used when `mask` is not given, but Keras finds it only while
    `history` is the only tensor argument: with a `bias`, pass `mask` explicitly.

    Args:
        num_interests: K, the number of context codes.
        code_dim: length of a context code.
        projection_initializer: initialiser of the weight `projection`, (d, code_dim).
        codes_initializer: initialiser of the weight `codes`, (K, code_dim).
        **kwargs: arguments of `keras.layers.Layer`.

    Call arguments:
        history: (B, M, d), vectors of the clicked articles.
        mask: (B, M) bool, True where a click is, False at padding. None: no padding.
        bias: added to the logits of every interest: (B, M), or (B, C, M) for one per candidate; see
            `CategoryBias`.
        return_weights: also return the attention weights.

    Returns:
        The interests (B, K, d), or (B, C, K, d) with a (B, C, M) bias, in the compute dtype. With
        `return_weights`, a pair of these and the weights, (B, K, M) or (B, C, K, M), in the compute dtype.

    Raises:
        ValueError: an argument has the wrong rank, or a size is below 1.

    Example:
    ```python
    history = np.random.normal(size=(2, 50, 256))
    mask = np.arange(50) < np.array([[12], [50]])
    interests = PolyAttention(num_interests=32)(history, mask=mask)  # (2, 32, 256)
    ```

    Reference:
        MINER: Multi-Interest Matching Network for News Recommendation, Findings of ACL 2022, Section 3.3; for the bias
        Section 3.4.
    """

    PARTS = ("projection_initializer", "codes_initializer")

    def __init__(
        self,
        num_interests: int = 32,
        code_dim: int = 200,
        projection_initializer: str | keras.Initializer = "glorot_uniform",
        codes_initializer: str | keras.Initializer = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        require_positive(num_interests=num_interests, code_dim=code_dim)
        self.config = {"num_interests": num_interests, "code_dim": code_dim}
        self.num_interests = num_interests
        self.code_dim = code_dim
        self.projection_initializer = keras.initializers.get(projection_initializer)
        self.codes_initializer = keras.initializers.get(codes_initializer)

    def build(self, history_shape: tuple[int | None, ...]) -> None:
        """Create the weights for vectors of length `history_shape[-1]`."""
        self.projection = self.add_weight(
            name="projection",
            shape=(history_shape[-1], self.code_dim),
            initializer=self.projection_initializer,
        )
        self.codes = self.add_weight(
            name="codes", shape=(self.num_interests, self.code_dim), initializer=self.codes_initializer
        )

    def call(self, history: Any, mask: Any | None = None, bias: Any | None = None, return_weights: bool = False) -> Any:
        """Compute the interests; see the class for the shapes."""
        fits = (
            len(history.shape) == 3
            and (mask is None or len(mask.shape) == 2)
            and (bias is None or len(bias.shape) in (2, 3))
        )
        expected = "history (B, M, d), mask (B, M) and bias (B, M) or (B, C, M)"
        self.require(fits, expected, history=history, mask=mask, bias=bias)
        logits = self.logits(history)
        if mask is not None:
            mask = ops.expand_dims(mask, axis=1)
        per_candidate = bias is not None and len(bias.shape) == 3
        if per_candidate:
            logits = ops.expand_dims(logits, axis=1)
            mask = None if mask is None else ops.expand_dims(mask, axis=1)
        if bias is not None:
            logits = logits + ops.cast(ops.expand_dims(bias, axis=-2), "float32")
        weights = ops.cast(masked_softmax(logits, mask), self.compute_dtype)
        interests = self._weighted_sums(weights, history)
        return (interests, weights) if return_weights else interests

    def logits(self, history: Any) -> Any:
        """Compute the attention logits before bias and mask, Equation (2).

        They depend on the history alone, so that an evaluation computes them once per user and adds each
        candidate category's bias to them.

        Args:
            history: (B, M, d), vectors of the clicked articles.

        Returns:
            float32 tensor (B, K, M).
        """
        # The casts are for callers from outside: within `call`, Keras has already cast both.
        history = ops.cast(history, self.compute_dtype)
        hidden = ops.tanh(ops.matmul(history, ops.cast(self.projection, self.compute_dtype)))
        logits = ops.matmul(hidden, ops.transpose(ops.cast(self.codes, self.compute_dtype)))
        return ops.cast(ops.swapaxes(logits, -1, -2), "float32")

    def _weighted_sums(self, weights: Any, history: Any) -> Any:
        """Compute Σ_j w_ij h_j for weights (B, K, M) or (B, C, K, M), as one product of matrices per user."""
        if len(weights.shape) == 3:
            return ops.matmul(weights, history)
        batch, candidates, interests, length = ops.shape(weights)
        rows = ops.reshape(weights, (batch, candidates * interests, length))
        return ops.reshape(ops.matmul(rows, history), (batch, candidates, interests, history.shape[-1]))


@keras.saving.register_keras_serializable(package="recommenders_miner")
class CategoryBias(ConfiguredLayer):
    """Bias the clicked articles by a candidate's category: `λ cos(b_j, b_c)` in Equation (5) of MINER.

    `b_j` and `b_c` are the category vectors of clicked article j and of the candidate. λ is one learned scalar,
    the weight `scale`. The result goes into the `bias` of `PolyAttention`. The cosine is computed in float32;
    that of a zero vector is 0, so padding and articles of unknown category may have the zero vector.

    Args:
        scale_initializer: initialiser of `scale`. λ starts at 1.
        **kwargs: arguments of `keras.layers.Layer`.

    Call arguments:
        history_category: (B, M, e), category vectors of the clicked articles.
        candidate_category: (B, C, e), category vectors of the candidates, or (B, e) for one candidate per user.

    Returns:
        (B, C, M), or (B, M) for one candidate per user, in the compute dtype.

    Raises:
        ValueError: the arguments do not have these ranks.

    Example:
    ```python
    bias = CategoryBias()(history_category, candidate_category)
    interests = PolyAttention()(history, mask=mask, bias=bias)
    ```

    Reference:
        MINER: Multi-Interest Matching Network for News Recommendation, Findings of ACL 2022, Section 3.4.
    """

    PARTS = ("scale_initializer",)

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
        self.require(
            len(history_category.shape) == 3 and (one_candidate or len(candidate_category.shape) == 3),
            "history_category (B, M, e) and candidate_category (B, C, e) or (B, e)",
            history_category=history_category,
            candidate_category=candidate_category,
        )
        if one_candidate:
            candidate_category = ops.expand_dims(candidate_category, axis=1)
        bias = ops.cast(self.scale, "float32") * cosine(candidate_category, history_category)
        bias = ops.cast(bias, self.compute_dtype)
        return ops.squeeze(bias, axis=1) if one_candidate else bias
