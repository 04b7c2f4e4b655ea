"""Every model's scores: equal to the paper's equations, and to themselves however the work is cut."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest

from recommenders_miner.compat.iterator import MINDIterator
from recommenders_miner.data.features import NewsFeatures, length_feature
from recommenders_miner.data.news import NewsTable
from recommenders_miner.encoders import whole_table
from recommenders_miner.encoders.whole_table import NetworkPart
from recommenders_miner.errors import HParamsError, NoVectorError, UnknownNewsError
from recommenders_miner.evaluation import scoring
from recommenders_miner.evaluation.scoring import LogScorer, score_directly
from tests.models.reference import Reference
from tests.models.toy import IDS, MODEL_NAMES, fresh_toy_model, toy_log, toy_model, toy_news
from tests.thoroughness import mostly_thorough

VARIANTS = [
    ("nrms", {}),
    ("lstur", {"type": "ini"}),
    ("lstur", {"type": "con"}),
    ("naml", {}),
    ("npa", {}),
    ("dkn", {}),
    ("libfm", {}),
    ("deepfm", {}),
    ("hierec", {}),
    ("hierec", {"topic_weight": 0.6, "subtopic_weight": 0.1}),
    *(("miner", {"aggregation": mode}) for mode in ("max", "mean", "weighted")),
    *(("miner", {"aggregation": mode, "category_weighting": False}) for mode in ("max", "mean", "weighted")),
    ("miner", {"num_interests": 1}),
]
variants = pytest.mark.parametrize(("name", "overrides"), VARIANTS, ids=lambda v: str(v).replace("'", ""))
ONE_OF_EACH = [("nrms", {}), ("lstur", {"type": "con"}), ("npa", {}), ("dkn", {}), ("deepfm", {}), ("hierec", {})]
variants_in_time = pytest.mark.parametrize(
    ("name", "overrides"),
    mostly_thorough(VARIANTS, fast=[*ONE_OF_EACH, ("miner", {"aggregation": "weighted"})]),
    ids=lambda v: str(v).replace("'", ""),
)
every_model = pytest.mark.parametrize("name", MODEL_NAMES)


def dataset(model, log=None):
    iterator = MINDIterator(model.hparams, vocabularies=model.vocabularies)
    news = toy_news()
    return iterator.dataset(news, log or toy_log(news))


@variants
def test_score_is_the_papers(name, overrides):
    model = toy_model(name, **overrides)
    reference = Reference(model, name)
    for history in ([], IDS[:1], IDS[2:5], IDS[1:10]):
        assert model.score(history, IDS, user="U1") == pytest.approx(reference.score(history, IDS), rel=1e-5, abs=2e-5)


@variants
def test_evaluation_scores_as_training_does(name, overrides):
    """The fast path (each news, history and category once; identities 1 and 2) against the network as it is trained."""
    model = toy_model(name, **overrides)
    data = dataset(model)
    direct = score_directly(model.network, model.network_features(data), data.log, data.users, model.hparams.his_size)
    assert model.score_log(data) == pytest.approx(direct, rel=1e-5, abs=1e-5)


@variants_in_time
def test_a_candidates_score_does_not_depend_on_its_company(name, overrides):
    model = toy_model(name, **overrides)
    together = model.score(IDS[:4], IDS)
    alone = [model.score(IDS[:4], [candidate])[0] for candidate in IDS]
    assert alone == pytest.approx(together, rel=1e-5, abs=1e-6)
    data = dataset(model)
    direct = score_directly(model.network, model.network_features(data), data.log, data.users, 5)
    for impression in range(3):
        slots = slice(data.log.candidates.offsets[impression], data.log.candidates.offsets[impression + 1])
        row = data.log.history_of[impression]
        history = data.log.histories[row]
        ids = data.news.ids.to_pylist()
        user = data.log.users[int(data.log.user_of[impression])].as_py()
        for slot in range(slots.start, slots.stop):
            one = model.score([ids[r] for r in history], [ids[data.log.candidates.values[slot]]], user)[0]
            assert one == pytest.approx(direct[slot], rel=1e-5, abs=1e-5)


@variants
def test_padding_behind_a_title_never_changes_a_score(name, overrides):
    model = toy_model(name, **overrides)
    data = dataset(model)
    features = model.network_features(data)
    wide = {n: np.pad(f, [(0, 0), (0, 3)]) if length_feature(n) else f for n, f in features.items()}
    narrow, padded = (score_directly(model.network, f, data.log, data.users, 5) for f in (features, wide))
    assert narrow == pytest.approx(padded, rel=1e-5, abs=1e-6)


@variants
def test_padding_behind_a_history_never_changes_a_score(name, overrides):
    model = toy_model(name, **overrides)
    log = toy_log(toy_news())
    short = log.histories.lengths[log.history_of] <= 5
    data = dataset(model)
    narrow, wide = (
        score_directly(model.network, model.network_features(data), data.log, data.users, size) for size in (5, 12)
    )
    kept = np.repeat(short, log.candidates.lengths)
    assert narrow[kept] == pytest.approx(wide[kept], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("category_weighting", [True, False])
def test_order_of_the_history_does_not_matter_to_miner(category_weighting):
    model = toy_model("miner", category_weighting=category_weighting)
    assert model.score(IDS[:5], IDS) == pytest.approx(model.score(IDS[4::-1], IDS), abs=1e-5)


@every_model
def test_only_the_newest_clicks_count(name):
    model = toy_model(name)
    assert np.array_equal(model.score(IDS[:9], IDS), model.score(IDS[4:9], IDS))
    assert not np.allclose(model.score(IDS[:9], IDS), model.score(IDS[:5], IDS))


@pytest.mark.parametrize("name", ["miner", "nrms", "naml", "npa", "hierec"])
def test_no_history_scores_zero(name):
    assert np.array_equal(toy_model(name).score([], IDS), np.zeros(len(IDS), "float32"))


@every_model
def test_unknown_users_words_entities_and_categories_are_scored(name):
    model = fresh_toy_model(name)
    strange = NewsTable.from_columns(
        ids=[*IDS, "X1", "X2"],
        titles=[*toy_news().title.to_pylist()[1:], "never seen before", ""],
        category=[*toy_news().category.to_pylist()[1:], "unheard", ""],
        subcategory=[*toy_news().subcategory.to_pylist()[1:], "unheard", ""],
        abstract=[*toy_news().abstract.to_pylist()[1:], "never seen before either", ""],
        title_entities=[*toy_news().title_entities.to_pylist()[1:], STRANGER, ""],
    )
    model.set_news(strange)
    candidates = ["X1", *IDS]
    scores = model.score(["X1", "N3"], candidates, user="nobody")
    assert scores == pytest.approx(Reference(model, name).score(["X1", "N3"], candidates, "nobody"), rel=1e-5, abs=2e-5)
    assert np.isfinite(model.score(["X1", "X2"], ["X2", *candidates], user="nobody")).all()


STRANGER = '[{"WikidataId": "Q999", "OccurrenceOffsets": [0, 40], "SurfaceForms": ["never seen", "beyond the title"]}]'


def test_unknown_words_are_no_padding():
    model = fresh_toy_model("nrms")
    table = NewsTable.from_columns(ids=["A", "B"], titles=["zyzzyva", "zyzzyva zyzzyva zyzzyva"])
    model.set_news(table)
    assert np.abs(model.encode_table(table)["vector"][1]).max() > 0


def test_unknown_users_have_no_long_term_vector():
    model = toy_model("lstur")
    assert np.array_equal(model.score(IDS[:3], IDS, "nobody"), model.score(IDS[:3], IDS, "someone else"))
    assert not np.allclose(model.score(IDS[:3], IDS, "nobody"), model.score(IDS[:3], IDS, "U1"))


def test_all_zero_category_vectors_weigh_nothing():
    weighted, plain = fresh_toy_model("miner"), fresh_toy_model("miner", category_weighting=False)
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
    model = fresh_toy_model("miner")
    scores = {}
    for category in ("category0", "category2"):
        columns = toy_news()
        table = NewsTable.from_columns(
            ids=[*IDS, "twin"],
            titles=[*columns.title.to_pylist()[1:], columns.title[1].as_py()],
            category=[*columns.category.to_pylist()[1:], category],
            subcategory=[*columns.subcategory.to_pylist()[1:], "other"],
        )
        model.set_news(table)
        scores[category] = model.score(IDS[1:5], ["N0", "twin"])
    assert scores["category0"][0] == scores["category0"][1]
    assert scores["category2"][0] != scores["category2"][1]


@every_model
def test_evaluation_encodes_each_news_and_each_reader_once(name, monkeypatch):
    model = toy_model(name)
    data = dataset(model, toy_log(toy_news(), impressions=40))
    encoded = {"news": [], "readers": 0}
    scorer = LogScorer(
        model.network,
        5,
        user_aware=model.user_aware,
        news_batch=5,
    )
    news_step, user_step = scorer.news_part.predict_on_batch, scorer.user_part.predict_on_batch

    def count_news(batch):
        encoded["news"].append(len(next(iter(batch["features"].values()))))
        return news_step(batch)

    def count_readers(batch):
        encoded["readers"] += len(batch["user"])
        return user_step(batch)

    for module in (scoring, whole_table):
        monkeypatch.setattr(module, "padded_size", lambda size: size)
    monkeypatch.setattr(scorer.news_part, "predict_on_batch", count_news)
    monkeypatch.setattr(scorer.user_part, "predict_on_batch", count_readers)
    scores = scorer.score(scorer.encode_news(model.network_features(data)), data.log, data.users)
    assert scores == pytest.approx(model.score_log(data), abs=1e-6)
    assert sum(encoded["news"]) == len(data.news)
    readers = {(h, u if model.user_aware else 0) for h, u in zip(data.log.history_of, data.log.user_of, strict=True)}
    assert encoded["readers"] == len(readers) < len(data.log)


@every_model
def test_a_log_is_scored_in_bulk_and_not_one_impression_at_a_time(name, monkeypatch):
    model = toy_model(name)
    data = dataset(model, toy_log(toy_news(), impressions=240))
    scorer = LogScorer(model.network, 5, user_aware=model.user_aware)
    calls = []

    def count(batch, step):
        calls.append(batch)
        return step(batch)

    for part in vars(scorer).values():
        if isinstance(part, NetworkPart):
            monkeypatch.setattr(part, "predict_on_batch", functools.partial(count, step=part.predict_on_batch))
    scorer.score(scorer.encode_news(model.network_features(data)), data.log, data.users)
    title_lengths, history_lengths, candidate_lengths = 4, 5, 4
    assert 0 < len(calls) <= title_lengths + history_lengths * (2 + candidate_lengths)


@pytest.mark.parametrize(("at_once", "of_a_user"), [(1, 1), (3, 3), (7, 2)])
@pytest.mark.parametrize("name", ["miner", "npa", "dkn"])
def test_scores_do_not_depend_on_how_many_are_computed_at_once(name, at_once, of_a_user):
    model = toy_model(name)
    data = dataset(model)
    scorer = LogScorer(model.network, 5, user_aware=model.user_aware)
    scorer.candidates_at_once, scorer.candidates_of_a_user = at_once, of_a_user
    largest = []
    step = scorer.score_part.predict_on_batch
    scorer.score_part.predict_on_batch = lambda batch: largest.append(batch["candidates"].size) or step(batch)
    scores = scorer.score(scorer.encode_news(model.network_features(data)), data.log, data.users)
    assert scores == pytest.approx(model.score_log(data), rel=1e-5, abs=1e-6)
    assert max(largest) <= (at_once if keras.backend.backend() == "tensorflow" else 4 * at_once)


def test_models_without_vectors_of_articles_or_users_say_so(tmp_path):
    files = write_files(tmp_path)
    with pytest.raises(NoVectorError, match="NPAModel has no vector of an article"):
        toy_model("npa").run_news(files[0])
    with pytest.raises(NoVectorError, match="depends on the candidate"):
        toy_model("dkn").run_user(*files)
    assert toy_model("npa").run_user(*files)[0].shape == (6,)
    assert toy_model("hierec").run_user(*files)[0].shape == (8,)


def test_what_no_system_can_be_built_from_is_refused():
    with pytest.raises(HParamsError, match="NPA pools the words of a CNN"):
        fresh_toy_model("npa", news_encoder="self_attention")
    with pytest.raises(HParamsError, match="'tfidf' gives no news vectors"):
        fresh_toy_model("nrms", news_encoder="tfidf")
    with pytest.raises(ValueError, match="add up to more than 1"):
        fresh_toy_model("hierec", topic_weight=0.5, subtopic_weight=0.6)


@pytest.mark.parametrize("encoder", ["cnn", "multi_view", "knowledge", "kcnn"])
def test_any_news_encoder_goes_with_any_system_that_reads_vectors(encoder):
    model = fresh_toy_model("miner", news_encoder=encoder)
    scores = model.score(IDS[:4], IDS)
    assert scores == pytest.approx(Reference(model, "miner").score(IDS[:4], IDS), rel=1e-5, abs=2e-5)


@pytest.mark.parametrize("name", mostly_thorough(MODEL_NAMES, fast=["deepfm", "dkn", "miner", "nrms"]))
def test_scores_are_raw(name):
    """A sigmoid, whose float32 ends in ties at 0 and 1, would not leave scores of this size apart."""
    model = fresh_toy_model(name)
    for weight in model.network.weights:
        weight.assign(np.array(weight) * 4)
    model.set_news(toy_news())
    scores = model.score(IDS[:4], IDS, "U1")
    assert len(set(scores.tolist())) == len(set(toy_news().title.to_pylist()[1:]))
    assert np.abs(scores).max() > 10


def test_run_slow_eval_and_run_fast_eval_agree_on_files(tmp_path):
    model = toy_model("miner")
    news, log = write_files(tmp_path)
    indices, labels, fast = model.run_fast_eval(news, log)
    _, slow_labels, slow = model.run_slow_eval(news, log)
    assert indices == list(range(len(fast)))
    for a, b, x, y in zip(fast, slow, labels, slow_labels, strict=True):
        assert a == pytest.approx(b, abs=1e-5)
        assert np.array_equal(x, y)
    metrics = model.run_eval(news, log)
    assert set(metrics) == {"group_auc", "mean_mrr", "ndcg@5", "ndcg@10"}


def test_run_news_and_run_user_give_what_score_multiplies(tmp_path):
    model = toy_model("nrms")
    news_file, behaviors_file = write_files(tmp_path)
    news, users = model.run_news(news_file), model.run_user(news_file, behaviors_file)
    data = model.read(news_file, behaviors_file)
    _, _, scores = model.run_fast_eval(news_file, behaviors_file)
    for impression in range(len(data.log)):
        rows = data.log.candidates[impression]
        expected = [news[row] @ users[impression] for row in rows]
        assert scores[impression] == pytest.approx(expected, abs=1e-5)
    interests = toy_model("miner").run_user(news_file, behaviors_file)
    assert interests[0].shape == (3, 8)


def test_recommend_leaves_out_what_was_clicked_and_sorts():
    model = toy_model("nrms")
    best = model.recommend(IDS[:3], k=20)
    assert len(best) == len(IDS) - 3
    assert [score for _, score in best] == sorted((score for _, score in best), reverse=True)
    assert dict(best) == pytest.approx(
        dict(zip(IDS[3:], model.score(IDS[:3], IDS[3:]).tolist(), strict=True)), abs=1e-6
    )
    assert [news_id for news_id, _ in model.recommend([], pool=["N4", "N5"], k=1)] in (["N4"], ["N5"])
    assert model.recommend(IDS[:2], pool=IDS[:2]) == []


def test_encode_news_gives_what_the_rest_of_the_network_reads():
    model = toy_model("nrms")
    history, candidates = model.encode_news(IDS[:3])["vector"], model.encode_news(["N9", "N4"])["vector"]
    user = model.userencoder.encode_history({"vector": history[None]}, np.ones((1, 3), bool), None)
    expected = candidates @ keras.ops.convert_to_numpy(user)[0]
    assert model.score(IDS[:3], ["N9", "N4"]) == pytest.approx(expected, abs=1e-5)
    assert set(toy_model("hierec").encode_news(IDS[:1])) == {"vector", "category", "subcategory"}
    with pytest.raises(UnknownNewsError, match="'N99'"):
        model.encode_news(["N99"])


def test_a_news_without_an_abstract_has_no_such_view():
    model = toy_model("naml")
    assert model.newsencoder.features == ("title", "abstract", "category", "subcategory")
    news = NewsTable.from_columns(["N1", "N2"], ["word1", "word2"], abstract=["word3 word4", ""])
    features = model.network.prepare(NewsFeatures(news, model.vocabularies, model.hparams))
    views, seen = model.newsencoder.views(features)
    assert views.shape == (3, 4, model.newsencoder.dim)
    assert keras.ops.convert_to_numpy(seen)[1:].tolist() == [[True] * 4, [True, False, True, True]]


def write_files(folder):
    news, log = toy_news(), toy_log(toy_news())
    url = [""] * len(IDS)
    columns = (news.ids, news.category, news.subcategory, news.title, news.abstract)
    entities = (news.title_entities, news.abstract_entities)
    rows = zip(*(c.to_pylist()[1:] for c in columns), url, *(e.to_pylist()[1:] for e in entities), strict=True)
    (folder / "news.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    ids = news.ids.to_pylist()
    lines = []
    for k in range(len(log)):
        row = log.history_of[k]
        history = " ".join(ids[r] for r in log.histories[row])
        slots = range(log.candidates.offsets[k], log.candidates.offsets[k + 1])
        shown = " ".join(f"{ids[log.candidates.values[slot]]}-{log.labels[slot]}" for slot in slots)
        lines.append(f"{k + 1}\t{log.users[int(log.user_of[k])].as_py()}\t11/12/2019 2:14:46 PM\t{history}\t{shown}\n")
    (folder / "behaviors.tsv").write_text("".join(lines))
    return folder / "news.tsv", folder / "behaviors.tsv"
