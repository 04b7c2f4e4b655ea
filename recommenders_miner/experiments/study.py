"""What the experiments share: their runs, and the pages that they write."""

from __future__ import annotations

import json
import logging
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from functools import cache
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from recommenders_miner.errors import PresetError
from recommenders_miner.evaluation.metrics import DEFAULT_METRICS, impression_metrics
from recommenders_miner.experiments.comparison_table import Column
from recommenders_miner.experiments.runs import Run, Runs
from recommenders_miner.hparams import HParams, prepare_hparams
from recommenders_miner.plots.style import save_figure
from recommenders_miner.progress import progress_bar
from recommenders_miner.storage import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOGGER = logging.getLogger("recommenders_miner")

METRIC_TITLES = {name: Column.of_metric(name).title for name in DEFAULT_METRICS}


@dataclass(frozen=True)
class Variant:
    """A system as an experiment wants it.

    Attributes:
        name: of its runs, and in tables.
        hparams_file: the hyperparameter file that it starts from; that of its name where left out.
        changes: hyperparameters that are other than there.
    """

    name: str
    hparams_file: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """What an experiment found.

    Attributes:
        title: of the page.
        text: Markdown, the table in it; the figure is put behind it.
        results: all figures, for JSON.
        figure: the picture, None where there is none to draw.
        caption: what the picture shows.
    """

    title: str
    text: str
    results: dict[str, Any]
    figure: Figure | None = None
    caption: str = ""


class Study:
    """One data set, some seeds, one scale: all that the experiments of a reproduction have in common.

    Args:
        data_dir: holds train/ and dev/, each with news.tsv and behaviors.tsv.
        out: the folder of runs and pages.
        seeds: of every variant.
        scale: `paper`, the published settings, or `fast`.
        skip_unavailable: leave out, with a warning, what needs a language model that cannot be had.
        overrides: hyperparameters that win over all others; for trials.

    Raises:
        DataFormatError: a file of the data is missing.
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
        self.runs = Runs(data_dir, self.out / "runs")

    @property
    def data_name(self) -> str:
        """What the data is: the planted benchmark and its preset, or the folder's name."""
        description = self.data_dir / "dataset.json"
        if not description.exists():
            return self.data_dir.name
        found = json.loads(description.read_text(encoding="utf-8"))
        return f"the {found['name']} benchmark, preset {found['preset']}"

    def hparams(self, variant: Variant) -> HParams:
        """Returns the hyperparameters of a variant on this study's scale."""
        changes = {**variant.changes, **self.overrides}
        return prepare_hparams(variant.hparams_file or variant.name, scale=self.scale, **changes)

    def make(self, variants: Sequence[Variant], need_all: bool = False) -> dict[str, list[Run]]:
        """Makes, or finds done, the runs of some variants.

        Args:
            variants: what to make.
            need_all: whether the experiment makes no sense without one of them.

        Returns:
            By the variant's name, a run a seed.

        Raises:
            PresetError: a language model cannot be had, and such variants are not to be left out.
        """
        hparams = {variant.name: self.hparams(variant) for variant in variants}
        made: dict[str, list[Run]] = {}
        with progress_bar("runs") as report:
            for place, (name, values) in enumerate(hparams.items()):
                report(place / len(hparams), name)
                try:
                    made[name] = [self.runs.make(name, values, seed) for seed in self.seeds]
                except PresetError as error:
                    if need_all or not self.skip_unavailable:
                        raise
                    LOGGER.warning("%s is left out: %s", name, error)
        return made

    def write(self, name: str, page: Page) -> None:
        """Writes a page: `results/<name>.md`, `.json`, and where there is a figure, `.png` and `.svg`."""
        path = self.page_path(name)
        text = f"## {page.title}\n\n{_filled(page.text)}\n"
        if page.figure is not None:
            save_figure(page.figure, path.with_suffix(".png"))
            text += f"\n![{page.caption}]({name}.png)\n\n*{page.caption}*\n"
        settings = {"data": self.data_name, "scale": self.scale, "seeds": self.seeds}
        document = json.dumps(settings | page.results, indent=1, allow_nan=False, default=_plain) + "\n"
        for suffix, content in ((".json", document), (".md", text)):
            with atomic_write(path.with_suffix(suffix)) as temporary:
                temporary.write_text(content, encoding="utf-8")

    def page_path(self, name: str) -> Path:
        """Returns where the page of an experiment is written."""
        return self.out / "results" / f"{name}.md"

    def page_text(self, name: str) -> str:
        """Returns the page of an experiment as it stands one folder up."""
        text = self.page_path(name).read_text(encoding="utf-8")
        return text.replace(f"]({name}.png)", f"]({self.page_path(name).parent.name}/{name}.png)")

    @property
    def preamble(self) -> str:
        """What stands above all pages."""
        options = f"--data {self.data_dir} --out {self.out} --scale {self.scale} --seeds {len(self.seeds)}"
        planted = """
The data is planted: simulated readers whose truth is known. Nothing on this page was run on MIND, and the paper's
figures are of MIND; what can be compared is the order of systems and the sign of effects. The commands for MIND, and
what they need, are in docs/reproduction.md.
"""
        note = planted if (self.data_dir / "dataset.json").exists() else ""
        title = f"# The experiments of the MINER paper, on {self.data_name}"
        return f"{title}\n\n    recommenders-miner reproduce all {options}\n{note}"

    @property
    def settings(self) -> str:
        """The sentence that says where an experiment's figures come from."""
        count = len(self.seeds)
        seeds = f"mean ± standard deviation over {count} seeds" if count > 1 else f"seed {self.seeds[0]}"
        return f"Dev metrics in percent on {self.data_name}, scale {self.scale}, {seeds}."


