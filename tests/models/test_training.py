"""Training: the loss, what a step encodes, that it learns, seeds, resuming."""

from __future__ import annotations

import itertools
import json
import random

import keras
import numpy as np
import pytest

from recommenders_miner.data.features import with_related
from recommenders_miner.data.vocabulary import Vocabulary
from recommenders_miner.errors import DataFormatError, HParamsError, NotBuiltError, RecommendersMinerError
from recommenders_miner.models.base import BaseModel
from recommenders_miner.models.training import seeded
from tests.models.toy import (
    EVERY_MODEL,
    IDS,
    MODEL_NAMES,
    SIZES,
    STILL,
    every_model,
    fresh_toy_model,
    some_slow,
    toy_dataset,
    toy_log,
    toy_model,
    toy_news,
    unbuilt,
    write_files,
)


@pytest.fixture
def files(tmp_path):
    return write_files(tmp_path)


def trained(name, files, seed=3, resume=False, run_dir=None, callbacks=(), **overrides):
    model = unbuilt(name, seed=seed, **overrides)
    return model.fit(*files, run_dir=run_dir, resume=resume, callbacks=callbacks, verbose=0)


def weights_of(model):
    return [np.array(weight) for weight in model.network.weights]


def assert_same_weights(a, b, tolerance=0.0):
    for x, y in zip(weights_of(a), weights_of(b), strict=True):
        assert x == pytest.approx(y, abs=tolerance)


def batches_of(model, **options):
    data = toy_dataset(model)
    options |= {"context": model.context_of(data), "hops": model.network.news_encoder.hops}
    return model.train_iterator.batches(data, model.network_features(data), seed=0, **options)


# === A step ===


@every_model
def test_a_step_computes_the_loss_and_lowers_it(name):
    model = fresh_toy_model(name, **STILL)
    network, (inputs, labels, weights) = model.network, batches_of(model)[0]
    scores = np.array(network(inputs, training=False), "float64")
    assert (scores > -1e8).all(), "no candidate is padding"
    before = weights_of(model)
    model.compile(total_steps=3)
    losses = [float(np.ravel(network.train_on_batch(inputs, labels, weights))[0]) for _ in range(3)]
    if model.hparams.loss == "log_loss":
        expected = np.log1p(np.exp(np.where(labels == 1, -scores, scores))).mean()
    else:
        expected = (np.log(np.exp(scores).sum(axis=1)) - scores[:, 0]).mean()
    assert losses[0] == pytest.approx(expected, rel=1e-4) or name in ("miner", "crown"), "but for what they add"
    assert losses[-1] < losses[0]
    changed = {
        weight.path: not np.array_equal(old, weight) for old, weight in zip(before, network.weights, strict=True)
    }
    assert np.mean([changed[weight.path] for weight in network.trainable_weights]) > 0.8
    assert not any(changed[weight.path] for weight in network.non_trainable_weights)


@every_model
def test_a_step_encodes_each_distinct_article_once(name, monkeypatch):
    model = fresh_toy_model(name, **STILL)
    batches, encoded = batches_of(model), []
    encode = model.network.encode_news
    monkeypatch.setattr(
        model.network,
        "encode_news",
        lambda features, training=None: encoded.append(len(next(iter(features.values())))) or encode(features),
    )
    model.network.call(batches[0][0], training=False)
    impressions, candidates = batches.samples.of_step(0)
    histories = [batches.log.histories[row][-5:] for row in batches.log.history_of[impressions]]
    clicked = with_related(batches.features, np.concatenate(histories), model.network.news_encoder.hops)
    assert sum(encoded) == len({0, *candidates.ravel().tolist(), *clicked.tolist()})


@every_model
def test_a_user_shared_by_samples_serves_them_as_one_of_their_own(name):
    model = fresh_toy_model(name, **STILL)
    batches, shared = batches_of(model), 0
    for step in range(batches.steps_per_epoch):
        inputs, _, _ = batches[step]
        apart = {**inputs, "samples": tuple(one_user_a_sample(sample) for sample in inputs["samples"])}
        shared += sum(len(sample["row"]) - len(np.unique(sample["row"])) for sample in inputs["samples"])
        scores = np.array(model.network(inputs, training=False))
        assert scores == pytest.approx(np.array(model.network(apart, training=False)), rel=1e-5, abs=1e-5)
    assert shared > 0


