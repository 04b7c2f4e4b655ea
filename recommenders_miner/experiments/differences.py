"""How far models are from each other on the same impressions and seeds, and from the best baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np

from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.evaluation.metrics import DEFAULT_METRICS, impression_metrics
from recommenders_miner.experiments.runs import RERANKED, Run


class Difference(NamedTuple):
    """How much more one model reaches than another on the same impressions, with its standard error and p-value."""

    mean: float
    error: float
    p: float


def paired_difference(runs: Sequence[Run], baseline: Sequence[Run], log: ImpressionLog, metric: str) -> Difference:
    """Compare two models on the same impressions and the same seeds.

    The mean difference, `runs` less `baseline`, comes with a standard error that joins two sources of chance: which
    impressions there are, from the spread of the difference over impressions, averaged over seeds first; and how the
    trainings went, from the spread of the mean difference over seeds. The p-value is that of a difference so many
    standard errors from 0, to either side, under a normal distribution.
    """

    def by_impression(run: Run) -> np.ndarray:
        return impression_metrics(run.scores, log.labels, log.candidates.offsets, [metric])[metric]

    differences = np.stack([by_impression(a) - by_impression(b) for a, b in zip(runs, baseline, strict=True)])
    differences = differences[:, ~np.isnan(differences[0])]
    variance = differences.mean(axis=0).var(ddof=1) / differences.shape[1]
    if len(differences) > 1:
        variance += differences.mean(axis=1).var(ddof=1) / len(differences)
    mean, error = float(differences.mean()), float(np.sqrt(variance))
    return Difference(mean, error, math.erfc(abs(mean) / error / math.sqrt(2)) if error else float(mean == 0))


class Differences(NamedTuple):
    """How much more models reach than the best baseline, on the same impressions and seeds: by name, by metric."""

    baseline: str
    of: Mapping[str, Mapping[str, Difference]]


def differences_to_best(made: Mapping[str, Sequence[Run]], log: ImpressionLog) -> Differences | None:
    """Compare models to the best baseline by AUC; a baseline is what is no MINER nor reranked.

    Return None where there is none, nothing else, or no spread, which takes two impressions that count.
    """
    baselines = [name for name in made if not name.startswith("miner") and not name.endswith(RERANKED)]
    if not baselines or len(made) == 1 or log.has_both.sum() < 2:
        return None
    best = max(baselines, key=lambda name: fmean(run.row.metrics["group_auc"] for run in made[name]))
    others = {name: runs for name, runs in made.items() if name != best}
    return Differences(
        best,
        {
            name: {metric: paired_difference(runs, made[best], log, metric) for metric in DEFAULT_METRICS}
            for name, runs in others.items()
        },
    )
