"""What stands in real MIND files and surprises readers: rows of the same form, their words invented, end to end."""

from __future__ import annotations

import json

import pytest

from recommenders_miner.data.entities import title_entities, word_entities
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.sampling import TrainingSamples
from recommenders_miner.data.split import split_by_time
from recommenders_miner.data.text import tokenize
from recommenders_miner.errors import DataFormatError
from recommenders_miner.inspection import inspect_data


def entity(label, wikidata_id, offset, ascii_only):
    fields = {"Label": label, "Type": "C", "WikidataId": wikidata_id, "Confidence": 0.97}
    return json.dumps(fields | {"OccurrenceOffsets": [offset], "SurfaceForms": [label]}, ensure_ascii=ascii_only)


QUOTED = '"Not a flake," says the baker of 6" pies: \'wait\''
ESCAPED_TAB = r"Loaves\tand\nrolls: a glossary \\ of dough"
ACCENTED = "Żółw w Łodzi — naïve café opens at 5°C"
WIDE = "渡し船 🚢 in the fog\u00a0again\u2028and again"
IN_QUOTES = 'Café "Zum Anker" takes the ferry'
CAFE = entity('Café "Zum Anker"', "Q901", 0, ascii_only=True)
FERRY = entity("ferry", "Q902", 27, ascii_only=False)

TRAIN_NEWS = [
    f"N11\tfoodanddrink\tbakery\t{QUOTED}\tOvens stay cold.\thttps://example.org/a?x=1&y=%22\t[]\t[]",
    f"N12\tfoodanddrink\tbakery\t{ESCAPED_TAB}\t\thttps://example.org/b\t[]\t[]",
    f"N13\tweather\tweathertopstories\t{ACCENTED}\t\thttps://example.org/c\t\t",
    f"N14\ttravel\tferries\t{WIDE}\t “So it is.” \thttps://example.org/d\t[]\t[{FERRY}]",
    f"N15\ttravel\tferries\t{IN_QUOTES}\t\t\t[{CAFE}, {FERRY}]\t[]",
]
TRAIN_BEHAVIORS = [
    "1\tU7\t11/9/2019 9:05:08 AM\tN12 N13 N12\tN11-0 N14-1",
    "2\tU8\t12/31/2019 12:00:01 AM\t\tN15-1 N11-0 N13-0",
    "3\tU7\t12/30/2019 11:59:59 PM\tN12 N13 N12\tN15-0 N12-1",
]
DEV_NEWS = [TRAIN_NEWS[4], "N16\tnews\tnewslocal\tA bridge, at last\t\thttps://example.org/e\t[]\t[]"]
DEV_BEHAVIORS = [
    "1\tU9\t12/31/2019 12:00:02 AM\t\tN16-1 N15-0",
    "2\tU7\t12/31/2019 1:00:00 PM\tN15\tN16-0 N15-1",
]
TEST_BEHAVIORS = ["1\tU8\t1/1/2020 12:30:00 PM\tN15 N16\tN16 N15", "2\tU10\t1/1/2020 12:30:00 PM\t\tN15"]


def write(folder, news, behaviors, end="\n", tail=""):
    folder.mkdir(parents=True)
    for name, lines in (("news.tsv", news), ("behaviors.tsv", behaviors)):
        (folder / name).write_bytes(("".join(line + end for line in lines) + tail).encode())


@pytest.fixture(params=[("\n", ""), ("\n", "\n"), ("\r\n", ""), ("\r\n", "\r\n")], ids=["LF", "LF+", "CRLF", "CRLF+"])
def mind(request, tmp_path):
    """Three splits, whose lines end in one way or the other, with a blank line at the end or without."""
    write(tmp_path / "train", TRAIN_NEWS, TRAIN_BEHAVIORS, *request.param)
    write(tmp_path / "dev", DEV_NEWS, DEV_BEHAVIORS, *request.param)
    write(tmp_path / "test", DEV_NEWS, TEST_BEHAVIORS, *request.param)
    return tmp_path


def read(folder):
    table = NewsTable.read(folder / "news.tsv")
    return ImpressionLog.read(folder / "behaviors.tsv", table, cache=False), table


def shown(log, table, impression):
    candidates = log.candidates[impression]
    return table.ids.take(candidates).to_pylist()


