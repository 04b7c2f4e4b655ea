"""Times this package against Microsoft Recommenders 1.2.1, and MINER against PyTorch, side by side.

    python benchmarks/bench.py [--out benchmarks] [--only nrms-32,read] [--repeats 3] [--work DIR]

Makes the data (the synthetic benchmark) and the peers' environments under --work, once. Then theirs and ours run in
turns, each in a process of its own with the machine to itself, `--repeats` times. Writes OUT/results.json, which keeps
the rows that were not run again, and OUT/results.md. Takes about an hour on two idle cores.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from recommenders_miner.datasets.synthetic.benchmark import PRESETS, SyntheticConfig, write_synthetic_benchmark
from recommenders_miner.storage import atomic_write
from recommenders_miner.tables import markdown_table

SIDES = Path(__file__).parent / "sides"
ROOT = SIDES.parent.parent
PACKAGES = {
    "peer_recommenders": ["recommenders==1.2.1", "tensorflow-cpu<2.16", "numpy<2", "tf-slim"],
    "peer_torch": ["torch==2.13.0", "keras", "numpy", "pyarrow", "pyyaml", "rich", "h5py"],
}
MIND_SMALL = PRESETS["mind-small"]


def scaled(log: float, news: float) -> SyntheticConfig:
    """Return MIND-small's synthetic counterpart with a share of its users and impressions, and of its news."""
    shares = {"num_news": news, "num_users": log, "num_train_impressions": log, "num_dev_impressions": log}
    return dataclasses.replace(MIND_SMALL, **{name: round(getattr(MIND_SMALL, name) * s) for name, s in shares.items()})


QUARTER = scaled(1 / 4, 1 / 4)
DATA = {"quarter": QUARTER, "mind-small": "mind-small"}
DEV, ALL = (f"{config.num_dev_impressions:,} impressions" for config in (QUARTER, MIND_SMALL))


@dataclass(frozen=True)
class Figure:
    """A row of the table: what a pair of runs reports under `name`; `asked` is the ratio to reach."""

    what: str
    name: str
    asked: float | None = None
    more_is_better: bool = False


@dataclass(frozen=True)
class Pair:
    """Two runs that are compared: the side of each, and its task; `once` for what hardly varies and takes long."""

    theirs: tuple[str, dict]
    ours: tuple[str, dict]
    figures: list[Figure]
    once: bool = False


UNITS = {"samples_per_s": "samples/s", "rows_per_s": "rows/s", "eval_s": "s", "seconds": "s", "peak_mib": "MiB"}
ASKED_RATES = {("nrms", 32): 4, ("nrms", 128): 5, ("lstur", 128): 4, ("naml", 128): 4}


def training(model: str, batch: int, steps: tuple[int, int], *figures: Figure, side="peer_recommenders") -> Pair:
    """Pair the training of the same model on both sides, followed by `run_eval` where a figure needs it."""
    task = {"task": "train", "data": "quarter", "model": model, "batch": batch}
    if figures:
        task["evaluate"] = True
    rate = Figure(f"{model.upper()}, training, batch {batch}", "samples_per_s", ASKED_RATES.get((model, batch)), True)
    return Pair((side, {**task, "steps": steps[0]}), ("ours", {**task, "steps": steps[1]}), [rate, *figures])


def memory(batch: int, asked: float | None = None) -> Pair:
    """Pair the peak memory of some training steps and of `run_eval`, on data of MIND-small's size."""
    task = {"task": "train", "data": "mind-small", "model": "nrms", "batch": batch, "steps": 60, "evaluate": True}
    what = f"NRMS, training (batch {batch}) and evaluating on mind-small, peak memory"
    return Pair(("peer_recommenders", task), ("ours", task), [Figure(what, "peak_mib", asked)], once=True)