def one_user_a_sample(sample):
    own = np.arange(len(sample["row"]), dtype="int32")
    user = np.append(sample["row"], 0)  # one more than needed, since no group has zero rows
    return {**sample, "history": sample["history"][user], "user": sample["user"][user], "row": own}


@pytest.mark.parametrize("name", ["nrms", "npa", "libfm"])
def test_an_empty_history_learns_one_vector_where_it_may(name):
    """It starts at zero, so that before training nothing changes; LibFM reads no vectors of clicks."""
    model, plain = (unbuilt(name, cold_history=of, **STILL) for of in ("learned", "zero"))
    for one in (plain, model):
        one.build(one.train_iterator.build_vocabularies(toy_news(), toy_log(toy_news())))
        one.set_news(toy_news())
    assert model.score([], IDS) == pytest.approx(plain.score([], IDS), abs=1e-7)
    assert (model.network.cold is None, plain.network.cold) == (name == "libfm", None)
    if name != "libfm":
        model.compile(total_steps=9)
        batches = batches_of(model)
        for step in range(6):
            model.network.train_on_batch(*batches[step])
        assert np.ptp(np.array(model.network.cold)) > 0
        assert len(np.unique(model.score([], IDS))) > len(IDS) / 2


def test_hierec_drops_numbers_of_news_vectors_in_training_alone():
    for share in (0.0, 0.5):
        model = fresh_toy_model("hierec", **{**STILL, "news_dropout": share})
        inputs, *_ = batches_of(model)[0]
        still, training = (np.array(model.network(inputs, training=mode)) for mode in (False, True))
        assert np.array_equal(still, training) == (share == 0.0)


def test_miners_loss_is_nce_plus_weighted_disagreement():
    """Eqs. 6 and 7, from the network's own scores and interests."""
    model = fresh_toy_model("miner", dropout=0.0, disagreement_weight=0.7, npratio=6)
    model.compile(total_steps=1)
    inputs, labels, weights = batches_of(model, length_groups=1)[0]
    network = model.network
    scores = np.array(network(inputs, training=False), "float64")
    news = network.encode_news(inputs["news"][0])
    sample = inputs["samples"][0]
    history = sample["history"][sample["row"]]

    def look_up(positions):
        return {key: np.array(value)[positions] for key, value in news.items()}

    users, candidates = sample["user"][sample["row"]], look_up(sample["candidates"])
    interests = np.array(network.user_encoder(look_up(history), history > 0, users, candidates))
    nce, disagreement = [], []
    for row in range(len(labels)):
        real = sample["candidates"][row] > 0
        nce.append(-np.log(np.exp(scores[row, 0]) / np.exp(scores[row][real]).sum()))
        norms = np.linalg.norm(interests[row], axis=-1, keepdims=True)
        unit = np.divide(interests[row], norms, out=np.zeros_like(interests[row]), where=norms > 0)
        disagreement.append(np.mean((unit @ unit.swapaxes(1, 2)).mean(axis=(1, 2))[real]))
    assert (sample["candidates"] == 0).any(), "some candidates are padding, which both terms must leave out"
    loss = network.train_on_batch(inputs, labels, weights)
    assert float(np.ravel(loss)[0]) == pytest.approx(np.mean(nce) + 0.7 * np.mean(disagreement), abs=1e-4)


# === Where it starts ===


@every_model
def test_initial_weights_are_all_different(name):
    """Drawn from one integer seed, weights of the same shape would be equal: Q, K and V above all."""
    drawn = [w for w in toy_model(name).initial_weights if w.size > 1 and w.std() > 0]
    assert len(drawn) >= 4
    for i, a in enumerate(drawn):
        for b in drawn[:i]:
            size = min(a.size, b.size)
            assert not np.allclose(a.ravel()[:size] / a.std(), b.ravel()[:size] / b.std(), atol=1e-3)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_embedding_tables_have_a_row_for_every_id(name):
    model = toy_model(name)
    parts = [getattr(part, "terms", part) for part in model.vocabularies.parts.values()]
    sizes = {len(part) for part in parts if isinstance(part, Vocabulary)} | {model.hparams.his_size + 1}
    sizes |= {value for name, value in model.hparams if name.endswith("_levels")}
    tables = [w for w in model.network.weights if w.name in ("embeddings", "factors")]
    assert tables
    assert all(table.shape[0] in sizes for table in tables)
    assert max(model.vocabularies.words.encode(["word14"])) < len(model.vocabularies.words)


