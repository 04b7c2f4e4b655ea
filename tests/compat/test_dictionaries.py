"""Recommenders' dictionaries and matrices: read as they are meant, refused where they are not, and never run."""

from __future__ import annotations

import json
import logging
import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.compat.dictionaries import (
    convert_pickle,
    read_dictionary,
    read_vocabulary,
    read_word_matrix,
)
from recommenders_miner.errors import DataFormatError, RecommendersMinerError
from recommenders_miner.hparams import prepare_hparams

WORDS = {"goal": 2, "film": 1, "été": 3}
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
dictionaries = st.lists(st.text(st.characters(codec=None)), unique=True).flatmap(
    lambda names: st.permutations(range(1, len(names) + 1)).map(lambda ids: dict(zip(names, ids, strict=True)))
)


def written(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def pickled(path, content, protocol=None):
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def read_matrix(path, dictionary, words):
    return read_word_matrix(prepare_hparams(wordEmb_file=str(path), wordDict_file=str(dictionary)), words)


# === Dictionaries ===


def test_a_vocabulary_has_the_names_in_the_order_of_their_ids(tmp_path):
    path = written(tmp_path / "words.json", WORDS)
    assert read_dictionary(path) == WORDS
    assert read_vocabulary(path).tokens == ["<padding>", "<unknown>", "film", "goal", "été"]


def test_names_that_nothing_is_called_are_left_out(tmp_path, caplog):
    names = {"": 1, "a": 2, "two\nlines": 3, "<padding>": 4, "\ud800": 5, "b": 6}
    path = written(tmp_path / "words.json", names)
    with caplog.at_level(logging.WARNING):
        vocabulary = read_vocabulary(path)
    assert vocabulary.tokens[2:] == ["a", "b"]
    assert "left out 4 names" in caplog.text


# === Pickles ===


@pytest.mark.parametrize("name", ["my words.pkl", "words.pickle", "words"])
def test_a_pickle_is_read_and_converted(name, tmp_path):
    path = pickled(tmp_path / name, WORDS)
    assert read_dictionary(path) == WORDS
    converted = convert_pickle(path)
    assert converted == path.with_suffix(".json")
    path.unlink()
    assert read_dictionary(converted) == json.loads(converted.read_text()) == WORDS


@settings(max_examples=25, deadline=None)
@given(dictionaries, st.sampled_from(PROTOCOLS))
def test_converting_changes_nothing(tmp_path_factory, dictionary, protocol):
    folder = tmp_path_factory.mktemp("convert")
    path = pickled(folder / "words.pkl", dictionary, protocol)
    assert read_dictionary(convert_pickle(path)) == dictionary
    names = read_vocabulary(path).tokens[2:]
    assert names == sorted(set(names), key=dictionary.__getitem__)
    assert {path.name for path in folder.iterdir()} == {"words.pkl", "words.json"}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_pickle_is_refused_or_read(tmp_path_factory, data):
    """Whatever bytes change, there is a dictionary in the end, or this package's own error."""
    whole = pickle.dumps({f"w{i}": i + 1 for i in range(4)}, data.draw(st.sampled_from(PROTOCOLS)))
    changed = bytearray(whole)
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=3)):
        changed[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "words.pkl"
    path.write_bytes(changed)
    try:
        dictionary = read_dictionary(convert_pickle(path))
    except DataFormatError:
        assert not path.with_suffix(".json").exists()
    else:
        assert sorted(dictionary.values()) == list(range(1, len(dictionary) + 1))


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, sign):
        self.sign = sign

    def __reduce__(self):
        return os.system, (f"touch {self.sign}",)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("place", ["alone", "as an id", "as a name"])
