"""Whatever files hold, a converter reads them without loss, or raises an error of its own and leaves nothing behind."""

import io
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommenders_miner.datasets import convert_adressa, convert_own_logs, convert_xmind
from recommenders_miner.errors import DataFormatError, RecommendersMinerError
from tests.datasets.read_back import impressions, read_back

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


texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
event = st.tuples(st.integers(0, 3), st.integers(0, 20), st.integers(0, 4), st.booleans(), st.integers(0, 3))


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(titles=st.lists(texts, min_size=5, max_size=5), events=st.lists(event, min_size=1, max_size=25))
def test_any_own_log_is_read_back_without_loss_and_without_a_look_ahead(tmp_path, titles, events):
    columns = dict(zip(["user", "time", "news", "clicked", "page"], map(list, zip(*events, strict=True)), strict=True))
    (tmp_path / "logs.yaml").write_text(
        "news: {file: news, id: id, title: title}\n"
        "events: {file: events, user: user, time: {column: time, unit: s}, news: news, clicked: clicked,"
        " impression: page}\n"
    )
    pq.write_table(pa.table({"id": list(range(5)), "title": titles}), tmp_path / "news")
    pq.write_table(pa.table(columns), tmp_path / "events", row_group_size=max(2, len(events) // 9))
    folder = tmp_path / "out" / "all"
    if all(columns["clicked"]):
        with pytest.raises(DataFormatError, match="every event is a click"):
            own(tmp_path, tmp_path / "out", overwrite=True)
        return
    own(tmp_path, tmp_path / "out", overwrite=True)
    written, log = read_back(folder)
    assert ["".join(title.split()) for title in written.title.to_pylist()[1:]] == ["".join(t.split()) for t in titles]

    pages, clicked_at = {}, {}
    for user, time, item, clicked, page in events:
        first, candidates = pages.setdefault((page, str(user)), [time, {}])
        pages[page, str(user)][0] = min(first, time)
        candidates[str(item)] = max(candidates.get(str(item), 0), int(clicked))
        if clicked:
            key = (str(user), page, str(item))
            clicked_at[key] = min(time, clicked_at.get(key, time))
    found = impressions(folder)
    key = lambda page: (page[1], page[0], sorted(page[2].items()))  # noqa: E731
    expected = [(user, time, candidates) for (_, user), (time, candidates) in pages.items()]
    assert sorted([(u, t, s) for _, u, t, _, s in found], key=key) == sorted(expected, key=key)
    assert np.all(np.diff(log.time) >= 0)
    for _, user, time, history, _ in found:
        past = sorted(item for (who, _, item), when in clicked_at.items() if who == user and when < time)
        assert sorted(history) == past