@pytest.mark.slow  # that a seed fixes everything, resuming shows too
@pytest.mark.parametrize("name", EVERY_MODEL)
def test_one_seed_fixes_everything_and_another_changes_it(name, files):
    first, again, other = (trained(name, files, seed=seed, epochs=1) for seed in (3, 3, 4))
    assert_same_weights(first, again)
    assert any(not np.allclose(x, y) for x, y in zip(weights_of(first), weights_of(other), strict=True))


def test_seeded_puts_the_generator_back():
    random.seed(7)
    expected = random.random()
    random.seed(7)
    with seeded(1):
        random.random()
    assert random.random() == expected


# === Resuming ===


class Killed(Exception):
    pass


class KillAt(keras.callbacks.Callback):
    """Stands for a process that dies in the middle of an epoch."""

    def __init__(self, step):
        super().__init__()
        self.steps_left = step

    def on_train_batch_end(self, batch, logs=None):
        self.steps_left -= 1
        if self.steps_left == 0:
            raise Killed


SLOW_FIRST_EPOCH = pytest.param("miner", 2, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("name", "killed_at"),
    # In the first epoch, before there is a checkpoint, models differ in nothing.
    [("nrms", 6), *(pytest.param(n, 6, marks=pytest.mark.slow) for n in EVERY_MODEL if n != "nrms"), SLOW_FIRST_EPOCH],
)
def test_a_killed_run_resumes_to_the_same_weights(name, killed_at, files, tmp_path):
    unbroken = trained(name, files, run_dir=tmp_path / "unbroken")
    with pytest.raises(Killed):
        trained(name, files, run_dir=tmp_path / "killed", callbacks=[KillAt(killed_at)])
    resumed = trained(name, files, run_dir=tmp_path / "killed", resume=True)
    assert_same_weights(unbroken, resumed, tolerance=1e-6)
    assert [set(logs) for logs in resumed.history] == [{"loss"}] * 2
    losses = [logs["loss"] for logs in unbroken.history]
    assert [logs["loss"] for logs in resumed.history] == pytest.approx(losses, abs=1e-5)


@pytest.fixture
def run(files, tmp_path):
    """A finished run of NRMS: its model, and a function that resumes it."""
    folder = tmp_path / "run"
    model = trained("nrms", files, run_dir=folder, epochs=1)
    return model, lambda **overrides: trained("nrms", files, run_dir=folder, resume=True, epochs=1, **overrides)


def test_resuming_a_finished_run_changes_nothing(run):
    done, resume = run
    assert_same_weights(done, resume())


def as_bytes(record):
    return np.frombuffer(json.dumps(record).encode(), "uint8")


def test_resume_refuses_what_is_not_the_checkpoint_of_this_run(run, files, tmp_path, monkeypatch):
    _, resume = run
    with pytest.raises(RecommendersMinerError, match=r"another run.*hparams"):
        resume(learning_rate=0.1)
    with pytest.raises(ValueError, match="run_dir"):
        trained("nrms", files, resume=True)
    checkpoint = tmp_path / "run" / "checkpoint.npz"
    whole = checkpoint.read_bytes()
    with np.load(checkpoint) as stored:
        arrays = dict(stored)
    record = json.loads(bytes(arrays["record"]).decode())
    assert record["epochs_done"] == 1
    for damaged in (
        {"v0": arrays["v0"][:-1]},
        {"record": as_bytes([record])},
        {"record": as_bytes({**record, "epochs_done": "2"})},
        {"record": as_bytes({**record, "epoch_logs": []})},
        {"record": np.full(3, 0xFF, "uint8")},
        b"PK cut short",
        whole[: len(whole) // 2],
        whole[:200] + b"?" + whole[201:],
    ):
        if isinstance(damaged, bytes):
            checkpoint.write_bytes(damaged)
        else:
            np.savez(checkpoint, **{**arrays, **damaged})
        with pytest.raises(RecommendersMinerError, match=r"not a readable checkpoint.*Delete it to start over"):
            resume()
    checkpoint.write_bytes(whole)
    behaviors = files[1]
    lines = [line.split("\t") for line in behaviors.read_text().splitlines()]
    for line in lines:  # other clicks, and nothing else
        cells = line[4].split(" ")
        line[4] = " ".join(cell[:-2] + other[-2:] for cell, other in zip(cells, cells[::-1], strict=True))
    behaviors.write_text("".join("\t".join(line) + "\n" for line in lines))
    with pytest.raises(RecommendersMinerError, match=r"another run \(different log\)"):
        resume()


# === Evaluating on the way ===


def test_fit_evaluates_after_each_epoch_and_tells_callbacks(files):
    seen = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(dict(logs)))
    model = unbuilt("nrms")
    model.fit(*files, *files, *files, callbacks=[watch], verbose=0)
    assert len(seen) == SIZES["epochs"]
    assert {"loss", "val_group_auc", "val_ndcg@10", "test_mean_mrr"} <= set(seen[-1])
    assert model.history[-1]["val_group_auc"] == pytest.approx(model.run_eval(*files)["group_auc"])


