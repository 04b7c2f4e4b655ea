"""InterestAggregation: Equation (4) of MINER and its three click predictors."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from recommenders_miner.layers import InterestAggregation, InterestsOverClicks, match_interests
from tests.layers import reference
from tests.layers.layer_checks import as_tensors, check_layer, gradients, to_numpy

GENERATOR = np.random.default_rng(3)
USER_INTERESTS = GENERATOR.normal(size=(2, 3, 4))
CANDIDATE_INTERESTS = GENERATOR.normal(size=(2, 5, 3, 4))
CANDIDATES = GENERATOR.normal(size=(2, 5, 4))
MODES = ("max", "mean", "weighted")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("interests", [USER_INTERESTS, CANDIDATE_INTERESTS], ids=["per user", "per candidate"])
def test_shared_checks(mode, interests, tmp_path):
    check_layer(
        InterestAggregation,
        {"mode": mode},
        {"interests": interests, "candidates": CANDIDATES},
        functools.partial(reference.interest_aggregation, mode=mode),
        weights={"kernel": (4, 4)} if mode == "weighted" else {},
        dynamic_shapes={
            "interests": (3, 4) if interests.ndim == 3 else (None, 3, 4),
            "candidates": (None, 4),
        },
        tmp_path=tmp_path,
        output_dtype="float32",
    )


def scores(mode, interests, candidates, layer=None):
    layer = layer or InterestAggregation(mode)
    return to_numpy(layer(**as_tensors({"interests": interests, "candidates": candidates})))


@pytest.mark.parametrize("mode", MODES)
def test_one_interest_scores_by_its_inner_product(mode):
    expected = np.einsum("bd,bcd->bc", USER_INTERESTS[:, 0], CANDIDATES)
    np.testing.assert_allclose(scores(mode, USER_INTERESTS[:, :1], CANDIDATES), expected, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_interests_repeated_for_each_candidate_score_alike(mode):
    layer = InterestAggregation(mode)
    repeated = np.repeat(USER_INTERESTS[:, None], 5, axis=1)
    shared = scores(mode, USER_INTERESTS, CANDIDATES, layer)
    np.testing.assert_allclose(scores(mode, repeated, CANDIDATES, layer), shared, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_the_order_of_interests_and_the_company_of_a_candidate_do_not_matter(mode):
    layer = InterestAggregation(mode)
    together = scores(mode, USER_INTERESTS, CANDIDATES, layer)
    np.testing.assert_allclose(scores(mode, USER_INTERESTS[:, ::-1], CANDIDATES, layer), together, atol=1e-6)
    alone = scores(mode, USER_INTERESTS, CANDIDATES[:, 2:3], layer)
    np.testing.assert_allclose(alone[:, 0], together[:, 2], atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_a_user_without_interests_scores_zero_with_finite_gradients(mode):
    interests = USER_INTERESTS.copy()
    interests[1] = 0.0
    layer = InterestAggregation(mode)
    assert (scores(mode, interests, CANDIDATES, layer)[1] == 0).all()
    found = gradients(
        lambda **tensors: ops.sum(ops.square(layer(**tensors))),
        layer,
        {"interests": interests, "candidates": CANDIDATES},
    )
    assert all(np.isfinite(gradient).all() for gradient in found.values())
    assert (found["candidates"][1] == 0).all()


@pytest.mark.parametrize("mode", MODES)
def test_interests_over_clicks_score_as_the_interests_that_they_sum_up_to(mode):
    clicks = GENERATOR.normal(size=(2, 6, 4))
    weights = GENERATOR.random((2, 3, 6)) * (np.arange(6) < [[[6]], [[0]]])  # the second user has no clicks
    gains = GENERATOR.random((2, 6, 5))
    shares = weights[:, :, :, None] * gains[:, None]
    totals = shares.sum(axis=2, keepdims=True)
    shares = np.divide(shares, totals, out=np.zeros_like(shares), where=totals > 0)
    summed = np.einsum("bkmc,bmd->bckd", shares, clicks)
    layer = InterestAggregation(mode)
    direct = scores(mode, summed, CANDIDATES, layer)
    apart = InterestsOverClicks(*(ops.convert_to_tensor(array, "float32") for array in (weights, gains, clicks)))
    found = layer(apart, ops.convert_to_tensor(CANDIDATES, "float32"))
    np.testing.assert_allclose(to_numpy(found), direct, atol=1e-6)
    assert not to_numpy(found)[1].any()


def test_a_target_that_is_known_already_is_not_computed_again():
    layer = InterestAggregation("weighted")
    inputs = as_tensors({"interests": USER_INTERESTS, "candidates": CANDIDATES})
    plain = layer(**inputs)
    target = layer.target(inputs["candidates"])
    np.testing.assert_array_equal(to_numpy(layer(**inputs, target=target)), to_numpy(plain))
    assert not np.allclose(to_numpy(layer(**inputs, target=0 * target)), to_numpy(plain))


def test_gelu_is_the_exact_one():
    """At x = 2 the exact and the tanh form differ by 3e-4, times 1e3 here."""
    layer = InterestAggregation(kernel_initializer="identity")
    interests, candidates = np.array([[[1.0], [0.0]]]), np.array([[[2.0]]])
    found = to_numpy(layer(**as_tensors({"interests": interests, "candidates": candidates}), return_weights=True)[1])
    odds = np.log(found[0, 0, 0] / found[0, 0, 1])
    assert odds == pytest.approx(float(reference.gelu(2.0)), abs=5e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("interests", [USER_INTERESTS, CANDIDATE_INTERESTS], ids=["per user", "per candidate"])
def test_returned_weights_sum_to_one_and_give_the_scores(mode, interests):
    layer = InterestAggregation(mode)
    tensors = as_tensors({"interests": interests, "candidates": CANDIDATES})
    found, weights = (to_numpy(part) for part in layer(**tensors, return_weights=True))
    matches = to_numpy(match_interests(*tensors.values()))
    per_candidate = np.broadcast_to(interests if interests.ndim == 4 else interests[:, None], CANDIDATE_INTERESTS.shape)
    np.testing.assert_allclose(matches, np.einsum("bckd,bcd->bck", per_candidate, CANDIDATES), atol=1e-5)
    assert weights.shape == (2, 5, 3)
    np.testing.assert_allclose(weights.sum(axis=-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose((weights * matches).sum(axis=-1), found, atol=1e-5)
    np.testing.assert_allclose(found, scores(mode, interests, CANDIDATES, layer), atol=1e-6)
    if mode == "max":
        assert sorted(np.unique(weights)) == [0, 1]
    if mode == "mean":
        np.testing.assert_allclose(weights, 1 / 3, rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_extreme_matches_stay_finite(mode):
    layer = InterestAggregation(mode)
    inputs = {"interests": USER_INTERESTS * 100, "candidates": CANDIDATES * 100}
    assert np.isfinite(scores(mode, *inputs.values(), layer)).all()
    found = gradients(lambda **tensors: ops.sum(layer(**tensors)), layer, inputs)
    assert all(np.isfinite(gradient).all() for gradient in found.values())


def test_half_precision_makes_no_ties():
    """Scores that differ by one part in a thousand are equal in bfloat16, but not here."""
    interests, candidates = np.ones((1, 1, 512)), np.ones((1, 2, 512))
    candidates[0, 1, 0] = 0.5
    layer = InterestAggregation("mean", dtype="bfloat16")
    np.testing.assert_allclose(scores("mean", interests, candidates, layer), [[512.0, 511.5]])


def test_an_unknown_mode_is_refused_with_the_choices():
    with pytest.raises(ValueError, match=r"Unknown mode 'median'.*'max', 'mean', 'weighted'"):
        InterestAggregation("median")


@pytest.mark.parametrize(
    ("interests", "candidates"), [(USER_INTERESTS[0], CANDIDATES), (USER_INTERESTS, CANDIDATES[0])]
)
def test_wrong_ranks_are_refused(interests, candidates):
    with pytest.raises(ValueError, match="InterestAggregation expects interests"):
        InterestAggregation("mean")(**as_tensors({"interests": interests, "candidates": candidates}))


def test_initialiser_is_an_argument():
    layer = InterestAggregation(kernel_initializer=keras.initializers.Constant(0.0))
    # W^e = 0 weighs all interests alike.
    np.testing.assert_allclose(
        scores("weighted", USER_INTERESTS, CANDIDATES, layer),
        scores("mean", USER_INTERESTS, CANDIDATES),
        atol=1e-5,
    )
