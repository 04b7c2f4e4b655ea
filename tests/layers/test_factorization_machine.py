"""FactorTable and FactorizationMachine together, and merged_squares: s = w_0 + Σ w_i x_i + Σ_{i<j} v_i·v_j x_i x_j."""

import itertools

import numpy as np
import pytest
from keras import ops

from recommenders_miner.layers import FactorizationMachine, FactorTable, merged_squares
from tests.layers.cases import MACHINE, TABLE
from tests.layers.layer_checks import as_tensors, call_once, check_gradients, randomise, to_numpy, weights_of

IDS, VALUES = TABLE.inputs.values()


def built(num_features=6, dim=4, **options):
    layer = FactorTable(num_features, dim, **options)
    layer.build(IDS.shape, VALUES.shape)
    return randomise(layer)


def by_pairs(ids, values, weights, factors, bias):
    """The score of one sample by its definition, pair by pair of a dense vector over all features."""
    x = np.zeros(len(weights))
    np.add.at(x, ids, values)
    pairs = itertools.combinations(range(len(x)), 2)
    return bias + weights @ x + sum(factors[i] @ factors[j] * x[i] * x[j] for i, j in pairs)


@pytest.mark.parametrize(("present", "dim"), [(1, 1), (2, 4), (5, 3)])
def test_together_they_sum_over_all_pairs(present, dim):
    """In one table, and with the features cut over two, whose sums add up."""
    generator = np.random.default_rng(present)
    layer, joint = built(dim=dim), MACHINE.built()
    joint.bias.assign(1.0)
    ids = np.stack([generator.choice(6, present, replace=False) for _ in range(3)])
    values = generator.normal(size=ids.shape)
    found = call_once(lambda **tensors: joint(**layer(**tensors)), {"ids": ids, "values": values})
    expected = [by_pairs(i, x, bias=1.0, **weights_of(layer)) for i, x in zip(ids, values, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    head, tail = (
        layer(**as_tensors({"ids": ids[:, part], "values": values[:, part]})) for part in (slice(1), slice(1, None))
    )
    np.testing.assert_allclose(to_numpy(joint(**{name: head[name] + tail[name] for name in head})), found, atol=1e-4)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "bfloat16"])
def test_a_single_feature_interacts_with_nothing(policy):
    layer, joint = built(dtype=policy), FactorizationMachine(dtype=policy)
    sums = layer(**as_tensors({"ids": IDS[:, :1], "values": VALUES[:, :1]}))
    np.testing.assert_allclose(to_numpy(joint(**sums)), to_numpy(sums["linear"]), atol=1e-5)


def test_factors_start_small_and_apart_and_weights_at_zero():
    layers = [FactorTable(2000, 8), FactorTable(2000, 8)]
    for layer in layers:
        layer.build(IDS.shape, VALUES.shape)
    first, second = (weights_of(layer)["factors"] for layer in layers)
    assert first.std() == pytest.approx(0.05, rel=0.05)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05
    assert not weights_of(layers[0])["weights"].any()


def dense_squares(ids, values, norms):
    """Σ_i x_i² ‖v_i‖² by dense vectors; the norm of an id is the same wherever it stands in a row."""
    return np.array(
        [
            sum(x[row == i].sum() ** 2 * squares[row == i][0] for i in set(row.tolist()))
            for row, x, squares in zip(ids, values, norms, strict=True)
        ]
    )


@pytest.mark.parametrize(("rows", "length", "features"), [(1, 1, 1), (3, 8, 3), (2, 5, 6), (1, 8, 1)])
def test_merged_squares_are_those_of_dense_vectors(rows, length, features):
    generator = np.random.default_rng(length)
    ids = generator.integers(0, features, (rows, length))
    values = generator.normal(size=ids.shape) * (ids > 0)
    inputs = {"ids": ids, "values": values, "norms": generator.random(features)[ids]}
    np.testing.assert_allclose(call_once(merged_squares, inputs), dense_squares(**inputs), rtol=1e-5, atol=1e-5)


def test_gradients_of_merged_squares():
    """With the norms looked up in a table, as they are."""
    ids = np.array([[2, 1, 2, 0, 2, 3], [3, 3, 0, 0, 0, 1]])
    layer = built(4)
    check_gradients(
        lambda ids, values: ops.sum(merged_squares(ids, values, layer.norms(ids))),
        layer,
        {"ids": ids, "values": np.random.default_rng(1).normal(size=ids.shape) * (ids > 0)},
        lambda ids, values, factors, weights: dense_squares(ids, values, (factors**2).sum(axis=-1)[ids]).sum(),
    )
