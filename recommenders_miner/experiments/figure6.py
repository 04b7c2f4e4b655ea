"""Figure 6: which clicks each of K = 4 interests attends to, with the disagreement regulariser and without."""

from __future__ import annotations

from statistics import fmean

import numpy as np

from recommenders_miner.tables import markdown_table
from recommenders_miner.experiments.runs import Run
from recommenders_miner.experiments.study import Page, Study, Variant, over_seeds
from recommenders_miner.models import MINERModel
from recommenders_miner.plots.attention_maps import draw_attention_maps

TITLE = "Figure 6: what the regulariser does to the interests"

NUM_INTERESTS = 4
PUBLISHED_WEIGHT = 0.8
HISTORY_LENGTHS = (10, 16)  # clicks that fit into a picture
SIZES = {"num_interests": NUM_INTERESTS}
VARIANTS = {
    f"with the regulariser, β = {PUBLISHED_WEIGHT}": Variant(
        "miner-k4-regularised", "miner", {**SIZES, "disagreement_weight": PUBLISHED_WEIGHT}
    ),
    "without the regulariser": Variant("miner-k4-free", "miner", {**SIZES, "disagreement_weight": 0.0}),
}


def figure6(study: Study) -> Page:
    """Trains MINER with four interests twice, and compares how alike the interests of all dev readers are."""
    made = study.make(list(VARIANTS.values()), need_all=True)
    runs = {label: made[variant.name] for label, variant in VARIANTS.items()}
    history = _first_history(study)
    maps: dict[str, np.ndarray] = {}
    cosines: dict[str, list[float]] = {}
    for label, of_seeds in runs.items():
        models = [run.load() for run in of_seeds]
        cosines[label] = [mean_pairwise_cosine(interests_of(model, study)) for model in models]
        maps[label] = attention_of(models[0], study, history)
    rows = [
        [label, f"{fmean(cosines[label]):.3f}", *(f"{value:.3f}" for value in cosines[label]), _auc(runs[label])]
        for label in runs
    ]
    header = ["MINER", "Cosine", *(f"seed {seed}" for seed in study.seeds), "AUC, %"]
    text = f"""
The mean cosine of two different interests of a reader, over all readers of the dev split of {study.data_name}, for
MINER with K = {NUM_INTERESTS} interests (scale {study.scale}); before any candidate's category comes in (Eq. 1).

{markdown_table(header, rows)}
"""
    news = study.runs.dev.news
    figure = draw_attention_maps(
        maps,
        [news.title[row].as_py() for row in history.tolist()],
        [news.category[row].as_py() for row in history.tolist()],
        news.category.to_pylist()[1:],
    )
    results = {"mean_pairwise_cosine": cosines, "attention": maps}
    return Page(
        TITLE, text, results, figure, f"Attention of four interests over one reader's clicks, seed {study.seeds[0]}."
    )


def interests_of(model: MINERModel, study: Study) -> np.ndarray:
    """Returns the interests of Eq. 1 of every dev impression's reader with a history, (I, K, d)."""
    interests = np.stack(list(model.run_user(*study.runs.dev_paths).values()))
    return interests[np.abs(interests).sum(axis=(1, 2)) > 0]


def mean_pairwise_cosine(interests: np.ndarray) -> float:
    """Averages the cosine of two different interests of a reader, over all pairs and readers, of (R, K, d)."""
    unit = interests / np.linalg.norm(interests, axis=-1, keepdims=True)
    cosines = unit @ unit.swapaxes(1, 2)
    others = ~np.eye(interests.shape[1], dtype=bool)
    return float(cosines[:, others].mean())


def attention_of(model: MINERModel, study: Study, history: np.ndarray) -> np.ndarray:
    """Returns the attention weights (K, M) of a history, rows of the dev news."""
    model.set_news(study.runs.dev.news)
    vectors = model.encode_news(study.runs.dev.news.ids.take(history).to_pylist())["vector"]
    _, weights = model.userencoder.poly_attention(vectors[None], return_weights=True)
    return np.asarray(weights)[0]


def _first_history(study: Study) -> np.ndarray:
    """Returns the first history of the dev log that fits into a picture, rows of the dev news."""
    log = study.runs.dev.log
    lengths = log.histories.lengths
    shortest, longest = HISTORY_LENGTHS
    first = int(np.flatnonzero((lengths >= shortest) & (lengths <= longest))[0])
    return log.history(first)


def _auc(runs: list[Run]) -> str:
    return over_seeds([run.row.metrics["group_auc"] for run in runs])
