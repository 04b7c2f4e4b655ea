"""Answers without TensorFlow: what is in the pool, what may be found, and how a user comes about click by click."""

import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.data.context import Context
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.errors import DataFormatError, HParamsError, UnknownNewsError
from recommenders_miner.serving import live
from recommenders_miner.serving.runtime import Recommender
from recommenders_miner.serving.segments import Query, Segment
from recommenders_miner.serving.store import Event, open_store
from tests.models.toy import IDS, toy_model, toy_news
from tests.serving.exports import exported, recommender

pytest.importorskip("tf2onnx")

NOW = 1_700_000_000
DAY = 86_400


def rows(ids, seed=0):
    """Articles of the toy world's words and labels, one a day, the last one today."""
    rng = np.random.default_rng(seed)
    return [
        {
            "id": news_id,
            "title": " ".join(rng.choice([f"word{i}" for i in range(15)], rng.integers(1, 9))),
            "category": f"category{rng.integers(3)}",
            "subcategory": f"sub{rng.integers(5)}",
            "published": NOW - DAY * (len(ids) - 1 - place),
            "language": "en" if place % 2 else "da",
        }
        for place, news_id in enumerate(ids)
    ]


def test_no_framework_is_in_the_process():
    code = (
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'jax', 'torch', 'keras_hub'):\n"
        "    sys.modules[name] = None\n"
        "from recommenders_miner.serving.runtime import Recommender\n"
        "served = Recommender.load(sys.argv[1])\n"
        "served.add_articles([{'id': f'N{i}', 'title': f'word{i} word3', 'category': 'category1'} for i in range(9)])\n"
        "served.click('U1', 'N1', 5)\n"
        "print(served.recommend(['N1'], 2), served.explain(['N1'], ['N2'])['model'], served.map(['N1'])['interests'])\n"
    )
    found = subprocess.run([sys.executable, "-c", code, exported("miner")], capture_output=True, text=True, check=True)
    assert "miner" in found.stdout


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "remove"]),
            st.sets(st.integers(0, 30)) | st.sets(st.integers(0, 3)),
            st.sampled_from([None, 1, 2.5, "text"]),
        ),
        max_size=10,
    ),
    st.data(),
)
def test_changes_leave_what_a_new_pool_would_have(changes, data):
    served, wanted = Recommender.load(exported("miner")), {}
    for number, (what, members, price) in enumerate(changes):
        ids = [f"A{i}" for i in sorted(members)]
        if what == "add":
            new = {row["id"]: row | ({} if price is None else {"price": price}) for row in rows(ids, seed=number)}
            others = {row.get("price") for news_id, row in wanted.items() if news_id not in new} - {None}
            if new and price is not None and any(isinstance(other, str) != isinstance(price, str) for other in others):
                with pytest.raises(DataFormatError, match=r"the column price is of the type .* here, and of the type"):
                    served.add_articles(new.values())
            else:
                served.add_articles(new.values())
                wanted |= new
        else:
            served.remove([*ids, "nobody"])
            wanted = {news_id: row for news_id, row in wanted.items() if news_id not in ids}
    assert sorted(served.ids()) == sorted(wanted)
    assert len(served) == len(wanted)
    assert all(served.article(news_id) == row for news_id, row in wanted.items())
    fresh = Recommender.load(exported("miner"))
    fresh.add_articles(list(wanted.values()))
    history = data.draw(st.lists(st.sampled_from([*wanted, "gone"]), max_size=7))
    found, expected = (of.recommend(history, k=40, now=NOW) for of in (served, fresh))
    assert dict(found) == pytest.approx(dict(expected), abs=1e-5)
    assert len(found) == len(set(wanted) - set(history))


def test_limits():
    served = recommender("miner", NewsTable.from_columns(["old"], ["word1"]))
    served.add_articles(rows(IDS))

    def found(**limits):
        return {news_id for news_id, _ in served.recommend(IDS[:2], k=50, now=NOW, **limits)}

    assert found() == {*IDS[2:], "old"}
    assert found(keep_clicked=True) == {*IDS, "old"}
    assert found(max_age=2.5 * DAY) == set(IDS[-3:])
    assert found(where={"language": "en"}) == set(IDS[3::2])
    assert found(where={"language": ["en", "da"]}, exclude=IDS[5:]) == set(IDS[2:5])
    assert found(where={"category": "nothing"}) == set()
    served.add_articles([{"id": "one", "title": "word1", "colour": "blue"}])
    assert found(where={"colour": "blue"}) == {"one"}
    served.remove(["one"])
    with pytest.raises(HParamsError, match="no article has a column 'tone'"):
        found(where={"tone": "red"})
    with pytest.raises(HParamsError, match="published is of the type int64"):
        found(where={"published": "yesterday"})


