"""A random log over forty news, for tests of what is made of logs."""

from __future__ import annotations

from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable

NUM_NEWS = 40
IDS = [f"N{i}" for i in range(NUM_NEWS)]
NEWS = NewsTable.from_columns(ids=IDS, titles=[f"title {i}" for i in range(NUM_NEWS)])


def make_log(rng, impressions=30, labelled=True):
    histories = [rng.choice(IDS, rng.integers(0, 15)).tolist() for _ in range(impressions)]
    candidates = [rng.choice(IDS, rng.integers(2, 12), replace=False).tolist() for _ in range(impressions)]
    labels = [(rng.random(len(c)) < 0.3).astype(int).tolist() for c in candidates]
    users = [f"U{rng.integers(9)}" for _ in range(impressions)]
    return ImpressionLog.from_columns(
        NEWS, histories=histories, candidates=candidates, labels=labels if labelled else None, users=users
    )
