"""PLMEncoder: against BERT written out in numpy, and its three ways of training against each other."""

from __future__ import annotations

import functools

import keras
import keras_hub
import numpy as np
import pytest

from recommenders_miner.data.features import NewsFeatures
from recommenders_miner.data.news import NewsTable
from recommenders_miner.encoders import PLMEncoder
from recommenders_miner.encoders.plm_encoder import TEXTS
from recommenders_miner.encoders.whole_table import NetworkPart, encode_table
from recommenders_miner.errors import PresetError, RecommendersMinerError
from tests.layers.layer_checks import to_numpy
from tests.models.reference_parts import approximate_gelu, bert, exact_gelu
from tests.models.toy import some_slow, toy_hparams, toy_model, toy_preset
from tests.tiny_plm import KINDS, VOCABULARY, tiny_backbone, tiny_encoder

shared = functools.cache(tiny_encoder)  # for tests that leave its weights alone
LAYERS = [0, 1, 2, 3, "all"]
PIECES = np.array([[0] * 6, [3, 6, 7, 4, 0, 0], [3, 6, 8, 9, 6, 4], [3, 4, 0, 0, 0, 0]], "int32")


class Features(dict):
    """NewsFeatures without a cache, and a record of what was kept."""

    def __init__(self, pieces):
        super().__init__(pieces=pieces)
        self.keys = []

    def kept(self, name, key, make):
        self.keys.append(key)
        return make()


def vectors(encoder, pieces=PIECES):
    """The vectors of a table, on the way that training and evaluation go."""
    return vectors_of(encoder, Features(pieces))


def vectors_of(encoder, features):
    part = NetworkPart(encoder, lambda features: {"vector": encoder(features)})
    return to_numpy(encode_table(part, encoder.prepare(features))["vector"])


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize(("activation", "gelu"), [("gelu", exact_gelu), (None, approximate_gelu)])
def test_vectors_are_berts(pooling, activation, gelu):
    encoder = shared(pooling=pooling, activation=activation)
    found = vectors(encoder)
    for row in (1, 2, 3):
        states = bert(encoder.backbone, PIECES[row][PIECES[row] > 0] - 1, gelu)
        assert found[row] == pytest.approx(states[0] if pooling == "cls" else states.mean(0), abs=1e-5)


