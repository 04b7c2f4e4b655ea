"""masked_softmax and cosines: against plain loops, and at their edges."""

import keras
import numpy as np
import pytest
from keras import ops

from recommenders_miner.layers import cosine, masked_softmax, unit_vectors
from tests.layers import reference
from tests.layers.layer_checks import call_once, compiled, gradients, tensor, to_numpy

LOGITS = np.array([[0.5, -1.0, 2.0], [3.0, 3.0, 3.0], [1.0, 2.0, 3.0]])
MASK = np.array([[True, False, True], [True, True, True], [False, False, False]])
SOFTMAXES = [reference.softmax(row, valid) for row, valid in zip(LOGITS, MASK, strict=True)]


def test_softmax_over_valid_positions():
    weights = to_numpy(masked_softmax(tensor([[np.log(1.0), np.log(3.0), 50.0]]), np.array([[True, True, False]])))
    np.testing.assert_allclose(weights, [[0.25, 0.75, 0.0]], rtol=1e-6)
    for function in (masked_softmax, compiled(masked_softmax)):
        np.testing.assert_allclose(to_numpy(function(tensor(LOGITS), MASK)), SOFTMAXES, rtol=1e-6)
    across = to_numpy(masked_softmax(tensor(LOGITS.T), MASK.T, axis=0))
    np.testing.assert_allclose(across.T, SOFTMAXES, rtol=1e-6)
    without = [reference.softmax(row) for row in LOGITS]
    np.testing.assert_allclose(to_numpy(masked_softmax(tensor(LOGITS))), without, rtol=1e-6)
    numbers, flags = (to_numpy(masked_softmax(tensor(LOGITS), m)) for m in (np.array([1, 0, 2]), MASK[:1]))
    np.testing.assert_array_equal(numbers, flags)


@pytest.mark.parametrize("shape", [(1,), (4,), (3, 1), (3, 4), (1, 2, 4), (4, 3, 2)])
def test_softmax_of_any_shape(shape):
    generator = np.random.default_rng(sum(shape))
    logits, mask = generator.uniform(-1e4, 1e4, shape), generator.random(shape) < 0.6
    weights = call_once(masked_softmax, {"logits": logits, "mask": mask})
    for row in np.ndindex(shape[:-1]):
        np.testing.assert_allclose(weights[row], reference.softmax(logits[row], mask[row]), rtol=1e-3, atol=1e-6)
    assert not weights[~mask].any()


def test_a_wholly_masked_row_has_zero_weights_and_zero_gradients():
    found = gradients(
        lambda logits, mask: ops.sum(masked_softmax(logits, mask) * ops.arange(3.0)),
        keras.layers.Identity(),
        {"logits": LOGITS, "mask": MASK},
    )["logits"]
    assert np.isfinite(found).all()
    assert (found[2] == 0).all()
    assert found[0, 1] == 0
    assert found[0, 0] != 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(dtype):
    large = ops.cast(tensor([[300.0, 400.0]]), dtype)  # its squared length overflows float16
    np.testing.assert_allclose(to_numpy(unit_vectors(large)), [[0.6, 0.8]], rtol=1e-5)
    for result in (unit_vectors(large), masked_softmax(large)):
        assert keras.backend.standardize_dtype(result.dtype) == "float32"


def test_cosines_of_all_pairs():
    found = to_numpy(cosine(tensor([[3.0, 4.0], [0.0, 0.0]]), tensor([[4.0, 3.0], [-6.0, -8.0], [0.0, 1.0]])))
    np.testing.assert_allclose(found, [[0.96, -1.0, 0.8], [0.0, 0.0, 0.0]], atol=1e-6)
    generator = np.random.default_rng(1)
    for batch, n, m, dim in ((1, 1, 1, 1), (3, 2, 4, 5), (2, 4, 1, 3)):
        a, b = generator.normal(size=(batch, n, dim)), generator.normal(size=(batch, m, dim))
        a[0, 0] = 0.0
        expected = [[[reference.cosine(x, y) for y in b[k]] for x in a[k]] for k in range(batch)]
        np.testing.assert_allclose(call_once(cosine, {"a": a, "b": b}), expected, atol=1e-5)


def test_lengths_from_tiny_to_large_do_not_matter():
    direction = np.array([[0.6, 0.8]])
    for length in (1e-10, 1e-3, 1e15):
        np.testing.assert_allclose(to_numpy(unit_vectors(tensor(direction * length))), direction, rtol=1e-5)


def test_the_zero_vector_stays_zero_with_a_zero_gradient():
    vectors = np.array([[0.0, 0.0], [3.0, 4.0]])
    assert not to_numpy(unit_vectors(tensor(vectors)))[0].any()
    found = gradients(
        lambda vectors: ops.sum(cosine(vectors, ops.ones((1, 2)))), keras.layers.Identity(), {"vectors": vectors}
    )["vectors"]
    np.testing.assert_array_equal(found[0], [0.0, 0.0])
    # d cos((x, y), (1, 1)) at (3, 4) is (y (y - x), x (x - y)) / (sqrt(2) · 5³).
    np.testing.assert_allclose(found[1], np.array([4.0, -3.0]) / (np.sqrt(2) * 125), rtol=1e-5)
