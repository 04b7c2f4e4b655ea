"""Language models of one layer as people publish them, in Hugging Face's form, each with something of its own.

It needs numpy and safetensors alone, and is read by `tests/encoders/make_plm_vectors.py` too, which asks transformers.
"""

from __future__ import annotations

import json as json_form

import numpy as np
from safetensors.numpy import save_file

LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
VOCABULARY += ["goal", "match", "trump", "says", "Trump", "cafe", "café", "##é", "é", "今", "日", "##日", "!", "́", "i̇"]
BYTES = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
BYTES |= {piece: 4 + place for place, piece in enumerate([*LETTERS, *"TĠÂłÃ©!Ċ", "go", "al", "goal", "Ġgo", "Ġgoal"])}
MERGES = ["g o", "a l", "go al", "Ġ go", "Ġgo al"]
SCORED = [("▁", -3.0), ("▁goal", -2.0), ("al", -4.0), ("▁go", -4.0), *((letter, -6.0) for letter in LETTERS)]
SCORED += [("今", -6.0), ("日", -6.0), ("今日", -5.0), ("é", -6.0)]
TEXTS = [
    *("goal match", "Trump\u00a0says goal", "goal\u202fmatch", "goal\u3000match", "goal\u2009 match\u0085!", "Café!"),
    *("cafe\u0301 é", "今日goal", "İ goal", "goal\u200bmatch\u00ad", "goal\tmatch\r\n", "", "  goal", "[SEP] <s> goal"),
    *("x" * 101, "x" * 99, "Ω goal goal goal goal goal goal goal"),
]
SIZE = 12
HIDDEN, INNER, POSITIONS = 8, 16, 40

