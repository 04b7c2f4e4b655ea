"""FactorizationMachine, FactorTable and merged_squares: s = w_0 + Σ w_i x_i + Σ_{i<j} v_i·v_j x_i x_j."""

import itertools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.layers import FactorizationMachine, FactorTable, merged_squares
from tests.layers.layer_checks import (
    as_tensors,
    call_once,
    check_layer,
    check_serialisation,
    compiled,
    gradients,
    numerical_gradients,
    quick,
    to_numpy,
    weights_of,
)

GENERATOR = np.random.default_rng(3)
LINEAR, SUMS, SQUARES = (GENERATOR.normal(size=shape) for shape in ((2, 3), (2, 3, 4), (2, 3)))
IDS = np.array([[1, 4, 2], [5, 0, 3]])
VALUES = np.array([[1.0, -0.5, 2.0], [0.3, 0.0, 1.5]])


def machine(linear, sums, squares, bias):
    return bias + linear + 0.5 * ((sums**2).sum(axis=-1) - squares)


def table(ids, values, weights, factors):
    """The three sums, one feature at a time."""
    linear, squares = np.zeros(ids.shape[:-1]), np.zeros(ids.shape[:-1])
    sums = np.zeros((*ids.shape[:-1], factors.shape[1]))
    for where in np.ndindex(ids.shape[:-1]):
        for i, x in zip(ids[where], values[where], strict=True):
            linear[where] += weights[i] * x
            sums[where] += x * factors[i]
            squares[where] += x**2 * (factors[i] @ factors[i])
    return {"linear": linear, "sums": sums, "squares": squares}


def by_pairs(ids, values, weights, factors, bias):
    """The score of one sample by its definition, pair by pair of a dense vector over all features."""
    x = np.zeros(len(weights))
    np.add.at(x, ids, values)
    score = bias + weights @ x
    for i, j in itertools.combinations(range(len(x)), 2):
        score += factors[i] @ factors[j] * x[i] * x[j]
    return score


def built(num_features=6, dim=4, **options):
    layer = FactorTable(num_features, dim, **options)
    layer.build(IDS.shape, VALUES.shape)
    generator = np.random.default_rng(5)
    layer.set_weights([generator.normal(size=weight.shape) for weight in layer.weights])
    return layer


def test_shared_checks_of_the_machine(tmp_path):
    check_layer(
        FactorizationMachine,
        {},
        {"linear": LINEAR, "sums": SUMS, "squares": SQUARES},
        machine,
        weights={"bias": ()},
        dynamic_shapes={"linear": (None,), "sums": (None, 4), "squares": (None,)},
        tmp_path=tmp_path,
        output_dtype="float32",
    )


def test_a_table_gives_the_three_sums():
    layer = built()
    check_serialisation(layer)
    assert {weight.name: tuple(weight.shape) for weight in layer.weights} == {"weights": (6,), "factors": (6, 4)}
    expected = table(IDS, VALUES, **weights_of(layer))
    for function in (layer, compiled(lambda **tensors: layer(**tensors))):
        found = function(**as_tensors({"ids": IDS, "values": VALUES}))
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_allclose(to_numpy(found[name]), array, rtol=1e-5, atol=1e-5)
    norms = to_numpy(layer.norms(as_tensors({"ids": IDS})["ids"]))
    np.testing.assert_allclose(norms, (weights_of(layer)["factors"] ** 2).sum(axis=-1)[IDS], rtol=1e-5)


