"""Models over a pretrained language model: their scores, and the three ways of training it."""

from __future__ import annotations

import numpy as np
import pytest

from recommenders_miner.data.pieces import Pieces
from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.errors import HParamsError
from recommenders_miner.evaluation.scoring import score_directly
from recommenders_miner.hparams import prepare_hparams
from recommenders_miner.models import MODELS
from tests.models.test_scores import write_files
from tests.models.toy import IDS, SIZES, toy_log, toy_news
from tests.thoroughness import mostly_thorough
from tests.tiny_plm import tiny_preset

NAMES = ["miner", "nrms-plm", "lstur-plm"]
WAYS = ["all", "last_n: 2", "none"]
PLM = {
    "news_encoder": "plm",
    "news_dim": 8,
    "dropout": 0.0,
    "plm_dropout": 0.0,
    "user_dropout": 0.0,
    "length_groups": 1,
}


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    return tiny_preset(tmp_path_factory.mktemp("plm"))


def make(name, preset, **overrides):
    return MODELS[name](prepare_hparams(name, **{**SIZES, **PLM, "plm": preset, **overrides}), seed=3)


def built(name, preset, **overrides):
    news = toy_news()
    model = make(name, preset, **overrides)
    model.build(Vocabularies.build(news, toy_log(news), pieces=Pieces(preset)))
    model.set_news(news)
    return model


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", WAYS)
def test_evaluation_scores_as_training_does(name, way, preset, tmp_path):
    files = write_files(tmp_path)
    model = built(name, preset, plm_trainable=way)
    data = model.read(*files)
    fast = model.score_log(data)
    direct = score_directly(model.network, model.network_features(data), data.log, data.users, model.hparams.his_size)
    assert fast == pytest.approx(direct, abs=1e-5)
    assert len(set(fast.tolist())) > len(IDS)


@pytest.mark.parametrize("name", NAMES)
def test_a_candidates_score_does_not_depend_on_its_company(name, preset):
    model = built(name, preset)
    together = model.score(IDS[:4], IDS)
    assert [model.score(IDS[:4], [one])[0] for one in IDS] == pytest.approx(together, abs=1e-5)


@pytest.mark.parametrize("name", mostly_thorough(NAMES, fast=["miner"]))
@pytest.mark.parametrize("way", WAYS)
def test_a_cache_changes_no_score(name, way, preset, tmp_path):
    files = write_files(tmp_path)
    folder = tmp_path / ".recommenders_miner_cache"
    without = built(name, preset, plm_trainable=way, cache=False)
    plain = without.score_log(without.read(*files))
    assert not list(folder.glob("p*"))
    for _ in range(2):
        model = built(name, preset, plm_trainable=way)
        assert np.array_equal(model.score_log(model.read(*files)), plain)
    kept = {path.name.rsplit("-", 1)[0] for path in folder.glob("p*")}
    assert kept == {"pieces"} | {"all": set(), "last_n: 2": {"plm_states"}, "none": {"plm_vector"}}[way]


@pytest.mark.parametrize("name", mostly_thorough(NAMES, fast=["miner"]))
@pytest.mark.parametrize(("way", "frozen_layers"), [("last_n: 2", 1), ("none", 3)])
def test_ways_that_train_the_same_layers_learn_the_same(name, way, frozen_layers, preset, tmp_path):
    """`all` with the lower layers frozen by hand is the same model as one that goes on from their stored outputs."""
    files = write_files(tmp_path)
    losses = {}
    for trainable in ("all", way):
        model = built(name, preset, plm_trainable=trainable, learning_rate=0.05)
        if trainable == "all":
            freeze(model.network, frozen_layers)
        data = model.train_iterator.load(*files)
        batches = model.train_iterator.batches(data, model.network_features(data), seed=5)
        model.compile(total_steps=4)
        losses[trainable] = [float(model.network.train_on_batch(*batches[step])) for step in range(4)]
    assert losses[way] == pytest.approx(losses["all"], abs=1e-5)
    assert abs(losses[way][0] - losses[way][3]) > 1e-3


def freeze(network, layers):
    encoder = network.news_encoder
    encoder = encoder.parts[0] if hasattr(encoder, "parts") else encoder
    upper = encoder.backbone.transformer_layers[layers:]
    for layer in encoder.backbone.layers:
        layer.trainable = any(layer is kept for kept in upper)


@pytest.mark.parametrize("way", mostly_thorough(WAYS, fast=["last_n: 2"]))
def test_fit_save_and_load(way, preset, tmp_path):
    files = write_files(tmp_path)
    model = make("miner", preset, plm_trainable=way)
    model.fit(*files, *files, run_dir=tmp_path / "run", verbose=0)
    assert np.isfinite(model.history[-1]["loss"])
    model.save(tmp_path / "saved")
    loaded = MODELS["miner"].load(tmp_path / "saved")
    loaded.set_news(toy_news())
    assert loaded.score(IDS[:3], IDS) == pytest.approx(model.score(IDS[:3], IDS), abs=1e-6)
    again = make("miner", preset, plm_trainable=way, epochs=2)
    again.fit(*files, *files, run_dir=tmp_path / "run", resume=True, verbose=0)
    for one, other in zip(again.network.weights, model.network.weights, strict=True):
        assert np.array_equal(np.array(one), np.array(other))


def test_a_checkpoint_leaves_out_what_is_frozen_and_a_saved_model_the_optimiser(preset, tmp_path):
    files = write_files(tmp_path)
    sizes = {}
    for way in ("all", "none"):
        model = make("nrms-plm", preset, plm_trainable=way)
        model.fit(*files, run_dir=tmp_path / way, verbose=0)
        model.save(tmp_path / way / "model")
        pretrained = sum(
            weight.numpy().size if hasattr(weight, "numpy") else weight.size
            for weight in model.network.news_encoder.backbone.weights
        )
        sizes[way] = (tmp_path / way / "checkpoint.npz").stat().st_size
    assert sizes["all"] - sizes["none"] > 3 * 4 * 0.8 * pretrained


def test_categories_start_from_the_language_models_own_vectors(preset):
    model = built("miner", preset, category_embedding="plm", plm_trainable="all")
    embedding = model.network.user_encoder.category_embedding
    names = model.vocabularies.categories.tokens[2:]
    pieces = np.zeros((1 + len(names), 6), "int32")
    for row, ids in enumerate(model.vocabularies.pieces.encode(names, 6), start=1):
        pieces[row, : len(ids)] = ids
    expected = model.network.news_encoder.title_vectors(pieces)[1:]
    table = np.array(embedding.embeddings)
    assert table[2:] == pytest.approx(expected, abs=1e-6)
    assert not table[:2].any()
    assert not embedding.trainable_weights


def test_what_is_missing_is_named(preset):
    with pytest.raises(HParamsError, match="news_encoder: 'plm' needs plm"):
        built("miner", preset, plm=None)
    with pytest.raises(HParamsError, match="category_embedding: 'plm' needs news_encoder: plm"):
        built("miner", preset, news_encoder="self_attention", category_embedding="plm")
    with pytest.raises(HParamsError, match=r"user vector's dimension, is 8, and the news vector's is 5"):
        built("nrms-plm", preset, news_dim=5)


def test_bfloat16_scores_about_the_same(preset):
    full, half = (built("miner", preset, precision=precision) for precision in ("float32", "bfloat16"))
    half.network.set_weights(full.network.get_weights())
    scores = [model.score(IDS[:4], IDS) for model in (full, half)]
    assert scores[1] == pytest.approx(scores[0], abs=0.05 * float(np.abs(scores[0]).max()))
    assert not np.array_equal(*scores)
