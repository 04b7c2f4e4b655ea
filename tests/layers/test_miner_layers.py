"""What MINER's four layers do beyond the shared checks."""

import keras
import numpy as np
import pytest
from keras import ops

from recommenders_miner.layers import (
    CategoryBias,
    DisagreementRegularizer,
    InterestAggregation,
    InterestsOverClicks,
    PolyAttention,
    disagreement,
    match_interests,
)
from recommenders_miner.models.network import DotProductPredictor
from tests.layers import reference
from tests.layers.cases import BIAS, CASES, INTERESTS, INTERESTS_OF_EACH, POLY, REGULARIZER
from tests.layers.layer_checks import (
    as_tensors,
    call_once,
    check_gradients,
    compiled,
    gradients,
    tensor,
    to_numpy,
    weights_of,
)

HISTORY = POLY.inputs["history"]
CLICKED = BIAS.inputs["history_category"]


def standard(dtype):
    return keras.backend.standardize_dtype(dtype)


# === Poly attention ===


def test_logits_are_those_of_equation_2_under_any_policy():
    layer = POLY.built()
    projection, codes = weights_of(layer).values()
    expected = [[[code @ np.tanh(projection.T @ h) for h in user] for code in codes] for user in HISTORY]
    np.testing.assert_allclose(to_numpy(layer.logits(tensor(HISTORY))), expected, atol=1e-5)
    half = PolyAttention(**POLY.config, dtype="mixed_bfloat16")
    half.build(HISTORY.shape)
    assert standard(half.logits(tensor(HISTORY)).dtype) == "float32"
    inside = to_numpy(half(tensor(HISTORY), return_weights=True)[1])
    outside = ops.cast(ops.softmax(half.logits(tensor(HISTORY)), axis=-1), "bfloat16")
    np.testing.assert_array_equal(to_numpy(outside), inside)


# === Category bias ===


def test_lambda_starts_at_one():
    bias = call_once(CategoryBias(), {"history_category": CLICKED, "candidate_category": CLICKED})
    np.testing.assert_allclose(np.diagonal(bias, axis1=1, axis2=2), 1.0, atol=1e-6)


# === Disagreement ===

USERS = REGULARIZER.inputs["interests"]
COUNTED = np.array([[True, False], [True, True], [False, False]])


def added_loss(layer, interests, mask=None, training=True):
    found = to_numpy(layer(tensor(interests), mask=mask, training=training))
    np.testing.assert_array_equal(found, to_numpy(tensor(interests)))
    assert len(layer.losses) <= 1
    return float(to_numpy(layer.losses[0])) if layer.losses else None


def naive(interests):
    return np.array([reference.disagreement(e) for e in interests.reshape(-1, *interests.shape[-2:])])


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 4), (3, 6, 5), (1, 5, 2)])
def test_equation_3_is_the_double_loop(shape):
    interests = np.random.default_rng(2).normal(size=shape)
    np.testing.assert_allclose(call_once(disagreement, {"interests": interests}), naive(interests), atol=1e-5)


@pytest.mark.parametrize("interests", [USERS, USERS[0], USERS[0, 0]], ids=["(B,C,K,d)", "(B,K,d)", "(K,d)"])
def test_the_loss_is_the_weighted_mean_over_the_leading_axes(interests):
    layer = DisagreementRegularizer(weight=0.8)
    assert added_loss(layer, interests) == pytest.approx(0.8 * naive(interests).mean(), rel=1e-5)


def test_the_mask_leaves_padding_out_of_the_mean_and_a_user_counts_once():
    layer = DisagreementRegularizer(weight=0.5)
    expected = 0.5 * np.mean([naive(USERS[0, :1]).mean(), naive(USERS[1]).mean()])
    for interests in (USERS, np.where(COUNTED[..., None, None], USERS, 1e3)):
        assert added_loss(layer, interests, COUNTED) == pytest.approx(expected, rel=1e-5)
    assert added_loss(layer, USERS, np.zeros_like(COUNTED)) == 0.0


def test_the_loss_is_added_only_in_training_and_once_a_call():
    layer = DisagreementRegularizer()
    assert [added_loss(layer, USERS, training=training) for training in (False, None)] == [None, None]
    assert added_loss(layer, USERS) == added_loss(layer, USERS)


def test_gradients_of_the_disagreement():
    layer, interests = DisagreementRegularizer(), USERS[0, 1:].copy()
    check_gradients(
        lambda interests: ops.mean(disagreement(interests)),
        layer,
        {"interests": interests},
        lambda interests: naive(interests).mean(),
    )
    interests[0] = 0.0  # a user without interests has no disagreement and no gradient
    assert to_numpy(disagreement(tensor(interests)))[0] == 0.0
    found = gradients(lambda interests: ops.sum(disagreement(interests)), layer, {"interests": interests})["interests"]
    assert not found.any()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
