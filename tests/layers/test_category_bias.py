"""CategoryBias: λ cos(b_j, b_c) of MINER's Equation (5)."""

import numpy as np
import pytest
from keras import ops

from recommenders_miner.layers import CategoryBias, PolyAttention
from tests.layers import reference
from tests.layers.layer_checks import as_tensors, check_layer, gradients, to_numpy

GENERATOR = np.random.default_rng(1)
CLICKED = GENERATOR.normal(size=(3, 4, 5))
SHOWN = GENERATOR.normal(size=(3, 2, 5))


@pytest.mark.parametrize("per_user", [False, True], ids=["candidates", "one candidate"])
def test_shared_checks(per_user, tmp_path):
    check_layer(
        CategoryBias,
        {},
        {"history_category": CLICKED, "candidate_category": SHOWN[:, 0] if per_user else SHOWN},
        reference.category_bias,
        weights={"scale": ()},
        dynamic_shapes={"history_category": (None, 5), "candidate_category": (5,) if per_user else (None, 5)},
        tmp_path=tmp_path,
    )


def test_lambda_starts_at_one_and_scales():
    layer = CategoryBias()
    inputs = as_tensors({"history_category": CLICKED, "candidate_category": CLICKED})
    bias = to_numpy(layer(**inputs))
    np.testing.assert_allclose(np.diagonal(bias, axis1=1, axis2=2), 1.0, atol=1e-6)
    layer.scale.assign(-1.7)
    np.testing.assert_allclose(to_numpy(layer(**inputs)), -1.7 * bias, atol=1e-6)


def test_scale_initialiser_is_an_argument():
    layer = CategoryBias(scale_initializer="zeros")
    assert (to_numpy(layer(**as_tensors({"history_category": CLICKED, "candidate_category": SHOWN}))) == 0).all()


def test_zero_vectors_get_no_bias_and_no_gradient():
    clicked, shown = CLICKED.copy(), SHOWN.copy()
    clicked[0, 1] = 0.0
    shown[1, 0] = 0.0
    layer = CategoryBias()
    inputs = {"history_category": clicked, "candidate_category": shown}
    bias = to_numpy(layer(**as_tensors(inputs)))
    assert (bias[0, :, 1] == 0).all()
    assert (bias[1, 0] == 0).all()
    assert np.count_nonzero(bias) == bias.size - 2 - 4 + 0
    found = gradients(lambda **tensors: ops.sum(ops.square(layer(**tensors))), layer, inputs)
    assert all(np.isfinite(gradient).all() for gradient in found.values())
    assert (found["history_category"][0, 1] == 0).all()
    assert (found["candidate_category"][1, 0] == 0).all()


def test_a_candidate_s_bias_does_not_depend_on_its_company():
    layer = CategoryBias()
    together = to_numpy(layer(**as_tensors({"history_category": CLICKED, "candidate_category": SHOWN})))
    alone = to_numpy(layer(**as_tensors({"history_category": CLICKED, "candidate_category": SHOWN[:, 1]})))
    np.testing.assert_allclose(together[:, 1], alone, rtol=0, atol=1e-7)


def test_poly_attention_with_category_bias_is_equation_5():
    history = GENERATOR.normal(size=(3, 4, 6))
    bias, attention = CategoryBias(), PolyAttention(num_interests=2, code_dim=3)
    category = as_tensors({"history_category": CLICKED, "candidate_category": SHOWN})
    interests = attention(**as_tensors({"history": history}), bias=bias(**category))
    expected, _ = reference.poly_attention(
        history,
        to_numpy(attention.projection),
        to_numpy(attention.codes),
        bias=reference.category_bias(CLICKED, SHOWN, 1.0),
    )
    np.testing.assert_allclose(to_numpy(interests), expected, atol=1e-5)


@pytest.mark.parametrize(("clicked", "shown"), [(CLICKED[0], SHOWN), (CLICKED, SHOWN[0, 0]), (CLICKED, SHOWN[None])])
def test_wrong_ranks_are_refused(clicked, shown):
    with pytest.raises(ValueError, match="CategoryBias expects history_category"):
        CategoryBias()(**as_tensors({"history_category": clicked, "candidate_category": shown}))
