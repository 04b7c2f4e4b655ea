"""Figure 3: accuracy against the number K of interest vectors."""

from __future__ import annotations

from recommenders_miner.tables import markdown_table
from recommenders_miner.experiments.study import METRIC_TITLES, Page, Study, Variant, over_seeds, published
from recommenders_miner.plots.curves import Curve, draw_curves

TITLE = "Figure 3: how many interests"

NUM_INTERESTS = (1, 2, 4, 8, 16, 32, 48, 64)
METRICS = ("group_auc", "ndcg@10")


def figure3(study: Study) -> Page:
    """Trains MINER with 1 to 64 interest vectors."""
    usual = study.hparams(Variant("miner")).num_interests
    names = {k: "miner" if k == usual else f"miner-k{k}" for k in NUM_INTERESTS}
    made = study.make([Variant(name, "miner", {"num_interests": k}) for k, name in names.items()])
    found = {
        k: {metric: [run.row.metrics[metric] for run in made[name]] for metric in METRICS}
        for k, name in names.items()
        if name in made
    }
    paper = published()["figure3"]
    rows = [
        [str(k), *(over_seeds(values[metric]) for metric in METRICS), f"{paper[k]:.2f}" if k in paper else ""]
        for k, values in found.items()
    ]
    table = markdown_table(["K", *(METRIC_TITLES[metric] for metric in METRICS), "AUC, paper"], rows)
    text = f"{study.settings} The paper's text gives two points of its curve, on MIND-small.\n\n{table}"
    curves = [
        Curve(METRIC_TITLES[metric], list(found), [[100 * v for v in values[metric]] for values in found.values()])
        for metric in METRICS
    ]
    figure = draw_curves(
        curves,
        title="Accuracy by the number of interests",
        xlabel="interest vectors K",
        ylabel="%",
        panels=True,
    )
    return Page(
        TITLE,
        text,
        {"by_k": found, "paper": paper},
        figure,
        "AUC and nDCG@10 of MINER by the number of interests (bands: standard deviation over seeds).",
    )
