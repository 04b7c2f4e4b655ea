"""Running experiments: those of the MINER paper, and the check against Microsoft Recommenders' own figures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from recommenders_miner.evaluation.metrics import DEFAULT_METRICS
from recommenders_miner.experiments.paper import PAPER
from recommenders_miner.experiments.plan import Plan
from recommenders_miner.experiments.plus import PLUS
from recommenders_miner.experiments.runs import PUBLISHED, Variant
from recommenders_miner.experiments.study import METRIC_TITLES, Experiment, Made, Page, Study, metric_of, over_seeds
from recommenders_miner.plots.charts import draw_curves
from recommenders_miner.progress import progress_bar
from recommenders_miner.tables import markdown_table

LOGGER = logging.getLogger("recommenders_miner")

# === What Microsoft Recommenders' notebooks show on MINDdemo ===

NOTEBOOKS: Mapping[str, Mapping[str, Any]] = PUBLISHED["recommenders"]


def _notebook_variants(_: Study) -> list[Variant]:
    return [Variant(f"{name}-recommenders", name, {"scale": "recommenders"}) for name in NOTEBOOKS]


def _notebooks(study: Study, made: Made) -> Page:
    """Set the dev metrics of every epoch beside those that the notebooks show."""
    of_epochs, rows, curves = {}, [], []
    for name, runs in made.items():
        shown = NOTEBOOKS[name.removesuffix("-recommenders")]
        epochs = range(len(runs[0].history))
        auc = [[run.history[epoch]["val_group_auc"] for run in runs] for epoch in epochs]
        of_epochs[name] = auc
        ends = shown["epoch_1"], shown["last"][0]
        curves.append((name, [epoch + 1 for epoch in epochs], [[100 * value for value in values] for values in auc]))
        last = (
            cell
            for metric, figure in zip(DEFAULT_METRICS, shown["last"], strict=True)
            for cell in (over_seeds(metric_of(runs, metric)), f"{figure:.2f}")
        )
        rows.append([name, over_seeds(auc[0]), f"{ends[0]:.2f}", *last])
    titles = ["AUC, epoch 1", "theirs", *(title for name in METRIC_TITLES.values() for title in (name, "theirs"))]
    text = f"""
{study.settings_at("recommenders")} The settings are those of Microsoft Recommenders' notebooks.
Beside each figure, "theirs" is what the notebook shows on MINDdemo: for AUC after one epoch, and for the four metrics
after the last.
{"" if study.mind == "demo" else "This data is not MINDdemo, so the two cannot be expected to agree."}

{markdown_table(["Model", *titles], rows)}
"""
    return Page(
        "Microsoft Recommenders' notebooks",
        text,
        {"auc_by_epoch": of_epochs, "notebooks": NOTEBOOKS},
        draw_curves(curves, "AUC by epoch", "epoch", "AUC, %"),
        "AUC after each epoch (bands: standard deviation over seeds).",
    )


# === All of them ===

EXPERIMENTS: dict[str, Experiment] = {
    **PAPER,
    **PLUS,
    "recommenders": Experiment(_notebook_variants, _notebooks, each_epoch=True),
}


def reproduce(
    study: Study,
    names: Sequence[str] = tuple(PAPER),
    see_plan: Callable[[Mapping[str, Plan]], None] = lambda planned: None,
) -> Path:
    """Run experiments, each page written as soon as its runs are there.

    Runs are kept in `<out>/runs` and shared by the experiments; `<out>/results` has a page, its figures as JSON, PNG
    and SVG for each experiment; `<out>/results.md` all pages in one. What fails stands on the pages and in
    `study.failed`, and the rest goes on; the same call then tries it again.

    Args:
        study: data, seeds, scale and the folder to write to.
        names: keys of `EXPERIMENTS`; by default those of the paper.
        see_plan: given what will run, what not and why, by name, before anything is trained.

    Returns:
        The page of all pages.

    Raises:
        HParamsError: an override is for a model that no experiment has.
    """
    see_plan(study.plan({name: EXPERIMENTS[name] for name in names}))
    with progress_bar("experiments") as report:
        for place, name in enumerate(names):
            report(place / len(names), name)
            LOGGER.info("%s", name)
            study.run(name, EXPERIMENTS[name])
            summary = study.write_summary(tuple(EXPERIMENTS))
    return summary
