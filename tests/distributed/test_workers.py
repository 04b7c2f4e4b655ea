"""Several workers do what one does; those that die are replaced, and nothing is lost."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import typer

from recommenders_miner import NewsTable, distributed, load_model
from recommenders_miner.cli.app import as_job
from recommenders_miner.data.ingest import ingest
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.distributed import training
from recommenders_miner.distributed.pool import open_pool
from recommenders_miner.errors import HParamsError, RecommendersMinerError, WorkersError
from recommenders_miner.evaluation.metrics import Evaluation, evaluate_scores
from recommenders_miner.evaluation.scoring import LogScorer
from recommenders_miner.models.training import epochs_kept
from tests.distributed import cluster
from tests.models.toy import STILL, fresh_toy_model, unbuilt, write_files

on_jax = pytest.mark.skipif(keras.backend.backend() != "jax", reason="workers train on JAX, and are compared with it")
TOY = {**STILL, "epochs": 13}  # of four steps each


@pytest.mark.slow
@on_jax
@pytest.mark.parametrize("name", ["miner", *(["nrms", "lstur", "deepfm"] if os.environ.get("RELIABILITY") else [])])
def test_two_workers_train_as_one_does(name, tmp_path):
    files = write_files(tmp_path)
    alone = unbuilt(name, **TOY).fit(*files, *files, verbose=0)
    together = distributed.fit(unbuilt(name, **TOY), *files, *files, run_dir=tmp_path / "run", workers=2, verbose=0)
    assert len(together.history) == 13
    assert len(together.recommend([], k=3)) == 3  # as after `fit`, of the training's news
    for one, other in zip(alone.history, together.history, strict=True):
        assert one.keys() == other.keys()
        assert np.isclose(one["loss"], other["loss"], rtol=0, atol=1e-5)
        assert np.isclose(one["val_group_auc"], other["val_group_auc"], rtol=0, atol=1e-9)
    assert np.isclose(together.run_eval(*files)["group_auc"], alone.run_eval(*files)["group_auc"], atol=1e-9)


def _text_of(path):
    try:
        return path.read_text()
    except OSError:  # the process has ended
        return ""


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("RELIABILITY"), reason="takes ten starts of three workers")
@on_jax
def test_ten_kills_of_one_in_three_workers_lose_nothing(tmp_path):
    files = write_files(tmp_path)
    toy = {**TOY, "batch_size": 3, "epochs": 80, "dropout": 0.2}
    unbroken = distributed.fit(unbuilt("miner", **toy), *files, run_dir=tmp_path / "one", workers=3, verbose=0)
    rng, kills = random.Random(0), []

    def kill():
        while len(kills) < 10:
            time.sleep(0.05)
            if (done := epochs_kept(tmp_path / "other" / "checkpoint.npz")) == max(kills, default=0):
                continue  # none gets further after five kills of the same epoch
            time.sleep(rng.uniform(0, 2))
            ours = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(tmp_path / "other") in _text_of(path)]
            if ours:
                os.kill(int(rng.choice(ours).parent.name), signal.SIGKILL)
                kills.append(done)

    threading.Thread(target=kill, daemon=True).start()
    broken = distributed.fit(unbuilt("miner", **toy), *files, run_dir=tmp_path / "other", workers=3, verbose=0)
    print("killed after so many epochs:", kills)
    assert len(kills) == 10
    assert broken.history == unbroken.history


@pytest.mark.slow
@on_jax
def test_what_is_wrong_with_the_data_is_said_once(tmp_path):
    news, behaviors = write_files(tmp_path)
    behaviors.write_text(behaviors.read_text() + "no impression\n")
    with pytest.raises(RecommendersMinerError, match=r"behaviors.tsv, line 15"):
        distributed.fit(unbuilt("nrms"), news, behaviors, run_dir=tmp_path / "run", workers=2, verbose=0)
    assert not (tmp_path / "run" / "model").exists()


def test_what_workers_cannot_do_is_said_before_they_start(tmp_path, monkeypatch):
    run = {"run_dir": tmp_path / "run", "workers": 2}
    with pytest.raises(WorkersError, match=r"gpus_per_worker 0\.5: parts of a GPU can be had on Ray alone"):
        distributed.fit(unbuilt("nrms"), *write_files(tmp_path), **run, gpus_per_worker=0.5)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WorkersError, match="JAX, which is not installed"):
        distributed.fit(unbuilt("nrms"), *write_files(tmp_path), **run)
    assert not (tmp_path / "run").exists()


class _Dies:
    """A group of workers, the first of which dies `times` times, in the last of them behind a checkpoint."""

    def __init__(self, path, times):
        self.path, self.left, self.resumed = path, times, []

    def start(self, task):
        self.resumed.append(task["options"]["resume"])

    def wait(self):
        self.left -= 1
        if self.left == 0:
            record = json.dumps({"epochs_done": 1, "is_evaluated": True}).encode()
            with open(self.path, "wb") as file:
                np.savez(file, record=np.frombuffer(record, "uint8"))
        return "Worker 0 died." if self.left >= 0 else None

    def stop(self):
        pass


@pytest.mark.parametrize("times", [1, 4])
def test_a_run_goes_on_from_its_own_checkpoint_alone(times, tmp_path):
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(b"of another run, and damaged")
    group = _Dies(path, times)
    training._supervise(group, {"options": {"resume": False}}, tmp_path)
    assert group.resumed == [False] * times + [True]
    path.write_bytes(b"damaged")
    with pytest.raises(RecommendersMinerError, match="not a readable checkpoint"):
        training._supervise(_Dies(path, 1), {"options": {"resume": True}}, tmp_path)


@pytest.mark.parametrize("words", [["--address", "http://head:8265"], ["--address=http://head:8265"]])
def test_a_command_that_is_a_job_is_handed_on_without_its_address(words, monkeypatch):
    handed = []
    monkeypatch.setitem(
        sys.modules,
        "recommenders_miner.distributed.job",
        SimpleNamespace(run_job=lambda address, job: handed.append((address, job)) or 3),
    )
    monkeypatch.setattr(sys, "argv", ["recommenders-miner", "evaluate", "run", *words])
    with pytest.raises(typer.Exit) as ended:
        as_job("http://head:8265")
    assert ended.value.exit_code == 3
    [(address, job)] = handed
    assert address == "http://head:8265"
    assert " ".join(job).replace("=", " ") == "evaluate run --address auto"


def test_workers_share_a_batch_evenly(tmp_path):
    with pytest.raises(HParamsError, match="batch_size 4 is no multiple of the 3 workers"):
        distributed.fit(unbuilt("nrms"), *write_files(tmp_path), run_dir=tmp_path / "run", workers=3)


@pytest.mark.slow
def test_two_workers_score_and_recommend_as_one_does(tmp_path):
    files = write_files(tmp_path)
    model = fresh_toy_model("miner")
    model.save(tmp_path / "model")
    model = load_model(tmp_path / "model")
    data = model.read(*files)
    [(log, scores)] = distributed.score_parts(model, data, files, workers=2)
    assert np.allclose(scores.values, model.score_log(data), rtol=0, atol=1e-6)
    model.set_news(files[0])
    batches = distributed.recommend_all_users(tmp_path / "model", log, NewsTable.read(files[0]), k=3, workers=2)
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert [row["user"] for row in rows] == log.users.to_pylist()
    for row in rows:
        last = max(np.flatnonzero(log.user_of == log.users.index(row["user"]).as_py()))
        slots = log.candidates.places(np.array([last])).values
        clicked = [*log.histories[log.history_of[last]], *log.candidates.values[slots][log.labels[slots] == 1]]
        expected = model.recommend([data.news.ids[int(article)].as_py() for article in clicked], k=3, user=row["user"])
        assert row["news"] == [news_id for news_id, _ in expected]
        assert np.allclose(row["score"], [score for _, score in expected], rtol=0, atol=1e-6)


@pytest.mark.slow
def test_an_ingested_log_is_scored_part_by_part(tmp_path):
    files = write_files(tmp_path)
    model = fresh_toy_model("lstur")  # which knows users by their ids
    model.save(tmp_path / "model")
    model = load_model(tmp_path / "model")
    ingest([files[1]], tmp_path / "split", files[0], parts=3)
    data = model.read(tmp_path / "split" / "news.tsv", tmp_path / "split" / "behaviors")
    pair = tmp_path / "split" / "news.tsv", tmp_path / "split" / "behaviors"
    parts = list(distributed.score_parts(model, data, pair, workers=1))
    assert len(parts) == 3
    assert sum(len(log) for log, _ in parts) == 14
    expected = dict(zip(model.read(*files).log.impression_id, np.split(*split_scores(model, files)), strict=True))
    for log, scores in parts:
        for number, of_impression in zip(log.impression_id, scores, strict=True):
            assert np.allclose(of_impression, expected[number], rtol=0, atol=1e-6)


def split_scores(model, files):
    """A log's scores, and where each impression's end."""
    data = model.read(*files)
    return model.score_log(data), data.log.candidates.offsets[1:-1]


@pytest.mark.slow
@pytest.mark.parametrize("address", [*([None] if os.environ.get("RELIABILITY") else []), "local"])
def test_what_a_killed_worker_was_doing_is_done_again(address, tmp_path):
    with open_pool(cluster.Dies, (tmp_path,), 2, address) as pool:
        two = pool.share({"two": np.array([2])})
        assert list(pool.map("double", [(number, two) for number in range(8)])) == [2 * number for number in range(8)]
        assert len(list(tmp_path.iterdir())) == 3
        with pytest.raises(WorkersError, match="died"):
            list(pool.map("never", [()]))


@pytest.mark.slow
def test_tasks_are_taken_as_they_are_needed(tmp_path):
    taken = itertools.count()
    with open_pool(cluster.Dies, (tmp_path,), 1) as pool:
        two = pool.share({"two": np.array([2])})
        found = pool.map("double", ((3 * number + 1, two) for number in taken))
        assert list(itertools.islice(found, 4)) == [2, 8, 14, 20]
    assert next(taken) < 8


@pytest.mark.parametrize("parts", [1, 3])
def test_evaluations_of_parts_join_to_that_of_the_whole(parts):
    rng = np.random.default_rng(1)
    lengths = rng.integers(2, 9, 60)
    scores = Ragged.of_lengths(rng.random(lengths.sum()), lengths)
    labels = (rng.random(lengths.sum()) < 0.4).astype("int8")
    whole = evaluate_scores(scores.values, labels, scores.offsets)
    found = []
    for rows in np.array_split(np.arange(60), parts):
        part, of_part = scores.take(rows), Ragged(labels, scores.offsets).take(rows)
        found.append(evaluate_scores(part.values, of_part.values, part.offsets))
    joined = Evaluation.joined(found)
    assert (joined.num_impressions, joined.num_left_out) == (whole.num_impressions, whole.num_left_out)
    for name in whole.metrics:
        assert np.isclose(joined.metrics[name], whole.metrics[name], rtol=0, atol=1e-12)
        assert np.isclose(joined.standard_errors[name], whole.standard_errors[name], rtol=1e-9)


def test_users_are_dealt_whole(tmp_path):
    model = fresh_toy_model("nrms")
    data = model.read(*write_files(tmp_path))
    scorer: LogScorer = model.log_scorer
    users = scorer.distinct_users(data.log, data.users)
    dealt = scorer.deal(data.log, users, 3)
    assert np.array_equal(np.sort(np.concatenate(dealt)), np.arange(len(data.log)))
    of_workers = [set(users.of_impression[impressions]) for impressions in dealt]
    assert sum(map(len, of_workers)) == len(set.union(*of_workers))


@pytest.mark.slow
def test_a_node_dies_and_comes_back(data, tmp_path):
    if problem := cluster.why_not():
        pytest.skip(problem)
    command = [cluster.BIN / "recommenders-miner", "train", "--hparams", "nrms", "--scale", "fast", "--data", data]
    command += ["-o", "epochs=3", "--workers", "2"]

    def train(out, **options):
        return subprocess.Popen(
            cluster.inside("rm-a", *command, "--out", out, "--address", cluster.ADDRESS),
            env=cluster.ENVIRONMENT,
            stdout=open(tmp_path / f"{out.name}.log", "w"),
            stderr=subprocess.STDOUT,
        )

    with cluster.two_nodes() as nodes:
        broken = tmp_path / "broken"
        process = train(broken)
        while not (broken / "checkpoint.npz").exists():
            assert process.poll() is None, (tmp_path / "broken.log").read_text()
            time.sleep(0.05)
        cluster.kill(nodes["rm-b"])
        time.sleep(2)
        nodes["rm-b"] = cluster.start("rm-b")
        assert process.wait() == 0, (tmp_path / "broken.log").read_text()
        assert "All start again" in (tmp_path / "broken.log").read_text()
        evaluate = [cluster.BIN / "recommenders-miner", "evaluate", broken, "--data", data, "--workers", "2"]
        said = subprocess.run(
            cluster.inside("rm-a", *evaluate, "--address", cluster.ADDRESS),
            env=cluster.ENVIRONMENT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    unbroken = tmp_path / "unbroken"
    subprocess.run([*map(str, command), "--out", str(unbroken)], check=True, capture_output=True)
    histories = [json.loads((run / "model" / "model.json").read_text())["history"] for run in (broken, unbroken)]
    for one, other in zip(*histories, strict=True):
        assert np.allclose(list(one.values()), list(other.values()), rtol=0, atol=1e-6)
    assert np.isclose(json.loads(said[said.index("{") : said.index("}") + 1])["group_auc"], one["val_group_auc"])
