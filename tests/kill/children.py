"""What the processes do that are killed. Each says over its pipe when it begins, and when it has ended alive."""

from __future__ import annotations

import itertools
import os
import unittest.mock
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable

BEGUN, DONE = "begun", "done"
TRAINING = (
    "word_emb_dim=8 head_num=2 head_dim=4 attention_hidden_dim=8 batch_size=64 length_groups=1 epochs=8 dropout=0.2"
)


def build_cache(pipe: Connection, news_file: Path, behaviors_file: Path) -> None:
    """Reads a log, which keeps its cache beside it."""
    news = NewsTable.read(news_file)
    pipe.send(BEGUN)
    ImpressionLog.read(behaviors_file, news)
    pipe.send(DONE)


def save_in_turns(pipe: Connection, models: tuple[Path, Path], folder: Path) -> None:
    """Saves two models to one folder, over each other, until it is killed."""
    from recommenders_miner.models import load_model

    run_eagerly()
    turns = itertools.cycle([load_model(model) for model in models])
    pipe.send(BEGUN)
    for model in turns:
        model.save(folder)


def train(pipe: Connection, data: Path, out: Path) -> None:
    """Trains as the command line does, from the checkpoint that is there."""
    from typer.testing import CliRunner

    from recommenders_miner.cli import app

    run_eagerly()
    options = [word for option in TRAINING.split() for word in ("-o", option)]
    arguments = ["train", "--hparams", "nrms", "--data", str(data), "--out", str(out), "--resume", *options]
    pipe.send(BEGUN)
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    pipe.send(DONE)


def fetch(pipe: Connection, out: Path, home: Path, facts: dict[str, Any], source: Path | None, hub: str) -> None:
    """Gets MIND of the size that `facts` says, from a hub on this machine or from what the user has."""
    from recommenders_miner.datasets import fetch as download
    from recommenders_miner.datasets import mind

    os.environ["RECOMMENDERS_MINER_HOME"] = str(home)
    with (
        unittest.mock.patch.object(mind, "known_files", return_value=facts),
        unittest.mock.patch.object(download, "PAUSE_SECONDS", 0.01),
        unittest.mock.patch("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", hub),
        unittest.mock.patch("huggingface_hub.utils._headers.get_token", return_value=None),
    ):
        pipe.send(BEGUN)
        mind.fetch_mind("small", out, source=source, accept_licence=True)
    pipe.send(DONE)


def run_eagerly() -> None:
    """Leaves out the compilation of graphs, which would take most of the time that kills can fall into."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
