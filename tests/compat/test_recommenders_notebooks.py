"""The calls of Recommenders' notebooks, in their order, on files in Recommenders' form."""

from __future__ import annotations

import functools
import os
import pickle
import zipfile

import numpy as np
import pytest
import yaml

from recommenders_miner import (
    LSTURModel,
    MINDAllIterator,
    MINDIterator,
    NAMLModel,
    NPAModel,
    NRMSModel,
    prepare_hparams,
)
from recommenders_miner.errors import NotBuiltError
from recommenders_miner.models import load_model
from tests.models.toy import WORDS, some_slow, toy_log, toy_news, write_files

NOTEBOOKS = {
    "nrms": (NRMSModel, MINDIterator),
    "lstur": (LSTURModel, MINDIterator),
    "naml": (NAMLModel, MINDAllIterator),
    "npa": (NPAModel, MINDIterator),
}
every_notebook = pytest.mark.parametrize("name", NOTEBOOKS)
every_notebook_in_time = pytest.mark.parametrize("name", some_slow(NOTEBOOKS, fast=["nrms"]))

DIM = 7


def yaml_of(name):
    """A file with Recommenders' keys, at toy sizes."""
    return {
        "data": {
            "title_size": 6,
            "body_size": 5,
            "his_size": 5,
            "npratio": 2,
            "data_format": "naml" if name == "naml" else "news",
        },
        "info": {"metrics": ["group_auc", "mean_mrr", "ndcg@5;10"], "show_step": 100_000},
        "model": {
            "model_type": name,
            "word_emb_dim": DIM,
            "attention_hidden_dim": 5,
            "dropout": 0.2,
            **{
                "nrms": {"head_num": 2, "head_dim": 4},
                "lstur": {"type": "ini", "gru_unit": 6},
                "naml": {"dense_activation": "relu", "vert_num": 4, "subvert_num": 6},
                "npa": {"user_emb_dim": 4},
            }[name],
            **({} if name == "nrms" else {"filter_num": 6, "window_size": 3, "cnn_activation": "relu"}),
            **({"vert_emb_dim": 3, "subvert_emb_dim": 2} if name == "naml" else {}),
        },
        "train": {
            "batch_size": 64,
            "epochs": 10,
            "learning_rate": 0.01,
            "loss": "cross_entropy_loss",
            "optimizer": "adam",
            "support_quick_scoring": name != "npa",
        },
    }


@pytest.fixture
def data_path(tmp_path):
    """A notebook's folder: train, valid, and utils as unpacked, with pickles."""
    for split in ("train", "valid"):
        (tmp_path / split).mkdir()
        write_files(tmp_path / split)
    utils = tmp_path / "utils"
    utils.mkdir()
    for name in NOTEBOOKS:
        (utils / f"{name}.yaml").write_text(yaml.safe_dump(yaml_of(name)))
    known = WORDS[1:]  # word0 is unknown
    np.save(utils / "embedding.npy", np.random.default_rng(5).normal(0, 0.3, (len(known) + 1, DIM)))
    dictionaries = {
        "word_dict": known,
        "uid2index": [f"U{i}" for i in range(4)],
        "vert_dict": [f"category{i}" for i in range(3)],
        "subvert_dict": [f"sub{i}" for i in range(5)],
    }
    for name, names in dictionaries.items():
        ids = {name: place for place, name in enumerate(names, start=1)}
        (utils / f"{name}.pkl").write_bytes(pickle.dumps(ids))
    return str(tmp_path)


def notebook_hparams(name, data_path, **options):
    utils = functools.partial(os.path.join, data_path, "utils")
    if name == "naml":
        options |= {"vertDict_file": utils("vert_dict.pkl"), "subvertDict_file": utils("subvert_dict.pkl")}
    return prepare_hparams(
        utils(f"{name}.yaml"),
        wordEmb_file=utils("embedding.npy"),
        wordDict_file=utils("word_dict.pkl"),
        userDict_file=utils("uid2index.pkl"),
        batch_size=4,
        epochs=2,
        show_step=10,
        **options,
    )


def files_of(data_path):
    return [
        os.path.join(data_path, split, file) for split in ("train", "valid") for file in ("news.tsv", "behaviors.tsv")
    ]


