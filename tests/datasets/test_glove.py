"""GloVe's vectors: from mirrors, from what a user has, and as the reader of word vectors takes them."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from recommenders_miner.data.vectors import read_word_vectors
from recommenders_miner.data.vocabulary import Vocabulary
from recommenders_miner.datasets import glove
from recommenders_miner.datasets.glove import fetch_glove
from recommenders_miner.errors import DataFormatError, RecommendersMinerError
from tests.datasets.loopback import status, whole
from tests.datasets.mind_like import read, write, zipped

NAME = "glove.6B.100d.txt"
VECTORS = {
    NAME: b"quoll 0.5 -1 2\nnaps 1 2 3\n",
    "glove.6B.300d.txt": b"quoll 1 2 3 4\n",
    "glove.840B.300d.txt": b"quoll 5\n",
}
ARCHIVE = zipped(VECTORS)
HUB, STANFORD = "/stanfordnlp/glove/resolve/main/glove.6B.zip", "/stanford/glove.6B.zip"


@pytest.fixture(autouse=True)
def mirrors(hub, monkeypatch, tmp_path):
    """The hub and Stanford's host, which answer 404 until they are told otherwise; GloVe is the vectors above."""
    digest = hashlib.sha256(ARCHIVE).hexdigest()
    monkeypatch.setattr(glove, "FILE_BYTES", {name: len(vectors) for name, vectors in VECTORS.items()})
    monkeypatch.setattr(glove, "SHA256", {"glove.6B.zip": digest, "glove.840B.300d.zip": digest})
    monkeypatch.setattr(glove, "STANFORD", hub.url + "/stanford")
    monkeypatch.setenv("RECOMMENDERS_MINER_HOME", str(tmp_path / "home"))
    return hub


@pytest.mark.parametrize("name", VECTORS)
def test_one_file_of_the_archive_is_kept(mirrors, tmp_path, name):
    mirrors.serve(HUB if "6B" in name else HUB.replace("6B", "840B.300d"), whole(ARCHIVE))
    file = tmp_path / "home" / "glove" / name
    assert fetch_glove(name) == file
    assert read(tmp_path) == {f"home/glove/{name}": VECTORS[name]}
    vectors, found = read_word_vectors(file, Vocabulary(["quoll"]), np.random.default_rng(0))
    np.testing.assert_array_equal(vectors[found], [np.fromstring(VECTORS[name].splitlines()[0][5:], sep=" ")])


@pytest.mark.parametrize("answer", [status(404), whole(b"<html>"), whole(ARCHIVE[:-1]), whole(zipped({"x": b"x"}))])
def test_stanfords_host_is_asked_where_the_hub_fails(mirrors, tmp_path, answer):
    mirrors.serve(HUB, answer)
    mirrors.serve(STANFORD, whole(ARCHIVE))
    fetch_glove(NAME, tmp_path)
    assert read(tmp_path) == {NAME: VECTORS[NAME]}


def test_a_file_of_another_size_is_not_overwritten_and_other_files_are_errors(tmp_path):
    write(tmp_path, {NAME: b"my own"})
    with pytest.raises(RecommendersMinerError, match=r"not overwritten.*has 6 bytes, expected.*Remove it"):
        fetch_glove(NAME, tmp_path)
    with pytest.raises(ValueError, match=r"glove\.840B\.300d\.txt, got 'glove\.6B\.50d\.txt'"):
        fetch_glove("glove.6B.50d.txt", tmp_path)
    assert read(tmp_path) == {NAME: b"my own"}


def test_a_file_that_is_there_is_not_fetched_again_and_what_a_killed_call_left_goes(mirrors, tmp_path):
    write(tmp_path, {**VECTORS, f".{NAME}.downloads/hub/glove.6B.zip": b"PK"})
    fetch_glove(NAME, tmp_path)
    assert read(tmp_path) == VECTORS
    assert mirrors.requests == []


@pytest.mark.parametrize(
    ("files", "source"),
    [
        ({"glove.6B.zip": ARCHIVE}, ""),
        ({"GLOVE.6B.ZIP": ARCHIVE}, "GLOVE.6B.ZIP"),
        ({"mine": ARCHIVE}, "mine"),
        (VECTORS, NAME),
        (VECTORS, ""),
    ],
)
def test_what_the_user_has_is_taken(tmp_path, files, source):
    fetch_glove(NAME, tmp_path / "out", write(tmp_path / "given", files) / source)
    assert read(tmp_path / "out") == {NAME: VECTORS[NAME]}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"other.txt": b"x"}, "is neither glove.6B.100d.txt nor glove.6B.zip"),
        ({NAME: b"quoll 0.5"}, "has 9 bytes, expected 26. It may have been cut short"),
        ({"glove.6B.zip": ARCHIVE[:-10]}, "is no zip file"),
        ({"glove.6B.zip": zipped({NAME: b"short"})}, "has 5 bytes"),
        ({"glove.6B.zip": zipped({"glove.6B.50d.txt": b"x"})}, "has no glove.6B.100d.txt"),
    ],
)
def test_what_the_user_has_is_checked(tmp_path, files, message):
    with pytest.raises(DataFormatError) as caught:
        fetch_glove(NAME, tmp_path / "out", write(tmp_path / "given", files))
    assert message in str(caught.value)
    assert read(tmp_path / "out") == {}
