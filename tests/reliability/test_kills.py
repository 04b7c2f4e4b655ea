"""Processes are killed at random moments, and nothing that they leave is misread: downloads, caches, models, trainings.

After every kill the next run finds what was there before or what was being written, whole, or nothing.
KILLS=30 kills thirty of each kind.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import shutil
import sys
import time
from unittest import mock

import numpy as np
import pytest

from recommenders_miner.data.log import CACHE_FOLDER, ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.datasets import mind
from recommenders_miner.datasets.fetch import download
from recommenders_miner.errors import RecommendersMinerError
from tests.datasets import loopback, mind_like

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="there is no forkserver")]
KILLS = int(os.environ.get("KILLS", "8"))
TRAINING = (
    "word_emb_dim=8 head_num=2 head_dim=4 attention_hidden_dim=8 batch_size=64 length_groups=1 epochs=4 dropout=0.2"
)
BEGUN, DONE = "begun", "done"


@pytest.fixture(scope="module")
def processes():
    """What processes are forked from, with the costly imports done once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["recommenders_miner.cli", "recommenders_miner.models"])
        yield context


class Killer:
    """Kills processes at random moments of some work that it has timed."""

    def __init__(self, processes, *work):
        self.processes, self.work, self.rng = processes, work, random.Random(1)
        self.seconds = self._run(None)

    def kills(self):
        """Yield after each process that died while at work."""
        killed = 0
        while killed < KILLS:
            killed += self._run(self.rng.uniform(0, self.seconds)) is None
            yield

    def now_and_then(self):
        return self.rng.random() < 0.5

    def _run(self, most_seconds):
        """Do the work in a process, until it has ended or is killed; return the seconds that it took, if it ended."""
        ours, theirs = self.processes.Pipe()
        process = self.processes.Process(target=_report, args=(theirs, *self.work), daemon=True)
        process.start()
        theirs.close()
        assert ours.recv() == BEGUN
        began = time.perf_counter()
        ended = ours.poll(most_seconds)
        took = time.perf_counter() - began
        assert not ended or ours.recv() == DONE
        process.kill()
        process.join()
        return took if ended else None


def _report(pipe, work, *arguments):
    pipe.send(BEGUN)
    work(*arguments)
    pipe.send(DONE)


# === Fetching ===


def test_downloads(processes, tmp_path):
    content, path = random.Random(0).randbytes(2**21), tmp_path / "file"
    with loopback.running() as server:
        server.serve("/file", loopback.whole(content, pause=0.003))
        killer = Killer(processes, download, f"{server.url}/file", path)
        path.unlink()
        for _ in killer.kills():
            assert not path.exists() or path.read_bytes() == content
            if killer.now_and_then():
                assert download(f"{server.url}/file", path).read_bytes() == content
                path.unlink()
        assert any("Range" in headers for _, headers in server.requests), "no part was gone on with"


def fetch(given, out, facts):
    with mock.patch.object(mind, "known_files", return_value=facts):
        mind.fetch_mind("small", out, source=given, accept_licence=True)


def test_unpacking(processes, tmp_path, monkeypatch):
    monkeypatch.setenv("RECOMMENDERS_MINER_HOME", str(tmp_path / "home"))
    splits = {split: mind_like.split_files(split, 20_000) for split in ("train", "dev")}
    zips = {f"MINDsmall_{split}.zip": mind_like.zipped(files) for split, files in splits.items()}
    facts = {"zips": {}, "small": {split: mind_like.facts(files) for split, files in splits.items()}}
    given, out = mind_like.write(tmp_path / "given", zips), tmp_path / "mind"
    killer = Killer(processes, fetch, given, out, facts)
    shutil.rmtree(out)
    for _ in killer.kills():
        for split in splits:
            assert not (out / split).exists() or mind_like.read(out / split) == splits[split]
        if killer.now_and_then():
            fetch(given, out, facts)
            assert {split: mind_like.read(out / split) for split in splits} == splits
            shutil.rmtree(out)


# === Caches ===


def read_log(news_file, behaviors_file):
    return ImpressionLog.read(behaviors_file, NewsTable.read(news_file))


def test_caches(processes, data, tmp_path):
    news_file, behaviors = data / "train" / "news.tsv", tmp_path / "behaviors.tsv"
    behaviors.write_bytes((data / "train" / "behaviors.tsv").read_bytes() * 40)
    expected = ImpressionLog.read(behaviors, NewsTable.read(news_file), cache=False).digest
    killer = Killer(processes, read_log, news_file, behaviors)
    shutil.rmtree(tmp_path / CACHE_FOLDER)
    for _ in killer.kills():
        log = read_log(news_file, behaviors)
        assert all(isinstance(array, np.memmap) for array in (log.labels, log.candidates.values, log.histories.values))
        in_memory = ImpressionLog(**{**vars(log), "key": None})
        assert in_memory.digest == expected
        if killer.now_and_then():
            shutil.rmtree(tmp_path / CACHE_FOLDER)


# === Models ===


def save_in_turns(first, second, folder):
    from recommenders_miner.models import load_model

    for model in [load_model(first), load_model(second)] * 3:
        model.save(folder)


def are_equal(one, other, tolerance=0.0):
    pairs = zip(one.network.weights, other.network.weights, strict=True)
    return all(np.allclose(np.array(a), np.array(b), rtol=0, atol=tolerance) for a, b in pairs)


def test_saved_models(processes, tmp_path):
    from recommenders_miner.models import load_model
    from tests.models.toy import fresh_toy_model

    folders = tmp_path / "first", tmp_path / "second"
    for seed, folder in enumerate(folders):
        fresh_toy_model("nrms", seed=seed).save(folder)
    first, second = map(load_model, folders)
    saved = tmp_path / "saved"
    killer = Killer(processes, save_in_turns, *folders, saved)
    for _ in killer.kills():
        if saved.exists():
            loaded = load_model(saved)
            assert are_equal(loaded, first) != are_equal(loaded, second)
        else:  # killed between two renamings
            with pytest.raises(RecommendersMinerError):
                load_model(saved)
    first.save(saved)
    assert are_equal(load_model(saved), first)


def train(data, out):
    import tensorflow as tf

    from tests.command_line import run

    tf.config.run_functions_eagerly(True)  # to compile graphs would take most of the time that kills can fall into
    options = itertools.chain.from_iterable(("-o", option) for option in TRAINING.split())
    run("train", "--hparams", "nrms", "--data", data, "--out", out, "--resume", *options)


def test_trainings(processes, data, tmp_path):
    from recommenders_miner.models import load_model

    killer = Killer(processes, train, data, tmp_path / "run")
    expected = load_model(tmp_path / "run" / "model")
    shutil.rmtree(tmp_path / "run")
    for _ in killer.kills():
        if killer.now_and_then():
            train(data, tmp_path / "run")
            model = load_model(tmp_path / "run" / "model")
            assert are_equal(model, expected, tolerance=1e-6)
            assert [set(epoch) for epoch in model.history] == [set(epoch) for epoch in expected.history]
            shutil.rmtree(tmp_path / "run")
