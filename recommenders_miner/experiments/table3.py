"""Table 3: what each part of MINER is worth, with the language model and without, beside HieRec."""

from __future__ import annotations

from typing import Any

from recommenders_miner.experiments.study import METRIC_TITLES, Experiment, Made, Page, Study, table_beside_paper
from recommenders_miner.experiments.variants import PUBLISHED, Variant
from recommenders_miner.plots.charts import draw_effects
from recommenders_miner.tables import markdown_table

PARTS = {"disagreement": {"disagreement_weight": 0.0}, "category": {"category_weighting": False}}
"""What takes a part out, by the part's name."""

BASES = ("miner", "miner-knowledge")
"""MINER over a language model, and over words and entities."""

VARIANTS = [
    *map(Variant, BASES),
    *(Variant(f"{base}-no-{part}", base, changes) for base in BASES for part, changes in PARTS.items()),
    Variant("hierec"),
]
"""Both MINERs, each whole and without either part, and HieRec."""


def _page(study: Study, made: Made) -> Page:
    """Measure on the same impressions what taking out a part does."""
    metrics = [name for name in METRIC_TITLES if name != "ndcg@5"]  # the paper leaves it out here
    effects = [_effect(study, made, base, part) for base in BASES if base in made for part in PARTS]
    effect_rows = [
        [
            f"{e['base']}, without {e['part']}",
            *(f"{100 * e[metric][0]:+.2f} ± {100 * e[metric][1]:.2f}" for metric in metrics),
            _papers_effect(e),
        ]
        for e in effects
    ]
    effect_header = ["Taken out", *(METRIC_TITLES[name] for name in metrics), "AUC, paper"]
    beta = Variant("miner").hparams(study.scale, study.overrides).disagreement_weight
    text = f"""
{study.settings} Beside each, what the paper reports on MIND-small.
`disagreement` is the regulariser, with β = {beta:g} on this scale; `category` the category-aware attention weighting.

{table_beside_paper(made, PUBLISHED["table3"], metrics)}

What taking a part out changes, in points, ± the standard error of the difference, paired over the same impressions
and seeds:

{markdown_table(effect_header, effect_rows)}
"""
    figure = draw_effects(
        [f"{e['base']}\nwithout {e['part']}" for e in effects],
        [100 * e["group_auc"][0] for e in effects],
        [100 * e["group_auc"][1] for e in effects],
        xlabel="change of AUC, points (whiskers: two standard errors)",
        title="What taking out a part of MINER does",
    )
    rows = {name: [run.row.to_json() for run in runs] for name, runs in made.items()}
    return Page(
        "Table 3: what the parts of MINER are worth",
        text,
        {"rows": rows, "effects": effects, "paper": PUBLISHED["table3"]},
        figure,
        "What taking out a part of MINER does to AUC; left of the line it costs.",
    )


def _effect(study: Study, made: Made, base: str, part: str) -> dict[str, Any]:
    """Return the change of each metric, and its standard error, when a part is taken out."""
    without, whole = made[f"{base}-no-{part}"], made[base]
    return {"base": base, "part": part} | {name: study.paired_effect(without, whole, name) for name in METRIC_TITLES}


def _papers_effect(effect: dict[str, Any]) -> str:
    reported, base = PUBLISHED["table3"], effect["base"]
    return f"{reported[base + '-no-' + effect['part']][0] - reported[base][0]:+.2f}"


EXPERIMENT = Experiment(lambda _: VARIANTS, _page)
