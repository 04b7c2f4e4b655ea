"""The tables and figures of the MINER paper: for each, the models to train, and the page made of their runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import spearmanr

from recommenders_miner.data.ragged import Ragged
from recommenders_miner.errors import DataFormatError
from recommenders_miner.evaluation.metrics import evaluate_recall, rank_candidates
from recommenders_miner.experiments.compare import Comparison, reference_rows
from recommenders_miner.experiments.dev_log import DevLog
from recommenders_miner.experiments.differences import differences_to_best, paired_difference
from recommenders_miner.experiments.runs import PUBLISHED, TABLE_2, ResultRow, Variant
from recommenders_miner.experiments.study import (
    METRIC_TITLES,
    Experiment,
    Made,
    Page,
    Study,
    metric_of,
    over_seeds,
    table_beside_paper,
)
from recommenders_miner.plots.charts import draw_curves, draw_effects, draw_models
from recommenders_miner.plots.one_user import Shown, draw_attention_maps, draw_case_study
from recommenders_miner.progress import progress_bar
from recommenders_miner.retrieval.news_recall import NewsRecall
from recommenders_miner.tables import markdown_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# === Table 2: MINER beside all the models that it is compared with ===


def beside_references(study: Study, made: Made) -> Comparison:
    """Return the models' means over the seeds, behind them what needs no training, and the differences to the best."""
    rows = [ResultRow.mean([run.row for run in runs]) for runs in made.values()]
    # Runs of a reproduction may have been stopped, or made beside other work: their times say nothing.
    rows = [replace(row, costs={"parameters": row.costs["parameters"]}) for row in rows]
    rows += reference_rows(study.runs.dev, study.seeds, study.miner.horizon)
    differences = differences_to_best(made, study.runs.dev.log)
    return Comparison(study.data_name, study.seeds[0], rows, len(study.seeds), differences)


def _table2(study: Study, made: Made) -> Page:
    """Set the metrics of every model beside the paper's."""
    paper = PUBLISHED["table2"][study.size]
    comparison = beside_references(study, made)
    aucs = {name: metric_of(runs, "group_auc") for name, runs in made.items()}
    here, there = [fmean(values) for values in aucs.values()], [paper[name][0] for name in aucs]
    correlation = spearmanr(here, there).statistic if len(made) > 1 else None
    alike = f" Spearman's correlation of the two columns of AUC is {correlation:.2f}." if len(made) > 1 else ""
    text = f"""
{study.settings} Beside each, what the paper reports on {study.reported_on}.{alike}

{table_beside_paper(made, paper, list(METRIC_TITLES))}

The same runs with floors, ceilings, and among news that training never saw (Cold AUC):

{comparison.to_markdown(title=False)}
"""
    figure = draw_models(
        list(aucs),
        here=[100 * auc for auc in here],
        here_errors=[100 * stdev(values) if len(values) > 1 else 0.0 for values in aucs.values()],
        paper=there,
        here_title=study.data_name,
        lines={row.model: 100 * row.metrics["group_auc"] for row in comparison.results if row.model not in made},
    )
    whiskers = " (whiskers: standard deviation over seeds)" if len(study.seeds) > 1 else ""
    return Page(
        "Table 2: all models",
        text,
        {
            "rows": [row.to_json() for row in comparison.results],
            "differences": comparison.differences,
            "spearman": correlation,
            "paper": paper,
        },
        figure,
        f"AUC of all models, on {study.data_name}{whiskers} and as the paper reports it.",
    )


# === Table 3: what each part of MINER is worth, with the language model and without, beside HieRec ===

PARTS = {"disagreement": {"disagreement_weight": 0.0}, "category": {"category_weighting": False}}
"""What takes a part out, by the part's name."""

BASES = ("miner", "miner-knowledge")
"""MINER over a language model, and over words and entities."""

CONCATENATED = {"category_weighting": False, "category_concatenated": True}
"""What the paper's footnote 4 tries instead of weighting by category."""

TABLE_3 = [
    *map(Variant, BASES),
    *(Variant(f"{base}-no-{part}", base, changes) for base in BASES for part, changes in PARTS.items()),
    Variant("miner-category-concatenated", "miner", CONCATENATED),
    Variant("hierec"),
]


PAIRED = """
What taking a part out changes, in points, ± the standard error of the difference, paired over the same impressions and
seeds:
""".strip()


