import gzip

import numpy as np
import pytest

from recommenders_miner.data import vectors as word_vectors
from recommenders_miner.data.vectors import read_vector_names, read_word_vectors
from recommenders_miner.data.vocabulary import Vocabulary
from recommenders_miner.errors import DataFormatError

GLOVE = "the 0.1 -2 3e-1\ncat 1 2 3\ndog 4 5 6\n"


def read(tmp_path, content, tokens, seed=0, name="vectors.txt"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_word_vectors(path, Vocabulary(tokens), np.random.default_rng(seed))


@pytest.mark.parametrize(
    "content",
    [
        GLOVE,
        GLOVE.replace("\n", "\r\n"),
        GLOVE.removesuffix("\n"),
        GLOVE.replace(" ", "\t"),
        GLOVE.replace("\n", " \n"),
        GLOVE.replace(" ", "\t").replace("\n", "\t\n"),
        "3 3\n" + GLOVE,
        gzip.compress(GLOVE.encode(), mtime=0),
        GLOVE + "the 9 9 9\n",
        GLOVE + ". . . 7 8 9\n" + "\xa0 1 2 3\n",
        GLOVE + "\n",
        "\ufeff" + GLOVE,
        "\ufeff3 3\n" + GLOVE,
        gzip.compress(b"\xef\xbb\xbf" + GLOVE.encode(), mtime=0),
    ],
)
def test_every_form_of_the_file_gives_the_same_vectors(tmp_path, content):
    matrix, found = read(tmp_path, content, ["dog", "fish", "the"])
    assert matrix.shape == (5, 3)
    assert matrix.dtype == np.float32
    assert found.tolist() == [False, False, True, False, True]
    np.testing.assert_array_equal(matrix[0], 0)
    np.testing.assert_array_equal(matrix[[2, 4]], np.array([[4, 5, 6], [0.1, -2, 0.3]], np.float32))
    assert np.isfinite(matrix).all()


def test_names_stand_in_the_order_of_the_file(tmp_path):
    path = tmp_path / "entity_embedding.vec"
    path.write_text("Q42\t0.1\t-2\t\n. . .\t1\t2\t\nZürich\t4\t5\t\n", encoding="utf-8")
    assert read_vector_names(path) == ["Q42", ". . .", "Zürich"]


def test_words_with_spaces(tmp_path):
    matrix, found = read(tmp_path, GLOVE + ". . . 7 8 9\nto name@domain.com 1 1 2\n", [". . .", "to name@domain.com"])
    assert found.tolist() == [False, False, True, True]
    np.testing.assert_array_equal(matrix[2:], [[7, 8, 9], [1, 1, 2]])


def test_batches_do_not_matter(tmp_path, monkeypatch):
    tokens = ["the", "dog", "cat", *(f"missing{k}" for k in range(10))]
    content = GLOVE + "the 9 9 9\n"
    whole = read(tmp_path, content, tokens)
    monkeypatch.setattr(word_vectors, "_BATCH_LINES", 1)
    for one, other in zip(whole, read(tmp_path, content, tokens), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_vectors_of_words_not_found_are_those_that_a_seed_has_always_given(tmp_path):
    matrix, found = read(tmp_path, GLOVE, ["the", "cat", *(f"missing{k}" for k in range(5_000))], seed=5)
    known = matrix[found].astype("float64")
    drawn = np.random.default_rng(5).normal(known.mean(axis=0), known.std(axis=0), size=(5_001, 3))
    np.testing.assert_array_equal(matrix[1:][~found[1:]], drawn.astype("float32"))


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        (GLOVE + "bird 1 2\n", 4, "expected a word and 3 numbers, got 3 fields"),
        (GLOVE + "fish 1 2 3 4\n", 4, "expected a word and 3 numbers, got 4 numbers"),
        (GLOVE + "fish 1 x 3\n", 4, "expected a finite number, got 'x'"),
        (GLOVE + "fish 1 nan 3\n", 4, "expected a finite number, got 'nan'"),
        (GLOVE + "fish 1 1e99 3\n", 4, "expected a finite number, got '1e99'"),
        (GLOVE.encode() + b"fish 1 \xff 3\n", 4, r"expected a finite number, got '\\\\xff'"),
        ("2 3\nthe 1 2\n", 2, "expected a word and 3 numbers, got 3 fields"),
        ("hello\nworld\n", 1, "expected a word and its numbers, got 1 fields"),
        ("The 1 2\nCAT 3 4\n", None, "none of the vocabulary's 2 tokens is in the file.*case"),
        (gzip.compress(GLOVE.encode() * 100, mtime=0)[:-20], None, "the gzip file is damaged"),
        (GLOVE + "fish 1 1e19 3\n", 4, "expected a finite number, got '1e19' .none beyond 1e\\+18 is read"),
        ("", None, "the file is empty; expected vectors in GloVe's text format"),
    ],
)
def test_a_damaged_file_is_an_error(tmp_path, content, line, problem):
    with pytest.raises(DataFormatError, match=problem) as caught:
        read(tmp_path, content, ["the", "fish"])
    assert (caught.value.path.name, caught.value.line) == ("vectors.txt", line)


def test_large_numbers_give_finite_vectors_to_words_not_found(tmp_path):
    matrix, found = read(tmp_path, "the 1e18 -1e18\ncat -1e18 -1e18\n", ["the", "cat", "fish"])
    assert not found[4]
    assert np.isfinite(matrix).all()


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(DataFormatError, match="does not exist; expected vectors"):
        read_word_vectors(tmp_path / "x", Vocabulary(["a"]), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("glove.840B.300d.txt", "recommenders-miner fetch glove-840b-300d"), ("mine.txt", "expected vectors in GloVe's")],
)
def test_a_missing_file_that_can_be_fetched_is_an_error_that_says_how(tmp_path, name, remedy):
    with pytest.raises(DataFormatError, match=remedy):
        read_vector_names(tmp_path / name)


def test_damaged_numbers_of_words_not_wanted_do_not_matter(tmp_path):
    assert read(tmp_path, GLOVE + "bird 1 x 3\n", ["the"])[1].sum() == 1
