"""The optimiser's step sizes, clipping and accumulation; precision; and the hyperparameters behind them."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

from recommenders_miner.errors import HParamsError
from recommenders_miner.hparams import prepare_hparams
from recommenders_miner.models.optimizers import TwoRateAdam, WarmupSchedule, make_optimizer
from recommenders_miner.models.training import precision
from tests.layers.layer_checks import to_numpy
from tests.models.toy import fresh_toy_model, toy_model

# === Hyperparameters ===


@pytest.mark.parametrize(
    ("value", "kept", "layers"),
    [
        ("all", "all", "all"),
        ("none", "none", 0),
        ("last_n: 2", "last_n: 2", 2),
        ({"last_n": 2}, "last_n: 2", 2),
        ({"last_n": "12"}, "last_n: 12", 12),
        ("last_n: 0", "last_n: 0", 0),
    ],
)
def test_how_much_of_the_language_model_is_trained(value, kept, layers):
    hparams = prepare_hparams("miner", plm_trainable=value)
    assert (hparams.plm_trainable, hparams.plm_layers) == (kept, layers)
    assert hparams.replace(plm_trainable=hparams.plm_trainable) == hparams


@pytest.mark.parametrize("value", ["some", "last_n", "last_n: -1", "last_n: 99999", 2, None, {"first_n": 2}, {}])
def test_other_ways_to_train_it_are_refused(value):
    with pytest.raises(HParamsError, match="plm_trainable: expected all, none, or 'last_n: k', got "):
        prepare_hparams("miner", plm_trainable=value)


# === The schedule ===


def rates(schedule, steps):
    return [float(schedule(step)) for step in steps]


@pytest.mark.parametrize(
    ("schedule", "steps", "expected"),
    [
        (WarmupSchedule(6.0, 2, 20), range(5), [2.0, 4.0, 6.0, 6 * 17 / 18, 6 * 16 / 18]),
        (WarmupSchedule(6.0, 2, 20), [11, 17, 19, 20, 25], [3.0, 1.0, 6 / 18, 0.0, 0.0]),
        (WarmupSchedule(6.0, 2), [0, 1, 2, 3, 1000], [2.0, 4.0, 6.0, 6.0, 6.0]),
        (WarmupSchedule(8.0, 0, 4), range(6), [8.0, 6.0, 4.0, 2.0, 0.0, 0.0]),
        (WarmupSchedule(8.0, 0), [0, 1, 99], [8.0, 8.0, 8.0]),
    ],
)
def test_the_step_size_rises_then_stays_or_falls_to_0(schedule, steps, expected):
    assert rates(schedule, steps) == pytest.approx(expected)


# === Two step sizes ===


def two_layers():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(2)])
    rng = np.random.default_rng(4)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape))
    return model


def values(weights):
    return [to_numpy(weight) for weight in weights]


def tensors(arrays):
    return [keras.ops.convert_to_tensor(array.astype("float32")) for array in arrays]


def gradients_like(weights, seed=0, size=1.0):
    """Random numbers in the weights' shapes, none near 0."""
    rng = np.random.default_rng(seed)
    return [size * rng.choice([-1, 1], weight.shape) * rng.uniform(0.5, 2.0, weight.shape) for weight in weights]


def movements(optimizer, weights, steps):
    """How far each weight moves in each step, for given gradients."""
    moved, before = [], values(weights)
    for gradients in steps:
        optimizer.apply(tensors(gradients), weights)
        after = values(weights)
        moved.append([new - old for new, old in zip(after, before, strict=True)])
        before = after
    return moved


@pytest.mark.slow
@pytest.mark.parametrize(("factor", "places"), [(4, [2, 3]), (0.25, [0]), (4, []), (0.25, [0, 1, 2, 3]), (1, [0])])
def test_the_weights_that_are_multiplied_move_so_many_times_as_far_and_no_others(factor, places):
    steps = [gradients_like(two_layers().weights, seed) for seed in range(3)]
    plain_model, model = two_layers(), two_layers()
    plain = keras.optimizers.Adam(0.01)
    optimizer = TwoRateAdam(0.01, factor=factor)
    optimizer.build(model.trainable_variables)
    optimizer.places = frozenset(places)
    plainly = movements(plain, plain_model.trainable_variables, steps)
    found = movements(optimizer, model.trainable_variables, steps)
    for step in range(3):
        for place in range(4):
            times = factor if place in places else 1.0
            assert found[step][place] == pytest.approx(times * plainly[step][place], rel=1e-3, abs=1e-6)


