"""What the paper's experiments share: one data set with its runs, and the pages that they write."""

from __future__ import annotations

import json
import logging
import shlex
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, NamedTuple

from recommenders_miner.data.folders import Split, split_folders
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.data.tsv import OnError
from recommenders_miner.datasets.mind import mind_size
from recommenders_miner.datasets.synthetic.benchmark import benchmark_name
from recommenders_miner.evaluation.metrics import DEFAULT_METRICS
from recommenders_miner.evaluation.submission import submission_file, write_submission
from recommenders_miner.experiments.columns import Column
from recommenders_miner.experiments.plan import Plan
from recommenders_miner.experiments.runs import Run, Runs, Variant, require_known_models
from recommenders_miner.hparams import hparams_files
from recommenders_miner.plots.style import save_figure
from recommenders_miner.progress import progress_bar
from recommenders_miner.storage import atomic_write
from recommenders_miner.tables import markdown_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOGGER = logging.getLogger("recommenders_miner")

METRIC_TITLES = {name: Column.of_metric(name).title for name in DEFAULT_METRICS}

_SYNTHETIC = """
The data is synthetic: simulated users whose truth is known. It can show that a model learns what there is to learn, how
far it stays behind the truth (the oracles), and what a part of a model costs. What the paper claims of real users it
can neither confirm nor refute: how many interests are enough (Figure 3), what it is worth to keep them apart (Table 3)
and which model is ahead (Table 2) follow from how the users were made. Nothing on this page was run on MIND. The
commands for MIND, and what they need, are in docs/reproduction.md.
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
    """A table or a figure: the models to train for it, what it makes of them, and whether it needs them all.

    `each_epoch` evaluates them on dev after each epoch.
    """

    variants: Callable[[Study], Sequence[Variant]]
    page: Callable[[Study, Made], Page]
    need_all: bool = False
    each_epoch: bool = False


class Study:
    """One data set, some seeds, one scale: all that the experiments of a reproduction have in common.

    Args:
        data_dir: holds train/ and dev/, each with news.tsv and behaviors.tsv.
        out: the folder of runs and pages.
        seeds: of every variant.
        scale: `paper`, the published settings, or `fast`.
        overrides: hyperparameters that win over all others, for those of the models that have them; for trials.
        size: of MIND, small or large, whose figures of the paper are set beside those found here.
        on_error: as of `Runs`.

    Attributes:
        failed: why there are no figures of a model, by its name.

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
        overrides: dict[str, Any] | None = None,
        size: str = "small",
        on_error: OnError = "raise",
    ) -> None:
        self.data_dir, self.out, self.seeds, self.scale = Path(data_dir), Path(out), tuple(seeds), scale
        self.overrides, self.size, self.failed = overrides or {}, size, dict[str, str]()
        self.miner = Variant("miner").hparams(scale, self.overrides)
        self.runs = Runs(data_dir, self.out / "runs", on_error)
        self._planned: dict[str, Plan] = {}
        self.mind = mind_size(self.data_dir)
        benchmark = benchmark_name(self.data_dir)
        self.is_synthetic = benchmark is not None
        self.data_name = benchmark or (f"MIND-{self.mind}" if self.mind else self.data_dir.name)

    def plan(self, experiments: Mapping[str, Experiment]) -> dict[str, Plan]:
        """Look at every model of some experiments before any is trained, once each.

        Raises:
            HParamsError: an override is for a model that none of them has.
        """
        names = []
        for experiment in experiments.values():
            variants = experiment.variants(self)
            hparams = {v.name: v.hparams(self.scale, self.overrides) for v in variants if v.name not in self._planned}
            self._planned |= self.runs.plan(hparams, self.seeds, experiment.each_epoch)
            names += [variant.name for variant in variants]
        require_known_models(self.overrides, [*names, *hparams_files()])
        return {name: self._planned[name] for name in names}

    def run(self, name: str, experiment: Experiment) -> None:
        """Make, or find done, the runs of an experiment, and write its page, unless it lacks what it needs."""
        planned = self.plan({name: experiment})
        made: dict[str, list[Run]] = {}
        for variant, found in self.runs.each(planned, self.seeds, experiment.each_epoch):
            if isinstance(found, str):
                self.failed[variant] = found
            else:
                made[variant] = found
        lacking = {variant: self.failed[variant] for variant in planned if variant not in made}
        if not made or (experiment.need_all and lacking):
            LOGGER.error("%s is left out: %s", name, "; ".join(f"{of} failed: {why}" for of, why in lacking.items()))
            return
        if name == "table2":
            self.write_submissions(made)
        page = experiment.page(self, made)
        remarks = "".join(f"\n- {variant} failed: {why}\n" for variant, why in lacking.items())
        path = self._page_path(name)
        options = f"--data {self.data_dir} --out {self.out} --scale {self.scale} --seeds {len(self.seeds)}"
        options += "".join(f" -o {shlex.quote(f'{key}={value}')}" for key, value in self.overrides.items())
        command = f"    recommenders-miner reproduce {name} {options}"
        text = f"## {page.title}\n\n{command}\n\n{_filled(page.text)}\n{remarks}"
        if page.figure is not None:
            save_figure(page.figure, path.with_suffix(".png"))
            text += f"\n![{page.caption}]({name}.png)\n\n*{page.caption}*\n"
        settings = {"data": self.data_name, "scale": self.scale, "seeds": self.seeds, "failed": lacking}
        document = json.dumps(settings | page.results, indent=1, allow_nan=False, default=_plain) + "\n"
        for suffix, content in ((".json", document), (".md", text)):
            with atomic_write(path.with_suffix(suffix)) as temporary:
                temporary.write_text(content, encoding="utf-8")

    def _page_path(self, name: str) -> Path:
        return self.out / "results" / f"{name}.md"

    def write_summary(self, names: Sequence[str]) -> Path:
        """Join those of some experiments' pages that there are into `results.md`, and return its path."""
        pages = [f"# Experiments on {self.data_name}\n{_SYNTHETIC if self.is_synthetic else ''}"]
        for name in names:
            if self._page_path(name).exists():
                text = self._page_path(name).read_text(encoding="utf-8")
                pages.append(text.replace(f"]({name}.png)", f"](results/{name}.png)"))
        path = self.out / "results.md"
        with atomic_write(path) as temporary:
            temporary.write_text("\n".join(pages), encoding="utf-8")
        return path

    @property
    def reported_on(self) -> str:
        """What the paper's figures are of, and whether they may be compared with those found here."""
        other = ": other data, so the order is to be compared, not the figures"
        return f"MIND-{self.size}{'' if self.mind == self.size else other}"

    def write_submissions(self, made: Made) -> None:
        """Write `prediction.zip` for the test split, where there is one, beside each model of the first seed."""
        if "test" not in split_folders(self.data_dir):
            return
        files = Split.find(self.data_dir, "test")
        for name, (run, *_) in made.items():
            target = run.folder / "prediction.zip"
            if not target.exists():
                model = run.load()
                data = model.read(files.news, files.behaviors, self.runs.on_error)
                with progress_bar(f"{name}: scoring the test split") as report:
                    scores = model.score_log(data, progress=report)
                ranked = Ragged(scores, data.log.candidates.offsets)
                write_submission(target, data.log.impression_id, ranked, submission_file(self.data_dir))
                LOGGER.info("%s: %s", name, target)

    @property
    def settings(self) -> str:
        """The sentence that says where an experiment's figures come from."""
        return self.settings_at(self.scale)

    def settings_at(self, scale: str) -> str:
        """Say where figures come from that were made on some scale."""
        count = len(self.seeds)
        seeds = f"mean ± standard deviation over {count} seeds" if count > 1 else f"seed {self.seeds[0]}"
        return f"Dev metrics in percent on {self.data_name}, scale {scale}, {seeds}."


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
