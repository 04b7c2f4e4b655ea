"""The price list of a policy: its figures by hand, what is written, and the command."""

import json
import math
from statistics import fmean, stdev

import numpy as np
import pytest
from typer.testing import CliRunner

from recommenders_miner.cli import app
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.evaluation.metrics import evaluate_scores
from recommenders_miner.experiments.tradeoff import tradeoff
from recommenders_miner.reranking import Plan, Policy, news_columns
from recommenders_miner.reranking.rerankers import calibrated
from tests.command_line import run

IDS = [f"N{i}" for i in range(40)]
CATEGORIES = [("sport", "money", "travel")[i % 3] for i in range(40)]
NEWS = NewsTable.from_columns(IDS, [f"title {i}" for i in range(40)], category=CATEGORIES)
RNG = np.random.default_rng(5)
HISTORIES = [list(RNG.permutation(IDS)[: RNG.integers(1, 8)]) for _ in range(60)]
CANDIDATES = [list(RNG.permutation(IDS)[: RNG.integers(3, 25)]) for _ in range(60)]
LABELS = [[1, *(int(x) for x in RNG.random(len(one) - 2) < 0.2), 0] for one in CANDIDATES]
LOG = ImpressionLog.from_columns(NEWS, HISTORIES, CANDIDATES, LABELS, [f"u{i % 20}" for i in range(60)])
SCORES = RNG.random(len(LOG.candidates.values)) + LOG.labels / 3
CALIBRATED = {"name": "ours", "rerank": {"by": "calibrated", "column": "category", "dial": 0.4}}


def price(values, **options):
    plan = Plan(Policy.of(values), news_columns(NEWS))
    return tradeoff(plan, SCORES, LOG, NEWS, LOG, NEWS, k=5, **options)


def test_the_model_alone_has_the_figures_that_evaluation_has_and_so_has_dial_0():
    alone, zero, *_ = price(CALIBRATED).points
    expected = evaluate_scores(SCORES, LOG.labels, LOG.candidates.offsets, ["ndcg@5"])
    for point in (alone, zero):
        assert point.evaluation.metrics["ndcg@5"] == pytest.approx(expected.metrics["ndcg@5"])
        assert point.evaluation.standard_errors["ndcg@5"] == pytest.approx(expected.standard_errors["ndcg@5"])
        assert all(difference == pytest.approx(0, abs=1e-12) for difference in point.difference.metrics.values())


def test_the_figures_of_a_dial_are_those_of_the_lists_of_its_reranker():
    """Each list by the reranker's own function, its accuracy by the definition."""
    categories = sorted(set(CATEGORIES))
    aspects = np.array([[name == category for name in categories] for category in CATEGORIES], float)
    gains, clicks = [], []
    for place, (history, candidates, labels) in enumerate(zip(HISTORIES, CANDIDATES, LABELS, strict=True)):
        scores = SCORES[LOG.candidates.offsets[place] :][: len(candidates)]
        relevance = (scores - scores.min()) / (scores.max() - scores.min())
        target = aspects[[IDS.index(name) for name in history]].mean(axis=0)
        order = calibrated(relevance, aspects[[IDS.index(name) for name in candidates]], target, 5, 0.4)
        dcg = sum(labels[i] / math.log2(rank + 1) for rank, i in enumerate(order, start=1))
        gains.append(dcg / sum(1 / math.log2(rank + 1) for rank in range(1, min(sum(labels), 5) + 1)))
        clicks.append(sum(labels[i] for i in order))
    found = price(CALIBRATED, dials=[1.0])
    assert [point.name for point in found.points] == ["model alone", "0.4", "1"]
    alone, own, _ = found.points
    assert own.evaluation.metrics["ndcg@5"] == pytest.approx(fmean(gains))
    assert own.evaluation.metrics["clicks@5"] == pytest.approx(fmean(clicks))
    differences = np.array(gains) - alone.values["ndcg@5"]
    assert own.difference.metrics["ndcg@5"] == pytest.approx(fmean(differences))
    assert own.difference.standard_errors["ndcg@5"] == pytest.approx(stdev(differences) / math.sqrt(60))


