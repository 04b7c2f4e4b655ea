"""Table 2: MINER beside all the models that it is compared with."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean, stdev

from scipy.stats import spearmanr

from recommenders_miner.experiments.compare import reference_rows
from recommenders_miner.experiments.comparison import Comparison
from recommenders_miner.experiments.results import ResultRow
from recommenders_miner.experiments.study import (
    METRIC_TITLES,
    Experiment,
    Made,
    Page,
    Study,
    metric_of,
    table_beside_paper,
)
from recommenders_miner.experiments.variants import PUBLISHED, TABLE_2, Variant
from recommenders_miner.plots.charts import draw_models


def _page(study: Study, made: Made) -> Page:
    """Set the metrics of every model beside the paper's."""
    paper = PUBLISHED["table2"]["small"]
    comparison = _compared(study, made)
    aucs = {name: metric_of(runs, "group_auc") for name, runs in made.items()}
    here, there = [fmean(values) for values in aucs.values()], [paper[name][0] for name in aucs]
    correlation = spearmanr(here, there).statistic
    text = f"""
{study.settings} Beside each, what the paper reports on MIND-small: other data, so the order is to be compared, not the
figures. Spearman's correlation of the two columns of AUC is {correlation:.2f}.

{table_beside_paper(made, paper, list(METRIC_TITLES))}

The same runs with floors, ceilings, and among news that training never saw (Cold AUC):

{comparison.to_markdown(title=False)}
"""
    figure = draw_models(
        list(aucs),
        here=[100 * auc for auc in here],
        here_errors=[100 * stdev(values) if len(values) > 1 else 0.0 for values in aucs.values()],
        paper=there,
        here_title=study.data_name,
        lines={row.model: 100 * row.metrics["group_auc"] for row in comparison.results if row.is_reference},
    )
    rows = [row.to_json() for row in comparison.results]
    whiskers = " (whiskers: standard deviation over seeds)" if len(study.seeds) > 1 else ""
    return Page(
        "Table 2: all models",
        text,
        {"rows": rows, "spearman": correlation, "paper": PUBLISHED["table2"]},
        figure,
        f"AUC of all models, on {study.data_name}{whiskers} and as the paper reports it.",
    )


def _compared(study: Study, made: Made) -> Comparison:
    """Return the runs as a comparison, floors and ceilings among them."""
    # Runs of a reproduction may have been stopped, or made beside other work: their times say nothing.
    untimed = dict.fromkeys(("train_seconds", "eval_seconds", "samples_per_second"))
    rows = [replace(ResultRow.mean([run.row for run in runs]), **untimed) for runs in made.values()]
    rows += reference_rows(study.runs.train, study.runs.dev, study.seeds)
    return Comparison(study.data_name, study.seeds[0], rows, len(study.seeds))


EXPERIMENT = Experiment(lambda _: [*map(Variant, TABLE_2)], _page)
