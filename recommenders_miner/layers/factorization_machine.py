"""Factorisation machines: all pairwise interactions of sparse features, in time linear in how many are present."""

from __future__ import annotations

import functools
from typing import Any

import keras
from keras import ops

from recommenders_miner.layers.common import ConfiguredLayer, Shape, Tensor


class FactorTable(ConfiguredLayer):
    """Look up the weights and factors of sparse features, and sum them up as a factorisation machine needs them.

    Every feature i has a weight w_i and a factor v_i of length k. Of a sample's features, given as ids and values,
    these three sums are all that `FactorizationMachine` asks for:

        linear  = Σ_i w_i x_i
        sums    = Σ_i x_i v_i
        squares = Σ_i x_i² ‖v_i‖²

    They add up over sets of features, so features may be kept in several tables, one per field, and the sums of what
    several samples share be computed once. A feature of value 0 is absent, whatever its id: pad with it. The features
    of one row must be distinct (see `merged_squares` for others). All is computed in float32, since the machine
    subtracts sums of about the same size.

    Of ids (…, F) int, below `num_features`, and values (…, F) it gives a dict of float32 arrays: `linear` (…), `sums`
    (…, dim), `squares` (…).
    """

    def __init__(self, num_features: int, dim: int = 16, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.num_features, self.dim = num_features, dim
        # They must differ, or they would never part.
        self.factors_initializer = keras.initializers.RandomNormal(stddev=0.05)

    def build(self, ids_shape: Shape, values_shape: Shape | None = None) -> None:
        """Create the weights, whose shapes do not depend on the inputs'."""
        add = functools.partial(self.add_weight, autocast=False)
        shape = (self.num_features, self.dim)
        self.factors = add(name="factors", shape=shape, initializer=self.factors_initializer)
        self.feature_weights = add(name="weights", shape=shape[:1], initializer="zeros")

    def call(self, ids: Tensor, values: Tensor) -> dict[str, Any]:
        """Sum up; see the class for the shapes."""
        values = ops.cast(values, "float32")
        factors = ops.cast(ops.take(self.factors, ids, axis=0), "float32")
        weights = ops.cast(ops.take(self.feature_weights, ids, axis=0), "float32")
        return {
            "linear": ops.sum(values * weights, axis=-1),
            "sums": ops.squeeze(ops.matmul(ops.expand_dims(values, axis=-2), factors), axis=-2),
            "squares": ops.sum(ops.square(values) * ops.sum(ops.square(factors), axis=-1), axis=-1),
        }

    def norms(self, ids: Tensor) -> Tensor:
        """Look up ‖v_i‖² of some ids (…); float32, of the same shape."""
        return ops.sum(ops.square(ops.cast(ops.take(self.factors, ids, axis=0), "float32")), axis=-1)


class FactorizationMachine(ConfiguredLayer):
    """Score samples by their features and by all pairs of them.

    A factorisation machine of degree 2 gives every feature i a weight w_i and a factor v_i of length k:

        s = w_0 + Σ_i w_i x_i + Σ_{i<j} v_i·v_j x_i x_j

    The sum over pairs is half of what the square of the whole sum holds beside the squares, so that it takes O(k) for
    every feature that is present, and no pair is ever looked at:

        s = w_0 + linear + ½ (‖sums‖² − squares)

    The three sums come from `FactorTable`, for all features of a sample, added up where they are in several tables.
    Under any dtype policy the score is computed and returned in float32.

    Of `linear` (…), `sums` (…, k) and `squares` (…) it gives scores (…).

    Reference:
        Rendle, "Factorization Machines", ICDM 2010, Equation 1 and Lemma 3.1.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def build(self, linear_shape: Shape, sums_shape: Shape | None = None, squares_shape: Shape | None = None) -> None:
        """Create the bias w_0."""
        self.bias = self.add_weight(name="bias", shape=(), initializer="zeros", autocast=False)

    def call(self, linear: Tensor, sums: Tensor, squares: Tensor) -> Tensor:
        """Score; see the class for the shapes."""
        bias, linear, sums, squares = (ops.cast(part, "float32") for part in (self.bias, linear, sums, squares))
        return bias + linear + 0.5 * (ops.sum(ops.square(sums), axis=-1) - squares)


def merged_squares(ids: Tensor, values: Tensor, norms: Tensor) -> Tensor:
    """Return Σ_i x_i² ‖v_i‖² of rows in which a feature may stand several times, x_i being the sum of its values.

    The ids of a row are sorted, equal ones stand side by side, and each place p takes its part of the square,
    x_i² = x_i Σ_p values_p. Nothing is made that is as wide as the number of features.

    Of ids (B, T) int, their values (B, T) float, 0 where there is no feature, and their norms (B, T) (see
    `FactorTable.norms`) it gives (B,), of the dtype of `values`.
    """
    order = ops.argsort(ids, axis=-1)
    ids, values, norms = (ops.take_along_axis(array, order, axis=-1) for array in (ids, values, norms))
    rows, length = ops.shape(ids)
    # The features of a row are numbered 0, 1, … as they come.
    another = ops.cast(ops.not_equal(ids[:, 1:], ids[:, :-1]), "int32")
    number = ops.pad(ops.cumsum(another, axis=-1), [(0, 0), (1, 0)])
    segments = number + length * ops.expand_dims(ops.arange(rows, dtype="int32"), axis=-1)
    totals = ops.segment_sum(ops.reshape(values, (-1,)), ops.reshape(segments, (-1,)), num_segments=rows * length)
    totals = ops.take_along_axis(ops.reshape(totals, (rows, length)), number, axis=-1)
    return ops.sum(norms * values * totals, axis=-1)
