"""CandidateAttention: a small network over candidate and click, against the concatenated form of the paper."""

import numpy as np

from recommenders_miner.layers import CandidateAttention
from tests.layers import reference
from tests.layers.layer_checks import as_tensors, call_once, check_serialisation, gradients, to_numpy

GENERATOR = np.random.default_rng(8)
HISTORY = GENERATOR.normal(size=(3, 4, 5))
CANDIDATES = GENERATOR.normal(size=(3, 2, 5))
MASK = np.array([[True, True, True, True], [True, True, False, False], [False] * 4])


def built():
    layer = CandidateAttention(6)
    layer(**as_tensors({"history": HISTORY, "candidates": CANDIDATES}))
    layer.set_weights([GENERATOR.normal(size=weight.shape) for weight in layer.weights])
    return layer


def expected(layer, history=HISTORY, mask=MASK):
    kernel = np.concatenate([to_numpy(layer.of_candidate.kernel), to_numpy(layer.of_click.kernel)])
    bias, query = to_numpy(layer.of_click.bias), to_numpy(layer.logit.kernel)[:, 0]
    return reference.candidate_attention(history, CANDIDATES, kernel, bias, query, mask)


def test_it_is_the_papers_network_over_the_concatenation():
    layer = built()
    found = call_once(layer, {"history": HISTORY, "candidates": CANDIDATES, "mask": MASK})
    np.testing.assert_allclose(found, expected(layer), rtol=1e-4, atol=1e-5)
    unmasked = call_once(layer, {"history": HISTORY, "candidates": CANDIDATES})
    np.testing.assert_allclose(unmasked, expected(layer, mask=None), rtol=1e-4, atol=1e-5)


def test_padding_content_never_matters_and_padding_alone_is_zero():
    layer = built()
    garbage = np.where(MASK[..., None], HISTORY, 50.0)
    found = call_once(layer, {"history": garbage, "candidates": CANDIDATES, "mask": MASK})
    np.testing.assert_allclose(found, expected(layer), rtol=1e-4, atol=1e-5)
    assert not found[2].any()


def test_gradients_are_finite_where_all_is_padding():
    from keras import ops

    layer = built()
    inputs = {"history": HISTORY, "candidates": CANDIDATES, "mask": MASK}
    found = gradients(lambda **tensors: ops.sum(ops.square(layer(**tensors))), layer.of_click, inputs)
    assert all(np.isfinite(gradient).all() for gradient in found.values())
    assert not found["history"][~MASK].any()


def test_it_comes_back_from_its_config():
    check_serialisation(built())


def test_its_weights_sum_to_one_over_the_clicks_and_give_the_sums():
    layer = built()
    inputs = as_tensors({"history": HISTORY, "candidates": CANDIDATES, "mask": MASK})
    pooled, weights = (to_numpy(array) for array in layer(**inputs, return_weights=True))
    np.testing.assert_allclose(weights.sum(axis=-1), [[1, 1], [1, 1], [0, 0]], atol=1e-6)
    assert not weights[~np.broadcast_to(MASK[:, None], weights.shape)].any()
    np.testing.assert_allclose(weights @ HISTORY, pooled, rtol=1e-4, atol=1e-5)
