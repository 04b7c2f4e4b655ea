"""A process that records clicks, and Redis with it, is killed at random moments: none that was acknowledged is lost."""

import contextlib
import multiprocessing
import os
import random
import time
from collections import Counter
from itertools import count

import pytest

from recommenders_miner.serving.store import Event, StoreError, open_store
from tests.serving.redis_server import NO_SERVER, PROGRAM, RedisServer

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="there is no forkserver")]
KILLS = int(os.environ.get("KILLS", "8"))
USERS, KEPT = [f"u{k}" for k in range(20)], 10_000


def batch(number):
    return [Event(f"{number}-{k}", USERS[(number + k) % len(USERS)], f"{number}-{k}", "click", 10**9) for k in range(3)]


def record(url, first, acknowledge):
    store = open_store(url, kept=KEPT)
    with contextlib.suppress(StoreError):  # the server was killed first
        for number in count(first):
            assert store.record(batch(number)) == [True] * 3
            acknowledge.send_bytes(str(number).encode())


@pytest.fixture
def server(tmp_path):
    if PROGRAM is None:
        pytest.skip(NO_SERVER)
    pytest.importorskip("redis")
    server = RedisServer(tmp_path)
    yield server
    server.kill()


@pytest.mark.parametrize("make", ["normal", "full", "redis"])
def test_acknowledged_clicks_are_there_once(make, tmp_path, request):
    server = request.getfixturevalue("server") if make == "redis" else None
    url = server.url if server else f"sqlite:///{tmp_path}/store.db?synchronous={make}"
    processes, rng, done, broken = multiprocessing.get_context("forkserver"), random.Random(1), 0, 0
    for _ in range(KILLS):
        here, there = processes.Pipe(duplex=False)
        process = processes.Process(target=record, args=(url, done, there), daemon=True)
        process.start()
        there.close()
        assert int(here.recv_bytes()) == done
        time.sleep(rng.uniform(0, 0.05))
        for killed in rng.sample([process, *([server] if server else [])], 1 + bool(server)):
            killed.kill()
        process.join()
        done += 1
        try:
            while True:
                assert int(here.recv_bytes()) == done
                done += 1
        except EOFError:
            pass
        if server:
            server.start()
        store = open_store(url, kept=KEPT)
        found = Counter(article for user in USERS for article, _ in store.history(user, KEPT))
        expected = Counter(event.article for number in range(done) for event in batch(number))
        begun = Counter(event.article for event in batch(done))
        assert found in (expected, expected + begun)  # what was not acknowledged is there as a whole or not at all
        broken += found != expected
        assert store.record(batch(done)) == [found == expected] * 3
        assert store.record(batch(done - 1)) == [False] * 3
        done += 1
        store.close()
    print(f"{make}: {3 * done:,} clicks, {KILLS} kills, {broken} between a click and its acknowledgement")
