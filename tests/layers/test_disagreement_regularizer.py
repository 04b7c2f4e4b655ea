"""DisagreementRegularizer: Equation (3) of MINER."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from recommenders_miner.layers import DisagreementRegularizer, disagreement
from tests.layers import reference
from tests.layers.layer_checks import (
    as_tensors,
    call_once,
    check_layer,
    compiled,
    gradients,
    numerical_gradients,
    to_numpy,
)

GENERATOR = np.random.default_rng(2)
INTERESTS = GENERATOR.normal(size=(3, 2, 4, 5))
MASK = np.array([[True, False], [True, True], [False, False]])


def tensor(values):
    return ops.convert_to_tensor(np.asarray(values, "float32"))


def added_loss(layer, interests, mask=None, training=True):
    layer(tensor(interests), mask=mask, training=training)
    assert len(layer.losses) <= 1
    return float(to_numpy(layer.losses[0])) if layer.losses else None


def naive(interests):
    return np.array([reference.disagreement(e) for e in interests.reshape(-1, *interests.shape[-2:])])


def test_shared_checks(tmp_path):
    check_layer(
        DisagreementRegularizer,
        {"weight": 0.3},
        {"interests": INTERESTS},
        lambda interests: interests,
        weights={},
        dynamic_shapes={"interests": (None, 4, 5)},
        tmp_path=tmp_path,
    )


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_equation_3_is_the_double_loop(users, count, dim, seed):
    interests = np.random.default_rng(seed).normal(size=(users, count, dim))
    np.testing.assert_allclose(call_once(disagreement, {"interests": interests}), naive(interests), atol=1e-5)


def test_known_values():
    assert to_numpy(disagreement(tensor(np.eye(4)))) == pytest.approx(1 / 4)
    assert to_numpy(disagreement(tensor(np.ones((3, 2))))) == pytest.approx(1.0)
    assert to_numpy(disagreement(tensor([[1.0, 0.0], [-2.0, 0.0]]))) == pytest.approx(0.0, abs=1e-7)
    assert to_numpy(disagreement(tensor([[0.3, -7.0]]))) == pytest.approx(1.0)
    assert to_numpy(disagreement(tensor([[0.0, 0.0], [5.0, 0.0]]))) == pytest.approx(1 / 4)


@pytest.mark.parametrize("interests", [INTERESTS, INTERESTS[0], INTERESTS[0, 0]], ids=["(B,C,K,d)", "(B,K,d)", "(K,d)"])
def test_the_loss_is_the_weighted_mean_over_the_leading_axes(interests):
    layer = DisagreementRegularizer(weight=0.8)
    assert added_loss(layer, interests) == pytest.approx(0.8 * naive(interests).mean(), rel=1e-5)


def test_the_mask_leaves_padding_out_of_the_mean():
    layer = DisagreementRegularizer(weight=0.5)
    expected = 0.5 * naive(INTERESTS[MASK]).mean()
    assert added_loss(layer, INTERESTS, MASK) == pytest.approx(expected, rel=1e-5)
    garbage = np.where(MASK[..., None, None], INTERESTS, 1e3)
    assert added_loss(layer, garbage, MASK) == pytest.approx(expected, rel=1e-5)
    assert added_loss(layer, INTERESTS, np.zeros_like(MASK)) == 0.0


def test_the_loss_is_added_only_in_training_and_once_a_call():
    layer = DisagreementRegularizer()
    assert added_loss(layer, INTERESTS, training=False) is None
    assert added_loss(layer, INTERESTS, training=None) is None
    first = added_loss(layer, INTERESTS)
    assert added_loss(layer, INTERESTS) == first


def test_interests_pass_through_unchanged():
    np.testing.assert_array_equal(
        to_numpy(DisagreementRegularizer()(tensor(INTERESTS), training=True)), to_numpy(tensor(INTERESTS))
    )


def test_gradient_of_the_loss():
    found = gradients(
        lambda interests: ops.mean(disagreement(interests)),
        DisagreementRegularizer(),
        {"interests": INTERESTS[0]},
    )
    expected = numerical_gradients(lambda interests: naive(interests).mean(), {"interests": INTERESTS[0]})
    np.testing.assert_allclose(found["interests"], expected["interests"], atol=1e-5)


def test_a_user_without_interests_has_no_disagreement_and_no_gradient():
    interests = INTERESTS[0].copy()
    interests[1] = 0.0
    values = to_numpy(disagreement(tensor(interests)))
    assert values[1] == 0.0
    found = gradients(
        lambda interests: ops.sum(disagreement(interests)),
        DisagreementRegularizer(),
        {"interests": interests},
    )["interests"]
    assert np.isfinite(found).all()
    assert (found[1] == 0).all()
    assert (found[0] != 0).any()


def test_training_a_compiled_model_drives_interests_apart():
    inputs = keras.Input((1,))
    interests = keras.layers.Reshape((3, 4))(keras.layers.Dense(12, use_bias=False)(inputs))
    model = keras.Model(inputs, DisagreementRegularizer(weight=2.0)(interests))
    model.compile(keras.optimizers.SGD(1.0), loss=lambda truth, found: 0.0 * ops.sum(found))
    ones = np.ones((4, 1), "float32")
    before = model.predict(ones, verbose=0)
    history = model.fit(ones, np.zeros((4, 3, 4), "float32"), epochs=8, verbose=0)
    after = model.predict(ones, verbose=0)
    assert history.history["loss"][0] == pytest.approx(2.0 * naive(before).mean(), rel=1e-4)
    assert naive(after).mean() < naive(before).mean()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
def test_the_loss_is_float32_under_any_policy(policy):
    layer = DisagreementRegularizer(weight=1.0, dtype=policy)
    layer(tensor(INTERESTS * 100), training=True)  # squared lengths beyond float16
    (loss,) = layer.losses
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    np.testing.assert_allclose(to_numpy(loss), naive(INTERESTS).mean(), atol=1e-2)


def test_many_interests_cost_no_pairs():
    """K² cosines of this size would need 160 GB."""
    interests = ops.ones((1, 200_000, 4))
    assert to_numpy(compiled(disagreement)(interests))[0] == pytest.approx(1.0, rel=1e-3)


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match="must not be negative"):
        DisagreementRegularizer(weight=-0.1)


def test_a_mask_of_the_wrong_rank_is_refused():
    with pytest.raises(ValueError, match=r"mask \(3, 2, 1\)"):
        DisagreementRegularizer()(**as_tensors({"interests": INTERESTS, "mask": MASK[..., None]}))