BERT, ROBERTA = {"model_type": "bert"}, {"model_type": "roberta"}
XLMR, DISTIL = {"model_type": "xlm-roberta"}, {"model_type": "distilbert"}
DEBERTA = {"model_type": "deberta-v2", "relative_attention": True, "position_buckets": 4, "share_att_key": True}
DEBERTA |= {"norm_rel_ebd": "layer_norm", "pos_att_type": "p2c|c2p", "position_biased_input": False}
DEBERTA |= {"type_vocab_size": 0, "layer_norm_eps": 1e-7}
PIECES_ALONE = {"tokenizer": {"tokenizer_class": "PreTrainedTokenizerFast"}, "json": {"lowercase": True}}
CASES = {
    "bert": {"config": BERT},
    **{act: {"config": {**BERT, "hidden_act": act}} for act in ("gelu_new", "gelu_fast", "relu", "silu", "tanh")},
    "another epsilon": {"config": {**BERT, "layer_norm_eps": 0.1}},
    "masked LM": {"config": BERT, "prefix": "bert.", "left": ("pooler.",), "heads": ("cls.predictions.bias",)},
    "first names": {
        "config": BERT,
        "renamed": {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"},
    },
    "one type": {"config": {**BERT, "type_vocab_size": 1}},
    "four types": {"config": {**BERT, "type_vocab_size": 4}},
    "half": {"config": BERT, "dtype": "float16"},
    "two files": {"config": BERT, "files": 2},
    "fewer layers": {"config": BERT, "layers": 3},
    "electra": {
        "config": {"model_type": "electra", "embedding_size": HIDDEN},
        "prefix": "electra.",
        "left": ("pooler.",),
    },
    "roberta": {"config": {**ROBERTA, "layer_norm_eps": 1e-5}, "prefix": "roberta."},
    "bare roberta": {"config": ROBERTA, "left": ("pooler.",)},
    "padding 0": {"config": {**ROBERTA, "pad_token_id": 0}, "tokenizer": {"tokenizer_class": "BertTokenizer"}},
    "roberta relu": {"config": {**ROBERTA, "hidden_act": "relu", "type_vocab_size": 2}},
    "xlm-roberta": {"config": XLMR, "prefix": "roberta."},
    "camembert": {
        "config": {"model_type": "camembert"},
        "prefix": "roberta.",
        "tokenizer": {"tokenizer_class": "RobertaTokenizer"},
    },
    "distilbert": {"config": DISTIL, "prefix": "distilbert."},
    "bare distilbert": {"config": DISTIL},
    "distilbert relu": {"config": {**DISTIL, "activation": "relu"}},
    "deberta": {"config": DEBERTA, "prefix": "deberta.", **PIECES_ALONE},
    "bare deberta": {"config": {**DEBERTA, "hidden_act": "relu", "layer_norm_eps": 0.1}, "layers": 2, **PIECES_ALONE},
    # Tokenizers, over BERT or RoBERTa
    "cased": {"config": BERT, "tokenizer": {"do_lower_case": False}},
    "accents kept": {"config": BERT, "tokenizer": {"do_lower_case": True, "strip_accents": False}},
    "accents removed": {"config": BERT, "tokenizer": {"do_lower_case": False, "strip_accents": True}},
    "no characters": {"config": BERT, "tokenizer": {"tokenize_chinese_chars": False}},
    "its class alone": {"config": BERT, "tokenizer": {"tokenizer_class": "BertTokenizerFast"}},
    "no options": {"config": BERT, "options": False},
    "json alone": {"config": BERT, "options": False, "json": {"lowercase": True}},
    "cased json alone": {"config": BERT, "options": False, "json": {"lowercase": False}},
    "json overruled": {"config": BERT, "tokenizer": {"do_lower_case": True}, "json": {"lowercase": False}},
    "json of its own": {
        "config": BERT,
        "tokenizer": {"tokenizer_class": "PreTrainedTokenizerFast"},
        "json": {"lowercase": False},
    },
    "added pieces": {
        "config": BERT,
        "tokenizer": {"added_tokens_decoder": {str(len(VOCABULARY)): {"content": "[NEW]"}}},
    },
    "xlm-r's over bert": {"config": BERT, "tokenizer": {"tokenizer_class": "XLMRobertaTokenizer"}},
    "prefix space": {"config": ROBERTA, "tokenizer": {"add_prefix_space": True}},
}


def weights(config, prefix="", left=(), heads=(), renamed=None, dtype="float32", layers=1):
    """A state dict by BERT's names, or DistilBERT's; drawn by order, so the same everywhere.

    `left` are the beginnings of the names that are left out, `heads` tensors that stand above the model.
    """
    rng = np.random.default_rng(0)
    sizes = {"attention.self.query": (HIDDEN, HIDDEN), "attention.self.key": (HIDDEN, HIDDEN)}
    sizes |= {"attention.self.value": (HIDDEN, HIDDEN), "attention.output.dense": (HIDDEN, HIDDEN)}
    sizes |= {"intermediate.dense": (INNER, HIDDEN), "output.dense": (HIDDEN, INNER)}
    norms = ("attention.output.LayerNorm", "output.LayerNorm")
    drawn = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], HIDDEN),
        "embeddings.position_embeddings.weight": (POSITIONS, HIDDEN),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], HIDDEN),
        "embeddings.LayerNorm.weight": HIDDEN,
        "embeddings.LayerNorm.bias": HIDDEN,
    }
    for layer in range(layers):
        for name, size in {**sizes, **dict.fromkeys(norms, (HIDDEN,))}.items():
            drawn |= {f"encoder.layer.{layer}.{name}.weight": size, f"encoder.layer.{layer}.{name}.bias": size[0]}
    drawn |= {"pooler.dense.weight": (HIDDEN, HIDDEN), "pooler.dense.bias": HIDDEN}
    found = {name: rng.normal("LayerNorm.weight" in name, 0.5, size) for name, size in drawn.items()}
    if config["model_type"] == "distilbert":
        found = {name: values for name, values in found.items() if "token_type" not in name and "pooler" not in name}
        renamed = {
            **{"encoder.": "transformer.", "attention.self.query": "attention.q_lin"},
            **{"attention.self.key": "attention.k_lin", "attention.self.value": "attention.v_lin"},
            **{"attention.output.dense": "attention.out_lin", "attention.output.LayerNorm": "sa_layer_norm"},
            **{"output.LayerNorm": "output_layer_norm", "intermediate.dense": "ffn.lin1", "output.dense": "ffn.lin2"},
        }
    if config["model_type"] == "deberta-v2":
        left = ("embeddings.position", "embeddings.token_type", "pooler")
        own = {"rel_embeddings.weight": (2 * config["position_buckets"], HIDDEN), "LayerNorm.weight": HIDDEN}
        own |= {"LayerNorm.bias": HIDDEN}
        found |= {f"encoder.{name}": rng.normal(name == "LayerNorm.weight", 0.5, size) for name, size in own.items()}
        renamed = {f"self.{part}": f"self.{part}_proj" for part in ("query", "key", "value")}
    for berts, name in (renamed or {}).items():
        found = {own.replace(berts, name): values for own, values in found.items()}
    found = {prefix + name: values for name, values in found.items() if not name.startswith(tuple(left))}
    return {name: values.astype(dtype) for name, values in {**found, **dict.fromkeys(heads, np.ones(3))}.items()}