def effects_of_parts(
    study: Study, made: Made, taken_out: Sequence[tuple[str, str, str]], metrics: Sequence[str]
) -> tuple[list[dict[str, Any]], list[list[str]], Figure]:
    """Measure on the same impressions what taking out parts does.

    Args:
        study: the study.
        made: its runs.
        taken_out: names of a model, of a part, and of the model without it; passed over where either was not made.
        metrics: those to write down.

    Returns:
        The effects, the rows of a table of them, and a picture.
    """
    effects, rows = [], []
    for base, part, without in taken_out:
        if {base, without} <= made.keys():
            log = study.runs.dev.log
            effect = {name: paired_difference(made[without], made[base], log, name) for name in METRIC_TITLES}
            effects.append({"base": base, "part": part, "without": without} | effect)
            cells = (f"{100 * effect[metric][0]:+.2f} ± {100 * effect[metric][1]:.2f}" for metric in metrics)
            rows.append([f"{base}, without {part}", *cells])
    figure = draw_effects(
        [f"{effect['base']}\nwithout {effect['part']}" for effect in effects],
        [100 * effect["group_auc"][0] for effect in effects],
        [100 * effect["group_auc"][1] for effect in effects],
        xlabel="change of AUC, points (whiskers: two standard errors)",
        title="What taking out a part of MINER does",
    )
    return effects, rows, figure


def _table3(study: Study, made: Made) -> Page:
    """Measure on the same impressions what taking out a part does."""
    metrics = [name for name in METRIC_TITLES if name != "ndcg@5"]  # the paper leaves it out here
    reported = PUBLISHED["table3"]
    taken_out = [(base, part, f"{base}-no-{part}") for base in BASES for part in PARTS]
    effects, rows, figure = effects_of_parts(study, made, taken_out, metrics)
    for row, effect in zip(rows, effects, strict=True):
        row.append(f"{reported[effect['without']][0] - reported[effect['base']][0]:+.2f}")
    text = f"""
{study.settings} Beside each, what the paper reports on MIND-small.
`disagreement` is the regulariser, with β = {study.miner.disagreement_weight:g} on this scale; `category` the
category-aware attention weighting; `category-concatenated` has category embeddings beside the news vectors instead: it
does worse, says a footnote of the paper without figures.

{table_beside_paper(made, reported, metrics)}

{PAIRED}

{markdown_table(["Taken out", *(METRIC_TITLES[name] for name in metrics), "AUC, paper"], rows)}
"""
    rows_of = {name: [run.row.to_json() for run in runs] for name, runs in made.items()}
    return Page(
        "Table 3: what the parts of MINER are worth",
        text,
        {"rows": rows_of, "effects": effects, "paper": reported},
        figure,
        "What taking out a part of MINER does to AUC; left of the line it costs.",
    )


# === Figure 3: accuracy against the number K of interest vectors ===

NUM_INTERESTS = (1, 2, 4, 8, 16, 32, 48, 64)


def _by_interests(study: Study) -> list[Variant]:
    """Return MINER with each K; the usual K is MINER itself."""
    usual = study.miner.num_interests
    return [Variant("miner" if k == usual else f"miner-k{k}", "miner", {"num_interests": k}) for k in NUM_INTERESTS]


def _figure3(study: Study, made: Made) -> Page:
    metrics, paper = ("group_auc", "ndcg@10"), PUBLISHED["figure3"]
    found = {
        variant.changes["num_interests"]: {metric: metric_of(made[variant.name], metric) for metric in metrics}
        for variant in _by_interests(study)
        if variant.name in made
    }
    rows = [
        [str(k), *(over_seeds(values[metric]) for metric in metrics), f"{paper[k]:.2f}" if k in paper else ""]
        for k, values in found.items()
    ]
    table = markdown_table(["K", *(METRIC_TITLES[metric] for metric in metrics), "AUC, paper"], rows)
    curves = [
        (METRIC_TITLES[metric], list(found), [[100 * v for v in values[metric]] for values in found.values()])
        for metric in metrics
    ]
    return Page(
        "Figure 3: how many interests",
        f"{study.settings} The paper's text gives two points of its curve, on MIND-small.\n\n{table}",
        {"by_k": found, "paper": paper},
        draw_curves(curves, "Accuracy by the number of interests", "interest vectors K", "%", panels=True),
        "AUC and nDCG@10 of MINER by the number of interests (bands: standard deviation over seeds).",
    )


# === Figure 4: news recall, the share of clicked news among the top N of a large pool ===

CUTOFFS = (10, 20, 50, 100, 200, 500)
FIGURE_4 = (
    Variant("miner-mean-no-category", "miner-mean", {"category_weighting": False}),
    *map(Variant, ("nrms", "lstur", "nrms-plm", "lstur-plm")),
)


