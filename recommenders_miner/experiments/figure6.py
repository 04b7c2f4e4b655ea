"""Figure 6: which clicks each of K = 4 interests attends to, with the disagreement regulariser and without."""

from __future__ import annotations

from statistics import fmean

import numpy as np

from recommenders_miner.experiments.study import Experiment, Made, Page, Study, metric_of, over_seeds
from recommenders_miner.experiments.variants import Variant
from recommenders_miner.models import MINERModel
from recommenders_miner.plots.one_user import draw_attention_maps
from recommenders_miner.tables import markdown_table

NUM_INTERESTS = 4
PUBLISHED_WEIGHT = 0.8
HISTORY_LENGTHS = (10, 16)  # clicks that fit into a picture
VARIANTS = {
    label: Variant(name, "miner", {"num_interests": NUM_INTERESTS, "disagreement_weight": weight})
    for label, name, weight in (
        (f"with the regulariser, β = {PUBLISHED_WEIGHT}", "miner-k4-regularised", PUBLISHED_WEIGHT),
        ("without the regulariser", "miner-k4-free", 0.0),
    )
}


def _page(study: Study, made: Made) -> Page:
    """Compare how alike the interests of all dev users are with the regulariser and without."""
    log, news = study.runs.dev.log, study.runs.dev.news
    lengths, (shortest, longest) = log.histories.lengths, HISTORY_LENGTHS
    history = log.histories[int(np.flatnonzero((lengths >= shortest) & (lengths <= longest))[0])]
    maps: dict[str, np.ndarray] = {}
    cosines: dict[str, list[float]] = {}
    rows = []
    for label, variant in VARIANTS.items():
        runs = made[variant.name]
        models = [run.load() for run in runs]
        cosines[label] = [mean_pairwise_cosine(_interests_of(model, study)) for model in models]
        maps[label] = _attention_of(models[0], study, history)
        written = [f"{value:.3f}" for value in (fmean(cosines[label]), *cosines[label])]
        rows.append([label, *written, over_seeds(metric_of(runs, "group_auc"))])
    header = ["MINER", "Cosine", *(f"seed {seed}" for seed in study.seeds), "AUC, %"]
    text = f"""
The mean cosine of two different interests of a user, over all users of the dev split of {study.data_name}, for
MINER with K = {NUM_INTERESTS} interests (scale {study.scale}); before any candidate's category comes in (Eq. 1).

{markdown_table(header, rows)}
"""
    titles, categories = (column.take(history).to_pylist() for column in (news.title, news.category))
    return Page(
        "Figure 6: what the regulariser does to the interests",
        text,
        {"mean_pairwise_cosine": cosines, "attention": maps},
        draw_attention_maps(maps, titles, categories, news.category.to_pylist()[1:]),
        f"Attention of four interests over one user's clicks, seed {study.seeds[0]}.",
    )


def _interests_of(model: MINERModel, study: Study) -> np.ndarray:
    """Return the interests of Eq. 1 of every dev impression's user with a history, (I, K, d)."""
    interests = np.stack(list(model.run_user(*study.runs.dev_paths).values()))
    return interests[np.abs(interests).sum(axis=(1, 2)) > 0]


def mean_pairwise_cosine(interests: np.ndarray) -> float:
    """Average the cosine of two different interests of a user, over all pairs and users, of (R, K, d)."""
    unit = interests / np.linalg.norm(interests, axis=-1, keepdims=True)
    cosines = unit @ unit.swapaxes(1, 2)
    others = ~np.eye(interests.shape[1], dtype=bool)
    return float(cosines[:, others].mean())


def _attention_of(model: MINERModel, study: Study, history: np.ndarray) -> np.ndarray:
    """Return the attention weights (K, M) of a history, rows of the dev news."""
    model.set_news(study.runs.dev.news)
    vectors = model.encode_news(study.runs.dev.news.ids.take(history).to_pylist())["vector"]
    _, weights = model.userencoder.poly_attention(vectors[None], return_weights=True)
    return np.asarray(weights)[0]


EXPERIMENT = Experiment(lambda _: [*VARIANTS.values()], _page, need_all=True)
