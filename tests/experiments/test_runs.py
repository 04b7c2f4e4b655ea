"""Runs that are kept: a finished one is not made again, a stopped one goes on, other settings are another run."""

import json

import keras
import numpy as np
import pytest

from recommenders_miner.datasets.synthetic.benchmark import write_synthetic_benchmark
from recommenders_miner.experiments import runs as runs_module
from recommenders_miner.experiments.runs import Runs
from recommenders_miner.hparams import prepare_hparams

SMALL = {"word_emb_dim": 8, "head_num": 2, "head_dim": 4, "attention_hidden_dim": 8, "length_groups": 1}


@pytest.fixture
def trainings(monkeypatch):
    """Counts how often a model is trained."""
    begun = []
    nrms = runs_module.MODELS["nrms"]

    class Counted(nrms):
        def fit(self, *args, **kwargs):
            begun.append(self.hparams.learning_rate)
            return super().fit(*args, **kwargs)

    monkeypatch.setitem(runs_module.MODELS, "nrms", Counted)
    Counted.__name__ = nrms.__name__  # saved models are found again by their class
    return begun


def hparams(**changes):
    return prepare_hparams("nrms", **{**SMALL, "epochs": 1, **changes})


def test_a_finished_run_is_not_made_again(data, tmp_path, trainings):
    first = Runs(data, tmp_path).make("nrms", hparams(), 7)
    again = Runs(data, tmp_path).make("nrms", hparams(), 7)
    assert len(trainings) == 1
    np.testing.assert_array_equal(first.scores, again.scores)
    assert again.row == first.row
    dev = Runs(data, tmp_path).dev
    model = again.load()
    np.testing.assert_allclose(
        model.score_log(model.read(dev.files.news, dev.files.behaviors)), first.scores, atol=1e-5
    )


@pytest.mark.slow
def test_other_settings_seeds_and_data_are_other_runs(data, tmp_path, trainings):
    runs = Runs(data, tmp_path)
    runs.make("nrms", hparams(), 7)
    runs.make("nrms", hparams(learning_rate=0.02), 7)
    runs.make("nrms", hparams(learning_rate=0.02), 8)
    assert trainings == [1e-3, 0.02, 0.02]
    described = json.loads((tmp_path / "nrms" / "seed-7" / "run.json").read_text())
    assert described["identity"]["hparams"]["train"]["learning_rate"] == 0.02
    other = tmp_path / "other"
    write_synthetic_benchmark(other, "tiny", seed=1)
    Runs(other, tmp_path).make("nrms", hparams(learning_rate=0.02), 8)
    assert len(trainings) == 4


def test_a_stopped_run_goes_on_and_ends_as_an_unbroken_one(data, tmp_path, monkeypatch):
    unbroken = Runs(data, tmp_path / "unbroken").make("nrms", hparams(epochs=2), 7)

    class Stop(keras.callbacks.Callback):
        def __init__(self, report):
            super().__init__()

        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(runs_module, "TrainingBar", Stop)
        with pytest.raises(KeyboardInterrupt):
            Runs(data, tmp_path / "broken").make("nrms", hparams(epochs=2), 7)
    assert not (tmp_path / "broken" / "nrms" / "seed-7").exists()
    resumed = Runs(data, tmp_path / "broken").make("nrms", hparams(epochs=2), 7)
    np.testing.assert_allclose(resumed.scores, unbroken.scores, atol=1e-5)
    assert resumed.row.train_seconds is None  # only its second half was timed
    assert [path.name for path in (tmp_path / "broken" / "nrms").iterdir()] == ["seed-7"]
