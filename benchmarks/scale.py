"""Plots how speed and memory grow with the size of a log: 16,310 news, and 1, 2, 4 and 8 times the impressions.

    python benchmarks/scale.py [--out benchmarks] [--work DIR] [--factors 1,2,4,8]

1 is a quarter of MIND-small's synthetic counterpart. Every run is a process of its own: reading behaviors.tsv without a
cache, three times, of which the median counts, then NRMS' training (batch 128) and `run_eval` on the dev split, all
from the text files. Writes OUT/scale.json, OUT/scale.md and OUT/scale.png. Takes about 8 minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from bench import SIDES, Bench, scaled

from recommenders_miner.plots.style import SERIES, new_figure
from recommenders_miner.storage import atomic_write
from recommenders_miner.tables import markdown_table

STEPS = 90


def measure(bench: Bench, factor: int) -> dict:
    """Return the figures of a log of `factor` times the impressions."""
    config = scaled(factor / 4, 1 / 4)
    data = f"scale-{factor}"
    bench.make_data(data, config)
    readings = [bench.run("ours", {"task": "read", "data": data})["rows_per_s"] for _ in range(3)]
    task = {"task": "train", "data": data, "model": "nrms", "batch": 128, "steps": STEPS, "evaluate": True}
    trained = bench.run("ours", task)
    return {
        "factor": factor,
        "train impressions": config.num_train_impressions,
        "reading, rows/s": statistics.median(readings),
        "training, samples/s": trained["samples_per_s"],
        "evaluation, impressions/s": config.num_dev_impressions / trained["eval_s"],
        "peak memory, MiB": trained["peak_mib"],
    }


def draw(rows: list[dict], path: Path) -> None:
    """Draws throughput relative to the smallest log, and peak memory."""
    figure = new_figure(9, 3.6)
    speed, memory = figure.subplots(1, 2)
    factors = [row["factor"] for row in rows]
    for color, name in zip(SERIES, (n for n in rows[0] if "/s" in n), strict=False):
        relative = [row[name] / rows[0][name] for row in rows]
        speed.plot(factors, relative, marker="o", color=color, label=f"{name} ({rows[0][name]:,.0f} at 1x)")
    speed.set(title="Throughput, relative to 1x")
    speed.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 0.02))
    memory.plot(factors, [row["peak memory, MiB"] / 1024 for row in rows], marker="o", color=SERIES[0])
    memory.set(title="Peak memory of training and evaluating, GiB")
    for axes in (speed, memory):
        axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
        axes.set_xscale("log", base=2)
        axes.set_xticks(factors, [f"{f}x\n{row['train impressions']:,}" for f, row in zip(factors, rows, strict=True)])
        axes.set_xlabel("training impressions")
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_write(path) as partial:
        figure.savefig(partial, format="png")


def main() -> None:
    """See the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=SIDES.parent)
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "recommenders_miner" / "bench")
    parser.add_argument("--factors", default="1,2,4,8")
    arguments = parser.parse_args()
    bench = Bench(arguments.work)
    rows = []
    for factor in map(int, arguments.factors.split(",")):
        rows.append(measure(bench, factor))
        print(rows[-1], flush=True)
    with atomic_write(arguments.out / "scale.json") as partial:
        partial.write_text(json.dumps(rows, indent=1) + "\n")
    cells = [[f"{row['factor']}x", *(f"{value:,.0f}" for value in list(row.values())[1:])] for row in rows]
    with atomic_write(arguments.out / "scale.md") as partial:
        partial.write_text(markdown_table(["", *list(rows[0])[1:]], cells) + "\n")
    draw(rows, arguments.out / "scale.png")


if __name__ == "__main__":
    main()
