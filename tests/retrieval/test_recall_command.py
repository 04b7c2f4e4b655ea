"""The recall command on a trained model."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from recommenders_miner.cli import app
from tests.command_line import run


def test_the_command_writes_what_it_shows(data, trained, tmp_path):
    file = tmp_path / "recall.json"
    output = run("recall", trained, "--data", data, "--k", "50,5", "--json", file)
    figures = json.loads(file.read_text())
    assert (figures["strategy"], figures["index"], figures["rerank"]) == ("category", "flat", None)
    assert figures["pool"] == len((data / "dev" / "news.tsv").read_text().splitlines())
    metrics = figures["metrics"]
    names = ("recall", "hit_rate", "ndcg", "ild", "novelty", "calibration", "coverage")
    assert set(metrics) == {f"{name}@{k}" for name in names for k in (5, 50)}
    assert 0 < metrics["coverage@5"] < metrics["coverage@50"] <= 1
    assert 0 < metrics["recall@5"] < metrics["recall@50"] <= metrics["hit_rate@50"] <= 1
    assert f"{100 * metrics['recall@50']:.2f}" in output
    assert f"{figures['num_impressions']:,} impressions" in output


def test_its_options_reach_the_search(data, trained, tmp_path):
    found = {}
    for name, options in {
        "multi": ["--strategy", "multi", "--in-turns", "--keep-clicked"],
        "recent": ["--strategy", "average", "--rerank", "60", "--max-age-days", "1"],
    }.items():
        run("recall", trained, "--data", data, "--k", "50", "--json", tmp_path / name, *options)
        found[name] = json.loads((tmp_path / name).read_text())
    names = ("in_turns", "keep_clicked", "rerank", "max_age_days")
    assert [[figures[name] for name in names] for figures in found.values()] == [
        [True, True, None, None],
        [False, False, 60, 1.0],
    ]
    assert found["multi"]["metrics"] != found["recent"]["metrics"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--k", "ten"], "expected numbers like 10,50,100"),
        (["--k", "0,5"], "expected numbers"),
        (["--rerank", "0"], "greater than or equal to 1"),
    ],
)
def test_mistakes_are_told(data, trained, options, message):
    refused = CliRunner().invoke(app, ["recall", str(trained), "--data", str(data), *options])
    assert refused.exit_code == 2
    assert message in refused.output
