"""The results of several models on one data set, as JSON, as Markdown tables and as a chart."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Group
from rich.padding import Padding

from recommenders_miner.evaluation.beyond_accuracy import is_beyond_accuracy
from recommenders_miner.evaluation.metrics import DEFAULT_METRICS
from recommenders_miner.experiments.comparison_table import COST_COLUMNS, Column, ComparisonTable
from recommenders_miner.experiments.results import ResultRow
from recommenders_miner.plots.charts import draw_auc
from recommenders_miner.storage import atomic_write


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
        """Write `results.json`, `results.md`, and the chart as `results.png` and `results.svg`.

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
        as_json = json.dumps(document, indent=2, allow_nan=False) + "\n"
        for name, text in (("results.json", as_json), ("results.md", self.to_markdown())):
            with atomic_write(out_dir / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
        measured = [row for row in self.results if "group_auc" in row.metrics]
        draw_auc(
            out_dir / "results.png",
            bars=[
                (row.model, 100 * row.metrics["group_auc"], 100 * self._errors(row).get("group_auc", 0))
                for row in measured
                if not row.is_reference
            ],
            lines=[(row.model, 100 * row.metrics["group_auc"]) for row in measured if row.is_reference],
            title=self._title(),
            whiskers="standard error" if self.num_seeds == 1 else "standard deviation over seeds",
        )

    def to_markdown(self, title: bool = True) -> str:
        """Give the tables as Markdown: accuracy and costs, then, where it is known, what lies beyond accuracy.

        Args:
            title: whether headings stand above them.
        """
        texts = []
        for level, table in enumerate(self._tables(), start=1):
            heading = f"{'#' * level} {table.title}\n\n" if title else ""
            texts.append(heading + table.to_markdown())
        return "\n".join(texts)

    def render(self) -> Group:
        """Give the tables for the terminal, to be printed by a `rich.console.Console`."""
        first, *others = (table.render() for table in self._tables())
        return Group(first, *(Padding(table, (1, 0, 0, 0), expand=False) for table in others))

    def _errors(self, row: ResultRow) -> dict[str, float]:
        """The uncertainty to show: over seeds where there are several, else over impressions."""
        return row.standard_errors if self.num_seeds == 1 else row.standard_deviations

    def _title(self) -> str:
        seeds = f"seed {self.seed}" if self.num_seeds == 1 else f"{self.num_seeds} seeds"
        return f"Models on {self.data}, {seeds}"

    def _tables(self) -> list[ComparisonTable]:
        """Make a table of accuracy and costs, and one of the metrics beyond accuracy where a row has some."""
        metrics = dict.fromkeys([*DEFAULT_METRICS, *(name for row in self.results for name in row.metrics)])
        beyond = [Column.of_metric(name) for name in metrics if is_beyond_accuracy(name)]
        accuracy = [Column.of_metric(name) for name in metrics if not is_beyond_accuracy(name)]
        costs = [column for column in COST_COLUMNS if any(column.name in row.figures for row in self.results)]
        over_seeds = "" if self.num_seeds == 1 else f", ± their standard deviation over {self.num_seeds} seeds"
        errors = [row.standard_errors.get(name, 0.0) for row in self.results for name in DEFAULT_METRICS]
        at_most = f" (standard error at most {100 * max(errors):.2f})" if any(errors) else ""
        caption = f"Metrics in percent, means over impressions{at_most}{over_seeds}."
        tables = [ComparisonTable(self._title(), [*accuracy, *costs], self.results, caption)]
        if beyond:
            caption = (
                "Diversity and coverage in percent, novelty in bits, calibration in nats "
                f"(lower is closer to the user's history){over_seeds}."
            )
            tables.append(ComparisonTable("Beyond accuracy", beyond, self.results, caption))
        return tables
