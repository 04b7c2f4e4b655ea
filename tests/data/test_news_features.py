"""Features of news, groups of them by length, and what is kept of them on disk."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.data.features import FEATURES, Feature, NewsFeatures, length_feature
from recommenders_miner.data.lengths import LengthGroups, growing_edges, length_edges
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.vocabularies import COMMON, TrainingTables, Vocabularies
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
    return Vocabularies.build(COMMON, TrainingTables(NEWS, log, prepare_hparams("nrms"), frozenset()))


def features(vocabularies, **options):
    cache = options.pop("folder", None)
    return NewsFeatures(NEWS, vocabularies, prepare_hparams("nrms", title_size=3, **options), cache)


def test_titles_are_words_at_the_left_of_their_row(vocabularies):
    title = features(vocabularies)["title"]
    words = vocabularies.words
    rain = words["rain"]
    assert title.tolist() == [[0, 0, 0], [rain, words["and"], words["more"]], [1, 0, 0], [words["sun"], 0, 0]]
    assert title.dtype == np.int32


@pytest.mark.parametrize(("options", "words"), [({}, 3), ({"word_segmenter": "icu"}, 6)])
def test_titles_without_spaces_are_words_where_icu_finds_them(caplog, options, words):
    if options:
        pytest.importorskip("icu4py", reason="an extra")
    news = NewsTable.from_columns(["N1", "N2", "N3"], ["北京今天的天气", "今天的新闻", "Goal"])
    log = ImpressionLog.from_columns(news, histories=[["N1"]], candidates=[["N2"]], labels=[[1]], users=["U1"])
    hparams = prepare_hparams("libfm", title_size=3, **options)
    vocabularies = Vocabularies.build([*COMMON, "terms"], TrainingTables(news, log, hparams, frozenset()))
    assert len(vocabularies.words.tokens) - 2 == words
    assert ("-o word_segmenter=icu finds their words" in caplog.text) == (not options)
    if options:
        made = NewsFeatures(news, vocabularies, hparams)
        assert made["title"].tolist()[1] == vocabularies.words.encode(["北京", "今天", "的"])
        assert sorted(vocabularies.terms.terms.encode(["今天", "的", "新闻"])) == made["term"].tolist()[2]


def test_categories_have_one_id_an_article(vocabularies):
    made = features(vocabularies)
    weather, sports = (vocabularies.categories[name] for name in ("weather", "sports"))
    assert made["category"].tolist() == [0, weather, sports, weather]
    assert made["subcategory"].tolist()[0] == 0
    assert made["subcategory"].tolist()[3] == 1


def test_each_feature_is_made_once_and_only_when_asked_for(vocabularies, monkeypatch):
    made = []
    for name, declared in FEATURES.items():
        watched = dataclasses.replace(declared, make=lambda of, own=declared: made.append(own.name) or own.make(of))
        monkeypatch.setitem(FEATURES, name, watched)
    table = features(vocabularies)
    assert {"title", "category", "pieces"} <= set(table)
    assert made == []
    assert table["title"] is table["title"]
    assert made == ["title"]
    with pytest.raises(KeyError):
        table["nonsense"]


def test_lengths_are_told_by_what_stands_beside():
    told = {"title": "title", "word_entities": "title", "term_weight": "term", "category": None, "nonsense": None}
    assert {name: length_feature(name) for name in told} == told


def test_times_of_publication_are_known_where_a_table_has_them(vocabularies):
    assert features(vocabularies).news.published.tolist() == [0] * 4
    dated = NewsTable.from_columns(["N1", "N2"], ["a", "b"], extra={"published": [1573571686, None]})
    assert dated.published.tolist() == [0, 1573571686, 0]


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
    (tmp_path / "file").write_text("")
    assert features(vocabularies, folder=tmp_path / "file").kept("vectors", "k1", make).tolist() == [0, 1, 2, 3]


@settings(max_examples=50, deadline=None)
@given(
    lengths=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), min_size=1, max_size=40),
    groups=st.integers(1, 4),
)
def test_no_article_loses_a_word_in_its_group(lengths, groups):
    rows = [(0, 0), *lengths]
    table = {
        "first": np.array([[1] * a + [0] * (9 - a) for a, _ in rows]),
        "second": np.array([[1] * b + [0] * (5 - b) for _, b in rows]),
        "states": np.array([[[1.0, 2.0]] * a + [[0.0, 0.0]] * (9 - a) for a, _ in rows]),
        "category": np.arange(len(rows)),
    }
    known = {"first": None, "second": None, "states": "first"}
    with pytest.MonkeyPatch.context() as patch:
        for name, told_by in known.items():
            patch.setitem(FEATURES, name, Feature(name, "tokens", told_by=told_by))
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


def test_articles_without_sequences_are_one_group():
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
