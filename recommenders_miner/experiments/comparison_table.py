"""The tables of a comparison, as Markdown and for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from recommenders_miner.evaluation.beyond_accuracy import is_beyond_accuracy
from recommenders_miner.evaluation.metrics import COLD_AUC
from recommenders_miner.experiments.results import ResultRow
from recommenders_miner.tables import markdown_table, terminal_table


def _compact(count: float) -> str:
    for unit, size in (("M", 1_000_000), ("K", 1_000)):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)


def _seconds(seconds: float) -> str:
    return f"{seconds:,.1f}" if seconds < 1000 else f"{seconds:,.0f}"


_TITLES = {
    "group_auc": "AUC",
    "mean_mrr": "MRR",
    COLD_AUC: "Cold AUC",
    "ndcg": "nDCG",
    "recall": "Recall",
    "hit_rate": "Hit rate",
    "ild": "Diversity",
    "novelty": "Novelty",
    "calibration": "Calibration",
    "coverage": "Coverage",
}
_NOT_IN_PERCENT = {"novelty": "{:.2f}".format, "calibration": "{:.3f}".format}


@dataclass(frozen=True)
class Column:
    """A column of figures.

    Attributes:
        name: the metric or the cost, as in `ResultRow.figures`.
        title: what stands above it.
        write: writes a figure.
        has_best: whether the highest figure is the best.
    """

    name: str
    title: str
    write: Callable[[float], str]
    has_best: bool = False

    @classmethod
    def of_metric(cls, name: str) -> Column:
        """Make the column of a metric; of those beyond accuracy, none is simply better the higher it is."""
        kind, at, cutoff = name.partition("@")
        title = _TITLES.get(kind, kind) + at + cutoff
        write = _NOT_IN_PERCENT.get(kind, lambda share: f"{100 * share:.2f}")
        return cls(name, title, write, has_best=not is_beyond_accuracy(name))


COST_COLUMNS = (
    Column("train_seconds", "Train s", _seconds),
    Column("eval_seconds", "Eval s", _seconds),
    Column("samples_per_second", "Samples per s", "{:,.0f}".format),
    Column("parameters", "Params", _compact),
)
"""The columns of what a row cost."""


@dataclass(frozen=True)
class ComparisonTable:
    """A table of models and their figures: trained models as given, then floors and ceilings.

    Attributes:
        title: of the table.
        columns: of figures; the models' names stand before them.
        rows: a row per model.
        caption: what the figures are.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[ResultRow]
    caption: str

    def to_markdown(self) -> str:
        """Give the table and its caption: the best trained model of a column bold, references italic."""
        lines = []
        for row, cells, best in self._cells(" ± "):
            around = ["**" if is_best else "*" if row.is_reference else "" for is_best in best]
            lines.append([f"{mark}{cell}{mark}" for mark, cell in zip(around, cells, strict=True)])
        table = markdown_table(["Model", *(column.title for column in self.columns)], lines)
        bold = " Bold: the best trained model." if any(column.has_best for column in self.columns) else ""
        return f"{table}\n\n{self.caption}{bold} Italic: floors and ceilings.\n"

    def render(self) -> Table:
        """Give the table for the terminal."""
        # Fits 80 columns: spreads stand below their figures, and only headers of figures may break, between words.
        table = terminal_table(title=Text(self.title), caption=self.caption)
        table.add_column("Model", no_wrap=True)
        for column in self.columns:
            table.add_column(column.title.replace("@", "\n@").replace(" ", "\n"), justify="right")
        rows = self._cells("\n±")
        num_trained = sum(not row.is_reference for row in self.rows)
        for number, (row, cells, best) in enumerate(rows, start=1):
            table.add_row(
                *(Text(cell, style="bold" if is_best else "") for cell, is_best in zip(cells, best, strict=True)),
                style="italic dim" if row.is_reference else None,
                end_section=number == num_trained,
            )
        return table

    def _cells(self, plus_minus: str) -> list[tuple[ResultRow, list[str], list[bool]]]:
        """Lay out the rows.

        Args:
            plus_minus: what stands between a figure and its spread.

        Returns:
            The rows in order, each with its cells and which of them are the best of the trained models.
        """
        trained = [row.figures for row in self.rows if not row.is_reference]
        best = {}
        for column in self.columns:
            reached = [figures[column.name] for figures in trained if column.name in figures]
            if column.has_best and reached:
                best[column.name] = column.write(max(reached))
        laid_out = []
        for row in sorted(self.rows, key=lambda row: row.is_reference):
            cells, is_best = [row.model], [False]
            for column in self.columns:
                figure, spread = row.figures.get(column.name), row.standard_deviations.get(column.name)
                shown = "-" if figure is None else column.write(figure)
                cells.append(f"{shown}{plus_minus}{column.write(spread)}" if spread else shown)
                # Bold by what is printed, so that two models with the same figure are both bold.
                is_best.append(not row.is_reference and shown == best.get(column.name))
            laid_out.append((row, cells, is_best))
        return laid_out
