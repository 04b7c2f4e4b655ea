"""The results of several models on one data set, as JSON, as Markdown tables and as a chart."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.console import Group
from rich.padding import Padding

from recommenders_miner.errors import DataFormatError
from recommenders_miner.evaluation.beyond_accuracy import is_beyond_accuracy
from recommenders_miner.evaluation.metrics import DEFAULT_METRICS, Evaluation
from recommenders_miner.experiments.comparison_table import COST_COLUMNS, Column, ComparisonTable
from recommenders_miner.plots.auc_chart import draw_auc
from recommenders_miner.storage import atomic_write

REFERENCE_MODELS = ("random", "popularity", "history-oracle", "oracle")
"""The names of rows that are not trained models, but floors and ceilings to read those against."""

_COSTS = tuple(column.name for column in COST_COLUMNS)


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
    def mean(cls, rows: Sequence[ResultRow]) -> ResultRow:
        """Averages a model's rows over seeds; the spread goes into `standard_deviations`.

        Args:
            rows: of one model, each with the same metrics. A single one is returned as it is.
        """
        if len(rows) == 1:
            return rows[0]

        def average(values: Iterable[float | None]) -> float | None:
            known = [value for value in values if value is not None]
            return fmean(known) if known else None

        names = rows[0].metrics
        return cls(
            rows[0].model,
            {name: fmean(row.metrics[name] for row in rows) for name in names},
            {name: fmean(row.standard_errors[name] for row in rows) for name in rows[0].standard_errors},
            *(average(getattr(row, cost) for row in rows) for cost in _COSTS),
            standard_deviations={name: stdev(row.metrics[name] for row in rows) for name in names},
        )

    @classmethod
    def from_evaluation(
        cls,
        model: str,
        evaluation: Evaluation,
        *,
        train_seconds: float | None = None,
        eval_seconds: float | None = None,
        samples_per_second: float | None = None,
        parameters: int | None = None,
    ) -> ResultRow:
        """Takes the metrics and their standard errors from an evaluation.

        Args:
            model: the hparams name, or one of `REFERENCE_MODELS`.
            evaluation: the metrics.
            train_seconds: as the attribute.
            eval_seconds: as the attribute.
            samples_per_second: as the attribute.
            parameters: as the attribute.
        """
        return cls(
            model,
            evaluation.metrics,
            {name: error for name, error in evaluation.standard_errors.items() if math.isfinite(error)},
            train_seconds,
            eval_seconds,
            samples_per_second,
            parameters,
        )

    @property
    def is_reference(self) -> bool:
        """Whether the row is a floor or a ceiling, and not a trained model."""
        return self.model in REFERENCE_MODELS

    @property
    def figures(self) -> dict[str, float]:
        """The metrics and the costs that are known, by name."""
        costs = {name: getattr(self, name) for name in _COSTS}
        return {**self.metrics, **{name: cost for name, cost in costs.items() if cost is not None}}

    def to_json(self) -> dict[str, Any]:
        """Gives the row as it stands in results.json: metrics under their own names, None where missing."""
        return {
            "model": self.model,
            **dict.fromkeys(DEFAULT_METRICS),
            **self.metrics,
            **{name: getattr(self, name) for name in _COSTS},
            "standard_errors": self.standard_errors,
            **({"standard_deviations": self.standard_deviations} if self.standard_deviations else {}),
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> ResultRow:
        """Takes a row from results.json.

        Args:
            record: as `to_json` gives it.

        Raises:
            KeyError: if the model has no name.
        """
        others = {"model", "standard_errors", "standard_deviations", *_COSTS}
        metrics = {name: value for name, value in record.items() if name not in others and value is not None}
        costs = {name: record.get(name) for name in _COSTS}
        deviations = record.get("standard_deviations", {})
        return cls(
            record["model"],
            metrics,
            record.get("standard_errors", {}),
            **costs,
            standard_deviations=deviations,
        )


@dataclass
class Comparison:
    """Models side by side on one data set.

    Attributes:
        data: what the models were trained and evaluated on.
        seed: the seed of every training; the first one, where the rows are means over several.
        results: a row per model.
        num_seeds: how many seeds each row is a mean over.
    """

    data: str
    seed: int
    results: list[ResultRow] = field(default_factory=list)
    num_seeds: int = 1

    def write(self, out_dir: str | Path) -> None:
        """Writes `results.json`, `results.md`, and the chart as `results.png` and `results.svg`.

        Args:
            out_dir: the folder, made where it is missing.
        """
        out_dir = Path(out_dir)
        document = {
            "data": self.data,
            "seed": self.seed,
            **({"num_seeds": self.num_seeds} if self.num_seeds > 1 else {}),
            "results": [row.to_json() for row in self.results],
        }
        with atomic_write(out_dir / "results.json") as temporary:
            temporary.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        with atomic_write(out_dir / "results.md") as temporary:
            temporary.write_text(self.to_markdown(), encoding="utf-8")
        draw_auc(
            out_dir / "results.png",
            bars=[
                (row.model, 100 * row.metrics["group_auc"], 100 * self._errors(row).get("group_auc", 0))
                for row in self.results
                if not row.is_reference and "group_auc" in row.metrics
            ],
            lines=[
                (row.model, 100 * row.metrics["group_auc"])
                for row in self.results
                if row.is_reference and "group_auc" in row.metrics
            ],
            title=self._title(),
            whiskers="standard error" if self.num_seeds == 1 else "standard deviation over seeds",
        )

    @classmethod
    def read(cls, path: str | Path) -> Comparison:
        """Reads a comparison.

        Args:
            path: a `results.json`, or the folder that holds it.

        Raises:
            DataFormatError: if the file is not such a comparison.
            FileNotFoundError: if there is no such file.
        """
        path = Path(path)
        if path.is_dir():
            path /= "results.json"
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            rows = [ResultRow.from_json(record) for record in document["results"]]
            return cls(document["data"], document["seed"], rows, document.get("num_seeds", 1))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise DataFormatError(path, f"is not the results.json of a comparison ({error!r}).") from error

    def to_markdown(self, title: bool = True) -> str:
        """Gives the tables as Markdown: accuracy and costs, then, where it is known, what lies beyond accuracy.

        Args:
            title: whether headings stand above them.
        """
        texts = []
        for level, table in enumerate(self._tables(), start=1):
            heading = f"{'#' * level} {table.title}\n\n" if title else ""
            texts.append(heading + table.to_markdown())
        return "\n".join(texts)

    def render(self) -> Group:
        """Gives the tables for the terminal, to be printed by a `rich.console.Console`."""
        first, *others = (table.render() for table in self._tables())
        return Group(first, *(Padding(table, (1, 0, 0, 0), expand=False) for table in others))

    def _errors(self, row: ResultRow) -> dict[str, float]:
        """The uncertainty to show: over seeds where there are several, else over impressions."""
        return row.standard_errors if self.num_seeds == 1 else row.standard_deviations

    def _title(self) -> str:
        seeds = f"seed {self.seed}" if self.num_seeds == 1 else f"{self.num_seeds} seeds"
        return f"Models on {self.data}, {seeds}"

    def _tables(self) -> list[ComparisonTable]:
        """Makes a table of accuracy and costs, and one of the metrics beyond accuracy where a row has some."""
        metrics = dict.fromkeys([*DEFAULT_METRICS, *(name for row in self.results for name in row.metrics)])
        beyond = [Column.of_metric(name) for name in metrics if is_beyond_accuracy(name)]
        accuracy = [Column.of_metric(name) for name in metrics if not is_beyond_accuracy(name)]
        costs = [column for column in COST_COLUMNS if any(column.name in row.figures for row in self.results)]
        tables = [ComparisonTable(self._title(), [*accuracy, *costs], self.results, self._caption())]
        if beyond:
            caption = (
                "Diversity and coverage in percent, novelty in bits, calibration in nats "
                f"(lower is closer to the user's history){self._over_seeds()}."
            )
            tables.append(ComparisonTable("Beyond accuracy", beyond, self.results, caption))
        return tables

    def _caption(self) -> str:
        errors = [
            error for row in self.results for name, error in row.standard_errors.items() if name in DEFAULT_METRICS
        ]
        at_most = f" (standard error at most {100 * max(errors):.2f})" if errors else ""
        return f"Metrics in percent, means over impressions{at_most}{self._over_seeds()}."

    def _over_seeds(self) -> str:
        return "" if self.num_seeds == 1 else f", ± their standard deviation over {self.num_seeds} seeds"
