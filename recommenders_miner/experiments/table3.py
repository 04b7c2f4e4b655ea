"""Table 3: what each part of MINER is worth, with the language model and without, beside HieRec."""

from __future__ import annotations

from recommenders_miner.tables import markdown_table
from recommenders_miner.experiments.runs import Run
from recommenders_miner.experiments.study import (
    METRIC_TITLES,
    Page,
    Study,
    Variant,
    over_seeds,
    paired_effect,
    published,
    published_metrics,
)
from recommenders_miner.plots.effects import draw_effects

TITLE = "Table 3: what the parts of MINER are worth"

PARTS = {"disagreement": {"disagreement_weight": 0.0}, "category": {"category_weighting": False}}
"""What takes a part out, by the part's name."""

BASES = ("miner", "miner-knowledge")
"""MINER over a language model, and over words and entities."""


def variants() -> list[Variant]:
    """Returns both MINERs, each whole and without either part, and HieRec."""
    ablated = [Variant(f"{base}-no-{part}", base, changes) for base in BASES for part, changes in PARTS.items()]
    return [*map(Variant, BASES), *ablated, Variant("hierec")]


def table3(study: Study) -> Page:
    """Trains MINER whole and without each part, and measures on the same impressions what taking it out does."""
    made = study.make(variants())
    metrics = [name for name in METRIC_TITLES if name != "ndcg@5"]  # the paper leaves it out here
    rows = []
    for name in sorted(made, key=list(published()["table3"]).index):
        reported = published_metrics(published()["table3"][name])
        row = [name]
        for metric in metrics:
            row += [over_seeds([run.row.metrics[metric] for run in made[name]]), f"{reported[metric]:.2f}"]
        rows.append(row)
    header = ["System", *(title for name in metrics for title in (METRIC_TITLES[name], "paper"))]
    effects = [_effect(study, made, base, part) for base in BASES if base in made for part in PARTS]
    effect_rows = [
        [
            f"{e['base']}, without {e['part']}",
            *(f"{100 * e[m][0]:+.2f} ± {100 * e[m][1]:.2f}" for m in metrics),
            _paper(e),
        ]
        for e in effects
    ]
    effect_header = ["Taken out", *(METRIC_TITLES[name] for name in metrics), "AUC, paper"]
    beta = study.hparams(Variant("miner")).disagreement_weight
    text = f"""
{study.settings} Beside each, what the paper reports on MIND-small.
`disagreement` is the regulariser, with β = {beta:g} on this scale; `category` the category-aware attention weighting.

{markdown_table(header, rows)}

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
    results = {
        "rows": {name: [run.row.to_json() for run in runs] for name, runs in made.items()},
        "effects": effects,
        "paper": published()["table3"],
    }
    return Page(TITLE, text, results, figure, "What taking out a part of MINER does to AUC; left of the line it costs.")


def _effect(study: Study, made: dict[str, list[Run]], base: str, part: str) -> dict:
    """Returns the change of each metric, and its standard error, when a part is taken out."""
    effects = {name: paired_effect(study, made[f"{base}-no-{part}"], made[base], name) for name in METRIC_TITLES}
    return {"base": base, "part": part, **effects}


def _paper(effect: dict) -> str:
    reported, base = published()["table3"], effect["base"]
    return f"{reported[base + '-no-' + effect['part']][0] - reported[base][0]:+.2f}"
