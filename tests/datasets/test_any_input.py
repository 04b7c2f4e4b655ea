"""Whatever files hold, a converter reads them or raises the package's own error, and leaves nothing half-written."""

import contextlib
import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommenders_miner.datasets import convert_adressa, convert_own_logs, convert_xmind
from recommenders_miner.datasets.own_schema import LogSchema
from recommenders_miner.errors import DataFormatError, RecommendersMinerError
from tests.datasets.read_back import read_back

any_file = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
on_errors = st.sampled_from(["raise", "skip"])

YAML = """\
news: {file: news, id: id, title: title, published: day}
events: {file: events, user: user, time: day, news: id, clicked: clicked}
"""
NEWS = b"id,title,day\nn1,One,2024-01-01\nn2,Two,\n"
field = st.sampled_from(
    [
        b"n1",
        b"n2",
        b"",
        b" ",
        b"2024-01-01",
        b"1",
        b"0",
        b"\xff",
        b"\x00",
        b'"',
        b'""',
        b'"a,b"',
        b"a\rb",
        "é\u2028".encode(),
    ]
)
csv_bytes = st.lists(st.lists(field, max_size=5).map(b",".join), max_size=8).map(b"\n".join) | st.binary(max_size=60)


def attempt(convert, out, **options):
    """Converts into a fresh folder; whatever was written has to be readable."""
    shutil.rmtree(out, ignore_errors=True)
    try:
        convert(out, **options)
    except RecommendersMinerError:
        assert not out.exists()
    else:
        for folder in (path for path in out.iterdir() if path.is_dir()):
            read_back(folder)
    assert not list(out.parent.glob(".out.*"))


@any_file
@given(events=csv_bytes, header=st.booleans(), on_error=on_errors)
def test_events(tmp_path, events, header, on_error):
    (tmp_path / "logs.yaml").write_text(YAML)
    (tmp_path / "news").write_bytes(NEWS)
    (tmp_path / "events").write_bytes(b"user,day,id,clicked\n" * header + events)
    attempt(
        lambda out, **options: convert_own_logs(tmp_path / "logs.yaml", out, **options),
        tmp_path / "out",
        on_error=on_error,
    )


@any_file
@given(news=csv_bytes, header=st.booleans(), on_error=on_errors)
def test_news(tmp_path, news, header, on_error):
    (tmp_path / "logs.yaml").write_text(YAML)
    (tmp_path / "news").write_bytes(b"id,title,day\n" * header + news)
    (tmp_path / "events").write_bytes(b"user,day,id,clicked\nu,2024-01-02,n1,1\nu,2024-01-02,n2,0\n")
    attempt(
        lambda out, **options: convert_own_logs(tmp_path / "logs.yaml", out, **options),
        tmp_path / "out",
        on_error=on_error,
    )


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    path = tmp_path_factory.mktemp("parquet") / "events"
    pq.write_table(
        pa.table({"user": ["u", "v"], "day": ["2024-01-02"] * 2, "id": ["n1", "n2"], "clicked": [True, False]}), path
    )
    return path.read_bytes()


@any_file
@given(cut=st.integers(0, 400), flips=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=2))
def test_damaged_parquet_files(tmp_path, parquet, cut, flips):
    content = bytearray(parquet[: len(parquet) - cut])
    for place, byte in flips:
        content[place % len(content)] = byte
    (tmp_path / "logs.yaml").write_text(YAML)
    (tmp_path / "news").write_bytes(NEWS)
    (tmp_path / "events").write_bytes(content)
    attempt(lambda out: convert_own_logs(tmp_path / "logs.yaml", out), tmp_path / "out")


leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("2017-01-01T00:00:00Z")
value = st.recursive(
    leaf, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
)
names = st.sampled_from(["userId", "time", "id", "title", "category1", "publishtime", "url", "canonicalUrl", "other"])
line = st.dictionaries(names, value, max_size=9).map(lambda event: json.dumps(event).encode()) | st.binary(max_size=20)
sound = b'{"userId": "u", "time": 5, "id": "a", "title": "A"}'


@any_file
@given(lines=st.lists(line, max_size=5), on_error=on_errors)
def test_event_logs_of_json(tmp_path, lines, on_error):
    (tmp_path / "20170101").write_bytes(b"\n".join([sound, *lines]))
    attempt(
        lambda out, **options: convert_adressa(tmp_path / "20170101", out, **options),
        tmp_path / "out",
        on_error=on_error,
    )


@any_file
@given(texts=csv_bytes.map(lambda content: content.replace(b",", b"\t")), on_error=on_errors)
def test_translations(tmp_path, texts, on_error):
    (tmp_path / "mind").mkdir(exist_ok=True)
    (tmp_path / "mind" / "news.tsv").write_text("n1\ta\tb\tOne\t\t\t[]\t[]\nn2\ta\tb\tTwo\t\t\t[]\t[]\n")
    (tmp_path / "mind" / "behaviors.tsv").write_text("1\tU\t11/12/2019 2:14:46 PM\t\tn1-1 n2-0\n")
    (tmp_path / "texts.tsv").write_bytes(b"nid\ttitle\tabstract\n" + texts)
    attempt(
        lambda out, **options: convert_xmind(tmp_path / "mind", [tmp_path / "texts.tsv"], out, **options),
        tmp_path / "out",
        on_error=on_error,
    )


words = [
    "news:",
    "events:",
    "file:",
    "id:",
    "title:",
    "time:",
    "{",
    "}",
    "[",
    "]",
    ",",
    "-",
    "&",
    "*",
    "!",
    "!!python/name:os",
    "1",
    "x",
    "?",
    "|",
    ">",
    ":",
]
yaml_words = st.sampled_from([*words, "\n"])


@any_file
@given(content=st.lists(yaml_words | st.text(max_size=4), max_size=20).map(" ".join))
def test_yaml_files(tmp_path, content):
    (tmp_path / "logs.yaml").write_text(content, encoding="utf-8", errors="replace")
    with contextlib.suppress(DataFormatError):
        LogSchema.read(tmp_path / "logs.yaml")
