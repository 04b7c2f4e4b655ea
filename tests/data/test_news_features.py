"""Features of news, groups of them by length, and what is kept of them on disk."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommenders_miner.data import features as news_features
from recommenders_miner.data.features import NewsFeatures
from recommenders_miner.data.lengths import LengthGroups, growing_edges, length_edges
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.hparams import prepare_hparams

NEWS = NewsTable.from_columns(
    ids=["N1", "N2", "N3"],
    titles=["Rain and more rain", "", "Sun"],
    category=["weather", "sports", "weather"],
    subcategory=["rain", "golf", ""],
)


@pytest.fixture
def vocabularies():
    log = ImpressionLog.from_columns(NEWS, histories=[["N1"]], candidates=[["N2"]], labels=[[1]], users=["U1"])
    return Vocabularies.build(NEWS, log)


def features(vocabularies, **options):
    cache = options.pop("folder", None)
    return NewsFeatures(NEWS, vocabularies, prepare_hparams("nrms", title_size=3, **options), cache)


def test_titles_are_words_at_the_left_of_their_row(vocabularies):
    title = features(vocabularies)["title"]
    words = vocabularies.words
    rain = words["rain"]
    assert title.tolist() == [[0, 0, 0], [rain, words["and"], words["more"]], [1, 0, 0], [words["sun"], 0, 0]]
    assert title.dtype == np.int32


def test_categories_have_one_id_a_news(vocabularies):
    made = features(vocabularies)
    weather, sports = (vocabularies.categories[name] for name in ("weather", "sports"))
    assert made["category"].tolist() == [0, weather, sports, weather]
    assert made["subcategory"].tolist()[0] == 0
    assert made["subcategory"].tolist()[3] == 1


def test_each_feature_is_made_once_and_only_when_asked_for(vocabularies, monkeypatch):
    made = []
    makers = news_features._MAKERS
    for name in makers:
        monkeypatch.setitem(makers, name, lambda of, name=name, make=makers[name]: made.append(name) or make(of))
    table = features(vocabularies)
    assert made == []
    assert table["title"] is table["title"]
    assert made == ["title"]
    with pytest.raises(KeyError):
        table["nonsense"]


def test_what_is_kept_is_computed_once_for_a_key(vocabularies, tmp_path):
    calls = []

    def make():
        calls.append(1)
        return np.arange(4.0)

    for _ in range(2):
        assert features(vocabularies, folder=tmp_path).kept("vectors", "k1", make).tolist() == [0, 1, 2, 3]
    assert len(calls) == 1
    features(vocabularies, folder=tmp_path).kept("vectors", "k2", make)
    features(vocabularies, folder=tmp_path, cache=False).kept("vectors", "k1", make)
    features(vocabularies).kept("vectors", "k1", make)
    assert len(calls) == 4


def test_a_damaged_array_is_made_anew(vocabularies, tmp_path, caplog):
    features(vocabularies, folder=tmp_path).kept("vectors", "k", lambda: np.arange(4.0))
    [file] = tmp_path.glob("*/*.bin")
    file.write_bytes(file.read_bytes()[:-8])
    assert features(vocabularies, folder=tmp_path).kept("vectors", "k", lambda: np.arange(5.0)).tolist() == list(
        range(5)
    )
    assert "will be rebuilt" in caplog.text


def test_without_a_place_to_keep_it_an_array_is_still_made(vocabularies, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    made = features(vocabularies, folder=tmp_path / "file").kept("vectors", "k", lambda: np.arange(3.0))
    assert made.tolist() == [0, 1, 2]
    assert "No cache of vectors" in caplog.text


@given(
    lengths=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), min_size=1, max_size=40),
    groups=st.integers(1, 4),
)
def test_no_news_loses_a_word_in_its_group(lengths, groups):
    rows = [(0, 0), *lengths]
    table = {
        "first": np.array([[1] * a + [0] * (9 - a) for a, _ in rows]),
        "second": np.array([[1] * b + [0] * (5 - b) for _, b in rows]),
        "states": np.array([[[1.0, 2.0]] * a + [[0.0, 0.0]] * (9 - a) for a, _ in rows]),
        "category": np.arange(len(rows)),
    }
    known = {"first": "first", "second": "second", "states": "first"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(news_features, "LENGTH_FEATURE", known)
        plan = LengthGroups.plan(table, groups)
        everyone = np.arange(len(rows))
        assert len(plan.edges) <= groups
        for group in range(len(plan.edges)):
            members = everyone[plan.group_of(everyone) <= group]
            gathered = plan.gather(table, members, group)
            for name in known:
                assert gathered[name].sum() == table[name][members].sum()
            assert gathered["states"].shape[1] == gathered["first"].shape[1]
            assert np.array_equal(gathered["category"], members)


def test_news_without_sequences_are_one_group():
    plan = LengthGroups.plan({"category": np.arange(5)}, 3)
    assert len(plan.edges) == 1
    assert plan.group_of(np.arange(5)).tolist() == [0] * 5


@given(st.lists(st.integers(0, 3000), max_size=60))
def test_growing_edges_pad_by_half_at_most(lengths):
    lengths = np.array(lengths, int)
    edges = growing_edges(lengths)
    assert (np.diff(edges) > 0).all()
    padded = edges[np.searchsorted(edges, lengths)]
    assert (padded >= lengths).all()
    assert (padded <= np.maximum(1.5 * lengths + 1, 8)).all()
    assert len(edges) == 0 or edges[-1] == max(lengths.max(), 1)


def test_length_edges_cover_all_lengths():
    assert length_edges(np.array([3, 3, 9, 20]), 4).tolist() == [3, 9, 20]
    assert length_edges(np.array([0, 0]), 4).tolist() == [1]
    assert length_edges(np.array([], int), 4).tolist() == [1]
