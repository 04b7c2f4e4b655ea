"""Training: seeds, resuming, the loss, what a step encodes, and that it learns."""

from __future__ import annotations

import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from recommenders_miner.compat.iterator import MINDIterator
from recommenders_miner.data.vocabulary import Vocabulary
from recommenders_miner.errors import NotBuiltError, RecommendersMinerError
from recommenders_miner.models import MODELS
from recommenders_miner.models.training import seeded
from tests.models.test_scores import write_files
from tests.models.toy import IDS, MODEL_NAMES, SIZES, fresh_toy_model, toy_hparams
from tests.thoroughness import mostly_thorough

every_model = pytest.mark.parametrize("name", MODEL_NAMES)
every_model_in_time = pytest.mark.parametrize("name", mostly_thorough(MODEL_NAMES, fast=["deepfm", "miner"]))


def trained(name, files, seed=3, resume=False, run_dir=None, callbacks=(), **overrides):
    model = MODELS[name](toy_hparams(name, **overrides), MINDIterator, seed=seed)
    return model.fit(*files, run_dir=run_dir, resume=resume, callbacks=callbacks, verbose=0)


def weights_of(model):
    return [np.array(weight) for weight in model.network.weights]


def assert_same_weights(a, b, tolerance=0.0):
    for x, y in zip(weights_of(a), weights_of(b), strict=True):
        assert x == pytest.approx(y, abs=tolerance)


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


@pytest.mark.parametrize("name", mostly_thorough(MODEL_NAMES, fast=["libfm", "nrms"]))
def test_one_seed_fixes_everything_and_another_changes_it(name, tmp_path):
    files = write_files(tmp_path)
    first, again, other = (trained(name, files, seed=seed, epochs=1) for seed in (3, 3, 4))
    assert_same_weights(first, again)
    assert any(not np.allclose(x, y) for x, y in zip(weights_of(first), weights_of(other), strict=True))


@pytest.mark.parametrize(
    ("name", "killed_at"), mostly_thorough([("nrms", 2), ("nrms", 6), ("lstur", 6), ("miner", 6)], fast=[("nrms", 2)])
)
def test_a_killed_run_resumes_to_the_same_weights(name, killed_at, tmp_path):
    files = write_files(tmp_path)
    unbroken = trained(name, files, epochs=3, run_dir=tmp_path / "unbroken")
    with pytest.raises(Killed):
        trained(name, files, epochs=3, run_dir=tmp_path / "killed", callbacks=[KillAt(killed_at)])
    resumed = trained(name, files, epochs=3, run_dir=tmp_path / "killed", resume=True)
    assert_same_weights(unbroken, resumed, tolerance=1e-6)
    assert [set(logs) for logs in resumed.history] == [{"loss"}] * 3
    assert [logs["loss"] for logs in resumed.history] == pytest.approx(
        [logs["loss"] for logs in unbroken.history], abs=1e-5
    )


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    files = write_files(tmp_path)
    done = trained("nrms", files, run_dir=tmp_path / "run")
    assert_same_weights(done, trained("nrms", files, run_dir=tmp_path / "run", resume=True))