def test_gradients_of_table_and_machine():
    layer, joint = built(), FactorizationMachine()

    def score(**tensors):
        return keras.ops.sum(joint(**layer(**tensors)))

    def expected(ids, values, **weights):
        return machine(**table(ids, values, **weights), bias=0.0).sum()

    inputs = {"ids": IDS, "values": VALUES}
    score(**as_tensors(inputs))
    found = gradients(score, layer, inputs)
    numerical = numerical_gradients(expected, inputs | weights_of(layer))
    assert found.keys() == numerical.keys()
    for name, gradient in numerical.items():
        np.testing.assert_allclose(found[name], gradient, rtol=1e-4, atol=1e-4, err_msg=name)
    absent = 0
    assert (found["factors"][absent] == 0).all(), "a feature of value 0 is absent"


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 9))
def test_together_they_sum_over_all_pairs(present, dim, seed):
    generator = np.random.default_rng(seed)
    layer, joint = built(dim=dim), FactorizationMachine(bias_initializer="ones")
    ids = np.stack([generator.choice(6, present, replace=False) for _ in range(3)])
    values = generator.normal(size=ids.shape)
    found = call_once(lambda **tensors: joint(**layer(**tensors)), {"ids": ids, "values": values})
    expected = [by_pairs(i, x, bias=1.0, **weights_of(layer)) for i, x in zip(ids, values, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_sums_of_fields_add_up():
    """Features cut over two tables, or over two calls, score as those of one."""
    layer, joint = built(), FactorizationMachine()
    whole = layer(**as_tensors({"ids": IDS, "values": VALUES}))
    head, tail = (
        layer(**as_tensors({"ids": IDS[:, part], "values": VALUES[:, part]})) for part in (slice(1), slice(1, None))
    )
    together = {name: head[name] + tail[name] for name in whole}
    np.testing.assert_allclose(to_numpy(joint(**together)), to_numpy(joint(**whole)), atol=1e-5)


def test_a_single_feature_interacts_with_nothing_also_in_half_precision():
    for policy in ("float32", "mixed_bfloat16", "bfloat16"):
        layer, joint = built(dtype=policy), FactorizationMachine(dtype=policy)
        sums = layer(**as_tensors({"ids": IDS[:, :1], "values": VALUES[:, :1]}))
        assert {keras.backend.standardize_dtype(array.dtype) for array in sums.values()} == {"float32"}
        np.testing.assert_allclose(to_numpy(joint(**sums)), to_numpy(sums["linear"]), atol=1e-5)


def test_a_functional_model_saves_and_loads(tmp_path):
    ids, values = keras.Input((None,), dtype="int32", name="ids"), keras.Input((None,), name="values")
    scores = FactorizationMachine()(**FactorTable(6, 4)(ids, values))
    assert tuple(scores.shape) == (None,)
    model = keras.Model({"ids": ids, "values": values}, scores)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    tensors = as_tensors({"ids": IDS, "values": VALUES})
    np.testing.assert_array_equal(to_numpy(quick(loaded)(tensors)), to_numpy(quick(model)(tensors)))


def test_factors_start_small_and_apart_and_weights_at_zero():
    layers = [FactorTable(2000, 8), FactorTable(2000, 8)]
    for layer in layers:
        layer.build(IDS.shape, VALUES.shape)
    first, second = (weights_of(layer)["factors"] for layer in layers)
    assert first.std() == pytest.approx(0.05, rel=0.05)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05
    assert (weights_of(layers[0])["weights"] == 0).all()


def dense_squares(ids, values, norms):
    """Σ_i x_i² ‖v_i‖² by dense vectors; the norm of an id is the same wherever it stands in a row."""
    result = np.zeros(len(ids))
    for row in range(len(ids)):
        for i in set(ids[row].tolist()):
            places = ids[row] == i
            result[row] += values[row][places].sum() ** 2 * norms[row][places][0]
    return result


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 3), st.integers(1, 8), st.integers(1, 6), st.integers(0, 99))
def test_merged_squares_are_those_of_dense_vectors(rows, length, features, seed):
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, features, (rows, length))
    values = generator.normal(size=ids.shape) * (ids > 0)
    norms = generator.random(features)[ids]
    found = call_once(merged_squares, {"ids": ids, "values": values, "norms": norms})
    np.testing.assert_allclose(found, dense_squares(ids, values, norms), rtol=1e-5, atol=1e-5)


def test_gradients_of_merged_squares():
    """With the norms looked up in a table, as they are."""
    ids = np.array([[2, 1, 2, 0, 2, 3], [3, 3, 0, 0, 0, 1]])
    values = np.random.default_rng(1).normal(size=ids.shape) * (ids > 0)
    layer = built(4)

    def squares(ids, values):
        return keras.ops.sum(merged_squares(ids, values, layer.norms(ids)))

    inputs = {"ids": ids, "values": values}
    found = gradients(squares, layer, inputs)
    numerical = numerical_gradients(
        lambda ids, values, factors, weights: dense_squares(ids, values, (factors**2).sum(axis=-1)[ids]).sum(),
        inputs | weights_of(layer),
    )
    for name, gradient in numerical.items():
        np.testing.assert_allclose(found[name], gradient, rtol=1e-4, atol=1e-4, err_msg=name)


def test_what_is_wrong_is_refused():
    with pytest.raises(ValueError, match="num_features and dim must be at least 1"):
        FactorTable(0, 4)
    with pytest.raises(ValueError, match="num_features and dim must be at least 1"):
        FactorTable(4, 0)
    with pytest.raises(ValueError, match=r"expects linear \(…\), sums \(…, k\)"):
        FactorizationMachine()(**as_tensors({"linear": LINEAR, "sums": LINEAR, "squares": SQUARES}))
