"""masked_softmax against plain loops, and at its edges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from keras import ops

from recommenders_miner.layers import AdditiveAttention, masked_softmax
from tests.layers.layer_checks import call_once, compiled, gradients, to_numpy
from tests.layers.reference import softmax

LOGITS = np.array([[0.5, -1.0, 2.0], [3.0, 3.0, 3.0], [1.0, 2.0, 3.0]])
MASK = np.array([[True, False, True], [True, True, True], [False, False, False]])


def masked(logits, mask=None, axis=-1):
    return to_numpy(masked_softmax(ops.convert_to_tensor(np.asarray(logits, "float32")), mask, axis=axis))


def test_hand_computed_values():
    weights = masked([[np.log(1.0), np.log(3.0), 50.0]], np.array([[True, True, False]]))
    np.testing.assert_allclose(weights, [[0.25, 0.75, 0.0]], rtol=1e-6)


@settings(max_examples=20, deadline=None)
@given(data=st.data(), shape=hnp.array_shapes(min_dims=1, max_dims=3, max_side=4))
def test_equals_the_loops(data, shape):
    logits = data.draw(hnp.arrays("float32", shape, elements=st.floats(-1e4, 1e4, width=32)))
    mask = data.draw(hnp.arrays("bool", shape))
    weights = call_once(masked_softmax, {"logits": logits, "mask": mask})
    for row in np.ndindex(shape[:-1]):
        expected = softmax([float(logit) for logit in logits[row]], mask[row])
        np.testing.assert_allclose(weights[row], expected, rtol=1e-4, atol=1e-6)
    assert (weights[~mask] == 0.0).all()


@pytest.mark.parametrize("axis", [0, 1])
def test_axis(axis):
    weights = masked(LOGITS, MASK, axis=axis)
    expected = np.apply_along_axis(lambda pair: softmax(pair.real, pair.imag > 0), axis, LOGITS + 1j * MASK)
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


def test_without_mask_is_the_plain_softmax():
    np.testing.assert_allclose(masked(LOGITS), [softmax(row) for row in LOGITS], rtol=1e-6)


def test_mask_of_numbers_and_broadcasting():
    np.testing.assert_array_equal(masked(LOGITS, np.array([1, 0, 2])), masked(LOGITS, np.array([[True, False, True]])))


def test_result_is_float32_for_half_precision_logits():
    for dtype in ("float16", "bfloat16"):
        weights = masked_softmax(ops.cast(ops.convert_to_tensor(LOGITS), dtype), MASK)
        assert str(weights.dtype).endswith("float32") or weights.dtype == "float32"


def test_a_wholly_masked_row_has_zero_weights_and_zero_gradients():
    holder = AdditiveAttention()  # `gradients` wants a layer; this one is not called and has no weights
    found = gradients(
        lambda logits, mask: ops.sum(masked_softmax(logits, mask) * ops.arange(3.0)),
        holder,
        {"logits": LOGITS, "mask": MASK},
    )["logits"]
    assert np.isfinite(found).all()
    assert (found[2] == 0).all()
    assert found[0, 1] == 0
    assert found[0, 0] != 0


def test_compiled_equals_eager():
    logits = ops.convert_to_tensor(LOGITS.astype("float32"))
    np.testing.assert_allclose(to_numpy(compiled(masked_softmax)(logits, MASK)), masked(LOGITS, MASK), rtol=1e-6)