def test_without_a_history_the_popular_and_the_newest_lead():
    served = Recommender.load(exported("nrms"))
    served.add_articles(rows([*IDS, "new", "newer"]))
    popular = [news_id for news_id in toy_model("nrms").vocabularies.popular.tokens[2:] if news_id in IDS]
    found = [news_id for news_id, _ in served.recommend([], k=30, now=NOW)]
    assert found[: len(popular)] == popular
    assert found[len(popular) :][:2] == ["newer", "new"]


@pytest.mark.parametrize("name", ["miner", "nrms", "miner max"])
def test_a_shortlist_of_all_is_exact(name):
    served = recommender(name)
    exact, found = (dict(served.recommend(IDS[:3], 5, shortlist=size)) for size in (None, 50))
    assert found == pytest.approx(exact)
    assert len(served.recommend(IDS[:3], 5, shortlist=3)) >= 3


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(1, 600), st.integers(1, 4), st.booleans(), st.sampled_from(["max", "weighted"])
)
def test_the_bound_hides_nothing(seed, count, parts, by_category, aggregation):
    rng = np.random.default_rng(seed)
    news = {
        "vector": rng.normal(size=(count, 4)).astype("float32"),
        "target": rng.normal(0, 3, (count, 4)).astype("float32"),
        "category": rng.integers(0, parts, count).astype("int32"),
    }
    table = NewsTable.from_columns([f"N{i}" for i in range(count)], ["x"] * count)
    segment = Segment.of(table, news, np.arange(count))
    interests = rng.normal(size=(parts, 3, 4)).astype("float32")
    categories = np.arange(parts) if by_category else None
    query = Query(
        aggregation, interests if by_category else interests[:1], lambda v, e: (v @ e.T).max(axis=1), categories
    )
    own = interests[segment.news["category"]] if by_category else np.broadcast_to(interests[0], (count, 3, 4))
    matches, logits = (np.einsum("nkd,nd->nk", own, segment.news[name]) for name in ("vector", "target"))
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    wanted = matches.max(axis=1) if aggregation == "max" else (weights * matches).sum(1) / weights.sum(1)
    found = query.search(segment, np.ones(count, bool), k=5)
    best = np.argsort(-wanted)[:5]
    assert found[best] == pytest.approx(wanted[best], abs=1e-4)
    assert (np.delete(found, best) <= wanted[best].min() + 1e-4).all()


def test_click_by_click_is_all_at_once(tmp_path):
    served, store = recommender("miner"), open_store(f"sqlite:///{tmp_path}/store.db")
    for place, news_id in enumerate(IDS[:4]):
        store.record([Event(f"e{place}", "U1", news_id, "click", NOW + place)])
        history = [article for article, _ in store.history("U1", served.his_size)]
        assert served.score(history, IDS) == pytest.approx(served.score(IDS[: place + 1], IDS), abs=1e-5)


def test_live_events_are_the_context_of_a_log(monkeypatch):
    monkeypatch.setattr(live, "COUNTED_AGAIN_SECONDS", -1.0)
    model = toy_model("miner", context="gated")
    shown = [("U1", IDS[0], True), ("U2", IDS[1], False), ("U2", IDS[0], True), ("U1", IDS[3], False)]
    asked = dict(users=["U1", "U2"], time=[NOW - 50, NOW - 40])
    past = ImpressionLog.from_columns(toy_news(), [[], []], [IDS[:2], IDS[1:3]], [[1, 0], [0, 1]], **asked)
    times = [NOW - 20 + place for place in range(4)]
    later = ImpressionLog.from_columns(
        toy_news(), [[]] * 4, [[i] for _, i, _ in shown], [[int(c)] for *_, c in shown], [u for u, *_ in shown], times
    )
    before = Context.of_log(past, toy_news()).counts()
    ask = ImpressionLog.from_columns(toy_news(), [IDS[:2]], [IDS[2:6]], users=["U1"], time=[NOW])
    counts = Context.of_log(later, toy_news(), before).counts()
    wanted = Context.of_log(ask, toy_news(), counts).of(np.zeros(1, int), ask.candidates.values[None])
    following = live.LiveContext(model.network.context, before, 0.0)
    following.of(toy_news(), [], IDS[:1], None, NOW - 30)
    events = [(user, article, at, is_click) for (user, article, is_click), at in zip(shown, times, strict=True)]
    following.record((*event[:3], False) for event in events)  # what is clicked was shown
    following.record(event for event in events if event[3])
    found = following.of(toy_news(), IDS[:2], IDS[2:6], "U1", NOW)
    names = list(Context.of_log(ask, toy_news(), counts).columns)
    assert found[0] == pytest.approx(wanted[0][:, [names.index(name) for name in model.network.context]], abs=1e-5)


