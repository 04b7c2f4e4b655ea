"""What a comparison shows beside the models: floors by name, and each model with a reranker over it."""

import json
import re
import shutil

import numpy as np
import pytest

from recommenders_miner.cli import main
from recommenders_miner.data.context import CONTEXT, Context
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.errors import DataFormatError, HParamsError
from recommenders_miner.evaluation.metrics import evaluate_scores
from recommenders_miner.evaluation.submission import read_scores
from recommenders_miner.experiments.compare import compare
from recommenders_miner.models import NRMSModel
from recommenders_miner.models.reranker import BoostedReranker
from tests.command_line import OPTIONS, run

FLOORS = ["random", "popularity", "popularity-now"]
HELD_OUT = ["-o", "held_out=users", "-o", "held_out_share=0.3"]


def rows_of(out):
    return {row["model"]: row for row in json.loads((out / "results.json").read_text())["results"]}


def rewritten(data, folder, change, *splits):
    """A copy of a data folder whose labels are changed in some splits."""
    shutil.copytree(data, folder, ignore=shutil.ignore_patterns(".*", "*.txt"))
    for split in splits:
        path = folder / split / "behaviors.tsv"
        path.write_text(re.sub(r"-[01]\b(?=[ \n])", change, path.read_text()))
    return folder


# === Floors ===


def test_floors_alone_train_nothing(data, tmp_path, monkeypatch):
    monkeypatch.setattr(NRMSModel, "__init__", None)
    plain = rewritten(data, tmp_path / "data", "")
    output = run("compare", "--data", plain, "--models", "popularity-now,random", "--out", tmp_path / "out")
    assert list(rows_of(tmp_path / "out")) == FLOORS
    assert "popularity-now" in output
    assert not (tmp_path / "out" / "runs").exists()
    assert run("compare", "--data", plain, "--models", "popularity", "--out", tmp_path / "x", "--dry-run") == ""


@pytest.mark.parametrize("horizon", [0, 6, "split"])
def test_popularity_now_takes_the_horizon_of_the_overrides(data, tmp_path, horizon):
    compare(data, ["popularity-now"], tmp_path, {"horizon": horizon})
    (train_news, train), (news, log) = (
        (table := NewsTable.read(data / split / "news.tsv"), ImpressionLog.read(data / split / "behaviors.tsv", table))
        for split in ("train", "dev")
    )
    earlier = Context.of_log(train, train_news, horizon=horizon).counts()
    values = Context.of_log(log, news, earlier, horizon).of(log.candidates.rows(), log.candidates.values)
    expected = evaluate_scores(values[:, CONTEXT.index("click_rate")], log.labels, log.candidates.offsets).metrics
    row = rows_of(tmp_path)["popularity-now"]
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert row.get("note") == {0: None, 6: "horizon: 6 h", "split": "horizon: split"}[horizon]


def test_an_unknown_override_is_refused_without_a_model_too(data, tmp_path):
    with pytest.raises(HParamsError, match="Did you mean 'horizon'"):
        compare(data, ["popularity-now"], tmp_path, {"horizn": 24})


@pytest.mark.parametrize("split", ["train", "dev"])
def test_a_split_without_labels_is_an_error_that_names_the_file(data, tmp_path, split, monkeypatch, capsys):
    folder = rewritten(data, tmp_path / "data", "", split)
    with pytest.raises(DataFormatError, match=rf"{split}/behaviors.tsv: no candidate has a label: .* Write each"):
        compare(folder, ["popularity-now"], tmp_path / "out")
    monkeypatch.setattr("sys.argv", ["x", "compare", "--data", str(folder), "--models", "random", "--out", "out"])
    with pytest.raises(SystemExit):
        main()
    assert "no candidate has a label" in capsys.readouterr().err


def test_without_a_click_in_training_dev_itself_is_counted(data, tmp_path):
    compare(rewritten(data, tmp_path / "data", "-0", "train"), FLOORS, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert rows["popularity"]["group_auc"] == 0.5
    assert rows["popularity-now"]["group_auc"] > 0.52


# === Rerankers ===


@pytest.fixture(scope="module")
def compared(data, tmp_path_factory):
    """The folder of a comparison with rerankers."""
    out = tmp_path_factory.mktemp("reranked") / "out"
    command = ["compare", "--data", data, "--models", "nrms,popularity-now", "--out", out, *OPTIONS, *HELD_OUT]
    run(*command, "--rerank")
    return out


def test_each_model_has_a_second_row_which_evaluate_gives_too(data, compared, tmp_path):
    rows = rows_of(compared)
    assert list(rows) == [*FLOORS, "history-oracle", "oracle", "nrms", "nrms, reranked"]
    folder = compared / "runs" / "nrms" / "seed-42"
    differences = json.loads((compared / "results.json").read_text())["differences"]
    difference = differences["of"]["nrms, reranked"]["group_auc"]["mean"]
    assert differences["baseline"] == "nrms"
    assert difference == pytest.approx(rows["nrms, reranked"]["group_auc"] - rows["nrms"]["group_auc"]) != 0
    kept = (folder / "model" / "reranker.npz").stat().st_mtime_ns
    output = run("evaluate", folder, "--data", data, "--rerank", "--scores", tmp_path / "scores.txt")
    metrics = json.loads(output[output.index("{") : output.index("}") + 1])
    assert metrics == pytest.approx({name: rows["nrms, reranked"][name] for name in metrics}, abs=1e-5)
    assert (folder / "model" / "reranker.npz").stat().st_mtime_ns == kept
    reranker = BoostedReranker.load(folder / "model")
    dev = reranker.model.read(data / "dev" / "news.tsv", data / "dev" / "behaviors.tsv")
    np.testing.assert_allclose(read_scores(tmp_path / "scores.txt").values, reranker.score(dev), rtol=1e-5)


def test_without_labels_a_split_is_reranked_as_well(data, compared, tmp_path):
    folder = compared / "runs" / "nrms" / "seed-42"
    plain = rewritten(data, tmp_path / "data", "", "dev")
    out = tmp_path / "prediction.zip"
    run("evaluate", folder, "--data", plain, "--rerank", "--submission", out)
    assert out.stat().st_size


def test_rerankers_want_something_held_out_before_anything_is_trained(data, tmp_path, monkeypatch):
    monkeypatch.setattr(NRMSModel, "fit", None)
    with pytest.raises(HParamsError, match=r"nrms there are none\. Train it with held_out=users, or last_day"):
        compare(data, ["nrms"], tmp_path, {"word_embedding": None}, rerank=True)


def test_a_reranker_that_cannot_be_is_a_row_that_says_why(data, compared, tmp_path):
    out = shutil.copytree(compared, tmp_path / "out")
    path = out / "runs" / "nrms" / "seed-42" / "model" / "reranker.npz"
    path.write_bytes(b"")
    overrides = dict(option.split("=") for option in [*OPTIONS, *HELD_OUT] if option != "-o")
    overrides |= {name: json.loads(value) for name, value in overrides.items() if re.fullmatch(r"null|[\d.]+", value)}
    found = compare(data, ["nrms"], out, overrides, rerank=True)
    assert list(found.failed) == ["nrms, reranked"]
    assert re.search(
        r"not a readable reranker .* Delete reranker.npz, and fit it again", found.failed["nrms, reranked"]
    )
