"""Adressa's event log, in its own form, by hand."""

import gzip
import json

import pytest

from recommenders_miner.datasets import Negatives, adressa, convert_adressa
from recommenders_miner.errors import DataFormatError
from tests.datasets.read_back import articles, impressions, news

NOON = 1483272000  # 2017-01-01
PAGE = {"city": "trondheim", "activeTime": 8, "referrerHostClass": "direct", "sessionStart": False, "os": "iPhone OS"}


def front_page(user, time):
    return PAGE | {"eventId": 1, "url": "http://adressa.no", "userId": user, "time": time}


def read(user, time, article, **more):
    about = {
        "id": article,
        "title": f"Tittel {article}",
        "category1": "nyheter|trondheim",
        "canonicalUrl": f"http://www.adressa.no/{article}.ece",
        "url": f"http://adressa.no/{article}.ece",
        "publishtime": "2016-12-31T17:13:57.000Z",
        "keywords": "utenriks,trondheim",
        "author": ["kari nordmann"],
        "profile": [{"item": "0", "groups": [{"count": 1, "group": "adressa-importance", "weight": 1.0}]}],
    }
    return front_page(user, time) | {key: value for key, value in (about | more).items() if value is not None}


DAYS = {
    "20170101": [
        front_page("cx:1:a", NOON),
        read("cx:1:a", NOON + 10, "9f39"),
        read("cx:2:b", NOON + 20, "77aa", category1="sport"),
        read("cx:1:a", NOON + 30, "9f39"),
    ],
    "20170102": [read("cx:2:b", NOON + 7200, "9f39"), read("cx:1:a", NOON + 7300, "77aa"), front_page("cx:3", NOON)],
}


@pytest.fixture
def write(tmp_path):
    """Writes the files of days; gives their folder and that to write."""

    def files(days=DAYS):
        folder = tmp_path / "one_week"
        folder.mkdir(exist_ok=True)
        for name, events in days.items():
            lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
            (folder / name).write_text("\n".join(lines) + "\n")
        return folder, tmp_path / "out"

    return files


def test_first_clicks_become_impressions_and_other_pages_are_left_out(write):
    source, out = write()
    conversion = convert_adressa(source, out)
    assert impressions(out / "all") == [
        (1, "cx:1:a", NOON + 10, [], {"9f39": 1}),  # all there is was clicked on by this user
        (2, "cx:2:b", NOON + 20, [], {"77aa": 1}),
        (3, "cx:2:b", NOON + 7200, ["77aa"], {"9f39": 1}),
        (4, "cx:1:a", NOON + 7300, ["9f39"], {"77aa": 1}),
    ]
    counts = conversion.counts["all"]
    assert counts["events without an article left out"] == 2
    assert counts["repeated clicks left out"] == 1
    assert counts["impressions without a negative"] == 4
    assert "\thttp://www.adressa.no/9f39.ece\t" in (out / "all" / "news.tsv").read_text()
    assert articles(out / "all") == {key: {"published": 1483204437} for key in ("9f39", "77aa")}


def test_negatives_are_published_by_then_and_read_within_the_window(write):
    late = read("cx:4", NOON + 100, "late", publishtime="2017-01-01T12:00:15.000Z", title="Halv \ud83d her")
    far = read("cx:5", NOON + 90_000, "far")
    source, out = write({"20170101": [*DAYS["20170101"], late, far]})
    convert_adressa(source, out, Negatives(window_hours=24))
    shown = {user: candidates for _, user, _, _, candidates in impressions(out / "all")}
    assert shown == {
        "cx:1:a": {"9f39": 1, "77aa": 0},
        "cx:2:b": {"77aa": 1, "9f39": 0, "late": 0},
        "cx:4": {"late": 1, "77aa": 0, "9f39": 0},
        "cx:5": {"far": 1},  # the others are clicked on more than a day before
    }
    assert news(out / "all")["late"][2] == "Halv ? her"  # for half a surrogate pair


