"""What is looked at before anything is trained, and what a failure of one model leaves of a comparison."""

import json
import re
import shutil

import numpy as np
import pytest

from recommenders_miner.errors import HParamsError
from recommenders_miner.experiments import Study, paper, plan, reproduce
from recommenders_miner.experiments.compare import compare
from recommenders_miner.experiments.runs import TABLE_2, Runs, Variant
from recommenders_miner.models import LibFMModel, NRMSModel
from tests.command_line import OPTIONS, invoke, run

SMALL = {
    "word_emb_dim": 8, "head_num": 2, "head_dim": 4, "attention_hidden_dim": 8, "filter_num": 8, "window_sizes": [1, 2],
    "layer_sizes": [4], "factor_dim": 4, "epochs": 1, "length_groups": 1, "word_embedding": None, "batch_size": 64,
}  # fmt: skip


@pytest.fixture
def without_vectors(data, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(data, folder, ignore=shutil.ignore_patterns("*.vec", "articles.parquet", ".*"))
    return folder


@pytest.fixture
def failing(monkeypatch):
    """Makes LibFM fail in training, until it is told to stop that."""
    with monkeypatch.context() as patched:
        patched.setattr(LibFMModel, "build_network", lambda *args: 1 / 0)
        yield patched


def test_what_is_missing_is_found_before_anything_is_trained(without_vectors, tmp_path, monkeypatch):
    monkeypatch.setattr(NRMSModel, "fit", None)
    variants = {
        name: Variant(name).hparams("paper", overrides)
        for name, overrides in {
            "nrms": {"word_embedding": "glove.6B.50d.txt"},
            "dkn": {"word_embedding": None},
            "miner-minilm": {"plm": str(tmp_path / "nowhere"), "word_embedding": None, "category_embedding": "learned"},
            "libfm": {},
            "nrms-plm": {"plm_texts": ["title", "body"], "plm": str(tmp_path / "nowhere")},
            "caum": {"news_encoder": "multi_view", "view_texts": ["title", "body"], "word_embedding": None},
            "naml": {"word_embedding": None, "select": "best"},
        }.items()
    }
    planned = Runs(without_vectors, tmp_path).plan(variants, [1])
    assert planned["nrms"].lacks == (
        "word_embedding: there is no file glove.6B.50d.txt. Get it by: recommenders-miner fetch glove-6b-50d"
    )
    assert planned["dkn"].state == "will be trained, without entity_embedding.vec"
    assert planned["dkn"].hparams.entity_embedding is None
    assert planned["miner-minilm"].lacks.startswith(f"{tmp_path}/nowhere: no language model could be loaded")
    assert planned["libfm"].state == "will be trained"
    assert planned["nrms-plm"].lacks.startswith(
        f"plm_texts: there is no column body in {without_vectors}/train/articles.parquet. {tmp_path}/nowhere: no lang"
    )
    assert planned["caum"].lacks == (
        f"view_texts: there is no column body in {without_vectors}/train/articles.parquet."
    )
    assert planned["naml"].lacks.startswith("select, patience: need held_out")


def test_a_step_that_takes_more_memory_than_there_is_is_refused(data, tmp_path, monkeypatch):
    hparams = {"libfm": Variant("libfm").hparams("paper", SMALL)}
    assert Runs(data, tmp_path).plan(hparams, [1])["libfm"].lacks == ""
    monkeypatch.setattr(plan.os, "sysconf", lambda name: 100)
    lacks = Runs(data, tmp_path).plan(hparams, [1])["libfm"].lacks
    assert re.fullmatch(r"a training step takes \d+\.\d GB by arithmetic, and there are 0\.0\. Less take.*", lacks)


def test_a_damaged_run_concerns_its_own_model_alone(data, tmp_path):
    run = tmp_path / "libfm" / "seed-1"
    run.mkdir(parents=True)
    (run / "run.json").write_text("{")
    planned = Runs(data, tmp_path).plan(
        {name: Variant(name).hparams("paper", SMALL) for name in ("libfm", "nrms")}, [1]
    )
    assert re.match(rf"{run}/run.json: is not readable .* Delete {run} to make the run anew", planned["libfm"].lacks)
    assert planned["nrms"].state == "will be trained"


@pytest.mark.slow
def test_a_model_that_fails_is_a_row_that_says_why_and_is_tried_again(without_vectors, tmp_path, failing):
    models = ["libfm", "dkn", "nrms"]
    found = compare(without_vectors, models, tmp_path / "out", {**SMALL, "nrms.word_embedding": "none.txt"})
    failed = {"libfm": "ZeroDivisionError: division by zero", "nrms": "word_embedding: there is no file none.txt."}
    assert found.failed == failed
    document = json.loads((tmp_path / "out" / "results.json").read_text())
    rows = {row["model"]: row for row in document["results"]}
    assert {name: row["failed"] for name, row in rows.items() if "failed" in row} == failed
    assert rows["libfm"]["group_auc"] is None
    assert rows["dkn"]["note"] == "without entity_embedding.vec"
    text = (tmp_path / "out" / "results.md").read_text()
    assert "- libfm failed: ZeroDivisionError: division by zero" in text
    assert "- dkn: without entity_embedding.vec" in text
    assert text.index("| libfm") < text.index("| dkn")
    failing.undo()
    kept = (tmp_path / "out" / "runs" / "dkn" / "seed-42" / "run.json").stat().st_mtime_ns
    again = compare(without_vectors, models, tmp_path / "out", SMALL)
    unbroken = compare(without_vectors, models, tmp_path / "unbroken", SMALL)
    assert again.failed == {}
    assert (tmp_path / "out" / "runs" / "dkn" / "seed-42" / "run.json").stat().st_mtime_ns == kept
    for one, other in zip(again.results, unbroken.results, strict=True):
        assert one.model == other.model
        assert one.metrics == pytest.approx(other.metrics, abs=1e-6)
    assert set(again.differences.of) == set(models) - {again.differences.baseline}


@pytest.mark.slow
def test_the_command_ends_with_status_1_where_a_model_failed(data, tmp_path, failing):
    command = ["compare", "--data", data, "--models", "libfm,nrms", "--out", tmp_path / "out", *OPTIONS]
    result = invoke(*command)
    assert result.exit_code == 1
    assert "No figures of libfm." in result.output
    assert np.load(tmp_path / "out" / "runs" / "nrms" / "seed-42" / "scores.npy").size
    assert "nrms   is done" in run(*command, "--skip-unavailable")


def test_a_dry_run_says_what_would_be_done_and_does_nothing(without_vectors, tmp_path):
    options = ["--data", without_vectors, "--out", tmp_path / "out", "--dry-run", "-o", "word_embedding=null"]
    output = run("compare", *options, "--models", "dkn,libfm", "-o", "libfm.epochs=2")
    assert "dkn    will be trained, without entity_embedding.vec" in output
    output = run("compare", *options, "--models", "all,caum")
    assert [line.split()[0] for line in output.splitlines()] == [*TABLE_2, "caum"]
    output = run("reproduce", "recommenders", *options)
    assert output.count("will be trained") == 4
    assert not (tmp_path / "out" / "results.md").exists()


def test_two_files_of_one_name_and_lines_that_are_left_out(data, tmp_path):
    copied = shutil.copytree(data, tmp_path / "data")
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.yaml").write_text("model: {model_type: nrms}\n")
    with pytest.raises(HParamsError, match=r"one/mine\.yaml and .*two/mine\.yaml would be one row, mine\. Rename"):
        compare(copied, [str(tmp_path / folder / "mine.yaml") for folder in ("one", "two")], tmp_path / "out")
    with open(copied / "dev" / "behaviors.tsv", "a") as file:
        file.write("no impression\n")
    shown = compare(copied, ["random"], tmp_path / "out", on_error="skip").results
    assert [row.model for row in shown] == ["random", "popularity", "popularity-now", "history-oracle"]


def test_an_override_of_one_model_wins_and_has_to_be_of_one_that_is_there():
    overrides = {"epochs": 3, "nrms.epochs": 2, "miner-k1.epochs": 1}
    assert [Variant(name).hparams("paper", overrides).epochs for name in ("nrms", "naml")] == [2, 3]
    assert Variant("miner-k1", "miner").hparams("paper", overrides).epochs == 1
    with pytest.raises(HParamsError, match="nrms has no hyperparameter 'num_interests'"):
        Variant("nrms").hparams("paper", {"nrms.num_interests": 3})


def test_an_override_of_a_model_that_is_not_there_is_refused(data, tmp_path):
    with pytest.raises(HParamsError, match=r"nmrs\.epochs: there is no model 'nmrs' here; there are libfm, nrms"):
        compare(data, ["nrms", "libfm"], tmp_path, {"nmrs.epochs": 1})


@pytest.mark.slow
def test_an_experiment_goes_on_without_a_model_that_failed(data, tmp_path, monkeypatch, failing):
    monkeypatch.setattr(paper, "TABLE_2", ("libfm", "nrms"))
    study = Study(data, tmp_path, [42], overrides=SMALL)
    page = reproduce(study, ["table2"]).read_text()
    assert study.failed == {"libfm": "ZeroDivisionError: division by zero"}
    assert "- libfm failed: ZeroDivisionError" in page
    found = json.loads((tmp_path / "results" / "table2.json").read_text())
    assert found["failed"] == study.failed
