"""Figure 3: accuracy against the number K of interest vectors."""

from __future__ import annotations

from recommenders_miner.experiments.study import METRIC_TITLES, Experiment, Made, Page, Study, metric_of, over_seeds
from recommenders_miner.experiments.variants import PUBLISHED, Variant
from recommenders_miner.plots.charts import draw_curves
from recommenders_miner.tables import markdown_table

NUM_INTERESTS = (1, 2, 4, 8, 16, 32, 48, 64)
METRICS = ("group_auc", "ndcg@10")


def _names(study: Study) -> dict[int, str]:
    """Return the name of the runs of each K; the usual K is MINER itself."""
    usual = Variant("miner").hparams(study.scale, study.overrides).num_interests
    return {k: "miner" if k == usual else f"miner-k{k}" for k in NUM_INTERESTS}


def _variants(study: Study) -> list[Variant]:
    return [Variant(name, "miner", {"num_interests": k}) for k, name in _names(study).items()]


def _page(study: Study, made: Made) -> Page:
    found = {
        k: {metric: metric_of(made[name], metric) for metric in METRICS}
        for k, name in _names(study).items()
        if name in made
    }
    paper = PUBLISHED["figure3"]
    rows = [
        [str(k), *(over_seeds(values[metric]) for metric in METRICS), f"{paper[k]:.2f}" if k in paper else ""]
        for k, values in found.items()
    ]
    table = markdown_table(["K", *(METRIC_TITLES[metric] for metric in METRICS), "AUC, paper"], rows)
    curves = [
        (METRIC_TITLES[metric], list(found), [[100 * v for v in values[metric]] for values in found.values()])
        for metric in METRICS
    ]
    return Page(
        "Figure 3: how many interests",
        f"{study.settings} The paper's text gives two points of its curve, on MIND-small.\n\n{table}",
        {"by_k": found, "paper": paper},
        draw_curves(curves, "Accuracy by the number of interests", "interest vectors K", "%", panels=True),
        "AUC and nDCG@10 of MINER by the number of interests (bands: standard deviation over seeds).",
    )


EXPERIMENT = Experiment(_variants, _page)
