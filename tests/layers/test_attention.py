"""What single layers of attention.py do beyond the shared checks."""

import keras
import numpy as np
import pytest
from keras import ops

from recommenders_miner.layers import AdditiveAttention, SelfAttention, WordConvolution
from tests.layers.cases import CONVOLUTION, MASK, SELF
from tests.layers.layer_checks import as_tensors, call_once, tensor, to_numpy, weights_of


def test_self_attention_returns_each_heads_weights():
    layer, values = SELF.built(), SELF.inputs["values"]
    attended, weights = (to_numpy(part) for part in layer(**as_tensors(SELF.inputs), return_weights=True))
    assert weights.shape == (3, 2, 4, 4)
    np.testing.assert_allclose(weights[:2].sum(axis=-1), 1.0, rtol=1e-5)
    assert not weights[~np.broadcast_to(MASK[:, None, None], weights.shape)].any()
    projected = (values @ weights_of(layer)["value_kernel"]).reshape(3, 4, 2, 3)
    expected = np.einsum("bhqk,bkhd->bqhd", weights, projected).reshape(3, 4, 6)
    np.testing.assert_allclose(attended, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(attended, call_once(layer, SELF.inputs), atol=1e-6)


def test_query_key_and_value_start_apart_with_the_spread_of_their_own_fans():
    layer = SelfAttention(num_heads=20, head_dim=20)
    layer.build((None, None, 100))
    kernels = list(weights_of(layer).values())
    limit = np.sqrt(6 / (100 + 400))
    for kernel in kernels:
        assert np.abs(kernel).max() == pytest.approx(limit, rel=0.01)
        assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.01)
    correlations = np.corrcoef([kernel.ravel() for kernel in kernels])
    assert np.abs(correlations - np.eye(3)).max() < 0.03


def test_self_attention_uses_a_keras_mask_and_passes_it_on():
    ids = np.array([[1, 2, 0], [3, 0, 0]])
    embedded = keras.layers.Embedding(4, 3, mask_zero=True)(ids)
    attention, pooling, mask = SELF.built(), AdditiveAttention(2), ops.convert_to_tensor(ids > 0)
    implicit = to_numpy(pooling(attention(embedded)))
    np.testing.assert_array_equal(implicit, to_numpy(pooling(attention(embedded, mask=mask), mask=mask)))
    assert not np.allclose(to_numpy(pooling(attention(tensor(to_numpy(embedded))))), implicit)


def test_dropout_is_on_in_training_alone():
    layer = WordConvolution(4, 3, dropout=0.5, activation="tanh")
    assert to_numpy(layer(**as_tensors(CONVOLUTION.inputs))).all()
    trained = call_once(lambda words: layer(words, training=True), CONVOLUTION.inputs)
    assert (trained == 0).mean() > 0.2
