"""Users as several interests, and their click scores: Sections 3.3 to 3.5 of MINER, Findings of ACL 2022."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import keras
from keras import ops

from recommenders_miner.layers.common import (
    ConfiguredLayer,
    Shape,
    Tensor,
    cosine,
    masked_softmax,
    mean_of_means,
    unit_vectors,
)

MODES = ("max", "mean", "weighted")


class PolyAttention(ConfiguredLayer):
    """Read K interest vectors from a click history with K learned context codes.

    With the clicked articles `h_j`, the context codes `c_i` and the projection `W^h`, Equations (1), (2) and (5)
    of MINER (Sections 3.3 and 3.4):

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

    Call arguments:
        history: (B, M, d), vectors of the clicked articles.
        mask: (B, M) bool, True where a click is, False at padding. None: no padding.
        bias: added to the logits of every interest: (B, M), or (B, C, M) for one per candidate; see
            `CategoryBias`.
        return_weights: also return the attention weights.
        keys: (B, M, d), what the weights are made of instead of the history, that they weigh.

    Returns:
        The interests (B, K, d), or (B, C, K, d) with a (B, C, M) bias, in the compute dtype. With
        `return_weights`, a pair of these and the weights, (B, K, M) or (B, C, K, M), in the compute dtype.

    Raises:
        ValueError: an argument has the wrong rank.

    Example:
    ```python
    history = np.random.normal(size=(2, 50, 256))
    mask = np.arange(50) < np.array([[12], [50]])
    interests = PolyAttention(num_interests=32)(history, mask=mask)  # (2, 32, 256)
    ```
    """

    def __init__(
        self,
        num_interests: int = 32,
        code_dim: int = 200,
        projection_initializer: str | keras.Initializer = "glorot_uniform",
        codes_initializer: str | keras.Initializer = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_interests, self.code_dim = num_interests, code_dim
        self.projection_initializer = keras.initializers.get(projection_initializer)
        self.codes_initializer = keras.initializers.get(codes_initializer)

    def build(self, history_shape: Shape) -> None:
        """Create the weights for vectors of length `history_shape[-1]`."""
        shape, initializer = (history_shape[-1], self.code_dim), self.projection_initializer
        self.projection = self.add_weight(name="projection", shape=shape, initializer=initializer)
        shape, initializer = (self.num_interests, self.code_dim), self.codes_initializer
        self.codes = self.add_weight(name="codes", shape=shape, initializer=initializer)

    def call(
        self,
        history: Tensor,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
        return_weights: bool = False,
        keys: Tensor | None = None,
    ) -> Tensor:
        """Compute the interests; see the class for the shapes."""
        per_candidate = bias is not None and len(bias.shape) == 3
        fits = len(history.shape) == 3 and (mask is None or len(mask.shape) == 2)
        fits = fits and (bias is None or per_candidate or len(bias.shape) == 2)
        expected = "history (B, M, d), mask (B, M) and bias (B, M) or (B, C, M)"
        self.require(fits, expected, history=history, mask=mask, bias=bias)
        logits = self.logits(history if keys is None else keys)
        if per_candidate:
            logits = ops.expand_dims(logits, axis=1)
        if bias is not None:
            logits = logits + ops.cast(ops.expand_dims(bias, axis=-2), "float32")
        mask = None if mask is None else ops.expand_dims(mask, axis=(1, 2) if per_candidate else 1)
        weights = ops.cast(masked_softmax(logits, mask), self.compute_dtype)
        interests = self.weighted_sums(weights, history)
        return (interests, weights) if return_weights else interests

    def logits(self, history: Tensor) -> Tensor:
        """Compute the attention logits (B, K, M), float32, of a history (B, M, d) before bias and mask, Equation (2).

        They depend on the history alone, so that an evaluation computes them once per user and adds each
        candidate category's bias to them.
        """
        # The casts are for callers from outside: within `call`, Keras has already cast both.
        history = ops.cast(history, self.compute_dtype)
        hidden = ops.tanh(ops.matmul(history, ops.cast(self.projection, self.compute_dtype)))
        logits = ops.matmul(hidden, ops.transpose(ops.cast(self.codes, self.compute_dtype)))
        return ops.cast(ops.swapaxes(logits, -1, -2), "float32")

    def weighted_sums(self, weights: Tensor, history: Tensor) -> Tensor:
        """Compute Σ_j w_ij h_j for weights (B, K, M) or (B, C, K, M), as one product of matrices per user."""
        if len(weights.shape) == 3:
            return ops.matmul(weights, history)
        batch, candidates, interests, length = ops.shape(weights)
        rows = ops.reshape(weights, (batch, candidates * interests, length))
        return ops.reshape(ops.matmul(rows, history), (batch, candidates, interests, history.shape[-1]))


class CategoryBias(ConfiguredLayer):
    """Bias the clicked articles by a candidate's category: `λ cos(b_j, b_c)` in Equation (5) of MINER.

    `b_j` and `b_c` are the category vectors of clicked article j and of the candidate. λ is one learned scalar,
    the weight `scale`. The result goes into the `bias` of `PolyAttention`. The cosine is computed in float32;
    that of a zero vector is 0, so padding and articles of unknown category may have the zero vector.

    Args:
        scale_initializer: initialiser of `scale`. λ starts at 1.

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
    """

    def __init__(self, scale_initializer: str | keras.Initializer = "ones", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale_initializer = keras.initializers.get(scale_initializer)

    def build(self, history_category_shape: Shape, candidate_category_shape: Shape) -> None:
        """Create the weight λ."""
        self.scale = self.add_weight(name="scale", shape=(), initializer=self.scale_initializer)

    def call(self, history_category: Tensor, candidate_category: Tensor) -> Tensor:
        """Compute λ·cos; see the class for the shapes."""
        one_candidate = len(candidate_category.shape) == 2
        fits = len(history_category.shape) == 3 and (one_candidate or len(candidate_category.shape) == 3)
        expected = "history_category (B, M, e) and candidate_category (B, C, e) or (B, e)"
        self.require(fits, expected, history_category=history_category, candidate_category=candidate_category)
        if one_candidate:
            candidate_category = ops.expand_dims(candidate_category, axis=1)
        bias = ops.cast(self.scale, "float32") * cosine(candidate_category, history_category)
        bias = ops.cast(bias, self.compute_dtype)
        return ops.squeeze(bias, axis=1) if one_candidate else bias


def disagreement(interests: Tensor) -> Tensor:
    """Compute the mean cosine over all K² pairs of a user's interests, the diagonal included: Equation (3) of MINER.

    With the unit vectors `ê_i`, `1/K² Σ_i Σ_j ê_i·ê_j = ||Σ_i ê_i||² / K²`, which costs K·d instead of K²·d. Of
    interests (…, K, d) it is float32 (…), from 0 to 1; 1 where all point the same way.
    """
    mean_direction = ops.mean(unit_vectors(interests), axis=-2)
    return ops.sum(ops.square(mean_direction), axis=-1)


class DisagreementRegularizer(ConfiguredLayer):
    """Pass interests through unchanged and, in training, add `weight · L_D` to the model's loss.

    `L_D` is the mean of Equation (3) of MINER over the leading axes: over each user's candidates, where the
    interests depend on the candidate, and then over the users, each of whom counts once, as in the loss that it is
    added to. The layer has no weights. The loss is computed in float32.

    Args:
        weight: β of Equation (7), 0.8 in the paper.

    Call arguments:
        interests: (…, K, d), for example (B, K, d) or (B, C, K, d).
        mask: (…) bool, False leaves a padded user or candidate out of the mean. If all are left out the loss
            is 0.
        training: whether to add the loss; set by Keras.

    Returns:
        `interests`.

    Raises:
        ValueError: `mask` does not have one axis for each leading axis of `interests`.

    Example:
    ```python
    interests = PolyAttention()(history, mask=mask)
    interests = DisagreementRegularizer(weight=0.8)(interests)
    ```
    """

    def __init__(self, weight: float = 0.8, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.weight = weight

    def call(self, interests: Tensor, mask: Tensor | None = None, training: bool | None = None) -> Tensor:
        """Return `interests`; in training also add the loss."""
        fits = mask is None or len(mask.shape) == len(interests.shape) - 2
        expected = "interests (…, K, d) and a mask (…) over their leading axes"
        self.require(fits, expected, interests=interests, mask=mask)
        if training:
            self.add_loss(self.weight * mean_of_means(disagreement(interests), mask))
        return interests


class InterestsOverClicks(NamedTuple):
    """Interests that have not been summed up yet: `e_i = Σ_j x_ij g_jc h_j / Σ_j x_ij g_jc` for candidate c.

    Their inner products with C vectors are sums of the clicks' products, which take M·C·d operations where the
    interests of every candidate would take K·M·C·d. `weights` are x (B, K, M) float32, 0 for padding, `gains` are g
    (B, M, C) float32, and `clicks` are h (B, M, d).
    """

    weights: Any
    gains: Any
    clicks: Any

    def match(self, *vectors: Any) -> list[Any]:
        """Compute the inner products with each of some vectors (B, C, d): float32 (B, C, K); 0 without clicks."""
        # A layer under a half-precision policy casts what it is given.
        weights, gains, clicks = (ops.cast(array, "float32") for array in self)
        totals = ops.matmul(weights, gains)
        totals = ops.where(totals > 0, totals, 1.0)
        products = [ops.matmul(clicks, ops.swapaxes(ops.cast(array, "float32"), -1, -2)) for array in vectors]
        return [ops.swapaxes(ops.matmul(weights, gains * product) / totals, -1, -2) for product in products]


class InterestAggregation(ConfiguredLayer):
    """Match a candidate with each interest of a user and aggregate to one score.

    Interest i scores `s_i = e_i^T h_c` (Equation 4 of MINER). The click score is, by mode,

        max:       s = max_i s_i
        mean:      s = mean_i s_i
        weighted:  s = Σ_i w_i s_i,   w = softmax_i(e_i^T gelu(W^e h_c))

    `gelu` is the exact one, with the error function: the paper names none, and that is the form of its
    definition. Products of interests and candidates, the softmax and the scores are float32 under any dtype
    policy, since candidates are ranked by differences that half precision would round into ties. A user whose
    interests are all zero scores every candidate 0.

    Args:
        mode: "max", "mean" or "weighted".
        kernel_initializer: initialiser of the weight `kernel`, `W^e` (d, d); only "weighted" has it.

    Call arguments:
        interests: (B, K, d), or where they depend on the candidate (B, C, K, d) or `InterestsOverClicks`.
        candidates: (B, C, d), vectors of the candidates.
        target: (B, C, d), what `target` gives of the candidates, if it is known already.
        return_weights: also return the weights of the interests.

    Returns:
        The scores (B, C), float32. With `return_weights`, a pair of these and the weights (B, C, K), float32,
        with which s = Σ_i w_i s_i in every mode: in "max" 1 for the first of the best interests, in "mean"
        1/K for each. `match_interests` gives the s_i.

    Raises:
        ValueError: the mode is unknown, or an argument has the wrong rank.
    """

    def __init__(
        self, mode: str = "weighted", kernel_initializer: str | keras.Initializer = "glorot_uniform", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if mode not in MODES:
            raise ValueError(f"Unknown mode {mode!r}. Choose one of {', '.join(map(repr, MODES))}.")
        self.mode = mode
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, interests_shape: Any, candidates_shape: Shape, target_shape: Any = None) -> None:
        """Create `W^e` for vectors of length `candidates_shape[-1]`, in mode "weighted"."""
        if self.mode == "weighted":
            dim = candidates_shape[-1]
            self.kernel = self.add_weight(name="kernel", shape=(dim, dim), initializer=self.kernel_initializer)

    def call(
        self, interests: Tensor, candidates: Tensor, target: Tensor = None, return_weights: bool = False
    ) -> Tensor:
        """Compute the scores; see the class for the shapes."""
        summed = not isinstance(interests, InterestsOverClicks)
        fits = len(candidates.shape) == 3 and (not summed or len(interests.shape) in (3, 4))
        expected = "interests (B, K, d) or (B, C, K, d) and candidates (B, C, d)"
        self.require(fits, expected, interests=interests if summed else None, candidates=candidates)
        vectors = [candidates]
        if self.mode == "weighted":
            vectors.append(self.target(candidates) if target is None else target)
        matches, *logits = [match_interests(interests, v) for v in vectors] if summed else interests.match(*vectors)
        if self.mode == "max":
            scores = ops.max(matches, axis=-1)
            is_best = ops.equal(matches, scores[..., None])
            is_first = ops.equal(ops.cumsum(ops.cast(is_best, "int32"), axis=-1), 1)
            weights = ops.cast(is_best & is_first, "float32")
        elif self.mode == "mean":
            scores, weights = ops.mean(matches, axis=-1), ops.full_like(matches, 1 / matches.shape[-1])
        else:
            weights = masked_softmax(logits[0])
            scores = ops.sum(weights * matches, axis=-1)
        return (scores, weights) if return_weights else scores

    def target(self, candidates: Tensor) -> Tensor:
        """Compute `gelu(W^e h)`, by which mode "weighted" weighs the interests: (…, d), in the compute dtype."""
        candidates, kernel = (ops.cast(array, self.compute_dtype) for array in (candidates, self.kernel))
        projected = ops.matmul(candidates, kernel)
        # Written out, not `ops.gelu`: every export format has an erf, and some only the approximate GELU.
        return 0.5 * projected * (1.0 + ops.erf(projected / math.sqrt(2.0)))


def match_interests(interests: Tensor, vectors: Tensor) -> Tensor:
    """Compute the inner products of interests (B, K, d) or (B, C, K, d) with vectors (B, C, d): float32 (B, C, K)."""
    interests, vectors = ops.cast(interests, "float32"), ops.cast(vectors, "float32")
    if len(interests.shape) == 3:
        return ops.matmul(vectors, ops.swapaxes(interests, -1, -2))
    return ops.squeeze(ops.matmul(interests, ops.expand_dims(vectors, axis=-1)), axis=-1)
