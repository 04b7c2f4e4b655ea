"""GloVe's vectors: from mirrors, from what a user has, and as the reader of word vectors takes them."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from recommenders_miner.data.vectors import read_word_vectors
from recommenders_miner.data.vocabulary import Vocabulary
from recommenders_miner.datasets import glove
from recommenders_miner.datasets.glove import fetch_glove
from recommenders_miner.errors import DataFormatError, DownloadError, RecommendersMinerError
from tests.datasets.loopback import status, whole
from tests.datasets.mind_like import read, write, zipped

VECTORS = {"glove.6B.100d.txt": b"quoll 0.5 -1 2\nnaps 1 2 3\n", "glove.6B.300d.txt": b"quoll 1 2 3 4\n"}
ARCHIVE = zipped(VECTORS)
HUB = "/stanfordnlp/glove/resolve/main/glove.6B.zip"


@pytest.fixture(autouse=True)
def _small_glove(monkeypatch, tmp_path):
    monkeypatch.setattr(glove, "FILE_BYTES", {dim: len(VECTORS[f"glove.6B.{dim}d.txt"]) for dim in (100, 300)})
    monkeypatch.setattr(glove, "ARCHIVE_SHA256", hashlib.sha256(ARCHIVE).hexdigest())
    monkeypatch.setenv("RECOMMENDERS_MINER_HOME", str(tmp_path / "home"))


@pytest.fixture
def mirrors(hub, monkeypatch):
    """The hub and Stanford's host, which answer 404 until they are told otherwise."""
    monkeypatch.setattr(glove, "STANFORD", hub.url + "/stanford/glove.6B.zip")
    return hub


@pytest.mark.parametrize("dim", [100, 300])
def test_one_file_of_the_archive_is_kept(mirrors, tmp_path, dim):
    mirrors.serve(HUB, whole(ARCHIVE))
    name = f"glove.6B.{dim}d.txt"
    assert fetch_glove(dim) == tmp_path / "home" / "glove" / name
    assert read(tmp_path) == {f"home/glove/{name}": VECTORS[name]}


def test_the_file_is_what_the_reader_of_word_vectors_takes(mirrors, tmp_path):
    mirrors.serve(HUB, whole(ARCHIVE))
    vectors, found = read_word_vectors(fetch_glove(100, tmp_path), Vocabulary(["quoll"]), np.random.default_rng(0))
    np.testing.assert_array_equal(vectors[found], [[0.5, -1, 2]])


@pytest.mark.parametrize("answer", [status(404), whole(b"<html>"), whole(ARCHIVE[:-1]), whole(zipped({"x": b"x"}))])
def test_stanfords_host_is_asked_where_the_hub_fails(mirrors, tmp_path, answer):
    mirrors.serve(HUB, answer)
    mirrors.serve("/stanford/glove.6B.zip", whole(ARCHIVE))
    assert fetch_glove(100, tmp_path / "out").read_bytes() == VECTORS["glove.6B.100d.txt"]
    assert read(tmp_path / "out").keys() == {"glove.6B.100d.txt"}


def test_when_both_fail_each_is_named_and_nothing_is_left(mirrors, tmp_path):
    mirrors.serve("/stanford/glove.6B.zip", status(403))
    with pytest.raises(DownloadError, match=r"hub \(stanfordnlp/glove\): .* 404 Not Found\.\n.*: HTTP 403 Forbidden"):
        fetch_glove(100, tmp_path / "out")
    assert read(tmp_path) == {}


def test_a_file_that_is_there_is_not_got_again(mirrors, tmp_path):
    write(tmp_path, VECTORS)
    assert fetch_glove(100, tmp_path).read_bytes() == VECTORS["glove.6B.100d.txt"]
    assert mirrors.requests == []


def test_what_a_killed_call_left_goes_when_the_file_is_there(tmp_path):
    write(tmp_path, {**VECTORS, ".glove.6B.100d.txt.downloads/hub/glove.6B.zip": b"PK"})
    fetch_glove(100, tmp_path)
    assert read(tmp_path) == VECTORS


def test_a_file_of_another_size_is_not_overwritten(mirrors, tmp_path):
    write(tmp_path, {"glove.6B.100d.txt": b"my own"})
    with pytest.raises(RecommendersMinerError, match=r"not overwritten.*has 6 bytes, expected"):
        fetch_glove(100, tmp_path)
    assert read(tmp_path) == {"glove.6B.100d.txt": b"my own"}


@pytest.mark.parametrize(
    "form",
    ["archive", "renamed archive", "capitals", "archive without a suffix", "text", "folder of an archive", "texts"],
)
def test_what_the_user_has_is_taken(tmp_path, form):
    given = tmp_path / "given"
    inner = {
        "archive": "glove.6B.zip",
        "renamed archive": "mine.zip",
        "capitals": "GLOVE.6B.ZIP",
        "archive without a suffix": "mine",
        "text": "glove.6B.100d.txt",
    }
    write(given, VECTORS if form in ("text", "texts") else {inner.get(form, "glove.6B.zip"): ARCHIVE})
    fetch_glove(100, tmp_path / "out", given / inner.get(form, ""))
    assert read(tmp_path / "out") == {"glove.6B.100d.txt": VECTORS["glove.6B.100d.txt"]}


@pytest.mark.parametrize(
    ("files", "source", "message"),
    [
        ({"other.txt": b"x"}, "", "is neither glove.6B.100d.txt nor glove.6B.zip"),
        ({}, "nowhere", "is neither"),
        ({"glove.6B.100d.txt": b"quoll 0.5"}, "", "has 9 bytes, expected 26. It may have been cut short"),
        ({"glove.6B.zip": ARCHIVE[:-10]}, "", "is no zip file"),
        ({"glove.6B.zip": zipped({"glove.6B.100d.txt": b"short"})}, "", "has 5 bytes"),
        ({"glove.6B.zip": zipped({"glove.6B.50d.txt": b"x"})}, "", "has no glove.6B.100d.txt"),
        ({"glove.6B.zip": zipped(VECTORS | {"../evil": b"x"})}, "", "leaves its folder"),
    ],
)
def test_what_the_user_has_is_checked(tmp_path, files, source, message):
    given = write(tmp_path / "given", files)
    with pytest.raises(DataFormatError) as caught:
        fetch_glove(100, tmp_path / "out", given / source)
    assert message in str(caught.value)
    assert read(tmp_path / "out") == {}


@pytest.mark.parametrize("dim", [0, 50, 200, 840])
def test_dimensions_that_are_not_offered_are_errors(tmp_path, dim):
    with pytest.raises(ValueError, match="100, 300"):
        fetch_glove(dim, tmp_path)