def test_the_loss_is_float32_under_any_policy(policy):
    layer = DisagreementRegularizer(weight=1.0, dtype=policy)
    layer(tensor(USERS * 100), training=True)  # squared lengths beyond float16
    (loss,) = layer.losses
    assert standard(loss.dtype) == "float32"
    np.testing.assert_allclose(to_numpy(loss), naive(USERS).mean(), atol=1e-2)


def test_many_interests_cost_no_pairs():
    """K² cosines of this size would need 160 GB."""
    interests = ops.ones((1, 200_000, 4))
    assert to_numpy(compiled(disagreement)(interests))[0] == pytest.approx(1.0, rel=1e-3)


# === Aggregation ===

EACH, CANDIDATES = INTERESTS_OF_EACH["interests"], INTERESTS["candidates"]
OWN = INTERESTS["interests"]
modes = pytest.mark.parametrize("mode", ["max", "mean", "weighted"])


def aggregation(mode):
    return CASES[f"aggregation by {mode} per user"].built()


def scores(layer, interests, candidates=CANDIDATES):
    return call_once(layer, {"interests": interests, "candidates": candidates})


@modes
@pytest.mark.parametrize("scale", [1, 100], ids=["usual", "extreme"])
def test_scores_and_gradients_are_finite_and_zero_for_a_user_without_interests(mode, scale):
    interests = OWN * scale
    interests[1] = 0.0
    layer, inputs = aggregation(mode), {"interests": interests, "candidates": CANDIDATES * scale}
    found = scores(layer, **inputs)
    assert np.isfinite(found).all()
    assert not found[1].any()
    found = gradients(lambda **tensors: ops.sum(ops.square(layer(**tensors))), layer, inputs)
    assert all(np.isfinite(gradient).all() for gradient in found.values())
    assert not found["candidates"][1].any()


@modes
def test_interests_over_clicks_score_as_the_interests_that_they_sum_up_to(mode):
    generator = np.random.default_rng(3)
    weights = generator.random((2, 3, 6)) * (np.arange(6) < [[[6]], [[0]]])  # the second user has no clicks
    gains, clicks = generator.random((2, 6, 5)), generator.normal(size=(2, 6, 4))
    shares = weights[:, :, :, None] * gains[:, None]
    totals = shares.sum(axis=2, keepdims=True)
    shares = np.divide(shares, totals, out=np.zeros_like(shares), where=totals > 0)
    layer = aggregation(mode)
    direct = scores(layer, np.einsum("bkmc,bmd->bckd", shares, clicks))
    apart = to_numpy(layer(InterestsOverClicks(*map(tensor, (weights, gains, clicks))), tensor(CANDIDATES)))
    np.testing.assert_allclose(apart, direct, atol=1e-6)
    assert not apart[1].any()


def test_a_target_that_is_known_already_is_not_computed_again():
    layer, inputs = aggregation("weighted"), as_tensors(INTERESTS)
    plain, target = to_numpy(layer(**inputs)), layer.target(inputs["candidates"])
    np.testing.assert_array_equal(to_numpy(layer(**inputs, target=target)), plain)
    assert not np.allclose(to_numpy(layer(**inputs, target=0 * target)), plain)


@modes
@pytest.mark.parametrize("interests", [OWN, EACH], ids=["per user", "per candidate"])
def test_returned_weights_of_interests_sum_to_one_and_give_the_scores(mode, interests):
    layer, tensors = aggregation(mode), as_tensors({"interests": interests, "candidates": CANDIDATES})
    found, weights = (to_numpy(part) for part in layer(**tensors, return_weights=True))
    matches = to_numpy(match_interests(*tensors.values()))
    own = np.broadcast_to(interests if interests.ndim == 4 else interests[:, None], EACH.shape)
    np.testing.assert_allclose(matches, np.einsum("bckd,bcd->bck", own, CANDIDATES), atol=1e-5)
    assert weights.shape == (2, 5, 3)
    np.testing.assert_allclose(weights.sum(axis=-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose((weights * matches).sum(axis=-1), found, atol=1e-5)
    np.testing.assert_allclose(found, scores(layer, interests), atol=1e-6)
    if mode != "weighted":
        assert set(np.unique(weights.round(6))) == ({0, 1} if mode == "max" else {0.333333})


def test_half_precision_makes_no_ties():
    """Scores that differ by one part in a thousand are equal in bfloat16, but not here."""
    interests, candidates = np.ones((1, 1, 512)), np.ones((1, 2, 512))
    candidates[0, 1, 0] = 0.5
    for layer in (InterestAggregation("mean", dtype="bfloat16"), DotProductPredictor(dtype="bfloat16")):
        users, shown = interests, tensor(candidates)
        if isinstance(layer, DotProductPredictor):
            users, shown = interests[:, 0], {"vector": shown}
        np.testing.assert_allclose(to_numpy(layer(tensor(users), shown)), [[512.0, 511.5]])
