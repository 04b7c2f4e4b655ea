"""UNBERT: its score against the paper in numpy, one text at a time, and what must not move it."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from recommenders_miner.compat.iterator import MINDIterator
from recommenders_miner.data.news import NewsTable
from recommenders_miner.encoders import PLMEncoder
from recommenders_miner.errors import HParamsError, NoVectorError
from recommenders_miner.evaluation.scoring import score_directly
from recommenders_miner.hparams import prepare_hparams
from recommenders_miner.models import UNBERTModel
from recommenders_miner.models.unbert import UNBERTUserEncoder
from tests.encoders.test_plm_encoder import approximate_gelu, exact_gelu, layer_norm, transformer
from tests.layers import reference as layers
from tests.layers.layer_checks import to_numpy, weights_of
from tests.models.test_scores import write_files
from tests.models.toy import IDS, SIZES, toy_log, toy_news
from tests.thoroughness import mostly_thorough
from tests.tiny_plm import KINDS, tiny_backbone, tiny_preset

POOLINGS = ["attention", "mean", "nsep"]
WAYS = ["all", "last_n: 2", "none"]
LONGEST = 40
UNBERT = {
    "news_encoder": "plm",
    "title_size": 7,
    "input_size": 64,
    "his_size": 6,
    "dropout": 0.0,
    "plm_dropout": 0.0,
}


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """Makes models over tiny language models of any kind, all with the word pieces of one tokenizer."""
    preset = tiny_preset(tmp_path_factory.mktemp("plm"))

    def make(kind="Bert", **overrides):
        model = UNBERTModel(prepare_hparams("unbert", **{**SIZES, **UNBERT, "plm": preset, **overrides}), seed=3)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(PLMEncoder, "from_preset", functools.partial(from_preset, kind))
            model.build(model.train_iterator.build_vocabularies(toy_news(), toy_log(toy_news())))
        rng = np.random.default_rng(1)
        for weight in model.network.weights:
            centre = 1.0 if "gamma" in weight.name else 0.0
            weight.assign(centre + rng.normal(0, 0.3, weight.shape))
        model.set_news(toy_news())
        return model

    return make


def from_preset(kind, preset, plm_dropout, depth, **arguments):
    sizes = {} if depth is None else {"num_layers": depth}
    backbone = tiny_backbone(kind, dropout=plm_dropout, max_sequence_length=LONGEST, **sizes)
    return PLMEncoder(backbone, **arguments)


@pytest.fixture(scope="module")
def model(make):
    return functools.cache(lambda pooling="attention": make(news_level_pooling=pooling))


# === The paper in numpy ===


def text_of(model, history, candidate):
    """Section 3.2: pieces, and the number of the news that each belongs to, 0 for [CLS]."""

    def pieces(news_id):
        title = model.news.title[model.news.row_of[news_id]].as_py()
        return model.vocabularies.pieces.encode([title], model.hparams.title_size)[0]

    text = pieces(candidate)
    news = [0] + [1] * (len(text) - 1)
    room = min(model.hparams.input_size, LONGEST) - model.hparams.title_size
    for number, news_id in enumerate(history[::-1][: model.hparams.his_size], start=2):
        title = pieces(news_id)[1:]
        room -= len(title)
        if room < 0:
            break
        text, news = text + title, news + [number] * len(title)
    return text, np.array(news)


def embeddings(model, text, news):
    predictor = model.network.click_predictor
    backbone = predictor.plm.backbone
    embedding = getattr(backbone, "embeddings", backbone)
    rows = to_numpy(embedding.token_embedding.embeddings)[np.array(text) - 1]
    rows = rows + to_numpy(embedding.position_embedding.position_embeddings)[: len(text)]
    if hasattr(backbone, "segment_embedding"):
        rows = rows + to_numpy(backbone.segment_embedding.embeddings)[(news > 1).astype(int)]
    return rows + to_numpy(predictor.news_embedding.embeddings)[news] * (news > 0)[:, None]


def score(model, history, candidate):
    predictor = model.network.click_predictor
    backbone = predictor.plm.backbone
    gelu = approximate_gelu if type(backbone).__name__ == "BertBackbone" else exact_gelu
    text, news = text_of(model, history, candidate)
    states = layer_norm(embeddings(model, text, news), backbone.embeddings_layer_norm)
    for layer in backbone.transformer_layers:
        states = transformer(states, layer, gelu)
    vectors = [states[0]]
    for number in range(1, news.max() + 1):
        own = states[news == number]
        if model.hparams.news_level_pooling == "attention":
            vectors.append(layers.additive_attention(own[None], **weights_of(predictor.pooling))[0])
        else:
            vectors.append(own.mean(axis=0) if model.hparams.news_level_pooling == "mean" else own[-1])
    matched = np.array(vectors)
    for layer in predictor.news_layers:
        matched = transformer(matched, layer, gelu)
    kernel, bias = to_numpy(predictor.score.kernel), to_numpy(predictor.score.bias)
    return (np.concatenate([states[0], matched[0]]) @ kernel + bias)[0]


def scores(model, history):
    return np.array([score(model, history, candidate) for candidate in IDS])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_score_is_the_papers(pooling, model):
    for history in ([], IDS[:1], IDS[2:5], IDS):
        assert model(pooling).score(history, IDS) == pytest.approx(scores(model(pooling), history), abs=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_language_model_can_read(kind, make):
    model = make(kind, news_level_pooling="nsep", news_level_layers=1, plm_depth=2)
    assert len(model.network.click_predictor.plm.backbone.transformer_layers) == 2
    assert model.score(IDS[:4], IDS) == pytest.approx(scores(model, IDS[:4]), abs=2e-5)


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


@pytest.mark.parametrize(("room", "whole"), [(6, 3), (5, 2), (4, 2), (3, 1)])
def test_whole_news_are_left_out_the_oldest_first(room, whole):
    found = packed([[1, 2], [3, 4, 5], [6]], room)
    pieces, ends = [6, 3, 4, 5, 1, 2], [1, 4, 6]
    kept = ends[whole - 1]
    assert found["pieces"] == pieces[:kept] + [0] * (room - kept)
    assert found["ends"] == ends[:whole] + [0] * (5 - whole)


def test_no_history_is_no_text():
    assert packed([], room=3) == {"pieces": [0] * 3, "news": [0] * 3, "ends": [0] * 2}


def test_an_older_and_shorter_news_takes_no_place_that_a_newer_one_lacks():
    assert packed([[1], [2, 3, 4, 5], [6]], room=3)["pieces"] == [6, 0, 0]


# === What must not move a score ===


@pytest.mark.parametrize("pooling", POOLINGS)
def test_evaluation_scores_as_training_does(pooling, model):
    data = dataset(model(pooling))
    assert model(pooling).score_log(data) == pytest.approx(directly(model(pooling), data), abs=1e-5)


def dataset(model):
    return MINDIterator(model.hparams, vocabularies=model.vocabularies).dataset(toy_news(), toy_log(toy_news()))


def directly(model, data, his_size=None, **features):
    features = {**model.network_features(data), **features}
    return score_directly(model.network, features, data.log, data.users, his_size or model.hparams.his_size)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_never_matters(pooling, model):
    data = dataset(model(pooling))
    scores = directly(model(pooling), data)
    wide = np.pad(model(pooling).network_features(data)["pieces"], [(0, 0), (0, 3)])
    assert directly(model(pooling), data, pieces=wide) == pytest.approx(scores, abs=1e-5)
    short = data.log.histories.lengths[data.log.history_of] <= 6
    kept = np.repeat(short, data.log.candidates.lengths)
    assert directly(model(pooling), data, his_size=12)[kept] == pytest.approx(scores[kept], abs=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_candidates_score_does_not_depend_on_its_company(pooling, model):
    together = model(pooling).score(IDS[:4], IDS)
    assert [model(pooling).score(IDS[:4], [one])[0] for one in IDS] == pytest.approx(together, abs=1e-5)


def test_only_the_newest_clicks_that_fit_count(model):
    _, news = text_of(model(), IDS, IDS[0])
    fitting = news.max() - 1
    assert 1 < fitting < UNBERT["his_size"]
    assert model().score(IDS, IDS) == pytest.approx(model().score(IDS[-fitting:], IDS), abs=1e-5)
    assert not np.allclose(model().score(IDS, IDS), model().score(IDS[-fitting + 1 :], IDS))


def test_unknown_users_and_words_are_scored(model):
    table = NewsTable.from_columns(ids=[*IDS, "X1", "X2"], titles=[*toy_news().title.to_pylist()[1:], "zyzzyva", ""])
    model().set_news(table)
    assert model().score(["X1", "X2"], ["X1"], user="nobody")[0] == pytest.approx(
        score(model(), ["X1", "X2"], "X1"), abs=2e-5
    )
    assert np.isfinite(model().score(["X2"], ["X2", *IDS])).all()
    model().set_news(toy_news())


# === Training ===


@pytest.mark.parametrize("way", mostly_thorough(WAYS, fast=["last_n: 2"]))
def test_training_changes_what_it_should_and_lowers_the_loss(way, make, tmp_path):
    model = make(plm_trainable=way, learning_rate=2e-3, batch_size=16)
    data = model.train_iterator.load(*write_files(tmp_path))
    batch = model.training_batches(data)[0]
    before = {weight.path: to_numpy(weight) for weight in model.network.weights}
    model.compile(total_steps=8)
    losses = [float(model.network.train_on_batch(*batch)) for _ in range(8)]
    assert losses[-1] < losses[0]
    changed = {weight.path for weight in model.network.weights if not np.array_equal(before[weight.path], weight)}
    backbone = model.network.click_predictor.plm.backbone
    upper = {"all": 3, "last_n: 2": 2, "none": 0}[way]
    for index, layer in enumerate(backbone.transformer_layers):
        assert {weight.path in changed for weight in layer.weights} == {index >= 3 - upper}
    assert (backbone.token_embedding.embeddings.path in changed) == (way == "all")
    pretrained = {id(weight) for weight in model.network.pretrained_weights}
    assert pretrained == {id(weight) for weight in backbone.weights}
    assert all(weight.path in changed for weight in model.network.weights if id(weight) not in pretrained)


@pytest.mark.parametrize("pooling", mostly_thorough(POOLINGS, fast=["attention"]))
def test_fit_save_and_load(pooling, make, tmp_path):
    model = make(news_level_pooling=pooling, news_dim=8, epochs=1)
    files = write_files(tmp_path)
    model.fit(*files, *files, verbose=0)
    assert np.isfinite(model.history[-1]["loss"])
    model.save(tmp_path / "saved")
    loaded = UNBERTModel.load(tmp_path / "saved")
    loaded.set_news(toy_news())
    assert np.array_equal(loaded.score(IDS[:3], IDS), model.score(IDS[:3], IDS))


# === Limits ===


@pytest.mark.parametrize("size", [16, 128, 512])
def test_a_step_of_evaluation_stays_within_its_memory(size, make):
    predictor = make(input_size=20).network.click_predictor
    predictor.config["input_size"] = size
    predictor.plm.backbone.intermediate_dim, predictor.plm.backbone.num_heads = 3072, 12
    pairs = predictor.candidates_at_once
    assert 4 * pairs * size * max(3072, 12 * size) <= 150e6
    assert pairs * size > 2000


def test_there_are_no_vectors_of_news_or_users(make, tmp_path):
    model, files = make(), write_files(tmp_path)
    with pytest.raises(NoVectorError, match="no user vector by itself"):
        model.run_user(*files)
    with pytest.raises(NoVectorError, match="no vector"):
        model.run_news(files[0])


def test_what_does_not_fit_is_named(make):
    with pytest.raises(HParamsError, match=r"input_size: 40 pieces.*title_size 21"):
        make(title_size=21)
    with pytest.raises(HParamsError, match=r"news_encoder: 'cnn' reads no word pieces"):
        make(news_encoder="cnn")
    with pytest.raises(HParamsError, match="news_encoder: 'plm' needs plm"):
        make(plm=None)
