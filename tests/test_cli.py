"""The command line from demo data to recommendations, on the tiny preset."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from typer.testing import CliRunner

from recommenders_miner.cli import app, main
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.evaluation.metrics import evaluate_scores
from recommenders_miner.evaluation.submission import read_scores
from tests.command_line import OPTIONS, run


def test_compare_writes_its_table_json_and_chart(data, tmp_path):
    output = run("compare", "--data", data, "--models", "nrms", "--out", tmp_path, *OPTIONS)
    assert "history-oracle" in output
    results = json.loads((tmp_path / "results.json").read_text())
    rows = {row["model"]: row for row in results["results"]}
    assert set(rows) == {"random", "popularity", "nrms", "history-oracle", "oracle"}
    assert {"group_auc", "mean_mrr", "ndcg@5", "ndcg@10", "train_seconds", "eval_seconds"} <= set(rows["nrms"])
    assert rows["random"]["train_seconds"] is None
    assert rows["nrms"]["parameters"] > 0
    assert rows["oracle"]["group_auc"] > rows["history-oracle"]["group_auc"] > rows["random"]["group_auc"]
    assert (tmp_path / "results.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "runs" / "nrms" / "seed-42" / "model" / "network.keras").exists()


def test_compare_over_seeds_gives_means_and_spread(data, tmp_path):
    run("compare", "--data", data, "--models", "nrms", "--out", tmp_path, "--seeds", 2, *OPTIONS)
    whole = json.loads((tmp_path / "results.json").read_text())
    assert whole["num_seeds"] == 2
    [row] = [row for row in whole["results"] if row["model"] == "nrms"]
    log = ImpressionLog.read(data / "dev" / "behaviors.tsv", NewsTable.read(data / "dev" / "news.tsv"))
    scores = [np.load(tmp_path / "runs" / "nrms" / f"seed-{seed}" / "scores.npy") for seed in (42, 43)]
    values = [evaluate_scores(one, log.labels, log.candidates.offsets).metrics["group_auc"] for one in scores]
    assert row["group_auc"] == pytest.approx(np.mean(values))
    assert row["standard_deviations"]["group_auc"] == pytest.approx(np.std(values, ddof=1))
    assert "±" in (tmp_path / "results.md").read_text()


def test_after_ctrl_c_it_says_how_to_go_on(data, tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("recommenders_miner.experiments.compare.compare", interrupted)
    arguments = ["compare", "--data", str(data), "--models", "nrms", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 130
    assert f"What is finished is in {tmp_path}; the same command goes on" in result.output


def test_evaluate_writes_scores_and_submission(data, trained, tmp_path):
    output = run(
        "evaluate", trained, "--data", data, "--scores", tmp_path / "s.txt", "--submission", tmp_path / "prediction.zip"
    )
    assert "group_auc" in output
    scores = read_scores(tmp_path / "s.txt")
    lines = (data / "dev" / "behaviors.tsv").read_text().splitlines()
    assert scores.lengths.tolist() == [len(line.split("\t")[4].split()) for line in lines]
    with zipfile.ZipFile(tmp_path / "prediction.zip") as archive:
        first = archive.read("prediction.txt").decode().splitlines()[0]
    impression_id, ranks = first.split(" ")
    assert impression_id == lines[0].split("\t")[0]
    assert json.loads(ranks) == (np.argsort(np.argsort(-scores[0], kind="stable"), kind="stable") + 1).tolist()


def test_an_unlabelled_test_split_is_scored_but_not_evaluated(data, trained, tmp_path):
    test = tmp_path / "data" / "test"
    test.mkdir(parents=True)
    (test / "news.tsv").write_bytes((data / "dev" / "news.tsv").read_bytes())
    lines = (data / "dev" / "behaviors.tsv").read_text().splitlines()
    unlabelled = (
        "\t".join([*line.split("\t")[:4], " ".join(token[:-2] for token in line.split("\t")[4].split())])
        for line in lines
    )
    (test / "behaviors.tsv").write_text("\n".join(unlabelled) + "\n")
    run("evaluate", trained, "--data", tmp_path / "data", "--split", "test", "--scores", tmp_path / "test.txt")
    run("evaluate", trained, "--data", data, "--scores", tmp_path / "dev.txt")
    assert (tmp_path / "test.txt").read_bytes() == (tmp_path / "dev.txt").read_bytes()
    refused = CliRunner().invoke(app, ["evaluate", str(trained), "--data", str(tmp_path / "data"), "--split", "test"])
    assert refused.exit_code == 2
    assert "no labels" in refused.output


def test_recommend_shows_titles(data, trained):
    news = data / "dev" / "news.tsv"
    ids = [line.split("\t")[0] for line in news.read_text().splitlines()[:3]]
    output = run("recommend", trained, "--news", news, "--history", ",".join(ids), "-k", 4)
    assert "For a user who clicked 3 articles" in output
    assert output.count("N") >= 4


def test_resume_of_a_finished_run_keeps_the_model(data, trained):
    before = (trained / "model" / "model.json").read_bytes()
    run("train", "--hparams", "miner", "--data", data, "--out", trained, "--resume", *OPTIONS)
    assert (trained / "model" / "model.json").read_bytes() == before


def test_convert_dict_writes_json_beside_pickles(tmp_path):
    dictionaries = {"word_dict": {"film": 1, "goal": 2}, "uid2index": {"U1": 1}}
    files = [tmp_path / f"{name}.pkl" for name in dictionaries]
    for file, content in zip(files, dictionaries.values(), strict=True):
        file.write_bytes(pickle.dumps(content))
    output = run("convert-dict", *files)
    assert "uid2index.json" in output.replace("\n", "")
    assert {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in dictionaries} == dictionaries


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["convert-dict", "word_dict.pkl"],
            "word_dict.pkl: the path does not exist; expected a pickle of a dictionary",
        ),
        (["train", "--data", "nowhere", "--out", "x"], "nowhere/train/news.tsv: is missing"),
        (["train", "--data", "nowhere", "--out", "x", "-o", "bacth_size=3"], "Did you mean 'batch_size'"),
        (["compare", "--data", "nowhere", "--out", "x", "--models", "bert4rec"], "no hyperparameter file bert4rec"),
        (["evaluate", "nowhere", "--data", "x"], "holds no saved model"),
    ],
)
def test_mistakes_are_one_line_and_status_one(arguments, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["recommenders-miner", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    assert message in capsys.readouterr().err.replace("\n", " ")
    assert not list(tmp_path.iterdir())


def test_help_and_import_load_nothing_heavy():
    code = (
        "import sys, recommenders_miner, recommenders_miner.cli\n"
        "heavy = {'keras', 'tensorflow', 'jax', 'pandas', 'pyarrow', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert set(recommenders_miner.__all__) == set(dir(recommenders_miner))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_tensorflow_tells_errors_alone_in_a_notebook_too():
    code = (
        "import logging, sys\n"
        "sys.ps1 = '>>> '\n"  # by which TensorFlow knows a notebook, where it turns its logger on
        "import recommenders_miner, tensorflow as tf\n"
        "tf.get_logger().setLevel(logging.INFO)\n"
        "tf.get_logger().warning('a warning')\n"
        "tf.get_logger().error('an error')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "a warning" not in done.stdout + done.stderr
    assert "an error" in done.stdout + done.stderr


def test_every_public_name_is_there():
    import recommenders_miner

    for name in recommenders_miner.__all__:
        assert getattr(recommenders_miner, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Bert4Rec'"):
        _ = recommenders_miner.Bert4Rec
