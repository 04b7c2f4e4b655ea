"""Several models on one data set: trained and evaluated in turn, and shown as JSON, as tables and as a chart."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from recommenders_miner.data.folders import Split
from recommenders_miner.data.tsv import OnError
from recommenders_miner.datasets.synthetic.benchmark import benchmark_name
from recommenders_miner.errors import HParamsError
from recommenders_miner.evaluation.baselines import (
    history_oracle_scores,
    popularity_now_scores,
    popularity_scores,
    random_scores,
)
from recommenders_miner.evaluation.metrics import DEFAULT_METRICS
from recommenders_miner.evaluation.submission import read_scores
from recommenders_miner.experiments.columns import CAPTIONS, COSTS, NORMATIVE, Column, columns_read, table_of
from recommenders_miner.experiments.dev_log import DevLog
from recommenders_miner.experiments.differences import Differences, differences_to_best
from recommenders_miner.experiments.plan import Plan
from recommenders_miner.experiments.runs import (
    FLOORS,
    RERANKED,
    ResultRow,
    Run,
    Runs,
    Variant,
    require_known_models,
)
from recommenders_miner.hparams import prepare_hparams
from recommenders_miner.models import BaseModel
from recommenders_miner.models.reranker import require_held_out
from recommenders_miner.plots.charts import draw_auc
from recommenders_miner.storage import atomic_write
from recommenders_miner.tables import markdown_table, terminal_table

TRUTH_FILE = "click_logits.txt"

# === Running ===


def compare(
    data_dir: str | Path,
    models: Sequence[str],
    out: str | Path,
    overrides: dict[str, Any] | None = None,
    seeds: Sequence[int] = (42,),
    scale: str = "paper",
    see_plan: Callable[[Mapping[str, Plan]], None] = lambda planned: None,
    rerank: bool = False,
    on_error: OnError = "raise",
    normative: bool = False,
) -> Comparison:
    """Train and evaluate models on `data_dir/train` and `data_dir/dev`.

    After each model, results.json, results.md, results.png and results.svg in `out` hold all the rows so far. Each run
    is kept in `out/runs`, see `Runs`, its model in the folder `model`; a comparison that was stopped goes on there.

    Args:
        data_dir: holds train/ and dev/, each with news.tsv and behaviors.tsv; where dev/click_logits.txt tells the
            truth, the oracles join the table.
        models: names or paths of hyperparameter files; the names of floors, whose rows are there anyway, may be among
            them, or be all of them.
        out: the folder of results.
        overrides: hyperparameters that win over the files', for those of the models that have them.
        seeds: of every model, and of the random row; with several, rows are means over them, with their spread.
        scale: `paper` takes the hyperparameter files as they are; `recommenders` those of Microsoft Recommenders'
            notebooks; `fast` sizes that suit two cores and little data.
        see_plan: given what will run, what not and why, by name, before anything is trained.
        rerank: whether each model gets a second row, with a `BoostedReranker` over its scores.
        on_error: "raise" stops at the first faulty line of the data; "skip" leaves out such lines, and ids that the
            news lack, and says how many.
        normative: whether lists are evaluated by the metrics of `Normative`, too.

    A model that cannot run, or fails, becomes a row that says why, and the others go on; the same call then tries it
    again, and finds the others done.

    Raises:
        DataFormatError: a file of the data is missing or damaged, or dev has nothing to evaluate on.
        HParamsError: a hyperparameter file is wrong, or an override, two files have one name, or a model that is to be
            reranked holds nothing out; raised before anything is trained.
    """
    overrides = overrides or {}
    models = [name for name in models if name not in FLOORS]
    require_known_models(overrides, models)
    files: dict[str, str] = {}
    for name in models:
        if (other := files.setdefault(Path(name).stem, name)) != name:
            raise HParamsError(f"{other} and {name} would be one row, {Path(name).stem}. Rename one of the files.")
    hparams = {row: Variant(row, name).hparams(scale, overrides) for row, name in files.items()}
    of_all = {key: value for key, value in overrides.items() if "." not in key}
    horizon = prepare_hparams(**{"model_type": "nrms", **of_all}).horizon
    for of_model in hparams.values() if rerank else ():
        require_held_out(of_model)
    runs = Runs(data_dir, Path(out) / "runs", on_error, normative)
    planned = runs.plan(hparams, seeds)
    see_plan(planned)
    rows, benchmark = reference_rows(runs.dev, seeds, horizon), benchmark_name(data_dir)
    comparison = Comparison(str(data_dir), seeds[0], rows, len(seeds), benchmark=benchmark)
    comparison.left_out = [report.summary() for report in runs.dev.left_out]
    comparison.normative = runs.dev.normative.columns if runs.dev.normative else {}
    comparison.write(out)
    made: dict[str, list[Run]] = {}

    def add(name: str, found: list[Run] | str) -> None:
        if isinstance(found, str):
            comparison.results.append(ResultRow(name, {}, failed=found))
        else:
            made[name] = found
            comparison.results.append(ResultRow.mean([run.row for run in found]))
        comparison.write(out)

    for name, found in runs.each(planned, seeds):
        add(name, found)
        if rerank and name in made:
            add(name + RERANKED, runs.rerank(name + RERANKED, found))
    comparison.differences = differences_to_best(made, runs.dev.log)
    comparison.write(out)
    return comparison


def compare_trained(model: BaseModel, name: str, data_dir: str | Path) -> Comparison:
    """Evaluate a model that was trained on `data_dir/train`, beside floors and ceilings, and name its row.

    Raises:
        DataFormatError: a file is missing or damaged.
    """
    dev = DevLog.read(Split.find(data_dir, "train"), Split.find(data_dir, "dev"))
    evaluation = dev.evaluate(model.score_log(model.read(dev.files.news, dev.files.behaviors)))
    row = ResultRow.from_evaluation(name, evaluation, parameters=model.network.count_params())
    rows = [row, *reference_rows(dev, [model.seed], model.hparams.horizon)]
    return Comparison(str(data_dir), model.seed, rows, benchmark=benchmark_name(data_dir))


def reference_rows(dev: DevLog, seeds: Sequence[int], horizon: float | str = 0.0) -> list[ResultRow]:
    """Evaluate what needs no training: the floors, and where dev tells the truth, the two oracles.

    Every row is a mean over the seeds, as the trained models' are; only the random row depends on them. `horizon` is
    that of the click rates of `popularity-now`, see `Context`.
    """
    scores = {
        "popularity": popularity_scores(dev.log, dev.news, dev.training_log, dev.training_news),
        "popularity-now": popularity_now_scores(dev.context(horizon)),
    }
    truth = dev.files.behaviors.parent / TRUTH_FILE
    if truth.exists():
        scores["history-oracle"] = history_oracle_scores(dev.log, dev.news)
        if not (dev.log.skipped and dev.log.skipped.counts):  # else its lines are not those of the log
            scores["oracle"] = read_scores(truth, dev.log).values
    random = [ResultRow.from_evaluation("random", dev.evaluate(random_scores(dev.log, seed))) for seed in seeds]
    others = [ResultRow.from_evaluation(name, dev.evaluate(values)) for name, values in scores.items()]
    delay = horizon if isinstance(horizon, str) else f"{horizon:g} h"
    others[1] = replace(others[1], note=f"horizon: {delay}" if horizon else "")
    return [ResultRow.mean(random), *(ResultRow.mean([row] * len(seeds)) for row in others)]


# === Results ===


@dataclass
class Comparison:
    """Models side by side on one data set, a row each; `seed` is the first, where rows are means over `num_seeds`.

    `benchmark` is the version and preset of synthetic data, as `benchmark_name` gives it.
    """

    data: str
    seed: int
    results: list[ResultRow] = field(default_factory=list)
    num_seeds: int = 1
    differences: Differences | None = None
    benchmark: str | None = None
    left_out: list[str] = field(default_factory=list)
    """What was left out of the data, a sentence a file."""
    normative: Mapping[str, str] = field(default_factory=dict)
    """The columns that `Normative` read, by metric."""

    @property
    def failed(self) -> dict[str, str]:
        """The models that there are no figures of, each with why."""
        return {row.model: row.failed for row in self.results if row.failed}

    def write(self, out_dir: str | Path) -> None:
        """Write `results.json`, `results.md`, and the chart as `results.png` and `results.svg`, into a folder."""
        out_dir = Path(out_dir)
        document = {
            "data": self.data,
            **({"benchmark": self.benchmark} if self.benchmark else {}),
            "seed": self.seed,
            **({"num_seeds": self.num_seeds} if self.num_seeds > 1 else {}),
            **({"left_out": self.left_out} if self.left_out else {}),
            **({"normative": self.normative} if self.normative else {}),
            "results": [row.to_json() for row in self.results],
        }
        if self.differences:
            by_model = {
                name: {metric: found._asdict() for metric, found in by_metric.items()}
                for name, by_metric in self.differences.of.items()
            }
            document["differences"] = {"baseline": self.differences.baseline, "of": by_model}
        as_json = json.dumps(document, indent=2, allow_nan=False) + "\n"
        for name, text in (("results.json", as_json), ("results.md", self.to_markdown())):
            with atomic_write(out_dir / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
        bars, lines = [], []
        for row in (row for row in self.results if "group_auc" in row.metrics):
            name, auc = row.model, 100 * row.metrics["group_auc"]
            spread = row.standard_errors if self.num_seeds == 1 else row.standard_deviations
            if row.is_reference:
                lines.append((name, auc))
            else:
                bars.append((name, auc, 100 * spread.get("group_auc", 0)))
        whiskers = "standard error" if self.num_seeds == 1 else "standard deviation over seeds"
        draw_auc(out_dir / "results.png", bars=bars, lines=lines, title=self._title(), whiskers=whiskers)

    def to_markdown(self, title: bool = True) -> str:
        """Give the tables as Markdown: accuracy and costs, then, where it is known, what lies beyond accuracy.

        The best trained model of a column is bold, references are italic; `title` puts headings above.
        """
        texts = []
        for level, (heading, columns, caption) in enumerate(self._tables(), start=1):
            lines = []
            for row, cells, best in self._cells(columns, " ± "):
                around = ["**" if is_best else "*" if row.is_reference else "" for is_best in best]
                lines.append([f"{mark}{cell}{mark}" for mark, cell in zip(around, cells, strict=True)])
            table = markdown_table(["Model", *(column.title for column in columns)], lines)
            bold = " Bold: the best trained model." if any(column.has_best for column in columns) else ""
            above = f"{'#' * min(level, 2)} {heading}\n\n" if title else ""
            texts.append(f"{above}{table}\n\n{caption}{bold} Italic: floors and ceilings.\n")
        if remarks := self._remarks():
            texts[0] += "\n" + "".join(f"- {remark}\n" for remark in remarks)
        if self.differences:
            heading, header, rows, caption = self._difference_table()
            above = f"## {heading}\n\n" if title else f"{heading}:\n\n"
            texts.append(f"{above}{markdown_table(header, rows)}\n\n{caption}\n")
        return "\n".join(texts)

    def _remarks(self) -> list[str]:
        """Say what was left out, what failed and why, what a model did without, and how epochs were selected."""
        remarks = [*self.left_out]
        remarks += [f"{name} failed: {why}" for name, why in self.failed.items()]
        remarks += [f"{row.model}: {row.note}" for row in self.results if row.note]
        selected = {row.model: row.selected for row in self.results if row.selected}
        ways = dict.fromkeys(selected.values())
        for way in ways:
            whose = "Of every model" if len(ways) == 1 else f"Of {', '.join(n for n in selected if selected[n] == way)}"
            remarks.append(f"{whose} {way} is taken.")
        return remarks

    def _difference_table(self) -> tuple[str, list[str], list[list[str]], str]:
        """Lay out the differences to the best baseline: title, header, rows and caption."""
        header = ["Model", *(name for metric in DEFAULT_METRICS for name in (Column.of_metric(metric).title, "p"))]
        rows = []
        for model, found in self.differences.of.items():
            pairs = ((f"{100 * of.mean:+.2f} ± {100 * of.error:.2f}", f"{of.p:.2g}") for of in found.values())
            rows.append([model, *(cell for pair in pairs for cell in pair)])
        chance = "impressions" if self.num_seeds == 1 else "impressions and seeds"
        caption = f"Points, ± the standard error over {chance}, paired; p: of so large a difference by chance."
        return f"Differences to {self.differences.baseline}, the best baseline", header, rows, caption

    def render(self) -> Group:
        """Give the tables for the terminal, to be printed by a `rich.console.Console`."""
        tables = (self._rendered(*table) for table in self._tables())
        parts: list[Any] = [Padding(table, (bool(place), 0, 0, 0), expand=False) for place, table in enumerate(tables)]
        if self.differences:
            title, header, rows, caption = self._difference_table()
            table = terminal_table(title=Text(title), caption=caption)
            for name in header:
                table.add_column(name, justify="left" if name == "Model" else "right")
            for row in rows:
                table.add_row(*map(Text, (cell.replace(" ± ", "\n±") for cell in row)))
            parts.append(Padding(table, (1, 0, 0, 0), expand=False))
        return Group(*parts, *(Text(f"{remark}") for remark in self._remarks()))

    def _rendered(self, title: str, columns: Sequence[Column], caption: str) -> Table:
        # Fits 80 columns: spreads stand below their figures, and only headers of figures may break, between words.
        table = terminal_table(title=Text(title), caption=caption)
        table.add_column("Model", no_wrap=True)
        for column in columns:
            table.add_column(column.title.replace("@", "\n@").replace(" ", "\n"), justify="right")
        num_trained = sum(not row.is_reference for row in self.results)
        for number, (row, cells, best) in enumerate(self._cells(columns, "\n±"), start=1):
            table.add_row(
                *(Text(cell, style="bold" if is_best else "") for cell, is_best in zip(cells, best, strict=True)),
                style="italic dim" if row.is_reference else None,
                end_section=number == num_trained,
            )
        return table

    def _title(self) -> str:
        seeds = f"seed {self.seed}" if self.num_seeds == 1 else f"{self.num_seeds} seeds"
        return f"Models on {self.data}{f' ({self.benchmark})' if self.benchmark else ''}, {seeds}"

    def _tables(self) -> Iterator[tuple[str, list[Column], str]]:
        """Yield titles, columns and captions: of accuracy and costs, and of what else a row has."""
        metrics = dict.fromkeys([*DEFAULT_METRICS, *(name for row in self.results for name in row.metrics)])
        accuracy = [Column.of_metric(name) for name in metrics if not table_of(name)]
        costs = [column for column in COSTS if any(column.name in row.figures for row in self.results)]
        over_seeds = "" if self.num_seeds == 1 else f", ± their standard deviation over {self.num_seeds} seeds"
        errors = [row.standard_errors.get(name, 0.0) for row in self.results for name in DEFAULT_METRICS]
        at_most = f" (standard error at most {100 * max(errors):.2f})" if any(errors) else ""
        caption = f"Metrics in percent, means over impressions{at_most}{over_seeds}."
        yield self._title(), [*accuracy, *costs], caption
        for heading, caption in CAPTIONS.items():
            if columns := [Column.of_metric(name) for name in metrics if table_of(name) == heading]:
                read = f" ({columns_read(self.normative)})" if heading == NORMATIVE else ""
                yield heading, columns, f"{caption}{read}{over_seeds}."

    def _cells(self, columns: Sequence[Column], plus_minus: str) -> Iterator[tuple[ResultRow, list[str], list[bool]]]:
        """Yield the rows, references last, each with its cells and which of them are the best of the trained models."""
        trained = [row.figures for row in self.results if not row.is_reference]
        best = {}
        for column in columns:
            reached = [figures[column.name] for figures in trained if column.name in figures]
            if column.has_best and reached:
                best[column.name] = column.write(max(reached))
        shows_all = any(column.name in DEFAULT_METRICS for column in columns)  # else failed models are left out
        for row in sorted(self.results, key=lambda row: row.is_reference):
            if row.failed and not shows_all:
                continue
            cells, is_best = [row.model], [False]
            for column in columns:
                figure, spread = row.figures.get(column.name), row.standard_deviations.get(column.name)
                shown = "-" if figure is None else column.write(figure)
                cells.append(f"{shown}{plus_minus}{column.write(spread)}" if spread else shown)
                # Bold by what is printed, so that two models with the same figure are both bold.
                is_best.append(not row.is_reference and shown == best.get(column.name))
            yield row, cells, is_best
