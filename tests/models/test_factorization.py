"""LibFM and DeepFM: equal to their papers' formulas, and never as wide as the vocabulary of terms."""

from __future__ import annotations

import dataclasses
import math

import keras
import numpy as np
import pytest

from recommenders_miner.compat.iterator import MINDIterator
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.terms import TermWeights
from recommenders_miner.data.vocabulary import Vocabulary
from recommenders_miner.errors import HParamsError
from recommenders_miner.evaluation.scoring import score_directly
from recommenders_miner.hparams import prepare_hparams
from recommenders_miner.models import MODELS
from tests.models import reference_fm
from tests.models.toy import IDS, SIZES, WORDS, fresh_toy_model, toy_hparams, toy_log, toy_model, toy_news
from tests.thoroughness import mostly_thorough

NAMES = ["libfm", "deepfm"]
both = pytest.mark.parametrize("name", NAMES)
TOY = {"factor_dim": 4, "layer_sizes": [6, 5]}
HISTORIES = ([], IDS[:1], IDS[2:5], IDS[1:10])
STRANGE = ["X1", "X2", "X3", "X4"]


def model_of(name, **overrides):
    return toy_model(name, factor_dim=4, **overrides)


def strange_news():
    """The toy news, and some that training has not seen: with words known and unknown, with none known, without any."""
    known = toy_news()
    return NewsTable.from_columns(
        ids=[*IDS, *STRANGE],
        titles=[
            *known.title.to_pylist()[1:],
            "word1 zyzzyva word1 word2",
            "never seen before",
            "",
            "word1 word1 word2",
        ],
    )


def dataset(model, news, log):
    return MINDIterator(model.hparams, vocabularies=model.vocabularies).dataset(news, log)


@both
@pytest.mark.parametrize("user", ["U1", "nobody"])
def test_score_is_the_papers(name, user):
    model = fresh_toy_model(name, **TOY)
    assert any(len(set(title.split())) < len(title.split()) for title in toy_news().title.to_pylist()), "repeated words"
    model.set_news(strange_news())
    for history in (*HISTORIES, STRANGE[:2], [*IDS[:2], STRANGE[2]]):
        candidates = [*IDS, *STRANGE]
        expected = reference_fm.score(model, history, candidates, user)
        assert model.score(history, candidates, user) == pytest.approx(expected, abs=2e-5)


@both
def test_what_stands_behind_a_title_or_a_history_is_nothing(name):
    model = model_of(name)
    log = toy_log(toy_news())
    data = dataset(model, toy_news(), log)
    features = model.network_features(data)
    expected = score_directly(model.network, features, log, data.users, 5)
    longer = {n: np.pad(a, [(0, 0), (0, 3)]) if a.ndim > 1 else a for n, a in features.items()}
    assert score_directly(model.network, longer, log, data.users, 5) == pytest.approx(expected, abs=1e-6)
    short = np.repeat(log.histories.lengths[log.history_of] <= 5, log.candidates.lengths)
    wide = score_directly(model.network, features, log, data.users, 12)
    assert wide[short] == pytest.approx(expected[short], abs=1e-6)
    assert not np.allclose(wide[~short], expected[~short])


@both
def test_masked_positions_have_exactly_no_effect(name):
    encoder = model_of(name).network.user_encoder
    rng = np.random.default_rng(0)

    def history(length):
        shapes = {"clicked_vector": (4,), "clicked_linear": (), "term_weight": (3,), "term_norm": (3,)}
        floats = {n: rng.random((2, length, *shape)).astype("float32") for n, shape in shapes.items()}
        return {**floats, "term": rng.integers(2, 9, (2, length, 3)).astype("int32")}

    real, garbage = history(4), history(3)
    mixed = {n: np.concatenate([a, garbage[n]], axis=1) for n, a in real.items()}
    user = np.array([2, 1], "int32")
    alone = encoder.encode_history(real, np.ones((2, 4), bool), user)
    masked = encoder.encode_history(mixed, np.arange(7)[None] < np.array([[4], [4]]), user)
    for n, array in alone.items():
        assert np.array(masked[n]) == pytest.approx(np.array(array), abs=1e-6)


