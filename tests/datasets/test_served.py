"""The log of a service as impressions, from what the service writes to a split data set."""

import gzip
import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommenders_miner.data.split import split_by_time
from recommenders_miner.datasets.served import convert_served
from recommenders_miner.errors import DataFormatError, FolderExistsError
from recommenders_miner.serving.served_log import ServedLog
from tests.command_line import run
from tests.datasets.read_back import articles, impressions, news

NOON, DAY = 1_709_380_800, 86_400
NEWS = "".join(f"{id}\tnature\towls\tTitle {id}\tAbout\t{id}.html\t[]\t[{id}]\n" for id in "abcd")


ARTICLE = {"kind": "article", "id": "a", "time": 1, "title": "t"}


def answer(id, user="ann", time=NOON, articles="abc", history="", **further):
    lists = {"history": list(history), "articles": list(articles)}
    return {"kind": "answer", "id": id, "time": time, "user": user, "model": "m", **lists, **further}


def event(article, user="ann", time=NOON + 5, type="click", answer=None, id=None):
    id = id or f"{article}-{user}-{time}-{type}-{answer}"
    return {"kind": "event", "id": id, "user": user, "article": article, "type": type, "time": time, "answer": answer}


@pytest.fixture
def convert(tmp_path):
    """Writes news and lines, converts them, and gives the impressions without their numbers."""

    def write_and_convert(*lines, news=NEWS, **options):
        folder = tmp_path / "logs"
        folder.mkdir(exist_ok=True)
        (tmp_path / "news.tsv").write_text(news)
        text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
        (folder / "served-1.jsonl").write_text(text)
        write_and_convert.made = convert_served(
            folder, tmp_path / "out", tmp_path / "news.tsv", overwrite=True, **options
        )
        found = impressions(tmp_path / "out" / "all")
        assert [number for number, *_ in found] == list(range(1, len(found) + 1))
        return [impression for _, *impression in found]

    return write_and_convert


def counts(convert):
    return {name: count for name, count in convert.made.counts["all"].items() if count}


def test_an_answer_is_an_impression_with_the_history_it_was_computed_from(convert):
    found = convert(
        answer("2", "bob", NOON + 9.7, "ba", "dc"),
        event("a", "bob", NOON + 10),
        answer("1", articles="cab", history="ad?"),
    )
    assert found == [
        ["ann", NOON, ["a", "d"], {"c": 0, "a": 0, "b": 0}],
        ["bob", NOON + 9, ["d", "c"], {"b": 0, "a": 1}],
    ]
    assert list(found[0][3]) == ["c", "a", "b"]  # as they were shown
    assert counts(convert) == {
        **{"news": 4, "users": 2, "impressions": 2, "candidates": 5, "clicks": 1},
        **{"impressions without a click": 1, "clicks of histories that nothing describes": 1},
    }
    assert convert(answer("1", history="dab"), max_history=2)[0][2] == ["a", "b"]


def test_a_click_belongs_to_the_answer_that_it_names_or_to_the_users_latest(convert):
    log = [answer("1"), answer("2", time=NOON + 10, articles="bc"), answer("3", "bob", NOON + 10)]

    def clicked(*events):
        return [{id for id, label in shown.items() if label} for *_, shown in convert(*log, *events)]

    assert clicked(event("b", time=NOON + 20, answer="1")) == [{"b"}, set(), set()]
    assert clicked(event("b", time=NOON - 20, user="eve", answer="3")) == [set(), set(), {"b"}]
    assert clicked(event("b", time=NOON + 20)) == [set(), {"b"}, set()]
    assert clicked(event("b", time=NOON + 9), event("b", time=NOON + 10)) == [{"b"}, {"b"}, set()]
    assert clicked(event("a", time=NOON + 20)) == [{"a"}, set(), set()]
    assert clicked(event("a", time=NOON + 20, answer="2")) == [{"a"}, set(), set()]  # 2 does not have it
    assert clicked(event("b", time=NOON + 20, answer="of a lost file")) == [set(), {"b"}, set()]
    assert clicked(event("a", time=NOON + DAY)) == [{"a"}, set(), set()]
    nothing = clicked(event("a", time=NOON + DAY + 1), event("a", time=NOON - 1), event("a", "eve"), event("?"))
    assert nothing == [set()] * 3
    assert counts(convert)["clicks that belong to no answer"] == 4