def test_resume_refuses_the_checkpoint_of_another_run(tmp_path):
    files = write_files(tmp_path)
    trained("nrms", files, run_dir=tmp_path / "run")
    with pytest.raises(RecommendersMinerError, match=r"another run.*hparams"):
        trained("nrms", files, run_dir=tmp_path / "run", resume=True, dropout=0.1)
    checkpoint = tmp_path / "run" / "checkpoint.npz"
    with np.load(checkpoint) as stored:
        arrays = dict(stored)
    record = json.loads(bytes(arrays["record"]).decode())
    assert record["epochs_done"] == SIZES["epochs"]
    for damaged in (
        {"v0": arrays["v0"][:-1]},
        {"v0": np.full(arrays["v0"].shape, "text")},
        {"record": as_bytes([record])},
        {"record": as_bytes({**record, "epochs_done": "2"})},
        *(
            {"record": as_bytes({**record, "epochs_done": len(logs), "epoch_logs": logs})}
            for logs in ("a", [5], {"x": 1}, [{"loss": "small"}], [{"loss": None}])
        ),
        {"record": as_bytes({**record, "epoch_logs": []})},
        {"record": as_bytes({**record, "identity": None})},
        {"record": np.full(3, 0xFF, "uint8")},
    ):
        np.savez(checkpoint, **{**arrays, **damaged})
        with pytest.raises(RecommendersMinerError, match=r"not a readable checkpoint.*Delete it to start over"):
            trained("nrms", files, run_dir=tmp_path / "run", resume=True)
    np.savez_compressed(checkpoint, **arrays)
    with pytest.raises(RecommendersMinerError, match=r"not a readable checkpoint.*is compressed"):
        trained("nrms", files, run_dir=tmp_path / "run", resume=True)
    checkpoint.write_bytes(b"PK cut short")
    with pytest.raises(RecommendersMinerError, match="not a readable checkpoint"):
        trained("nrms", files, run_dir=tmp_path / "run", resume=True)
    with pytest.raises(ValueError, match="run_dir"):
        trained("nrms", files, resume=True)


def test_resume_refuses_a_log_that_differs_in_what_was_clicked_alone(tmp_path):
    news, behaviors = write_files(tmp_path)
    trained("nrms", (news, behaviors), run_dir=tmp_path / "run")
    lines = [line.split("\t") for line in behaviors.read_text().splitlines()]
    for line in lines:
        cells = line[4].split(" ")
        labels = [cell[-2:] for cell in cells][::-1]
        line[4] = " ".join(cell[:-2] + label for cell, label in zip(cells, labels, strict=True))
    behaviors.write_text("".join("\t".join(line) + "\n" for line in lines))
    with pytest.raises(RecommendersMinerError, match=r"another run \(different log\)"):
        trained("nrms", (news, behaviors), run_dir=tmp_path / "run", resume=True)


@pytest.mark.slow
def test_saved_models_score_the_same_in_a_new_process(tmp_path):
    files = write_files(tmp_path)
    expected = {}
    for name in MODEL_NAMES:
        model = trained(name, files, epochs=1)
        expected[name] = np.concatenate(model.run_fast_eval(*files)[2])
        model.save(tmp_path / name)
    code = (
        "import sys, numpy as np\n"
        "from recommenders_miner import BaseModel\n"
        "news, behaviors, *folders = sys.argv[1:]\n"
        "for folder in folders:\n"
        "    scores = BaseModel.load(folder).run_fast_eval(news, behaviors)[2]\n"
        "    np.save(folder + '.npy', np.concatenate(scores))\n"
    )
    folders = [str(tmp_path / name) for name in MODEL_NAMES]
    subprocess.run([sys.executable, "-c", code, *map(str, files), *folders], check=True, capture_output=True)
    for name in MODEL_NAMES:
        assert np.load(tmp_path / f"{name}.npy") == pytest.approx(expected[name], rel=1e-5, abs=1e-6)


def test_saving_replaces_a_saved_model_and_nothing_else(tmp_path):
    files = write_files(tmp_path)
    first, second = trained("nrms", files, seed=1), trained("nrms", files, seed=2)
    first.save(tmp_path / "saved")
    second.save(tmp_path / "saved")
    assert_same_weights(MODELS["nrms"].load(tmp_path / "saved"), second)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".recommenders_miner_cache",
        "behaviors.tsv",
        "news.tsv",
        "saved",
    ]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("precious")
    with pytest.raises(RecommendersMinerError, match="something else"):
        first.save(tmp_path / "other")
    assert (tmp_path / "other" / "thesis.tex").read_text() == "precious"


