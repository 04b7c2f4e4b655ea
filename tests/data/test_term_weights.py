"""TF-IDF weights: scikit-learn's, kept as text, and the features that they give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from recommenders_miner.compat.iterator import MINDIterator
from recommenders_miner.data.features import NewsFeatures
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.terms import TermWeights
from recommenders_miner.data.text import tokenize
from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.errors import DataFormatError
from recommenders_miner.hparams import prepare_hparams

TITLES = ["Rain and more rain", "Sun, rain and wind today", "A sun"]

words = st.sampled_from(["rain", "Rain", "sun", "wind", "über", "ﬁ", "İ", "7", "!", "-", "\t"]) | st.text(max_size=4)
titles = st.lists(st.lists(words, max_size=9).map(" ".join), max_size=6)


def dense(weights, titles, size):
    """The vectors of some titles as a dense matrix over the terms."""
    matrix = np.zeros((len(titles), len(weights.terms) - 2))
    for row, (ids, values) in enumerate(zip(*weights.weigh(titles, size), strict=True)):
        matrix[row, ids - 2] = values
    return matrix


@settings(deadline=None, max_examples=40)
@given(titles, titles, st.integers(1, 8), st.integers(1, 6))
def test_weights_are_those_of_scikit_learn(fitted, weighed, size, max_terms):
    weights = TermWeights.fit(fitted, size, max_terms)
    if not any(tokenize(title) for title in fitted):
        assert len(weights.terms) == 2
        return
    vectorizer = TfidfVectorizer(
        tokenizer=lambda title: tokenize(title)[:size], token_pattern=None, lowercase=False, max_features=max_terms
    ).fit(fitted)
    assert weights.terms.tokens[2:] == vectorizer.get_feature_names_out().tolist()
    assert np.array_equal(weights.idf[2:], vectorizer.idf_)
    for some in (fitted, weighed):
        expected = vectorizer.transform(some).toarray() if some else np.zeros((0, len(weights.terms) - 2))
        assert dense(weights, some, size) == pytest.approx(expected, abs=1e-14)


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(titles)
def test_save_and_load_round_trip_exactly(tmp_path, fitted):
    weights = TermWeights.fit(fitted, 8, 50)
    weights.save(tmp_path)
    loaded = TermWeights.load(tmp_path)
    assert loaded.terms.tokens == weights.terms.tokens
    assert np.array_equal(loaded.idf, weights.idf)
    assert loaded.idf.dtype == np.float64


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: [*lines[:2], "much", *lines[3:]],
        lambda lines: ["nan", *lines[1:]],
        lambda lines: [lines[0], "-1.5", *lines[2:]],
        lambda lines: lines[:-1],
        lambda lines: [*lines[:3], "\udcff", *lines[4:]],
        None,
    ],
)
def test_damaged_frequencies_are_named(tmp_path, damage):
    TermWeights.fit(TITLES, 20, 100).save(tmp_path)
    path = tmp_path / "term_idf.txt"
    lines = path.read_text().splitlines()
    path.unlink()
    if damage:
        path.write_text("\n".join(damage(lines)) + "\n", errors="surrogateescape")
    with pytest.raises(DataFormatError, match=r"inverse document frequencies.*terms\.txt") as error:
        TermWeights.load(tmp_path)
    assert error.value.path == path


NEWS = NewsTable.from_columns(ids=["N1", "N2", "N3", "N4"], titles=[*TITLES, "snow"])
LOG = ImpressionLog.from_columns(NEWS, histories=[["N1"]], candidates=[["N3", "N2"]], labels=[[1, 0]], users=["U1"])


def vocabularies(**options):
    return MINDIterator(prepare_hparams("libfm", **options)).build_vocabularies(NEWS, LOG)


def test_features_are_as_long_as_a_title_and_not_as_wide_as_the_terms():
    known = vocabularies(title_size=4, max_terms=6)
    features = NewsFeatures(NEWS, known, prepare_hparams("libfm", title_size=4, max_terms=6))
    for name, dtype, rows in zip(
        ("term", "term_weight"), (np.int32, np.float32), known.terms.weigh([*TITLES, "snow"], 4), strict=True
    ):
        expected = [[0] * 4, *([*row.astype(dtype).tolist(), *[0] * (4 - len(row))] for row in rows)]
        assert (features[name].tolist(), features[name].dtype) == (expected, dtype)
    assert not np.isin(features["term"], 1).any(), "a word that is no term is left out"


def test_candidates_of_the_training_log_have_ids():
    known = vocabularies()
    assert known.news.tokens[2:] == ["N2", "N3"]
    assert NewsFeatures(NEWS, known, prepare_hparams("libfm"))["news_id"].tolist() == [0, 1, 2, 3, 1]


def test_vocabularies_keep_terms_and_ids(tmp_path):
    known = vocabularies()
    known.save(tmp_path)
    loaded = Vocabularies.load(tmp_path)
    assert loaded.news.tokens == known.news.tokens
    assert loaded.terms.terms.tokens == known.terms.terms.tokens
    assert np.array_equal(loaded.terms.idf, known.terms.idf)
