"""PP-Rec, GLORY and CROWN: what only their own inputs show, and that they learn."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest

from recommenders_miner.data.context import CONTEXT
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.datasets.synthetic.benchmark import write_synthetic_benchmark
from recommenders_miner.errors import HParamsError, NoVectorError
from recommenders_miner.hparams import prepare_hparams
from recommenders_miner.models import MODELS, load_model
from recommenders_miner.models.pp_rec import ContentPopularityEncoder, LevelEmbedding, PPRecUserEncoder
from recommenders_miner.retrieval.news_recall import NewsRecall
from tests.layers.layer_checks import gradients, randomise, tensor, to_numpy
from tests.models import reference_peers
from tests.models.reference import Reference
from tests.models.reference_parts import dense
from tests.models.toy import (
    IDS,
    WORDS,
    entities_of,
    fresh_toy_model,
    randomised,
    toy_dataset,
    toy_model,
    toy_news,
    unbuilt,
)

PEERS = ["crown", "glory", "pp-rec"]
DAY, HOUR = 86_400, 3600
START = 1_573_300_800


# === PP-Rec ===


def dated_news():
    """The toy's articles, published an hour after each other from the start on; of the last one that is not known."""
    plain = toy_news()
    columns = {name: getattr(plain, name).to_pylist()[1:] for name in ("category", "subcategory", "title_entities")}
    published = [START + HOUR * i for i in range(len(IDS) - 1)] + [None]
    return NewsTable.from_columns(IDS, plain.title.to_pylist()[1:], **columns, extra={"published": published})


def busy_log(news, impressions=40):
    """Impressions some minutes apart, in which the first articles are clicked more."""
    rng = np.random.default_rng(4)
    candidates = [rng.choice(len(IDS), 5, replace=False) for _ in range(impressions)]
    return ImpressionLog.from_columns(
        news,
        histories=[IDS[1 : 1 + rng.integers(0, 5)] for _ in range(impressions)],
        candidates=[[IDS[i] for i in shown] for shown in candidates],
        labels=[(shown == shown.min()).astype(int).tolist() for shown in candidates],
        time=(START + DAY + np.cumsum(rng.integers(60, 2 * HOUR, impressions))).tolist(),
    )


def assert_saved_as_it_is(model, folder):
    model.save(folder)
    again = load_model(folder)
    again.set_news(toy_news())
    assert np.array_equal(again.score(IDS[:3], IDS), model.score(IDS[:3], IDS))


@pytest.mark.parametrize("window", ["1h", "24h"])
def test_pp_rec_scores_what_is_known_at_each_impression(window):
    model = fresh_toy_model("pp-rec", click_rate_window=window, recency_hours=6.0, recency_levels=9)
    news = dated_news()
    log = busy_log(news)
    model.set_news(news)
    data = model.train_iterator.dataset(news, log)
    reference, expected, seen = Reference(model, "pp-rec"), [], []
    for impression, shown in enumerate(log.candidates):
        columns = data.context.of(np.full(len(shown), impression), shown)
        contexts = [dict(zip(CONTEXT, row.tolist(), strict=True)) for row in columns]
        history = [IDS[row - 1] for row in log.histories[log.history_of[impression]]]
        ids = [IDS[row - 1] for row in shown]
        expected += reference.score(history, ids, contexts=contexts).tolist()
        seen += [context[f"showings_{window}"] for context in contexts]
    assert max(seen) > 1
    assert model.score_log(data) == pytest.approx(expected, rel=1e-5, abs=2e-5)


def test_pp_rec_weighs_clicks_by_their_popularity_and_learns_it():
    """What the popularities change is in the weights alone, and a gradient reaches them."""
    encoder = PPRecUserEncoder(2, 3, attention_dim=4, levels=5, embedding_dim=3)
    rng = np.random.default_rng(1)
    vectors, popularity = rng.normal(size=(2, 4, 6)), rng.normal(size=(2, 4)) * 2
    mask = np.array([[True] * 4, [True, True, False, False]])
    inputs = {"vector": vectors, "popularity": popularity}

    def user(vector, popularity):
        return encoder.encode_history({"vector": vector, "popularity": popularity}, mask, None)

    user(tensor(vectors), tensor(popularity))
    randomise(encoder)
    found = gradients(lambda **t: keras.ops.sum(keras.ops.square(user(**t))), encoder, inputs)
    assert found["popularity"][mask].all()
    assert not found["popularity"][~mask].any()
    assert not found["vector"][~mask].any()
    weights = [
        to_numpy(encoder.attention_weights({"vector": tensor(vectors), "popularity": tensor(p)}, mask, None, None))
        for p in (popularity, -popularity)
    ]
    assert [w.sum(axis=-1) for w in weights] == [pytest.approx(np.ones((2, 1, 1)))] * 2
    assert not np.allclose(*weights)


