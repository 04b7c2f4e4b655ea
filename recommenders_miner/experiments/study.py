"""What the paper's experiments share: one data set with its runs, and the pages that they write."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from recommenders_miner.evaluation.metrics import DEFAULT_METRICS, impression_metrics
from recommenders_miner.experiments.compare import Column
from recommenders_miner.experiments.runs import Run, Runs, Variant
from recommenders_miner.plots.style import save_figure
from recommenders_miner.storage import atomic_write
from recommenders_miner.tables import markdown_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRIC_TITLES = {name: Column.of_metric(name).title for name in DEFAULT_METRICS}

_SYNTHETIC = """
The data is synthetic: simulated users whose truth is known. Nothing on this page was run on MIND, and the paper's
figures are of MIND; what can be compared is the order of models and the sign of effects. The commands for MIND, and
what they need, are in docs/reproduction.md.
"""

Made = Mapping[str, list[Run]]
"""By a variant's name, a run a seed."""


class Page(NamedTuple):
    """What an experiment found: Markdown with the table in it, all figures for JSON, and a picture with its caption."""

    title: str
    text: str
    results: dict[str, Any]
    figure: Figure | None = None
    caption: str = ""


class Experiment(NamedTuple):
    """A table or a figure: the models to train for it, what it makes of them, and whether it needs them all."""

    variants: Callable[[Study], Sequence[Variant]]
    page: Callable[[Study, Made], Page]
    need_all: bool = False


class Study:
    """One data set, some seeds, one scale: all that the experiments of a reproduction have in common.

    Args:
        data_dir: holds train/ and dev/, each with news.tsv and behaviors.tsv.
        out: the folder of runs and pages.
        seeds: of every variant.
        scale: `paper`, the published settings, or `fast`.
        skip_unavailable: leave out, with a warning, what needs a language model that cannot be had.
        overrides: hyperparameters that win over all others, for those of the models that have them; for trials.

    Raises:
        DataFormatError: a file of the data is missing.
        HParamsError: no model has one of the overrides.
    """

    def __init__(
        self,
        data_dir: str | Path,
        out: str | Path,
        seeds: Sequence[int] = (42, 43, 44),
        scale: str = "fast",
        skip_unavailable: bool = False,
        overrides: dict[str, Any] | None = None,
    ) -> None:
        self.data_dir, self.out, self.seeds, self.scale = Path(data_dir), Path(out), tuple(seeds), scale
        self.skip_unavailable, self.overrides = skip_unavailable, overrides or {}
        self.miner = Variant("miner").hparams(scale, self.overrides)
        self.runs = Runs(data_dir, self.out / "runs")
        self.data_name, description = self.data_dir.name, self.data_dir / "dataset.json"
        self.is_synthetic = description.exists()
        if self.is_synthetic:
            found = json.loads(description.read_text(encoding="utf-8"))
            self.data_name = f"the {found['name']} benchmark, preset {found['preset']}"

    def run(self, name: str, experiment: Experiment) -> None:
        """Make, or find done, the runs of an experiment, and write its page.

        Raises:
            PresetError: a language model cannot be had, and such variants are not to be left out.
        """
        hparams = {v.name: v.hparams(self.scale, self.overrides) for v in experiment.variants(self)}
        skip = self.skip_unavailable and not experiment.need_all
        page = experiment.page(self, dict(self.runs.each(hparams, self.seeds, skip)))
        path = self._page_path(name)
        text = f"## {page.title}\n\n{_filled(page.text)}\n"
        if page.figure is not None:
            save_figure(page.figure, path.with_suffix(".png"))
            text += f"\n![{page.caption}]({name}.png)\n\n*{page.caption}*\n"
        settings = {"data": self.data_name, "scale": self.scale, "seeds": self.seeds}
        document = json.dumps(settings | page.results, indent=1, allow_nan=False, default=_plain) + "\n"
        for suffix, content in ((".json", document), (".md", text)):
            with atomic_write(path.with_suffix(suffix)) as temporary:
                temporary.write_text(content, encoding="utf-8")

    def _page_path(self, name: str) -> Path:
        return self.out / "results" / f"{name}.md"

    def write_summary(self, names: Sequence[str]) -> Path:
        """Join those of some experiments' pages that there are into `results.md`, and return its path."""
        options = f"--data {self.data_dir} --out {self.out} --scale {self.scale} --seeds {len(self.seeds)}"
        title = f"# The experiments of the MINER paper, on {self.data_name}"
        pages = [
            f"{title}\n\n    recommenders-miner reproduce all {options}\n{_SYNTHETIC if self.is_synthetic else ''}"
        ]
        for name in names:
            if self._page_path(name).exists():
                text = self._page_path(name).read_text(encoding="utf-8")
                pages.append(text.replace(f"]({name}.png)", f"](results/{name}.png)"))
        path = self.out / "results.md"
        with atomic_write(path) as temporary:
            temporary.write_text("\n".join(pages), encoding="utf-8")
        return path

    @property
    def settings(self) -> str:
        """The sentence that says where an experiment's figures come from."""
        count = len(self.seeds)
        seeds = f"mean ± standard deviation over {count} seeds" if count > 1 else f"seed {self.seeds[0]}"
        return f"Dev metrics in percent on {self.data_name}, scale {self.scale}, {seeds}."

    def paired_effect(self, runs: Sequence[Run], baseline: Sequence[Run], metric: str) -> tuple[float, float]:
        """Compare two models on the same impressions and the same seeds.

        The mean difference, `runs` less `baseline`, comes with a standard error that joins two sources of chance: which
        impressions there are, from the spread of the difference over impressions, averaged over seeds first; and how
        the trainings went, from the spread of the mean difference over seeds.
        """
        log = self.runs.dev.log

        def by_impression(run: Run) -> np.ndarray:
            return impression_metrics(run.scores, log.labels, log.candidates.offsets, [metric])[metric]

        differences = np.stack([by_impression(a) - by_impression(b) for a, b in zip(runs, baseline, strict=True)])
        differences = differences[:, ~np.isnan(differences[0])]
        variance = differences.mean(axis=0).var(ddof=1) / differences.shape[1]
        if len(differences) > 1:
            variance += differences.mean(axis=1).var(ddof=1) / len(differences)
        return float(differences.mean()), float(np.sqrt(variance))


