"""`reproduce plus`: MINER with what its paper leaves out, and what each part of that is worth."""

from __future__ import annotations

from typing import Any

from recommenders_miner.errors import HParamsError
from recommenders_miner.experiments.differences import paired_difference
from recommenders_miner.experiments.paper import PAIRED, beside_references, effects_of_parts
from recommenders_miner.experiments.runs import Variant
from recommenders_miner.experiments.study import METRIC_TITLES, Experiment, Made, Page, Study
from recommenders_miner.hparams import HParams
from recommenders_miner.tables import markdown_table

WHOLE, ENCODER, BESIDE = "miner-plus", "miner-joined", ("hierec", "nrms", "miner")
_OF_ENCODER = ("news_encoder", "views", "plm_texts", "text_size", "vert_emb_dim", "subvert_emb_dim")
"""What makes of MINER `ENCODER`: the hyperparameters of MINER-plus's news encoder, everything else as before."""


def parts(study: Study) -> dict[str, dict[str, Any]]:
    """Return what takes a part out, by the part's name: the context, the clicks' places, abstracts, and each view.

    Raises:
        HParamsError: the news encoder has no views.
    """
    whole = _whole(study)
    if whole.news_encoder != "joined":
        raise HParamsError(f"{WHOLE}: plus takes apart news_encoder joined, not {whole.news_encoder}.")
    views = {view: [other for other in whole.views if other != view] for view in whole.views}
    return {
        "context": {"context": "none"},
        "places": {"history_positions": False},
        **({"abstracts": {"plm_texts": whole.plm_texts[:1]}} if len(whole.plm_texts) > 1 else {}),
        **{view: {"views": others} for view, others in views.items() if others},
    }


def _whole(study: Study) -> HParams:
    return Variant(WHOLE).hparams(study.scale, study.overrides)


def _variants(study: Study) -> list[Variant]:
    without = (Variant(f"{WHOLE}-no-{part}", WHOLE, changes) for part, changes in parts(study).items())
    encoder = Variant(ENCODER, "miner", {name: getattr(_whole(study), name) for name in _OF_ENCODER})
    return [Variant(WHOLE), encoder, *map(Variant, BESIDE), *without]


def _page(study: Study, made: Made) -> Page:
    """Set the whole beside others, say what share of what can be known it reaches, and take its parts out."""
    shown = {name: made[name] for name in (WHOLE, ENCODER, *BESIDE) if name in made}
    comparison = beside_references(study, shown)
    auc = {row.model: row.metrics["group_auc"] for row in comparison.results}
    reached = ""
    if {"oracle", WHOLE} <= auc.keys():
        share = (auc[WHOLE] - 0.5) / (auc["oracle"] - 0.5)
        reached = f"Of the oracle's lead over chance, AUC less 50, {WHOLE} reaches {100 * share:.1f} %."
    pairs = [(one, other) for one in (WHOLE, ENCODER) for other in BESIDE if {one, other} <= made.keys()]
    log = study.runs.dev.log
    leads = {
        f"{one} less {other}": {name: paired_difference(made[one], made[other], log, name) for name in METRIC_TITLES}
        for one, other in pairs
    }
    lead_rows = [
        [pair, *(f"{100 * lead.mean:+.2f} ± {100 * lead.error:.2f}" for lead in by_metric.values())]
        for pair, by_metric in leads.items()
    ]
    taken_out = [(WHOLE, part, f"{WHOLE}-no-{part}") for part in parts(study)]
    effects, effect_rows, figure = effects_of_parts(study, made, taken_out, list(METRIC_TITLES))
    text = f"""
{study.settings} `{ENCODER}` is MINER with MINER-plus's news encoder, and nothing else changed. {reached}

{comparison.to_markdown(title=False)}

How far each is ahead, in points, ± the standard error, paired over the same impressions and seeds:

{markdown_table(["Lead", *METRIC_TITLES.values()], lead_rows)}

{PAIRED}

{markdown_table(["Taken out", *METRIC_TITLES.values()], effect_rows)}
"""
    results = {
        "rows": [row.to_json() for row in comparison.results],
        "differences": comparison.differences,
        "leads": leads,
        "effects": effects,
    }
    return Page(
        "MINER-plus, and what its parts are worth", text, results, figure, "What taking out a part does to AUC."
    )


PLUS = {"plus": Experiment(_variants, _page)}