def changed(files, edit):
    """Write other files beside these, whose impressions are edited: cells of a line in, cells out."""
    news, behaviors = files
    lines = [edit(line.split("\t")) for line in behaviors.read_text().splitlines()]
    other = behaviors.with_name("changed.tsv")
    other.write_text("".join("\t".join(line) + "\n" for line in lines))
    return news, other


LACKING = {
    "no candidate was clicked": lambda line: [*line[:4], line[4].replace("-1", "-0")],
    "no impression has both a click and a non-click": lambda line: [*line[:4], line[4].replace("-0", "-1")],
    "no candidate has a label": lambda line: [*line[:4], line[4].replace("-1", "").replace("-0", "")],
}


@pytest.mark.parametrize("lacking", LACKING)
def test_what_nothing_can_be_evaluated_on_is_left_out_with_a_warning(files, lacking, caplog):
    useless = changed(files, LACKING[lacking])
    model = unbuilt("nrms", epochs=1)
    model.fit(*files, *useless, *files, verbose=0)
    assert f"{useless[1]}: {lacking}: there is nothing to evaluate on. Training goes on without it." in caplog.text
    assert {"loss", "test_group_auc"} <= set(model.history[-1])
    assert not any(name.startswith("val") for name in model.history[-1])
    with pytest.raises(DataFormatError, match=f"{lacking}: there is nothing to evaluate on. Write each candidate as"):
        model.run_eval(*useless)
    with pytest.raises(HParamsError, match="select, patience: need held_out, or files to evaluate on"):
        unbuilt("nrms", select="best").fit(*files, *useless, verbose=0)


@pytest.mark.parametrize("lacking", LACKING)
def test_what_nothing_can_be_trained_on_is_refused_before_a_network_is_made(files, lacking):
    model = unbuilt("nrms")
    with pytest.raises(DataFormatError, match=rf"changed\.tsv: {lacking}: there is nothing to train on\."):
        model.fit(*changed(files, LACKING[lacking]), verbose=0)
    assert model.network is None


def test_clicks_alone_can_be_trained_on_with_negatives_from_elsewhere(files):
    clicks = changed(files, lambda line: [*line[:4], " ".join(c for c in line[4].split() if c.endswith("-1"))])
    assert unbuilt("nrms", epochs=1, negatives="popularity").fit(*clicks, verbose=0).history


def test_all_files_are_read_before_the_training(files, tmp_path):
    damaged = changed(files, lambda line: [*line[:2], "yesterday", *line[3:]])
    model = unbuilt("nrms")
    with pytest.raises(DataFormatError, match=r"changed\.tsv, line 1: expected a time like"):
        model.fit(*files, *damaged, run_dir=tmp_path / "run", verbose=0)
    assert not (tmp_path / "run").exists()