def test_only_what_was_shown_is_a_candidate_where_that_is_known(convert):
    assert convert(
        answer("1", articles="abcd"),
        *(event(id, type="shown", answer="1") for id in "ab"),
        event("d", answer="1"),
        answer("2", "bob"),
        event("a", "bob", type="shown"),  # of no answer, it says nothing
    ) == [
        ["ann", NOON, [], {"a": 0, "b": 0, "d": 1}],
        ["bob", NOON, [], {"a": 0, "b": 0, "c": 0}],
    ]


def test_nobody_gets_a_user_of_its_own_unless_an_event_tells(convert):
    found = convert(answer("1", None), answer("2", None), answer("3", None), event("a", "eve", answer="2"))
    assert [user for user, *_ in found] == ["nobody-1", "eve", "nobody-3"]
    assert convert(answer("1", None))[0][0] == "nobody-1"


def test_what_comes_twice_counts_once(convert):
    assert convert(
        *(answer("1", articles="aab"), answer("2", time=NOON + 10), answer("1", "bob", articles="d")),
        *(event("a", id="e"), event("a", time=NOON + 20, id="e")),  # repeated without a time of its own
    ) == [["ann", NOON, [], {"a": 1, "b": 0}], ["ann", NOON + 10, [], {"a": 0, "b": 0, "c": 0}]]


def test_articles_of_the_log_are_newer_than_the_file(convert, tmp_path):
    told = {"kind": "article", "id": "a", "time": NOON + 1, "title": "New\ttitle", "published": NOON - 0.5}
    convert(
        answer("1", articles="bae"),
        {**told, "tags": ["x"]},
        {**told, "time": NOON, "title": "Old"},
        {**told, "id": "e", "category": "sea", "abstract": None, "published": None, "image": "e.png"},
    )
    described = news(tmp_path / "out" / "all")
    assert described["a"] == ("", "", "New title", "")
    assert described["e"] == ("sea", "", "New\ttitle".replace("\t", " "), "")
    assert described["b"] == ("nature", "owls", "Title b", "About")
    assert "[b]" in (tmp_path / "out" / "all" / "news.tsv").read_text()  # entities are carried along
    further = articles(tmp_path / "out" / "all")
    assert further["a"] == {"published": NOON - 1, "tags": ["x"], "image": None}
    assert further["e"] == {"published": None, "tags": None, "image": "e.png"}
    assert further["b"] == {"published": None, "tags": None, "image": None}


def test_half_lines_are_passed_over_and_files_may_be_packed(convert, tmp_path):
    (tmp_path / "logs" / "deeper").mkdir(parents=True)
    (tmp_path / "logs" / "store.db").write_bytes(b"something else")
    packed = json.dumps(event("b", answer="1")) + "\n"
    (tmp_path / "logs" / "deeper" / "served-2.jsonl.gz").write_bytes(gzip.compress(packed.encode()))
    assert convert(answer("1"), json.dumps(answer("2"))[:-5]) == [["ann", NOON, [], {"a": 0, "b": 1, "c": 0}]]
    assert counts(convert)["lines cut short"] == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("no JSON\n", "line 2: the line: Invalid JSON"),
        ('["answer"]\n', "line 2: the line: "),
        ({"kind": "other"}, "line 2: the line: .*'answer', 'event', 'article'"),
        (answer("2", time=-1), "line 2: answer.time: .*greater than or equal to 0"),
        (answer("2", user="a\tb"), "line 2: answer.user: "),
        (event("a", type="seen"), "line 2: event.type: "),
        ({"kind": "article", "id": "a b", "title": "", "time": 1}, "line 2: article.id: "),
        (ARTICLE | {"published": float("nan")}, "line 2: article.published: .*finite number"),
        (ARTICLE | {"published": 1e300}, "line 2: article.published: .*less than or equal to"),
        (answer("2", articles=["a", "gone"]), "line 2: .*'gone', which neither news.tsv nor the log describes. Give"),
    ],
)
def test_faulty_lines_are_named_or_left_out(convert, line, said, tmp_path):
    with pytest.raises(DataFormatError, match=f"served-1.jsonl, {said}"):
        convert(answer("1"), line)
    assert not (tmp_path / "out").exists()
    found = convert(answer("1"), line, on_error="skip")
    assert found[0] == ["ann", NOON, [], {"a": 0, "b": 0, "c": 0}]
    assert [*convert.made.left_out[str(tmp_path / "logs" / "served-1.jsonl")].values()] == [1]


