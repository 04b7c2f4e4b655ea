"""Every model's scores: equal to the paper's equations, and to themselves however the work is cut."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest

from recommenders_miner.data.features import length_feature
from recommenders_miner.data.news import NewsTable
from recommenders_miner.encoders import whole_table
from recommenders_miner.encoders.whole_table import NetworkPart
from recommenders_miner.evaluation import scoring
from recommenders_miner.evaluation.scoring import LogScorer, score_directly
from recommenders_miner.models import MODELS
from tests.models.reference import Reference
from tests.models.toy import (
    EVERY_MODEL,
    IDS,
    MODEL_NAMES,
    STILL,
    TOYS,
    every_model,
    every_toy,
    fresh_toy_model,
    some_slow,
    toy_dataset,
    toy_model,
    toy_news,
)

HISTORIES = ([], IDS[:1], IDS[2:5], IDS[1:10])
CLOSE = {"rel": 1e-5, "abs": 2e-5}
STRANGER = '[{"WikidataId": "Q999", "OccurrenceOffsets": [0, 40], "SurfaceForms": ["never seen", "beyond the title"]}]'


def test_every_model_is_checked():
    assert sorted(EVERY_MODEL) == sorted(MODELS)
    assert {name.split()[0] for name in TOYS} == set(MODELS)


@functools.cache
def dataset(name):
    return toy_dataset(toy_model(name))


@functools.cache
def features(name):
    return toy_model(name).network_features(dataset(name))


@functools.cache
def fast(name):
    """What evaluation scores: each article, history and category once."""
    return toy_model(name).score_log(dataset(name))


def directly(name, his_size=None, **changed):
    """What the network scores as it is trained."""
    model, data = toy_model(name), dataset(name)
    table = {**features(name), **changed}
    return score_directly(model.network, table, data.log, data.users, his_size or model.hparams.his_size, data.context)


direct = functools.cache(directly)


@every_toy
def test_score_is_the_papers(name):
    model = toy_model(name)
    reference = Reference(model, name)
    for history in HISTORIES:
        expected = reference.score(history, IDS, "U1")
        assert model.score(history, IDS, user="U1") == pytest.approx(expected, **CLOSE)
    assert len(np.unique(expected)) > len(IDS) / 2


@every_model
def test_evaluation_scores_as_training_does(name):
    assert fast(name) == pytest.approx(direct(name), rel=1e-5, abs=1e-5)


@every_model
def test_a_candidates_score_does_not_depend_on_its_company(name):
    model, log = toy_model(name), dataset(name).log
    together = model.score(IDS[:4], IDS)
    assert [model.score(IDS[:4], [one])[0] for one in IDS[:4]] == pytest.approx(together[:4], **CLOSE)
    ids = toy_news().ids.to_pylist()
    history = [ids[row] for row in log.histories[log.history_of[0]]]
    user = log.users[int(log.user_of[0])].as_py()
    for candidate, expected in zip(log.candidates[0][:3], direct(name), strict=False):
        assert model.score(history, [ids[candidate]], user) == pytest.approx([expected], **CLOSE)


@every_model
def test_padding_behind_a_title_never_changes_a_score(name):
    wide = {
        feature: np.pad(array, [(0, 0), (0, 3), *[(0, 0)] * (array.ndim - 2)])
        for feature, array in features(name).items()
        if length_feature(feature)
    }
    assert wide or name == "lstur-plm", "whose vectors are computed once"
    assert directly(name, **wide) == pytest.approx(direct(name), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("name", [name for name in EVERY_MODEL if name != "unbert"])
def test_padding_behind_a_history_never_changes_a_score(name):
    log = dataset(name).log
    short = np.repeat(log.histories.lengths[log.history_of] <= 5, log.candidates.lengths)
    wide = directly(name, his_size=12)
    assert wide[short] == pytest.approx(direct(name)[short], rel=1e-5, abs=1e-5)
    assert not np.allclose(wide[~short], direct(name)[~short])


@every_model
def test_only_the_newest_clicks_count(name):
    model = toy_model(name)
    assert np.array_equal(model.score(IDS[:9], IDS), model.score(IDS[4:9], IDS))
    assert not np.allclose(model.score(IDS[:9], IDS), model.score(IDS[:5], IDS))


@pytest.mark.parametrize("name", ["miner", "miner without categories", "libfm", "deepfm", "naml"])
def test_the_order_of_the_history_does_not_matter_to_some(name):
    model = toy_model(name)
    assert model.score(IDS[:5], IDS) == pytest.approx(model.score(IDS[4::-1], IDS), abs=1e-5)


@pytest.mark.parametrize("name", ["miner", "nrms", "naml", "npa", "hierec"])
def test_no_history_scores_zero(name):
    assert np.array_equal(toy_model(name).score([], IDS), np.zeros(len(IDS), "float32"))


@every_model
def test_unknown_users_words_entities_and_categories_are_scored(name):
    model = toy_model(name)
    extended = {
        "titles": ("title", ["never seen before", ""]),
        "category": ("category", ["unheard", ""]),
        "subcategory": ("subcategory", ["unheard", ""]),
        "abstract": ("abstract", ["never seen before either", ""]),
        "title_entities": ("title_entities", [STRANGER, ""]),
    }
    columns = {key: [*getattr(toy_news(), own).to_pylist()[1:], *more] for key, (own, more) in extended.items()}
    model.set_news(NewsTable.from_columns(ids=[*IDS, "X1", "X2"], **columns))
    candidates = ["X1", *IDS]
    scores = model.score(["X1", "N3"], candidates, user="nobody")
    assert scores == pytest.approx(Reference(model, name).score(["X1", "N3"], candidates, "nobody"), **CLOSE)
    assert np.isfinite(model.score(["X1", "X2"], ["X2", *candidates], user="nobody")).all()


@pytest.mark.parametrize("name", ["lstur", "lstur-plm", "npa", "libfm", "deepfm"])
def test_unknown_users_are_all_alike(name):
    nobody, someone, known = (toy_model(name).score(IDS[:3], IDS, user) for user in ("nobody", "someone", "U1"))
    assert np.array_equal(nobody, someone)
    assert not np.allclose(nobody, known)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_scores_are_raw(name):
    """A sigmoid, whose float32 ends in ties at 0 and 1, would not leave scores of this size apart."""
    model = fresh_toy_model(name, **STILL)
    for weight in model.network.weights:
        weight.assign(np.array(weight) * 4)
    model.set_news(toy_news())
    scores = model.score(IDS[:4], IDS, "U1")
    assert len(set(scores.tolist())) == len(set(toy_news().title.to_pylist()[1:]))
    assert np.abs(scores).max() > 10


# === What evaluation computes ===


def scorer_of(name, **options):
    model = toy_model(name)
    return LogScorer(model.network, model.hparams.his_size, user_aware=model.user_aware, **options)


def watch(monkeypatch, part, see):
    """Show `see` every batch of a part of the network."""
    step = part.predict_on_batch
    monkeypatch.setattr(part, "predict_on_batch", lambda batch: (see(batch), step(batch))[1])


@every_model
def test_evaluation_encodes_each_article_and_each_user_once_and_scores_in_bulk(name, monkeypatch):
    model, data = toy_model(name), toy_dataset(toy_model(name), impressions=60)
    scorer, articles, users, calls = scorer_of(name, news_batch=5), [], [], []
    for module in (scoring, whole_table):
        monkeypatch.setattr(module, "padded_size", lambda size: size)
    watch(monkeypatch, scorer.news_part, lambda batch: articles.append(len(next(iter(batch["features"].values())))))
    watch(monkeypatch, scorer.user_part, lambda batch: users.append(len(batch["user"])))
    news = scorer.encode_news(model.network_features(data))
    for part in vars(scorer).values():
        if isinstance(part, NetworkPart):
            watch(monkeypatch, part, calls.append)
    scorer.score(news, data.log, data.users, context=data.context)
    assert sum(articles) == len(data.news)
    own = {(h, u if model.user_aware else 0) for h, u in zip(data.log.history_of, data.log.user_of, strict=True)}
    assert sum(users) == len(own) < len(data.log)
    history_lengths, candidate_lengths = 5, 4
    assert 0 < len(calls) <= history_lengths * (2 + candidate_lengths)


@pytest.mark.parametrize(("at_once", "of_a_user"), [(1, 1), (3, 3), (7, 2)])
@pytest.mark.parametrize("name", some_slow(["miner", "npa", "dkn"], fast=["miner"]))
def test_scores_do_not_depend_on_how_many_are_computed_at_once(name, at_once, of_a_user, monkeypatch):
    data, scorer, largest = dataset(name), scorer_of(name), []
    scorer.candidates_at_once, scorer.candidates_of_a_user = at_once, of_a_user
    watch(monkeypatch, scorer.score_part, lambda batch: largest.append(batch["candidates"].size))
    scores = scorer.score(scorer.encode_news(features(name)), data.log, data.users)
    assert scores == pytest.approx(fast(name), rel=1e-5, abs=1e-6)
    assert max(largest) <= (at_once if keras.backend.backend() == "tensorflow" else 4 * at_once)


@pytest.mark.parametrize(
    "name", some_slow(["miner plm", "libfm", "deepfm", "nrms", "hierec", "pp-rec"], fast=["nrms", "libfm"])
)
def test_bfloat16_scores_about_the_same(name):
    half = toy_model(name, precision="bfloat16")
    data = toy_dataset(half)
    close = pytest.approx(fast(name), abs=0.05 * float(np.abs(fast(name)).max()))
    assert half.score_log(data) == close
    table = half.network_features(data)
    direct = score_directly(half.network, table, data.log, data.users, half.hparams.his_size, data.context)
    assert direct == close
    assert name != "libfm" or half.score_log(data) == pytest.approx(direct, rel=1e-5)
    assert name == "libfm" or not np.array_equal(half.score_log(data), fast(name))
