"""The paper's experiments on the tiny preset: pages, plots and figures."""

import json
import re
import shutil
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import norm

from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.errors import HParamsError
from recommenders_miner.experiments import Study, paper, reproduce
from recommenders_miner.experiments.differences import differences_to_best, paired_difference
from recommenders_miner.experiments.reproduce import EXPERIMENTS
from recommenders_miner.experiments.runs import PUBLISHED, TABLE_2, Variant
from recommenders_miner.experiments.study import over_seeds
from tests.tiny_plm import tiny_preset

# Sizes for a test.
SMALL = {
    "word_emb_dim": 8, "head_num": 2, "head_dim": 4, "attention_hidden_dim": 8, "code_dim": 4, "filter_num": 8,
    "news_dim": 8, "epochs": 1, "length_groups": 1,
}  # fmt: skip

ONE = [Variant("nrms-recommenders", "nrms", {"scale": "recommenders"})]


def test_the_papers_figures_cover_the_experiments():
    assert list(PUBLISHED["table2"]["large"]) == list(TABLE_2)
    assert len(TABLE_2) == 14
    assert set(PUBLISHED["table3"]) == {variant.name for variant in paper.TABLE_3}
    assert PUBLISHED["table2"]["small"]["miner"] == PUBLISHED["table3"]["miner"]


def test_over_seeds():
    assert over_seeds([0.7]) == "70.00"
    assert over_seeds([0.70, 0.72]) == "71.00 ± 1.41"


def test_mean_pairwise_cosine_leaves_the_diagonal_out():
    interests = np.array([[[1.0, 0.0], [0.0, 2.0]], [[3.0, 0.0], [1.0, 0.0]]])
    assert paper.mean_pairwise_cosine(interests) == pytest.approx((0 + 1) / 2)


def test_paired_effect_is_the_mean_difference_with_both_sources_of_error():
    log = SimpleNamespace(labels=np.array([1, 0, 1, 0, 0, 1]), candidates=Ragged(np.arange(6), np.array([0, 2, 4, 6])))
    good, bad = np.array([1.0, 0, 1, 0, 0, 1]), np.array([1.0, 0, 1, 0, 1, 0])  # the last impression in order, and not
    tied = np.array([1.0, 0, 1, 0, 1, 1])

    def runs(*scores):
        return [SimpleNamespace(scores=s) for s in scores]

    effect, error, p = paired_difference(runs(good), runs(bad), log, "group_auc")
    assert p == pytest.approx(2 * norm.sf(effect / error))
    assert effect == pytest.approx(1 / 3)
    assert error == pytest.approx(np.std([0, 0, 1], ddof=1) / np.sqrt(3))
    effect, error, _ = paired_difference(runs(good, good), runs(bad, tied), log, "group_auc")
    assert effect == pytest.approx((1 + 0.5) / 2 / 3)
    over_impressions = np.var([0, 0, 0.75], ddof=1) / 3
    over_the_seeds = np.var([1 / 3, 0.5 / 3], ddof=1) / 2
    assert error == pytest.approx(np.sqrt(over_impressions + over_the_seeds))


def test_one_impression_has_no_spread_to_compare_models_by():
    news = NewsTable.from_columns(["A", "B"], ["a", "b"])
    log = ImpressionLog.from_columns(news, [[], []], [["A", "B"], ["B"]], [[1, 0], [1]])
    run = SimpleNamespace(scores=np.arange(3.0), row=SimpleNamespace(metrics={"group_auc": 0.0}))
    assert differences_to_best({"nrms": [run], "miner": [run]}, log) is None


def test_a_study_refuses_overrides_that_no_model_has(data, tmp_path):
    with pytest.raises(HParamsError, match="Did you mean 'num_interests'"):
        Study(data, tmp_path, overrides={"num_intrests": 3})


def test_a_study_says_which_version_of_the_benchmark_its_figures_are_of(data, tmp_path):
    assert "on synthetic benchmark 2, preset tiny, scale fast" in Study(data, tmp_path).settings


@pytest.mark.slow
def test_figure3_writes_a_page_and_goes_on_with_what_is_there(data, tmp_path, monkeypatch):
    monkeypatch.setattr(paper, "NUM_INTERESTS", (1, 8))
    study = Study(data, tmp_path, [42], overrides={**SMALL, "news_encoder": "self_attention"})
    page = reproduce(study, ["figure3"])
    found = json.loads((tmp_path / "results" / "figure3.json").read_text())
    assert set(found["by_k"]) == {"1", "8"}
    assert found["seeds"] == [42]
    assert "](results/figure3.png)" in page.read_text()
    assert "](figure3.png)" in (tmp_path / "results" / "figure3.md").read_text()
    assert {path.suffix for path in (tmp_path / "results").iterdir()} == {".json", ".md", ".png", ".svg"}
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"miner", "miner-k1"}
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("run.json")}
    reproduce(study, ["figure3"])
    assert kept == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("run.json")}