def test_a_snapshot_is_what_was_written(tmp_path):
    served = recommender("miner")
    served.add_articles(rows(["late", "gone"]))
    served.remove(["gone"])
    served.save_snapshot(tmp_path / "snapshot")
    again = Recommender.load(exported("miner"), tmp_path / "snapshot")
    written, read = (dict(of.recommend(IDS[:3], 20, now=NOW)) for of in (served, again))
    assert read == pytest.approx(written)
    assert again.article("late") == served.article("late")
    assert "gone" not in again
    assert isinstance(again._pool.segments[0].news["vector"], np.memmap)
    again.add_articles(rows(["more"]))
    assert {"more", "late"} <= set(again.ids())
    with pytest.raises(DataFormatError, match="it is of miner-"):
        Recommender.load(exported("nrms"), tmp_path / "snapshot")
    (tmp_path / "snapshot" / "vector.npy").write_bytes(b"no array")
    with pytest.raises(DataFormatError, match="no snapshot that can be used"):
        Recommender.load(exported("miner"), tmp_path / "snapshot")


def test_articles_that_cannot_be(tmp_path):
    served = recommender("nrms")
    for row in ({"title": "no id"}, {"id": "N1"}, {"id": "N1", "title": None}):
        with pytest.raises(DataFormatError, match="no id or no title"):
            served.add_articles([row])
    with pytest.raises(DataFormatError, match="a column cannot be read"):
        served.add_articles([{"id": "a", "title": "x", "n": 1}, {"id": "b", "title": "y", "n": "two"}])
    assert len(served) == len(IDS)
    for in_one in (False, True):  # as models have their articles that encode or count them together
        of = recommender("nrms")
        of._in_one = in_one
        of.add_articles([{"id": "a", "title": "x", "n": 1}])
        of.add_articles([{"id": "b", "title": "y"}])
        with pytest.raises(DataFormatError, match="the column n is of the type string here, and of the type int64 in"):
            of.add_articles([{"id": "c", "title": "z", "n": "two"}])
        of.add_articles([{"id": f"d{i}", "title": "y"} for i in range(5)])
        of.add_articles([{"id": "a", "title": "x", "n": "two"}])  # corrects what it said before
        of.remove(["a"])
        of.add_articles([{"id": "a", "title": "x", "n": [1]}])
        of.remove([*"ab", *(f"d{i}" for i in range(5))])
    with pytest.raises(UnknownNewsError, match="1 of 2 candidates are not there: 'what'"):
        served.score([], ["what", IDS[0]])
    with pytest.raises(KeyError):
        served.article("what")
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(DataFormatError, match="Write one: recommenders-miner export"):
        Recommender.load(tmp_path)


def test_readers_see_the_pool_before_or_after_a_change():
    import threading

    served, stop, failures = recommender("miner"), threading.Event(), []

    def read():
        while not stop.is_set():
            found = served.recommend(IDS[:3], k=60, now=NOW)
            if len(found) not in (len(IDS) - 3, len(IDS) - 3 + 20):
                failures.append(len(found))

    reader = threading.Thread(target=read)
    reader.start()
    end = time.monotonic() + 2
    while time.monotonic() < end:
        served.add_articles(rows([f"A{i}" for i in range(20)]))
        served.remove([f"A{i}" for i in range(20)])
    stop.set()
    reader.join()
    assert not failures


def test_the_map_has_the_history_and_the_interests():
    found = recommender("miner").map(IDS[:2], limit=3)
    assert {article["id"] for article in found["articles"]} >= set(IDS[:2])
    assert len(found["articles"]) <= 5
    assert [interest["name"] for interest in found["interests"]] == ["interest 1", "interest 2", "interest 3"]
    assert recommender("libfm").map(IDS[:2]) == {"articles": [], "interests": []}
    [alone] = recommender("miner").map([], limit=1)["articles"]
    assert (alone["x"], alone["y"]) == (0, 0)
    assert len(recommender("miner", NewsTable.from_columns(["one"], ["word1"])).map(["one"])["interests"]) == 3


@pytest.mark.parametrize("name", ["miner", "nrms", pytest.param("hierec", marks=pytest.mark.slow), "npa"])
def test_the_scores_of_the_whole_pool_begin_with_what_is_recommended(name):
    served = recommender(name)
    served.add_articles([{"id": "late", "title": "word3 word4", "category": "sports"}])
    served.remove([IDS[4]])
    limits = {"where": {"category": ["sports", "news"]}, "exclude": [IDS[5]]}
    for options in ({}, limits):
        ids, scores = served.score_pool(IDS[:3], exact=8, now=NOW, **options)
        assert served.score_pool(IDS[:2])[0] is ids
        best = served.recommend(IDS[:3], 8, now=NOW, **options)
        order = np.argsort(-scores, kind="stable")[: len(best)]
        assert [ids[place] for place in order] == [news_id for news_id, _ in best]
        assert scores[order] == pytest.approx([score for _, score in best], abs=1e-5)
        everything = {news_id for news_id, _ in served.recommend(IDS[:3], 1000, now=NOW, **options)}
        assert {ids[place] for place in np.flatnonzero(scores > -np.inf)} == everything
    other = served.apart()
    other.add_articles([{"id": "late", "title": "word3 word4", "category": "sports"}])
    assert (len(other), "late" in served, IDS[3] in other) == (1, True, False)
    assert served.apart().score_pool([])[1].size == 0
