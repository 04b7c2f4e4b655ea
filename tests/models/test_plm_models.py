"""Models over a pretrained language model: the three ways of training it, and what is kept of it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.models.toy import fresh_toy_model, some_slow, toy_dataset, toy_model, unbuilt, write_files

NAMES = ["miner plm", "nrms-plm", "lstur-plm"]
WAYS = ["all", "last_n: 2", "none"]
some = pytest.mark.parametrize("name", some_slow(NAMES, fast=["miner plm"]))


@some
@pytest.mark.parametrize("way", WAYS)
def test_a_cache_changes_no_score(name, way, tmp_path):
    files = write_files(tmp_path)
    folder = tmp_path / ".recommenders_miner_cache"
    model = toy_model(name, plm_trainable=way, dropout=0.0)
    plain = model.score_log(toy_dataset(model))
    assert not list(folder.glob("p*"))
    for _ in range(2):
        model.test_iterator._loaded.clear()
        assert np.array_equal(model.score_log(model.read(*files)), plain)
    kept = {path.name.rsplit("-", 1)[0] for path in folder.glob("p*")}
    of_none = "plm_states" if model.hparams.plm_pooling == "attention" else "plm_vector"
    assert kept == {"pieces"} | {"all": set(), "last_n: 2": {"plm_states"}, "none": {of_none}}[way]


@pytest.mark.slow
@some
@pytest.mark.parametrize(("way", "frozen_layers"), [("last_n: 2", 1), ("none", 3)])
def test_ways_that_train_the_same_layers_learn_the_same(name, way, frozen_layers):
    """`all` with the lower layers frozen by hand is the same model as one that goes on from their stored outputs."""
    losses = {}
    for trainable in ("all", way):
        model = fresh_toy_model(name, plm_trainable=trainable, learning_rate=0.05, dropout=0.0)
        upper = layers_of(model.network)[frozen_layers:]
        for layer in backbone_of(model.network).layers if trainable == "all" else ():
            layer.trainable = any(layer is kept for kept in upper)
        data = toy_dataset(model)
        batches = model.train_iterator.batches(data, model.network_features(data), seed=5)
        model.compile(total_steps=3)
        losses[trainable] = [float(model.network.train_on_batch(*batches[step])) for step in range(3)]
    assert losses[way] == pytest.approx(losses["all"], abs=1e-5)
    assert abs(losses[way][0] - losses[way][2]) > 1e-3


def backbone_of(network):
    encoder = network.news_encoder
    return (encoder.parts[0] if hasattr(encoder, "parts") else encoder).backbone


def layers_of(network):
    return backbone_of(network).transformer_layers


@pytest.mark.slow
def test_a_checkpoint_leaves_out_what_is_frozen(tmp_path):
    files, sizes = write_files(tmp_path), {}
    for way in ("all", "none"):
        model = unbuilt("nrms-plm", plm_trainable=way, epochs=1).fit(*files, run_dir=tmp_path / way, verbose=0)
        sizes[way] = (tmp_path / way / "checkpoint.npz").stat().st_size
    pretrained = sum(np.array(weight).size for weight in backbone_of(model.network).weights)
    assert sizes["all"] - sizes["none"] > 3 * 4 * 0.8 * pretrained


def test_categories_start_from_the_language_models_own_vectors():
    model = unbuilt("miner plm", category_embedding="plm")
    model.build(toy_model("miner plm").vocabularies)
    embedding = model.network.user_encoder.category_embedding
    names = model.vocabularies.categories.tokens[2:]
    pieces = np.zeros((1 + len(names), 6), "int32")
    for row, ids in enumerate(model.vocabularies.pieces.encode(names, 6), start=1):
        pieces[row, : len(ids)] = ids
    table = np.array(embedding.embeddings)
    assert table[2:] == pytest.approx(model.network.news_encoder.title_vectors(pieces)[1:], abs=1e-6)
    assert not table[:2].any()
    assert not embedding.trainable_weights
