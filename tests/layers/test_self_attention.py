"""SelfAttention: NRMS' multi-head self-attention."""

import functools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from recommenders_miner.layers import AdditiveAttention, SelfAttention
from tests.layers import reference
from tests.layers.layer_checks import as_tensors, call_once, check_layer, gradients, to_numpy, weights_of

GENERATOR = np.random.default_rng(6)
VALUES = GENERATOR.normal(size=(3, 4, 3))
MASK = np.array([[True, True, True, True], [True, True, False, False], [False] * 4])
CONFIG = {"num_heads": 2, "head_dim": 3}


def built(num_heads=2, head_dim=3, values=VALUES):
    layer = SelfAttention(num_heads, head_dim)
    layer.build(values.shape)
    generator = np.random.default_rng(8)
    layer.set_weights([generator.normal(size=weight.shape) for weight in layer.weights])
    return layer


@pytest.mark.parametrize("inputs", [{"values": VALUES}, {"values": VALUES, "mask": MASK}], ids=["plain", "mask"])
def test_shared_checks(inputs, tmp_path):
    check_layer(
        SelfAttention,
        CONFIG,
        inputs,
        functools.partial(reference.self_attention, num_heads=2),
        weights={name: (3, 6) for name in ("query_kernel", "key_kernel", "value_kernel")},
        dynamic_shapes={name: {"values": (None, 3), "mask": (None,)}[name] for name in inputs},
        tmp_path=tmp_path,
    )


@settings(max_examples=8, deadline=None)
@given(*[st.integers(1, 4)] * 5, st.booleans())
def test_any_shape(batch, length, width, num_heads, head_dim, masked):
    generator = np.random.default_rng(batch + 10 * length)
    values = generator.normal(size=(batch, length, width))
    inputs = {"values": values} | ({"mask": generator.random((batch, length)) < 0.6} if masked else {})
    layer = built(num_heads, head_dim, values)
    expected = reference.self_attention(**inputs, **weights_of(layer), num_heads=num_heads)
    np.testing.assert_allclose(call_once(layer, inputs), expected, rtol=1e-4, atol=1e-5)


def test_its_weights_sum_to_one_and_give_each_heads_output():
    layer = built()
    attended, weights = (
        to_numpy(part) for part in layer(**as_tensors({"values": VALUES, "mask": MASK}), return_weights=True)
    )
    assert weights.shape == (3, 2, 4, 4)
    np.testing.assert_allclose(weights[:2].sum(axis=-1), 1.0, rtol=1e-5)
    assert not weights[~np.broadcast_to(MASK[:, None, None], weights.shape)].any()
    projected = (VALUES @ weights_of(layer)["value_kernel"]).reshape(3, 4, 2, 3)
    expected = np.einsum("bhqk,bkhd->bqhd", weights, projected).reshape(3, 4, 6)
    np.testing.assert_allclose(attended, expected, rtol=1e-4, atol=1e-5)
    plain = call_once(layer, {"values": VALUES, "mask": MASK})
    np.testing.assert_allclose(attended, plain, atol=1e-6)


def test_equals_keras_attention_without_its_output_projection():
    layer = built()
    theirs = keras.layers.MultiHeadAttention(num_heads=2, key_dim=3, use_bias=False, output_shape=6)
    theirs.build(VALUES.shape, VALUES.shape)
    kernels = [kernel.reshape(3, 2, 3) for kernel in layer.get_weights()]
    theirs.set_weights([*kernels, np.eye(6).reshape(2, 3, 6)])
    values = ops.convert_to_tensor(VALUES.astype("float32"))
    mask = ops.convert_to_tensor(MASK[:, None, :].repeat(4, axis=1))
    expected = to_numpy(theirs(values, values, attention_mask=mask))
    found = to_numpy(layer(values, mask=ops.convert_to_tensor(MASK)))
    np.testing.assert_allclose(found[:2], expected[:2], atol=1e-5)  # theirs attends to padding in row 2