def write_case(folder, name):
    """Write one of `CASES`; returns the folder."""
    return write_checkpoint(folder, **CASES[name])


def write_checkpoint(folder, config, tokenizer=None, json=None, options=True, files=1, **of_weights):
    """Write config.json, weights, and the files of a tokenizer; `options` says whether with tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = (tokenizer or {}).get("tokenizer_class") or config["model_type"]
    is_bytes = kind in ("RobertaTokenizer", "roberta")
    sizes = {"vocab_size": 1 + len(BYTES if is_bytes else VOCABULARY), "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 2, "hidden_size": HIDDEN, "intermediate_size": INNER, "hidden_act": "gelu"}
    if config["model_type"] == "distilbert":
        sizes |= {"dim": HIDDEN, "hidden_dim": INNER, "n_layers": 1, "n_heads": 2, "activation": "gelu"}
    sizes |= {"max_position_embeddings": POSITIONS, "type_vocab_size": 1 if is_bytes else 2, "architectures": ["X"]}
    config = {**sizes, **config}
    write_json(folder / "config.json", config)
    tensors = list(weights(config, **of_weights).items())
    names = ["model.safetensors"] if files == 1 else [f"model-{part}.safetensors" for part in range(files)]
    for part, name in enumerate(names):
        save_file(dict(tensors[part::files]), str(folder / name), metadata={"format": "pt"})
    if files > 1:
        where = {weight: names[place % files] for place, (weight, _) in enumerate(tensors)}
        write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": where})
    if options:
        write_json(folder / "tokenizer_config.json", tokenizer or {})
    if json is not None:
        write_json(folder / "tokenizer.json", tokenizer_json(**json))
    elif is_bytes:
        write_json(folder / "vocab.json", BYTES)
        (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES, ""]), encoding="utf-8")
    elif kind in ("XLMRobertaTokenizer", "xlm-roberta"):
        (folder / "sentencepiece.bpe.model").write_bytes(sentence_pieces())
    else:
        (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in VOCABULARY), encoding="utf-8")
    return folder


def write_json(path, content):
    path.write_text(json_form.dumps(content), encoding="utf-8")


def tokenizer_json(lowercase):
    """A tokenizer.json of BERT's kind."""
    options = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": lowercase}
    ends = {name: {"id": name, "ids": [VOCABULARY.index(name)], "tokens": [name]} for name in ("[CLS]", "[SEP]")}
    start, end = ({"SpecialToken": {"id": name, "type_id": 0}} for name in ends)
    single = [start, {"Sequence": {"id": "A", "type_id": 0}}, end]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0},
        "padding": None,
        "added_tokens": [{"id": place, "content": VOCABULARY[place], **flags} for place in range(5)],
        "normalizer": {"type": "BertNormalizer", **options},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": ends},
        "decoder": None,
        "model": {
            **{"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##"},
            **{"max_input_chars_per_word": 100, "vocab": {piece: place for place, piece in enumerate(VOCABULARY)}},
        },
    }


def sentence_pieces():
    """A SentencePiece model of the pieces `SCORED`."""
    from sentencepiece import sentencepiece_model_pb2 as form

    model = form.ModelProto()
    for piece, kind in (("<unk>", 2), ("<s>", 3), ("</s>", 3)):
        model.pieces.add(piece=piece, score=0.0, type=kind)
    for piece, score in SCORED:
        model.pieces.add(piece=piece, score=score, type=1)
    model.trainer_spec.model_type = form.TrainerSpec.UNIGRAM
    model.normalizer_spec.name = "identity"
    return model.SerializeToString()