@every_notebook_in_time
def test_a_notebooks_calls_work_in_their_order(name, data_path, capsys):
    train_news_file, train_behaviors_file, valid_news_file, valid_behaviors_file = files_of(data_path)
    model_class, iterator = NOTEBOOKS[name]

    hparams = notebook_hparams(name, data_path)
    print(hparams)
    assert f"model_type='{name}'" in capsys.readouterr().out

    model = model_class(hparams, iterator, seed=42)
    for part in (model.model, model.scorer, model.loss, model.train_optimizer):
        assert part is not None

    before = model.run_eval(valid_news_file, valid_behaviors_file)
    assert set(before) == {"group_auc", "mean_mrr", "ndcg@5", "ndcg@10"}
    untrained = [np.array(weight) for weight in model.model.trainable_weights]

    fitted = model.fit(train_news_file, train_behaviors_file, valid_news_file, valid_behaviors_file)
    assert fitted is model
    assert len(model.history) == 2
    changed = [not np.array_equal(old, new) for old, new in zip(untrained, model.model.trainable_weights, strict=True)]
    assert np.mean(changed) > 0.9

    res_syn = model.run_eval(valid_news_file, valid_behaviors_file)
    assert res_syn == {key.removeprefix("val_"): value for key, value in model.history[1].items() if "val_" in key}

    model_path = os.path.join(data_path, "model")
    os.makedirs(model_path, exist_ok=True)
    model.model.save_weights(os.path.join(model_path, f"{name}_ckpt"))

    run = model.run_slow_eval if name == "npa" else model.run_fast_eval
    group_impr_indexes, group_labels, group_preds = run(valid_news_file, valid_behaviors_file)
    assert [label.tolist() for label in group_labels] == [[1] + [0] * (len(pred) - 1) for pred in group_preds]

    with open(os.path.join(data_path, "prediction.txt"), "w") as f:
        for impr_index, preds in zip(group_impr_indexes, group_preds, strict=True):
            impr_index += 1
            pred_rank = (np.argsort(np.argsort(preds)[::-1]) + 1).tolist()
            pred_rank = "[" + ",".join([str(i) for i in pred_rank]) + "]"
            f.write(" ".join([str(impr_index), pred_rank]) + "\n")
    f = zipfile.ZipFile(os.path.join(data_path, "prediction.zip"), "w", zipfile.ZIP_DEFLATED)
    f.write(os.path.join(data_path, "prediction.txt"), arcname="prediction.txt")
    f.close()
    with zipfile.ZipFile(os.path.join(data_path, "prediction.zip")) as archive:
        lines = archive.read("prediction.txt").decode().splitlines()
    assert [int(line.split(" ")[0]) for line in lines] == list(range(1, len(toy_log(toy_news())) + 1))

    again = model_class(hparams, iterator, seed=1)
    again.model.load_weights(os.path.join(model_path, f"{name}_ckpt"))
    assert again.run_eval(valid_news_file, valid_behaviors_file) == res_syn


def word_vectors(model):
    [vectors] = [weight for weight in model.model.weights if weight.shape[0] == len(model.vocabularies.words)]
    return np.array(vectors)


@every_notebook
def test_the_network_starts_from_recommenders_words_and_users(name, data_path):
    model_class, iterator = NOTEBOOKS[name]
    model = model_class(notebook_hparams(name, data_path), iterator, seed=42)
    matrix = np.load(os.path.join(data_path, "utils", "embedding.npy")).astype("float32")
    assert np.array_equal(word_vectors(model), np.concatenate([np.zeros((1, DIM)), matrix]))
    assert model.vocabularies.words.encode(["word1", "word14", "word0"]) == [2, 15, 1]
    assert model.vocabularies.users.encode(["U0", "U3", "U5"]) == [2, 5, 1]
    categories = {"naml": ["category0", "category1", "category2"]}.get(name, [])
    assert model.vocabularies.categories.tokens[2:] == categories


@every_notebook_in_time
def test_a_saved_model_needs_recommenders_files_no_more(name, data_path, tmp_path_factory):
    model_class, iterator = NOTEBOOKS[name]
    files = files_of(data_path)
    model = model_class(notebook_hparams(name, data_path), iterator, seed=42)
    folder = tmp_path_factory.mktemp("saved") / "model"
    model.save(folder)
    _, _, scores = model.run_fast_eval(*files[2:])
    for file in os.listdir(os.path.join(data_path, "utils")):
        os.unlink(os.path.join(data_path, "utils", file))
    loaded = load_model(folder)
    _, _, again = loaded.run_fast_eval(*files[2:])
    assert all(np.array_equal(a, b) for a, b in zip(scores, again, strict=True))


def test_a_matrix_brings_its_own_dimension(data_path, caplog):
    with caplog.at_level("INFO"):
        model = NRMSModel(notebook_hparams("nrms", data_path, word_emb_dim=300), MINDIterator)
    assert word_vectors(model).shape[1] == DIM
    assert "its vectors have 7 dimensions" in caplog.text


@pytest.mark.slow
def test_a_model_that_reads_more_waits_for_the_training_files(data_path):
    """Words and users are the dictionaries' all the same."""
    hparams = notebook_hparams("nrms", data_path, news_encoder="knowledge", entity_embedding=None, news_dim=8)
    model = NRMSModel(hparams, MINDIterator, seed=42)
    assert model.model is None
    assert model.loss is None
    assert model.train_optimizer is None
    files = files_of(data_path)
    with pytest.raises(NotBuiltError):
        model.run_eval(*files[2:])
    model.fit(*files, verbose=0)
    assert model.vocabularies.words.encode(["word0", "word1"]) == [1, 2]
    assert "Q0" in model.vocabularies.entities
