"""Says how well an article's click rate ranks candidates, by what is counted: the figures of docs/context.md.

    python benchmarks/horizons.py DATA

DATA has train/ and dev/ in MIND's format. Seconds for the demo data; no model is trained.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from recommenders_miner.data.context import CONTEXT, Context
from recommenders_miner.data.folders import Split
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.evaluation.metrics import evaluate_scores
from recommenders_miner.tables import markdown_table


def auc(context: Context, column: str) -> str:
    """Return the dev AUC, in percent, of ranking by a column of the context."""
    log = context.log
    values = context.of(log.candidates.rows(), log.candidates.values)[:, CONTEXT.index(column)]
    return f"{100 * evaluate_scores(values, log.labels, log.candidates.offsets).metrics['group_auc']:.1f}"


def main() -> None:
    """Print the table; see the head of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    train, dev = (Split.find(parser.parse_args().data, split) for split in ("train", "dev"))
    news, dev_news = NewsTable.read(train.news), NewsTable.read(dev.news)
    counts = Context.of_log(ImpressionLog.read(train.behaviors, news), news).counts()
    log = ImpressionLog.read(dev.behaviors, dev_news)
    counted = {
        "before the impression": Context.of_log(log, dev_news, counts),
        **{f"up to {h} h before it": Context.of_log(log, dev_news, counts, float(h)) for h in (1, 6, 24)},
        "training alone (`horizon: split`)": Context.of_log(log, dev_news, counts, "split"),
    }
    # As if all impressions were the last one: what is counted is the future too, and each impression's own clicks.
    late = replace(log, time=np.full(len(log), log.time.max() + 1))
    everything = replace(counted["before the impression"], log=late)
    rows = [[what, auc(context, "click_rate"), auc(context, "clicks_24h")] for what, context in counted.items()]
    rows.append(["all of dev, the future and the impression itself", auc(everything, "click_rate"), ""])
    print(markdown_table(["Counted", "AUC of `click_rate`", "AUC of `clicks_24h`"], rows))


if __name__ == "__main__":
    main()
