"""CAUM, CROWN, Fastformer and late fusion: their user encoders against numpy, from given weights."""

import json

import keras
import numpy as np
import pytest

from recommenders_miner.errors import NoVectorError
from recommenders_miner.models.caum import CAUMClickPredictor, CAUMUserEncoder
from recommenders_miner.models.crown import CROWNUserEncoder
from recommenders_miner.models.fastformer import FastformerUserEncoder
from recommenders_miner.models.late_fusion import MeanUserEncoder
from recommenders_miner.models.network import DotProductPredictor
from tests.layers.layer_checks import as_tensors, call_once, compiled, gradients, randomise, tensor, to_numpy
from tests.models import reference_new, reference_peers

RNG = np.random.default_rng(5)
CLICKED, CANDIDATES = RNG.normal(size=(4, 5, 6)), RNG.normal(size=(4, 3, 6))
MASK = np.arange(5) < np.array([[5], [3], [1], [0]])
INPUTS = {"clicked": CLICKED, "mask": MASK, "candidates": CANDIDATES}
ENCODERS = {
    "caum": (lambda **options: CAUMUserEncoder(6, 2, 4, 3, [5, 4], **options), reference_new.caum_score),
    "caum in wide windows": (
        lambda **options: CAUMUserEncoder(6, 3, 2, 5, [4], **options),
        reference_new.caum_score,
    ),
    "crown": (lambda **options: CROWNUserEncoder(6, 4, **options), reference_peers.crown_score),
    "fastformer": (lambda **options: FastformerUserEncoder(2, 3, 2, 4, **options), reference_new.fastformer_score),
    "late fusion": (MeanUserEncoder, reference_new.late_fusion_score),
}
each = pytest.mark.parametrize("name", ["caum", "crown", "fastformer", "late fusion"])
of_candidates = {"caum": reference_new.caum_user, "crown": reference_peers.crown_user}


def scorer(encoder, training=False):
    """From arrays to scores, as a network gives them."""
    predictor = CAUMClickPredictor() if isinstance(encoder, CAUMUserEncoder) else DotProductPredictor()

    def score(clicked, mask, candidates):
        state = encoder.encode_history({"vector": clicked}, mask, None, training=training)
        return predictor(encoder.bind_candidates(state, {"vector": candidates}), {"vector": candidates})

    return score


def built(name, **options):
    encoder = ENCODERS[name][0](**options)
    scorer(encoder)(**as_tensors(INPUTS))
    return randomise(encoder) if encoder.weights else encoder


def scores(encoder, **changes):
    return call_once(scorer(encoder), INPUTS | changes)


@pytest.mark.parametrize("name", ENCODERS)
def test_scores_are_those_of_the_paper(name):
    encoder = built(name)
    expected = [
        [ENCODERS[name][1](clicked[mask], candidate, encoder) for candidate in shown]
        for clicked, mask, shown in zip(CLICKED, MASK, CANDIDATES, strict=True)
    ]
    for function in (scorer(encoder), compiled(scorer(encoder))):
        found = function(**as_tensors(INPUTS))
        assert keras.backend.standardize_dtype(found.dtype) == "float32"
        np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-5, atol=1e-5)
    assert not scores(encoder)[3].any(), "no clicks"


@each
def test_padding_and_other_candidates_never_matter(name):
    encoder = built(name)
    clean = scores(encoder)
    garbage = np.where(MASK[..., None], CLICKED, 1e3)
    np.testing.assert_allclose(scores(encoder, clicked=garbage), clean, rtol=0, atol=1e-5)
    longer = np.concatenate([garbage, np.full((4, 2, 6), 9.0)], axis=1)
    mask = np.pad(MASK, [(0, 0), (0, 2)])
    np.testing.assert_allclose(scores(encoder, clicked=longer, mask=mask), clean, rtol=0, atol=1e-5)
    longer, mask = np.roll(longer, 2, axis=1), np.roll(mask, 2, axis=1)  # padding in front
    np.testing.assert_allclose(scores(encoder, clicked=longer, mask=mask), clean, rtol=0, atol=1e-5)
    alone = np.concatenate([scores(encoder, candidates=CANDIDATES[:, [c]]) for c in range(3)], axis=1)
    np.testing.assert_allclose(alone, clean, rtol=0, atol=1e-5)


@each
def test_encoded_histories_may_be_padded_with_zeros(name):
    """Groups of histories of different lengths are joined after they were encoded."""
    encoder = built(name)
    state = encoder.encode_history({"vector": tensor(CLICKED)}, keras.ops.convert_to_tensor(MASK), None)
    if isinstance(state, dict):
        state = {
            part: keras.ops.pad(array, [(0, 0), (0, 4), *[(0, 0)] * (len(array.shape) - 2)])
            for part, array in state.items()
        }
    candidates = {"vector": tensor(CANDIDATES)}
    users = encoder.bind_candidates(state, candidates)
    np.testing.assert_allclose(to_numpy(DotProductPredictor()(users, candidates)), scores(encoder), atol=1e-5)


@each
def test_gradients_are_finite_and_zero_at_padding(name):
    encoder = built(name)
    score = scorer(encoder)
    found = gradients(lambda **tensors: keras.ops.sum(keras.ops.square(score(**tensors))), encoder, INPUTS)
    assert all(np.isfinite(gradient).all() for gradient in found.values())
    assert not found["clicked"][~MASK].any()
    assert all(gradient.any() for gradient in found.values())


@each
def test_attention_weights_are_shares_of_the_clicks(name):
    encoder = built(name)
    weights = encoder.attention_weights({"vector": tensor(CLICKED)}, MASK, None, {"vector": tensor(CANDIDATES)})
    if name == "fastformer":
        assert weights is None
        return
    weights = to_numpy(weights)
    assert weights.shape == (4, 3 if name in of_candidates else 1, 1, 5)
    np.testing.assert_allclose(weights.sum(axis=-1)[:3], 1.0, rtol=1e-5)
    assert not weights[~np.broadcast_to(MASK[:, None, None], weights.shape)].any()
    if name in of_candidates:
        expected = of_candidates[name](CLICKED[0], CANDIDATES[0, 1], encoder)[1]
        np.testing.assert_allclose(weights[0, 1, 0], expected, atol=1e-5)


@each
def test_half_precision_stays_near_and_dropout_is_on_in_training(name):
    encoder = built(name, dtype="mixed_bfloat16")
    expected = built(name)
    expected.set_weights(encoder.get_weights())
    scale = np.abs(scores(expected)).max()
    np.testing.assert_allclose(scores(encoder), scores(expected), rtol=0, atol=0.15 * scale)
    trained = call_once(scorer(expected, training=True), INPUTS)
    assert np.allclose(trained, scores(expected)) == (name == "late fusion")


@each
def test_an_encoder_comes_back_from_its_config(name):
    encoder = built(name)
    config = json.loads(json.dumps(encoder.get_config()))
    again = type(encoder).from_config(config)
    scorer(again)(**as_tensors(INPUTS))
    again.set_weights(encoder.get_weights())
    np.testing.assert_allclose(scores(again), scores(encoder), atol=1e-6)


def test_a_user_vector_is_searched_with_where_there_is_one():
    history = {"vector": tensor(CLICKED)}
    with pytest.raises(NoVectorError, match="CAUM's user depends on the candidate"):
        built("caum").user_vectors(history, MASK, None)
    assert "depends on the candidate" in CAUMClickPredictor.not_searchable
    vectors = to_numpy(built("late fusion").user_vectors(history, MASK, None))
    np.testing.assert_allclose(vectors[1], CLICKED[1, :3].mean(axis=0), atol=1e-6)
