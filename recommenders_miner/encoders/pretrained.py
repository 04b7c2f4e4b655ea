"""Pretrained language models, as Keras models that compute what their authors' do."""

from __future__ import annotations

import contextlib
import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import safetensors

from recommenders_miner.data.pieces import TO_SAFETENSORS, hugging_face_config, preset_folder
from recommenders_miner.errors import PresetError

BACKBONES = ("BertBackbone", "DistilBertBackbone", "RobertaBackbone", "XLMRobertaBackbone", "DebertaV3Backbone")
KNOWN = "The language models that can be news encoders here: Bert, DistilBert, Roberta, XLMRoberta, DebertaV3."

_KINDS = {"bert": "Bert", "electra": "Bert", "distilbert": "DistilBert", "deberta-v2": "DebertaV3"}
_KINDS |= {"roberta": "Roberta", "camembert": "Roberta", "xlm-roberta": "XLMRoberta"}
"""KerasHub's classes for Hugging Face's kinds of models, `model_type` in config.json."""
_INSTEAD = {
    "mpnet": "sentence-transformers/all-MiniLM-L12-v2 or BAAI/bge-base-en-v1.5",
    "modernbert": "thenlper/gte-base or BAAI/bge-base-en-v1.5",
}
"""What comes near a kind that people ask for and that is not here."""
_ONLY = {"position_embedding_type": "absolute", "is_decoder": False, "pruned_heads": {}, "quantization_config": None}
"""Values of a config.json that the models here stand for; another value is another model."""
_ONLY_DEBERTA = {"relative_attention": True, "share_att_key": True, "norm_rel_ebd": "layer_norm"}
_ONLY_DEBERTA |= {"pos_att_type": ["c2p", "p2c"], "position_biased_input": False}
_ONLY_DEBERTA |= {"conv_kernel_size": 0, "max_relative_positions": -1}
"""Those of DeBERTa's version 3; the versions before have the same `model_type`."""
_DEBERTA = {"relative_attention": False, "share_att_key": False, "norm_rel_ebd": "none", "layer_norm_eps": 1e-7}
_DEBERTA |= {"position_biased_input": True}
"""What transformers takes where such a config.json says nothing."""
_ACTIVATIONS = {name: name for name in ("gelu", "relu", "silu", "sigmoid", "tanh", "relu6", "mish", "linear")}
_ACTIVATIONS |= {"swish": "silu", "gelu_python": "gelu"}
_ACTIVATIONS |= dict.fromkeys(("gelu_new", "gelu_fast", "gelu_accurate", "gelu_pytorch_tanh"), "gelu_tanh")
"""`hidden_act` of a config.json, as `PLMEncoder` calls it."""

# DistilBERT's names, in config.json and of weights, and BERT's for the same.
_SIZES = {"dim": "hidden_size", "n_layers": "num_hidden_layers", "n_heads": "num_attention_heads"}
_SIZES |= {"hidden_dim": "intermediate_size", "activation": "hidden_act"}
_NAMES = {
    "transformer.layer.": "encoder.layer.",
    "attention.q_lin": "attention.self.query",
    "attention.k_lin": "attention.self.key",
    "attention.v_lin": "attention.self.value",
    "attention.out_lin": "attention.output.dense",
    "sa_layer_norm": "attention.output.LayerNorm",
    "output_layer_norm": "output.LayerNorm",
    "ffn.lin1": "intermediate.dense",
    "ffn.lin2": "output.dense",
    # DeBERTa's.
    **{f"attention.self.{part}_proj": f"attention.self.{part}" for part in ("query", "key", "value")},
    # What the first of all BERTs were written with.
    "LayerNorm.gamma": "LayerNorm.weight",
    "LayerNorm.beta": "LayerNorm.bias",
}
_EMBEDDING = "embeddings.word_embeddings.weight"
_BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")


