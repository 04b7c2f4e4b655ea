"""LibFM and DeepFM: what they make of unseen names, and that nothing is as wide as the terms."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest

from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.terms import TermWeights
from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.data.vocabulary import Vocabulary
from tests.models.toy import IDS, WORDS, toy_dataset, toy_log, toy_model, toy_news, unbuilt

both = pytest.mark.parametrize("name", ["libfm", "deepfm"])
STRANGE = ["X1", "X2", "X3", "X4"]


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


@both
def test_the_padding_article_and_an_empty_history_add_nothing(name):
    model = toy_model(name)
    news = model.log_scorer.encode_news(model.network_features(toy_dataset(model)))
    assert all(not array[0].any() for array in news.values())
    assert all(array[1].any() for array in news.values() if array.ndim > 1)
    nobody = model.network.user_encoder.encode_history(
        {n: a[np.zeros((1, 3), int)] for n, a in news.items()}, np.zeros((1, 3), bool), np.array([1], "int32")
    )
    assert all(not np.array(array).any() for array in nobody.values())


@both
def test_users_and_articles_that_training_did_not_see_are_no_features(name):
    model = toy_model(name)
    model.set_news(strange_news())
    known, unknown = model.score(IDS[:3], STRANGE, "U1"), model.score(IDS[:3], STRANGE, "nobody")
    assert not np.allclose(known, unknown)
    assert np.array_equal(unknown, model.score(IDS[:3], STRANGE, "someone else"))
    for scores in (known, unknown):
        assert scores[0] == pytest.approx(scores[3], abs=1e-6), "the same known words, and no id"
        assert scores[1] == pytest.approx(scores[2], abs=1e-6), "no known words, and no id"


def test_an_unseen_article_without_a_word_leaves_the_users_own_terms():
    model = toy_model("libfm")
    model.set_news(strange_news())
    [bias] = [float(np.array(weight)) for weight in model.network.click_predictor.machine.weights]
    assert model.score([], ["X3"], "nobody")[0] == pytest.approx(bias, abs=1e-6)
    users = model.network.user_encoder.users
    own = float(np.array(users.feature_weights)[model.vocabularies.users["U1"]])
    assert model.score([], ["X3"], "U1")[0] == pytest.approx(bias + own, abs=1e-5)


def test_news_and_user_vectors_are_the_factors_that_meet():
    """Scores of one user differ by the product of these vectors, and by what the candidate has alone."""
    model = toy_model("libfm")
    data = toy_dataset(model)
    features = model.network_features(data)
    news = model.log_scorer.encode_news(features)
    distinct = model.log_scorer.distinct_users(data.log, data.users)
    users, user_of = model.log_scorer.user_vectors(news, data.log, distinct), distinct.of_impression
    assert users.shape[1:] == (4,)
    scores = model.score_log(data)
    own = news["linear"] + 0.5 * ((news["vector"] ** 2).sum(axis=1) - news["squares"])
    for i in range(len(data.log)):
        slots = slice(data.log.candidates.offsets[i], data.log.candidates.offsets[i + 1])
        rows = data.log.candidates.values[slots]
        rest = scores[slots] - own[rows] - news["vector"][rows] @ users[user_of[i]]
        assert rest == pytest.approx(rest[0], abs=1e-4)


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
    model = unbuilt(name, layer_sizes=[5])
    vocabularies = model.train_iterator.build_vocabularies(news, toy_log(news))
    model.build(Vocabularies({**vocabularies.parts, "terms": terms}))
    return model, model.train_iterator.dataset(news, toy_log(news))


@pytest.mark.slow
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
    if keras.backend.backend() != "tensorflow":
        pytest.skip("looks into TensorFlow's graph")
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