@pytest.mark.parametrize(
    "rules",
    [
        {"ages": [{"at_most": "4 d"}]},  # of no article is it known when it was published: all lists are empty
        {"quotas": [{"column": "category", "value": ["sport", "money", "travel"], "at_most": 1}]},  # one article each
    ],
)
def test_what_lists_of_one_setting_lack_is_left_out_of_the_picture(rules):
    found = price({**rules, "relax": []})
    assert "nDCG@5" in found.worth()
    assert found.draw("ndcg@5") is not None


def test_calibration_gets_better_along_the_dial():
    found = [point.evaluation.metrics["calibration@5"] for point in price(CALIBRATED, dials=[0, 0.5, 1]).points]
    assert found == sorted(found, reverse=True)
    assert found[-1] < found[0]


def test_a_policy_without_a_reranker_has_no_dial_and_its_rules_hold():
    found = price({"name": "quota", "quotas": [{"column": "category", "value": "sport", "at_most": 1}]})
    assert [(point.name, point.dial) for point in found.points] == [("model alone", None), ("policy", None)]
    assert found.points[1].evaluation.metrics["ild@5"] != found.points[0].evaluation.metrics["ild@5"]
    assert found.worth().startswith(("The policy costs", "Every setting costs"))


def test_what_is_written_says_the_same_in_every_form(tmp_path):
    found = price(CALIBRATED, by=["clicks", "activity"])
    found.write(tmp_path, {"run": "a run"})
    assert {path.name for path in tmp_path.iterdir()} == {
        *("tradeoff.json", "tradeoff.md", "tradeoff.png", "tradeoff.svg"),
        *("tradeoff-clicks.png", "tradeoff-clicks.svg"),
    }
    document = json.loads((tmp_path / "tradeoff.json").read_text())
    text = (tmp_path / "tradeoff.md").read_text()
    assert document["run"] == "a run"
    assert document["columns"] == {"calibration_topic": "category", "fragmentation": "category"}
    assert [point["dial"] for point in document["points"]] == [None, 0, 0.1, 0.25, 0.4, 0.5, 0.75, 1]
    for point in document["points"]:
        value, error = point["metrics"]["ndcg@5"], point["standard_errors"]["ndcg@5"]
        assert f"{100 * value:.2f} ± {100 * error:.2f}" in text
        assert f"{point['metrics']['gini@5']:.3f}" in text
    assert "0.4 (the file's)" in text
    assert found.worth() in text
    sizes = {name: len(LOG.histories[place]) for place, name in enumerate(range(60))}
    few = [place for place, size in sizes.items() if 1 <= size <= 4]
    of_few = document["by_group"]["clicks"]["model alone"]["1-4"]["metrics"]["ndcg@5"]
    assert of_few == pytest.approx(fmean(found.points[0].values["ndcg@5"][few]))
    assert list(document["by_group"]["activity"]["0.4"]) == ["2-4"]


def test_the_chart_has_a_panel_for_each_metric_and_names_every_setting():
    found = price(CALIBRATED, dials=[0, 1])
    figure = found.draw("ndcg@5")
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]
    assert titles == ["Topics@5", "Fragmentation@5", "Calibration@5", "Diversity@5, %", "Gini@5", "Cold@5, %"]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["model alone", "dial 0", "dial 0.4", "dial 1"]
    diversity = found.points[0].evaluation.metrics["ild@5"]
    drawn = [line.get_xydata().tolist() for line in figure.axes[3].get_lines()]
    assert [pytest.approx([100 * diversity, 0], abs=1e-9)] in drawn


def test_the_command_takes_some_impressions_and_says_what_a_point_buys(data, trained, tmp_path):
    (tmp_path / "policy.yaml").write_text("rerank: {by: calibrated, column: category, dial: 0.5}\n")
    options = ["--policy", tmp_path / "policy.yaml", "--out", tmp_path / "out", "--dials", "0,1", "--impressions", "50"]
    output = run("tradeoff", trained, "--data", data, "--by", "clicks", *options)
    document = json.loads((tmp_path / "out" / "tradeoff.json").read_text())
    assert document["num_impressions"] == 50
    assert [point["name"] for point in document["points"]] == ["model alone", "0", "0.5", "1"]
    assert "a point of nDCG@10" in output
    refused = CliRunner().invoke(app, ["tradeoff", str(trained), "--data", str(data), *map(str, options[:5]), "2"])
    assert refused.exit_code == 2
    assert "expected numbers from 0 to 1" in refused.output
