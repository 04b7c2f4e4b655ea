"""UNBERT: what it reads of a history, which language models, and what training changes."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from recommenders_miner.encoders import PLMEncoder
from recommenders_miner.errors import PresetError
from recommenders_miner.evaluation.scoring import score_directly
from recommenders_miner.models.unbert import UNBERTUserEncoder
from tests.layers.layer_checks import to_numpy
from tests.models.reference import Reference
from tests.models.reference_unbert import text_of
from tests.models.toy import IDS, fresh_toy_model, some_slow, toy_dataset, toy_model
from tests.tiny_plm import KINDS, tiny_backbone, tiny_preset


def from_preset(kind, preset, plm_dropout, depth, **arguments):
    sizes = {} if depth is None else {"num_layers": depth}
    return PLMEncoder(tiny_backbone(kind, dropout=plm_dropout, **sizes), **arguments)


@pytest.mark.parametrize("kind", some_slow(KINDS, fast=["Roberta"]))
def test_every_language_model_can_read(kind, monkeypatch):
    """All over the word pieces of one tokenizer."""
    monkeypatch.setattr(PLMEncoder, "from_preset", functools.partial(from_preset, kind))
    overrides = {"news_level_layers": 1, "plm_depth": 2, "seed": KINDS.index(kind)}
    model = fresh_toy_model("unbert", **overrides, news_level_pooling="nsep")
    assert len(model.network.click_predictor.plm.backbone.transformer_layers) == 2
    assert model.score(IDS[:4], IDS) == pytest.approx(Reference(model, "unbert").score(IDS[:4], IDS), abs=2e-5)


# === What is read of a history ===


def packed(titles, room):
    """A history of titles, oldest first, as the click predictor gets it."""
    titles = [[9, *title] for title in titles]
    pieces = np.zeros((1, len(titles) + 2, 6), "int32")
    for place, title in enumerate(titles):
        pieces[0, place, : len(title)] = title
    mask = np.arange(len(titles) + 2)[None] < len(titles)
    found = UNBERTUserEncoder(room).encode_history({"pieces": pieces}, mask, np.zeros(1, "int32"))
    return {name: to_numpy(array)[0].astype(int).tolist() for name, array in found.items()}


def test_a_history_is_one_text_newest_first():
    assert packed([[1, 2], [3, 4, 5], [6]], room=8) == {
        "pieces": [6, 3, 4, 5, 1, 2, 0, 0],
        "news": [2, 3, 3, 3, 4, 4, 0, 0],
        "ends": [1, 4, 6, 0, 0],
    }
    assert packed([], room=3) == {"pieces": [0] * 3, "news": [0] * 3, "ends": [0] * 2}


@pytest.mark.parametrize(("room", "whole"), [(6, 3), (5, 2), (4, 2), (3, 1)])
def test_whole_articles_are_left_out_the_oldest_first(room, whole):
    found = packed([[1, 2], [3, 4, 5], [6]], room)
    pieces, ends = [6, 3, 4, 5, 1, 2], [1, 4, 6]
    kept = ends[whole - 1]
    assert found["pieces"] == pieces[:kept] + [0] * (room - kept)
    assert found["ends"] == ends[:whole] + [0] * (5 - whole)


def test_an_older_and_shorter_article_takes_no_place_that_a_newer_one_lacks():
    assert packed([[1], [2, 3, 4, 5], [6]], room=3)["pieces"] == [6, 0, 0]


@pytest.mark.slow
def test_only_the_newest_clicks_that_fit_count():
    model = toy_model("unbert", his_size=9)
    _, news = text_of(model, IDS, IDS[0])
    fitting = news.max() - 1
    assert 1 < fitting < model.hparams.his_size
    whole = model.score(IDS, IDS)
    assert whole == pytest.approx(model.score(IDS[-fitting:], IDS), abs=1e-5)
    assert not np.allclose(whole, model.score(IDS[-fitting + 1 :], IDS))


@pytest.mark.slow
def test_padding_behind_a_history_never_changes_a_score():
    model = toy_model("unbert", his_size=9)
    data = toy_dataset(model, impressions=4)
    features, log = model.network_features(data), data.log
    narrow, wide = (score_directly(model.network, features, log, data.users, size) for size in (5, 9))
    short = np.repeat(log.histories.lengths[log.history_of] <= 5, log.candidates.lengths)
    assert short.any()
    assert wide[short] == pytest.approx(narrow[short], abs=1e-5)


# === Training, and its limits ===


@pytest.mark.slow
@pytest.mark.parametrize("way", ["all", "last_n: 2", "none"])
def test_training_changes_what_it_should(way):
    model = fresh_toy_model("unbert", plm_trainable=way, learning_rate=2e-3, dropout=0.0)
    data = toy_dataset(model)
    before = {weight.path: to_numpy(weight) for weight in model.network.weights}
    model.compile(total_steps=1)
    model.network.train_on_batch(*model.training_batches(data)[0])
    changed = {weight.path for weight in model.network.weights if not np.array_equal(before[weight.path], weight)}
    backbone = model.network.click_predictor.plm.backbone
    upper = {"all": 3, "last_n: 2": 2, "none": 0}[way]
    for index, layer in enumerate(backbone.transformer_layers):
        assert {weight.path in changed for weight in layer.weights} == {index >= 3 - upper}
    assert (backbone.token_embedding.embeddings.path in changed) == (way == "all")
    pretrained = {id(weight) for weight in model.network.pretrained_weights}
    assert pretrained == {id(weight) for weight in backbone.weights}
    assert all(weight.path in changed for weight in model.network.weights if id(weight) not in pretrained)


@pytest.mark.slow
@pytest.mark.parametrize("size", [16, 128, 512])
def test_a_step_of_evaluation_stays_within_its_memory(size, monkeypatch):
    predictor = toy_model("unbert").network.click_predictor
    monkeypatch.setitem(predictor.config, "input_size", size)
    monkeypatch.setattr(predictor.plm.backbone, "intermediate_dim", 3072)
    monkeypatch.setattr(predictor.plm.backbone, "num_heads", 12)
    pairs = predictor.candidates_at_once
    assert 4 * pairs * size * max(3072, 12 * size) <= 150e6
    assert pairs * size > 2000


def test_a_language_model_that_knows_no_places_in_a_text_is_refused(tmp_path):
    with pytest.raises(PresetError, match=f"{tmp_path}.*knows distances between pieces alone"):
        fresh_toy_model("unbert", plm=tiny_preset(tmp_path, kind="DebertaV3"))
