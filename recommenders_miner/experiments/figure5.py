"""Figure 5: one impression, the top 3 of NRMS over a language model beside those of MINER."""

from __future__ import annotations

import numpy as np

from recommenders_miner.data.ragged import Ragged
from recommenders_miner.evaluation.metrics import rank_candidates
from recommenders_miner.experiments.runs import DevLog
from recommenders_miner.experiments.study import Experiment, Made, Page, Study
from recommenders_miner.experiments.variants import Variant
from recommenders_miner.plots.one_user import Shown, draw_case_study
from recommenders_miner.tables import markdown_table

TITLE = "Figure 5: a case study"

MODELS = ("nrms-plm", "miner")
TOP = 3
HISTORY_LENGTHS = (5, 10)  # clicks that fit into a picture
FEWEST_CATEGORIES, FEWEST_CANDIDATES = 3, 10


def _page(study: Study, made: Made) -> Page:
    """Show a user whose click MINER has among its top 3 and NRMS has not, and count these and the reverse."""
    dev = study.runs.dev
    log = dev.log
    ranks = {name: rank_candidates(Ragged(made[name][0].scores, log.candidates.offsets)) for name in MODELS}
    nrms, miner = (log.candidates.sums((of <= TOP) & (log.labels == 1)) > 0 for of in ranks.values())
    fitting = np.flatnonzero(miner & ~nrms & _fits(dev))
    counts = {
        "miner_alone": int((miner & ~nrms).sum()),
        "nrms_alone": int((nrms & ~miner).sum()),
        "impressions": len(nrms),
    }
    shortest, longest = HISTORY_LENGTHS
    rule = f"""
A clicked article is among the top {TOP} of MINER, and none among the top {TOP} of NRMS over the same language model, in
{counts["miner_alone"]:,} of the {counts["impressions"]:,} impressions of {study.data_name} (seed {study.seeds[0]}); the
reverse in {counts["nrms_alone"]:,}. The first of these with a history of {shortest} to {longest} clicks in at least
{FEWEST_CATEGORIES} categories, and with at least {FEWEST_CANDIDATES} candidates:"""
    if not len(fitting):
        return Page(TITLE, f"{rule} there is none.", counts)
    impression = int(fitting[0])
    shown = {name: _top_of(ranks[name], impression, dev) for name in MODELS}
    history = _articles(log.histories[log.history_of[impression]], dev)
    places = zip(*(map(_cell, shown[name]) for name in MODELS), strict=True)
    rows = [[str(place), *cells] for place, cells in enumerate(places, start=1)]
    number = int(log.impression_id[impression])
    text = f"{rule} impression {number}.\n\n{markdown_table(['Top', *MODELS], rows)}"
    figure = draw_case_study(history, shown, dev.news.category.to_pylist()[1:])
    results = {"impression": number, **counts, "history": history, "top": shown}
    return Page(TITLE, text, results, figure, "A user's history, and what two models put on top; ✓ marks the click.")


def _fits(dev: DevLog) -> np.ndarray:
    """Say of each impression whether it makes a readable picture of a user with several interests, (I,) bool."""
    histories = dev.log.histories
    category = np.asarray(dev.news.category.dictionary_encode().indices)[histories.values]
    pairs = np.unique(np.stack([histories.rows(), category]), axis=1)
    num_categories = np.bincount(pairs[0], minlength=len(histories))
    shortest, longest = HISTORY_LENGTHS
    fits = (histories.lengths >= shortest) & (histories.lengths <= longest) & (num_categories >= FEWEST_CATEGORIES)
    return fits[dev.log.history_of] & (dev.log.candidates.lengths >= FEWEST_CANDIDATES)


def _top_of(ranks: np.ndarray, impression: int, dev: DevLog) -> list[Shown]:
    """Return the first candidates of an impression, best first."""
    slots = dev.log.candidates.places(np.array([impression])).values
    best = slots[np.argsort(ranks[slots])[:TOP]]
    return _articles(dev.log.candidates.values[best], dev, dev.log.labels[best] == 1)


def _articles(rows: np.ndarray, dev: DevLog, clicked: np.ndarray | None = None) -> list[Shown]:
    marks = np.zeros(len(rows), bool) if clicked is None else clicked
    return [
        Shown(dev.news.category[row].as_py(), dev.news.title[row].as_py(), bool(mark))
        for row, mark in zip(rows.tolist(), marks, strict=True)
    ]


def _cell(article: Shown) -> str:
    return f"{'✓ ' if article.clicked else ''}{article.title} ({article.category})"


EXPERIMENT = Experiment(lambda _: [*map(Variant, MODELS)], _page, need_all=True)
