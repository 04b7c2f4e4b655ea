"""PersonalizedAttention: a = q_u^T tanh(W v + b)."""

import numpy as np
import pytest

from recommenders_miner.layers import PersonalizedAttention, pool_by_query
from tests.layers import reference
from tests.layers.layer_checks import as_tensors, call_once, check_layer, to_numpy, weights_of

GENERATOR = np.random.default_rng(6)
VALUES = GENERATOR.normal(size=(3, 4, 5))
QUERY = GENERATOR.normal(size=(3, 2))
MASK = np.array([[True, True, True, True], [False, True, True, False], [False] * 4])
SHAPES = {"values": (None, 5), "query": (2,), "mask": (None,)}


def built():
    layer = PersonalizedAttention(2)
    layer.build(VALUES.shape)
    layer.set_weights([GENERATOR.normal(size=weight.shape) for weight in layer.weights])
    return layer


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "mask"])
def test_shared_checks(masked, tmp_path):
    inputs = {"values": VALUES, "query": QUERY, **({"mask": MASK} if masked else {})}
    check_layer(
        PersonalizedAttention,
        {"dim": 2},
        inputs,
        reference.personalized_attention,
        weights={"kernel": (5, 2), "bias": (2,)},
        dynamic_shapes={name: SHAPES[name] for name in inputs},
        tmp_path=tmp_path,
    )


def test_two_users_pool_the_same_values_otherwise():
    layer = built()
    same = np.repeat(VALUES[:1], 2, axis=0)
    pooled = call_once(layer, {"values": same, "query": QUERY[:2]})
    assert np.abs(pooled[0] - pooled[1]).max() > 0.01


def test_keys_serve_any_number_of_sequences_of_a_user():
    """What a network does with titles: keys once a title, then one query for all the titles of a user's row."""
    layer = built()
    titles = GENERATOR.normal(size=(3, 6, 4, 5))
    mask = GENERATOR.random((3, 6, 4)) < 0.7
    tensors = as_tensors({"titles": titles, "query": QUERY, "mask": mask})
    keys = layer.keys(tensors["titles"])
    found = to_numpy(pool_by_query(tensors["titles"], keys, tensors["query"], tensors["mask"]))
    for place in range(6):
        expected = reference.personalized_attention(titles[:, place], QUERY, **weights_of(layer), mask=mask[:, place])
        np.testing.assert_allclose(found[:, place], expected, rtol=1e-4, atol=1e-5)


def test_padding_content_never_matters_and_padding_alone_is_zero():
    layer = built()
    inputs = {"query": QUERY, "mask": MASK}
    found = call_once(layer, {"values": VALUES, **inputs})
    garbage = np.where(MASK[..., None], VALUES, 1e3)
    np.testing.assert_allclose(call_once(layer, {"values": garbage, **inputs}), found, atol=1e-6)
    assert not found[2].any()


def test_its_weights_sum_to_one_and_give_the_sums():
    layer = built()
    inputs = as_tensors({"values": VALUES, "query": QUERY, "mask": MASK})
    pooled, weights = (to_numpy(part) for part in layer(**inputs, return_weights=True))
    np.testing.assert_allclose(weights.sum(axis=-1), [1, 1, 0], atol=1e-6)
    assert not weights[~MASK].any()
    np.testing.assert_allclose(np.einsum("bt,btd->bd", weights, VALUES), pooled, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(to_numpy(layer(**inputs)), pooled, atol=1e-6)


def test_a_dim_below_one_is_refused():
    with pytest.raises(ValueError, match="dim must be at least 1"):
        PersonalizedAttention(0)