@pytest.mark.slow
def test_a_projection_and_nothing_else_stands_behind_the_model():
    plain, projected = shared(), shared(news_dim=3)
    found = vectors(projected)
    expected = vectors(plain) @ to_numpy(projected.projection.kernel) + to_numpy(projected.projection.bias)
    assert found == pytest.approx(expected, abs=1e-5)
    assert (plain.dim, projected.dim) == (8, 3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, "DebertaV3"])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_however_much_is_frozen_the_vectors_are_the_same(kind, pooling):
    whole = vectors(shared(kind, pooling=pooling))
    for layers in LAYERS[:-1]:
        part = vectors(shared(kind, pooling=pooling, trainable_layers=layers))
        assert part[1:] == pytest.approx(whole[1:], abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("layers", LAYERS)
def test_padding_never_matters_and_is_finite(layers):
    encoder = shared(trainable_layers=layers, pooling="mean")
    found, wide = vectors(encoder), np.pad(PIECES, [(0, 0), (0, 4)])
    assert np.isfinite(found).all()
    assert vectors(encoder, wide)[1:] == pytest.approx(found[1:], abs=1e-5)
    assert vectors(encoder, PIECES[[0, 1]])[1] == pytest.approx(found[1], abs=1e-5)


@pytest.mark.parametrize("layers", LAYERS)
def test_what_is_trained_is_what_was_asked_for(layers):
    encoder = shared(trainable_layers=layers)
    backbone = encoder.backbone
    trained = {id(weight) for weight in encoder.trainable_variables}
    upper = 3 if layers == "all" else layers
    for index, layer in enumerate(backbone.transformer_layers):
        assert {id(weight) in trained for weight in layer.weights} == {index >= 3 - upper}
    assert (id(backbone.token_embedding.embeddings) in trained) == (layers == "all")
    assert not any(id(weight) in trained for weight in backbone.pooled_dense.weights)


@pytest.mark.slow
@pytest.mark.parametrize("layers", [0, 2])
def test_the_cache_is_keyed_by_weights_and_text(layers):
    def key(pieces=PIECES, **arguments):
        features = Features(pieces)
        shared(**{"trainable_layers": layers, **arguments}).prepare(features)
        return features.keys[0]

    assert key() == key()
    others = PIECES.copy()
    others[1, 1] += 1
    assert len({key(), key(seed=1), key(others), key(activation="gelu"), key(trainable_layers=1)}) == 5
    assert (key() == key(pooling="mean")) == (layers > 0)


@pytest.mark.slow
def test_upper_layers_that_change_leave_the_cache_valid():
    encoder, features = tiny_encoder(trainable_layers=2), Features(PIECES)
    encoder.prepare(features)
    weight = encoder.backbone.transformer_layers[2].trainable_variables[0]
    weight.assign(weight + 1)
    encoder.prepare(features)
    weight = encoder.backbone.transformer_layers[0].weights[0]
    weight.assign(weight + 1)
    encoder.prepare(features)
    assert features.keys[0] == features.keys[1] != features.keys[2]


@pytest.mark.slow
@pytest.mark.parametrize("layers", [0, 2, "all"])
def test_an_encoder_comes_back_from_its_config(layers):
    encoder = shared(trainable_layers=layers, pooling="mean", news_dim=5, dropout=0.2, activation="gelu")
    first = vectors(encoder)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(encoder))
    vectors(again)
    again.set_weights(encoder.get_weights())
    assert vectors(again) == pytest.approx(first, abs=1e-6)
    assert len(again.trainable_variables) == len(encoder.trainable_variables)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_lowest_layers_alone_can_be_used(depth):
    encoder = PLMEncoder.from_preset(toy_preset(), plm_dropout=0.3, depth=depth, trainable_layers=1)
    whole = tiny_encoder().backbone
    whole.transformer_layers = whole.transformer_layers[:depth]
    assert vectors(encoder)[1:] == pytest.approx(vectors(PLMEncoder(whole))[1:], abs=1e-5)
    assert (encoder.num_frozen, encoder.backbone.dropout) == (depth - 1, 0.3)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(encoder))
    again.set_weights(encoder.get_weights())
    assert vectors(again) == pytest.approx(vectors(encoder), abs=1e-6)


@pytest.mark.parametrize("kind", some_slow(KINDS, fast=["Roberta"]))
@pytest.mark.parametrize("layers", LAYERS)
def test_states_are_had_at_some_places_alone(kind, layers):
    encoder, mask = shared(kind, trainable_layers=layers), PIECES > 0
    states = to_numpy(encoder.read(encoder.embed(PIECES), mask))
    places = np.array([[0, 0], [0, 3], [5, 1], [1, 0]], "int32")
    found = to_numpy(encoder.read(encoder.embed(PIECES), mask, places=places))
    assert found == pytest.approx(np.take_along_axis(states, places[..., None], axis=1), abs=1e-5)


@pytest.mark.slow
def test_frozen_layers_drop_nothing():
    pieces, mask = PIECES[1:2], PIECES[1:2] > 0
    for layers, differs in ((0, False), (1, True)):
        encoder = PLMEncoder(tiny_backbone(dropout=0.5), trainable_layers=layers)
        still = to_numpy(encoder.read(encoder.embed(pieces), mask))
        for places in (None, np.array([[0, 1, 2, 3, 4, 5]], "int32")):
            noisy = to_numpy(encoder.read(encoder.embed(pieces), mask, training=True, places=places))
            assert np.allclose(noisy, still, atol=1e-5) != differs


def test_a_hub_that_cannot_be_reached_is_named(monkeypatch):
    def unreachable(repository, allow_patterns):
        raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(PresetError, match=r"hf://some/model: no language model could be loaded: no route to host"):
        PLMEncoder.from_preset("hf://some/model")


