"""The columns of tables of results: what metrics and costs are called, how they are written, and in which table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from recommenders_miner.evaluation.beyond_accuracy import is_beyond_accuracy
from recommenders_miner.evaluation.metrics import COLD_AUC
from recommenders_miner.evaluation.normative import COLUMNS, is_normative

_TITLES = {
    "group_auc": "AUC",
    "mean_mrr": "MRR",
    COLD_AUC: "Cold AUC",
    "mrr": "MRR",
    "ndcg": "nDCG",
    "hit": "Hit",
    "recall": "Recall",
    "hit_rate": "Hit rate",
    "clicks": "Clicks",
    "ild": "Diversity",
    "novelty": "Novelty",
    "calibration": "Calibration",
    "coverage": "Coverage",
    "calibration_topic": "Topics",
    "calibration_complexity": "Complexity",
    "fragmentation": "Fragmentation",
    "activation": "Activation",
    "representation": "Representation",
    "alternative_voices": "Voices",
    "gini": "Gini",
    "gini_category": "Gini of categories",
    "gini_source": "Gini of sources",
    "coverage_category": "Categories",
    "coverage_source": "Sources",
    "cold_share": "Cold",
}
_NOT_IN_PERCENT = {
    "novelty": "{:.2f}".format,
    **dict.fromkeys(("calibration", "clicks", *COLUMNS, "gini", "gini_category", "gini_source"), "{:.3f}".format),
}

BEYOND, NORMATIVE, EXPOSURE = "Beyond accuracy", "Normative diversity", "Exposure"
CAPTIONS = {
    BEYOND: "Diversity and coverage in percent, novelty in bits, calibration in nats "
    "(lower is closer to the user's history)",
    NORMATIVE: "RADio's rank-aware divergences, from 0 to 1; docs/metrics.md says from what",
    EXPOSURE: "Gini: 0 where all are listed alike. In percent: articles that training never saw, and what share of "
    "categories and sources is listed at all",
}


class Column(NamedTuple):
    """A column of figures: its name in `ResultRow.figures`, and whether the highest is the best."""

    name: str
    title: str
    write: Callable[[float], str]
    has_best: bool = False

    @classmethod
    def of_metric(cls, name: str) -> Column:
        """Make the column of a metric; of those beyond accuracy, none is simply better the higher it is."""
        kind, at, cutoff = name.partition("@")
        title = _TITLES.get(kind, kind) + at + cutoff
        write = _NOT_IN_PERCENT.get(kind, _percent)
        return cls(name, title, write, has_best=not table_of(name))


def table_of(metric: str) -> str:
    """Say which of the tables behind the first has a metric, a key of `CAPTIONS`; "" where it is one of accuracy."""
    if is_beyond_accuracy(metric):
        return BEYOND
    if is_normative(metric):
        return NORMATIVE if metric.partition("@")[0] in COLUMNS else EXPOSURE
    return ""


def in_percent(metric: str) -> bool:
    """Say whether a metric is written times 100."""
    return metric.partition("@")[0] not in _NOT_IN_PERCENT


def columns_read(normative: Mapping[str, str]) -> str:
    """Say what the metrics of `Normative` read, by metric: fragmentation may go by categories for want of stories."""
    return ", ".join(f"{_TITLES[name].lower()} by {column}" for name, column in normative.items())


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _compact(count: float) -> str:
    for unit, size in (("M", 1_000_000), ("K", 1_000)):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)


def _seconds(seconds: float) -> str:
    return f"{seconds:,.{1 if seconds < 1000 else 0}f}"


COSTS = (
    Column("train_seconds", "Train s", _seconds),
    Column("eval_seconds", "Eval s", _seconds),
    Column("samples_per_second", "Samples per s", "{:,.0f}".format),
    Column("parameters", "Params", _compact),
)