def _filled(text: str) -> str:
    """Breaks the paragraphs of a Markdown text into lines of equal length, and leaves tables as they are."""
    paragraphs = text.strip().split("\n\n")
    return "\n\n".join(p if p.startswith("|") else textwrap.fill(p, 120, break_on_hyphens=False) for p in paragraphs)


def _plain(value: Any) -> Any:
    """Turns numpy's numbers and arrays, and dataclasses, into what JSON knows."""
    return asdict(value) if is_dataclass(value) else value.tolist()


@cache
def published() -> dict[str, Any]:
    """Returns what the paper reports, by table or figure."""
    return yaml.safe_load((Path(__file__).parent / "published.yaml").read_text(encoding="utf-8"))


def published_metrics(values: Sequence[float | None] | None) -> dict[str, float]:
    """Names a row of the paper's figures by metric, those left out that the paper does not give."""
    return {} if values is None else {m: v for m, v in zip(DEFAULT_METRICS, values, strict=True) if v is not None}


def over_seeds(values: Sequence[float]) -> str:
    """Writes shares as percent: their mean, and where there are several, ± their standard deviation."""
    spread = f" ± {100 * stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * fmean(values):.2f}{spread}"


def paired_effect(study: Study, runs: Sequence[Run], baseline: Sequence[Run], metric: str) -> tuple[float, float]:
    """Compares two systems on the same impressions and the same seeds.

    The standard error joins two sources of chance that are independent of each other: which impressions there are, from
    the spread of the difference over impressions, averaged over seeds first; and how the trainings went, from the
    spread of the mean difference over seeds.

    Args:
        study: whose dev log they were scored on.
        runs: of the one system, a run a seed.
        baseline: of the other, for the same seeds.
        metric: a name of `impression_metrics`.

    Returns:
        The mean difference, `runs` less `baseline`, and its standard error.
    """
    log = study.runs.dev.log

    def by_impression(run: Run) -> np.ndarray:
        return impression_metrics(run.scores, log.labels, log.candidates.offsets, [metric])[metric]

    differences = np.stack([by_impression(a) - by_impression(b) for a, b in zip(runs, baseline, strict=True)])
    differences = differences[:, ~np.isnan(differences[0])]
    variance = differences.mean(axis=0).var(ddof=1) / differences.shape[1]
    if len(differences) > 1:
        variance += differences.mean(axis=1).var(ddof=1) / len(differences)
    return float(differences.mean()), float(np.sqrt(variance))


Experiment = Callable[[Study], Page]
