"""KnowledgeEncoder: h = W_t t + W_e e, against numpy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from recommenders_miner.encoders import KnowledgeEncoder, SelfAttentionEncoder, TokenVectors
from tests.layers import reference
from tests.layers.layer_checks import call_once, check_serialisation, gradients, to_numpy, weights_of

TITLE = np.array([[3, 5, 2, 8], [4, 1, 0, 0], [7, 7, 6, 0], [0, 0, 0, 0], [1, 0, 0, 0]], "int32")
ENTITIES = np.array([[2, 4, 3], [5, 0, 0], [0, 0, 0], [3, 2, 0], [1, 0, 0]], "int32")
FEATURES = {"title": TITLE, "entities": ENTITIES}
HEADS = {"text": 2, "entities": 3}


def built(seed=0, dim=7, dropout=0.0):
    """An encoder whose weights are all random, the vectors of padding too."""
    text = SelfAttentionEncoder(TokenVectors(9, 5), HEADS["text"], 3, attention_dim=4, dropout=dropout)
    entities = SelfAttentionEncoder(
        TokenVectors(6, 4), HEADS["entities"], 2, attention_dim=5, dropout=dropout, feature="entities"
    )
    encoder = KnowledgeEncoder(text, entities, dim)
    encoder(encoder.example())
    randomise(encoder, seed)
    return encoder


def randomise(layer, seed):
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        weight.assign(rng.normal(0, 0.7, weight.shape))


def vectors(encoder, features=FEATURES, **options):
    return call_once(lambda **tensors: encoder(tensors, **options), features)


def eagerly(encoder, features=FEATURES):
    """Every operation by itself, so that what does not change is exactly the same."""
    return to_numpy(encoder({name: ops.convert_to_tensor(ids) for name, ids in features.items()}))


# === The encoder in numpy ===


def pooled(encoder, ids, heads):
    """What one title's words, or its entities, are together; each is cut to its length, so there are no masks."""
    ids = [i for i in ids if i]
    if not ids:
        return np.zeros(weights_of(encoder.self_attention)["value_kernel"].shape[1])
    embedded = weights_of(encoder.words)["embeddings"][ids]
    attended = reference.self_attention(embedded[None], **weights_of(encoder.self_attention), num_heads=heads)
    return reference.additive_attention(attended, **weights_of(encoder.pooling))[0]


def expected_vector(encoder, title, entities):
    text = pooled(encoder.text, title, HEADS["text"])
    entity = pooled(encoder.entities, entities, HEADS["entities"])
    return text @ to_numpy(encoder.text_projection.kernel) + entity @ to_numpy(encoder.entity_projection.kernel)


def test_vectors_are_the_papers():
    encoder = built()
    assert (encoder.features, encoder.dim) == (("title", "entities"), 7)
    expected = np.array([expected_vector(encoder, *ids) for ids in zip(TITLE, ENTITIES, strict=True)])
    found = vectors(encoder)
    assert found.shape == (5, 7)
    assert found == pytest.approx(expected, abs=1e-5)
    assert np.abs(expected).max(axis=1).min() > 0.01


def test_there_is_no_bias_so_the_padding_article_is_zero():
    nothing = {name: np.zeros((2, 3), "int32") for name in FEATURES}
    assert not vectors(built(), nothing).any()


def test_padding_behind_never_matters():
    encoder = built()
    found = vectors(encoder)
    for words, entities in ((3, 0), (0, 2), (5, 5)):
        wider = {"title": np.pad(TITLE, [(0, 0), (0, words)]), "entities": np.pad(ENTITIES, [(0, 0), (0, entities)])}
        assert vectors(encoder, wider) == pytest.approx(found, abs=1e-6)
    for row in range(5):
        alone = {name: ids[row : row + 1, : max((ids[row] > 0).sum(), 1)] for name, ids in FEATURES.items()}
        assert vectors(encoder, alone)[0] == pytest.approx(found[row], abs=1e-6)


def test_a_title_without_entities_is_its_text_alone_exactly():
    encoder = built()
    text = to_numpy(encoder.text_projection(encoder.text({"title": ops.convert_to_tensor(TITLE)})))
    found = eagerly(encoder)
    assert np.array_equal(found[2], text[2])
    randomise(encoder.entities, 9)
    randomise(encoder.entity_projection, 10)
    changed = eagerly(encoder)
    assert np.array_equal(changed[2], found[2])
    assert (np.abs(changed - found).max(axis=1) > 0.01).tolist() == [True, True, False, True, True]


def test_every_weight_but_the_vectors_of_padding_is_trained():
    encoder = built()

    def objective(**features):
        return ops.sum(ops.square(encoder(features)))

    # Names are not distinct, so the gradients are asked for one part at a time.
    parts = {
        "text_words": encoder.text.words,
        "text_attention": encoder.text.self_attention,
        "text_pooling": encoder.text.pooling,
        "entity_words": encoder.entities.words,
        "entity_attention": encoder.entities.self_attention,
        "entity_pooling": encoder.entities.pooling,
        "text_projection": encoder.text_projection,
        "entity_projection": encoder.entity_projection,
    }
    assert sum(len(part.trainable_weights) for part in parts.values()) == len(encoder.trainable_weights)
    for name, part in parts.items():
        for weight, found in gradients(objective, part, FEATURES).items():
            assert np.isfinite(found).all()
            assert np.abs(found).max() > 1e-4, (name, weight)
            assert weight != "embeddings" or not found[0].any()


def test_an_encoder_comes_back_from_its_config():
    encoder = built()
    check_serialisation(encoder)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(encoder))
    assert (again.features, again.dim) == (encoder.features, encoder.dim)
    again(again.example())
    assert [weight.shape for weight in again.weights] == [weight.shape for weight in encoder.weights]
    again.set_weights(encoder.get_weights())
    assert np.array_equal(eagerly(again), eagerly(encoder))


def test_dropout_is_on_in_training_alone():
    encoder = built(dropout=0.5)
    plain = vectors(built())
    assert vectors(encoder, training=False) == pytest.approx(plain, abs=1e-6)
    assert np.abs(vectors(encoder, training=True) - plain).max() > 0.01
