"""The command line from demo data to recommendations, on the tiny preset; and how it prints mistakes and names."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import typer

import recommenders_miner
from recommenders_miner.backend import keep_freed_memory
from recommenders_miner.cli import main
from recommenders_miner.cli.app import console, print_json, resumable
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.evaluation.metrics import evaluate_scores
from recommenders_miner.evaluation.submission import read_scores
from recommenders_miner.models import MODELS
from tests.command_line import OPTIONS, invoke, run

MARKUP = ["[/a]", "[bold]x", "[link=x]", ":smile:", "\\[b]"]


@pytest.fixture
def failing(monkeypatch, capsys):
    """Runs a command that has to end with status 1, and returns what it says on standard error."""

    def fail(*arguments):
        monkeypatch.setattr(sys, "argv", ["recommenders-miner", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == 1
        return capsys.readouterr().err

    return fail


def test_compare_over_seeds_writes_means_and_spread_and_says_where(data, tmp_path):
    output = run("compare", "--data", data, "--models", "nrms", "--out", tmp_path, "--seeds", 2, *OPTIONS)
    assert "history-oracle" in output
    assert output.endswith(f"Look at {tmp_path}/results.md and {tmp_path}/results.png.\n")
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["num_seeds"] == 2
    rows = {row["model"]: row for row in results["results"]}
    assert set(rows) == {"random", "popularity", "popularity-now", "nrms", "history-oracle", "oracle"}
    assert {"group_auc", "mean_mrr", "ndcg@5", "ndcg@10", "train_seconds", "eval_seconds"} <= set(rows["nrms"])
    log = ImpressionLog.read(data / "dev" / "behaviors.tsv", NewsTable.read(data / "dev" / "news.tsv"))
    values = []
    for seed in (42, 43):
        folder = tmp_path / "runs" / "nrms" / f"seed-{seed}"
        assert (folder / "model" / "model.keras").exists()
        found = evaluate_scores(np.load(folder / "scores.npy"), log.labels, log.candidates.offsets)
        values.append(found.metrics["group_auc"])
    assert rows["nrms"]["group_auc"] == pytest.approx(np.mean(values))
    assert rows["nrms"]["standard_deviations"]["group_auc"] == pytest.approx(np.std(values, ddof=1))
    written = (tmp_path / "results.md").read_text()
    assert "±" in written
    assert f"# Models on {data} (synthetic benchmark 2, preset tiny), 2 seeds" in written


def test_evaluate_writes_scores_and_submission(data, trained, tmp_path):
    out = ["--scores", tmp_path / "s.txt", "--submission", tmp_path / "prediction.zip"]
    output = run("evaluate", trained, "--data", data, *out, "--by", "clicks")
    assert "group_auc" in output
    assert "By clicks, in percent" in output
    found = read_scores(tmp_path / "s.txt")
    scores, offsets = found.values, found.offsets
    lines = (data / "dev" / "behaviors.tsv").read_text().splitlines()
    assert np.diff(offsets).tolist() == [len(line.split("\t")[4].split()) for line in lines]
    first = zipfile.ZipFile(tmp_path / "prediction.zip").read("prediction.txt").decode().splitlines()[0]
    impression_id, ranks = first.split(" ")
    assert impression_id == lines[0].split("\t")[0]
    order = np.argsort(-scores[: offsets[1]], kind="stable")
    assert json.loads(ranks) == (np.argsort(order, kind="stable") + 1).tolist()

    # An unlabelled test split is scored as well, but not evaluated.
    test = tmp_path / "data" / "test"
    test.mkdir(parents=True)
    (test / "news.tsv").write_bytes((data / "dev" / "news.tsv").read_bytes())
    (test / "behaviors.tsv").write_text("".join(re.sub(r"-[01]\b", "", line) + "\n" for line in lines))
    command = ["evaluate", trained, "--data", tmp_path / "data", "--split", "test"]
    run(*command, "--scores", tmp_path / "test.txt")
    assert (tmp_path / "test.txt").read_bytes() == (tmp_path / "s.txt").read_bytes()
    refused = invoke(*command)
    assert refused.exit_code == 2
    assert "no labels" in refused.output

    (tmp_path / "data" / "conversion.json").write_text('{"converter": "ebnerd"}')
    for option, name in (([], "predictions.txt"), (["--submission-file", "prediction.txt"], "prediction.txt")):
        run(*command, "--submission", tmp_path / "test.zip", *option)
        assert zipfile.ZipFile(tmp_path / "test.zip").namelist() == [name]


def test_an_ensemble_joins_ranks(data, trained, tmp_path):
    alone, twice = tmp_path / "alone.zip", tmp_path / "twice.zip"
    one = run("evaluate", trained, "--data", data, "--submission", alone)
    both = run("ensemble", trained, trained / "model", "--data", data, "--submission", twice)
    assert twice.read_bytes() == alone.read_bytes()
    metrics = [json.loads(output[output.index("{") : output.index("}") + 1]) for output in (one, both)]
    assert metrics[0] == pytest.approx(metrics[1])


@pytest.mark.slow
def test_training_with_dev_joins_both(data, tmp_path):
    run("train", "--hparams", "miner", "--data", data, "--out", tmp_path / "run", "--with-dev", *OPTIONS)
    joined = tmp_path / "run" / "train-and-dev" / "train"
    lines = [(folder / "behaviors.tsv").read_text().splitlines() for folder in (data / "train", data / "dev", joined)]
    assert len(lines[0] + lines[1]) == len(lines[2])
    assert (tmp_path / "run" / "model" / "model.keras").exists()
    other = shutil.copytree(data, tmp_path / "other")
    (other / "dev" / "behaviors.tsv").write_text("".join(f"{one}\n" for one in lines[1][1:]))
    run("train", "--hparams", "miner", "--data", other, "--out", tmp_path / "run", "--with-dev", *OPTIONS)
    assert len((joined / "behaviors.tsv").read_text().splitlines()) == len(lines[2]) - 1


def test_recommend_shows_titles(data, trained):
    news = data / "dev" / "news.tsv"
    ids = [line.split("\t")[0] for line in news.read_text().splitlines()[:3]]
    output = run("recommend", trained, "--news", news, "--history", ", ".join(ids), "-k", 4)
    assert "clicked 3 articles" in output
    assert output.count("N") >= 4


def test_recommend_many_users_from_a_pool_of_their_own(data, trained, tmp_path):
    news = data / "dev" / "news.tsv"
    lines = news.read_text().splitlines(keepends=True)
    ids = [line.split("\t")[0] for line in lines]
    (tmp_path / "old.tsv").write_text("".join(lines[:20]))
    (tmp_path / "new.tsv").write_text("".join(lines[15:40]))
    (tmp_path / "ids.txt").write_text("\n".join([*ids[15:18], "gone"]) + "\n")
    (tmp_path / "users.tsv").write_text(f"U1\t{ids[0]} gone {ids[16]}\nU2\t\nU3\tgone,away\n")
    command = ["recommend", trained, "--news", tmp_path / "old.tsv", "--histories", tmp_path / "users.tsv"]

    found = invoke(*command, "--pool", tmp_path / "new.tsv", "-k", 30, "--json", "-")
    documents = [json.loads(line) for line in found.stdout.splitlines()]
    assert [of["user"] for of in documents] == ["U1", "U2", "U3"]
    assert [of["history"] for of in documents] == [[ids[0], ids[16]], [], []]
    assert [of["ignored"] for of in documents] == [["gone"], [], ["gone", "away"]]
    chosen = [[article["id"] for article in of["recommended"]] for of in documents]
    assert set(chosen[0]) == set(ids[15:40]) - {ids[16]}
    assert chosen[1] == chosen[2] != ids[15:40]
    assert set(chosen[1]) == set(ids[15:40])
    scores = [article["score"] for article in documents[0]["recommended"]]
    assert scores == sorted(scores, reverse=True)
    said = "3 clicks, in 2 of 3 histories, are on articles that are not among the news, and ignored: gone, away"
    assert said in found.stderr

    out = tmp_path / "out.jsonl"
    output = run(*command, "--pool", tmp_path / "ids.txt", "--json", out)
    assert "3 histories written to" in output
    assert [len(json.loads(line)["recommended"]) for line in out.read_text(encoding="utf-8").splitlines()] == [2, 3, 3]
    shown = run(*command, "-k", 2)
    assert "For user U1, who clicked 2 articles" in shown
    assert "For user U3, who clicked 0 articles" in shown
    alone = json.loads(run("recommend", trained, "--news", news, "--history", ids[0], "--user", "U1", "--json", "-"))
    assert (alone["user"], alone["history"], len(alone["recommended"])) == ("U1", ids[:1], 10)


def test_recommend_says_what_is_wrong(data, trained, failing, tmp_path):
    news, users = data / "dev" / "news.tsv", tmp_path / "users.tsv"
    users.write_text("U1\tN1\nN2 N3\n")
    assert f"{users}, line 2: there are 1 columns" in failing(
        "recommend", trained, "--news", news, "--histories", users
    )
    (tmp_path / "pool").write_text("gone\n")
    assert "none of its ids is among the news" in failing(
        "recommend", trained, "--news", news, "--pool", tmp_path / "pool"
    )
    refused = invoke("recommend", trained, "--news", news, "--histories", users, "--user", "U1")
    assert refused.exit_code == 2
    assert "--histories" in refused.output
    all_users = ["--all-users", data / "dev" / "behaviors.tsv", "--parquet", tmp_path / "all.parquet"]
    refused = invoke("recommend", trained, "--news", news, *all_users, "--json", tmp_path / "all.json")
    assert refused.exit_code == 2
    assert "--json" in refused.output


@pytest.mark.parametrize(
    ("command", "option"),
    [("evaluate", "--scores"), ("evaluate", "--submission"), ("recall", "--json"), ("explain", "--figure")],
)
def test_a_file_called_like_standard_output_is_refused_where_none_goes_there(command, option):
    needed = ["--impression", 1] if command == "explain" else []
    refused = invoke(command, "run", "--data", "data", *needed, option, "-")
    assert refused.exit_code == 2
    assert f"'{option}'" in refused.output
    assert "does not go to standard output" in " ".join(refused.output.replace("│", " ").split())


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


def test_version_and_models():
    assert run("--version") == f"recommenders-miner {recommenders_miner.__version__}\n"
    listed = run("models")
    assert all(f"\n{name} " in listed for name in MODELS)
    assert all(text in listed for text in ("miner-knowledge", "2019  title, user id", "2022  pieces, category"))


# === Mistakes ===


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "convert-dict word_dict.pkl",
            "word_dict.pkl: the path does not exist; expected JSON, or a pickle, of a dictionary",
        ),
        ("train --data nowhere --out x", "nowhere/train/news.tsv: is missing"),
        ("train --data {data} --out x -o bacth_size=3", "Did you mean 'batch_size'"),
        ("train --data {data} --out x --hparams nrms -o nrms.bacth_size=3", "Did you mean 'batch_size'"),
        ("train --data {data} --out x --hparams nrms -o nrms.batch_size=0", "batch_size: Input should be greater"),
        ("train --data {data} --out x -o nrms.epochs=3", "nrms.epochs: there is no model 'nrms' here; there are miner"),
        ("train --data {data} --out x -o metrics=[group_auc,hit@-5]", "metrics: Unknown metric 'hit@-5'"),
        ("train --data {data} --out x -o negatives=random", "negatives: expected one of impression, popularity"),
        ("train --data {data} --out x --hparams naml -o cnn_activation=sigmoide", "cnn_activation: Keras has no such"),
        ("train --data {data} --out x --hparams dkn -o window_sizes=[99]", "window_sizes: expected one or more, none"),
        ("train --data {data} --out x --hparams hierec -o topic_weight=0.9", "topic_weight, subtopic_weight: add up"),
        ("compare --data {data} --out x --models nrms,npa -o bacth_size=3", "Did you mean 'batch_size'"),
        ("compare --data nowhere --out x --models bert4rec", "no hyperparameter file bert4rec"),
        ("evaluate nowhere --data {data}", "holds no saved model"),
        ("inspect nowhere", "nowhere: holds neither news.tsv and behaviors.tsv"),
    ],
)
def test_mistakes_are_one_line_and_status_one(arguments, message, failing, monkeypatch, tmp_path, data):
    monkeypatch.chdir(tmp_path)
    assert message in failing(*arguments.format(data=data).split()).replace("\n", " ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["yaml_file=nrms", "nrms.yaml_file=nrms"])
def test_an_option_cannot_name_another_hyperparameter_file(option, data, tmp_path):
    refused = invoke("compare", "--data", data, "--models", "nrms", "--out", tmp_path / "out", "-o", option)
    assert refused.exit_code == 2
    assert "no hyperparameter; files are named by --hparams" in " ".join(refused.output.replace("│", " ").split())


@pytest.mark.parametrize("name", MARKUP)
def test_names_and_texts_of_users_are_printed_as_they_are(tmp_path, failing, capsys, name):
    assert failing("inspect", f"{tmp_path}{name}").startswith(f"Error: {tmp_path}{name}: holds neither news.tsv and")
    (tmp_path / "news.tsv").write_text("N1\tc\ts\tA title\t\t\t[]\t[]\n")
    (tmp_path / "behaviors.tsv").write_text(f"1\tU1\t{name}\t\tN1-1\n")
    assert f"got {name!r}" in failing("split", tmp_path, tmp_path / "out")
    console.print(f"Written to {name}.")
    assert capsys.readouterr().out == f"Written to {name}.\n"
    with pytest.raises(typer.Exit), resumable(name):
        raise KeyboardInterrupt
    assert f"What is finished is in {name};" in capsys.readouterr().err


def test_an_error_of_our_own_has_a_traceback_and_asks_to_be_reported(failing, monkeypatch):
    def fail(folder):
        raise KeyError("of our own")

    monkeypatch.setattr("recommenders_miner.inspection.inspect_data", fail)
    said = failing("inspect", "x")
    assert "Traceback" in said
    assert "KeyError: 'of our own'" in said
    assert said.rstrip().endswith("Please report it, with the lines above and the command.")


def test_what_the_system_refuses_is_one_line(failing, monkeypatch):
    def refuse(folder):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "d/train/news.tsv")

    monkeypatch.setattr("recommenders_miner.inspection.inspect_data", refuse)
    assert failing("inspect", "d") == "Error: d/train/news.tsv: Permission denied\n"


# === The terminal's encoding ===


@pytest.fixture(params=["latin-1", "cp1252", "gbk", "ascii", "utf-8"])
def terminal(request, monkeypatch):
    """Runs commands on a terminal of some encoding; returns what arrives there, as bytes, and the encoding."""

    def run_on(*arguments):
        written = io.BytesIO()
        stream = io.TextIOWrapper(written, encoding=request.param, errors="strict")
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "argv", ["recommenders-miner", *map(str, arguments)])
        with contextlib.suppress(SystemExit):
            main()
        stream.flush()
        return written.getvalue(), request.param

    return run_on


def test_no_output_dies_of_the_terminals_encoding(terminal, tmp_path):
    folder = tmp_path / "新闻-naïve-நாள்"
    folder.mkdir()
    articles = "".join(f"N{i}\t体育{i} … நாள்\t足球\tŁódź ± 新闻\t\t\t[]\t[]\n" for i in range(30))
    (folder / "news.tsv").write_text(articles, encoding="utf-8")
    (folder / "behaviors.tsv").write_text("1\tU新\t11/12/2019 9:00:00 AM\t\tN1-1 N2-0\n", encoding="utf-8")
    shown, encoding = terminal("inspect", folder, "--out", tmp_path / "out")
    assert "What is there" in shown.decode(encoding)
    assert ("体育" in shown.decode(encoding)) == (encoding in ("gbk", "utf-8"))
    assert "体育" in (tmp_path / "out" / "inspect.md").read_text(encoding="utf-8"), "files are UTF-8 whatever that is"


def test_json_on_the_terminal_is_whole_in_every_encoding(terminal, monkeypatch):
    document = {"titles": ["新闻 … நாள்", "café", "🙂"]}
    monkeypatch.setattr("recommenders_miner.inspection.inspect_data", lambda folder: print_json(document))
    shown, encoding = terminal("inspect", "x")
    assert json.loads(shown.decode(encoding)) == document


# === What an import does ===


def test_help_and_import_load_nothing_heavy():
    code = "import sys, recommenders_miner, recommenders_miner.cli; print(*{m.split('.')[0] for m in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    heavy = {"keras", "tensorflow", "jax", "pandas", "pyarrow", "matplotlib", "sklearn", "requests", "huggingface_hub"}
    assert not heavy & set(loaded)
    assert {"MINERModel", "CAUMModel", "prepare_hparams", "layers"} <= set(recommenders_miner.__all__)
    assert set(recommenders_miner.__all__) == set(dir(recommenders_miner))
    assert all(hasattr(recommenders_miner, name) for name in recommenders_miner.__all__)


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


def test_the_c_library_is_left_alone_where_the_user_says_so(monkeypatch):
    monkeypatch.setenv("RECOMMENDERS_MINER_MALLOC", "default")
    assert not keep_freed_memory.__wrapped__()


def test_a_name_that_is_not_there_is_an_error():
    with pytest.raises(AttributeError, match="no attribute 'Bert4Rec'"):
        _ = recommenders_miner.Bert4Rec