def metric_of(runs: Sequence[Run], metric: str) -> list[float]:
    """Return a metric of each run."""
    return [run.row.metrics[metric] for run in runs]


def over_seeds(values: Sequence[float]) -> str:
    """Write shares as percent: their mean, and where there are several, ± their standard deviation."""
    spread = f" ± {100 * stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * fmean(values):.2f}{spread}"


def table_beside_paper(made: Made, reported: Mapping[str, Sequence[float | None]], metrics: Sequence[str]) -> str:
    """Lay out metrics of models, in the paper's order, each beside what the paper reports, as a Markdown table."""
    rows = []
    for name in sorted(made, key=list(reported).index):
        paper = dict(zip(DEFAULT_METRICS, reported[name], strict=True))
        reports = {metric: "" if figure is None else f"{figure:.2f}" for metric, figure in paper.items()}
        cells = ((over_seeds(metric_of(made[name], metric)), reports[metric]) for metric in metrics)
        rows.append([name, *(cell for pair in cells for cell in pair)])
    return markdown_table(["Model", *(title for name in metrics for title in (METRIC_TITLES[name], "paper"))], rows)


def _filled(text: str) -> str:
    """Break the paragraphs of a Markdown text into lines of equal length, and leave tables as they are."""
    paragraphs = text.strip().split("\n\n")
    return "\n\n".join(p if p.startswith("|") else textwrap.fill(p, 120, break_on_hyphens=False) for p in paragraphs)


def _plain(value: Any) -> Any:
    """Turn numpy's numbers and arrays, and dataclasses, into what JSON knows."""
    return asdict(value) if is_dataclass(value) else value.tolist()