def test_what_cannot_be_converted_is_said(convert, tmp_path):
    for lines in ([], [event("a")], [answer("1", articles="")], [answer("1", articles="?")]):
        with pytest.raises(DataFormatError, match="no answers"):
            convert(*lines, on_error="skip")
    for of_one, of_other in ((1, "x"), (1, 2**70)):
        with pytest.raises(DataFormatError, match="holds values of several types, or too large ones"):
            convert(answer("1"), ARTICLE | {"tag": of_one}, ARTICLE | {"id": "b", "tag": of_other})
    convert(answer("1"))
    with pytest.raises(FolderExistsError):
        convert_served(tmp_path / "logs", tmp_path / "out", tmp_path / "news.tsv")


answers = st.builds(
    answer,
    id=st.integers(0, 6).map(str),
    user=st.sampled_from(["ann", "bob", None]),
    time=st.integers(NOON, NOON + 4) | st.integers(NOON, NOON + 2 * DAY),
    articles=st.lists(st.sampled_from("abcd"), max_size=4),
    history=st.lists(st.sampled_from("abcd"), max_size=3),
)
events = st.builds(
    event,
    article=st.sampled_from("abcd?"),
    user=st.sampled_from(["ann", "bob"]),
    time=st.integers(NOON, NOON + 4) | st.integers(NOON, NOON + 2 * DAY),
    type=st.sampled_from(["click", "click", "shown"]),
    answer=st.none() | st.integers(0, 7).map(str),
    id=st.integers(0, 30).map(str),
)


def restated(lines):
    first = {}
    for line in lines:
        first.setdefault((line["kind"], line["id"]), line)
    answers = sorted((line for line in first.values() if line["kind"] == "answer"), key=lambda line: line["time"])
    events = [line for line in first.values() if line["kind"] == "event"]
    by_id = {line["id"]: line for line in answers}
    clicked, shown = set(), set()
    users = {line["id"]: line["user"] or f"nobody-{place}" for place, line in enumerate(answers, start=1)}
    for line in reversed(events):
        if line["answer"] in by_id and by_id[line["answer"]]["user"] is None:
            users[line["answer"]] = line["user"]
    for line in events:
        article = line["article"]
        named = by_id.get(line["answer"])
        if named is not None and article in named["articles"]:
            (clicked if line["type"] == "click" else shown).add((named["id"], article))
        elif line["type"] == "click":
            before = [
                other
                for other in answers
                if users[other["id"]] == line["user"]
                and article in other["articles"]
                and line["time"] - DAY <= other["time"] <= line["time"]
            ]
            clicked |= {(other["id"], article) for other in before[-1:]}
    for line in answers:
        all_of_them = {(line["id"], article): None for article in line["articles"]}
        kept = [pair for pair in all_of_them if pair in clicked | shown or not shown & all_of_them.keys()]
        if kept:
            candidates = {pair[1]: int(pair in clicked) for pair in kept}
            yield [users[line["id"]], line["time"], line["history"], candidates]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(answers | events, max_size=25))
def test_any_log_is_converted_as_its_restatement_says(convert, lines):
    expected = list(restated(lines))
    if expected:
        assert convert(*lines) == expected


def test_from_the_log_of_a_service_to_a_split(tmp_path):
    log = ServedLog(tmp_path / "logs")
    (tmp_path / "news.tsv").write_text(NEWS)
    log.article({"id": "e", "title": "New", "published": NOON})
    for k in range(20):
        log.answer(answer(str(k), f"u{k % 3}", NOON + 10 * k, "abce", "abcd"[: k % 4]))
        log.events([event("abce"[k % 4], f"u{k % 3}", NOON + 10 * k + 1)])
    log.close()
    out, data = tmp_path / "out", tmp_path / "data"
    output = run("convert", "served", tmp_path / "logs", out, "--news", tmp_path / "news.tsv").replace("\n", "")
    assert "all: 5 news, 3 users, 20 impressions, 80 candidates, 20 clicks" in re.sub(" +", " ", output)
    assert f"recommenders-miner split {out / 'all'}" in output
    written = split_by_time(out / "all", data, dev_share=0.25)
    assert (written["train"].impressions, written["dev"].impressions) == (15, 5)
    served = impressions(data / "train") + impressions(data / "dev")
    assert [history for *_, history, _ in served] == [list("abcd"[: k % 4]) for k in range(20)]  # as they were served
