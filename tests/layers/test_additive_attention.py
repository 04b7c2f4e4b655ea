"""AdditiveAttention: a = q^T tanh(W v + b)."""

import warnings

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from recommenders_miner.layers import AdditiveAttention
from tests.layers import reference
from tests.layers.layer_checks import as_tensors, call_once, check_layer, gradients, to_numpy, weights_of

GENERATOR = np.random.default_rng(4)
VALUES = GENERATOR.normal(size=(3, 4, 5))
MASK = np.array([[True, True, True, True], [False, True, True, False], [False] * 4])


def built(dim=2, values=VALUES):
    layer = AdditiveAttention(dim)
    layer.build(values.shape)
    generator = np.random.default_rng(5)
    layer.set_weights([generator.normal(size=weight.shape) for weight in layer.weights])
    return layer


@pytest.mark.parametrize("inputs", [{"values": VALUES}, {"values": VALUES, "mask": MASK}], ids=["plain", "mask"])
def test_shared_checks(inputs, tmp_path):
    check_layer(
        AdditiveAttention,
        {"dim": 2},
        inputs,
        reference.additive_attention,
        weights={"kernel": (5, 2), "bias": (2,), "query": (2, 1)},
        dynamic_shapes={name: {"values": (None, 5), "mask": (None,)}[name] for name in inputs},
        tmp_path=tmp_path,
    )


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.integers(1, 3), max_size=3),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 9),
)
def test_any_leading_axes(leading, length, width, dim, seed):
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(*leading, length, width))
    mask = generator.random((*leading, length)) < 0.6
    layer = built(dim, values)
    found = call_once(layer, {"values": values, "mask": mask})
    expected = reference.additive_attention(values, mask=mask, **weights_of(layer))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_returned_weights():
    layer = built()
    pooled, weights = (
        to_numpy(part) for part in layer(**as_tensors({"values": VALUES, "mask": MASK}), return_weights=True)
    )
    assert weights.shape == (3, 4)
    assert (weights[~MASK] == 0).all()
    np.testing.assert_allclose(weights.sum(axis=-1), [1.0, 1.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(np.einsum("bt,btd->bd", weights, VALUES), pooled, atol=1e-5)


def test_padding_content_never_matters():
    layer = built()
    garbage = np.where(MASK[..., None], VALUES, -1e3)
    np.testing.assert_allclose(
        to_numpy(layer(**as_tensors({"values": garbage, "mask": MASK}))),
        to_numpy(layer(**as_tensors({"values": VALUES, "mask": MASK}))),
        rtol=0,
        atol=1e-6,
    )


def test_padding_alone_gives_zeros_and_zero_gradients():
    layer = built()
    inputs = {"values": VALUES, "mask": MASK}
    assert (to_numpy(layer(**as_tensors(inputs)))[2] == 0).all()
    found = gradients(lambda **tensors: ops.sum(ops.square(layer(**tensors))), layer, inputs)
    assert all(np.isfinite(gradient).all() for gradient in found.values())
    assert (found["values"][~MASK] == 0).all()
    found = gradients(lambda **tensors: ops.sum(layer(**tensors)), layer, inputs | {"mask": np.zeros_like(MASK)})
    assert all((gradient == 0).all() for gradient in found.values())


def test_extreme_logits_stay_finite():
    layer = built()
    layer.query.assign(layer.query * 1e4)
    inputs = {"values": VALUES, "mask": MASK}
    assert np.isfinite(to_numpy(layer(**as_tensors(inputs)))).all()
    found = gradients(lambda **tensors: ops.sum(layer(**tensors)), layer, inputs)
    assert all(np.isfinite(gradient).all() for gradient in found.values())


def test_one_word_is_pooled_to_itself_and_the_order_does_not_matter():
    layer = built()
    one = to_numpy(layer(**as_tensors({"values": VALUES[:, :1]})))
    np.testing.assert_allclose(one, VALUES[:, 0], atol=1e-6)
    backwards = to_numpy(layer(**as_tensors({"values": VALUES[:, ::-1]})))
    np.testing.assert_allclose(backwards, to_numpy(layer(**as_tensors({"values": VALUES}))), atol=1e-6)


def test_a_keras_mask_is_used_and_ends_here():
    ids = np.array([[1, 2, 0], [3, 0, 0]])
    embedding = keras.layers.Embedding(4, 5, mask_zero=True)
    layer = built()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Keras warns of a layer that drops a mask without saying so
        implicit = layer(embedding(ids))
    explicit = layer(embedding(ids), mask=ops.convert_to_tensor(ids > 0))
    np.testing.assert_array_equal(to_numpy(implicit), to_numpy(explicit))
    assert getattr(implicit, "_keras_mask", None) is None


def test_initialisers_are_arguments():
    layer = AdditiveAttention(2, kernel_initializer="ones", bias_initializer="ones", query_initializer="zeros")
    mean = to_numpy(layer(**as_tensors({"values": VALUES})))
    np.testing.assert_allclose(mean, VALUES.mean(axis=1), atol=1e-6)
    assert (to_numpy(layer.kernel) == 1).all()
    assert (to_numpy(layer.bias) == 1).all()


def test_a_dim_below_one_is_refused():
    with pytest.raises(ValueError, match="dim must be at least 1"):
        AdditiveAttention(0)


def test_a_mask_of_the_wrong_rank_is_refused():
    with pytest.raises(ValueError, match=r"mask \(3, 4, 1\)"):
        AdditiveAttention(2)(**as_tensors({"values": VALUES, "mask": MASK[..., None]}))