def test_a_level_embedding_lies_between_those_of_its_neighbours():
    layer = LevelEmbedding(3, 2)
    layer(tensor([0.0]))
    rows = np.array([[0.0, 1], [10, 3], [30, -5]])
    layer.set_weights([rows])
    found = to_numpy(layer(tensor([[-7.0, 0.0, 0.25], [1.0, 1.5, 99.0]])))
    assert found.tolist() == [[[0, 1], [0, 1], [2.5, 1.5]], [[10, 3], [20, -1], [30, -5]]]


def test_pp_rec_leaves_users_without_clicks_the_news_popularity():
    model = toy_model("pp-rec")
    scores = model.score([], IDS)
    reference = Reference(model, "pp-rec")
    eta = reference_peers.sigmoid(reference_peers.tanh_network(np.zeros(8), reference.predictor.user_gate))
    popularity = [reference_peers.pp_rec_popularity(reference, one, reference_peers.NEVER_SHOWN) for one in IDS]
    assert scores == pytest.approx(eta * np.array(popularity), abs=1e-5)


def test_pp_recs_score_is_match_and_popularity():
    model = toy_model("pp-rec")
    explained = model.explain(IDS[:3], IDS)
    assert explained.interest_names == ("user", "popularity")
    assert explained.contributions.sum(axis=1) == pytest.approx(model.score(IDS[:3], IDS), abs=1e-5)
    assert explained.interest_weights.min() > 0
    assert np.ptp(explained.contributions, axis=0).min() > 1e-4


def test_pp_rec_is_not_searched_by_vectors_that_know_no_time():
    with pytest.raises(NoVectorError, match="depends on when an article is shown"):
        NewsRecall(toy_model("pp-rec"), toy_news())


def test_a_network_that_reads_a_context_is_saved_before_it_has_seen_any(tmp_path):
    model = toy_model("pp-rec")
    assert model.counts is None
    assert_saved_as_it_is(model, tmp_path)


def test_a_step_that_lacks_a_group_of_histories_has_a_context_all_the_same():
    model = toy_model("pp-rec")
    data = toy_dataset(model)
    batches = model.train_iterator.batches(data, model.network_features(data), 1, context=data.context)
    samples = [sample for step in range(batches.steps_per_epoch) for sample in batches[step][0]["samples"]]
    assert min(len(sample["row"]) for sample in samples) == 0
    assert all(sample["context"].shape == (*sample["candidates"].shape, len(CONTEXT)) for sample in samples)


def test_what_stands_around_a_news_encoder_reads_what_it_reads():
    model = toy_model("pp-rec")
    around = model.newsencoder
    assert isinstance(around, ContentPopularityEncoder)
    [inner] = around.parts
    assert (around.features, around.dim) == (inner.features, inner.dim)


# === GLORY ===


def wide_world(seed=2):
    """Articles and histories of which a training step has a small part, and a long way to go in the click graph."""
    rng = np.random.default_rng(seed)
    ids = [f"N{i}" for i in range(70)]
    titles = [" ".join(rng.choice(WORDS, rng.integers(1, 6))) for _ in ids]
    news = NewsTable.from_columns(ids, titles, title_entities=list(map(entities_of, titles)))
    log = ImpressionLog.from_columns(
        news,
        histories=[rng.choice(ids, rng.integers(0, 5), replace=False).tolist() for _ in range(50)],
        candidates=[rng.choice(ids, 4, replace=False).tolist() for _ in range(50)],
        labels=[[1, 0, 0, 0]] * 50,
        users=[f"U{i}" for i in range(50)],
    )
    return news, log


@functools.cache
def wide_glory(hops):
    news, log = wide_world()
    model = unbuilt("glory", graph_hops=hops, graph_neighbours=2, batch_size=2, length_groups=1)
    model.build(model.train_iterator.build_vocabularies(news, log))
    return randomised(model), model.train_iterator.dataset(news, log)


