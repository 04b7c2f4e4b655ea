"""Selecting an epoch on what is held out of the training impressions."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from recommenders_miner.data.sampling import hold_out
from recommenders_miner.errors import HParamsError
from recommenders_miner.models import training
from tests.models.toy import toy_hparams, toy_log, toy_news, unbuilt, write_files

HELD_OUT = {"held_out": "users", "held_out_share": 0.34, "metrics": ["group_auc"]}


@pytest.fixture
def files(tmp_path):
    return write_files(tmp_path)


@pytest.fixture
def scripted(monkeypatch):
    """Makes what is held out come out as a script says, and returns the weights after each epoch, as a checksum."""

    def script(*values):
        weights, left = [], list(values)

        def evaluate(self, data):
            weights.append(checksum(self.network))
            return type("Found", (), {"metrics": {"group_auc": left.pop(0)}})

        monkeypatch.setattr("recommenders_miner.models.base.BaseModel.evaluate", evaluate)
        return weights

    return script


def checksum(network):
    return sum(float(np.abs(np.array(weight)).sum()) for weight in network.weights)


def rows_of(log):
    return [
        (int(log.impression_id[row]), log.users[int(log.user_of[row])].as_py(), log.candidates[row].tolist(),
         log.histories[log.history_of[row]].tolist(), int(log.time[row]))
        for row in range(len(log))
    ]  # fmt: skip


@pytest.mark.parametrize(("kind", "share"), [("users", 0.34), ("last_day", 0.1)])
def test_a_log_is_divided_by_users_or_by_days(kind, share):
    log = toy_log(toy_news())
    time = np.arange(len(log)) * 40_000
    log = type(log)(**{**vars(log), "time": time})
    kept, held = hold_out(log, toy_hparams("nrms", held_out=kind, held_out_share=share))
    assert sorted(rows_of(kept) + rows_of(held)) == sorted(rows_of(log))
    assert kept.labels.sum() + held.labels.sum() == log.labels.sum()
    if kind == "users":
        assert not set(kept.users.to_pylist()) & set(held.users.to_pylist())
        assert len(held.users) == round(share * len(log.users))
    else:
        assert kept.time.max() < time.max() // 86_400 * 86_400 <= held.time.min()


def test_nothing_is_held_out_unless_it_is_asked_for():
    log = toy_log(toy_news())
    assert hold_out(log, toy_hparams("nrms")) == (log, None)
    with pytest.raises(HParamsError, match="last_day takes 14 of the log's 14 impressions"):
        hold_out(log, toy_hparams("nrms", held_out="last_day"))


def test_held_out_users_are_unknown_to_the_model(files):
    model = unbuilt("lstur", **HELD_OUT, epochs=1).fit(*files, verbose=0)
    _, held = hold_out(toy_log(toy_news()), model.hparams)
    assert not set(held.users.to_pylist()) & set(model.vocabularies.users.tokens)
    assert 0 <= model.history[0]["held_out_group_auc"] <= 1


@pytest.mark.parametrize("in_folder", [True, False])
def test_the_best_epoch_is_taken_and_training_ends_when_there_is_none_better(files, tmp_path, scripted, in_folder):
    weights = scripted(0.5, 0.7, 0.6, 0.6, 0.9)
    options = {**HELD_OUT, "select": "best", "patience": 2, "epochs": 5}
    model = unbuilt("nrms", **options).fit(*files, verbose=0, run_dir=tmp_path / "run" if in_folder else None)
    assert [logs["held_out_group_auc"] for logs in model.history] == [0.5, 0.7, 0.6, 0.6]
    assert checksum(model.network) == pytest.approx(weights[1], rel=1e-6)
    assert weights[1] != pytest.approx(weights[3], rel=1e-6)


@pytest.mark.slow
def test_a_killed_run_selects_the_same_epoch(files, tmp_path, scripted):
    options = {**HELD_OUT, "select": "best", "patience": 2, "epochs": 5}
    weights = scripted(0.5, 0.7, 0.6, 0.6)

    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise InterruptedError

    with pytest.raises(InterruptedError):
        unbuilt("nrms", **options).fit(*files, verbose=0, run_dir=tmp_path / "run", callbacks=[Kill()])
    for _ in range(2):  # goes on, and then finds the run ended
        model = unbuilt("nrms", **options).fit(*files, verbose=0, run_dir=tmp_path / "run", resume=True)
        assert [logs["held_out_group_auc"] for logs in model.history] == [0.5, 0.7, 0.6, 0.6]
        assert checksum(model.network) == pytest.approx(weights[1], rel=1e-6)


def test_selecting_needs_something_to_select_by(files):
    with pytest.raises(HParamsError, match="need held_out, or files to evaluate on"):
        unbuilt("nrms", select="best").fit(*files, verbose=0)
    assert training.Selection.of(toy_hparams("nrms", select="best"), "val", None).measure == "val_group_auc"