def test_plus_needs_views_to_take_apart(data, tmp_path):
    with pytest.raises(HParamsError, match="miner-plus: plus takes apart news_encoder joined, not self_attention"):
        reproduce(Study(data, tmp_path, [42], overrides={"news_encoder": "self_attention"}), ["plus"])


@pytest.mark.slow
def test_plus_takes_each_part_out_and_sets_the_news_encoder_alone_beside_miner(data, tmp_path):
    plm = {"plm": tiny_preset(tmp_path / "plm"), "plm_depth": None, "title_size": 8, "text_size": 8}
    reproduce(Study(data, tmp_path, [42], overrides={**SMALL, **plm}), ["plus"])
    found = json.loads((tmp_path / "results" / "plus.json").read_text())
    assert {effect["part"] for effect in found["effects"]} == {"context", "places", "plm", "subcategory"}
    assert set(found["leads"]) == {
        f"{one} less {other}" for one in ("miner-plus", "miner-joined") for other in ("hierec", "nrms", "miner")
    }
    auc = {row["model"]: row["group_auc"] for row in found["rows"]}
    lead = auc["miner-joined"] - auc["miner"]
    assert found["leads"]["miner-joined less miner"]["group_auc"][0] == pytest.approx(lead)
    run = json.loads((tmp_path / "runs" / "miner-joined" / "seed-42" / "run.json").read_text())["identity"]
    assert run["hparams"]["model"]["news_encoder"] == "joined"
    assert run["hparams"]["model"]["context"] == "none"
    share = (auc["miner-plus"] - 0.5) / (auc["oracle"] - 0.5)
    assert f"reaches {100 * share:.1f} %" in " ".join((tmp_path / "results" / "plus.md").read_text().split())


@pytest.mark.slow
def test_every_experiment_writes_its_page(data, tmp_path, monkeypatch):
    monkeypatch.setattr(paper, "TABLE_2", ("libfm", "nrms-plm", "miner"))
    monkeypatch.setattr(paper, "NUM_INTERESTS", (1, 8))
    for name, any_will_do in {"CASE_HISTORY": (1, 100), "FEWEST_CATEGORIES": 1, "FEWEST_CANDIDATES": 2}.items():
        monkeypatch.setattr(paper, name, any_will_do)
    overrides = {**SMALL, "plm": tiny_preset(tmp_path / "plm"), "plm_depth": None, "input_size": 16, "title_size": 8}
    study = Study(data, tmp_path, [42], overrides=overrides)
    page = reproduce(study).read_text()
    for name in paper.PAPER:
        assert json.loads((tmp_path / "results" / f"{name}.json").read_text())["seeds"] == [42]
        assert (tmp_path / "results" / f"{name}.svg").read_text().startswith("<?xml")
        assert f"](results/{name}.png)" in page
    cosine = json.loads((tmp_path / "results" / "figure6.json").read_text())["mean_pairwise_cosine"]
    assert all(len(values) == 1 for values in cosine.values())


@pytest.mark.slow
def test_notebooks_are_set_beside_what_they_show_epoch_by_epoch(data, tmp_path, monkeypatch):
    monkeypatch.setitem(EXPERIMENTS, "recommenders", EXPERIMENTS["recommenders"]._replace(variants=lambda _: ONE))
    study = Study(data, tmp_path, [42], overrides={**SMALL, "word_embedding": None, "epochs": 2})
    page = reproduce(study, ["recommenders"]).read_text()
    found = json.loads((tmp_path / "results" / "recommenders.json").read_text())["auc_by_epoch"]
    assert [len(values) for values in found["nrms-recommenders"]] == [1, 1]
    assert "61.27" in page
    assert "not MINDdemo" in page


@pytest.mark.slow
def test_a_large_table_writes_submissions_beside_the_papers_large_column(data, tmp_path, monkeypatch):
    monkeypatch.setattr(paper, "TABLE_2", ("nrms",))
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    shutil.copytree(data / "dev", folder / "test")
    study = Study(folder, tmp_path / "out", [42], overrides=SMALL, size="large")
    page = reproduce(study, ["table2"]).read_text()
    assert "67.66" in page
    [archive] = (tmp_path / "out" / "runs").glob("nrms/seed-42/prediction.zip")
    [line, *_] = zipfile.ZipFile(archive).read("prediction.txt").decode().splitlines()
    assert re.fullmatch(r"\d+ \[[\d,]+\]", line)