@pytest.mark.parametrize("hops", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_training_step_has_all_that_its_clicks_learn_from(hops):
    """Scores in training are those of evaluation, where every article is; a step with less than that has others."""
    model, data = wide_glory(hops)
    scores, wrong = model.score_log(data), []
    whole, cut = (model.train_iterator.batches(data, model.network_features(data), 0, hops=hops - k) for k in range(2))
    for step in range(whole.steps_per_epoch):
        impressions, candidates = whole.samples.of_step(step)
        shown = [
            data.log.candidates.offsets[k] + data.log.candidates[k].tolist().index(row)
            for k, rows in zip(impressions, candidates, strict=True)
            for row in rows
            if row
        ]
        inputs, _, _ = whole[step]
        assert sum(len(group["title"]) for group in inputs["news"]) < len(data.news) / 2
        found = to_numpy(model.network(inputs, training=False))
        assert found[candidates > 0] == pytest.approx(scores[shown], rel=1e-4, abs=1e-4)
        wrong.append(
            np.abs(to_numpy(model.network(cut[step][0], training=False))[candidates > 0] - scores[shown]).max()
        )
    assert max(wrong) > 0.01


@pytest.mark.parametrize("hops", [1, 2])
def test_glory_sees_as_far_as_its_hops(hops):
    model, data = wide_glory(hops)
    model.set_news(data.news)
    log = data.log
    reference = Reference(model, "glory")
    for impression in np.flatnonzero(log.histories.lengths[log.history_of] > 2)[:4]:
        history = [f"N{row - 1}" for row in log.histories[log.history_of[impression]]]
        candidates = [f"N{row - 1}" for row in log.candidates[impression]]
        expected = reference.score(history, candidates, log=log)
        assert model.score(history, candidates) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_glory_learns_of_what_others_clicked():
    """The graph that training saw is the model's, whatever it is asked about."""
    model = toy_model("glory")
    graph = model.vocabularies.click_graph
    assert graph.rows_before(toy_news()).any()
    assert graph.of_entity.any()
    features = model.network_features(toy_dataset(model))
    alone = {**features, "clicked_before": np.zeros_like(features["clicked_before"])}
    with_graph, without = (model.log_scorer.encode_news(of)["clicked"] for of in (features, alone))
    learnt = features["clicked_before"].any(axis=1)
    assert (np.abs(with_graph - without).max(axis=1) > 1e-3)[learnt].all()
    assert np.allclose(with_graph[~learnt], without[~learnt], atol=1e-5)
    assert set(model.encode_news(IDS[:1])) == {"vector", "clicked"}


def test_a_saved_glory_has_its_graph(tmp_path):
    assert_saved_as_it_is(toy_model("glory"), tmp_path)


def test_glory_is_searched_by_its_vectors():
    model = toy_model("glory")
    found = NewsRecall(model, toy_news(), keep_clicked=True).recommend(IDS[:3], k=len(IDS))
    expected = model.score(IDS[:3], [news_id for news_id, _ in found])
    assert [score for _, score in found] == pytest.approx(expected, abs=1e-4)
    assert (np.diff(expected) <= 1e-5).all()


# === CROWN ===


def test_crowns_loss_is_nce_plus_that_of_telling_categories():
    """From the network's own scores and vectors: each candidate's category, by the intents of its title."""
    model = fresh_toy_model("crown", dropout=0.0, category_loss=0.7, npratio=6, length_groups=1)
    inputs, labels, weights = model.training_batches(toy_dataset(model))[0]
    network, positions = model.network, inputs["samples"][0]["candidates"]
    scores = to_numpy(network(inputs, training=False))
    news = {name: np.array(array)[positions] for name, array in network.encode_news(inputs["news"][0]).items()}
    logits = dense(news["vector"][..., :5].astype("float64"), network.click_predictor.category)
    nce, of_category = [], []
    for row, real in enumerate(positions > 0):
        nce.append(np.log(np.exp(scores[row][real]).sum()) - scores[row, 0])
        own = np.take_along_axis(logits[row], news["category"][row][:, None], axis=1)[:, 0]
        of_category.append((np.log(np.exp(logits[row]).sum(axis=1)) - own)[real].mean())
    assert not (positions > 0).all(), "some candidates are padding, which has no category"
    model.compile(total_steps=1)
    loss = float(np.ravel(network.train_on_batch(inputs, labels, weights))[0])
    assert loss == pytest.approx(np.mean(nce) + 0.7 * np.mean(of_category), rel=1e-4)


def test_a_body_counts_as_far_as_it_keeps_what_the_title_says():
    model = toy_model("crown")
    ids, title = ["A", "B", "C"], "word1 word2 word3"
    news = NewsTable.from_columns(ids, [title] * 3, abstract=["", "word4 word5", "word6 word7"])
    vectors = model.encode_table(news)["vector"][1:]
    size = model.hparams.intent_dim
    assert np.allclose(vectors[:, :size], vectors[0, :size], atol=1e-6)
    assert not vectors[0, size : 2 * size].any()
    assert not np.allclose(vectors[1, size : 2 * size], vectors[2, size : 2 * size])


def test_crown_has_its_own_news_encoder_which_others_may_have():
    with pytest.raises(HParamsError, match="news_encoder is intents, not cnn"):
        toy_model("crown", news_encoder="cnn")
    model = toy_model("naml", news_encoder="intents", intent_dim=5, intent_num=2, feedforward_dim=6)
    assert len(np.unique(model.score(IDS[:3], IDS))) == len(set(toy_news().title.to_pylist()[1:]))


# === All ===


@pytest.mark.slow
@pytest.mark.parametrize("name", PEERS)
def test_training_on_the_synthetic_benchmark_goes_down(name, tmp_path):
    write_synthetic_benchmark(tmp_path, "tiny", 1)
    model = MODELS[name](prepare_hparams(name, scale="fast", epochs=4), seed=1)
    train, dev = ((tmp_path / split / "news.tsv", tmp_path / split / "behaviors.tsv") for split in ("train", "dev"))
    model.fit(*train, verbose=0)
    losses = [logs["loss"] for logs in model.history]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.95 * losses[0]
    assert model.run_eval(*dev)["group_auc"] > 0.55
