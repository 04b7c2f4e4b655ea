"""Times one user's recommendations by an export and by the model that it was made of, on one core.

    recommenders-miner export RUN EXPORT
    python benchmarks/serving.py RUN EXPORT --news news.tsv --behaviors behaviors.tsv [--articles 5000] [--requests 100]

Histories are those of the log, cut to the newest clicks that the model reads; k is 10. Prints milliseconds of CPU time,
the median of all requests: exact; with a shortlist of 1,000, and how many of the exact ten it finds; and today's
`model.recommend`, in a process of its own. Then what it takes to be ready: seconds from the start of a process until it
has answered once from a snapshot, and its resident memory without what it maps from files.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ[variable] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

K, SHORTLIST, SEED = 10, 1000, 0


def milliseconds(answer: Callable[[list[str]], list], histories: list[list[str]]) -> tuple[float, list]:
    """Return the median CPU time of an answer, and the answers; the first three warm up."""
    for history in histories[:3]:
        answer(history)
    taken, found = [], []
    for history in histories:
        start = time.process_time()
        found.append(answer(history))
        taken.append(time.process_time() - start)
    return 1000 * statistics.median(taken), found


def inputs(arguments: argparse.Namespace) -> tuple:
    """Return the table of so many articles, those of the histories among them, and the histories."""
    from recommenders_miner.data.behaviors import read_users
    from recommenders_miner.data.news import NewsTable

    table = NewsTable.read(arguments.news)
    histories = [clicks for _, clicks in read_users(arguments.behaviors) if len(clicks) >= arguments.clicks]
    histories = [[i for i in of if i in table.row_of][-arguments.clicks :] for of in histories[: arguments.requests]]
    clicked = [news_id for history in histories for news_id in history]
    ids = list(dict.fromkeys([*clicked, *table.texts("ids")]))
    return table.select(ids[: arguments.articles or len(ids)]), histories


def keras(arguments: argparse.Namespace) -> None:
    """Time the model itself, and print the figure."""
    from recommenders_miner.models import load_model

    table, histories = inputs(arguments)
    folder = arguments.run / "model"
    model = load_model(folder if folder.is_dir() else arguments.run)
    model.set_news(table)
    print(milliseconds(lambda history: model.recommend(history, k=K), histories[:20])[0])


def ready(arguments: argparse.Namespace) -> None:
    """Answer once from a snapshot, and print what that took: to import, until the answer, and memory."""
    start = time.perf_counter()
    from recommenders_miner.serving.runtime import Recommender

    imported = time.perf_counter() - start
    recommender = Recommender.load(arguments.export, arguments.snapshot)
    recommender.recommend(arguments.history.split(","), k=K)
    answered = time.perf_counter() - start
    [memory] = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in line]
    print(json.dumps([imported, answered, int(memory) / 1024]))


def child(mode: str, *options: object) -> str:
    """Run this file in a process of its own, and return the last line that it prints."""
    command = [sys.executable, __file__, *sys.argv[1:], "--mode", mode, *map(str, options)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]


def main() -> None:
    """Run the benchmark; see the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("export", type=Path)
    parser.add_argument("--news", type=Path, required=True)
    parser.add_argument("--behaviors", type=Path, required=True)
    parser.add_argument("--articles", type=int, default=0)
    parser.add_argument("--clicks", type=int, default=50)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--mode", default="all")
    parser.add_argument("--snapshot", type=Path)
    parser.add_argument("--history")
    arguments = parser.parse_args()
    if arguments.mode != "all":
        return {"keras": keras, "ready": ready}[arguments.mode](arguments)

    from recommenders_miner.serving.runtime import Recommender

    table, histories = inputs(arguments)
    recommender = Recommender.load(arguments.export)
    recommender.add_table(table)
    print(f"{recommender.name}: {len(table) - 1:,} articles, {len(histories)} histories of {arguments.clicks} clicks")
    exact, wanted = milliseconds(lambda history: recommender.recommend(history, k=K), histories)
    near, found = milliseconds(lambda history: recommender.recommend(history, k=K, shortlist=SHORTLIST), histories)
    recall = statistics.mean(len(set(dict(a)) & set(dict(b))) / K for a, b in zip(wanted, found, strict=True))
    today = float(child("keras"))
    print(f"exact           {exact:7.2f} ms")
    print(f"shortlist       {near:7.2f} ms, recall@10 {recall:.4f}")
    print(f"model.recommend {today:7.2f} ms, {today / exact:.1f} times exact, {today / near:.1f} times shortlist")
    with tempfile.TemporaryDirectory() as folder:
        recommender.save_snapshot(Path(folder) / "snapshot")
        options = "--snapshot", Path(folder) / "snapshot", "--history", ",".join(histories[0])
        imported, answered, memory = json.loads(child("ready", *options))
    print(
        f"from a snapshot: import {imported:.2f} s, first answer {answered:.2f} s, {memory:.0f} MiB beside mapped files"
    )


if __name__ == "__main__":
    main()
