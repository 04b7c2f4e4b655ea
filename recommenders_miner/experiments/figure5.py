"""Figure 5: one impression, the top 3 of NRMS over a language model beside those of MINER."""

from __future__ import annotations

import numpy as np

from recommenders_miner.evaluation.metrics import rank_candidates
from recommenders_miner.tables import markdown_table
from recommenders_miner.experiments.runs import DevLog
from recommenders_miner.experiments.study import Page, Study, Variant
from recommenders_miner.plots.case_study import Shown, draw_case_study

TITLE = "Figure 5: a case study"

SYSTEMS = ("nrms-plm", "miner")
TOP = 3
HISTORY_LENGTHS = (5, 10)  # clicks that fit into a picture
FEWEST_CATEGORIES, FEWEST_CANDIDATES = 3, 10


def figure5(study: Study) -> Page:
    """Shows a reader whose click MINER has among its top 3 and NRMS has not, and counts these and the reverse."""
    made = study.make([Variant(name) for name in SYSTEMS], need_all=True)
    dev = study.runs.dev
    ranks = {name: rank_candidates(made[name][0].scores, dev.log.candidates.offsets) for name in made}
    hits = {name: _has_click_on_top(ranks[name], dev) for name in ranks}
    nrms, miner = (hits[name] for name in SYSTEMS)
    fitting = np.flatnonzero(miner & ~nrms & _fits(dev))
    counts = {
        "miner_alone": int((miner & ~nrms).sum()),
        "nrms_alone": int((nrms & ~miner).sum()),
        "impressions": len(nrms),
    }
    shortest, longest = HISTORY_LENGTHS
    rule = f"""
A clicked news is among the top {TOP} of MINER, and none among the top {TOP} of NRMS over the same language model, in
{counts["miner_alone"]:,} of the {counts["impressions"]:,} impressions of {study.data_name} (seed {study.seeds[0]}); the
reverse in {counts["nrms_alone"]:,}. The first of these with a history of {shortest} to {longest} clicks in at least
{FEWEST_CATEGORIES} categories, and with at least {FEWEST_CANDIDATES} candidates:"""
    if not len(fitting):
        return Page(TITLE, f"{rule} there is none.", counts)
    impression = int(fitting[0])
    shown = {name: _top_of(ranks[name], impression, dev) for name in SYSTEMS}
    history = _news(dev.log.history(dev.log.history_of[impression]), dev)
    places = zip(*(map(_cell, shown[name]) for name in SYSTEMS), strict=True)
    rows = [[str(place), *cells] for place, cells in enumerate(places, start=1)]
    number = int(dev.log.impression_id[impression])
    text = f"{rule} impression {number}.\n\n{markdown_table(['Top', *SYSTEMS], rows)}"
    figure = draw_case_study(history, shown, dev.news.category.to_pylist()[1:])
    results = {"impression": number, **counts, "history": history, "top": shown}
    return Page(TITLE, text, results, figure, "A reader's history, and what two systems put on top; ✓ marks the click.")


def _has_click_on_top(ranks: np.ndarray, dev: DevLog) -> np.ndarray:
    """Says of each impression whether a clicked candidate is among the top, (I,) bool."""
    return np.add.reduceat((ranks <= TOP) & (dev.log.labels == 1), dev.log.candidates.offsets[:-1]) > 0


def _fits(dev: DevLog) -> np.ndarray:
    """Says of each impression whether it makes a readable picture of a reader with several interests, (I,) bool."""
    lengths = dev.log.histories.lengths
    category = np.asarray(dev.news.category.dictionary_encode().indices)[dev.log.histories.values]
    pairs = np.unique(np.stack([np.repeat(np.arange(len(lengths)), lengths), category]), axis=1)
    num_categories = np.bincount(pairs[0], minlength=len(lengths))
    shortest, longest = HISTORY_LENGTHS
    fits = (lengths >= shortest) & (lengths <= longest) & (num_categories >= FEWEST_CATEGORIES)
    return fits[dev.log.history_of] & (dev.log.candidates.lengths >= FEWEST_CANDIDATES)


def _top_of(ranks: np.ndarray, impression: int, dev: DevLog) -> list[Shown]:
    """Returns the first candidates of an impression, best first."""
    slots = np.arange(dev.log.candidates.offsets[impression], dev.log.candidates.offsets[impression + 1])
    best = slots[np.argsort(ranks[slots])[:TOP]]
    return _news(dev.log.candidates.values[best], dev, dev.log.labels[best] == 1)


def _news(rows: np.ndarray, dev: DevLog, clicked: np.ndarray | None = None) -> list[Shown]:
    marks = np.zeros(len(rows), bool) if clicked is None else clicked
    return [
        Shown(dev.news.category[row].as_py(), dev.news.title[row].as_py(), bool(mark))
        for row, mark in zip(rows.tolist(), marks, strict=True)
    ]


def _cell(news: Shown) -> str:
    return f"{'✓ ' if news.clicked else ''}{news.title} ({news.category})"