def test_padding_content_and_more_padding_never_matter():
    layer = built()
    clean = to_numpy(layer(**as_tensors({"values": VALUES, "mask": MASK})))
    garbage = np.where(MASK[..., None], VALUES, 1e3)
    longer = np.concatenate([garbage, np.full((3, 5, 3), 9.0)], axis=1)
    longer_mask = np.concatenate([MASK, np.zeros((3, 5), bool)], axis=1)
    for values, mask in ((garbage, MASK), (longer, longer_mask)):
        found = to_numpy(layer(**as_tensors({"values": values, "mask": mask})))[:, :4]
        np.testing.assert_allclose(found[MASK], clean[MASK], rtol=0, atol=1e-6)


def test_padding_alone_gives_zeros_and_zero_gradients():
    layer = built()
    inputs = {"values": VALUES, "mask": MASK}
    assert (to_numpy(layer(**as_tensors(inputs)))[2] == 0).all()
    found = gradients(lambda **tensors: ops.sum(ops.square(layer(**tensors))), layer, inputs)
    assert all(np.isfinite(gradient).all() for gradient in found.values())
    assert (found["values"][2] == 0).all()
    found = gradients(lambda **tensors: ops.sum(layer(**tensors)), layer, inputs | {"mask": np.zeros_like(MASK)})
    assert all((gradient == 0).all() for gradient in found.values())


def test_extreme_logits_stay_finite():
    layer = built()
    layer.query_kernel.assign(layer.query_kernel * 1e4)
    inputs = {"values": VALUES, "mask": MASK}
    assert np.isfinite(to_numpy(layer(**as_tensors(inputs)))).all()
    found = gradients(lambda **tensors: ops.sum(layer(**tensors)), layer, inputs)
    assert all(np.isfinite(gradient).all() for gradient in found.values())


def test_permuting_the_sequence_permutes_the_output():
    layer = built()
    order = [2, 0, 3, 1]
    straight = to_numpy(layer(**as_tensors({"values": VALUES, "mask": MASK})))
    shuffled = to_numpy(layer(**as_tensors({"values": VALUES[:, order], "mask": MASK[:, order]})))
    np.testing.assert_allclose(shuffled, straight[:, order], atol=1e-6)


def test_query_key_and_value_start_apart_with_the_spread_of_their_own_fans():
    keras.utils.set_random_seed(1)
    layer = SelfAttention(num_heads=20, head_dim=20)
    layer.build((None, None, 100))
    kernels = [to_numpy(weight) for weight in layer.weights]
    limit = np.sqrt(6 / (100 + 400))
    for kernel in kernels:
        assert np.abs(kernel).max() == pytest.approx(limit, rel=0.01)
        assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.01)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.corrcoef(kernels[first].ravel(), kernels[second].ravel())[0, 1]) < 0.03


def test_a_keras_mask_is_used_and_passed_on():
    ids = np.array([[1, 2, 0], [3, 0, 0]])
    embedding = keras.layers.Embedding(4, 3, mask_zero=True)
    attention, pooling = built(), AdditiveAttention(2)
    mask = ops.convert_to_tensor(ids > 0)
    implicit = pooling(attention(embedding(ids)))
    explicit = pooling(attention(embedding(ids), mask=mask), mask=mask)
    np.testing.assert_array_equal(to_numpy(implicit), to_numpy(explicit))
    unmasked = pooling(attention(ops.convert_to_tensor(to_numpy(embedding(ids)).astype("float32"))))
    assert not np.allclose(to_numpy(unmasked), to_numpy(explicit))


def test_initialisers_are_arguments():
    layer = SelfAttention(1, 3, query_initializer="zeros", value_initializer="identity")
    found = to_numpy(layer(**as_tensors({"values": VALUES, "mask": MASK})))
    # Without a query every key counts alike: the mean of the valid positions.
    np.testing.assert_allclose(found[1], np.tile(VALUES[1, :2].mean(axis=0), (4, 1)), atol=1e-6)


@pytest.mark.parametrize("sizes", [{"num_heads": 0}, {"head_dim": 0}])
def test_sizes_below_one_are_refused(sizes):
    with pytest.raises(ValueError, match="must be at least 1"):
        SelfAttention(**sizes)


@pytest.mark.parametrize("inputs", [{"values": VALUES[0]}, {"values": VALUES, "mask": MASK[..., None]}])
def test_wrong_ranks_are_refused(inputs):
    with pytest.raises(ValueError, match="SelfAttention expects values"):
        SelfAttention(**CONFIG)(**as_tensors(inputs))
