"""Safe cosines, and what the zero vector does to them."""

import keras
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from recommenders_miner.layers import cosine, unit_vectors
from tests.layers.layer_checks import call_once, gradients, to_numpy
from tests.layers.reference import cosine as cosine_of_two


def tensor(values):
    return ops.convert_to_tensor(np.asarray(values, "float32"))


def test_hand_computed_values():
    found = to_numpy(cosine(tensor([[3.0, 4.0], [0.0, 0.0]]), tensor([[4.0, 3.0], [-6.0, -8.0], [0.0, 1.0]])))
    np.testing.assert_allclose(found, [[0.96, -1.0, 0.8], [0.0, 0.0, 0.0]], atol=1e-6)


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_all_pairs(batch, n, m, dim, seed):
    generator = np.random.default_rng(seed)
    a, b = generator.normal(size=(batch, n, dim)), generator.normal(size=(batch, m, dim))
    a[0, 0] = 0.0
    found = call_once(cosine, {"a": a, "b": b})
    for k, i, j in np.ndindex(batch, n, m):
        np.testing.assert_allclose(found[k, i, j], cosine_of_two(a[k, i], b[k, j]), atol=1e-5)


def test_lengths_from_tiny_to_large_do_not_matter():
    direction = np.array([[0.6, 0.8]])
    for length in (1e-10, 1e-3, 1e15):
        np.testing.assert_allclose(to_numpy(unit_vectors(tensor(direction * length))), direction, rtol=1e-5)


def test_the_zero_vector_stays_zero_with_a_zero_gradient():
    vectors = np.array([[0.0, 0.0], [3.0, 4.0]])
    assert (to_numpy(unit_vectors(tensor(vectors)))[0] == 0).all()
    found = gradients(
        lambda vectors: ops.sum(cosine(vectors, ops.ones((1, 2)))),
        keras.layers.Identity(),
        {"vectors": vectors},
    )["vectors"]
    np.testing.assert_array_equal(found[0], [0.0, 0.0])
    # d cos((x, y), (1, 1)) at (3, 4) is (y (y - x), x (x - y)) / (sqrt(2) · 5³).
    np.testing.assert_allclose(found[1], np.array([4.0, -3.0]) / (np.sqrt(2) * 125), rtol=1e-5)


def test_half_precision_is_computed_in_float32():
    large = ops.cast(tensor([[300.0, 400.0]]), "float16")  # its squared length overflows float16
    np.testing.assert_allclose(to_numpy(unit_vectors(large)), [[0.6, 0.8]], rtol=1e-5)
    assert keras.backend.standardize_dtype(unit_vectors(large).dtype) == "float32"