def load_backbone(preset: str, dropout: float = 0.1, load_weights: bool = True) -> tuple[keras.Model, dict[str, Any]]:
    """Load a preset's language model.

    Beside it come the arguments of `PLMEncoder` that make it compute what its authors' does: `activation` and
    `layer_norm_epsilon`, which KerasHub's classes fix. Without weights nothing large is downloaded.

    Raises:
        PresetError: there is no such preset, it cannot be read, or would compute something else than its authors'.
    """
    import keras_hub

    try:
        folder = preset_folder(preset, load_weights)
        config = hugging_face_config(folder)
        if not config:
            if Path(folder).is_dir() and not (Path(folder) / "config.json").is_file():
                raise ValueError(f"{folder} has no config.json.")
            options = {"dropout": dropout, "load_weights": load_weights}
            return keras_hub.models.Backbone.from_preset(folder, **options), {}
        backbone, arguments = _untrained(config, dropout)
        files = _weight_files(Path(folder)) if load_weights or folder == preset else []
        if load_weights:
            with contextlib.ExitStack() as stack:
                _assign(backbone, _tensors(files, stack), config)
        return backbone, arguments
    except PresetError:
        raise
    except Exception as error:  # KerasHub lets through whatever its many readers and downloaders raise
        raise PresetError(preset, f"no language model could be loaded: {error}") from error


