"""The runner: a finished run is not made again, a stopped one goes on, other settings are another run; overrides."""

import json
import shutil

import keras
import numpy as np
import pytest

from recommenders_miner.data.ingest import ingest
from recommenders_miner.datasets.synthetic.benchmark import write_synthetic_benchmark
from recommenders_miner.errors import HParamsError
from recommenders_miner.experiments import runs as runs_module
from recommenders_miner.experiments.compare import compare, compare_trained
from recommenders_miner.experiments.runs import Runs, Variant
from recommenders_miner.hparams import prepare_hparams
from recommenders_miner.models import NRMSModel
from tests.command_line import run

SIZES = {
    "word_embedding": None,
    "word_emb_dim": 8,
    "head_num": 2,
    "head_dim": 4,
    "attention_hidden_dim": 8,
    "epochs": 1,
}


@pytest.fixture
def trainings(monkeypatch):
    """The learning rate of each training that was begun."""
    begun, fit = [], NRMSModel.fit

    def counted(self, *args, **kwargs):
        begun.append(self.hparams.learning_rate)
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(NRMSModel, "fit", counted)
    return begun


def hparams(**changes):
    return prepare_hparams("nrms", **{**SIZES, "length_groups": 1, **changes})


def test_a_finished_run_is_not_made_again(data, tmp_path, trainings):
    first = Runs(data, tmp_path).make("nrms", hparams(), 7)
    runs = Runs(data, tmp_path)
    [(name, [again])] = runs.each(runs.plan({"nrms": hparams()}, [7]), [7])
    assert name == "nrms"
    assert len(trainings) == 1
    np.testing.assert_array_equal(first.scores, again.scores)
    assert again.row == first.row
    model = again.load()
    np.testing.assert_allclose(model.score_log(model.read(*runs.dev_paths)), first.scores, atol=1e-5)


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


def test_data_differ_where_articles_do(data, tmp_path):
    copied = shutil.copytree(data, tmp_path / "data")
    assert Runs(copied, tmp_path)._digest == Runs(data, tmp_path)._digest
    (copied / "dev" / "articles.parquet").unlink()
    assert Runs(copied, tmp_path)._digest != Runs(data, tmp_path)._digest


@pytest.mark.slow
def test_an_ingested_log_stands_in_a_comparison(data, tmp_path):
    for split in ("train", "dev"):
        ingest([data / split / "behaviors.tsv"], tmp_path / "data" / split, data / split / "news.tsv", parts=150)
    options = SIZES | {"length_groups": 1}
    ingested, read = (compare(folder, ["nrms"], tmp_path / "out", options) for folder in (tmp_path / "data", data))
    by_name = [{row.model: row.metrics for row in comparison.results} for comparison in (ingested, read)]
    assert by_name[0]["nrms"].keys() == by_name[1]["nrms"].keys()
    assert by_name[0]["popularity"]["group_auc"] == pytest.approx(by_name[1]["popularity"]["group_auc"], abs=1e-12)
    assert run("evaluate", tmp_path / "out" / "runs" / "nrms" / "seed-42", "--data", tmp_path / "data")


@pytest.mark.slow
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
    assert "train_seconds" not in resumed.row.costs  # only its second half was timed
    assert [path.name for path in (tmp_path / "broken" / "nrms").iterdir()] == ["seed-7"]


@pytest.mark.slow
def test_a_trained_models_row_is_the_one_of_compare(data, tmp_path):
    [*references, compared] = compare(data, ["nrms"], tmp_path / "out", SIZES, seeds=[7]).results
    model = NRMSModel(prepare_hparams("nrms", **SIZES), seed=7)
    model.fit(data / "train" / "news.tsv", data / "train" / "behaviors.tsv", verbose=0)
    found = compare_trained(model, "nrms", data)
    assert found.results[1:] == references
    row = found.results[0]
    assert (row.model, row.costs) == ("nrms", {"parameters": compared.costs["parameters"]})
    assert row.metrics.keys() == compared.metrics.keys()
    for name, value in row.metrics.items():
        np.testing.assert_allclose(value, compared.metrics[name], rtol=1e-5)


def test_an_override_holds_for_the_models_that_have_it_and_has_to_be_of_one():
    overrides = {"head_num": 3, "user_emb_dim": 8}
    assert Variant("nrms").hparams("paper", overrides) == prepare_hparams("nrms", head_num=3)
    assert Variant("npa").hparams("paper", overrides).user_emb_dim == 8
    with pytest.raises(HParamsError, match=r"unknown hyperparameter 'user_emb_dmi'. Did you mean 'user_emb_dim'\?"):
        Variant("nrms").hparams("paper", {"user_emb_dmi": 8})


def test_the_overrides_of_a_variant_win_over_its_changes_and_these_over_the_scale():
    variant = Variant("miner-k2", "miner", {"num_interests": 2})
    assert variant.hparams("fast", {}).num_interests == 2
    assert variant.hparams("fast", {"num_interests": 3}).num_interests == 3
    assert variant.hparams("paper", {"scale": "fast"}) == variant.hparams("fast", {})