def test_loading_says_what_is_wrong(tmp_path):
    model = fresh_toy_model("nrms")
    model.save(tmp_path / "saved")
    with pytest.raises(RecommendersMinerError, match="holds a NRMSModel, not a LSTURModel"):
        MODELS["lstur"].load(tmp_path / "saved")
    with pytest.raises(RecommendersMinerError, match="holds no saved model"):
        MODELS["nrms"].load(tmp_path)


def test_what_is_asked_of_an_unbuilt_model_gets_an_answer():
    model = MODELS["nrms"](toy_hparams("nrms"))
    for ask in (lambda: model.score([], ["N1"]), lambda: model.run_news("news.tsv"), lambda: model.save("x")):
        with pytest.raises(NotBuiltError, match="call fit"):
            ask()


@every_model_in_time
def test_training_encodes_each_distinct_news_of_a_batch_once(name, tmp_path):
    model = fresh_toy_model(name)
    data = model.read(*write_files(tmp_path))
    batches = model.train_iterator.batches(data, model.network_features(data), seed=0)
    inputs, _, _ = batches[0]
    encoded = []
    encode = model.network.encode_news
    model.network.encode_news = lambda features, training=None: (
        encoded.append(len(next(iter(features.values())))) or encode(features)
    )
    model.network.call(inputs, training=False)
    impressions, candidates = batches.samples.of_step(0)
    distinct = set(candidates.ravel().tolist())
    for history in data.log.history_of[impressions]:
        rows = data.log.histories[history]
        distinct.update(rows[-5:].tolist())
    assert sum(encoded) == len(distinct | {0})


@every_model_in_time
def test_a_reader_shared_by_samples_serves_them_as_one_of_their_own(name, tmp_path):
    model = fresh_toy_model(name, dropout=0.0, clicks_per_user=4)
    data = model.read(*write_files(tmp_path))
    batches = model.train_iterator.batches(data, model.network_features(data), seed=0)
    shared = 0
    for step in range(batches.steps_per_epoch):
        inputs, _, _ = batches[step]
        apart = {**inputs, "samples": tuple(one_reader_a_sample(sample) for sample in inputs["samples"])}
        shared += sum(len(s["row"]) - len(np.unique(s["row"])) for s in inputs["samples"])
        scores = np.array(model.network(inputs, training=False))
        assert scores == pytest.approx(np.array(model.network(apart, training=False)), abs=1e-5)
    assert shared > 0


def one_reader_a_sample(sample):
    own = np.arange(len(sample["row"]), dtype="int32")
    reader = np.append(sample["row"], 0)  # one more than needed, since no group has zero rows
    return {**sample, "history": sample["history"][reader], "user": sample["user"][reader], "row": own}


def test_the_loss_is_nce_plus_weighted_disagreement(tmp_path):
    """Eqs. 6 and 7, from the network's own scores and interests."""
    files = write_files(tmp_path)
    model = fresh_toy_model("miner", dropout=0.0, disagreement_weight=0.7, npratio=6)
    model.compile(total_steps=1)
    data = model.read(*files)
    inputs, labels, weights = model.train_iterator.batches(data, model.network_features(data), seed=0, length_groups=1)[
        0
    ]
    network = model.network
    scores = np.array(network(inputs, training=False), "float64")
    news = network.encode_news(inputs["news"][0])
    sample = inputs["samples"][0]
    history = sample["history"][sample["row"]]

    def look_up(positions):
        return {key: np.array(value)[positions] for key, value in news.items()}

    interests = np.array(
        network.user_encoder(
            look_up(history), history > 0, sample["user"][sample["row"]], look_up(sample["candidates"])
        )
    )
    nce, disagreement = [], []
    for row in range(len(labels)):
        real = sample["candidates"][row] > 0
        nce.append(-np.log(np.exp(scores[row, 0]) / np.exp(scores[row][real]).sum()))
        for c in np.flatnonzero(real):
            vectors = interests[row, c]
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            unit = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
            disagreement.append((unit @ unit.T).mean())
    assert (sample["candidates"] == 0).any(), "some candidates are padding, which both terms must leave out"
    loss = network.train_on_batch(inputs, labels, weights)
    assert float(np.ravel(loss)[0]) == pytest.approx(np.mean(nce) + 0.7 * np.mean(disagreement), abs=1e-4)