READ = {"task": "read", "data": "mind-small"}
METRICS = {"task": "metrics", "scores": "scores.npz"}
MINER = {"task": "miner_evaluation", "data": "mind-small"}
PAIRS = {
    "nrms-32": training("nrms", 32, (50, 150)),
    "nrms-128": training("nrms", 128, (28, 90), Figure(f"NRMS, run_eval, {DEV}", "eval_s", 12)),
    "lstur-128": training("lstur", 128, (28, 90)),
    "naml-128": training("naml", 128, (22, 70), Figure(f"NAML, run_eval, {DEV}", "eval_s", 40)),
    "read": Pair(
        ("peer_recommenders", READ),
        ("ours", READ),
        [Figure(f"reading behaviors.tsv, {MIND_SMALL.num_train_impressions:,} rows", "rows_per_s", 10, True)],
    ),
    "metrics": Pair(
        ("peer_recommenders", METRICS),
        ("ours", METRICS),
        [Figure(f"metrics, {ALL}", "seconds", 50)],
    ),
    "memory-32": memory(32, asked=2),
    "memory-128": memory(128),
    "miner-eval": Pair(
        ("ours", {**MINER, "form": "direct"}),
        ("ours", {**MINER, "form": "fast"}),
        [Figure(f"MINER-weighted, evaluation, {ALL}, against interests of every candidate", "seconds", 5)],
    ),
    "miner-torch": training("miner", 32, (18, 90), side="peer_torch"),
}
SINGLES = {
    "open": ("mind-small opened from its cache", 2.0),
    "import": ("import recommenders_miner, models and all, beyond keras", 0.3),
    "help": ("recommenders-miner --help", 1.0),
}


class Bench:
    """Runs tasks with the data and the environments of a work folder."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.environments = {"ours": Path(sys.executable)}

    def prepare(self, keys: list[str]) -> None:
        """Make what the pairs need: data sets, random scores, environments."""
        tasks = [run for key in keys if key in PAIRS for run in (PAIRS[key].theirs, PAIRS[key].ours)]
        for name in {"mind-small", *(task["data"] for _, task in tasks if "data" in task)}:
            self.make_data(name, DATA[name])
        for side in {side for side, _ in tasks} - {"ours"}:
            self.environments[side] = self._environment(side)
        if "metrics" in keys:
            self.run("ours", {"task": "make_scores", "data": "mind-small", "scores": "scores.npz"})

    def make_data(self, name: str, preset: str | SyntheticConfig) -> None:
        """Write a synthetic benchmark to the work folder, unless it is there."""
        if not (self.work / name).exists():
            write_synthetic_benchmark(self.work / name, preset)

    def _environment(self, side: str) -> Path:
        folder = self.work / "environments" / side
        python = folder / "bin" / "python"
        if not (folder / "complete").exists():
            print(f"Installing {', '.join(PACKAGES[side])}", flush=True)
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
            subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES[side]], check=True)
            (folder / "complete").touch()
        return python

    def run(self, side: str, task: dict) -> dict:
        """Run a task in a process of its own; return the figures that it reports."""
        paths = {name: str(self.work / task[name]) for name in ("data", "scores") if name in task}
        command = [self.environments[side], SIDES / f"{side}.py", json.dumps({**task, **paths})]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise SystemExit(f"{side} failed at {task}:\n{done.stderr[-3000:]}")
        return json.loads(done.stdout.strip().splitlines()[-1])

    def pair(self, pair: Pair, repeats: int) -> list[dict]:
        """Run both sides in turns; return the pair's rows."""
        found = {"theirs": [], "ours": []}
        for _ in range(1 if pair.once else repeats):
            for who, run in (("theirs", pair.theirs), ("ours", pair.ours)):
                found[who].append(self.run(*run))
                print(f"  {who} {found[who][-1]}", flush=True)
        if pair is PAIRS["metrics"]:
            must_agree(found["theirs"][0]["metrics"], found["ours"][0]["metrics"])
        return [row_of(figure, found) for figure in pair.figures]

    def single(self, key: str, repeats: int) -> dict:
        """Time something that has no counterpart on the other side."""
        what, limit = SINGLES[key]
        return {"what": what, "seconds": [getattr(self, f"_{key}")() for _ in range(repeats)], "limit": limit}

    def _open(self) -> float:
        return self.run("ours", {"task": "open_cached", "data": "mind-small"})["seconds"]

    def _import(self) -> float:
        timed = ["import time, keras", "t = time.perf_counter()", "import recommenders_miner.models"]
        code = "\n".join([*timed, "print(time.perf_counter() - t)"])
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return float(done.stdout)

    def _help(self) -> float:
        began = time.perf_counter()
        command = Path(sys.executable).with_name("recommenders-miner")
        subprocess.run([command, "--help"], stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - began


def must_agree(theirs: dict[str, float], ours: dict[str, float]) -> None:
    """Stop where a metric of ours is not theirs, which they round to four places."""
    for name, value in theirs.items():
        if abs(value - ours[name]) > 0.00005 + 1e-9:
            raise SystemExit(f"{name}: theirs is {value}, ours {ours[name]}.")


def row_of(figure: Figure, found: dict[str, list[dict]]) -> dict:
    """Collect a figure from all runs; a ratio above 1 means that ours is better."""
    values = {who: [run[figure.name] for run in runs] for who, runs in found.items()}
    ratio = statistics.median(values["ours"]) / statistics.median(values["theirs"])
    ratio = ratio if figure.more_is_better else 1 / ratio
    return {"what": figure.what, "unit": figure.name, **values, "ratio": ratio, "asked": figure.asked}


def machine() -> dict[str, str | int]:
    """Say what the figures were measured on."""
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ":")
    return {"processor": model.split(":")[1].strip(), "cores": os.cpu_count(), "python": platform.python_version()}


