"""How many requests a store serves: a user's 50 newest clicks are read, then one is recorded, by one process or four.

    python benchmarks/store.py [--seconds 5] [--redis redis://localhost:6379/15]

Users are drawn from 10,000, articles from 5,000; a third as many requests come before the clock starts, so that there
are histories. SQLite's file lies in a temporary folder, which TMPDIR can put on another disk. `--redis` is an empty
database of a running server, whose own appendfsync counts. Prints a table of requests a second, of all clients
together, of the slowest hundredth's milliseconds, and of a client's CPU time for a request, which other work on the
machine disturbs least.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import tempfile
import time

import numpy as np

from recommenders_miner.serving.store import Event, open_store
from recommenders_miner.tables import markdown_table

USERS, ARTICLES, HISTORY = 10_000, 5_000, 50


def serve(url, client, seconds, start):
    """Return the seconds that each request took, and those of CPU time that all took."""
    store, rng, taken, number = open_store(url), random.Random(client), [], 0
    for is_counted, duration in ((False, seconds / 3), (True, seconds)):
        start.wait()
        busy = time.process_time()
        end = time.perf_counter() + duration
        while (began := time.perf_counter()) < end:
            user, article = f"user-{rng.randrange(USERS)}", f"N{rng.randrange(ARTICLES)}"
            store.history(user, HISTORY)
            store.record([Event(f"{client}-{number}", user, article, "click", int(time.time()))])
            number += 1
            if is_counted:
                taken.append(time.perf_counter() - began)
    busy = time.process_time() - busy
    store.close()
    return taken, busy


def measure(url, clients, seconds):
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(clients) as pool:
        start = manager.Barrier(clients)
        served = pool.starmap(serve, [(url, client, seconds, start) for client in range(clients)], chunksize=1)
    taken, busy = np.concatenate([taken for taken, _ in served]), sum(busy for _, busy in served)
    return len(taken) / seconds, 1e3 * np.quantile(taken, 0.99), 1e6 * busy / len(taken)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--redis", metavar="URL")
    arguments = parser.parse_args()
    rows = []
    for name in ("SQLite, normal", "SQLite, full", *(["Redis"] if arguments.redis else [])):
        for clients in (1, 4):
            with tempfile.TemporaryDirectory() as folder:
                url = f"sqlite:///{folder}/store.db?synchronous={name.split()[-1]}"
                rate, slow, busy = measure(arguments.redis if name == "Redis" else url, clients, arguments.seconds)
            rows.append([name, str(clients), f"{rate:,.0f}", f"{slow:.1f}", f"{busy:.0f}"])
            print(*rows[-1], flush=True)
    print(markdown_table(["store", "clients", "get + append/s", "p99, ms", "CPU, µs"], rows))


if __name__ == "__main__":
    main()
