"""Context beside a model: scores against numpy, in training and evaluation alike, explained, saved, gone on from."""

import dataclasses
import functools
import math

import numpy as np
import pytest

from recommenders_miner.data.context import CONTEXT, PRIOR_SHOWINGS, Context
from recommenders_miner.evaluation.scoring import score_directly
from recommenders_miner.models import load_model
from recommenders_miner.retrieval.news_recall import NewsRecall
from tests.models.reference_parts import dense, sigmoid
from tests.models.toy import IDS, fresh_toy_model, some_slow, toy_log, toy_news, write_files

NAMES = ["miner", "nrms", "hierec", "dkn", "libfm", "naml", "unbert", "lstur-plm", "caum", "npa"]
every_kind = pytest.mark.parametrize("name", some_slow(NAMES, fast=["miner", "dkn"]))


def timed(log, seed=0):
    hours = np.random.default_rng(seed).integers(0, 50, len(log))
    return dataclasses.replace(log, time=1_573_300_800 + 3600 * np.sort(hours))


@functools.cache
def in_context(name):
    """A model with what it counted of a log, and that log."""
    model = fresh_toy_model(name, context="gated")
    log = timed(toy_log(toy_news(), impressions=40))
    model.go_on_from(Context.of_log(log, model.news).counts())
    return model, log


def plain_score(match, columns, vector, usual, predictor):
    """s = (1 - η) (s_m + s_a) + η s_p of one candidate."""
    x = dict(zip(CONTEXT, columns, strict=True))
    rate = x["click_rate"]
    features = [math.log1p(max(x["age"], 0)) / 3, float(x["age"] < 0), x["click_rate_rank"]]
    features += [math.log1p(x["showings"]) / 5, math.log1p(x["clicks"]) / 3, math.log(rate / 0.04)]
    for window in ("1h", "6h", "24h"):
        showings, clicks = x[f"showings_{window}"], x[f"clicks_{window}"]
        recent = (clicks + PRIOR_SHOWINGS * rate) / (showings + PRIOR_SHOWINGS)
        features += [math.log1p(showings) / 5, math.log(recent / 0.04)]
    score = predictor.context_score
    hidden = dense(np.array(features), score.hidden) + vector @ np.array(score.of_content.kernel)
    of_context = float((np.tanh(hidden) @ np.array(score.output_layer.kernel))[0])
    since, day, week = x["days_since_click"], 2 * math.pi * x["hour"] / 24, 2 * math.pi * x["weekday"] / 7
    user = [math.log1p(x["user_clicks"]) / 3, math.exp(-max(since, 0)), float(since < 0)]
    user += [math.sin(day), math.cos(day), math.sin(week), math.cos(week)]
    labels = [x["clicks_in_category"], x["clicks_in_subcategory"]]
    labels = [*map(math.log1p, labels), *(clicks / max(x["user_clicks"], 1) for clicks in labels)]
    counted = [x["clicks_in_category"], x["clicks_in_subcategory"]]
    expected = [x["expected_in_category"], x["expected_in_subcategory"]]
    labels += [math.log((n + 0.5) / (e + 0.5)) for n, e in zip(counted, expected, strict=True)]
    hidden = dense(np.array(labels), predictor.affinity_hidden) + usual
    affinity = np.tanh(hidden) @ np.array(predictor.affinity.kernel)
    share = sigmoid(dense(np.tanh(dense(np.array(user), predictor.gate_hidden)), predictor.gate))[0]
    return (1 - share) * (match + float(affinity[0])) + share * of_context


def test_a_score_is_that_of_matching_and_of_the_context_in_the_gates_shares():
    model, _ = in_context("miner")
    history = IDS[1:5]
    log = model.log_of_now([history], IDS, "U1")
    columns = model.context_of_now(log).of(np.zeros(len(IDS), int), log.candidates.values)
    assert len(np.unique(columns[:, CONTEXT.index("click_rate")])) > 5
    predictor = model.network.click_predictor
    matching = fresh_toy_model("miner")
    matching.network.news_encoder.set_weights(model.network.news_encoder.get_weights())
    matching.network.user_encoder.set_weights(model.network.user_encoder.get_weights())
    matching.network.click_predictor.set_weights(predictor.matching.get_weights())
    news = model.encode_news(IDS)
    usual = sum(np.array(predictor.of_label[label].embeddings)[news[label]] for label in ("category", "subcategory"))
    of_candidates = zip(matching.score(history, IDS), columns, news["vector"], usual, strict=True)
    expected = [plain_score(*of_candidate, predictor) for of_candidate in of_candidates]
    assert model.score(history, IDS, "U1") == pytest.approx(expected, rel=1e-5, abs=1e-5)


@every_kind
def test_evaluation_scores_any_model_in_context_as_training_does(name):
    model, _ = in_context(name)
    log = timed(toy_log(model.news, seed=3, impressions=20), seed=1)
    data = dataclasses.replace(model.test_iterator.dataset(model.news, log))
    assert data.earlier is model.counts
    features = model.network_features(data)
    direct = score_directly(model.network, features, log, data.users, model.hparams.his_size, data.context)
    assert model.score_log(data) == pytest.approx(direct, rel=1e-5, abs=1e-5)
    assert len(np.unique(direct)) > len(direct) / 2


def test_an_explanation_adds_up_with_the_context_as_one_more_interest():
    model, _ = in_context("nrms")
    found = model.explain(IDS[:3], IDS[4:8])
    assert [*found.interest_names[-2:]] == ["labels", "context"]
    assert (found.interest_scores * found.interest_weights).sum(axis=-1) == pytest.approx(found.scores, abs=1e-5)
    assert found.scores == pytest.approx(model.score(IDS[:3], IDS[4:8]), abs=1e-5)
    if found.attention is not None:
        assert not found.attention[:, -2:].any()
        assert found.attention[:, :-2].any()


def test_a_saved_model_goes_on_from_what_it_counted_in_training(tmp_path):
    files = write_files(tmp_path)
    model = fresh_toy_model("nrms", context="gated", epochs=1)
    model.fit(*files, *files, verbose=0)
    assert model.counts[0].clicks[-1] > 0
    model.save(tmp_path / "saved")
    loaded = load_model(tmp_path / "saved")
    loaded.set_news(model.news)
    assert loaded.score(IDS[:3], IDS).tolist() == model.score(IDS[:3], IDS).tolist()
    assert loaded.run_eval(*files) == model.run_eval(*files)
    plain = fresh_toy_model("nrms", context="gated")
    plain.network.set_weights(model.network.get_weights())
    assert plain.score(IDS[:3], IDS).tolist() != model.score(IDS[:3], IDS).tolist()


def test_a_pool_is_searched_by_the_match_and_reranked_in_context():
    model, log = in_context("nrms")
    found = NewsRecall(model, model.news, rerank=len(IDS)).recommend(IDS[:2], k=5, time=int(log.time.max()))
    assert dict(found) == pytest.approx(dict(model.recommend(IDS[:2], k=5)), abs=1e-5)