def test_texts_come_through_every_reader_as_they_stand(mind):
    log, table = read(mind / "train")
    assert table.title.to_pylist()[1:] == [QUOTED, ESCAPED_TAB, ACCENTED, WIDE, IN_QUOTES]
    assert table.abstract.to_pylist()[1:] == ["Ovens stay cold.", "", "", " “So it is.” ", ""]
    assert [tokenize(title)[:4] for title in table.title.to_pylist()[1:4]] == [
        ["not", "a", "flake", ","],
        ["loaves", "tand", "nrolls", "a"],  # an escaped tab is no white space
        ["żółw", "w", "łodzi", "naïve"],
    ]
    assert shown(log, table, 1) == ["N15", "N11", "N13"]


def test_entities_are_read_whether_escaped_empty_or_missing(mind):
    _, table = read(mind / "train")
    assert title_entities(table) == [[], [], [], [], ["Q901", "Q902"]]
    # Offsets count characters of the title, not bytes of the file or letters of its JSON.
    assert word_entities(table, 6)[4] == ["Q901", "Q901", "Q901", "", "", "Q902"]


def test_a_user_without_history_can_be_trained_on_and_a_history_keeps_its_repetitions(mind):
    log, table = read(mind / "train")
    lengths = log.histories.lengths[log.history_of]
    assert lengths.tolist() == [3, 0, 3]
    assert table.ids.take(log.histories.values).to_pylist() == ["N12", "N13", "N12"]
    impressions, candidates = TrainingSamples(log, batch_size=8, npratio=1, seed=0).of_step(0)
    clicks = dict(zip(impressions.tolist(), table.ids.take(candidates[:, 0]).to_pylist(), strict=True))
    assert clicks == {0: "N14", 1: "N15", 2: "N12"}


def test_inspect_finds_nothing_wrong_with_any_of_it(mind):
    report = inspect_data(mind)
    assert report.findings == ()
    train, dev, test = (report.splits[name] for name in ("train", "dev", "test"))
    assert (train.news.news, train.news.without_abstract, train.news.with_title_entities) == (5, 3, 1)
    assert train.news.title_words.values.tolist() == [6, 8, 9, 10]
    assert (train.log.without_history, dev.log.without_history, test.log.without_history) == (1, 1, 1)
    assert (str(train.log.first), str(train.log.last)) == ("2019-11-09 09:05:08", "2019-12-31 00:00:01")
    assert (test.log.unlabelled, test.log.labelled) == (2, False)
    assert report.beside_train["dev"].absent_candidates == 1 / 2
    assert report.beside_train["dev"].cold_clicks == 1 / 2
    assert report.beside_train["dev"].new_users == 1 / 2


def test_a_split_carries_all_of_it_over(mind, tmp_path):
    split_by_time(mind, tmp_path / "out", dev_share=0.4)
    train, train_news = read(tmp_path / "out" / "train")
    dev, _ = read(tmp_path / "out" / "dev")
    assert (len(train), len(dev)) == (3, 2)  # the test split has no labels, and is left out
    assert train_news.title.to_pylist()[1:] == [QUOTED, ESCAPED_TAB, ACCENTED, WIDE, IN_QUOTES]
    assert train_news.title_entities.to_pylist()[-1] == f"[{CAFE}, {FERRY}]"
    assert train.time.tolist() == read(mind / "train")[0].time.tolist()
    assert (tmp_path / "out" / "train" / "news.tsv").read_bytes().decode() == "".join(
        f"{line}\n" for line in TRAIN_NEWS
    )


def test_a_tab_in_a_title_that_is_not_escaped_is_named(tmp_path):
    broken = "N17\tnews\tnewslocal\tA bridge\tat last\t\thttps://example.org/f\t[]\t[]"
    write(tmp_path / "train", [*TRAIN_NEWS, broken], TRAIN_BEHAVIORS, "\r\n")
    with pytest.raises(DataFormatError, match=r"news\.tsv, line 6: expected 8 tab-separated columns .*, got 9"):
        NewsTable.read(tmp_path / "train" / "news.tsv")
    [error] = inspect_data(tmp_path / "train").errors
    assert (error.path.name, error.lines, error.problem) == ("news.tsv", (6,), "wrong number of columns: 1.")
    assert "Take tabs" in error.remedy


def test_a_line_break_in_a_title_is_named_as_two_lines(tmp_path):
    broken = TRAIN_NEWS[3].replace("in the fog", "in the\nfog")
    write(tmp_path / "train", [*TRAIN_NEWS[:3], broken, TRAIN_NEWS[4]], TRAIN_BEHAVIORS)
    columns, unknown = inspect_data(tmp_path / "train").errors
    assert columns.lines == (4, 5)
    # The news of the broken line is missed where it was shown.
    assert (unknown.path.name, unknown.lines) == ("behaviors.tsv", (1,))