def _figure4(study: Study, made: Made) -> Page:
    """Retrieve from all the dev news by MINER's mean interest vector, and by the user vectors of four others."""
    recalls: dict[str, list[dict[str, float]]] = {}
    with progress_bar("retrieval") as report:
        for place, (name, runs) in enumerate(made.items()):
            report(place / len(made), name)
            recalls[name] = []
            for model in (run.load() for run in runs):
                data = model.read(*study.runs.dev_paths, study.runs.on_error)
                rows, _ = NewsRecall(model, data, strategy="average").search(data.log, data.users, max(CUTOFFS))
                recalls[name].append(evaluate_recall(rows, data.log, CUTOFFS).metrics)
    by_cutoff = {
        name: [[found[f"recall@{cutoff}"] for found in of_seeds] for cutoff in CUTOFFS]
        for name, of_seeds in recalls.items()
    }
    rows = [[name, *map(over_seeds, values)] for name, values in by_cutoff.items()]
    pool = len(study.runs.dev.news) - 1
    text = f"""
{study.settings} The share of an impression's clicked news among the top N of all {pool:,} dev news but
those of the history, by the dot product with one user vector: of MINER the mean of its interests, without category
weighting.

{markdown_table(["Recall of the top", *map(str, CUTOFFS)], rows)}
"""
    curves = [(name, CUTOFFS, [[100 * v for v in seeds] for seeds in values]) for name, values in by_cutoff.items()]
    title = f"News recall from a pool of {pool:,}"
    return Page(
        "Figure 4: news recall",
        text,
        {"pool": pool, "recall": recalls},
        draw_curves(curves, title, xlabel="top N of the pool", ylabel="clicked news among them, %"),
        "Share of the clicked news among the top N of all dev news (bands: standard deviation over seeds).",
    )


# === Figure 5: one impression, the top 3 of NRMS over a language model beside those of MINER ===

CASE_MODELS, TOP = ("nrms-plm", "miner"), 3
CASE_HISTORY = (5, 10)  # clicks that fit into a picture
FEWEST_CATEGORIES, FEWEST_CANDIDATES = 3, 10


def _figure5(study: Study, made: Made) -> Page:
    """Show a user whose click MINER has among its top 3 and NRMS has not, and count these and the reverse."""
    dev, log, title = study.runs.dev, study.runs.dev.log, "Figure 5: a case study"
    ranks = {name: rank_candidates(Ragged(made[name][0].scores, log.candidates.offsets)) for name in CASE_MODELS}
    nrms, miner = (log.candidates.sums((of <= TOP) & (log.labels == 1)) > 0 for of in ranks.values())
    fitting = np.flatnonzero(miner & ~nrms & _fits(dev))
    counts = {
        "miner_alone": int((miner & ~nrms).sum()),
        "nrms_alone": int((nrms & ~miner).sum()),
        "impressions": len(nrms),
    }
    shortest, longest = CASE_HISTORY
    rule = f"""
A clicked article is among the top {TOP} of MINER, and none among the top {TOP} of NRMS over the same language model, in
{counts["miner_alone"]:,} of the {counts["impressions"]:,} impressions of {study.data_name} (seed {study.seeds[0]}); the
reverse in {counts["nrms_alone"]:,}. The first of these with a history of {shortest} to {longest} clicks in at least
{FEWEST_CATEGORIES} categories, and with at least {FEWEST_CANDIDATES} candidates:"""
    if not len(fitting):
        return Page(title, f"{rule} there is none.", counts)
    impression = int(fitting[0])
    places = np.arange(*log.candidates.offsets[impression : impression + 2])
    top = {name: places[np.argsort(of[places])[:TOP]] for name, of in ranks.items()}
    shown = {name: _articles(log.candidates.values[best], dev, log.labels[best] == 1) for name, best in top.items()}
    history = _articles(log.histories[log.history_of[impression]], dev)
    cells = [
        [f"{'✓ ' if article.clicked else ''}{article.title} ({article.category})" for article in articles]
        for articles in shown.values()
    ]
    rows = [[str(place), *row] for place, row in enumerate(zip(*cells, strict=True), start=1)]
    number = int(log.impression_id[impression])
    text = f"{rule} impression {number}.\n\n{markdown_table(['Top', *CASE_MODELS], rows)}"
    figure = draw_case_study(history, shown, dev.news.category.to_pylist()[1:])
    results = {"impression": number, **counts, "history": history, "top": shown}
    return Page(title, text, results, figure, "A user's history, and what two models put on top; ✓ marks the click.")


