"""What lets a large batch fit into memory changes no gradient: micro-batches that make one update, and `remat`."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tests.layers.layer_checks import to_numpy
from tests.models.toy import SLOW, TOYS, fresh_toy_model, some_slow, toy_dataset
from tests.tiny_plm import tiny_preset

CLOSE = {"rel": 1e-5, "abs": 1e-5}
PLM_MODELS = ["miner plm", "miner plm last", "nrms-plm all", "lstur-plm all", "unbert", "unbert mean"]


def update_of(name, steps=1, **overrides):
    """The loss of one update of a model, its gradients by the weights' names, and the model.

    A gradient is ten times Adam's first momentum after the first update.
    """
    model, losses = fresh_toy_model(name, accumulate_steps=steps, **overrides), []
    for place, generator in enumerate(generators_of(model.network)):
        generator.assign(np.array([7, place], "uint32"))
    batches = model.training_batches(toy_dataset(model))
    model.compile(total_steps=steps)
    optimizer, weights = model.network.optimizer, model.network.trainable_variables
    for step in range(steps):
        losses.append(float(np.ravel(model.network.train_on_batch(*batches[step]))[0]))
    momenta = [to_numpy(optimizer._momentums[optimizer._get_variable_index(weight)]) for weight in weights]
    names = [f"{place} {weight.name}" for place, weight in enumerate(weights)]
    return np.mean(losses), dict(zip(names, (10 * momentum for momentum in momenta), strict=True)), model


def generators_of(network):
    """The states of the dropout's random numbers."""
    return [variable for variable in network.variables if variable.name == "seed_generator_state"]


def assert_same_update(found, expected):
    assert found[0] == pytest.approx(expected[0], **CLOSE)
    assert list(found[1]) == list(expected[1])
    for name, gradient in expected[1].items():
        scale = max(1.0, np.abs(gradient).max())
        assert found[1][name] / scale == pytest.approx(gradient / scale, **CLOSE), name
    assert max(np.abs(gradient).max() for gradient in expected[1].values()) > 0.01


# === Micro-batches ===


@pytest.mark.parametrize("name", some_slow([name for name in TOYS if name not in SLOW], fast=["miner", "miner plm"]))
def test_micro_batches_have_the_gradient_of_the_whole_batch(name):
    """With users, articles and paddings of candidates that several parts share, and MINER's regulariser."""
    still = {"dropout": 0.0, "plm_dropout": 0.0, "user_dropout": 0.0, "news_dropout": 0.0, "npratio": 5}
    whole = update_of(name, batch_size=12, **still)
    assert_same_update(update_of(name, steps=3, batch_size=4, **still), whole)


# === Gradient checkpointing ===


@pytest.mark.parametrize("name", some_slow(PLM_MODELS, fast=["miner plm"]))
def test_what_is_computed_again_gives_the_same_gradients(name):
    """Under the same dropout masks, which go on as they would."""
    noisy = {"plm_dropout": 0.3, "dropout": 0.2}
    kept, again = (update_of(name, remat=remat, **noisy) for remat in (False, True))
    assert_same_update(again, kept)
    states = [[to_numpy(state) for state in generators_of(of[2].network)] for of in (kept, again)]
    assert np.array_equal(states[0], states[1])
    assert kept[0] != pytest.approx(update_of(name, plm_dropout=0.0, dropout=0.2)[0], abs=1e-4)


@pytest.mark.slow
def test_layers_that_share_a_table_of_distances_give_it_the_same_gradients(tmp_path):
    """DeBERTa's, which is no layer's own."""
    plm = tiny_preset(tmp_path, kind="DebertaV3")
    kept, again = (update_of("miner plm", plm=plm, remat=remat) for remat in (False, True))
    assert_same_update(again, kept)
    [gradient] = [values for name, values in again[1].items() if name.endswith(" rel_embedding")]
    assert np.abs(gradient).max() > 1e-5


@pytest.mark.parametrize("name", some_slow(PLM_MODELS, fast=["miner plm"]))
def test_layers_run_again_where_it_is_asked_for_alone(name, monkeypatch):
    calls = []
    remat = keras.remat
    monkeypatch.setattr(keras, "remat", lambda call: calls.append(1) or remat(call))
    update_of(name)
    assert not calls
    model = update_of(name, remat=True)[2]
    trained = len(calls)
    assert trained > 0
    model.network(model.training_batches(toy_dataset(model))[0][0], training=False)
    assert len(calls) == trained