@both
def test_the_padding_news_and_an_empty_history_add_nothing(name):
    model = model_of(name)
    news = model._scorer.encode_news(model.network_features(dataset(model, toy_news(), toy_log(toy_news()))))
    assert all(not array[0].any() for array in news.values())
    assert all(array[1].any() for array in news.values() if array.ndim > 1)
    nobody = model.network.user_encoder.encode_history(
        {n: a[np.zeros((1, 3), int)] for n, a in news.items()}, np.zeros((1, 3), bool), np.array([1], "int32")
    )
    assert all(not np.array(array).any() for array in nobody.values())


@both
def test_the_order_of_the_history_does_not_matter_but_its_newest_clicks_do(name):
    model = model_of(name)
    assert model.score(IDS[:5], IDS) == pytest.approx(model.score(IDS[4::-1], IDS), abs=1e-5)
    assert np.array_equal(model.score(IDS[:9], IDS), model.score(IDS[4:9], IDS))
    assert not np.allclose(model.score(IDS[:9], IDS), model.score(IDS[:5], IDS))


@both
def test_users_and_news_that_training_did_not_see_are_no_features(name):
    model = fresh_toy_model(name, **TOY)
    model.set_news(strange_news())
    known, unknown = model.score(IDS[:3], STRANGE, "U1"), model.score(IDS[:3], STRANGE, "nobody")
    assert not np.allclose(known, unknown)
    assert np.array_equal(unknown, model.score(IDS[:3], STRANGE, "someone else"))
    for scores in (known, unknown):
        assert scores[0] == pytest.approx(scores[3], abs=1e-6), "the same known words, and no id"
        assert scores[1] == pytest.approx(scores[2], abs=1e-6), "no known words, and no id"


def test_an_unseen_news_without_a_word_leaves_the_users_own_terms():
    model = fresh_toy_model("libfm", **TOY)
    model.set_news(strange_news())
    [bias] = [float(np.array(weight)) for weight in model.network.click_predictor.machine.weights]
    assert model.score([], ["X3"], "nobody")[0] == pytest.approx(bias, abs=1e-6)
    users = model.network.user_encoder.users
    own = float(np.array(users.feature_weights)[model.vocabularies.users["U1"]])
    assert model.score([], ["X3"], "U1")[0] == pytest.approx(bias + own, abs=1e-5)


def test_news_and_user_vectors_are_the_factors_that_meet():
    """Scores of one user differ by the product of these vectors, and by what the candidate has alone."""
    model = fresh_toy_model("libfm", **TOY)
    data = dataset(model, toy_news(), toy_log(toy_news()))
    features = model.network_features(data)
    news = model._scorer.encode_news(features)
    users, reader_of = model._scorer.impression_user_vectors(news, data.log, data.users)
    assert users.shape[1:] == (4,)
    scores = model.score_log(data)
    own = news["linear"] + 0.5 * ((news["vector"] ** 2).sum(axis=1) - news["squares"])
    for i in range(len(data.log)):
        slots = slice(data.log.candidates.offsets[i], data.log.candidates.offsets[i + 1])
        rows = data.log.candidates.values[slots]
        rest = scores[slots] - own[rows] - news["vector"][rows] @ users[reader_of[i]]
        assert rest == pytest.approx(rest[0], abs=1e-4)


