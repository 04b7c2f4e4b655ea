"""`reproduce plus`: MINER with what its paper leaves out, and what each part of that is worth."""

from __future__ import annotations

from typing import Any

from recommenders_miner.experiments.paper import PAIRED, beside_references, effects_of_parts
from recommenders_miner.experiments.runs import Variant
from recommenders_miner.experiments.study import METRIC_TITLES, Experiment, Made, Page, Study
from recommenders_miner.tables import markdown_table

WHOLE, BESIDE = "miner-plus", ("miner", "hierec", "nrms")


def parts(study: Study) -> dict[str, dict[str, Any]]:
    """Return what takes a part out, by the part's name: the context, the clicks' places, abstracts, and each view."""
    whole = Variant(WHOLE).hparams(study.scale, study.overrides)
    views = {view: [other for other in whole.views if other != view] for view in whole.views}
    return {
        "context": {"context": "none"},
        "places": {"history_positions": False},
        **({"abstracts": {"plm_texts": whole.plm_texts[:1]}} if len(whole.plm_texts) > 1 else {}),
        **{view: {"views": others} for view, others in views.items() if others},
    }


def _variants(study: Study) -> list[Variant]:
    without = (Variant(f"{WHOLE}-no-{part}", WHOLE, changes) for part, changes in parts(study).items())
    return [Variant(WHOLE), *map(Variant, BESIDE), *without]


def _page(study: Study, made: Made) -> Page:
    """Set the whole beside others, say what share of what can be known it reaches, and take its parts out."""
    shown = {name: made[name] for name in (WHOLE, *BESIDE) if name in made}
    comparison = beside_references(study, shown)
    auc = {row.model: row.metrics["group_auc"] for row in comparison.results}
    reached = ""
    if {"oracle", WHOLE} <= auc.keys():
        share = (auc[WHOLE] - 0.5) / (auc["oracle"] - 0.5)
        reached = f"Of the oracle's lead over chance, AUC less 50, {WHOLE} reaches {100 * share:.1f} %."
    taken_out = [(WHOLE, part, f"{WHOLE}-no-{part}") for part in parts(study)]
    effects, effect_rows, figure = effects_of_parts(study, made, taken_out, list(METRIC_TITLES))
    text = f"""
{study.settings} {reached}

{comparison.to_markdown(title=False)}

{PAIRED}

{markdown_table(["Taken out", *METRIC_TITLES.values()], effect_rows)}
"""
    results = {
        "rows": [row.to_json() for row in comparison.results],
        "differences": comparison.differences,
        "effects": effects,
    }
    return Page(
        "MINER-plus, and what its parts are worth", text, results, figure, "What taking out a part does to AUC."
    )


PLUS = {"plus": Experiment(_variants, _page)}
