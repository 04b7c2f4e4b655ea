"""The files of other people that `convert` reads: CSV, Parquet, JSON lines, and YAML that names columns."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recommenders_miner.datasets import convert_adressa, convert_ebnerd, convert_own_logs, convert_xmind
from recommenders_miner.datasets.own_schema import LogSchema
from recommenders_miner.errors import RecommendersMinerError
from tests.datasets.read_back import read_back
from tests.fuzz.target import Target

OF_PARQUET = {"names_its_file": False, "times": 1024, "floor": 2**26}
"""A value that is repeated takes less than a bit there."""


def convert_both_ways(convert: Callable[..., object], out: Path) -> None:
    """Converts strictly, and with faulty lines left out; what was written has to be readable, or not to be there."""
    for on_error in ("skip", "raise"):
        try:
            convert(out, on_error=on_error, overwrite=True)
        except RecommendersMinerError:
            assert on_error == "raise" or not out.exists()
            raise
        for split in (path for path in out.iterdir() if path.is_dir()):
            read_back(split)


def put(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes files, whose names may have folders."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


# === One's own logs ===

SCHEMA = b"""\
news: {file: news, id: id, title: title, category: section, published: day}
events: {file: events, user: user, time: day, news: id, clicked: clicked, impression: page}
"""
NEWS = b'id,title,section,day\nn1,"One, ""two""",a,2024-01-01\nn2,Two,,\n'
EVENTS = b"user,day,id,clicked,page\nu,2024-01-02,n1,1,p\nu,2024-01-02 10:00:00,n2,0,p\n"


def read_news(path: Path) -> None:
    put(path.parent, {"logs.yaml": SCHEMA, "events": EVENTS})
    convert_both_ways(functools.partial(convert_own_logs, path.parent / "logs.yaml"), path.parent / "out")


def read_events(path: Path) -> None:
    put(path.parent, {"logs.yaml": SCHEMA, "news": NEWS})
    convert_both_ways(functools.partial(convert_own_logs, path.parent / "logs.yaml"), path.parent / "out")


def read_schema(path: Path) -> None:
    LogSchema.read(path)


# === Data sets ===


def read_adressa(path: Path) -> None:
    convert_both_ways(functools.partial(convert_adressa, path), path.parent / "out")


def read_xmind(path: Path) -> None:
    mind = {
        "mind/news.tsv": b"n1\ta\tb\tOne\t\t\t[]\t[]\nn2\ta\tb\tTwo\t\t\t[]\t[]\n",
        "mind/behaviors.tsv": b"1\tU\t11/12/2019 2:14:46 PM\t\tn1-1 n2-0\n",
    }
    put(path.parent, mind)
    convert_both_ways(functools.partial(convert_xmind, path.parent / "mind", [path]), path.parent / "out")


def read_ebnerd(path: Path) -> None:
    """Takes the file for one of a bundle's: the first byte says which, the rest is its content."""
    which, content = path.read_bytes()[:1], path.read_bytes()[1:]
    files = dict(EBNERD)
    if which:
        files[list(EBNERD)[which[0] % len(EBNERD)]] = content
    put(path.parent / "bundle", files)
    convert_both_ways(functools.partial(convert_ebnerd, path.parent / "bundle"), path.parent / "out")


# === Seeds ===


def parquet(columns: Mapping[str, pa.Array], **options: object) -> bytes:
    """A Parquet file; the options are those of `write_table`."""
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, store_schema=False, **options)
    return file.getvalue()


_LISTS = pa.list_(pa.int32())
EBNERD = {
    "articles.parquet": parquet(
        {
            "article_id": pa.array([3, 4], pa.int32()),
            "title": ["Et", "To"],
            "subtitle": ["", None],
            "category_str": ["sport", "krimi"],
            "subcategory": pa.array([[1], []], pa.list_(pa.int16())),
            "url": ["", ""],
        }
    ),
    "train/behaviors.parquet": parquet(
        {
            "impression_id": pa.array([1, 2], pa.uint32()),
            "user_id": pa.array([7, 8], pa.uint32()),
            "impression_time": pa.array([1684703210 * 10**6] * 2, pa.timestamp("us")),
            "article_ids_inview": pa.array([[3, 4], [4]], _LISTS),
            "article_ids_clicked": pa.array([[4], []], _LISTS),
        }
    ),
    "train/history.parquet": parquet(
        {"user_id": pa.array([7], pa.uint32()), "article_id_fixed": pa.array([[4, 3]], _LISTS)}
    ),
}
EVENT_COLUMNS = {
    "user": ["u", "v"],
    "day": ["2024-01-02", "2024-01-03"],
    "id": ["n1", "n2"],
    "clicked": [True, False],
    "page": ["p", "q"],
}
EVENT_SEEDS = (
    EVENTS,
    EVENTS.replace(b"\n", b"\r\n"),
    parquet(EVENT_COLUMNS, compression="none", use_dictionary=False),
    parquet(EVENT_COLUMNS, compression="zstd", data_page_version="2.0"),
    parquet(EVENT_COLUMNS, compression="gzip"),
)
VISIT = {
    "userId": "u",
    "time": 1483272010,
    "id": "9f39",
    "title": "Tittel",
    "category1": "nyheter|trondheim",
    "publishtime": "2016-12-31T17:13:57.000Z",
    "canonicalUrl": "http://a.no/9f39.ece",
    "url": "http://a.no/9f39.ece",
}
VISITS = b"\n".join(json.dumps(VISIT | {"userId": user}).encode() for user in "uv") + b"\n"

CONVERTERS: dict[str, Target] = {
    "own news": Target("news", read_news, (NEWS, NEWS.replace(b"\n", b"\r\n")), names_its_file=False),
    "own events": Target("events", read_events, EVENT_SEEDS, **OF_PARQUET),
    "own schema": Target("logs.yaml", read_schema, (SCHEMA,)),
    "adressa": Target("20170101", read_adressa, (VISITS,)),
    "xmind": Target("texts.tsv", read_xmind, (b'nid\ttitle\tabstract\nn1\t"Ein ""Tag"""\t\nn2\tZwei\tx\n',)),
    "ebnerd": Target(
        "file",
        read_ebnerd,
        tuple(bytes([number]) + content for number, content in enumerate(EBNERD.values())),
        **OF_PARQUET,
    ),
}