def test_an_optimiser_comes_back_from_its_config():
    optimizer = TwoRateAdam(WarmupSchedule(0.04, 1, 3), factor=2.5, beta_1=0.8, global_clipnorm=0.5)
    serialised = json.loads(json.dumps(keras.saving.serialize_keras_object(optimizer)))
    again = keras.saving.deserialize_keras_object(serialised)
    assert type(again) is TwoRateAdam
    assert (again.factor, again.beta_1, again.global_clipnorm) == (2.5, 0.8, 0.5)
    assert again.get_config() == optimizer.get_config()


# === The optimiser of a network ===


def optimizer_of(total_steps=20, **overrides):
    """The optimiser for a toy network, and its weights."""
    model = fresh_toy_model("nrms")
    hparams = model.hparams.replace(**overrides)
    return make_optimizer(hparams, model.network, total_steps), model.network.trainable_variables


def step_sizes(steps, **overrides):
    """Under gradients that never change, Adam moves every weight by the step size."""
    optimizer, weights = optimizer_of(total_steps=steps, **overrides)
    ones = [np.ones(weight.shape) for weight in weights]
    moved = movements(optimizer, weights, [ones] * steps)
    for step in moved:
        assert max(change.max() for change in step) == pytest.approx(min(c.min() for c in step), rel=1e-3, abs=1e-6)
    return [-step[0].mean() for step in moved]


RISING, FALLING = [0.01, 0.02, 0.03], [0.03 * (20 - step) / 18 for step in range(3, 20)]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"learning_rate": 0.01}, [0.01] * 3),
        ({"learning_rate": 0.01, "head_learning_rate": 0.03}, [0.03, 0.03]),  # without a language model all is head
        ({"learning_rate": 0.03, "warmup": 0.1, "decay": "linear"}, RISING + FALLING),
        ({"learning_rate": 0.03, "warmup": 0.1}, RISING + [0.03] * 17),
        # The step size goes by updates, however many steps make one.
        ({"learning_rate": 0.06, "decay": "linear", "accumulate_steps": 2}, [0, 0.06, 0, 0.04, 0, 0.02]),
        ({"learning_rate": 0.06, "warmup": 0.5, "accumulate_steps": 2}, [0, 0.03, 0, 0.06]),
    ],
)
def test_step_sizes_are_what_the_hyperparameters_say(overrides, expected):
    assert step_sizes(len(expected), **overrides) == pytest.approx(expected, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("name", ["adam", "amsgrad"])
def test_the_second_moments_of_amsgrad_never_fall(name):
    """Reddi et al., "On the Convergence of Adam and Beyond", ICLR 2018; Keras keeps Adam's corrections of the start."""
    optimizer, weights = optimizer_of(optimizer=name, learning_rate=0.01)
    sizes = [1.0, 0.01, 0.01, 0.01]
    moved = movements(optimizer, weights, [[np.full(weight.shape, size) for weight in weights] for size in sizes])
    expected, first, second, largest = [], 0.0, 0.0, 0.0
    for step, size in enumerate(sizes, start=1):
        first, second = 0.9 * first + 0.1 * size, 0.999 * second + 0.001 * size**2
        largest = max(largest, second) if name == "amsgrad" else second
        expected.append(-0.01 * first / (1 - 0.9**step) / np.sqrt(largest / (1 - 0.999**step)))
    assert [step[0].mean() for step in moved] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("way", "frozen"), [("all", False), ("last_n: 1", True)])
