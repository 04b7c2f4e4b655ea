"""Every make of store does the same, as a plain model of it says, and threads and processes may share one."""

import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommenders_miner.serving.store import Event, SQLiteStore, StoreError, open_store
from tests.serving.redis_server import NO_SERVER, PROGRAM, RedisServer

NOW = int(time.time())
fresh = count()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if PROGRAM is None:
        pytest.skip(NO_SERVER)
    pytest.importorskip("redis")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture(params=["file", "memory", "redis"])
def open_fresh(request, tmp_path):
    """Opens an empty store of a make."""
    stores = []

    def open_one(**options):
        if request.param == "redis":
            import redis

            url = request.getfixturevalue("server").url
            redis.Redis.from_url(url).flushall()
        else:
            place = {"file": tmp_path / "new folder" / f"{next(fresh)}.db", "memory": ":memory:"}[request.param]
            url = f"sqlite:///{place}"
        stores.append(open_store(url, **options))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture
def store(open_fresh):
    return open_fresh()


def click(id, user="u", article="a", time=NOW, **further):
    return Event(id, user, article, "click", time, **further)


texts = st.text(min_size=1, max_size=3)
events = st.builds(
    Event,
    id=st.integers(0, 30).map(str) | texts,
    user=st.sampled_from(["u", "v"]) | texts,
    article=st.sampled_from(["a", "b", "c"]) | texts,
    type=st.sampled_from(["click", "shown"]),
    time=st.integers(NOW - 3, NOW) | st.integers(0, NOW),
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(events, max_size=8), max_size=8), kept=st.integers(1, 4), limit=st.integers(1, 5))
def test_stores_do_as_their_model(open_fresh, batches, kept, limit):
    store, seen, clicks, counts = open_fresh(kept=kept), set(), defaultdict(list), defaultdict(lambda: [0, 0])
    showings = defaultdict(Counter)
    for batch in batches:
        expected = []
        for event in batch:
            expected.append(event.id not in seen)
            if event.id not in seen:
                seen.add(event.id)
                if event.time > NOW - 30 * 24 * 3600:
                    counts[event.article][event.type == "shown"] += 1
                if event.type == "click":
                    clicks[event.user].append((event.article, event.time))
                    showings[event.user].pop(event.article, None)
                elif event.time > NOW - 30 * 24 * 3600:
                    showings[event.user][event.article] += 1
        for user, history in clicks.items():
            clicks[user] = sorted(history, key=lambda pair: pair[1])[-kept:]
        assert store.record(batch, keep_showings=True) == expected
    for user, times in showings.items():
        assert store.showings(user) == times
    for user, history in clicks.items():
        assert store.history(user, limit) == history[-limit:]
    popular = store.popular(NOW - 30 * 24 * 3600, 1000)
    assert {article: [clicks, shown] for article, clicks, shown in popular if article in counts} == counts
    for user, history in clicks.items():
        assert store.forget(user) == len(history)
        assert store.history(user, limit) == []
        assert store.showings(user) == {}


def test_showings_of_a_user_are_kept_where_they_are_asked_for(store):
    shown = [Event(str(next(fresh)), "u", "a", "shown", NOW) for _ in range(3)]
    store.record(shown[:1])
    assert store.showings("u") == {}
    store.record(shown[1:], keep_showings=True)
    store.record([Event("old", "u", "b", "shown", NOW - 70 * 86_400)], keep_showings=True)
    assert store.showings("u") == {"a": 2}
    store.record([click("c")], keep_showings=True)
    assert store.showings("u") == {}


def test_ids_are_known_again_for_some_days_and_counts_for_a_month(open_fresh):
    store = open_fresh(remembered=1 / 86_400)
    assert store.record([click("1"), click("1"), click("2", time=NOW - 40 * 86_400)]) == [True, False, True]
    assert store.record([click("1")]) == [False]
    assert store.popular(0, 10) == [("a", 1, 0)]
    time.sleep(1.1)
    assert store.record([click("1"), click("3"), click("1")]) == [True, True, False]
    assert store.popular(0, 10) == [("a", 3, 0)]


def test_a_batch_with_an_event_that_cannot_be_kept_changes_nothing(store):
    with pytest.raises((ValueError, StoreError, OverflowError)):
        store.record([click("1"), click("2", user="\ud800")])
    assert store.record([click("1")]) == [True]
    assert store.history("u", 10) == [("a", NOW)]


def test_what_is_popular_is_clicked_on_when_shown(store):
    assert store.popular(0, 10) == []
    shown = {"often": (30, 300), "rarely clicked": (3, 300), "one of one": (1, 1), "new": (0, 1)}
    number = count()
    for article, counts in shown.items():
        for kind, times in zip(("click", "shown"), counts, strict=True):
            store.record([Event(str(next(number)), "u", article, kind, NOW) for _ in range(times)])
    store.record([click("old", article="rarely clicked", time=NOW - 7200), click("old too", time=NOW - 90_000)])
    ranked = store.popular(NOW - 3600, 10)
    assert [article for article, _, _ in ranked] == ["one of one", "often", "new", "rarely clicked"]
    assert ranked[1] == ("often", 30, 300)
    assert store.popular(NOW - 86_400, 1) == ranked[:1]
    assert dict((row[0], row[1:]) for row in store.popular(NOW - 86_400, 9))["rarely clicked"] == (4, 300)


def test_without_showings_clicks_count(store):
    store.record([click(str(k), article="abc"[k % 4 % 3]) for k in range(8)])
    assert store.popular(0, 2) == [("a", 4, 0), ("c", 2, 0)]