def test_skipping_what_is_faulty_goes_for_all_files(files, caplog):
    def name_unknown(line):
        number = int(line[0])
        history = f"{line[3]} N98".strip() if number % 2 else line[3]
        return [*line[:2], "yesterday" if number == 3 else line[2], history, f"N99-0 {line[4]}"]

    faulty = changed(files, name_unknown)
    model = unbuilt("nrms", epochs=1)
    with pytest.raises(DataFormatError, match=r"line 1: the candidate 'N99-0' .*--on-error skip.*on_error=\"skip\""):
        model.fit(*faulty, verbose=0)
    model.fit(*faulty, *faulty, on_error="skip", verbose=0)
    assert "val_group_auc" in model.history[-1]
    data = model.read(*faulty, on_error="skip")
    assert len(data.log) == len(toy_log(toy_news())) - 1
    assert data.log.skipped.counts["unknown news id among the candidates"] == len(data.log)
    assert model.run_eval(*faulty, on_error="skip")
    for ask in (model.read, model.run_eval, model.run_fast_eval, model.run_user):
        with pytest.raises(DataFormatError, match="the candidate 'N99-0'"):
            ask(*faulty)
        assert ask(*faulty, on_error="skip")


@pytest.mark.parametrize("selection", [{"select": "best", "patience": 1}, pytest.param({}, marks=pytest.mark.slow)])
def test_an_epoch_is_kept_before_its_evaluation(files, tmp_path, monkeypatch, selection):
    def fit(folder, resume=False):
        return unbuilt("nrms", seed=3, **selection).fit(*files, *files, run_dir=folder, resume=resume, verbose=0)

    unbroken, evaluate = fit(tmp_path / "unbroken"), BaseModel.run_eval
    for epoch in range(SIZES["epochs"]):
        asked = itertools.count()

        def killed(self, *args, at=epoch, asked=asked, **kwargs):
            if next(asked) == at:
                raise Killed
            return evaluate(self, *args, **kwargs)

        folder = tmp_path / f"killed-{epoch}"
        monkeypatch.setattr(BaseModel, "run_eval", killed)
        with pytest.raises(Killed):
            fit(folder)
        assert (folder / "checkpoint.npz").exists()
        monkeypatch.setattr(BaseModel, "run_eval", evaluate)
        resumed = fit(folder, resume=True)
        assert_same_weights(unbroken, resumed, tolerance=1e-6)
        assert len(resumed.history) == len(unbroken.history)
        for logs, expected in zip(resumed.history, unbroken.history, strict=True):
            assert logs == pytest.approx(expected, abs=1e-5)


def test_a_training_that_diverged_is_said(files):
    model = unbuilt("nrms", epochs=1, learning_rate=1e38)
    with pytest.raises(RecommendersMinerError, match=r"scores of the model are NaN .* smaller learning_rate"):
        model.fit(*files, *files, verbose=0)


@pytest.mark.parametrize(
    "name",
    some_slow(["lstur", "libfm", "deepfm", "nrms", "dkn", "unbert", "glory", "miner plm"], fast=["lstur", "libfm"]),
)
def test_a_log_without_any_history_can_be_trained_and_evaluated_on(files, name):
    without = changed(files, lambda line: [*line[:3], "", line[4]])
    model = unbuilt(name, epochs=1)
    model.fit(*without, *without, verbose=0)
    assert np.isfinite(model.history[-1]["val_group_auc"])
    model.set_news(toy_news())
    assert np.isfinite(model.score([], IDS[:3])).all()


def test_a_second_data_file_is_not_ignored(files, tmp_path):
    model = toy_model("nrms")
    news, behaviors = files
    whole = model.run_fast_eval(news, behaviors)[2]
    lines = behaviors.read_text().splitlines(keepends=True)
    other = tmp_path / "other.tsv"
    other.write_text("".join(lines[:4]))
    assert len(model.run_fast_eval(news, other)[2]) == 4
    behaviors.write_text("".join(lines[4:]))
    assert len(model.run_fast_eval(news, behaviors)[2]) == len(whole) - 4


def test_a_news_file_without_its_behaviors_is_refused(files):
    with pytest.raises(ValueError, match="val: a news file and a behaviors file go together"):
        unbuilt("nrms").fit(*files, files[0], verbose=0)


def test_what_is_asked_of_an_unbuilt_model_gets_an_answer():
    model = unbuilt("nrms")
    for ask in (lambda: model.score([], ["N1"]), lambda: model.run_news("news.tsv"), lambda: model.save("x")):
        with pytest.raises(NotBuiltError, match="call fit"):
            ask()
    with pytest.raises(NotBuiltError):
        model.newsencoder  # noqa: B018