def test_the_language_model_and_the_rest_have_step_sizes_of_their_own(way, frozen):
    model = fresh_toy_model("nrms-plm", plm_trainable=way)
    model.hparams = model.hparams.replace(learning_rate=0.001, head_learning_rate=0.01)
    weights = model.network.trainable_variables
    optimizer = make_optimizer(model.hparams, model.network, total_steps=10)
    [moved] = movements(optimizer, weights, [[np.ones(weight.shape) for weight in weights]])
    pretrained = {id(weight) for weight in model.network.news_encoder.backbone.weights}
    places = [place for place, weight in enumerate(weights) if id(weight) in pretrained]
    assert 0 < len(places) < len(weights)
    assert any("embedding" in weights[place].path for place in places) != frozen
    for place, change in enumerate(moved):
        size = 0.001 if place in places else 0.01
        assert change == pytest.approx(np.full(change.shape, -size), rel=1e-2)


def momentum(optimizer):
    return [to_numpy(variable) for variable in optimizer.variables if variable.name.endswith("_momentum")]


def norm(arrays):
    return np.sqrt(sum(np.sum(np.square(array)) for array in arrays))


@pytest.mark.parametrize("accumulate_steps", [1, 2])
def test_gradients_are_clipped_by_the_norm_of_all_together(accumulate_steps):
    optimizer, weights = optimizer_of(clip_norm=0.5, accumulate_steps=accumulate_steps)
    gradients = gradients_like(weights, size=3.0)
    movements(optimizer, weights, [gradients] * accumulate_steps)
    found = momentum(optimizer)
    # After one update the momentum is a tenth of the gradient.
    assert norm(found) == pytest.approx(0.05, rel=1e-3)
    for clipped, gradient in zip(found, gradients, strict=True):
        assert clipped == pytest.approx(0.05 * gradient / norm(gradients), rel=1e-3, abs=1e-8)


def test_an_update_is_the_mean_of_the_gradients_of_its_steps():
    optimizer, weights = optimizer_of(accumulate_steps=3)
    steps = [gradients_like(weights, seed) for seed in range(3)]
    moved = movements(optimizer, weights, steps)
    assert [any(change.any() for change in step) for step in moved] == [False, False, True]
    for place, found in enumerate(momentum(optimizer)):
        assert found == pytest.approx(0.1 * np.mean([step[place] for step in steps], axis=0), rel=1e-3, abs=1e-7)


# === Precision ===


def test_a_precision_holds_within_and_is_put_back_also_after_an_error():
    with precision("bfloat16"):
        layer = keras.layers.Dense(2)
    layer.build((None, 3))
    assert (layer.compute_dtype, layer.kernel.dtype) == ("bfloat16", "float32")
    with pytest.raises(KeyError), precision("bfloat16"):
        raise KeyError
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_model_is_built_in_its_precision(name):
    network = toy_model("nrms", **({} if name == "float32" else {"precision": name})).network
    assert network.news_encoder.self_attention.compute_dtype == name
    assert {weight.dtype for weight in network.trainable_variables} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"


def test_a_word_that_stands_in_a_batch_twice_moves_as_far_as_one_with_the_summed_gradient():
    """Adam by hand (Kingma & Ba 2015) on the dense gradient; TensorFlow brings it as one slice for each lookup."""
    ids, target = np.array([[1, 1, 1, 2]]), np.array([[1.0, -2.0]], "float32")
    layer = keras.layers.Embedding(4, 2, embeddings_initializer="ones")
    model = keras.Sequential([layer, keras.layers.Lambda(lambda vectors: keras.ops.sum(vectors, axis=1))])
    model.build((None, 4))
    model.compile(optimizer=TwoRateAdam(0.1), loss="mse")
    table = np.ones((4, 2))
    first, second = np.zeros((4, 2)), np.zeros((4, 2))
    for step in (1, 2):
        model.train_on_batch(ids, target)
        gradient = np.zeros((4, 2))
        for row in ids[0]:
            gradient[row] += 2 * (table[ids[0]].sum(axis=0) - target[0]) / 2
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        table -= 0.1 * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-7)
        assert np.array(layer.embeddings) == pytest.approx(table, abs=1e-5)
