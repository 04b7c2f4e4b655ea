"""Times what a policy adds to a request of the server, over many articles, on one core.

    python benchmarks/serving_policy.py EXPORT --news news.tsv --behaviors behaviors.tsv --policy policy.yaml
        [--articles 63000] [--requests 60] [--k 20]

The articles are those of news.tsv, again and again under other ids, each with a word of its own in the title, two days
old on average. A service in this process answers each user of the log twice, without a policy and with it, explanations
and all; prints the median and the 95th percentile of the CPU time of each, and of their difference. Then how long it
takes to bind the policy to the articles, which the server does beside its requests.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as in a serving process
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recommenders_miner.data.behaviors import read_users
from recommenders_miner.serving.service import Service
from recommenders_miner.serving.settings import Settings
from recommenders_miner.serving.wire import RecommendRequest


def write_news(source: Path, target: Path, count: int) -> None:
    """Write so many articles."""
    lines = [line.split("\t") for line in source.read_text(encoding="utf-8").splitlines()]
    rows = [list(lines[number % len(lines)]) for number in range(count)]
    for number, row in enumerate(rows[len(lines) :]):
        row[0], row[3] = f"{row[0]}-{number}", f"{row[3]} w{number}"
    target.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    published = time.time() - np.random.default_rng(0).exponential(2 * 24 * 3600, count)
    table = pa.table({"id": [row[0] for row in rows], "published": published.astype(np.int64)})
    pq.write_table(table, target.with_name("articles.parquet"))


def cpu(work) -> float:
    """Return the milliseconds that this thread has worked."""
    start = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - start) / 1e6


def main() -> None:
    """See the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path)
    parser.add_argument("--news", type=Path, required=True)
    parser.add_argument("--behaviors", type=Path, required=True)
    parser.add_argument("--policy", type=Path, required=True)
    parser.add_argument("--articles", type=int, default=63_000)
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--k", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        news = Path(folder, "news.tsv")
        write_news(arguments.news, news, arguments.articles)
        settings = Settings((arguments.export,), news, "sqlite:///:memory:", policies={"policy": arguments.policy})
        service = Service(settings)
        service.start()
        while service.trouble:
            time.sleep(0.1)
            if "failed" in (service.trouble or ""):
                raise SystemExit(service.trouble)
        histories = [clicks[-50:] for _, clicks in read_users(arguments.behaviors) if clicks][: arguments.requests]
        times = {"": [], "policy": []}
        for number, history in enumerate([*histories[:3], *histories]):
            for policy, taken in times.items():
                request = RecommendRequest(history=history, k=arguments.k, policy=policy)
                milliseconds = cpu(lambda request=request: service.recommend(request))
                if number >= 3:
                    taken.append(milliseconds)
        without, by_policy = map(np.array, times.values())
        for name, values in (("without", without), ("with", by_policy), ("added", by_policy - without)):
            median, high = np.percentile(values, [50, 95])
            print(f"{name}: {median:.1f} ms, 95 %: {high:.1f} ms")
        policies = service._policies
        policies._entries = None
        print(f"bound in {cpu(policies.refresh) / 1000:.2f} s")
        service.stop()


if __name__ == "__main__":
    main()
