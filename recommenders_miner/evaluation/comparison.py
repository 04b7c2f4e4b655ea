"""The results of several models on one data set, as JSON, as a Markdown table and as a chart."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from recommenders_miner.errors import DataFormatError
from recommenders_miner.evaluation.cold_news import COLD_AUC
from recommenders_miner.evaluation.metrics import DEFAULT_METRICS, Evaluation
from recommenders_miner.figures.auc_chart import draw_auc
from recommenders_miner.files import whole_file

REFERENCE_MODELS = ("random", "popularity", "history-oracle", "oracle")
"""The names of rows that are not trained models, but floors and ceilings to read those against."""


def _compact(count: int) -> str:
    for unit, size in (("M", 1_000_000), ("K", 1_000)):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)


_COSTS: dict[str, tuple[str, Callable[[float], str]]] = {
    "train_seconds": ("Train s", "{:,.1f}".format),
    "eval_seconds": ("Eval s", "{:,.1f}".format),
    "samples_per_second": ("Samples per s", "{:,.0f}".format),
    "parameters": ("Params", _compact),
}
"""For each cost of a row, the title of its column and how its figure is written."""


@dataclass(frozen=True)
class ResultRow:
    """What one model reached, and what it cost.

    Attributes:
        model: the hparams name, or one of `REFERENCE_MODELS`.
        metrics: metric name -> mean over impressions, in [0, 1].
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
            rows: at least two rows of one model, each with the same metrics.
        """

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

    @classmethod
    def over_seeds(cls, comparisons: Sequence[Comparison]) -> Comparison:
        """Averages comparisons of the same models on the same data that differ in their seed.

        Args:
            comparisons: one per seed, with the same rows in the same order.
        """
        first = comparisons[0]
        rows = [ResultRow.mean(rows) for rows in zip(*(c.results for c in comparisons), strict=True)]
        return cls(first.data, first.seed, rows, len(comparisons))

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
        with whole_file(out_dir / "results.json") as temporary:
            temporary.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        with whole_file(out_dir / "results.md") as temporary:
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
        """Gives the table as Markdown: the best trained model of a column bold, references italic.

        Args:
            title: whether a heading stands above it.
        """
        header, rows = self._cells()
        lines = [header]
        for row, cells, best in rows:
            around = ["**" if is_best else "*" if row.is_reference else "" for is_best in best]
            lines.append([f"{mark}{cell}{mark}" for mark, cell in zip(around, cells, strict=True)])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        padded = [
            [line[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
            for line in lines
        ]
        table = "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], rule, *padded[1:]])
        caption = f"{self._caption()} Bold: the best trained model. Italic: floors and ceilings."
        heading = f"# {self._title()}\n\n" if title else ""
        return f"{heading}{table}\n\n{caption}\n"

    def render(self) -> Table:
        """Gives the table for the terminal, to be printed by a `rich.console.Console`."""
        # Fits 80 columns: spreads stand below their figures, and only the headers of costs may break, between words.
        header, rows = self._cells(before_spread="\n")
        table = Table(
            title=Text(self._title()),
            caption=self._caption(),
            box=SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            collapse_padding=True,
        )
        for number, name in enumerate(header):
            table.add_column(
                name.replace("@", "\n@").replace(" ", "\n"),
                justify="left" if number == 0 else "right",
                no_wrap=number == 0,
            )
        last_trained = max((i for i, (row, _, _) in enumerate(rows) if not row.is_reference), default=None)
        for number, (row, cells, best) in enumerate(rows):
            table.add_row(
                *(Text(cell, style="bold" if is_best else "") for cell, is_best in zip(cells, best, strict=True)),
                style="italic dim" if row.is_reference else None,
                end_section=number == last_trained,
            )
        return table

    def _errors(self, row: ResultRow) -> dict[str, float]:
        """The uncertainty to show: over seeds where there are several, else over impressions."""
        return row.standard_errors if self.num_seeds == 1 else row.standard_deviations

    def _title(self) -> str:
        seeds = f"seed {self.seed}" if self.num_seeds == 1 else f"{self.num_seeds} seeds"
        return f"Models on {self.data}, {seeds}"

    def _caption(self) -> str:
        errors = [
            error for row in self.results for name, error in row.standard_errors.items() if name in DEFAULT_METRICS
        ]
        at_most = f" (standard error at most {100 * max(errors):.2f})" if errors else ""
        over = "" if self.num_seeds == 1 else f", ± their standard deviation over {self.num_seeds} seeds"
        return f"Metrics in percent, means over impressions{at_most}{over}."

    def _cells(self, before_spread: str = " ") -> tuple[list[str], list[tuple[ResultRow, list[str], list[bool]]]]:
        """Lays out the table: trained models as given, then floors and ceilings; a cost that no row has is left out.

        Args:
            before_spread: what stands between a figure and its spread.

        Returns:
            The header, and for each row its cells and which of them are the best of the trained models.
        """
        more = (name for row in self.results for name in row.metrics)
        metrics = list(dict.fromkeys([*DEFAULT_METRICS, *more]))
        costs = [name for name in _COSTS if any(getattr(row, name) is not None for row in self.results)]
        trained = [row for row in self.results if not row.is_reference]
        references = [row for row in self.results if row.is_reference]
        best = {
            name: max((row.metrics[name] for row in trained if name in row.metrics), default=None) for name in metrics
        }

        def percent(value: float | None) -> str:
            return "-" if value is None else f"{100 * value:.2f}"

        rows = []
        for row in trained + references:
            shown = [percent(row.metrics.get(name)) for name in metrics]
            spreads = [
                f"{before_spread}± {percent(row.standard_deviations[name])}"
                if row.standard_deviations.get(name)
                else ""
                for name in metrics
            ]
            paid = ["-" if getattr(row, name) is None else _COSTS[name][1](getattr(row, name)) for name in costs]
            # Bold by what is printed, so that two models with the same figure are both bold.
            is_best = [
                not row.is_reference and name in row.metrics and cell == percent(best[name])
                for name, cell in zip(metrics, shown, strict=True)
            ]
            with_spread = [cell + spread for cell, spread in zip(shown, spreads, strict=True)]
            rows.append((row, [row.model, *with_spread, *paid], [False, *is_best, *[False] * len(costs)]))
        header = ["Model", *map(_metric_title, metrics), *(_COSTS[name][0] for name in costs)]
        return header, rows


def _metric_title(name: str) -> str:
    return {"group_auc": "AUC", "mean_mrr": "MRR", COLD_AUC: "Cold AUC"}.get(name, name.replace("ndcg", "nDCG"))
