"""Language models as people publish them: the vectors of transformers, or a refusal that says why."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from recommenders_miner.data.features import padded
from recommenders_miner.data.pieces import Pieces
from recommenders_miner.encoders import PLMEncoder
from recommenders_miner.encoders.pretrained import load_backbone
from recommenders_miner.errors import PresetError
from tests.layers.layer_checks import to_numpy
from tests.models.toy import some_slow
from tests.tiny_checkpoints import CASES, DEBERTA, SIZE, TEXTS, write_case, write_json

STORED = json.loads(Path(__file__).with_name("plm_vectors.json").read_text(encoding="utf-8"))
OF_TOKENIZERS = ("cased", "accents", "no ", "its class", "json", "added", "prefix space")
OF_MODELS = [name for name in CASES if not name.startswith(OF_TOKENIZERS) and "json" not in name]
FAST = ["relu", "another epsilon", "masked LM", "one type", "deberta", "roberta relu", "padding 0", "bare distilbert"]


def means(encoder, pieces):
    """The means of the states of each text, through all layers."""
    mask = pieces > 0
    states = to_numpy(encoder.read(encoder.embed(pieces), mask))
    return (states * mask[..., None]).sum(1) / mask.sum(1)[:, None]


def vectors(folder, **arguments):
    encoder = PLMEncoder.from_preset(str(folder), plm_dropout=0.0, trainable_layers=0, **arguments)
    return means(encoder, padded(Pieces(folder).encode(TEXTS[:2], SIZE), SIZE)[1:])


@pytest.mark.parametrize("name", some_slow(OF_MODELS, fast=FAST))
def test_vectors_are_those_of_transformers(name, tmp_path):
    assert vectors(write_case(tmp_path, name)) == pytest.approx(np.array(STORED[name]["means"]), abs=1e-5)


def test_the_cases_are_different_models():
    told = [np.array(STORED[name]["means"]) for name in ("bert", "gelu_new", "relu", "silu", "another epsilon")]
    told += [np.array(STORED[name]["means"]) for name in ("roberta", "roberta relu")]
    assert all(np.abs(a - b).max() > 1e-4 for place, a in enumerate(told) for b in told[:place])


def test_a_loaded_encoder_comes_back_from_its_config_with_its_activation_and_epsilon(tmp_path):
    encoder = PLMEncoder.from_preset(str(write_case(tmp_path, "another epsilon")), plm_dropout=0.0)
    again = PLMEncoder.from_config(encoder.get_config())
    again.set_weights(encoder.get_weights())
    pieces = padded(Pieces(tmp_path).encode(TEXTS[:2], SIZE), SIZE)[1:]
    assert means(again, pieces) == pytest.approx(np.array(STORED["another epsilon"]["means"]), abs=1e-5)
    assert encoder.new_layer("new").layer_norm_epsilon == 0.1


def test_what_is_frozen_has_the_same_digest_each_time_and_with_or_without_a_pooler(tmp_path):
    folders = [str(write_case(tmp_path / name, name)) for name in ("bert", "masked LM")]
    loaded = [PLMEncoder.from_preset(folder, trainable_layers=0) for folder in [*folders, folders[1]]]
    assert len({encoder._frozen_digest() for encoder in loaded}) == 1


def changed(folder, **config):
    path = folder / "config.json"
    write_json(path, {**json.loads(path.read_text()), **config})


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "mpnet"}, "it is a mpnet.*What comes near it: sentence-transformers/all-MiniLM-L12-v2"),
        ({"model_type": "modernbert"}, "it is a modernbert.*What comes near it"),
        ({"model_type": "deberta-v2"}, "config.json says relative_attention: False; here it can only be True"),
        ({**DEBERTA, "conv_kernel_size": 3}, "conv_kernel_size: 3; here it can only be 0"),
        ({**DEBERTA, "pos_att_type": ["c2p"]}, r"pos_att_type: \['c2p'\]"),
        ({"model_type": "nomic_bert"}, "it is a nomic_bert.*Bert, DistilBert, Roberta, XLMRoberta, DebertaV3"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type: 'relative_key'.*only be 'absolute'"),
        ({"is_decoder": True}, "is_decoder: True"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"hidden_act": "prelu"}, "hidden_act: 'prelu'; known are gelu, "),
        ({"auto_map": {"AutoModel": "modeling_own.OwnModel"}}, "code of their own.*modeling_own"),
        ({"hidden_size": 16}, r"word_embeddings.weight has the shape .* other sizes than config.json"),
        ({"num_hidden_layers": 2}, "it lacks the weights encoder.layer.1.attention.self.query.weight"),
        ({"max_position_embeddings": 30}, "position_embeddings"),
    ],
)
def test_a_model_that_would_be_another_is_refused_with_the_reason(tmp_path, config, said):
    changed(write_case(tmp_path, "bert"), **config)
    with pytest.raises(PresetError, match=said):
        load_backbone(str(tmp_path))


def test_a_config_that_does_not_name_its_kind_is_refused(tmp_path):
    write_case(tmp_path, "bert")
    config = json.loads((tmp_path / "config.json").read_text())
    del config["model_type"]
    write_json(tmp_path / "config.json", config)
    for load in (load_backbone, lambda folder: Pieces(folder).tokenizer):
        with pytest.raises(PresetError, match=r"config\.json has no model_type"):
            load(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("encoder.layer.0.attention.self.distance_embedding.weight", "bert"),
        ("encoder.layer.0.attention.self.query.lora_A.weight", "masked LM"),
        ("embeddings_project.weight", "electra"),
    ],
)
def test_weights_that_a_model_has_no_place_for_are_named(tmp_path, name, left):
    path = write_case(tmp_path, left) / "model.safetensors"
    save_file({**load_file(path), CASES[left].get("prefix", "") + name: np.ones((2, 2), "float32")}, path)
    with pytest.raises(PresetError, match=f"has weights that a BertBackbone has no place for: {name}"):
        load_backbone(str(tmp_path))


@pytest.mark.parametrize("other", ["pytorch_model.bin", "tf_model.h5", "model.onnx"])
@pytest.mark.parametrize("with_weights", [True, False])
def test_weights_in_another_form_are_refused_with_how_to_convert_them(tmp_path, other, with_weights):
    write_case(tmp_path, "bert")
    (tmp_path / "model.safetensors").rename(tmp_path / other)
    with pytest.raises(PresetError, match=f"has no model.safetensors, but {other}. Write it anew with transformers"):
        load_backbone(str(tmp_path), load_weights=with_weights)


def test_weights_that_are_missing_are_named(tmp_path):
    for name, missing in (("bert", "model.safetensors"), ("two files", "model-1.safetensors")):
        (write_case(tmp_path / name, name) / missing).unlink()
        with pytest.raises(PresetError, match=f"has no {missing}.*Write it anew with transformers"):
            load_backbone(str(tmp_path / name))


def test_two_language_models_in_one_file_are_refused(tmp_path):
    path = write_case(tmp_path, "bert") / "model.safetensors"
    tensors = load_file(path)
    save_file({f"{own}.{name}": values for own in ("query", "passage") for name, values in tensors.items()}, path)
    with pytest.raises(PresetError, match=r"has the language models (query\., passage\.|passage\., query\.), where"):
        load_backbone(str(tmp_path))
