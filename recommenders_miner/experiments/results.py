"""What one model reached, and what it cost: a row of results.json and of every table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from recommenders_miner.evaluation.metrics import DEFAULT_METRICS, Evaluation

REFERENCE_MODELS = ("random", "popularity", "history-oracle", "oracle")
"""The names of rows that are not trained models, but floors and ceilings to read those against."""

COSTS = ("train_seconds", "eval_seconds", "samples_per_second", "parameters")


@dataclass(frozen=True)
class ResultRow:
    """What one model reached, and what it cost.

    Attributes:
        model: the hparams name, or one of `REFERENCE_MODELS`.
        metrics: metric name -> mean over impressions; see docs/metrics.md.
        standard_errors: metric name -> standard error of that mean.
        train_seconds: wall-clock time of the training.
        eval_seconds: wall-clock time of the evaluation.
        samples_per_second: training samples, each a positive with its negatives, per second.
        parameters: the number of weights, trained or not.
        standard_deviations: metric name -> standard deviation over seeds, where the row is a mean over them.
    """

    model: str
    metrics: dict[str, float]
    standard_errors: dict[str, float] = field(default_factory=dict)
    train_seconds: float | None = None
    eval_seconds: float | None = None
    samples_per_second: float | None = None
    parameters: int | None = None
    standard_deviations: dict[str, float] = field(default_factory=dict)

    @classmethod
    def from_evaluation(cls, model: str, evaluation: Evaluation, **costs: float | None) -> ResultRow:
        """Take the metrics of an evaluation, and their standard errors where these are defined."""
        errors = {name: error for name, error in evaluation.standard_errors.items() if math.isfinite(error)}
        return cls(model, evaluation.metrics, errors, **costs)

    @classmethod
    def mean(cls, rows: Sequence[ResultRow]) -> ResultRow:
        """Average a model's rows over seeds; the spread goes into `standard_deviations`. A single row stays."""
        if len(rows) == 1:
            return rows[0]
        known = {name: [getattr(row, name) for row in rows if getattr(row, name) is not None] for name in COSTS}
        return cls(
            rows[0].model,
            {name: fmean(row.metrics[name] for row in rows) for name in rows[0].metrics},
            {name: fmean(row.standard_errors[name] for row in rows) for name in rows[0].standard_errors},
            **{name: fmean(values) for name, values in known.items() if values},
            standard_deviations={name: stdev(row.metrics[name] for row in rows) for name in rows[0].metrics},
        )

    @property
    def is_reference(self) -> bool:
        """Whether the row is a floor or a ceiling, and not a trained model."""
        return self.model in REFERENCE_MODELS

    @property
    def figures(self) -> dict[str, float]:
        """The metrics and the costs that are known, by name."""
        costs = {name: getattr(self, name) for name in COSTS}
        return {**self.metrics, **{name: cost for name, cost in costs.items() if cost is not None}}

    def to_json(self) -> dict[str, Any]:
        """Give the row as it stands in results.json: metrics under their own names, None where missing."""
        return {
            "model": self.model,
            **dict.fromkeys(DEFAULT_METRICS),
            **self.metrics,
            **{name: getattr(self, name) for name in COSTS},
            "standard_errors": self.standard_errors,
            **({"standard_deviations": self.standard_deviations} if self.standard_deviations else {}),
        }
