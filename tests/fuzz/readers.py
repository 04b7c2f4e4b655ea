"""The readers of the package's own tables, vectors, settings and caches, and files that they read."""

from __future__ import annotations

import functools
import gzip
import io
import json
import pickle
import shutil
import tempfile
from pathlib import Path

import numpy as np

from recommenders_miner.compat.dictionaries import convert_pickle, read_matrix, read_vocabulary
from recommenders_miner.data.entities import graph_neighbours, news_neighbours, title_entities, word_entities
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.terms import IDF_FILE, TERMS_FILE, TermWeights
from recommenders_miner.data.vectors import read_vector_names, read_word_vectors
from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.data.vocabulary import Vocabulary
from recommenders_miner.hparams import prepare_hparams
from tests.fuzz.target import Target

NEWS = NewsTable.from_columns(["N1", "N2", "N3", "N4-1"], ["moss on roofs", "a calm sea", "tin drums", "owls"])
WORDS = Vocabulary(["moss", "sea", "owls", "Q1", "Q2", "été"])
DICTIONARY = {"moss": 1, "sea": 2, "": 3}


# === MIND's tables ===


def read_news(path: Path) -> None:
    for on_error in ("skip", "raise"):
        news = NewsTable.read(path, on_error)
        assert len(set(news.ids.to_pylist())) == len(news)
        repr(news.digest)


def read_behaviors(path: Path) -> None:
    for on_error in ("skip", "raise"):
        log = ImpressionLog.read(path, NEWS, on_error, cache=path.parent / on_error)
        assert log.candidates.values.min() > 0
        assert log.candidates.values.max() < len(NEWS)
        assert log.history_of.max() < len(log.histories)
        users = Vocabularies.build(NEWS, log).users
        assert len(users) <= len(log.users) + 2


def read_entities(path: Path) -> None:
    """Takes the file for the entity column of a single news."""
    text = path.read_bytes().decode(errors="replace")
    news = NewsTable.from_columns(["N1"], ["moss on roofs"], title_entities=[text], abstract_entities=[text])
    [names] = title_entities(news)
    known = Vocabulary(names)
    word_entities(news, 5)
    news_neighbours(news, known)


def read_triples(path: Path) -> None:
    graph_neighbours(path, WORDS)


# === Vectors ===


def read_vectors(path: Path) -> None:
    names = Vocabularies.build(NEWS, _log(), entities=read_vector_names(path)).entities
    for vocabulary in (WORDS, names):
        matrix, found = read_word_vectors(path, vocabulary, np.random.default_rng(0))
        assert np.isfinite(matrix).all()
        assert not found[0]


def read_numpy_matrix(path: Path) -> None:
    dictionary = path.with_name("dictionary.json")
    dictionary.write_text(json.dumps(DICTIONARY))
    assert np.isfinite(read_matrix(path, dictionary, WORDS)).all()


@functools.cache
def _log() -> ImpressionLog:
    return ImpressionLog.from_columns(NEWS, histories=[["N1"]], candidates=[["N2", "N3"]], labels=[[1, 0]])


# === Dictionaries and vocabularies ===


def read_json_dictionary(path: Path) -> None:
    read_vocabulary(path)


def read_pickled_dictionary(path: Path) -> None:
    read_vocabulary(convert_pickle(path))


def read_saved_vocabulary(path: Path) -> None:
    vocabulary = Vocabulary.load(path)
    vocabulary.save(path.with_name("again.txt"))
    assert Vocabulary.load(path.with_name("again.txt")).tokens == vocabulary.tokens


def read_term_weights(path: Path) -> None:
    Vocabulary(["moss", "sea", "owls"]).save(path.with_name(TERMS_FILE))
    assert np.isfinite(TermWeights.load(path.parent).idf).all()


def read_yaml(path: Path) -> None:
    hparams = prepare_hparams(path)
    repr(hparams.to_dict())
    repr(hparams.plm_layers)


# === The cache ===

LOG = b"1\tU1\t11/12/2019 2:14:46 PM\tN1 N2\tN3-1 N2-0\n2\tU2\t11/12/2019 3:00:00 PM\t\tN1-0 N4-1-1\n"


_STORED = tempfile.TemporaryDirectory(prefix="fuzz-cache-")  # goes with the process


@functools.cache
def stored_cache() -> tuple[Path, tuple[str, ...]]:
    """A folder with a log and its cache, and the names of the cache's files."""
    folder = Path(_STORED.name)
    (folder / "behaviors.tsv").write_bytes(LOG)
    ImpressionLog.read(folder / "behaviors.tsv", NEWS, cache=folder / "cache")
    [entry] = (folder / "cache").iterdir()
    return folder, tuple(sorted(path.name for path in entry.iterdir()))