@both
def test_gradients_are_those_of_the_formula(name):
    """Along a random direction of all weights at once; a step of plain descent from random weights tells them."""
    model = fresh_toy_model(name, **TOY, dropout=0.0)
    network, data = model.network, dataset(model, toy_news(), toy_log(toy_news()))
    batches = model.train_iterator.batches(data, model.network_features(data), seed=0, length_groups=1)
    inputs, labels, _ = batches[0]
    impressions, rows = batches.samples.of_step(0)
    rng = np.random.default_rng(5)
    projection = np.where(rows > 0, rng.normal(size=labels.shape), 0)
    before = [np.array(weight) for weight in network.trainable_weights]
    direction = [rng.normal(size=weight.shape) for weight in before]
    network.compile(
        optimizer=keras.optimizers.SGD(1.0), loss=lambda y_true, y_pred: keras.ops.sum(y_true * y_pred, axis=-1)
    )
    network.train_on_batch(inputs, projection)
    gradients = [a - np.array(b) for a, b in zip(before, network.trainable_weights, strict=True)]
    assert all(np.isfinite(gradient).all() and gradient.any() for gradient in gradients)

    def value(step):
        for weight, start, way in zip(network.trainable_weights, before, direction, strict=True):
            weight.assign(start + step * way)
        scores = [scores_of_sample(model, data, *sample) for sample in zip(impressions, rows, strict=True)]
        return np.mean([own @ x[row > 0] for own, x, row in zip(scores, projection, rows, strict=True)])

    step = 0.05 if name == "libfm" else 1e-3  # LibFM's score is quadratic in its weights
    expected = (value(step) - value(-step)) / (2 * step)
    found = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True))
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-3)


def scores_of_sample(model, data, impression, rows):
    """The reference's scores of an impression's reader for the candidates in some rows, padding left out."""
    ids, log = data.news.ids.to_pylist(), data.log
    start, end = log.histories.offsets[log.history_of[impression] :][:2]
    history = [ids[row] for row in log.histories.values[start:end]]
    user = log.users[int(log.user_of[impression])].as_py()
    return reference_fm.score(model, history, [ids[row] for row in rows if row], user)


@pytest.mark.parametrize("name", mostly_thorough(NAMES, fast=["libfm"]))
def test_training_lowers_log_loss(name):
    """The loss is the mean log loss over candidates, and falls."""
    model = MODELS[name](toy_hparams(name, factor_dim=4, dropout=0.0, learning_rate=0.03), seed=2)
    news, log = toy_news(), toy_log(toy_news(), impressions=40)
    model.build(model.train_iterator.build_vocabularies(news, log))
    data = dataset(model, news, log)
    batches = model.training_batches(data)
    inputs, labels, weights = batches[0]
    scores = np.array(model.network(inputs, training=False), "float64")
    assert (scores > -1e8).all()
    model.compile(total_steps=60)
    first = float(np.ravel(model.network.train_on_batch(inputs, labels, weights))[0])
    expected = np.where(labels == 1, np.log1p(np.exp(-scores)), np.log1p(np.exp(scores)))[weights > 0].mean()
    assert first == pytest.approx(expected, abs=1e-5)
    assert first == pytest.approx(math.log(2), abs=0.02), "nothing is known at the start"
    for _ in range(30):
        last = float(np.ravel(model.network.train_on_batch(inputs, labels, weights))[0])
    assert last < first - 0.2


@both
def test_initial_weights_are_drawn_apart(name):
    model = MODELS[name](toy_hparams(name, factor_dim=4), seed=5)
    model.build(fresh_toy_model(name).vocabularies)
    drawn = [w for w in map(np.array, model.network.trainable_weights) if w.size > 1 and w.std() > 0]
    assert len(drawn) >= 4
    for i, a in enumerate(drawn):
        for b in drawn[:i]:
            size = min(a.size, b.size)
            assert not np.allclose(a.ravel()[:size] / a.std(), b.ravel()[:size] / b.std(), atol=1e-3)


@both
def test_a_saved_model_scores_the_same(name, tmp_path):
    model = model_of(name)
    model.save(tmp_path / "saved")
    assert {"news.txt", "terms.txt", "term_idf.txt"} <= {path.name for path in (tmp_path / "saved").iterdir()}
    loaded = MODELS[name].load(tmp_path / "saved")
    loaded.set_news(strange_news())
    model.set_news(strange_news())
    for history in HISTORIES:
        assert np.array_equal(loaded.score(history, [*IDS, *STRANGE]), model.score(history, [*IDS, *STRANGE]))
    model.set_news(toy_news())


@both
def test_bfloat16_scores_about_the_same(name):
    full, half = (fresh_toy_model(name, **TOY, precision=precision) for precision in ("float32", "bfloat16"))
    data = dataset(half, toy_news(), toy_log(toy_news()))
    expected = full.score_log(data)
    direct = score_directly(half.network, half.network_features(data), data.log, data.users, 5)
    for scores in (half.score_log(data), direct):
        assert scores == pytest.approx(expected, abs=0.05 * float(np.abs(expected).max()))


