"""Table 2: MINER beside all the systems that it is compared with."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean, stdev

from scipy.stats import spearmanr

from recommenders_miner.experiments.compare import TABLE_2, reference_rows
from recommenders_miner.experiments.comparison import Comparison, ResultRow
from recommenders_miner.tables import markdown_table
from recommenders_miner.experiments.runs import Run
from recommenders_miner.experiments.study import METRIC_TITLES, Page, Study, Variant, over_seeds, published
from recommenders_miner.plots.models import draw_systems

TITLE = "Table 2: all systems"


def table2(study: Study) -> Page:
    """Trains every system and sets its metrics beside the paper's."""
    made = study.make([Variant(name) for name in TABLE_2])
    paper = published()["table2"]["small"]
    rows = []
    for name, runs in made.items():
        row = [name]
        for metric, reported in zip(METRIC_TITLES, paper[name], strict=True):
            row += [over_seeds([run.row.metrics[metric] for run in runs]), f"{reported:.2f}"]
        rows.append(row)
    header = ["System", *(title for name in METRIC_TITLES.values() for title in (name, "paper"))]
    comparison = compared(study, made)
    aucs = {name: [run.row.metrics["group_auc"] for run in runs] for name, runs in made.items()}
    here, there = [fmean(values) for values in aucs.values()], [paper[name][0] for name in aucs]
    correlation = spearmanr(here, there).statistic
    text = f"""
{study.settings} Beside each, what the paper reports on MIND-small: other data, so the order is to be compared, not the
figures. Spearman's correlation of the two columns of AUC is {correlation:.2f}.

{markdown_table(header, rows)}

The same runs with floors, ceilings, and among news that training never saw (Cold AUC):

{comparison.to_markdown(title=False)}
"""
    figure = draw_systems(
        list(aucs),
        here=[100 * auc for auc in here],
        here_errors=[100 * stdev(values) if len(values) > 1 else 0.0 for values in aucs.values()],
        paper=there,
        here_title=study.data_name,
        lines={row.model: 100 * row.metrics["group_auc"] for row in comparison.results if row.is_reference},
    )
    rows_as_json = [row.to_json() for row in comparison.results]
    results = {"rows": rows_as_json, "spearman": correlation, "paper": published()["table2"]}
    whiskers = " (whiskers: standard deviation over seeds)" if len(study.seeds) > 1 else ""
    caption = f"AUC of all systems, on {study.data_name}{whiskers} and as the paper reports it."
    return Page(TITLE, text, results, figure, caption)


def compared(study: Study, made: dict[str, list[Run]]) -> Comparison:
    """Returns the runs as a comparison, floors and ceilings among them."""
    # Runs of a reproduction may have been stopped, or made beside other work: their times say nothing.
    untimed = dict.fromkeys(("train_seconds", "eval_seconds", "samples_per_second"))
    rows = [replace(ResultRow.mean([run.row for run in runs]), **untimed) for runs in made.values()]
    rows += reference_rows(study.runs.train, study.runs.dev, study.seeds)
    return Comparison(study.data_name, study.seeds[0], rows, len(study.seeds))
