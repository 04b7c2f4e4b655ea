"""The second stage: what it may see, what it makes of it, and that it comes back as it was saved."""

from __future__ import annotations

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from recommenders_miner.data.context import CONTEXT, Context
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.sampling import hold_out
from recommenders_miner.data.tsv import content_digest
from recommenders_miner.errors import DataFormatError, HParamsError, RecommendersMinerError
from recommenders_miner.evaluation.metrics import evaluate_scores
from recommenders_miner.models.reranker import _SETTINGS, COLUMNS, FILE, BoostedReranker, Trees
from tests.models.toy import IDS, randomised, unbuilt, write_files

START, HOUR = 1_573_300_800, 3600
HELD_OUT = {"held_out": "users", "held_out_share": 0.34, "metrics": ["group_auc"], "epochs": 1, "batch_size": 64}


def hot(rng, place, shown):
    """Click on one of three articles, others every six hours."""
    liked = [news_id for news_id in shown if (IDS.index(news_id) + place // 12) % 12 < 3]
    return rng.choice(liked or shown)


def write_log(folder, impressions=360, begin=0, click=hot, seed=0):
    """Write the toy news, published ten days apart, and an impression every half an hour, and return both paths."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    news, behaviors = write_files(folder)
    published = [START - (len(IDS) - i) * 240 * HOUR for i in range(len(IDS))]
    pq.write_table(pa.table({"id": IDS, "published": published}), folder / "articles.parquet")
    lines = []
    for place in range(begin, begin + impressions):
        shown = rng.choice(IDS, 6, replace=False).tolist()
        clicked = click(rng, place, shown)
        time = np.datetime64(START + place * 1800, "s").item()
        pairs = " ".join(f"{news_id}-{int(news_id == clicked)}" for news_id in shown)
        lines.append(f"{place}\tU{place % 20}\t{time}\t{' '.join(IDS[: place % 4])}\t{pairs}\n")
    behaviors.write_text("".join(lines))
    return news, behaviors


def as_if_trained(files, **options):
    """A model of random weights that says that it was trained on some files."""
    model = unbuilt("nrms", **{**HELD_OUT, **options})
    model.train_iterator.load_training(*files)
    model.build(model.train_iterator.vocabularies)
    model.trained_on = [content_digest(files[1])]
    return randomised(model)


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    return write_log(tmp_path_factory.mktemp("log") / "train")


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    return write_log(tmp_path_factory.mktemp("log") / "dev", 240, begin=360, seed=1)


def auc(scores, data):
    return evaluate_scores(scores, data.log.labels, data.log.candidates.offsets).metrics["group_auc"]


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))


@pytest.mark.parametrize("count", [120, 1200])
def test_trees_give_what_scikit_learn_gives_to_the_last_bit(count):
    rng = np.random.default_rng(count)
    columns = rng.normal(size=(count, 5)).round(1).astype("float32")
    clicked = columns[:, 0] + columns[:, 1] * columns[:, 2] + rng.normal(size=count) > 0
    with threadpool_limits(1, "openmp"):
        fitted = HistGradientBoostingClassifier(**_SETTINGS).fit(columns, clicked)
        assert Trees.of(fitted)(columns).tolist() == fitted.decision_function(columns).tolist()


def test_what_is_read_at_this_moment_is_learned_from_held_out_impressions(train, dev):
    model = unbuilt("nrms", **HELD_OUT).fit(*train, verbose=0)
    data = model.read(*dev)
    own = model.score_log(data)
    reranked = BoostedReranker.fit(model, *train).score(data)
    assert (reranked.shape, reranked.dtype) == (own.shape, np.float64)
    assert auc(own, data) < 0.6, "the articles that are liked change, which their texts do not tell"
    assert auc(reranked, data) > 0.8


def test_trees_are_those_of_the_model_and_of_the_log_alone(train, dev):
    model = as_if_trained(train)
    one, other = BoostedReranker.fit(model, *train), BoostedReranker.fit(as_if_trained(train), *train)
    assert same(one.trees, other.trees)
    assert not same(one.trees, BoostedReranker.fit(model, *train, max_impressions=60).trees)
    data = model.read(*dev)
    assert one.score(data).tolist() == other.score(data, model.score_log(data)).tolist()


@pytest.mark.parametrize("kind", ["users", "last_day"])
def test_nothing_is_learned_from_what_the_model_was_trained_on(tmp_path, kind):
    """Users whose impressions were trained on click on the oldest article, the others on the newest."""
    options = {"held_out": kind, "horizon": 1e4}  # no click is known anywhere, so that labels are read as labels alone
    plain = write_log(tmp_path / "plain")
    model = as_if_trained(plain, **options)
    log = ImpressionLog.read(plain[1], NewsTable.read(plain[0]))
    kept = set(hold_out(log, model.hparams)[0].impression_id.tolist())
    assert 200 < len(kept) < 330

    def click(by_trained, by_others):
        def of(rng, place, shown):
            return (by_trained if place in kept else by_others)(shown, key=IDS.index)

        return of

    files = write_log(tmp_path / "planted", click=click(min, max))
    other_trained = write_log(tmp_path / "other", click=click(max, max))
    other_held_out = write_log(tmp_path / "another", click=click(min, min))
    found = []
    for of in (files, other_trained, other_held_out):
        model = as_if_trained(of, **options)
        found.append(BoostedReranker.fit(model, *of))
    assert same(found[0].trees, found[1].trees), "what is clicked in the impressions that were trained on is not seen"
    assert not same(found[0].trees, found[2].trees)
    data = found[0].model.read(*write_log(tmp_path / "dev", 100, 200, click(max, max), seed=5))
    assert auc(found[0].score(data), data) > 0.9


def test_the_model_scores_the_held_out_impressions_alone(train, monkeypatch):
    model, scored = as_if_trained(train), []
    score_log = model.score_log
    monkeypatch.setattr(model, "score_log", lambda data, progress: scored.append(data.log) or score_log(data, progress))
    BoostedReranker.fit(model, *train)
    _, held_out = hold_out(ImpressionLog.read(train[1], NewsTable.read(train[0])), model.hparams)
    assert [log.impression_id.tolist() for log in scored] == [held_out.impression_id.tolist()]
    assert not set(held_out.users.to_pylist()) & set(model.vocabularies.users.tokens)


def test_what_is_scored_goes_on_from_the_training_log(train, dev):
    model = as_if_trained(train)
    reranker = BoostedReranker.fit(model, *train)
    data = model.read(*dev)
    assert data.earlier is None, "the network itself reads no context"
    news = NewsTable.read(train[0])
    earlier = Context.of_log(ImpressionLog.read(train[1], news), news).counts()
    [(_, known)] = Context.of_log(data.log, data.news, earlier).parts()
    scores = model.score_log(data).reshape(-1, 6)
    higher, equal = (compare(scores[:, None], scores[..., None]).sum(axis=2) for compare in (np.greater, np.equal))
    assert equal.max() == 6, "users without clicks score all alike"
    rank = (higher + (equal - 1) / 2 + 0.5) / 6
    columns = np.column_stack([scores.ravel(), rank.ravel(), known]).astype("float32")
    assert reranker.score(data).tolist() == reranker.trees(columns).tolist()
    assert known[:, CONTEXT.index("showings")].min() > 100


# === Mistakes ===


def test_a_model_that_has_seen_everything_is_refused_with_what_to_do(train):
    model = as_if_trained(train, held_out="none")
    with pytest.raises(HParamsError, match=r"nrms there are none\. Train it with held_out=users, or last_day"):
        BoostedReranker.fit(model, *train)


def test_files_that_the_model_was_not_trained_on_are_refused(train, dev):
    model = as_if_trained(train)
    with pytest.raises(RecommendersMinerError, match=r"behaviors.tsv: is not what the NRMSModel was trained on"):
        BoostedReranker.fit(model, *dev)
    model.trained_on.append(content_digest(dev[1]))
    with pytest.raises(RecommendersMinerError, match="or not all of it"):
        BoostedReranker.fit(model, *train)


def test_training_says_on_what(train, tmp_path):
    model = unbuilt("nrms", **HELD_OUT, seed=1).fit(*train, verbose=0)
    model.save(tmp_path)
    assert type(model).load(tmp_path).trained_on == model.trained_on == [content_digest(train[1])]


def test_impressions_without_a_choice_teach_nothing(tmp_path):
    files = write_log(tmp_path / "train", click=lambda rng, place, shown: None)
    with pytest.raises(ValueError, match=r"held_out: users takes .* no candidate was clicked"):
        BoostedReranker.fit(as_if_trained(files), *files)


# === Saving ===


@pytest.fixture(scope="module")
def saved(train, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    reranker = BoostedReranker.fit(as_if_trained(train), *train)
    reranker.model.save(folder)
    reranker.save(folder)
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def test_a_saved_reranker_scores_to_the_last_bit_as_before(train, dev, copy):
    before = BoostedReranker.fit(as_if_trained(train), *train)
    after = BoostedReranker.load(copy)
    expected = before.score(before.model.read(*dev))
    assert after.score(after.model.read(*dev)).tolist() == expected.tolist()
    beside = BoostedReranker.beside(copy, "nowhere")
    assert same(beside.trees, after.trees), "what is there needs no training files"


def test_where_there_is_none_it_is_fitted_and_kept(train, copy):
    before = BoostedReranker.load(copy).trees
    (copy / FILE).unlink()
    assert same(BoostedReranker.beside(copy, train[0].parents[1]).trees, before)
    assert same(BoostedReranker.load(copy).trees, before)


def test_a_reranker_of_another_model_is_refused(train, copy):
    other = randomised(as_if_trained(train), seed=2)
    other.save(copy)
    with pytest.raises(DataFormatError, match=r"of another model than the one beside it\)\. Delete reranker.npz"):
        BoostedReranker.load(copy)


def rewritten(folder, **changes):
    path = folder / FILE
    with np.load(path, allow_pickle=False) as found:
        arrays = {**found, **changes}
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": np.array([print], dtype=object)}, "Object arrays cannot be loaded"),
        ({"feature": np.full((100, 7), len(COLUMNS))}, "a column that there is none of"),
        ({"threshold": np.zeros((99, 7))}, "do not go together"),
        ({"columns": np.array(COLUMNS[1:])}, "of another version"),
        ({"articles_key": np.zeros(1, object)}, "Object arrays cannot be loaded"),
        ({"value": np.zeros((100, 8, 2))}, "do not go together"),
    ],
)
def test_a_damaged_reranker_is_refused_and_runs_nothing(copy, changes, message):
    rewritten(copy, **changes)
    with pytest.raises(DataFormatError, match=message):
        BoostedReranker.load(copy)


def test_cut_or_missing_files_are_refused(copy):
    path = copy / FILE
    content = path.read_bytes()
    for length in (0, 100, len(content) // 2, len(content) - 100):
        path.write_bytes(content[:length])
        with pytest.raises(DataFormatError, match=r"not a readable reranker .* Delete"):
            BoostedReranker.load(copy)
    path.unlink()
    with pytest.raises(RecommendersMinerError, match=r"holds no reranker \(reranker.npz is missing\)\. Fit one"):
        BoostedReranker.load(copy)