def test_what_cannot_be_used_is_named(tmp_path):
    with pytest.raises(PresetError, match=r"nowhere.*no language model could be loaded"):
        PLMEncoder.from_preset(str(tmp_path / "nowhere"))
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
    other = keras_hub.models.GPT2Backbone(vocabulary_size=len(VOCABULARY), **sizes)
    with pytest.raises(PresetError, match=r"GPT2Backbone.*Bert, DistilBert, Roberta, XLMRoberta"):
        PLMEncoder(other)
    with pytest.raises(PresetError, match=r"has 3 layers.*last_n: 4"):
        shared(trainable_layers=4)
    with pytest.raises(PresetError, match=r"has 3 layers: plm_depth cannot be 4"):
        PLMEncoder.from_preset(toy_preset(), depth=4)


def several_texts(folder, extra=None):
    """What two encoders of one model's settings read of articles with title, abstract and body."""
    texts = {"abstract": ["word1", "", "word4 word5"]}
    extra = extra or {"body": ["word2 word3 word4", None, "word5"]}
    news = NewsTable.from_columns(["N1", "N2", "N3"], ["word1", "word2 word3", ""], **texts, extra=extra)
    hparams = toy_hparams("miner plm none", plm_texts=["title", "abstract", "body"], text_size=4, news_dim=None)
    vocabularies = toy_model("miner plm none").vocabularies
    return NewsFeatures(news, vocabularies, hparams, folder), news


def test_the_vectors_of_several_texts_stand_side_by_side_and_are_zero_for_those_that_are_missing(tmp_path):
    features, _ = several_texts(tmp_path)
    found = vectors_of(shared(trainable_layers=0, pooling="mean", texts=("title", "abstract", "body")), features)
    alone = {text: vectors_of(shared(trainable_layers=0, pooling="mean", texts=(text,)), features) for text in TEXTS}
    assert found == pytest.approx(np.concatenate([*alone.values()], axis=1), abs=1e-6)
    for text, missing in (("title", []), ("abstract", [2]), ("body", [2])):
        assert [row for row in (1, 2, 3) if not alone[text][row].any()] == missing
    assert features["body_pieces"].shape == (4, 4), "cut to text_size"


def test_whoever_is_stopped_among_many_texts_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr("recommenders_miner.encoders.plm_encoder._KEPT_AT_ONCE", 2)
    encoder = tiny_encoder(trainable_layers=0, pooling="mean")
    ran = []

    def run(pieces, wanted=encoder.frozen_outputs):
        ran.append(len(pieces))
        if len(ran) == 2:
            raise KeyboardInterrupt
        return wanted(pieces)

    monkeypatch.setattr(encoder, "frozen_outputs", run)
    with pytest.raises(KeyboardInterrupt):
        encoder.prepare(several_texts(tmp_path)[0])
    found = encoder.prepare(several_texts(tmp_path)[0])["plm_vector"]
    assert ran == [3, 2, 2], "the first two were kept"
    monkeypatch.undo()
    assert found == pytest.approx(encoder.prepare(several_texts(tmp_path / "other")[0])["plm_vector"], abs=1e-6)


def test_a_body_that_the_data_has_not_is_named(tmp_path):
    with pytest.raises(RecommendersMinerError, match=r"There is no column 'body' in articles\.parquet"):
        several_texts(tmp_path, {"published": [1, 2, 3]})[0]["body_pieces"]


@pytest.mark.parametrize("layers", [0, 2, "all"])
def test_pieces_that_the_model_does_not_have_and_texts_that_are_too_long_are_refused(layers):
    encoder = shared(trainable_layers=layers)
    last, longest = len(VOCABULARY), encoder.backbone.max_sequence_length
    assert vectors(encoder, np.array([[0], [last]], "int32")).shape == (2, 8)
    with pytest.raises(PresetError, match=f"has {last} word pieces, fewer than its tokenizer"):
        encoder.prepare(Features(np.array([[0], [last + 1]], "int32")))
    pieces = np.zeros((2, longest + 1), "int32")
    pieces[1, :longest] = 3
    encoder.prepare(Features(pieces))
    pieces[1] = 3
    with pytest.raises(RecommendersMinerError, match=f"reads {longest} word pieces of a text at most"):
        encoder.prepare(Features(pieces))