def test_changes_of_articles_are_numbered(store):
    assert store.articles_since(0) == []
    first = store.put_article("n/1 ü", {"title": "Ünë", "published": 1.5, "tags": ["x"], "none": None})
    second = store.put_article("n2", {"title": "Two"})
    assert store.articles_since(first) == [(second, "n2", {"title": "Two"})]
    third = store.put_article("n2", None)
    fourth = store.put_article("n2", {"title": "Two again"})
    fifth = store.put_article("n/1 ü", None)
    assert first < second < third < fourth < fifth
    assert store.articles_since(0) == [(fourth, "n2", {"title": "Two again"}), (fifth, "n/1 ü", None)]
    assert store.articles_since(fifth) == []


def test_threads_share_a_store(store):
    def work(thread):
        for k in range(40):
            store.record([click(f"{thread}-{k}", f"u{thread % 2}", f"{thread}-{k}"), click(f"all-{k}", "w", str(k))])
            assert len(store.history(f"u{thread % 2}", 200)) > k
            store.articles_since(store.put_article(str(thread), {"k": k}) - 1)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    for user in ("u0", "u1"):
        assert len({article for article, _ in store.history(user, 200)}) == 160
    assert len(store.history("w", 200)) == 40


def record_some(url, process):
    store = open_store(url, kept=1000)
    new = [store.record([click(f"all-{k}", article=str(k)), click(f"{process}-{k}", "v")]) for k in range(100)]
    store.close()
    return sum(is_new for is_new, _ in new)


@pytest.mark.parametrize("make", ["file", "redis"])
def test_processes_share_a_store(make, tmp_path, request):
    url = f"sqlite:///{tmp_path}/store.db" if make == "file" else request.getfixturevalue("server").url
    if make == "redis":
        import redis

        redis.Redis.from_url(url).flushall()
    with multiprocessing.get_context("spawn").Pool(4) as pool:  # they make the file at the same time
        new = pool.starmap(record_some, [(url, process) for process in range(4)], chunksize=1)
    assert sum(new) == 100
    store = open_store(url)
    assert sorted(int(article) for article, _ in store.history("u", 1000)) == list(range(100))
    assert len(store.history("v", 1000)) == 400
    store.close()


def test_a_file_is_found_again_and_holds_nothing_of_who_was_forgotten(tmp_path):
    url = f"sqlite:///{tmp_path}/store.db?synchronous=full"
    store = open_store(url)
    secrets = [f"mallory-{k}" for k in range(100)]
    store.record([click(f"{user}'s", user, "a") for user in secrets])
    store.record([click("bob's", "bob", "a")])
    assert [store.forget(user) for user in secrets] == [1] * 100
    assert not any(b"mallory" in path.read_bytes() for path in tmp_path.iterdir())
    store.close()
    store = open_store(url)
    assert store.history("bob", 9) == [("a", NOW)]
    assert store.record([click("mallory-7's", "mallory-7")]) == [False]  # a late repetition does not bring a user back
    store.close()


def test_synchronous_is_as_asked(tmp_path):
    for query, level in (("", 1), ("?synchronous=normal", 1), ("?synchronous=FULL", 2)):
        store = open_store(f"sqlite:///{tmp_path}/store.db{query}")
        assert store._writer.execute("PRAGMA synchronous").fetchone() == (level,)
        store.close()


@pytest.mark.parametrize(
    "url",
    [
        *("sqlite:///", "sqlite://store.db", "sqlite:///a.db?synchronous=off", "sqlite:///a.db?cache=1", "a.db"),
        *("mysql://localhost/db", "", "redis://127.0.0.1:1/0", "redis://127.0.0.1:port/0"),
    ],
)
def test_a_url_of_no_store_is_refused(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if url.startswith("redis"):
        pytest.importorskip("redis")
    with pytest.raises(StoreError, match=r"Expected one of|Is the server running|not of the form"):
        open_store(url)
    assert not any(tmp_path.iterdir())


def test_errors_name_the_store_and_no_password(tmp_path):
    pytest.importorskip("redis")
    with pytest.raises(StoreError, match=r"^redis://127\.0\.0\.1:1/0: .*Is the server running") as caught:
        open_store("redis://me:secret@127.0.0.1:1/0")
    assert "secret" not in str(caught.value)
    (tmp_path / "notes.txt").write_text("These are notes, and no database at all.\n" * 99)
    with pytest.raises(StoreError, match=r"notes\.txt: the store cannot be used \(file is not a database\)"):
        open_store(f"sqlite:///{tmp_path}/notes.txt")
    with pytest.raises(StoreError, match="cannot be used"):
        open_store(f"sqlite:///{tmp_path}/notes.txt/store.db")
    store = open_store(f"sqlite:///{tmp_path}/store.db")
    store._writer.execute("PRAGMA user_version = 99")
    store.close()
    with pytest.raises(StoreError, match=r"of another version \(99\)"):
        open_store(f"sqlite:///{tmp_path}/store.db")
    with pytest.raises(StoreError, match=r"store\.db: .*closed"):
        store.ping()


def test_a_reader_does_not_wait_for_a_writer(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/store.db")
    assert isinstance(store, SQLiteStore)
    store.record([click("1")])
    with store._transaction() as db, ThreadPoolExecutor(1) as other:
        db.execute("DELETE FROM clicks")
        assert other.submit(store.history, "u", 1).result(timeout=5) == [("a", NOW)]
    store.close()


def test_stores_and_logs_need_no_deep_learning():
    code = (
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'jax', 'torch', 'pandas', 'pyarrow'): sys.modules[name] = None\n"
        "from recommenders_miner.serving.store import open_store\n"
        "import recommenders_miner.serving.served_log\n"
        "open_store('sqlite:///:memory:').ping()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.getcwd()})