def read_cache(path: Path) -> None:
    """Takes the file for one of a cache's: the first byte says which, the rest is its content."""
    whole, names = stored_cache()
    folder = path.parent / "data"
    shutil.copytree(whole, folder)
    [entry] = (folder / "cache").iterdir()
    which, content = path.read_bytes()[:1], path.read_bytes()[1:]
    if which:
        (entry / names[which[0] % len(names)]).write_bytes(content)
    log = ImpressionLog.read(folder / "behaviors.tsv", NEWS, cache=folder / "cache")
    assert len(log) == 2
    assert len(log.users.to_pylist()) == 2
    assert 0 < log.candidates.values.min() <= log.candidates.values.max() < len(NEWS)
    assert 0 <= log.history_of.min() <= log.history_of.max() < len(log.histories)


def cache_seeds() -> tuple[bytes, ...]:
    folder, names = stored_cache()
    [entry] = (folder / "cache").iterdir()
    return tuple(bytes([number]) + (entry / name).read_bytes() for number, name in enumerate(names))


# === Seeds ===


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


ENTITIES = json.dumps(
    [
        {"Label": "Moss", "Type": "O", "WikidataId": "Q1", "OccurrenceOffsets": [0], "SurfaceForms": ["moss"]},
        {
            "Label": "Roof",
            "Type": "O",
            "WikidataId": "Q2",
            "OccurrenceOffsets": [8, 40],
            "SurfaceForms": ["roofs", "x"],
        },
    ]
).encode()
NEWS_ROWS = (
    b"N1\tnature\tplants\tMoss on \"wet\" roofs\tGreen, and 'soft'.\thttps://a.example/1\t" + ENTITIES + b"\t[]\n"
    b"N2\tsea\tcalm\tUne mer d'\xc3\xa9t\xc3\xa9\t\thttps://a.example/2\t[]\t" + ENTITIES + b"\n"
    b"N3\tsea\tcalm\ttitle\tabstract\t\t\t\n"
)
GLOVE = b"moss 0.1 -2 3e-1\nsea 1 2 3\n. . . 7 8 9\nowls 4 5 6\n"
VEC = b"Q1\t0.5\t1\t-1\t\nQ2\t0.25\t1\t-2\t\nQ3\t0.25\t1\t-2\t\n"
YAML = b"data:\n  title_size: 20\ninfo:\n  metrics: [group_auc, 'ndcg@5;10']\nmodel:\n  plm_trainable: {last_n: 2}\n\
  dropout: 0.2\n  window_sizes: [1, 2]\n  model_type: nrms\ntrain: {learning_rate: 1e-4, epochs: 3, clip_norm: null}\n"

READERS: dict[str, Target] = {
    "news": Target("news.tsv", read_news, (NEWS_ROWS, NEWS_ROWS.replace(b"\n", b"\r\n"))),
    "behaviors": Target(
        "behaviors.tsv",
        read_behaviors,
        (
            LOG,
            LOG.replace(b"11/12/2019 2:14:46 PM", b"2019-11-12 14:14:46"),
            LOG.replace(b"-0", b"").replace(b"-1", b""),
        ),
    ),
    "entities": Target("entities.json", read_entities, (ENTITIES, b"[]"), names_its_file=False),
    "triples": Target("triples.txt", read_triples, (b"Q1\tP1\tQ2\nQ2\tP2\tQ1\n",)),
    "vectors": Target("vectors.txt", read_vectors, (GLOVE, b"4 3\n" + GLOVE, VEC, gzip.compress(GLOVE, mtime=0))),
    "matrix": Target("matrix.npy", read_numpy_matrix, (_npy(np.ones((4, 3), "float32")), _npy(np.eye(4)))),
    "dictionary": Target("dictionary.json", read_json_dictionary, (json.dumps(DICTIONARY).encode(),)),
    "pickle": Target(
        "dictionary.pkl", read_pickled_dictionary, tuple(pickle.dumps(DICTIONARY, protocol) for protocol in range(6))
    ),
    "vocabulary": Target("words.txt", read_saved_vocabulary, ("\n".join(WORDS.tokens).encode() + b"\n",)),
    "terms": Target(IDF_FILE, read_term_weights, (b"1.25\n2.5e-1\n3\n",), names_its_file=False),
    "yaml": Target("own.yaml", read_yaml, (YAML, b"base: nrms.yaml\ntrain: {epochs: 2}\n"), names_its_file=False),
    "cache": Target("cached", read_cache, cache_seeds(), names_its_file=False),
}