def test_what_an_event_lacks_of_its_article_another_may_have(write):
    bare = read("cx:9", NOON, "9f39", title=None, category1=None, publishtime="soon")
    titleless = read("cx:9", NOON + 1, "5555", title="  ")
    retitled = read("cx:9", NOON + 2, "77aa", title="Ny tittel")
    last = read("cx:8", NOON + 9000, "5555", title=None)  # of a user who reads nothing else
    source, out = write({"20161231": [bare, titleless], **DAYS, "20170103": [retitled, last]})
    conversion = convert_adressa(source, out)
    assert news(out / "all") == {
        "9f39": ("nyheter", "trondheim", "Tittel 9f39", ""),
        "77aa": ("sport", "sport", "Tittel 77aa", ""),
    }
    assert conversion.counts["all"]["events of articles without a title left out"] == 2
    assert conversion.counts["all"]["articles with two titles"] == 1
    assert impressions(out / "all")[0][1] == "cx:9"


@pytest.mark.parametrize("batch", [1, 3])
def test_batches_of_any_size_give_the_same(write, monkeypatch, tmp_path, batch):
    source, out = write()
    convert_adressa(source, out)
    monkeypatch.setattr(adressa, "BATCH_LINES", batch)
    convert_adressa(source, tmp_path / "again")
    for name in ("behaviors.tsv", "news.tsv", "articles.parquet"):
        assert (tmp_path / "again" / "all" / name).read_bytes() == (out / "all" / name).read_bytes()


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ('{"eventId": 1, ', "line 3: the line is not readable as JSON"),
        ("[1, 2]", "line 3: the line is JSON, but no object"),
        (read("cx:1", "noon", "9f39"), "line 3: the field 'time' is 'noon'; expected Unix seconds"),
        (read("cx:1", -5, "9f39"), "line 3: the field 'time' is -5"),
        (read("", NOON, "9f39"), "line 3: the user id, column 'userId', is empty"),
        (read("cx:1", NOON, "9f 39"), "line 3: the news id, column 'id', holds a space"),
        (read("cx:1", NOON, ["9f39"]), "line 3: the news id, column 'id', is empty"),
    ],
)
def test_a_bad_line_is_named_or_left_out_and_counted(write, bad, says):
    source, out = write({"20170101": [DAYS["20170101"][0], "", bad, *DAYS["20170101"][1:]]})
    with pytest.raises(DataFormatError, match=says) as caught:
        convert_adressa(source, out)
    assert caught.value.path.name == "20170101"
    assert not out.exists()
    conversion = convert_adressa(source, out, on_error="skip")
    assert len(impressions(out / "all")) == 2
    assert [sum(reasons.values()) for reasons in conversion.left_out.values()] == [1]


def test_one_file_will_do_and_histories_can_be_cut_and_progress_is_told(write):
    source, out = write()
    told = []
    convert_adressa(source / "20170102", out, progress=lambda share, doing: told.append((share, doing)), max_history=0)
    assert told == [(0.0, "20170102")]
    assert [history for _, _, _, history, _ in impressions(out / "all")] == [[], []]


def test_days_that_are_packed_one_by_one_are_read(write):
    source, out = write()
    convert_adressa(source, out)
    for path in list(source.iterdir()):
        path.with_suffix(".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    convert_adressa(source, out.with_name("again"))
    assert impressions(out.with_name("again") / "all") == impressions(out / "all")


@pytest.mark.parametrize(
    ("days", "says"),
    [
        ({}, "there are no files"),
        ({"one_week.tar.gz": []}, r"is an archive\. Unpack it: tar -xf one_week\.tar\.gz"),
        ({"20170101": [front_page("cx:1", NOON)]}, "no events of articles with a title"),
        (None, "the path does not exist"),
    ],
)
def test_sources_without_events_are_errors(write, days, says):
    source, out = write(days or {})
    with pytest.raises(DataFormatError, match=says):
        convert_adressa(source / "nowhere" if days is None else source, out)