def _untrained(config: dict[str, Any], dropout: float) -> tuple[keras.Model, dict[str, Any]]:
    """Return the model that a config.json describes, untrained, and the arguments of `PLMEncoder` that belong to it."""
    import keras_hub

    kind = config["model_type"]
    if kind not in _KINDS:
        instead = f" What comes near it: {_INSTEAD[kind]}." if kind in _INSTEAD else ""
        raise ValueError(f"it is a {kind}. {KNOWN}{instead}")
    if kind == "distilbert":
        config = {_SIZES.get(name, name): value for name, value in config.items()}
    if "AutoModel" in (config.get("auto_map") or {}):
        raise ValueError(f"its authors have code of their own for it, {config['auto_map']['AutoModel']}. {KNOWN}")
    only = _ONLY
    if kind == "deberta-v2":
        kinds = config.get("pos_att_type") or []
        kinds = sorted(kinds.split("|") if isinstance(kinds, str) else kinds)
        config, only = {**_DEBERTA, **config, "pos_att_type": kinds}, {**only, **_ONLY_DEBERTA}
    for name, value in only.items():
        if config.get(name, value) not in (value, None):
            raise ValueError(f"config.json says {name}: {config[name]!r}; here it can only be {value!r}.")
    activation = config.get("hidden_act", "gelu")
    if activation not in _ACTIVATIONS:
        raise ValueError(f"config.json says hidden_act: {activation!r}; known are {', '.join(_ACTIVATIONS)}.")
    backbone = getattr(keras_hub.models, f"{_KINDS[kind]}Backbone")(
        vocabulary_size=config["vocab_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        hidden_dim=config["hidden_size"],
        intermediate_dim=config["intermediate_size"],
        max_sequence_length=config["max_position_embeddings"] - _first_position(config),
        dropout=dropout,
        **({"bucket_size": config["position_buckets"]} if kind == "deberta-v2" else {}),
    )
    epsilon = config.get("layer_norm_eps", 1e-12)
    return backbone, {"activation": _ACTIVATIONS[activation], "layer_norm_epsilon": epsilon}


def _first_position(config: dict[str, Any]) -> int:
    """The row of the first piece in the table of positions: RoBERTa's stands behind that of its padding piece."""
    return config.get("pad_token_id", 1) + 1 if _KINDS[config["model_type"]].endswith("Roberta") else 0


def _weight_files(folder: Path) -> list[Path]:
    """Return the files of weights, in safetensors' form, of which a large model has several."""
    index = folder / "model.safetensors.index.json"
    names = {"model.safetensors"}
    if index.is_file():
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    if missing := sorted(name for name in names if not (folder / name).is_file()):
        others = (".bin", ".pt", ".h5", ".msgpack", ".onnx", ".ckpt", ".safetensors")
        found = ", ".join(sorted(path.name for path in folder.iterdir() if path.suffix in others))
        instead = f", but {found}" if found else ""
        raise ValueError(f"{folder} has no {', '.join(missing)}{instead}. {TO_SAFETENSORS}")
    return sorted(folder / name for name in names)


def _tensors(files: list[Path], stack: contextlib.ExitStack) -> dict[str, Callable[[], np.ndarray]]:
    """Return what reads each tensor of the language model, by BERT's names without what stands before them."""
    opened = [stack.enter_context(safetensors.safe_open(path, framework="numpy")) for path in files]
    where = {name: file for file in opened for name in file.keys()}  # noqa: SIM118  # a file is no dict
    prefixes = [name.removesuffix(_EMBEDDING) for name in where if name.endswith(_EMBEDDING)]
    if len(prefixes) != 1:
        said = f"the language models {', '.join(prefixes)}" if prefixes else f"no {_EMBEDDING}"
        raise ValueError(f"{', '.join(path.name for path in files)} has {said}, where there should be one.")
    found = {}
    for name, file in where.items():
        if name.startswith(prefixes[0]):
            short = name.removeprefix(prefixes[0])
            for theirs, berts in _NAMES.items():
                short = short.replace(theirs, berts)
            found[short] = functools.partial(file.get_tensor, name)
    return found


def _assign(backbone: keras.Model, tensors: dict[str, Callable[[], np.ndarray]], config: dict[str, Any]) -> None:
    """Give a model its weights, each tensor once; one that is lacking, or that the model has no place for, is an error.

    A pooler and what stands above the model are left out. BERT's pooler, which no encoder reads, becomes zero, so that
    the digest of frozen weights is that of what is used.
    """
    used = set(_BUFFERS)

    def read(name: str) -> np.ndarray:
        if name not in tensors:
            raise ValueError(f"it lacks the weights {name}.")
        used.add(name)
        return np.asarray(tensors[name](), "float32")

    def put(variable: Any, values: np.ndarray, name: str) -> None:
        if values.size != math.prod(variable.shape):
            said = f"{name} has the shape {values.shape}, which goes with other sizes than config.json has"
            raise ValueError(f"{said}: {tuple(variable.shape)}.")
        variable.assign(values.reshape(variable.shape))

    def dense(layer: Any, name: str) -> None:
        put(layer.kernel, read(f"{name}.weight").T, f"{name}.weight")
        put(layer.bias, read(f"{name}.bias"), f"{name}.bias")

    def norm(layer: Any, name: str) -> None:
        put(layer.gamma, read(f"{name}.weight"), f"{name}.weight")
        put(layer.beta, read(f"{name}.bias"), f"{name}.bias")

    put(backbone.token_embedding.embeddings, read(_EMBEDDING), _EMBEDDING)
    if hasattr(backbone, "relative_embeddings"):
        name = "encoder.rel_embeddings.weight"
        put(backbone.relative_embeddings.rel_embeddings, read(name), name)
        norm(backbone.relative_embeddings.layer_norm, "encoder.LayerNorm")
    else:
        places = read("embeddings.position_embeddings.weight")[_first_position(config) :]
        segments = None if config["model_type"] == "distilbert" else read("embeddings.token_type_embeddings.weight")
        if hasattr(backbone, "segment_embedding"):
            table = backbone.segment_embedding.embeddings
            table.assign(np.resize(segments, table.shape))  # a model of one kind of text has it for a second one too
            backbone.pooled_dense.set_weights([np.zeros(weight.shape) for weight in backbone.pooled_dense.weights])
            positions = backbone.position_embedding
        else:
            positions = backbone.embeddings.position_embedding
            places = places if segments is None else places + segments[0]  # RoBERTa adds the first one to every piece
        put(positions.position_embeddings, places, "embeddings.position_embeddings.weight")
    norm(backbone.embeddings_layer_norm, "embeddings.LayerNorm")
    for index, layer in enumerate(backbone.transformer_layers):
        name, attention = f"encoder.layer.{index}", layer._self_attention_layer
        for part in ("query", "key", "value"):
            dense(getattr(attention, f"_{part}_dense"), f"{name}.attention.self.{part}")
        dense(attention._output_dense, f"{name}.attention.output.dense")
        norm(layer._self_attention_layer_norm, f"{name}.attention.output.LayerNorm")
        dense(layer._feedforward_intermediate_dense, f"{name}.intermediate.dense")
        dense(layer._feedforward_output_dense, f"{name}.output.dense")
        norm(layer._feedforward_layer_norm, f"{name}.output.LayerNorm")
    above = [f"encoder.layer.{index}." for index in range(len(backbone.transformer_layers))]
    own = [name for name in tensors if name.startswith(("embeddings", *above)) and name not in used]
    if own:
        raise ValueError(f"it has weights that a {type(backbone).__name__} has no place for: {', '.join(own[:3])}.")
