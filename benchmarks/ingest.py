"""Ingests a log of any size, made file by file and never there as a whole, and trains on it: time and memory.

    python benchmarks/ingest.py --copies 1020 [--workers 1,2] [--out benchmarks] [--work DIR]

The log is that of `large_log.py`: 1,020 copies are 160 million impressions, a hundred gigabytes of text, of which three
files of ten copies each are there at a time. Under --work it needs 300 bytes of disk for each impression, freed at the
end. The first so many steps of NRMS follow. Memory is the largest sum, over all processes and sampled five times a
second, of what is not a mapped file: the kernel takes pages of files back when others need the room. While a file is
written, several workers go on reading those before, and one does not. Adds to OUT/ingest.json, under the number of
impressions. 1,020 copies take 22 minutes on two cores, 12 of them to write the files.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from bench import DATA, SIDES, Bench, machine
from large_log import repeat

from recommenders_miner.data.ingest import ingest
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.storage import atomic_write

COPIES_IN_A_FILE, FILES_AT_A_TIME = 10, 3


class Files:
    """The files of the log, each written when it is asked for, when all but the last few have been read and go."""

    def __init__(self, source: Path, folder: Path, copies: int) -> None:
        self.source, self.folder, self.copies = source, folder, copies
        self.seconds = self.cpu_seconds = 0.0
        self.text_bytes = 0

    def __iter__(self) -> Iterator[Path]:
        written = []
        for first in range(0, self.copies, COPIES_IN_A_FILE):
            began, used, path = time.perf_counter(), cpu_seconds(), self.folder / f"behaviors-{first:06}.tsv"
            repeat(self.source, path, range(first, min(first + COPIES_IN_A_FILE, self.copies)))
            written.append(path)
            if len(written) > FILES_AT_A_TIME:
                written.pop(0).unlink()
            self.text_bytes += path.stat().st_size
            self.seconds += time.perf_counter() - began
            self.cpu_seconds += cpu_seconds() - used
            yield path


def cpu_seconds() -> float:
    """Return the processor time of this process and of those of its children that have ended."""
    return sum(os.times()[:4])


def ingest_copies(source: Path, data: Path, copies: int, workers: int) -> dict[str, float]:
    """Ingest so many copies, a part for each file; return the figures."""
    data.mkdir(parents=True)
    files, began, used = Files(source, data, copies), time.perf_counter(), cpu_seconds()
    parts = -(-copies // COPIES_IN_A_FILE)
    ingest(files, data / "train", source / "news.tsv", workers=workers, parts=parts)
    seconds = time.perf_counter() - began
    return {
        "text_bytes": files.text_bytes,
        "seconds": seconds,
        "of_which_writing_files": files.seconds,
        "cpu_seconds_but_for_writing_files": cpu_seconds() - used - files.cpu_seconds,
    }


@contextlib.contextmanager
def sampled_memory() -> Iterator[dict[str, float]]:
    """Sample the memory of this process and its descendants while the block runs; fill in the peaks, in MiB."""
    peaks, ended = {"anonymous_mib": 0.0, "resident_mib": 0.0}, threading.Event()

    def sample() -> None:
        while not ended.wait(0.2):
            found = [memory_of(pid) for pid in descendants(os.getpid())]
            for name, index in (("anonymous_mib", 0), ("resident_mib", 1)):
                peaks[name] = max(peaks[name], sum(of[index] for of in found))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peaks
    finally:
        ended.set()
        thread.join()


def descendants(pid: int) -> Iterator[int]:
    """Yield a process and those that it and they started."""
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from descendants(int(child))


def memory_of(pid: int) -> tuple[float, float]:
    """Return what a process has of anonymous memory and of memory at all, in MiB."""
    found = {}
    with contextlib.suppress(OSError):  # it has ended
        found = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return tuple(int(found.get(name, "0 kB").split()[0]) / 1024 for name in ("RssAnon", "VmRSS"))


def main() -> None:
    """Run the benchmark; see the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=SIDES.parent)
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "recommenders_miner" / "bench")
    parser.add_argument("--copies", type=int, required=True)
    parser.add_argument("--workers", default="1")
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    bench = Bench(arguments.work)
    bench.make_data("mind-small", DATA["mind-small"])
    source, data = arguments.work / "mind-small" / "train", arguments.work / "ingested"
    figures = {"ingesting": {}}
    try:
        for workers in map(int, arguments.workers.split(",")):
            shutil.rmtree(data, ignore_errors=True)
            with sampled_memory() as memory, ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as own:
                found = own.submit(ingest_copies, source, data, arguments.copies, workers).result()
            figures["ingesting"][str(workers)] = found | memory
            print(workers, figures["ingesting"][str(workers)], flush=True)
        figures["disk_bytes"] = sum(file.stat().st_size for file in (data / "train" / "behaviors").iterdir())
        log = ImpressionLog.open(data / "train")
        figures |= {"impressions": len(log), "users": len(log.users), "parts": log.num_parts}
        del log
        task = {"task": "train", "data": "ingested", "model": "nrms", "batch": 128, "steps": arguments.steps}
        with sampled_memory() as memory:
            figures["training"] = bench.run("ours", task | {"keep_cache": True}) | memory
    finally:
        shutil.rmtree(data, ignore_errors=True)
    path = arguments.out / "ingest.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    found[f"{figures['impressions']:,}"] = figures | {"machine": machine()}
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
