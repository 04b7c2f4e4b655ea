"""What a training step takes by arithmetic, beside what networks and batches have; and the script that measures it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import keras_hub
import numpy as np
import pytest

from recommenders_miner.encoders.base import ENCODERS
from recommenders_miner.experiments.memory import LanguageModel, training_memory
from recommenders_miner.experiments.runs import TABLE_2
from recommenders_miner.hparams import MODELS, prepare_hparams
from tests.models.toy import some_slow, toy_dataset, toy_hparams, toy_log, toy_model, toy_news, toy_preset

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "paper_shapes.py"
OVER_WORDS = ["libfm", "deepfm", "dkn", "npa", "naml", "lstur", "nrms", "hierec", "miner-knowledge"]
OVER_WORDS += ["pp-rec", "glory", "crown"]


def memory(name, **overrides):
    return training_memory(toy_hparams(name, **overrides), toy_news(), toy_log(toy_news()))


def test_a_presets_sizes_are_those_of_its_language_model():
    sizes = LanguageModel.of_preset(toy_preset())
    backbone = keras_hub.models.Backbone.from_preset(toy_preset())
    assert sizes.layer_parameters == backbone.transformer_layers[0].count_params()
    assert LanguageModel.of_preset(toy_preset(), depth=2) == sizes._replace(layers=2)
    assert LanguageModel.of_preset("bert_base_en_uncased") == LanguageModel(12, 768, 12, 3072, 30_522, 512)
    assert LanguageModel.of_preset("nowhere/bert_large_en").layers == 24
    embedded = (sizes.pieces + sizes.positions) * sizes.hidden
    layers = sum(layer.count_params() for layer in backbone.transformer_layers)
    assert embedded + layers < memory("miner plm").parameters < 1.5 * backbone.count_params()


def test_sizes_are_read_by_whatever_names_a_config_has(tmp_path):
    config = tmp_path / "config.json"
    distil = {"n_layers": 6, "dim": 16, "n_heads": 2, "hidden_dim": 32, "vocab_size": 99, "max_position_embeddings": 24}
    config.write_text(json.dumps(distil))
    assert LanguageModel.of_preset(str(tmp_path)) == LanguageModel(6, 16, 2, 32, 99, 24)
    config.write_text(json.dumps({"d_model": 16}))
    assert LanguageModel.of_preset(str(tmp_path)) == LanguageModel()


@pytest.mark.parametrize("name", some_slow(OVER_WORDS, fast=["nrms", "libfm"]))
def test_weights_are_about_those_of_the_network(name, data):
    hparams = prepare_hparams(name, word_embedding=None, word_emb_dim=300, category_embedding="learned", cache=False)
    model = MODELS[hparams.model_type](hparams, seed=1)
    read = model.train_iterator.load(data / "train" / "news.tsv", data / "train" / "behaviors.tsv")
    model.build(model.train_iterator.vocabularies)
    found = training_memory(hparams, read.news, read.log).parameters
    assert found == pytest.approx(model.network.count_params(), rel=0.25)


def test_bert_base_keeps_what_the_paper_says():
    """Korthikanti et al.: 34 bytes for each number of a layer's input and 5 for each attention weight, at 16 bit."""
    of_numbers, of_weights = 10 * 20 * 768, 10 * 12 * 20 * 20
    assert LanguageModel().kept(12, 10, 20, remat=False) == 12 * (34 * of_numbers + 5 * of_weights)
    assert LanguageModel().kept(12, 10, 20, remat=True) == 12 * 2 * of_numbers + 34 * of_numbers + 5 * of_weights
    assert LanguageModel().operations(1, 10, 20) == 2 * (10 * 20 * 12 * 768**2 + 2 * 10 * 12 * 20 * 20 * 64)


@pytest.mark.parametrize("name", ["miner plm", "unbert", "nrms"])
def test_articles_are_those_of_the_first_step(name):
    model = toy_model(name)
    data = toy_dataset(model)
    batches = model.train_iterator.batches(data, model.network_features(data), seed=0)
    needed = np.unique([0, *np.concatenate(batches.samples.of_step(0)[1:]).ravel()])
    found = memory(name).articles
    assert len(needed) <= found <= sum(len(next(iter(group.values()))) for group in batches[0][0]["news"])


@pytest.mark.parametrize("encoder", sorted({*ENCODERS} - {"tfidf"}))  # which gives no vectors
def test_every_news_encoder_is_counted(encoder):
    hparams = toy_hparams("nrms", news_encoder=encoder, plm=toy_preset(), article_vectors="v.npy")
    assert training_memory(hparams, toy_news(), toy_log(toy_news())).parameters > 0


@pytest.mark.parametrize("name", ["miner plm", "nrms-plm all", "unbert"])
def test_half_the_precision_remat_and_micro_batches_take_less(name):
    ways = {"precision": "bfloat16"}, {"remat": True}, {"batch_size": 1, "accumulate_steps": 4}
    whole, half, again, parts = (memory(name, plm_trainable="all", **way) for way in ({}, *ways))
    assert half.activations == whole.activations / 2
    assert again.activations < whole.activations
    assert again.operations > 1.2 * whole.operations
    assert parts.activations < whole.activations
    assert parts.states == whole.states + 4 * whole.parameters
    assert (half.states, again.states) == (whole.states + 2 * whole.parameters, whole.states)
    assert whole.bytes == whole.states + whole.activations


def test_what_is_frozen_has_neither_gradients_nor_moments():
    whole, upper = (memory("nrms-plm", plm_trainable=way) for way in ("all", "last_n: 2"))
    assert whole.parameters == upper.parameters
    assert upper.states < whole.states
    assert upper.activations < whole.activations


@pytest.mark.slow
def test_published_shapes_run_over_a_smaller_language_model(data, tmp_path):
    """Two layers of BERT-base's sizes."""
    names, out = ["unbert"], tmp_path / "rows.json"
    assert set(names) <= set(TABLE_2)
    command = [sys.executable, SCRIPT, "--models", ",".join(names), "--layers", "2", "--micro", "1", "--steps", "3"]
    command += ["--data", data, "--work", tmp_path, "--out", out]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split("|")[1].strip() for line in lines[-1:]] == names
    for row in json.loads(out.read_text()).values():
        assert (row["micro"], row["steps"]) == (1, 3)
        assert row["parameters_by_arithmetic"] == pytest.approx(row["parameters"], rel=0.02)
        assert 4 * 3 * row["parameters"] < row["peak_rss"] < 24 * 2**30
        assert row["bytes"]["bfloat16, remat"] < row["bytes"]["bfloat16"] < row["bytes"]["float32"]
