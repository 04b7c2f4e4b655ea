"""PolyAttention: Equations (1), (2) and (5) of MINER."""

import warnings

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from recommenders_miner.layers import PolyAttention
from tests.layers import reference
from tests.layers.layer_checks import as_tensors, call_once, check_layer, gradients, to_numpy, weights_of

GENERATOR = np.random.default_rng(0)
HISTORY = GENERATOR.normal(size=(3, 4, 5))
MASK = np.array([[True, True, True, True], [True, False, True, False], [False] * 4])
BIAS = GENERATOR.normal(size=(3, 4))
CANDIDATE_BIAS = GENERATOR.normal(size=(3, 2, 4))
CONFIG = {"num_interests": 3, "code_dim": 2}
FREE = {"history": (None, 5), "mask": (None,), "bias": (None,)}
FREE_PER_CANDIDATE = FREE | {"bias": (None, None)}


def expected_interests(**arrays):
    return reference.poly_attention(**arrays)[0]


def built(history=HISTORY, seed=3, **config):
    """A layer with weights large enough that the attention is far from uniform."""
    layer = PolyAttention(**CONFIG | {"projection_initializer": "zeros", "codes_initializer": "zeros"} | config)
    layer.build(history.shape)
    generator = np.random.default_rng(seed)
    layer.set_weights([generator.normal(size=weight.shape) for weight in layer.weights])
    return layer


@pytest.mark.parametrize(
    ("inputs", "free"),
    [
        ({"history": HISTORY}, FREE),
        ({"history": HISTORY, "mask": MASK, "bias": BIAS}, FREE),
        ({"history": HISTORY, "mask": MASK, "bias": CANDIDATE_BIAS}, FREE_PER_CANDIDATE),
    ],
    ids=["plain", "bias and mask", "candidate bias and mask"],
)
def test_shared_checks(inputs, free, tmp_path):
    check_layer(
        PolyAttention,
        CONFIG,
        inputs,
        expected_interests,
        weights={"projection": (5, 2), "codes": (3, 2)},
        dynamic_shapes={name: free[name] for name in inputs},
        tmp_path=tmp_path,
    )


@pytest.mark.parametrize("bias", [None, BIAS, CANDIDATE_BIAS], ids=["none", "per user", "per candidate"])
def test_returned_weights(bias):
    layer = built()
    inputs = {"history": HISTORY, "mask": MASK} | ({} if bias is None else {"bias": bias})
    interests, weights = layer(**as_tensors(inputs), return_weights=True)
    expected_vectors, expected_weights = reference.poly_attention(**inputs, **weights_of(layer))
    np.testing.assert_allclose(to_numpy(interests), expected_vectors, atol=1e-5)
    np.testing.assert_allclose(to_numpy(weights), expected_weights, atol=1e-5)
    assert (to_numpy(weights)[1][..., [1, 3]] == 0).all()


@settings(max_examples=8, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 4)] * 6), masked=st.booleans(), bias_rank=st.sampled_from([0, 2, 3]),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_any_shape(sizes, masked, bias_rank, seed):
    users, length, dim, interests, code_dim, candidates = sizes
    generator = np.random.default_rng(seed)
    inputs = {"history": generator.normal(size=(users, length, dim))}
    if masked:
        inputs["mask"] = generator.random((users, length)) < 0.6
    if bias_rank:
        inputs["bias"] = generator.normal(size=(users, candidates, length) if bias_rank == 3 else (users, length))
    layer = built(inputs["history"], num_interests=interests, code_dim=code_dim)
    expected = expected_interests(**inputs, **weights_of(layer))
    np.testing.assert_allclose(call_once(layer, inputs), expected, rtol=1e-4, atol=1e-5)


def test_padding_content_never_matters():
    layer = built()
    garbage = np.where(MASK[..., None], HISTORY, 1e3)
    bias_garbage = np.where(MASK[:, None], CANDIDATE_BIAS, -1e4)
    clean = layer(**as_tensors({"history": HISTORY, "mask": MASK, "bias": CANDIDATE_BIAS}))
    dirty = layer(**as_tensors({"history": garbage, "mask": MASK, "bias": bias_garbage}))
    np.testing.assert_allclose(to_numpy(dirty), to_numpy(clean), rtol=0, atol=1e-6)