def test_what_does_not_go_together_is_refused():
    vocabularies = fresh_toy_model("libfm").vocabularies
    with pytest.raises(HParamsError, match="DeepFMModel reads tfidf, not cnn"):
        MODELS["deepfm"](toy_hparams("deepfm", news_encoder="cnn")).build(vocabularies)
    with pytest.raises(HParamsError, match="vocabularies with terms"):
        MODELS["libfm"](toy_hparams("libfm")).build(dataclasses.replace(vocabularies, terms=None))
    with pytest.raises(HParamsError, match="'tfidf' gives no news vectors"):
        MODELS["nrms"](prepare_hparams("nrms", **{**SIZES, "news_encoder": "tfidf"})).build(vocabularies)


# === Width ===

NUM_TERMS = 50_000


def wide_model(name):
    """A toy model that knows 50,000 terms beside the toy's words, with titles of both."""
    rng = np.random.default_rng(0)
    terms = TermWeights(
        Vocabulary([*WORDS, *(f"term{i}" for i in range(NUM_TERMS - len(WORDS)))]),
        np.concatenate([[0, 0], 1 + rng.random(NUM_TERMS)]),
    )
    news = NewsTable.from_columns(
        ids=IDS, titles=[" ".join(f"term{i}" for i in rng.integers(0, NUM_TERMS - len(WORDS), 8)) for _ in IDS]
    )
    model = MODELS[name](toy_hparams(name, factor_dim=4), seed=0)
    vocabularies = model.train_iterator.build_vocabularies(news, toy_log(news))
    model.build(dataclasses.replace(vocabularies, terms=terms))
    return model, dataset(model, news, toy_log(news))


@both
def test_nothing_is_as_wide_as_the_terms_but_the_tables_themselves(name):
    """Features, and every array of the compiled forward and backward pass."""
    model, data = wide_model(name)
    features = model.network_features(data)
    assert {n: a.shape for n, a in features.items()} == {"term": (13, 6), "term_weight": (13, 6), "news_id": (13,)}
    batches = model.train_iterator.batches(data, features, seed=0)
    shapes = shapes_of_a_step(model.network, batches[0][0])
    width = NUM_TERMS + 2
    wide = {shape for shape in shapes if width in shape or math.prod(shape) >= width}
    assert wide == {(width,), (width, 4)}
    assert model.score_log(data).shape == data.log.candidates.values.shape


def shapes_of_a_step(network, inputs):
    """The static shapes of all arrays of a compiled forward and backward pass."""
    if keras.backend.backend() == "jax":
        return _shapes_on_jax(network, inputs)
    if keras.backend.backend() == "tensorflow":
        return _shapes_on_tensorflow(network, inputs)
    return pytest.skip("no tracing on this backend")


def _shapes_on_tensorflow(network, inputs):
    import tensorflow as tf

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            score = tf.reduce_sum(network(inputs, training=True))
        return [tf.convert_to_tensor(g) for g in tape.gradient(score, [w.value for w in network.trainable_weights])]

    graph = step.get_concrete_function().graph
    tensors = [tensor for operation in graph.get_operations() for tensor in operation.outputs]
    assert len(tensors) > 100
    return {tuple(tensor.shape) for tensor in tensors if tensor.shape.is_fully_defined()}


def _shapes_on_jax(network, inputs):
    import jax

    def score(weights):
        with keras.StatelessScope(state_mapping=zip(network.trainable_weights, weights, strict=True)):
            return keras.ops.sum(network(inputs, training=True))

    def walk(jaxpr):
        for equation in jaxpr.eqns:
            yield from (tuple(variable.aval.shape) for variable in equation.outvars)
            for value in equation.params.values():
                for inner in value if isinstance(value, tuple | list) else [value]:
                    inner = getattr(inner, "jaxpr", inner)
                    if hasattr(inner, "eqns"):
                        yield from walk(inner)

    weights = [weight.value for weight in network.trainable_weights]
    return set(walk(jax.make_jaxpr(jax.grad(score))(weights).jaxpr))
