"""Figure 4: news recall, the share of clicked news among the top N of a large pool."""

from __future__ import annotations

from recommenders_miner.evaluation.metrics import evaluate_recall
from recommenders_miner.experiments.runs import Run
from recommenders_miner.experiments.study import Experiment, Made, Page, Study, over_seeds
from recommenders_miner.experiments.variants import Variant
from recommenders_miner.plots.charts import draw_curves
from recommenders_miner.progress import progress_bar
from recommenders_miner.retrieval.news_recall import NewsRecall
from recommenders_miner.tables import markdown_table

CUTOFFS = (10, 20, 50, 100, 200, 500)
VARIANTS = (
    Variant("miner-mean-no-category", "miner-mean", {"category_weighting": False}),
    *map(Variant, ("nrms", "lstur", "nrms-plm", "lstur-plm")),
)


def _page(study: Study, made: Made) -> Page:
    """Retrieve from all the dev news by MINER's mean interest vector, and by the user vectors of four others."""
    recalls: dict[str, list[dict[str, float]]] = {}
    with progress_bar("retrieval") as report:
        for place, (name, runs) in enumerate(made.items()):
            report(place / len(made), name)
            recalls[name] = [_recall_of(run, study) for run in runs]
    by_cutoff = {
        name: [[found[f"recall@{cutoff}"] for found in of_seeds] for cutoff in CUTOFFS]
        for name, of_seeds in recalls.items()
    }
    table = markdown_table(
        ["Recall of the top", *map(str, CUTOFFS)],
        [[name, *map(over_seeds, values)] for name, values in by_cutoff.items()],
    )
    pool = len(study.runs.dev.news) - 1
    text = f"""
{study.settings} The share of an impression's clicked news among the top N of all {pool:,} dev news but
those of the history, by the dot product with one user vector: of MINER the mean of its interests, without category
weighting.

{table}
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


def _recall_of(run: Run, study: Study) -> dict[str, float]:
    """Return the recall of a run's model on the dev log, by metric name."""
    model = run.load()
    data = model.read(*study.runs.dev_paths)
    rows, _ = NewsRecall(model, data, strategy="average").search(data.log, data.users, max(CUTOFFS))
    return evaluate_recall(rows, data.log, CUTOFFS).metrics


EXPERIMENT = Experiment(lambda _: VARIANTS, _page)
