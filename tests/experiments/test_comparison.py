"""A comparison as JSON, Markdown, table of the terminal and chart."""

import io
import json
import math

import matplotlib.image
import numpy as np
import pytest
from rich.console import Console

from recommenders_miner.evaluation.metrics import Evaluation
from recommenders_miner.experiments.compare import Comparison
from recommenders_miner.experiments.runs import REFERENCE_MODELS, ResultRow
from recommenders_miner.plots.charts import BEST, OTHERS

COSTS = {"train_seconds": 1234.56, "eval_seconds": 7.0, "samples_per_second": 321.4, "parameters": 109_482_240}
BEYOND = {"ild@10": 0.712, "novelty@10": 13.914, "calibration@10": 0.8112, "coverage@10": 0.87}


def row(model, auc, mrr=0.3, ndcg5=0.3, ndcg10=0.4, error=0.002, **costs):
    metrics = {"group_auc": auc, "mean_mrr": mrr, "ndcg@5": ndcg5, "ndcg@10": ndcg10}
    return ResultRow(model, metrics, dict.fromkeys(metrics, error), costs=costs)


@pytest.fixture
def comparison():
    rows = [
        row("random", 0.5001, 0.22, 0.229, 0.292),
        row("nrms", 0.6563, 0.3096, 0.34126, 0.4052, **COSTS | {"parameters": 12_345}),
        row("miner", 0.6961, 0.3397, 0.34134, 0.4390, error=0.0031, **COSTS),
        row("oracle", 0.801, 0.44, 0.5, 0.55),
    ]
    return Comparison("demo", 42, rows)


def test_results_json_has_the_documented_keys(tmp_path, comparison):
    comparison.write(tmp_path / "out")
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {f"results.{kind}" for kind in ("json", "md", "png", "svg")}
    document = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(document) == ["data", "seed", "results"]
    assert (document["data"], document["seed"]) == ("demo", 42)
    random, _, miner, _ = document["results"]
    metrics = {"group_auc": 0.6961, "mean_mrr": 0.3397, "ndcg@5": 0.34134, "ndcg@10": 0.4390}
    assert miner == {"model": "miner"} | metrics | COSTS | {"standard_errors": dict.fromkeys(metrics, 0.0031)}
    assert list(random) == list(miner)
    assert {key for key, value in random.items() if value is None} == set(COSTS)


def test_undefined_errors_are_left_out_so_that_json_holds(tmp_path):
    result = ResultRow.from_evaluation("nrms", Evaluation({"group_auc": 0.6}, {"group_auc": math.nan}, 1, 0))
    Comparison("demo", 1, [result]).write(tmp_path)
    (record,) = json.loads((tmp_path / "results.json").read_text())["results"]
    assert (record["standard_errors"], record["mean_mrr"]) == ({}, None)


# === Tables ===


def cells(markdown):
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def printed(comparison, width=80):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(comparison.render())
    text = console.export_text()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    return text


def test_markdown_is_in_percent_with_the_best_bold_and_references_last_in_italics(comparison):
    text = comparison.to_markdown()
    header, _, *rows = cells(text)
    assert header == ["Model", "AUC", "MRR", "nDCG@5", "nDCG@10", "Train s", "Eval s", "Samples per s", "Params"]
    assert rows == [
        ["nrms", "65.63", "30.96", "**34.13**", "40.52", "1,235", "7.0", "321", "12.3K"],
        ["miner", "**69.61**", "**33.97**", "**34.13**", "**43.90**", "1,235", "7.0", "321", "109.5M"],
        ["*random*", "*50.01*", "*22.00*", "*22.90*", "*29.20*", *["*-*"] * 4],
        ["*oracle*", "*80.10*", "*44.00*", "*50.00*", "*55.00*", *["*-*"] * 4],
    ]
    assert text.startswith("# Models on demo, seed 42\n")
    assert len({len(line) for line in text.splitlines() if line.startswith("|")}) == 1
    assert "standard error at most 0.31" in text
    assert "Beyond" not in text + printed(comparison)


def test_markdown_goes_without_a_heading_and_without_costs_that_nobody_knows(comparison):
    text = Comparison("demo", 42, [row("nrms", 0.6, parameters=12_345), comparison.results[0]]).to_markdown(title=False)
    assert text.startswith("| Model")
    assert cells(text)[0] == ["Model", "AUC", "MRR", "nDCG@5", "nDCG@10", "Params"]
    assert cells(text)[2][-1] == "12.3K"


def test_other_metrics_have_columns_of_their_own():
    results = [ResultRow("nrms", {"group_auc": 0.6, "ndcg@20": 0.5}), ResultRow("miner", {"group_auc": 0.7})]
    header, _, nrms, miner = cells(Comparison("demo", 1, results).to_markdown())
    assert header[:6] == ["Model", "AUC", "MRR", "nDCG@5", "nDCG@10", "nDCG@20"]
    assert nrms[:6] == ["nrms", "60.00", "-", "-", "-", "**50.00**"]
    assert miner[:6] == ["miner", "**70.00**", "-", "-", "-", "-"]


