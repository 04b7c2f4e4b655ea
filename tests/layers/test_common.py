"""masked_softmax and cosines: against plain loops, and at their edges."""

import keras
import numpy as np
import pytest
from keras import ops

from recommenders_miner.layers import cosine, masked_softmax, unit_vectors
from tests.layers import reference
from tests.layers.layer_checks import call_once, gradients, tensor, to_numpy


@pytest.mark.parametrize("shape", [(1,), (4,), (3, 1), (3, 4), (1, 2, 4), (4, 3, 2)])
def test_softmax_of_any_shape(shape):
    generator = np.random.default_rng(sum(shape))
    logits, mask = generator.uniform(-1e4, 1e4, shape), generator.random(shape) < 0.6
    weights = call_once(masked_softmax, {"logits": logits, "mask": mask})
    for row in np.ndindex(shape[:-1]):
        np.testing.assert_allclose(weights[row], reference.softmax(logits[row], mask[row]), rtol=1e-3, atol=1e-6)
    assert not weights[~mask].any()
    as_numbers = to_numpy(masked_softmax(tensor(logits.T), 2 * mask.T.astype("int32"), axis=0))
    np.testing.assert_allclose(as_numbers.T, weights, atol=1e-6)
    np.testing.assert_allclose(
        to_numpy(masked_softmax(tensor(logits))), call_once(masked_softmax, {"logits": logits, "mask": mask | True})
    )


def test_a_wholly_masked_row_has_zero_weights_and_zero_gradients():
    found = gradients(
        lambda logits, mask: ops.sum(masked_softmax(logits, mask) * ops.arange(3.0)),
        keras.layers.Identity(),
        {"logits": np.array([[0.5, -1.0, 2.0], [1.0, 2.0, 3.0]]), "mask": np.array([[True, False, True], [False] * 3])},
    )["logits"]
    assert np.isfinite(found).all()
    assert (found[1] == 0).all()
    assert found[0, 1] == 0
    assert found[0, 0] != 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(dtype):
    large = ops.cast(tensor([[300.0, 400.0]]), dtype)  # its squared length overflows float16
    np.testing.assert_allclose(to_numpy(unit_vectors(large)), [[0.6, 0.8]], rtol=1e-5)
    for result in (unit_vectors(large), masked_softmax(large)):
        assert keras.backend.standardize_dtype(result.dtype) == "float32"


def test_cosines_of_all_pairs():
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


def test_the_zero_vector_has_a_zero_gradient():
    found = gradients(
        lambda vectors: ops.sum(cosine(vectors, ops.ones((1, 2)))),
        keras.layers.Identity(),
        {"vectors": np.array([[0.0, 0.0], [3.0, 4.0]])},
    )["vectors"]
    np.testing.assert_array_equal(found[0], [0.0, 0.0])
    # d cos((x, y), (1, 1)) at (3, 4) is (y (y - x), x (x - y)) / (sqrt(2) · 5³).
    np.testing.assert_allclose(found[1], np.array([4.0, -3.0]) / (np.sqrt(2) * 125), rtol=1e-5)
