"""Processes are killed at random moments, and nothing that they leave is misread, from downloads to comparisons.

After every kill the next run finds what was there before or what was being written, whole, or nothing. KILLS=30 kills
thirty of each kind. tests/test_storage.py kills whoever writes a file or a folder at every one of its system calls.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import shutil
import sys
import time

import numpy as np
import pytest

from recommenders_miner.data.log import CACHE_FOLDER, ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.datasets.fetch import download
from tests.data.written_log import is_mapped
from tests.datasets import loopback

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="there is no forkserver")]
KILLS = int(os.environ.get("KILLS", "2"))
TRAINING = (
    "word_emb_dim=8 head_num=2 head_dim=4 attention_hidden_dim=8 batch_size=64 length_groups=1 epochs=4 dropout=0.2 "
    "word_embedding=null"
)


@pytest.fixture(scope="module")
def processes():
    """What processes are forked from, with the costly imports done once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["recommenders_miner.cli", "recommenders_miner.models"])
        yield context


def kills(processes, *work):
    """Do some work, then time and again kill it at random moments.

    Yields None when it has ended the first time, and after each later one, killed or not, whether to begin anew.
    """
    rng, seconds, killed = random.Random(1), None, 0
    while killed < KILLS:
        ours, theirs = processes.Pipe()
        process = processes.Process(target=report, args=(theirs, *work), daemon=True)
        process.start()
        theirs.close()
        assert ours.recv() == "begun"
        began = time.perf_counter()
        ended = ours.poll(seconds and rng.uniform(0, seconds))
        took = time.perf_counter() - began
        assert not ended or ours.recv() == "done"
        process.kill()
        process.join()
        killed += not ended
        yield None if seconds is None else rng.random() < 0.5
        seconds = seconds or took


def report(pipe, work, *arguments):
    pipe.send("begun")
    work(*arguments)
    pipe.send("done")


def test_downloads(processes, tmp_path):
    content, path = random.Random(0).randbytes(2**21), tmp_path / "file"
    with loopback.running() as server:
        server.serve("/file", loopback.whole(content, pause=0.003))
        for finish in kills(processes, download, f"{server.url}/file", path):
            assert not path.exists() or path.read_bytes() == content
            if finish is not False:
                assert download(f"{server.url}/file", path).read_bytes() == content
                path.unlink()
        assert any("Range" in headers for _, headers in server.requests), "no part was gone on with"


def read_log(news_file, behaviors_file):
    return ImpressionLog.read(behaviors_file, NewsTable.read(news_file))


def test_caches(processes, data, tmp_path):
    news_file, behaviors = data / "train" / "news.tsv", tmp_path / "behaviors.tsv"
    behaviors.write_bytes((data / "train" / "behaviors.tsv").read_bytes() * 40)
    expected = ImpressionLog.read(behaviors, NewsTable.read(news_file), cache=False).digest
    for finish in kills(processes, read_log, news_file, behaviors):
        log = read_log(news_file, behaviors)
        assert all(map(is_mapped, (log.labels, log.candidates.values, log.histories.values)))
        assert ImpressionLog(**{**vars(log), "key": None}).digest == expected
        if finish is not False:
            shutil.rmtree(tmp_path / CACHE_FOLDER)


def train(data, out):
    import tensorflow as tf

    from tests.command_line import run

    tf.config.run_functions_eagerly(True)  # to compile graphs would take most of the time that kills can fall into
    options = itertools.chain.from_iterable(("-o", option) for option in TRAINING.split())
    run("train", "--hparams", "nrms", "--data", data, "--out", out, "--resume", *options)


def test_trainings(processes, data, tmp_path):
    from recommenders_miner.models import load_model

    expected, out = None, tmp_path / "run"
    for finish in kills(processes, train, data, out):
        if finish is None:
            expected = load_model(out / "model")
        elif finish:
            train(data, out)
            model = load_model(out / "model")
            for one, other in zip(model.network.weights, expected.network.weights, strict=True):
                np.testing.assert_allclose(np.array(one), np.array(other), rtol=0, atol=1e-6)
            assert [set(epoch) for epoch in model.history] == [set(epoch) for epoch in expected.history]
        if finish is not False:
            shutil.rmtree(out)


def compare_models(data, out):
    import tensorflow as tf

    from recommenders_miner.cli.app import parse_overrides
    from recommenders_miner.experiments.compare import compare

    tf.config.run_functions_eagerly(True)
    return compare(data, ["libfm", "dkn", "nrms"], out, parse_overrides([*TRAINING.split(), "factor_dim=4"]))


def test_comparisons(processes, data, tmp_path):
    folder, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(data, folder, ignore=shutil.ignore_patterns(".*"))
    (folder / "train" / "entity_embedding.vec").write_text("Q1\tnot a number\n")
    expected = compare_models(folder, tmp_path / "unbroken")
    assert expected.failed.keys() == {"dkn"}
    for finish in kills(processes, compare_models, folder, out):
        if finish is not False:
            found = compare_models(folder, out)
            assert found.failed == expected.failed
            for one, other in zip(found.results, expected.results, strict=True):
                assert (one.model, one.metrics) == (other.model, pytest.approx(other.metrics, abs=1e-6))
            shutil.rmtree(out)
