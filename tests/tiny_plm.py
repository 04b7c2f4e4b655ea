"""Language models small enough for tests: 3 layers of 8 dimensions, over the words of tests/models/toy.py."""

from __future__ import annotations

import keras_hub
import numpy as np

from recommenders_miner.encoders import PLMEncoder

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "word", *(f"##{digit}" for digit in range(10))]
SIZES = {"num_layers": 3, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16, "max_sequence_length": 40}
KINDS = ("Bert", "DistilBert", "Roberta", "XLMRoberta")
"""Those that know a piece's place in the text; DebertaV3 knows distances alone."""


def tiny_backbone(kind="Bert", seed=0, dropout=0.0, **sizes):
    """A backbone with random weights, biases and scales among them."""
    own = {"bucket_size": 4} if kind == "DebertaV3" else {}
    sizes = {"vocabulary_size": len(VOCABULARY), "dropout": dropout, **SIZES, **own, **sizes}
    backbone = getattr(keras_hub.models, f"{kind}Backbone")(**sizes)
    rng = np.random.default_rng(seed)
    for weight in backbone.weights:
        centre = 1.0 if "gamma" in weight.name else 0.0
        weight.assign(centre + rng.normal(0, 0.3, weight.shape))
    return backbone


def tiny_preset(folder, seed=0, kind="Bert"):
    """Writes a language model and BERT's tokenizer in Keras' form; returns the folder."""
    tiny_backbone(kind, seed).save_to_preset(str(folder))
    keras_hub.models.BertTokenizer(vocabulary=VOCABULARY, lowercase=True).save_to_preset(str(folder))
    return str(folder)


def tiny_encoder(kind="Bert", seed=0, **arguments):
    return PLMEncoder(tiny_backbone(kind, seed), **arguments)