def test_more_padding_never_matters():
    layer = built()
    longer = np.concatenate([HISTORY, np.full((3, 6, 5), 7.0)], axis=1)
    longer_mask = np.concatenate([MASK, np.zeros((3, 6), bool)], axis=1)
    np.testing.assert_allclose(
        to_numpy(layer(**as_tensors({"history": longer, "mask": longer_mask}))),
        to_numpy(layer(**as_tensors({"history": HISTORY, "mask": MASK}))),
        rtol=0,
        atol=1e-6,
    )


def test_the_order_of_the_history_does_not_matter():
    layer = built()
    order = [2, 0, 3, 1]
    straight = layer(**as_tensors({"history": HISTORY, "mask": MASK, "bias": BIAS}))
    shuffled = layer(**as_tensors({"history": HISTORY[:, order], "mask": MASK[:, order], "bias": BIAS[:, order]}))
    np.testing.assert_allclose(to_numpy(shuffled), to_numpy(straight), rtol=0, atol=1e-6)


@pytest.mark.parametrize("bias", [None, CANDIDATE_BIAS], ids=["no bias", "candidate bias"])
def test_an_empty_history_gives_zeros_and_zero_gradients(bias):
    layer = built()
    inputs = {"history": HISTORY, "mask": MASK} | ({} if bias is None else {"bias": bias})
    assert (to_numpy(layer(**as_tensors(inputs)))[2] == 0).all()
    found = gradients(lambda **tensors: ops.sum(ops.square(layer(**tensors))), layer, inputs)
    assert all(np.isfinite(gradient).all() for gradient in found.values())
    assert (found["history"][2] == 0).all()
    assert (found["history"][~MASK] == 0).all()
    nobody = inputs | {"mask": np.zeros_like(MASK)}
    found = gradients(lambda **tensors: ops.sum(layer(**tensors)), layer, nobody)
    assert all((gradient == 0).all() for gradient in found.values())


def test_extreme_logits_stay_finite():
    layer = built()
    layer.codes.assign(layer.codes * 1e4)
    for bias in (None, CANDIDATE_BIAS * 1e4):
        inputs = {"history": HISTORY, "mask": MASK} | ({} if bias is None else {"bias": bias})
        found = gradients(lambda **tensors: ops.sum(ops.square(layer(**tensors))), layer, inputs)
        assert np.isfinite(to_numpy(layer(**as_tensors(inputs)))).all()
        assert all(np.isfinite(gradient).all() for gradient in found.values())


def test_one_interest_over_one_click_is_that_click():
    interests = built(num_interests=1)(ops.convert_to_tensor(HISTORY[:, :1].astype("float32")))
    np.testing.assert_allclose(to_numpy(interests), HISTORY[:, :1], atol=1e-6)


def test_a_constant_bias_changes_nothing_and_a_large_one_selects():
    layer = built()
    plain = to_numpy(layer(**as_tensors({"history": HISTORY})))
    shifted = to_numpy(layer(**as_tensors({"history": HISTORY, "bias": np.full((3, 4), 5.0)})))
    np.testing.assert_allclose(shifted, plain, atol=1e-5)
    select = np.zeros((3, 4))
    select[:, 2] = 1e4
    selected = to_numpy(layer(**as_tensors({"history": HISTORY, "bias": select})))
    np.testing.assert_allclose(selected, np.repeat(HISTORY[:, 2:3], 3, axis=1), atol=1e-5)


def test_candidates_with_the_bias_of_the_user_get_the_interests_of_the_user():
    layer = built()
    shared = to_numpy(layer(**as_tensors({"history": HISTORY, "mask": MASK, "bias": BIAS})))
    each = to_numpy(
        layer(**as_tensors({"history": HISTORY, "mask": MASK, "bias": np.repeat(BIAS[:, None], 2, axis=1)}))
    )
    np.testing.assert_allclose(each, np.repeat(shared[:, None], 2, axis=1), atol=1e-6)