@every_model_in_time
def test_initial_weights_are_all_different(name):
    """Drawn from one integer seed, weights of the same shape would be equal: Q, K and V above all."""
    model = MODELS[name](toy_hparams(name), seed=5)
    model.build(fresh_toy_model(name).vocabularies)
    drawn = [w for w in weights_of(model) if w.size > 1 and w.std() > 0]
    for i, a in enumerate(drawn):
        for b in drawn[:i]:
            size = min(a.size, b.size)
            assert not np.allclose(a.ravel()[:size] / a.std(), b.ravel()[:size] / b.std(), atol=1e-3)


def test_seeded_puts_the_generator_back():
    import random

    random.seed(7)
    expected = random.random()
    random.seed(7)
    with seeded(1):
        random.random()
    assert random.random() == expected


@every_model
def test_embedding_tables_have_a_row_for_every_id(name):
    model = fresh_toy_model(name)
    names = [model.vocabularies.terms and model.vocabularies.terms.terms, *vars(model.vocabularies).values()]
    sizes = {len(part) for part in names if isinstance(part, Vocabulary)} | {model.hparams.his_size + 1}
    tables = [w for w in model.network.weights if w.name in ("embeddings", "factors")]
    assert tables
    assert all(table.shape[0] in sizes for table in tables)
    assert max(model.vocabularies.words.encode(["word14"])) < len(model.vocabularies.words)


def test_fit_evaluates_after_each_epoch_and_tells_callbacks(tmp_path):
    files = write_files(tmp_path)
    seen = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(dict(logs)))
    model = MODELS["nrms"](toy_hparams("nrms"), seed=1)
    model.fit(*files, *files, *files, callbacks=[watch], verbose=0)
    assert len(seen) == SIZES["epochs"]
    assert {"loss", "val_group_auc", "val_ndcg@10", "test_mean_mrr"} <= set(seen[-1])
    assert model.history[-1]["val_group_auc"] == pytest.approx(model.run_eval(*files)["group_auc"])


def test_a_second_data_file_is_not_ignored(tmp_path):
    model = fresh_toy_model("nrms")
    news, behaviors = write_files(tmp_path)
    whole = model.run_fast_eval(news, behaviors)[2]
    lines = behaviors.read_text().splitlines(keepends=True)
    other = tmp_path / "other.tsv"
    other.write_text("".join(lines[:4]))
    assert len(model.run_fast_eval(news, other)[2]) == 4
    behaviors.write_text("".join(lines[4:]))
    assert len(model.run_fast_eval(news, behaviors)[2]) == len(whole) - 4


def test_a_news_file_without_its_behaviors_is_refused(tmp_path):
    news, behaviors = write_files(tmp_path)
    model = MODELS["nrms"](toy_hparams("nrms"), seed=1)
    with pytest.raises(ValueError, match="val: a news file and a behaviors file go together"):
        model.fit(news, behaviors, news, verbose=0)


def test_recommenders_names_for_the_network_and_its_parts(tmp_path):
    model, other = fresh_toy_model("nrms", seed=1), fresh_toy_model("nrms", seed=2)
    model.model.save_weights(tmp_path / "all.weights.h5")
    other.model.load_weights(tmp_path / "all.weights.h5")
    assert np.array_equal(other.score(IDS[:3], IDS), model.score(IDS[:3], IDS))
    assert model.scorer is model.network
    assert model.newsencoder is model.network.news_encoder
    assert model.userencoder is model.network.user_encoder
    with pytest.raises(NotBuiltError):
        MODELS["nrms"](toy_hparams("nrms")).newsencoder  # noqa: B018
