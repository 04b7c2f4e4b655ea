"""What all layers have in common, for each entry of the table in `cases.py`."""

import warnings

import keras
import numpy as np
import pytest
from keras import ops

from tests.layers.cases import (
    ADDITIVE,
    AGGREGATION,
    BIAS,
    CASES,
    MASK,
    MASKED,
    POLY,
    REGULARIZER,
    SELF,
    TABLE,
    VARIANTS,
)
from tests.layers.layer_checks import as_tensors, call_once, check_layer, gradients, to_numpy, weight_names

masked = pytest.mark.parametrize("case", MASKED.values(), ids=MASKED)


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=name, marks=[pytest.mark.slow] * (name in VARIANTS)) for name, case in CASES.items()]
)
def test_shared_checks(case, tmp_path):
    check_layer(case, tmp_path)


def sequence_axis(case, name):
    return case.inputs[name].ndim - 1 if name == "bias" else 1


def along_the_sequence(case, change):
    """The inputs of a case, those along its mask changed by a function of array, mask (of equal rank) and axis."""
    inputs = dict(case.inputs)
    for name in (*case.sequence, "mask"):
        array, axis = inputs[name], sequence_axis(case, name)
        shape = [1] * array.ndim
        shape[0], shape[axis] = MASK.shape
        inputs[name] = change(array, MASK.reshape(shape), axis)
    return inputs


def is_mask(array):
    return array.dtype == bool


@masked
def test_padding_never_matters(case):
    """Neither what stands there nor how much of it."""
    layer = case.built()
    clean = call_once(layer, case.inputs)
    garbage = along_the_sequence(case, lambda array, mask, _: array if is_mask(array) else np.where(mask, array, 1e3))

    def longer(array, mask, axis):
        widths = [(0, 3 if i == axis else 0) for i in range(array.ndim)]
        return np.pad(array, widths, constant_values=0 if is_mask(array) else 9)

    for inputs in (garbage, along_the_sequence(case, longer)):
        found = call_once(layer, inputs)
        seen, expected = (found[:, :4][MASK], clean[MASK]) if case.ordered else (found, clean)
        np.testing.assert_allclose(seen, expected, rtol=0, atol=1e-6)


@masked
def test_padding_alone_gives_zeros_and_zero_gradients(case):
    layer = case.built()
    assert not call_once(layer, case.inputs)[2].any()
    found = gradients(lambda **tensors: ops.sum(ops.square(layer(**tensors))), layer, case.inputs)
    assert all(np.isfinite(gradient).all() for gradient in found.values())
    # Where the output is a sequence too, padding attends to the rest of its own, though nothing attends to padding.
    unseen = ~MASK & (~MASK.any(axis=1, keepdims=True) | (not case.ordered))
    for name in case.sequence:
        assert not np.moveaxis(found[name], sequence_axis(case, name), 1)[unseen].any()
    nothing = case.inputs | {"mask": np.zeros_like(MASK)}
    found = gradients(lambda **tensors: ops.sum(layer(**tensors)), layer, nothing)
    assert not any(gradient.any() for gradient in found.values())


@pytest.mark.parametrize("case", [case for case in MASKED.values() if case.extreme], ids=lambda case: case.layer)
def test_extreme_logits_stay_finite(case):
    layer = case.built()
    weight = dict(zip(weight_names(layer.weights), layer.weights, strict=True))[case.extreme]
    weight.assign(weight * 1e4)
    inputs = case.inputs | {name: case.inputs[name] * 1e4 for name in case.sequence if name == "bias"}
    assert np.isfinite(call_once(layer, inputs)).all()
    found = gradients(lambda **tensors: ops.sum(ops.square(layer(**tensors))), layer, inputs)
    assert all(np.isfinite(gradient).all() for gradient in found.values())


@pytest.mark.parametrize("case", [case for case in MASKED.values() if case.pools], ids=lambda case: case.layer)
def test_returned_weights_sum_to_one_and_give_the_output(case):
    layer = case.built()
    pooled, weights = (to_numpy(part) for part in layer(**as_tensors(case.inputs), return_weights=True))
    valid = np.broadcast_to(MASK.reshape(3, *[1] * (weights.ndim - 2), 4), weights.shape)
    np.testing.assert_allclose(weights.sum(axis=-1), valid.any(axis=-1), atol=1e-6)
    assert not weights[~valid].any()
    np.testing.assert_allclose(np.einsum("b...t,btd->b...d", weights, case.inputs[case.pools]), pooled, atol=1e-5)
    np.testing.assert_allclose(pooled, call_once(layer, case.inputs), atol=1e-6)


@pytest.mark.parametrize("case", [ADDITIVE, POLY], ids=lambda case: case.layer)
def test_a_keras_mask_is_used_and_ends_here(case):
    ids = np.array([[1, 2, 0], [3, 0, 0]])
    embedding = keras.layers.Embedding(4, 5, mask_zero=True)
    layer = case.built()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Keras warns of a layer that drops a mask without saying so
        implicit = layer(embedding(ids))
    explicit = layer(embedding(ids), mask=ops.convert_to_tensor(ids > 0))
    np.testing.assert_array_equal(to_numpy(implicit), to_numpy(explicit))
    assert getattr(implicit, "_keras_mask", None) is None


WEIGHTED = CASES["aggregation by weighted per user"]


@pytest.mark.parametrize("case", [POLY, BIAS, WEIGHTED], ids=lambda case: case.layer)
def test_initialisers_are_arguments(case):
    parts = [part for part in case.make().config if part.endswith("_initializer")]
    values = {part: 2.0 + i for i, part in enumerate(parts)}
    layer = case.layer(**case.config, **{part: keras.initializers.Constant(v) for part, v in values.items()})
    layer(**as_tensors(case.inputs))
    found = {weight.name: to_numpy(weight) for weight in layer.weights}
    for part, value in values.items():
        assert (found[part.removesuffix("_initializer")] == value).all()


@pytest.mark.parametrize("case", [ADDITIVE, SELF, POLY, WEIGHTED, TABLE], ids=lambda case: case.layer)
def test_default_weights_differ_between_layers_and_follow_the_seed(case):
    def draw(seed):
        keras.utils.set_random_seed(seed)
        layers = [case.make(), case.make()]
        for layer in layers:
            layer(**as_tensors(case.inputs))
        return [layer.get_weights() for layer in layers]

    (first, second), (again, _) = draw(1), draw(1)
    for one, other, same in zip(first, second, again, strict=True):
        np.testing.assert_array_equal(one, same)
        assert one.std() == 0 or not np.allclose(one, other)


PER_CANDIDATE = MASKED["poly with a bias per candidate"].inputs["bias"]


@pytest.mark.parametrize(
    ("case", "changes"),
    [
        (POLY, {"history": POLY.inputs["history"][0]}),
        (POLY, {"bias": PER_CANDIDATE[0, 0]}),
        (BIAS, {"history_category": BIAS.inputs["history_category"][0]}),
        (BIAS, {"candidate_category": BIAS.inputs["candidate_category"][None]}),
        (REGULARIZER, {"mask": MASK[:, :2, None]}),
        (AGGREGATION, {"interests": AGGREGATION.inputs["interests"][0]}),
        (AGGREGATION, {"candidates": AGGREGATION.inputs["candidates"][0]}),
    ],
)
def test_wrong_ranks_are_refused_with_the_shapes(case, changes):
    inputs = case.inputs | changes
    with pytest.raises(ValueError, match=f"{case.layer.__name__} expects .*") as error:
        case.make()(**as_tensors(inputs))
    assert all(f"{name} {array.shape}" in str(error.value) for name, array in inputs.items())