def test_logits_are_those_of_equation_2():
    layer = built()
    weights = weights_of(layer)
    expected = np.array(
        [[[c @ np.tanh(weights["projection"].T @ h) for h in user] for c in weights["codes"]] for user in HISTORY]
    )
    logits = layer.logits(ops.convert_to_tensor(HISTORY.astype("float32")))
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    np.testing.assert_allclose(to_numpy(logits), expected, atol=1e-5)


def test_logits_by_category_give_the_interests_of_equation_5():
    """The identity that evaluation uses: e = Σ_k g_k A_k / Σ_k g_k Z_k over categories k of the history."""
    layer = built()
    category = np.array([0, 1, 0, 2])
    per_category = np.array([0.3, -1.2, 0.8])
    direct = to_numpy(layer(**as_tensors({"history": HISTORY, "bias": np.tile(per_category[category], (3, 1))})))
    exponentials = np.exp(to_numpy(layer.logits(ops.convert_to_tensor(HISTORY.astype("float32")))))
    sums, totals = 0.0, 0.0
    for k in range(3):
        gain = np.exp(per_category[k])
        sums = sums + gain * exponentials[:, :, category == k] @ HISTORY[:, category == k]
        totals = totals + gain * exponentials[:, :, category == k].sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(direct, sums / totals, atol=1e-5)


def test_logits_outside_a_call_follow_the_policy():
    half = PolyAttention(**CONFIG, dtype="mixed_bfloat16")
    half.build(HISTORY.shape)
    inputs = ops.convert_to_tensor(HISTORY.astype("float32"))
    inside = to_numpy(half(inputs, return_weights=True)[1])
    outside = to_numpy(ops.cast(ops.softmax(half.logits(inputs), axis=-1), "bfloat16"))
    np.testing.assert_array_equal(outside, inside)


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


def test_default_weights_differ_between_layers_and_follow_the_seed():
    def draw(seed):
        keras.utils.set_random_seed(seed)
        layers = [PolyAttention(**CONFIG), PolyAttention(**CONFIG)]
        for layer in layers:
            layer.build(HISTORY.shape)
        return [layer.get_weights() for layer in layers]

    first, second = draw(1)
    assert not np.allclose(first[0], second[0])
    np.testing.assert_array_equal(first[0], draw(1)[0][0])


def test_initialisers_are_arguments():
    layer = PolyAttention(**CONFIG, projection_initializer="zeros", codes_initializer=keras.initializers.Constant(2))
    layer.build(HISTORY.shape)
    assert (to_numpy(layer.projection) == 0).all()
    assert (to_numpy(layer.codes) == 2).all()
    # With a zero projection every logit is 0, so an interest is the mean of the clicks.
    mean = to_numpy(layer(**as_tensors({"history": HISTORY})))
    np.testing.assert_allclose(mean, np.repeat(HISTORY.mean(axis=1, keepdims=True), 3, axis=1), atol=1e-6)


@pytest.mark.parametrize("sizes", [{"num_interests": 0}, {"code_dim": 0}, {"num_interests": -1}])
def test_sizes_below_one_are_refused(sizes):
    with pytest.raises(ValueError, match="must be at least 1"):
        PolyAttention(**sizes)


@pytest.mark.parametrize(
    "inputs",
    [
        {"history": HISTORY[0]},
        {"history": HISTORY, "mask": MASK[..., None]},
        {"history": HISTORY, "bias": CANDIDATE_BIAS[..., None]},
        {"history": HISTORY, "bias": BIAS[0]},
    ],
    ids=["history", "mask", "bias of rank 4", "bias of rank 1"],
)
def test_wrong_ranks_are_refused_with_the_shapes(inputs):
    with pytest.raises(ValueError, match="PolyAttention expects history") as error:
        PolyAttention(**CONFIG)(**as_tensors(inputs))
    assert all(f"{name} {array.shape}" in str(error.value) for name, array in inputs.items())
