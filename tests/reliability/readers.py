"""What reads files of unknown origin, as one table: a name, good files, and how they are read.

`check` holds a reader to its promise: whatever the file, it is read, or one of the package's own errors raised, in time
and with memory in proportion to its size. Converters are in tests/datasets/test_any_input.py, damaged models in
tests/models/test_saved_folders.py.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import json
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recommenders_miner.data import tsv
from recommenders_miner.data.entities import graph_neighbours, title_entities, word_entities
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.vectors import read_vector_names, read_word_vectors
from recommenders_miner.data.vocabulary import Vocabulary
from recommenders_miner.errors import RecommendersMinerError
from recommenders_miner.hparams import prepare_hparams
from tests.datasets.mind_like import read, write
from tests.peak_memory import measured

SECONDS, TIMES_THE_FILE, FLOOR_BYTES = 20, 64, 2**26
NEWS = NewsTable.from_columns(["N1", "N2", "N3", "N4-1"], ["moss on roofs", "a calm sea", "tin drums", "owls"])
WORDS = Vocabulary(["moss", "sea", "owls", "Q1", "Q2", "été"])


class Reader(NamedTuple):
    """What a reader's file is called, how it is read from a folder of its own, and files that it reads."""

    file_name: str
    read: Callable[[Path], None]
    good: Callable[[], tuple[bytes, ...]]


def check(reader: Reader, content: bytes, block_bytes: int = 2**16, alarm: bool = True) -> None:
    """Read a file; raise any error but the package's own, and one where it takes too long or too much memory."""

    def too_long(*_: object) -> None:
        raise AssertionError(f"still reading after {SECONDS} s")

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / reader.file_name
        path.write_bytes(content)
        if alarm:
            signal.signal(signal.SIGALRM, too_long)
            signal.alarm(SECONDS)
        try:
            small_blocks = mock.patch.object(tsv, "BLOCK_BYTES", block_bytes)
            with measured() as peak, small_blocks, contextlib.suppress(RecommendersMinerError):
                reader.read(path)
        finally:
            if alarm:
                signal.alarm(0)
    assert peak.size <= TIMES_THE_FILE * len(content) + FLOOR_BYTES, f"{peak.size:,} bytes of memory"


# === Our own files ===


def read_news(path: Path) -> None:
    for on_error in ("skip", "raise"):
        news = NewsTable.read(path, on_error)
        assert len(set(news.ids.to_pylist())) == len(news)


def read_articles(path: Path) -> None:
    path.with_name("news.tsv").write_bytes(NEWS_ROWS)
    assert NewsTable.read(path.with_name("news.tsv")).extra.num_rows == 4


def require_sound(log: ImpressionLog) -> None:
    assert 0 < log.candidates.values.min() <= log.candidates.values.max() < len(NEWS)
    assert 0 <= log.history_of.min() <= log.history_of.max() < len(log.histories)
    assert max(log.user_of) < len(log.users.to_pylist())


def read_behaviors(path: Path) -> None:
    for on_error in ("skip", "raise"):
        require_sound(ImpressionLog.read(path, NEWS, on_error, cache=path.parent / on_error))


@functools.cache
def cached_log() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as name:
        path = write(Path(name), {"behaviors.tsv": LOG}) / "behaviors.tsv"
        ImpressionLog.read(path, NEWS, cache=path.with_name("cache"))
        return read(Path(name))


def read_cache(path: Path) -> None:
    """Take the file for one of a cache, which its first byte says."""
    number, content, files = path.read_bytes()[:1], path.read_bytes()[1:], cached_log()
    changed = {list(files)[number[0] % len(files)]: content} if number else {}
    folder = write(path.with_name("data"), files | changed | {"behaviors.tsv": LOG})
    log = ImpressionLog.read(folder / "behaviors.tsv", NEWS, cache=folder / "cache")
    require_sound(log)
    assert (len(log), len(log.users)) == (2, 2)


def read_entities(path: Path) -> None:
    """Take the file for the entity column of a single article."""
    text = path.read_bytes().decode(errors="replace")
    news = NewsTable.from_columns(["N1"], ["moss on roofs"], title_entities=[text])
    assert len(title_entities(news)) == len(word_entities(news, 5)) == 1


def read_vectors(path: Path) -> None:
    read_vector_names(path)
    matrix, found = read_word_vectors(path, WORDS, np.random.default_rng(0))
    assert np.isfinite(matrix).all()
    assert not found[0]


def read_vocabulary(path: Path) -> None:
    vocabulary = Vocabulary.load(path)
    vocabulary.save(path.with_name("again.txt"))
    assert Vocabulary.load(path.with_name("again.txt")).tokens == vocabulary.tokens


# === Good files ===


def parquet(columns: dict[str, object], **options: object) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, **options)
    return file.getvalue()


ENTITY = {"Label": "Moss", "Type": "O", "WikidataId": "Q1", "OccurrenceOffsets": [0, 40], "SurfaceForms": ["moss", "x"]}
ENTITIES = json.dumps([ENTITY, ENTITY | {"WikidataId": "Q2"}]).encode()
NEWS_ROWS = (
    b"N1\tnature\tplants\tMoss on \"wet\" roofs\tGreen, and 'soft'.\thttps://a.example/1\t" + ENTITIES + b"\t[]\n"
    b"N2\tsea\tcalm\tUne mer d'\xc3\xa9t\xc3\xa9\t\thttps://a.example/2\t[]\t" + ENTITIES + b"\n"
    b"N3\tsea\tcalm\ttitle\tabstract\t\t\t\n"
)
LOG = b"1\tU1\t11/12/2019 2:14:46 PM\tN1 N2\tN3-1 N2-0\n2\tU2\t2019-11-12 03:00:00\t\tN1-0 N4-1-1\n"
GLOVE = b"moss 0.1 -2 3e-1\nsea 1 2 3\n. . . 7 8 9\nowls 4 5 6\n"
VEC = b"Q1\t0.5\t1\t-1\t\nQ2\t0.25\t1\t-2\t\n"
YAML = b"data:\n  title_size: 20\nmodel:\n  plm_trainable: {last_n: 2}\n  window_sizes: [1, 2]\n  model_type: nrms\n"


READERS: dict[str, Reader] = {
    "news": Reader("news.tsv", read_news, lambda: (NEWS_ROWS, NEWS_ROWS.replace(b"\n", b"\r\n"))),
    "articles": Reader("articles.parquet", read_articles, lambda: (parquet({"id": ["N1"], "published": [3]}),)),
    "behaviors": Reader("behaviors.tsv", read_behaviors, lambda: (LOG, LOG.replace(b"-0", b"").replace(b"-1", b""))),
    "cache": Reader("file", read_cache, lambda: tuple(bytes([k]) + v for k, v in enumerate(cached_log().values()))),
    "entities": Reader("entities.json", read_entities, lambda: (ENTITIES, b"[]")),
    "triples": Reader(
        "triples.txt", lambda path: graph_neighbours(path, WORDS), lambda: (b"Q1\tP1\tQ2\nQ2\tP2\tQ1\n",)
    ),
    "vectors": Reader("vectors.txt", read_vectors, lambda: (GLOVE, b"4 3\n" + GLOVE, VEC, gzip.compress(GLOVE))),
    "vocabulary": Reader("words.txt", read_vocabulary, lambda: ("\n".join(WORDS.tokens).encode() + b"\n",)),
    "yaml": Reader("own.yaml", prepare_hparams, lambda: (YAML, b"base: nrms.yaml\ntrain: {epochs: 2}\n")),
}
