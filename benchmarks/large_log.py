"""Reads, caches and trains from a log of 16 million impressions, ten gigabytes of text, and says what it takes.

    python benchmarks/large_log.py [--out benchmarks] [--work DIR] [--copies 102]

The log is the synthetic benchmark of MIND-small's size, repeated: every copy has its own users and its own histories,
which begin with another article, at other seconds of the same minutes. Each step is a process of its own. Needs 45 GB
of disk under --work, freed at the end.
Writes OUT/large_log.json. Takes about 6 minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from bench import DATA, SIDES, Bench

from recommenders_miner.storage import atomic_write


def repeat(source: Path, target: Path, copies: Sequence[int]) -> int:
    """Write copies, by number, of the log of a split's folder to a file; return the number of impressions."""
    news = [line.split("\t", 1)[0] for line in (source / "news.tsv").read_text("utf-8").splitlines()]
    rows = [line.split("\t", 4) for line in (source / "behaviors.tsv").read_text("utf-8").splitlines()]
    with open(target, "w", encoding="utf-8") as file:
        for copy in copies:
            first, oldest = copy * len(rows), news[copy % len(news)]
            for number, (_, user, at, history, impressions) in enumerate(rows, start=first + 1):
                at = f"{at[:-5]}{(int(at[-5:-3]) + copy) % 60:02}{at[-3:]}"
                file.write(f"{number}\t{user}-{copy}\t{at}\t{oldest} {history}\t{impressions}\n")
    return len(copies) * len(rows)


def main() -> None:
    """Run the benchmark; see the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=SIDES.parent)
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "recommenders_miner" / "bench")
    parser.add_argument("--copies", type=int, default=102)
    arguments = parser.parse_args()
    bench = Bench(arguments.work)
    bench.make_data("mind-small", DATA["mind-small"])
    large, small = arguments.work / "large", arguments.work / "mind-small" / "train"
    try:
        (large / "train").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(small / "news.tsv", large / "train" / "news.tsv")
        impressions = repeat(small, large / "train" / "behaviors.tsv", range(arguments.copies))
        size = (large / "train" / "behaviors.tsv").stat().st_size
        began = time.perf_counter()
        cached = bench.run("ours", {"task": "cache", "data": "large"})
        seconds = time.perf_counter() - began
        counted = bench.run("ours", {"task": "context", "data": "large"})
        task = {"task": "train", "data": "large", "model": "nrms", "batch": 128, "steps": 60, "keep_cache": True}
        trained = bench.run("ours", task)
    finally:
        shutil.rmtree(large, ignore_errors=True)
    figures = {
        "impressions": impressions,
        "text_bytes": size,
        "reading_and_caching_s": seconds,
        "reading_and_caching_peak_mib": cached["peak_mib"],
        "counting_the_context_s": counted["counting_s"],
        "counting_the_context_peak_mib": counted["peak_mib"],
        "context_us_per_candidate": counted["us_per_candidate"],
        "training_samples_per_s": trained["samples_per_s"],
        "training_peak_mib": trained["peak_mib"],
        "seconds_until_the_first_step": trained["first_step_s"],
    }
    with atomic_write(arguments.out / "large_log.json") as partial:
        partial.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