def _fits(dev: DevLog) -> np.ndarray:
    """Say of each impression whether it makes a readable picture of a user with several interests, (I,) bool."""
    histories = dev.log.histories
    category = dev.news.labels["category"][1][histories.values]
    pairs = np.unique(np.stack([histories.rows(), category]), axis=1)
    num_categories = np.bincount(pairs[0], minlength=len(histories))
    shortest, longest = CASE_HISTORY
    fits = (histories.lengths >= shortest) & (histories.lengths <= longest) & (num_categories >= FEWEST_CATEGORIES)
    return fits[dev.log.history_of] & (dev.log.candidates.lengths >= FEWEST_CANDIDATES)


def _articles(rows: np.ndarray, dev: DevLog, clicked: np.ndarray | None = None) -> list[Shown]:
    marks = np.zeros(len(rows), bool) if clicked is None else clicked
    columns = (column.take(rows).to_pylist() for column in (dev.news.category, dev.news.title))
    return [Shown(*article) for article in zip(*columns, marks.tolist(), strict=True)]


# === Figure 6: which clicks each of K = 4 interests attends to, with the disagreement regulariser and without ===

MAP_INTERESTS, MAP_WEIGHT = 4, 0.8
MAP_HISTORY = (10, 16)  # clicks that fit into a picture
FIGURE_6 = {
    label: Variant(name, "miner", {"num_interests": MAP_INTERESTS, "disagreement_weight": weight})
    for label, name, weight in (
        (f"with the regulariser, β = {MAP_WEIGHT}", "miner-k4-regularised", MAP_WEIGHT),
        ("without the regulariser", "miner-k4-free", 0.0),
    )
}


def _figure6(study: Study, made: Made) -> Page:
    """Compare how alike the interests of all dev users are with the regulariser and without."""
    log, news = study.runs.dev.log, study.runs.dev.news
    lengths, (shortest, longest) = log.histories.lengths, MAP_HISTORY
    fitting = np.flatnonzero((lengths >= shortest) & (lengths <= longest))
    if not len(fitting):
        raise DataFormatError(log.path, f"figure6 shows a history of {shortest} to {longest} clicks: there is none.")
    history = log.histories[int(fitting[0])]
    maps: dict[str, np.ndarray] = {}  # attention (K, M) of one history
    cosines: dict[str, list[float]] = {}
    rows = []
    for label, variant in FIGURE_6.items():
        models = [run.load() for run in made[variant.name]]
        # The interests of Eq. 1 of every dev impression's user, (I, K, d).
        interests = [
            np.stack(list(model.run_user(*study.runs.dev_paths, study.runs.on_error).values())) for model in models
        ]
        cosines[label] = [mean_pairwise_cosine(of[np.abs(of).sum(axis=(1, 2)) > 0]) for of in interests]
        models[0].set_news(news)
        clicked = models[0].encode_news(news.ids.take(history).to_pylist())["vector"][None]
        keys = models[0].userencoder.keys({"vector": clicked}, np.ones(clicked.shape[:2], bool))
        attention = models[0].userencoder.poly_attention(clicked, keys=keys, return_weights=True)[1]
        maps[label] = np.asarray(attention)[0]
        written = [f"{value:.3f}" for value in (fmean(cosines[label]), *cosines[label])]
        rows.append([label, *written, over_seeds(metric_of(made[variant.name], "group_auc"))])
    header = ["MINER", "Cosine", *(f"seed {seed}" for seed in study.seeds), "AUC, %"]
    text = f"""
The mean cosine of two different interests of a user, over all users of the dev split of {study.data_name}, for
MINER with K = {MAP_INTERESTS} interests (scale {study.scale}); before any candidate's category comes in (Eq. 1).

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


def mean_pairwise_cosine(interests: np.ndarray) -> float:
    """Average the cosine of two different interests of a user, over all pairs and users, of (R, K, d)."""
    unit = interests / np.linalg.norm(interests, axis=-1, keepdims=True)
    cosines = unit @ unit.swapaxes(1, 2)
    others = ~np.eye(interests.shape[1], dtype=bool)
    return float(cosines[:, others].mean())


PAPER: dict[str, Experiment] = {
    "table2": Experiment(lambda _: [*map(Variant, TABLE_2)], _table2),
    "table3": Experiment(lambda _: TABLE_3, _table3),
    "figure3": Experiment(_by_interests, _figure3),
    "figure4": Experiment(lambda _: FIGURE_4, _figure4),
    "figure5": Experiment(lambda _: [*map(Variant, CASE_MODELS)], _figure5, need_all=True),
    "figure6": Experiment(lambda _: [*FIGURE_6.values()], _figure6, need_all=True),
}
