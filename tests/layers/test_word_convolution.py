"""WordConvolution: words and their neighbours, zeros beyond both ends."""

import numpy as np

from recommenders_miner.layers import WordConvolution
from tests.layers.layer_checks import as_tensors, call_once, check_serialisation, to_numpy

WORDS = np.random.default_rng(2).normal(size=(2, 5, 3))


def built(window=3, dropout=0.0, activation="tanh"):
    layer = WordConvolution(4, window, activation, dropout)
    layer(**as_tensors({"words": WORDS}))
    layer.set_weights([np.random.default_rng(3).normal(size=weight.shape) for weight in layer.weights])
    return layer


def test_every_word_sees_its_neighbours():
    for window in (1, 3, 5):
        layer = built(window)
        kernel, bias = (to_numpy(weight) for weight in layer.weights)
        half = window // 2
        padded = np.pad(WORDS, [(0, 0), (half, half), (0, 0)])
        expected = [
            [np.tanh(sum(row[i + k] @ kernel[k] for k in range(window)) + bias) for i in range(5)] for row in padded
        ]
        np.testing.assert_allclose(call_once(layer, {"words": WORDS}), expected, rtol=1e-4, atol=1e-5)


def test_zeros_behind_a_text_change_none_of_its_words():
    layer = built()
    wider = np.pad(WORDS, [(0, 0), (0, 3), (0, 0)])
    found = call_once(layer, {"words": wider})[:, :5]
    np.testing.assert_allclose(found, call_once(layer, {"words": WORDS}), atol=1e-6)


def test_dropout_is_on_in_training_alone():
    layer = built(dropout=0.5)
    plain = call_once(built(), {"words": WORDS})
    np.testing.assert_allclose(call_once(layer, {"words": WORDS}), plain, atol=1e-6)
    trained = call_once(lambda words: layer(words, training=True), {"words": WORDS})
    assert (trained == 0).mean() > 0.2


def test_it_comes_back_from_its_config():
    check_serialisation(built())
