"""What reads files of unknown origin, as one table: a name, good files, and how they are read.

`check` holds a reader to its promise: whatever the file, it is read, or one of the package's own errors raised, in time
and with memory in proportion to its size. A reader of several files takes one file that says with its first byte which
of them it is.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import json
import re
import signal
import tempfile
import zipfile
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
from recommenders_miner.datasets import convert_adressa, convert_own_logs
from recommenders_miner.errors import RecommendersMinerError
from recommenders_miner.hparams import prepare_hparams
from tests.datasets.read_back import read_back
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
        path = put(Path(name), {"behaviors.tsv": LOG}) / "behaviors.tsv"
        ImpressionLog.read(path, NEWS, cache=path.with_name("cache"))
        return files_in(Path(name))


def read_cache(path: Path) -> None:
    folder = put(path.with_name("data"), replaced(path, cached_log()) | {"behaviors.tsv": LOG})
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


@functools.cache
def saved_model() -> dict[str, bytes]:
    """Return the files of a saved model by their names; what a zip archive holds counts as files in a folder."""
    from tests.models.toy import fresh_toy_model

    with tempfile.TemporaryDirectory() as name:
        fresh_toy_model("nrms").save(Path(name))
        files = files_in(Path(name))
    for name, content in list(files.items()):
        if zipfile.is_zipfile(io.BytesIO(content)):
            with zipfile.ZipFile(io.BytesIO(files.pop(name))) as archive:
                files |= {f"{name}!{member}": archive.read(member) for member in archive.namelist()}
    return files


def read_model(path: Path) -> None:
    from recommenders_miner.models import load_model

    files = replaced(path, saved_model())
    for name, content in saved_model().items():
        # Keras makes layers as large as a config says, before it looks at their weights.
        if name.endswith(".json") and largest_number(files[name]) > largest_number(content):
            return
    folder = put(path.with_name("model"), {name: content for name, content in files.items() if "!" not in name})
    for name, content in files.items():
        archive, _, member = name.partition("!")
        if member:
            with zipfile.ZipFile(folder / archive, "a") as file:
                file.writestr(member, content)
    load_model(folder)


def largest_number(text: bytes) -> int:
    return max((int(digits[:20]) for digits in re.findall(rb"\d+", text)), default=0)


# === Others' files ===


def convert(path: Path, converter: Callable[..., object]) -> None:
    """Convert strictly, and with errors left out; what was written has to be readable, or not to be there."""
    for on_error in ("skip", "raise"):
        out = path.parent / f"out-{on_error}"
        try:
            converter(out, on_error=on_error)
        except RecommendersMinerError:
            assert not out.exists()
            raise
        for split in (folder for folder in out.iterdir() if folder.is_dir()):
            read_back(split)


def read_own(path: Path) -> None:
    convert(path, functools.partial(convert_own_logs, put(path.with_name("own"), replaced(path, OWN)) / "logs.yaml"))


# === Good files ===


def replaced(path: Path, files: dict[str, bytes]) -> dict[str, bytes]:
    """Replace one of some files by another, which says with its first byte which."""
    number, content = path.read_bytes()[:1], path.read_bytes()[1:]
    return files | ({list(files)[number[0] % len(files)]: content} if number else {})


def put(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files, whose names may have folders; return the folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def files_in(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def several(files: Callable[[], dict[str, bytes]]) -> Callable[[], tuple[bytes, ...]]:
    return lambda: tuple(bytes([number]) + content for number, content in enumerate(files().values()))


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
EVENTS = {
    "user": ["u", "v"],
    "day": ["2024-01-02"] * 2,
    "id": ["n1", "n2"],
    "clicked": [True, False],
    "page": ["p"] * 2,
}
OWN = {
    "logs.yaml": b"news: {file: news, id: id, title: title, category: section, published: day}\n"
    b"events: {file: events, user: user, time: day, news: id, clicked: clicked, impression: page}\n",
    "news": b'id,title,section,day\nn1,"One, ""two""",a,2024-01-01\nn2,Two,,\n',
    "events": b"user,day,id,clicked,page\nu,2024-01-02,n1,1,p\nu,2024-01-02 10:00:00,n2,0,p\n",
}
VISIT = {"userId": "u", "time": 1483272010, "id": "9f39", "title": "Tittel", "url": "http://a.no/9f39.ece"}
VISITS = b"\n".join(json.dumps(VISIT | {"userId": user}).encode() for user in "uv") + b"\n"


def own_files() -> tuple[bytes, ...]:
    ways = ({"compression": "none", "use_dictionary": False}, {"compression": "zstd", "data_page_version": "2.0"})
    return (*several(lambda: OWN)(), *(b"\x02" + parquet(EVENTS, **way) for way in ways))


READERS: dict[str, Reader] = {
    "news": Reader("news.tsv", read_news, lambda: (NEWS_ROWS, NEWS_ROWS.replace(b"\n", b"\r\n"))),
    "articles": Reader("articles.parquet", read_articles, lambda: (parquet({"id": ["N1"], "published": [3]}),)),
    "behaviors": Reader("behaviors.tsv", read_behaviors, lambda: (LOG, LOG.replace(b"-0", b"").replace(b"-1", b""))),
    "cache": Reader("file", read_cache, several(cached_log)),
    "entities": Reader("entities.json", read_entities, lambda: (ENTITIES, b"[]")),
    "triples": Reader(
        "triples.txt", lambda path: graph_neighbours(path, WORDS), lambda: (b"Q1\tP1\tQ2\nQ2\tP2\tQ1\n",)
    ),
    "vectors": Reader("vectors.txt", read_vectors, lambda: (GLOVE, b"4 3\n" + GLOVE, VEC, gzip.compress(GLOVE))),
    "vocabulary": Reader("words.txt", read_vocabulary, lambda: ("\n".join(WORDS.tokens).encode() + b"\n",)),
    "yaml": Reader("own.yaml", prepare_hparams, lambda: (YAML, b"base: nrms.yaml\ntrain: {epochs: 2}\n")),
    "saved model": Reader("file", read_model, several(saved_model)),
    "own logs": Reader("file", read_own, own_files),
    "adressa": Reader(
        "20170101", lambda path: convert(path, functools.partial(convert_adressa, path)), lambda: (VISITS,)
    ),
}