def spread(values: list[float]) -> str:
    """Return the median and, where there are several, the range."""
    digits = 0 if statistics.median(values) >= 100 else 2
    median, low, high = (f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{median} ({low} to {high})" if len(values) > 1 else median


def page(results: dict) -> str:
    """Return the tables of results.md."""
    rows = [
        [
            f"{row['what']}, {UNITS[row['unit']]}",
            spread(row["theirs"]),
            spread(row["ours"]),
            f"{row['ratio']:.1f}",
            f"{row['asked']:g}" if row["asked"] else "",
        ]
        for key in PAIRS
        for row in results["pairs"].get(key, [])
    ]
    singles = [
        [row["what"], spread(row["seconds"]), f"{row['limit']:g}"]
        for key, row in ((key, results["singles"].get(key)) for key in SINGLES)
        if row
    ]
    on = results["machine"]
    head = (
        f"By `make bench` on {on['cores']} cores ({on['processor']}). Medians, the least and the largest in brackets."
    )
    compared = markdown_table(["", "theirs", "ours", "ratio", "asked"], rows)
    alone = markdown_table(["seconds", "ours", "at most"], singles)
    return "\n\n".join(["# Measured", head, compared, alone])


def main() -> None:
    """Run the benchmarks; see the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=SIDES.parent)
    parser.add_argument("--only", help=f"some of {', '.join([*PAIRS, *SINGLES])}; all where left out")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "recommenders_miner" / "bench")
    arguments = parser.parse_args()
    keys = arguments.only.split(",") if arguments.only else [*PAIRS, *SINGLES]
    if unknown := set(keys) - {*PAIRS, *SINGLES}:
        parser.error(f"--only: unknown {', '.join(sorted(unknown))}; choose from {', '.join([*PAIRS, *SINGLES])}")
    bench = Bench(arguments.work)
    bench.prepare(keys)
    path = arguments.out / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {"pairs": {}, "singles": {}}
    results["machine"] = machine()
    for key in keys:
        print(key, flush=True)
        if key in PAIRS:
            results["pairs"][key] = bench.pair(PAIRS[key], arguments.repeats)
        else:
            results["singles"][key] = bench.single(key, arguments.repeats)
        with atomic_write(path) as partial:
            partial.write_text(json.dumps(results, indent=1) + "\n")
        with atomic_write(arguments.out / "results.md") as partial:
            partial.write_text(page(results) + "\n")
    print(page(results))


if __name__ == "__main__":
    main()