def test_second_table_has_what_lies_beyond_accuracy_and_nothing_bold(tmp_path, comparison):
    for result in comparison.results[:3]:
        result.metrics.update(BEYOND)
    comparison.write(tmp_path)
    assert BEYOND.items() <= json.loads((tmp_path / "results.json").read_text())["results"][1].items()
    accuracy, beyond = comparison.to_markdown().split("\n## Beyond accuracy\n")
    assert cells(accuracy)[0][:6] == ["Model", "AUC", "MRR", "nDCG@5", "nDCG@10", "Train s"]
    header, _, *rows = cells(beyond)
    assert header == ["Model", "Diversity@10", "Novelty@10", "Calibration@10", "Coverage@10"]
    figures = ["71.20", "13.91", "0.811", "87.00"]
    assert rows[:2] == [["nrms", *figures], ["miner", *figures]]
    assert rows[2:] == [["*random*", *(f"*{figure}*" for figure in figures)], ["*oracle*", *["*-*"] * 4]]
    assert "Bold" not in beyond


def test_further_tables_have_normative_diversity_and_exposure_and_say_what_was_read(comparison):
    figures = {"calibration_topic@10": 0.5123, "fragmentation@10": 0.7, "gini@10": 0.81, "cold_share@10": 0.25}
    comparison.results[1].metrics.update(figures)
    comparison.normative = {"calibration_topic": "category", "fragmentation": "story"}
    accuracy, normative = comparison.to_markdown().split("\n## Normative diversity\n")
    normative, exposure = normative.split("\n## Exposure\n")
    assert "Topics" not in accuracy
    assert "(topics by category, fragmentation by story)" in normative
    assert cells(normative)[0] == ["Model", "Topics@10", "Fragmentation@10"]
    assert cells(normative)[2][1:] == ["0.512", "0.700"]
    assert cells(exposure)[0] == ["Model", "Gini@10", "Cold@10"]
    assert cells(exposure)[2][1:] == ["0.810", "25.00"]
    assert "0.512" in printed(comparison)


def test_the_terminal_shows_every_figure_in_80_columns(comparison):
    comparison.results.append(row("history-oracle", 0.774, 0.41, 0.47, 0.52))
    text = printed(comparison)
    for figure in ("history-oracle", "65.63", "34.13", "43.90", "1,235", "109.5M", "Samples"):
        assert figure in text
    names = [*comparison.results[1].metrics, *BEYOND, "cold_auc"]
    rows = [
        ResultRow.mean([ResultRow(r.model, dict.fromkeys(names, value), costs=COSTS) for value in (0.6, 0.61)])
        for r in comparison.results[:4]
    ]
    text = printed(Comparison("demo", 42, [*rows, ResultRow("history-oracle", dict.fromkeys(names, 0.7))], 2))
    # The spread of 0.6 and 0.61, each in one piece, for 4 models: 7 metrics in percent, novelty and calibration.
    assert (text.count("±0.71"), text.count("±0.01 "), text.count("±0.007")) == (4 * 7, 4, 4)


def test_brackets_in_names_are_not_taken_for_markup():
    text = printed(Comparison("data[red]", 1, [row("miner[bold]", 0.6)]), width=120)
    assert "data[red]" in text
    assert "miner[bold]" in text


# === Chart ===


def drawn(path):
    """The chart as (height, width, 3) colours from 0 to 1."""
    return matplotlib.image.imread(path)[..., :3]


def has_colour(image, colour):
    wanted = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return (np.abs(image - wanted) < 0.01).all(axis=-1).sum() > 100


def test_chart_grows_with_the_models_and_draws_the_best_in_its_own_colour(tmp_path, comparison):
    from matplotlib import pyplot

    state = pyplot.get_backend(), pyplot.get_fignums()
    comparison.write(tmp_path / "two")
    comparison.results += [row(f"model-{i}", 0.6 + i / 100) for i in range(6)]
    comparison.write(tmp_path / "eight")
    two, eight = drawn(tmp_path / "two" / "results.png"), drawn(tmp_path / "eight" / "results.png")
    assert two.shape[1] == eight.shape[1] == 1200
    assert eight.shape[0] > two.shape[0] + 200
    assert has_colour(two, BEST)
    assert has_colour(two, OTHERS)
    assert (pyplot.get_backend(), pyplot.get_fignums()) == state, "no global state of matplotlib is touched"


@pytest.mark.parametrize("models", [[], ["nrms"], ["random"], list(REFERENCE_MODELS)])
def test_any_set_of_models_can_be_written(tmp_path, models):
    rows = [row(name, 0.6) for name in models] + [ResultRow("no-auc", {"mean_mrr": 0.3})] * bool(models)
    Comparison("demo", 1, rows).write(tmp_path)
    assert drawn(tmp_path / "results.png").shape[1] == 1200
    written = json.loads((tmp_path / "results.json").read_text())["results"]
    assert [record["model"] for record in written] == [row.model for row in rows]