def test_a_malicious_pickle_runs_nothing(protocol, place, tmp_path):
    sign = tmp_path / "ran"
    payload = Payload(sign)
    content = {"alone": payload, "as an id": {**WORDS, "x": payload}, "as a name": {payload: 1}}[place]
    path = pickled(tmp_path / "words.pkl", content, protocol)
    for read in (convert_pickle, read_dictionary):
        with pytest.raises(DataFormatError):
            read(path)
    # One that is no dict, of an old protocol, is taken for JSON.
    with pytest.raises(DataFormatError, match=r"asks for posix\.system, and was not read|not readable as JSON"):
        convert_pickle(path)
    assert not sign.exists()
    pickle.loads(path.read_bytes())
    assert sign.exists()  # it would have run


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "holds a list; expected a dictionary"),
        (b'{"a": 0}', "the id of 'a' is none of 1 to 1; expected a dictionary of Recommenders"),
        (b'{"a": 1, "b": 1}', "two names have the same id"),
        (b'{"a": 1.0}', "the id of 'a' is none"),
        (b'{"a": true}', "the id of 'a' is none"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not readable as JSON"),
        (b"[" * 100_000, "not readable as JSON"),
        (b"", "the file is empty"),
        (b'{"\xff": 1}', "not readable as JSON"),
        (b"\x1f\x8b\x08\x00", "not readable as JSON"),
        (b"\x80\x04}\x8c\x01aQs.", "not readable as a pickle"),
        ({"a": 10**30_000}, "the id of 'a' is none of 1 to 1"),
        ({1: 1}, "a name is of type int and no text"),
        (OrderedDict(a=1), r"asks for collections\.OrderedDict"),
    ],
    ids=lambda value: ascii(value[:30]) if isinstance(value, str | bytes) else type(value).__name__,
)
def test_what_is_no_dictionary_is_refused(content, message, tmp_path):
    path = tmp_path / "words.pkl"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content))
    with pytest.raises(DataFormatError, match=message) as caught:
        convert_pickle(path)
    assert str(path) in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numpy_numbers_are_named_with_what_to_do(protocol, tmp_path):
    names = {"film": np.int64(1), "goal": np.int64(2)}
    path = pickled(tmp_path / "words.pkl", names, protocol)
    with pytest.raises(DataFormatError, match=r"asks for numpy\..*not NumPy's numbers") as caught:
        convert_pickle(path)
    remedy = str(caught.value).partition("write ")[2].removesuffix(".")
    exec(remedy, {"json": json, "names": names})
    assert read_dictionary(path.with_suffix(".json")) == {"film": 1, "goal": 2}


def test_what_stands_in_the_way_and_is_no_dictionary_is_kept(tmp_path):
    path = pickled(tmp_path / "words.pkl", WORDS)
    other = written(tmp_path / "words.json", {"my": "settings"})
    with pytest.raises(RecommendersMinerError, match="Not overwritten"):
        convert_pickle(path)
    assert json.loads(other.read_text()) == {"my": "settings"}
    written(other, {"old": 1})
    assert read_dictionary(convert_pickle(path)) == WORDS


# === Word vectors ===


@pytest.fixture
def words_file(tmp_path):
    return written(tmp_path / "words.json", WORDS)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_a_matrix_is_brought_into_the_vocabularys_order(dtype, tmp_path, words_file):
    matrix = np.array([[9, 9], [1, 1], [2, 2], [3, 3]], dtype)
    np.save(tmp_path / "vectors.npy", matrix)
    read = read_matrix(tmp_path / "vectors.npy", words_file, read_vocabulary(words_file))
    assert read.dtype == "float32"
    assert read.tolist() == [[0, 0], [9, 9], [1, 1], [2, 2], [3, 3]]


def test_words_that_the_dictionary_lacks_are_unknown(tmp_path, words_file):
    np.save(tmp_path / "vectors.npy", np.array([[9.0], [1], [2], [3]]))
    others = read_vocabulary(written(tmp_path / "others.json", {"opera": 1, "goal": 2}))
    assert read_matrix(tmp_path / "vectors.npy", words_file, others)[:, 0].tolist() == [0, 9, 9, 2]


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.zeros((3, 2)), r"has 3 rows; expected 4, one for each id of .*words\.json and row 0"),
        (np.zeros((4, 2), int), "holds something else than an embedding matrix"),
        (np.zeros(4), "holds something else"),
        (np.array([[Payload("x")]]), "is not readable as a matrix"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value.shape),
)
def test_a_matrix_that_does_not_fit_is_refused(matrix, message, tmp_path, words_file):
    path = tmp_path / "vectors.npy"
    np.save(path, matrix)
    with pytest.raises(DataFormatError, match=message) as caught:
        read_matrix(path, words_file, read_vocabulary(words_file))
    assert str(path) in str(caught.value)


def test_files_that_are_no_matrix_are_refused(tmp_path, words_file):
    path, words = tmp_path / "vectors.npy", read_vocabulary(words_file)
    with pytest.raises(DataFormatError, match="does not exist"):
        read_matrix(path, words_file, words)
    np.save(path, np.zeros((4, 2)))
    whole = path.read_bytes()
    for data in (whole[:-1], whole[:20], b"film 0.1 0.2\n", pickle.dumps(Payload(tmp_path / "ran")), b"PK\3\4"):
        path.write_bytes(data)
        with pytest.raises(DataFormatError, match="not readable as a matrix"):
            read_matrix(path, words_file, words)
    with open(path, "wb") as file:
        np.savez(file, vectors=np.zeros((4, 2)))
    with pytest.raises(DataFormatError, match="holds something else"):
        read_matrix(path, words_file, words)
    assert not (tmp_path / "ran").exists()
