"""Click scores: of a user that is one vector, and of one that is several interests (MINER)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import keras
from keras import ops

from recommenders_miner.layers.common import ConfiguredLayer, masked_softmax

MODES = ("max", "mean", "weighted")


@keras.saving.register_keras_serializable(package="recommenders_miner")
class DotProduct(ConfiguredLayer):
    """Score a candidate by its dot product with the user: `s = u^T h_c`.

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


class InterestsOverClicks(NamedTuple):
    """Interests that have not been summed up yet: `e_i = Σ_j x_ij g_jc h_j / Σ_j x_ij g_jc` for candidate c.

    Their inner products with C vectors are sums of the clicks' products, which take M·C·d operations where the
    interests of every candidate would take K·M·C·d.

    Attributes:
        weights: (B, K, M) float32, x, what each of M clicks weighs in an interest; 0 for padding.
        gains: (B, M, C) float32, g, what a click gains with a candidate.
        clicks: (B, M, d), the clicked articles' vectors h.
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


@keras.saving.register_keras_serializable(package="recommenders_miner")
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
        **kwargs: arguments of `keras.layers.Layer`.

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

    Reference:
        MINER: Multi-Interest Matching Network for News Recommendation, Findings of ACL 2022, Equation (4).
    """

    PARTS = ("kernel_initializer",)

    def __init__(
        self,
        mode: str = "weighted",
        kernel_initializer: str | keras.Initializer = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if mode not in MODES:
            raise ValueError(f"Unknown mode {mode!r}. Choose one of {', '.join(map(repr, MODES))}.")
        self.config = {"mode": mode}
        self.mode = mode
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, interests_shape: Any, candidates_shape: tuple[int | None, ...], target_shape: Any = None) -> None:
        """Create `W^e` for vectors of length `candidates_shape[-1]`, in mode "weighted"."""
        if self.mode == "weighted":
            dim = candidates_shape[-1]
            self.kernel = self.add_weight(name="kernel", shape=(dim, dim), initializer=self.kernel_initializer)

    def call(self, interests: Any, candidates: Any, target: Any = None, return_weights: bool = False) -> Any:
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
            return (scores, ops.one_hot(ops.argmax(matches, axis=-1), matches.shape[-1])) if return_weights else scores
        if self.mode == "mean":
            scores = ops.mean(matches, axis=-1)
            return (scores, ops.full_like(matches, 1 / matches.shape[-1])) if return_weights else scores
        weights = masked_softmax(logits[0])
        scores = ops.sum(weights * matches, axis=-1)
        return (scores, weights) if return_weights else scores

    def target(self, candidates: Any) -> Any:
        """Compute `gelu(W^e h)`, by which mode "weighted" weighs the interests: (…, d), in the compute dtype."""
        candidates, kernel = (ops.cast(array, self.compute_dtype) for array in (candidates, self.kernel))
        projected = ops.matmul(candidates, kernel)
        # Written out, not `ops.gelu`: every export format has an erf, and some only the approximate GELU.
        return 0.5 * projected * (1.0 + ops.erf(projected / math.sqrt(2.0)))


def match_interests(interests: Any, vectors: Any) -> Any:
    """Compute the inner products of interests (B, K, d) or (B, C, K, d) with vectors (B, C, d): float32 (B, C, K)."""
    interests, vectors = ops.cast(interests, "float32"), ops.cast(vectors, "float32")
    if len(interests.shape) == 3:
        return ops.matmul(vectors, ops.swapaxes(interests, -1, -2))
    return ops.squeeze(ops.matmul(interests, ops.expand_dims(vectors, axis=-1)), axis=-1)
