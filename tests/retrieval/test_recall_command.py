"""The recall command on a trained model, and that model's search against its scores of the whole pool."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from recommenders_miner.cli import app
from recommenders_miner.data.folders import Split
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.models import load_model
from recommenders_miner.retrieval.news_recall import NewsRecall
from tests.command_line import run


def test_the_search_finds_the_best_scores_of_the_whole_pool(data, trained):
    model = load_model(trained / "model")
    files = Split.find(data, "dev")
    dataset = model.read(files.news, files.behaviors)
    few = 20
    pool = np.arange(1, len(dataset.news), dtype="int32")
    log = replace(
        dataset.log,
        candidates=Ragged(np.tile(pool, few), np.arange(few + 1) * len(pool)),
        labels=np.zeros(few * len(pool), "int8"),
        **{name: getattr(dataset.log, name)[:few] for name in ("history_of", "user_of", "time", "impression_id")},
    )
    scores = model.score_log(replace(dataset, log=log)).reshape(few, -1)
    rows, found = NewsRecall(model, dataset.news, keep_clicked=True).search(log, dataset.users, 30)
    assert found == pytest.approx(-np.sort(-scores, axis=1)[:, :30], abs=1e-5)
    assert np.take_along_axis(scores, rows - 1, axis=1) == pytest.approx(found, abs=1e-5)


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
