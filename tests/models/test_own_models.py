"""What a model of one's own may ask for: columns of the source, the time of the impression, negatives of one's own."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from recommenders_miner import models
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.sampling import PopularityNegatives, TrainingSamples
from recommenders_miner.encoders import build_encoder
from recommenders_miner.errors import HParamsError
from recommenders_miner.evaluation.scoring import score_directly
from recommenders_miner.hparams import hparams_class, prepare_hparams
from recommenders_miner.models import MODELS, BaseModel, ClickPredictor, NewsRecommender
from recommenders_miner.models.base import register
from recommenders_miner.models.naml import NAMLUserEncoder
from tests.models.toy import IDS, SIZES, fresh_toy_model, toy_log, toy_model, toy_news

DAY = 86_400
PUBLISHED = [DAY * (i + 1) for i in range(len(IDS) - 1)] + [None]


class NewestFirst(ClickPredictor):
    """Scores a candidate by its age alone, 1000 where that is not known."""

    columns = ("age",)

    def call(self, users, candidates, mask=None, training=None):
        age = candidates["age"]
        return ops.where(age < 0, 1000.0, -age) + 0.0 * ops.sum(candidates["vector"], axis=-1)


@pytest.fixture
def newest_first():
    @register("newest-first", paper="none", year=2026)
    class NewestFirstModel(BaseModel):
        def build_network(self, hparams, vocabularies, vectors):
            encoder = build_encoder(hparams, vocabularies, vectors)
            return NewsRecommender(encoder, NAMLUserEncoder(5), NewestFirst())

    yield NewestFirstModel
    del MODELS["newest-first"]
    hparams_class.cache_clear()


def test_a_class_of_ones_own_may_have_the_name_of_one_that_is_there(tmp_path):
    @register("other-nrms", paper="none", year=2026)
    class NRMSModel(models.NRMSModel):
        pass

    try:
        for name in ("nrms", "other-nrms"):
            model = fresh_toy_model("nrms", model_type=name, seed=np.int64(3))
            model.save(tmp_path / name)
            assert type(models.load_model(tmp_path / name)) is MODELS[name]
    finally:
        del MODELS["other-nrms"]
        hparams_class.cache_clear()


def dated_news():
    plain = toy_news()
    columns = {name: getattr(plain, name).to_pylist()[1:] for name in ("category", "subcategory")}
    return NewsTable.from_columns(IDS, plain.title.to_pylist()[1:], **columns, extra={"published": PUBLISHED})


def test_an_articles_age_at_the_impression_reaches_any_model_that_asks(newest_first):
    news = dated_news()
    log = ImpressionLog.from_columns(
        news,
        histories=[IDS[:2], IDS[:2], []],
        candidates=[IDS[4:8], IDS[4:8], [*IDS[3:6], IDS[-1]]],
        labels=[[1, 0, 0, 0]] * 3,
        time=[10 * DAY, 20 * DAY, 5 * DAY],
    )
    model = newest_first(prepare_hparams(model_type="newest-first", **SIZES), seed=1)
    model.build(model.train_iterator.build_vocabularies(news, log))
    data = model.train_iterator.dataset(news, log)
    hours = [[24 * max(day - (i + 1), 0) for i in shown] for day, shown in ((10, range(4, 8)), (20, range(4, 8)))]
    hours.append([24 * max(5 - (i + 1), 0) for i in range(3, 6)])
    expected = [-hour for impression in hours for hour in impression] + [1000]
    assert model.score_log(data).tolist() == expected, "the same history and article at two times have two scores"
    features = model.network_features(data)
    direct = score_directly(model.network, features, log, data.users, model.hparams.his_size, data.context)
    assert direct.tolist() == expected
    model.compile(1)
    inputs, _, weights = model.training_batches(data)[0]
    clicks = [-hours[0][0], -hours[1][0], -hours[2][0]]
    assert sorted(np.array(model.network(inputs))[weights > 0, 0].tolist()) == sorted(clicks)


def test_a_model_asked_without_a_time_is_asked_as_of_the_newest_article(newest_first):
    news = dated_news()
    model = newest_first(prepare_hparams(model_type="newest-first", **SIZES), seed=1)
    model.build(model.train_iterator.build_vocabularies(news, toy_log(news)))
    model.set_news(news)
    assert model.score([], [IDS[-2], IDS[-3]]).tolist() == [0, -24]


@pytest.mark.parametrize("name", ["impression", "popularity", "mine"])
def test_negatives_are_a_named_strategy_or_ones_own(name):
    news = toy_news()
    log = toy_log(news)

    def always_the_last(log):
        return lambda impressions, count, rng: np.full((len(impressions), count), len(IDS), "int32")

    model = toy_model("nrms", negatives="impression" if name == "mine" else name)
    data = model.train_iterator.dataset(news, log)
    samples = model.training_batches(data, always_the_last if name == "mine" else None).samples
    for step in range(samples.steps_per_epoch):
        impressions, candidates = samples.of_step(step)
        for impression, (click, *negatives) in zip(impressions, candidates, strict=True):
            shown = log.candidates[impression]
            clicked = set(shown[log.labels[log.candidates.offsets[impression] :][: len(shown)] == 1])
            assert click in clicked
            drawn = [negative for negative in negatives if negative]
            assert name == "mine" or len(set(drawn)) == len(drawn)
            assert not clicked & set(drawn) or name == "mine"
            if name == "impression":
                assert set(drawn) <= set(shown)
            if name == "mine":
                assert drawn == [len(IDS)] * 2


def test_an_unknown_strategy_is_named():
    with pytest.raises(HParamsError, match="negatives: expected one of impression, popularity, got 'hard'"):
        TrainingSamples(toy_log(toy_news()), 4, 2, negatives="hard")


def test_popular_negatives_are_drawn_as_often_as_they_are_shown():
    news = NewsTable.from_columns(["A", "B", "C"], ["a", "b", "c"])
    log = ImpressionLog.from_columns(news, [[]] * 17, [["A", "B"]] * 16 + [["A", "C"]], [[1, 0]] * 17)
    drawn = PopularityNegatives(log)(np.zeros(4000, int), 1, np.random.default_rng(0))
    drawn = drawn[drawn > 0]  # of few articles, none may be found that fits
    assert set(drawn) == {2, 3}, "the impression's click is never drawn"
    assert len(drawn) > 3600
    assert (drawn == 2).mean() == pytest.approx(16**0.75 / (16**0.75 + 1), abs=0.02)
