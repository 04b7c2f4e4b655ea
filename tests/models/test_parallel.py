"""A step that is dealt out to several devices is that of one: what the distributed trainings rest on."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tests.models.toy import EVERY_MODEL, STILL, fresh_toy_model, some_slow, toy_log, toy_news


def loss_of(model, data, step, **options):
    """The loss of a step, regularisers with it, as training computes it."""
    features = model.network.prepare(data.features)
    options |= {"hops": model.network.news_encoder.hops, "context": model.context_of(data)}
    batches = model.train_iterator.batches(data, features, seed=3, static_shapes=True, **options)
    inputs, labels, weights = keras.tree.map_structure(keras.ops.convert_to_tensor, batches[step])
    scores = model.network(inputs, training=True)
    return float(model.network.compute_loss(y=labels, y_pred=scores, sample_weight=weights))


@pytest.mark.parametrize("name", some_slow(EVERY_MODEL, fast=["miner", "nrms", "lstur", "deepfm", "glory"]))
def test_the_loss_of_a_step_in_shards_is_the_whole_step_s(name):
    model = fresh_toy_model(name, **STILL)
    model.compile(total_steps=4)
    data = model.train_iterator.dataset(toy_news(), toy_log(toy_news()))
    for step in range(4):  # of which the last is a part of a batch
        whole, dealt = loss_of(model, data, step), loss_of(model, data, step, shards=2)
        assert np.isclose(whole, dealt, rtol=2e-6), step
