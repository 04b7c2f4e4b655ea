"""Whatever files hold, a converter reads them or raises the package's own error, and leaves nothing half-written."""

import io
import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommenders_miner.datasets import convert_adressa, convert_own_logs, convert_xmind
from recommenders_miner.errors import RecommendersMinerError
from tests.datasets.read_back import read_back

YAML = b"""\
news: {file: news, id: id, title: title, published: day}
events: {file: events, user: user, time: day, news: id, clicked: clicked}
"""
NEWS = b"id,title,day\nn1,One,2024-01-01\nn2,Two,\n"
EVENTS = b"user,day,id,clicked\nu,2024-01-02,n1,1\nu,2024-01-02,n2,0\n"
OWN = {"logs.yaml": YAML, "news": NEWS, "events": EVENTS}
MIND = {
    "mind/news.tsv": b"n1\ta\tb\tOne\t\t\t[]\t[]\nn2\ta\tb\tTwo\t\t\t[]\t[]\n",
    "mind/behaviors.tsv": b"1\tU\t11/12/2019 2:14:46 PM\t\tn1-1 n2-0\n",
}
FIELDS = [b"n1", b"n2", b"", b" ", b"2024-01-01", b"1", b"0", b"\xff", b"\x00", b'"', b'""', b'"a,b"', b"a\rb"]
rows = st.lists(st.lists(st.sampled_from([*FIELDS, "é\u2028".encode()]), max_size=5).map(b",".join), max_size=8)
csv_bytes = rows.map(b"\n".join) | st.binary(max_size=60)
tsv_bytes = csv_bytes.map(lambda content: content.replace(b",", b"\t"))

value = st.sampled_from([None, True, 5, -1, 1e300, "", "a", "2017-01-01T00:00:00Z", "\ud800", [], ["a"], {"a": 1}])
names = st.sampled_from(["userId", "time", "id", "title", "category1", "publishtime", "url", "canonicalUrl", "other"])
json_line = st.dictionaries(names, value, max_size=9).map(lambda event: json.dumps(event).encode())
json_bytes = st.lists(json_line | st.binary(max_size=20), max_size=5).map(b"\n".join)


def with_header(header, rows=csv_bytes):
    return st.tuples(st.sampled_from([header, b""]), rows).map(b"".join)


def own(folder, out, **options):
    return convert_own_logs(folder / "logs.yaml", out, **options)


def xmind(folder, out, **options):
    return convert_xmind(folder / "mind", [folder / "texts.tsv"], out, **options)


def adressa(folder, out, **options):
    return convert_adressa(folder / "20170101", out, **options)


@st.composite
def damaged_parquet(draw):
    table = {"user": ["u", "v"], "day": ["2024-01-02"] * 2, "id": ["n1", "n2"], "clicked": [True, False]}
    file = io.BytesIO()
    pq.write_table(pa.table(table), file)
    content = bytearray(file.getvalue())[: len(file.getvalue()) - draw(st.integers(0, 400))]
    for place, byte in draw(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=2)):
        content[place % len(content)] = byte
    return bytes(content)


WORDS = ["news:", "events:", "file:", "id:", "title:", "time:", "!", "!!python/name:os", *"{}[],-&*1x?|>:\n"]
yaml_bytes = st.lists(st.sampled_from(WORDS) | st.text(max_size=4), max_size=20).map(" ".join)


@pytest.mark.parametrize(
    ("convert", "files", "damaged", "contents"),
    [
        (own, OWN, "events", with_header(b"user,day,id,clicked\n")),
        (own, OWN, "news", with_header(b"id,title,day\n")),
        (own, OWN, "events", damaged_parquet()),
        (own, OWN, "logs.yaml", yaml_bytes.map(lambda text: text.encode(errors="replace"))),
        (xmind, MIND, "texts.tsv", with_header(b"nid\ttitle\tabstract\n", tsv_bytes)),
        (adressa, {}, "20170101", with_header(b'{"userId": "u", "time": 5, "id": "a", "title": "A"}\n', json_bytes)),
    ],
    ids=["own events", "own news", "own parquet", "own yaml", "xmind", "adressa"],
)
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), on_error=st.sampled_from(["raise", "skip"]))
def test_any_file(tmp_path, convert, files, damaged, contents, data, on_error):
    """Convert files into a fresh folder; whatever was written has to be readable."""
    out = tmp_path / "out"
    shutil.rmtree(out, ignore_errors=True)
    for name, content in (files | {damaged: data.draw(contents)}).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    try:
        convert(tmp_path, out, on_error=on_error)
    except RecommendersMinerError:
        assert not out.exists()
    else:
        for split in (path for path in out.iterdir() if path.is_dir()):
            read_back(split)
    assert not list(tmp_path.glob(".out.*"))
