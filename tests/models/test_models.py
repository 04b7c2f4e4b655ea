"""What is particular to a model, and what users ask of any."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pyarrow as pa
import pytest

from recommenders_miner.data.features import NewsFeatures
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.errors import HParamsError, NoVectorError, UnknownNewsError
from recommenders_miner.hparams import hparams_class
from recommenders_miner.models import answers
from tests.models.toy import IDS, fresh_toy_model, toy_hparams, toy_log, toy_model, toy_news, unbuilt, write_files


def extended_news(ids, titles, **columns):
    """The toy news with some more; what the columns do not say is empty."""
    news = toy_news()
    names = ("category", "subcategory")
    return NewsTable.from_columns(
        ids=[*IDS, *ids],
        titles=[*news.title.to_pylist()[1:], *titles],
        **{n: [*getattr(news, n).to_pylist()[1:], *columns.get(n, [""] * len(ids))] for n in names},
    )


# === Particular models ===


def test_unknown_words_are_no_padding():
    table = NewsTable.from_columns(ids=["A", "B"], titles=["zyzzyva", "zyzzyva zyzzyva zyzzyva"])
    assert np.abs(toy_model("nrms").encode_table(table)["vector"][1]).max() > 0


def test_all_zero_category_vectors_weigh_nothing():
    weighted, plain = fresh_toy_model("miner"), fresh_toy_model("miner without categories")
    embedding = weighted.network.user_encoder.category_embedding.embeddings
    embedding.assign(np.zeros(embedding.shape))
    for source, target in (
        (weighted.network.news_encoder, plain.network.news_encoder),
        (weighted.network.user_encoder.poly_attention, plain.network.user_encoder.poly_attention),
        (weighted.network.click_predictor, plain.network.click_predictor),
    ):
        target.set_weights(source.get_weights())
    assert weighted.score(IDS[:4], IDS) == pytest.approx(plain.score(IDS[:4], IDS), abs=1e-6)


def test_category_weighting_uses_the_candidates_category_alone():
    model, same = toy_model("miner"), {}
    for category in ("category0", "category2"):
        title = toy_news().title[1].as_py()
        model.set_news(extended_news(["twin"], [title], category=[category], subcategory=["other"]))
        first, twin = model.score(IDS[1:5], ["N0", "twin"])
        same[category] = first == twin
    assert same == {"category0": True, "category2": False}


def test_an_article_without_an_abstract_has_no_such_view():
    model = toy_model("naml")
    assert model.newsencoder.features == ("title", "abstract", "category", "subcategory")
    news = NewsTable.from_columns(["N1", "N2"], ["word1", "word2"], abstract=["word3 word4", ""])
    views, seen = model.newsencoder.views(model.network.prepare(NewsFeatures(news, model.vocabularies, model.hparams)))
    assert views.shape == (3, 4, model.newsencoder.dim)
    assert keras.ops.convert_to_numpy(seen)[1:].tolist() == [[True] * 4, [True, False, True, True]]


def test_what_no_model_can_be_built_from_is_refused(tmp_path):
    for name, overrides, message in (
        ("npa", {"news_encoder": "self_attention"}, "NPA pools the words of a CNN"),
        ("nrms", {"news_encoder": "tfidf"}, "'tfidf' gives no news vectors"),
        ("deepfm", {"news_encoder": "cnn"}, "DeepFMModel reads tfidf, not cnn"),
        ("unbert", {"title_size": 21}, r"input_size: 40 pieces.*title_size 21"),
        ("unbert", {"news_encoder": "cnn"}, "news_encoder: 'cnn' reads no word pieces"),
        ("unbert", {"plm": None}, "Word pieces need plm"),
        ("miner plm", {"plm": None}, "Word pieces need plm"),
        ("miner", {"category_embedding": "plm"}, "category_embedding: 'plm' needs news_encoder: plm"),
        ("miner", {"category_embedding": "glove"}, "'glove' needs word_embedding"),
        ("miner joined", {"views": []}, "views: .*at least 1 item"),
        ("miner plm", {"plm_texts": []}, "plm_texts: .*at least 1 item"),
        ("nrms-plm", {"news_dim": 5}, r"user vector's dimension, is 8, and the news vector's is 5"),
    ):
        with pytest.raises(HParamsError, match=message):
            fresh_toy_model(name, **overrides)
    with pytest.raises(ValueError, match="add up to more than 1"):
        fresh_toy_model("hierec", topic_weight=0.5, subtopic_weight=0.6)
    with pytest.raises(HParamsError, match="has no vocabulary of news"):
        fresh_toy_model("libfm").build(toy_model("nrms").vocabularies)


def test_hyperparameters_of_one_model_are_of_one_class():
    """Or those of a loaded model would differ from those that it was trained with."""
    assert type(toy_hparams("deepfm")) is hparams_class("deepfm", "tfidf")


# === What users ask ===


@pytest.fixture
def files(tmp_path):
    return write_files(tmp_path)


def test_models_without_vectors_of_articles_or_users_say_so(files):
    for name, message in (("npa", "NPAModel has no vector of an article"), ("unbert", "no vector")):
        with pytest.raises(NoVectorError, match=message):
            toy_model(name).run_news(files[0])
    for name, message in (("dkn", "depends on the candidate"), ("unbert", "no user vector by itself")):
        with pytest.raises(NoVectorError, match=message):
            toy_model(name).run_user(*files)
    assert toy_model("npa").run_user(*files)[0].shape == (6,)
    assert toy_model("hierec").run_user(*files)[0].shape == (8,)
    assert toy_model("miner").run_user(*files)[0].shape == (3, 8)


def test_run_slow_eval_and_run_fast_eval_agree_on_files(files):
    model = toy_model("miner")
    indices, labels, fast = model.run_fast_eval(*files)
    _, slow_labels, slow = model.run_slow_eval(*files)
    assert indices == list(range(len(fast)))
    for a, b, x, y in zip(fast, slow, labels, slow_labels, strict=True):
        assert a == pytest.approx(b, abs=1e-5)
        assert np.array_equal(x, y)
    assert set(model.run_eval(*files)) == {"group_auc", "mean_mrr", "ndcg@5", "ndcg@10"}


def test_run_news_and_run_user_give_what_score_multiplies(files):
    model = toy_model("nrms")
    news, users = model.run_news(files[0]), model.run_user(*files)
    data = model.read(*files)
    _, _, scores = model.run_fast_eval(*files)
    for impression, rows in enumerate(data.log.candidates):
        expected = [news[row] @ users[impression] for row in rows]
        assert scores[impression] == pytest.approx(expected, abs=1e-5)


def test_recommend_leaves_out_what_was_clicked_and_sorts():
    model = toy_model("nrms")
    best = model.recommend(IDS[:3], k=20)
    assert [score for _, score in best] == sorted((score for _, score in best), reverse=True)
    expected = dict(zip(IDS[3:], model.score(IDS[:3], IDS[3:]).tolist(), strict=True))
    assert dict(best) == pytest.approx(expected, abs=1e-6)
    assert [news_id for news_id, _ in model.recommend([], pool=["N4", "N5"], k=1)] in (["N4"], ["N5"])
    assert model.recommend(IDS[:2], pool=IDS[:2]) == []


@pytest.mark.parametrize("name", ["miner", "nrms", "lstur", "glory", "libfm"])
def test_recommend_all_gives_each_user_what_recommend_does(name, monkeypatch):
    monkeypatch.setattr(answers, "_SCORES_AT_ONCE", 2 * len(IDS))  # two users at once, then the rest
    model, pool = toy_model(name), IDS[1:] + IDS[1:3]
    histories, users = [IDS[:2], [], IDS[3:4], IDS, IDS[:2]], ["U1", None, "U2", "U1", "nobody"]
    together = model.recommend_all(histories, pool, 4, users)
    alone = [model.recommend(*one, k=4, user=user) for *one, user in zip(histories, [pool] * 5, users, strict=True)]
    for one, other in zip(together, alone, strict=True):
        assert [news_id for news_id, _ in one] == [news_id for news_id, _ in other]
        assert dict(one) == pytest.approx(dict(other), abs=1e-5)
    assert [len(found) for found in together] == [4, 4, 4, 0, 4]
    assert model.recommend_all([]) == []


@pytest.mark.parametrize("name", ["miner", "miner max", "nrms", "naml", "hierec", "lstur", "caum"])
def test_a_user_without_a_history_gets_what_is_popular_and_then_the_newest(name):
    model = toy_model(name)
    log = toy_log(toy_news())
    showings, clicks = (
        np.bincount(log.candidates.values[which], minlength=13) for which in (slice(None), log.labels == 1)
    )
    usual = log.labels.mean()
    rate = {f"N{row}": (clicks[row + 1] + 100 * usual) / (showings[row + 1] + 100) for row in range(12)}
    popular = sorted((news_id for news_id in IDS if rate[news_id] > usual + 1e-12), key=lambda one: -rate[one])
    model.set_news(dataclasses.replace(toy_news(), extra=pa.table({"published": [None, *range(12)]})))
    others = [news_id for news_id in reversed(IDS) if news_id not in popular]
    assert 2 < len(popular) < 10
    assert [news_id for news_id, _ in model.recommend([], k=12)] == popular + others
    assert [news_id for news_id, _ in model.recommend(["gone"], k=12, on_error="skip")] == popular + others


def test_clicks_on_articles_that_are_gone_are_an_error_or_passed_over():
    model = toy_model("nrms")
    with pytest.raises(UnknownNewsError, match="'gone'"):
        model.recommend(["gone", *IDS[:2]])
    expected = model.recommend(IDS[:2], IDS[4:])
    assert model.recommend(["gone", *IDS[:2]], ["away", *IDS[4:]], on_error="skip") == expected
    assert model.recommend(["gone"], ["away"], on_error="skip") == []


def test_scores_are_those_of_the_weights_as_they_are(tmp_path, files):
    model = fresh_toy_model("nrms", epochs=2)
    model.set_news(toy_news())
    first = model.score(IDS[:2], IDS)
    model.model.save_weights(tmp_path / "first")
    during = []
    asked = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: during.append(model.score(IDS[:2], IDS)))
    model.fit(*files, verbose=0, callbacks=[asked])
    assert not np.array_equal(during[0], during[1])
    assert np.array_equal(during[1], model.score(IDS[:2], IDS))
    model.set_news(toy_news())
    assert np.array_equal(during[1], model.score(IDS[:2], IDS))
    model.model.load_weights(tmp_path / "first")
    assert np.array_equal(first, model.score(IDS[:2], IDS))


def test_without_clicks_in_training_equal_scores_stay_in_order():
    model, built = unbuilt("nrms"), toy_model("nrms")
    model.adopt(
        built.network, Vocabularies({name: of for name, of in built.vocabularies.parts.items() if name != "popular"})
    )
    model.set_news(toy_news())
    assert [news_id for news_id, _ in model.recommend([], k=12)] == IDS


def test_encode_news_gives_what_the_rest_of_the_network_reads():
    model = toy_model("nrms")
    history, candidates = model.encode_news(IDS[:3])["vector"], model.encode_news(["N9", "N4"])["vector"]
    user = model.userencoder.encode_history({"vector": history[None]}, np.ones((1, 3), bool), None)
    expected = candidates @ keras.ops.convert_to_numpy(user)[0]
    assert model.score(IDS[:3], ["N9", "N4"]) == pytest.approx(expected, abs=1e-5)
    assert set(toy_model("hierec").encode_news(IDS[:1])) == {"vector", "category", "subcategory"}
    with pytest.raises(UnknownNewsError, match="'N99'"):
        model.encode_news(["N99"])


def test_recommenders_names_for_the_network_and_its_parts(tmp_path):
    model, other = toy_model("nrms"), fresh_toy_model("nrms", seed=2)
    model.model.save_weights(tmp_path / "all.weights.h5")
    other.model.load_weights(tmp_path / "all.weights.h5")
    assert np.array_equal(other.score(IDS[:3], IDS), model.score(IDS[:3], IDS))
    assert model.scorer is model.network
    assert model.newsencoder is model.network.news_encoder
    assert model.userencoder is model.network.user_encoder
