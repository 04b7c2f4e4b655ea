"""A world small enough to be computed by hand: 12 articles, 6 users, and every model at toy sizes."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest

from recommenders_miner.compat.iterator import MINDIterator
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.hparams import prepare_hparams
from recommenders_miner.models import MODELS
from tests.tiny_plm import tiny_preset

WORDS = [f"word{i}" for i in range(15)]
IDS = [f"N{i}" for i in range(12)]
SIZES = {
    "word_embedding": None,
    "entity_embedding": None,
    "category_embedding": "learned",
    "learning_rate": 1e-3,
    "warmup": 0.0,
    "decay": "constant",
    "title_size": 6,
    "body_size": 7,
    "entity_size": 3,
    "his_size": 5,
    "word_emb_dim": 7,
    "head_num": 2,
    "head_dim": 4,
    "attention_hidden_dim": 5,
    "filter_num": 6,
    "window_sizes": [1, 2, 3],
    "layer_sizes": [5],
    "user_emb_dim": 4,
    "count_emb_dim": 3,
    "vert_emb_dim": 3,
    "subvert_emb_dim": 2,
    "num_interests": 3,
    "code_dim": 4,
    "npratio": 2,
    "batch_size": 4,
    "epochs": 2,
    "dropout": 0.2,
    "length_groups": 2,
}
STILL = {"dropout": 0.0, "user_dropout": 0.0, "news_dropout": 0.0, "learning_rate": 0.01}
"""For `fresh_toy_model`: training without chance."""

PLM = {"news_encoder": "plm", "news_dim": 8, "plm_dropout": 0.0, "user_dropout": 0.0, "length_groups": 1}

COLD = "with a vector for no clicks"
TOYS = {
    "caum": {"candidate_heads": 2, "candidate_layers": [5, 4]},
    "crown": {"feedforward_dim": 6, "intent_num": 2, "intent_dim": 5},
    "deepfm": {"factor_dim": 4, "layer_sizes": [6, 5]},
    "dkn": {},
    "fastformer": {},
    "glory": {"graph_neighbours": 3, "entity_neighbours": 2},
    "hierec": {},
    "hierec with other shares": {"topic_weight": 0.6, "subtopic_weight": 0.1},
    "late-fusion": {},
    "libfm": {"factor_dim": 4},
    "lstur": {"type": "ini"},
    "lstur con": {"type": "con"},
    "lstur of titles": {"title_only": True},
    "miner": {"news_encoder": "self_attention"},
    "miner max": {"aggregation": "max"},
    "miner mean": {"aggregation": "mean"},
    "miner without categories": {"category_weighting": False},
    "miner max without categories": {"aggregation": "max", "category_weighting": False},
    "miner mean without categories": {"aggregation": "mean", "category_weighting": False},
    "miner of one interest": {"num_interests": 1},
    "miner with categories beside": {"category_weighting": False, "category_concatenated": True},
    "miner with places": {"history_positions": True},
    "nrms with places": {"history_positions": True},
    "miner cnn": {"news_encoder": "cnn"},
    "miner multi_view": {"news_encoder": "multi_view"},
    "miner knowledge": {"news_encoder": "knowledge"},
    "miner kcnn": {"news_encoder": "kcnn"},
    "naml": {},
    "npa": {},
    "nrms": {},
    "miner joined": {
        **{
            **PLM,
            "news_encoder": "joined",
            "plm_trainable": "none",
            "plm_texts": ["title", "abstract"],
            "text_size": 5,
        },
        "views": ["plm", "title", "abstract", "category", "subcategory"],
    },
    "pp-rec": {
        **{"recency_levels": 4, "popularity_levels": 5, "popularity_emb_dim": 3},
        **{"content_layers": [5, 4], "recency_layers": [4], "gate_layers": [3]},
    },
    "miner plm": {**PLM, "plm_trainable": "all"},
    "miner plm last": {**PLM, "plm_trainable": "last_n: 2"},
    "miner plm none": {**PLM, "plm_trainable": "none", "plm_pooling": "mean"},
    "nrms-plm": {**PLM, "plm_trainable": "last_n: 2"},
    "nrms-plm all": {**PLM, "plm_trainable": "all"},
    "nrms-plm none": {**PLM, "plm_trainable": "none"},
    "lstur-plm": {**PLM, "plm_trainable": "none", "plm_pooling": "mean"},
    "lstur-plm all": {**PLM, "plm_trainable": "all"},
    "lstur-plm last": {**PLM, "plm_trainable": "last_n: 2"},
    "unbert": {
        **{"title_size": 7, "input_size": 64, "plm_dropout": 0.0, "plm_trainable": "last_n: 2"},
        **{"news_level_layers": 2, "news_level_pooling": "attention"},
    },
    "unbert mean": {"news_level_pooling": "mean"},
    "unbert nsep": {"news_level_pooling": "nsep"},
    **{f"{model} {COLD}": {"cold_history": "learned"} for model in ("miner", "nrms", "npa", "dkn", "hierec", "lstur")},
}
"""What the shared checks are run for: a model's name, and what tells this entry from that of the name alone.

A new model joins by its entry here, and by its score in numpy in `tests.models.reference`. The entry under a model's
bare name stands for it where one is enough.
"""

SLOW = {
    *("miner max", "miner mean", "miner max without categories", "miner mean without categories"),
    *("miner with places", "nrms with places", "miner joined"),
    *("miner plm last", "miner plm none", "miner without categories", "miner of one interest"),
    *("hierec with other shares", "lstur con", "miner cnn", "miner multi_view", "miner knowledge", "miner kcnn"),
    *(f"{model} {COLD}" for model in ("nrms", "dkn", "hierec", "lstur")),
    *("nrms-plm all", "nrms-plm none", "lstur-plm all", "lstur-plm last", "unbert mean", "unbert nsep"),
}
"""What differs from another entry in a way that others show already."""

EVERY_MODEL = [name for name in TOYS if name in MODELS]
MODEL_NAMES = [name for name in EVERY_MODEL if "plm" not in name and name != "unbert"]
"""The models over words."""

every_toy = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in TOYS]
)


def some_slow(names, fast):
    """Mark those of a parameter's values as slow that are not among the fast ones."""
    sets = [name if isinstance(name, tuple) else (name,) for name in names]
    return [
        pytest.param(*of, marks=[] if name in fast else pytest.mark.slow) for name, of in zip(names, sets, strict=True)
    ]


every_model = pytest.mark.parametrize("name", some_slow(EVERY_MODEL, fast=["miner", "nrms"]))
"""For properties that follow from what all models share: two stand for them where time is short."""


@functools.cache
def toy_news(seed: int = 0) -> NewsTable:
    """Titles of 1 to 9 words, abstracts of 0 to 8; every third word is the name of an entity."""
    rng = np.random.default_rng(seed)
    titles, abstracts = (
        [" ".join(rng.choice(WORDS, rng.integers(shortest, shortest + 9))) for _ in IDS] for shortest in (1, 0)
    )
    return NewsTable.from_columns(
        ids=IDS,
        titles=titles,
        category=[f"category{i % 3}" for i in range(len(IDS))],
        subcategory=[f"sub{i % 5}" for i in range(len(IDS))],
        abstract=abstracts,
        title_entities=[entities_of(title) for title in titles],
        abstract_entities=[entities_of(abstract) for abstract in abstracts],
    )


def entities_of(text: str) -> str:
    """The entities of a text in MIND's form, each with all its occurrences."""
    entities: dict[str, dict] = {}
    offset = 0
    for word in text.split():
        number = int(word.removeprefix("word"))
        if number % 3 == 0:
            entity = {"WikidataId": f"Q{number}", "OccurrenceOffsets": [], "SurfaceForms": []}
            entity = entities.setdefault(word, entity)
            entity["OccurrenceOffsets"].append(offset)
            entity["SurfaceForms"].append(word)
        offset += len(word) + 1
    return json.dumps(list(entities.values()))


def toy_log(news: NewsTable, seed: int = 0, impressions: int = 14) -> ImpressionLog:
    """Histories from none to longer than his_size; some users share one, some come twice."""
    rng = np.random.default_rng(seed)
    histories = [[], IDS[:1], IDS[2:5], IDS[1:10], IDS[3:9], IDS[2:5]]
    owners = rng.integers(0, len(histories), impressions)
    candidates = [rng.choice(IDS, rng.integers(3, 8), replace=False).tolist() for _ in range(impressions)]
    return ImpressionLog.from_columns(
        news,
        histories=[histories[owner] for owner in owners],
        candidates=candidates,
        labels=[[1] + [0] * (len(c) - 1) for c in candidates],
        users=[f"U{owner}" for owner in owners],
    )


def write_files(folder: Path) -> tuple[Path, Path]:
    """Write the world as news.tsv and behaviors.tsv, and return their paths."""
    news, log = toy_news(), toy_log(toy_news())
    texts = (news.ids, news.category, news.subcategory, news.title, news.abstract)
    entities = (news.title_entities, news.abstract_entities)
    columns = [column.to_pylist()[1:] for column in (*texts, *entities)]
    columns.insert(len(texts), [""] * len(IDS))  # URLs
    (folder / "news.tsv").write_text("".join("\t".join(row) + "\n" for row in zip(*columns, strict=True)))
    ids, lines = news.ids.to_pylist(), []
    for k in range(len(log)):
        history = " ".join(ids[row] for row in log.histories[log.history_of[k]])
        labels = log.labels[log.candidates.offsets[k] :]
        shown = " ".join(f"{ids[row]}-{label}" for row, label in zip(log.candidates[k], labels, strict=False))
        lines.append(f"{k + 1}\t{log.users[int(log.user_of[k])].as_py()}\t11/12/2019 2:14:46 PM\t{history}\t{shown}\n")
    (folder / "behaviors.tsv").write_text("".join(lines))
    return folder / "news.tsv", folder / "behaviors.tsv"


@functools.cache
def toy_preset() -> str:
    """The folder of a tiny language model, for the process."""
    folder = _FOLDERS.setdefault("preset", tempfile.TemporaryDirectory(prefix="recommenders_miner_tests"))
    return tiny_preset(folder.name)


_FOLDERS: dict[str, tempfile.TemporaryDirectory] = {}


def toy_hparams(name: str, **overrides):
    """The hyperparameters of an entry of TOYS."""
    model = name.split()[0]
    values = {**SIZES, **TOYS.get(model, {}), **TOYS.get(name, {}), **overrides}
    if values.get("news_encoder") in ("plm", "joined") or model == "unbert":
        values = {"plm": toy_preset(), **values}
    return prepare_hparams(model, **values)


def unbuilt(name: str, seed: int = 1, **overrides):
    """A model without a network."""
    return MODELS[name.split()[0]](toy_hparams(name, **overrides), MINDIterator, seed=seed)


_BUILT = {}


def _built(use: str, name: str, seed: int, overrides: dict):
    """A built model, made once for each use; building is what takes the time of these tests."""
    key = use, name, seed, repr(overrides)
    if key not in _BUILT:
        model = unbuilt(name, seed, **overrides)
        model.build(model.train_iterator.build_vocabularies(toy_news(), toy_log(toy_news())))
        model.initial_weights = model.network.get_weights()
        _BUILT[key] = randomised(model, seed)
    return _BUILT[key]


def randomised(model, seed: int = 1):
    """Make all weights random, the ones that start at zero too, always the same for a seed."""
    rng = np.random.default_rng(seed)
    over_plm = bool(getattr(model.hparams, "plm", None))
    for weight in model.network.weights:
        centre = 1.0 if over_plm and "gamma" in weight.name else 0.0
        weight.assign(centre + rng.normal(0, 0.3 if over_plm else 0.6, weight.shape))
    return model


def toy_model(name: str, **overrides):
    """A model of random weights, one object for the same arguments, for tests that leave its weights alone."""
    model = _built("to ask", name, 1, overrides)
    if model.news is not toy_news():
        model.set_news(toy_news())
    return model


def fresh_toy_model(name: str, seed: int = 1, **overrides):
    """A model for tests that change its weights: one object for the same arguments, reset when it is asked for."""
    model = randomised(_built("to change", name, seed, overrides), seed)
    model.history = []
    model.set_news(toy_news())
    return model


def toy_dataset(model, impressions: int = 14):
    """The toy log through the eyes of a model."""
    iterator = MINDIterator(model.hparams, vocabularies=model.vocabularies)
    return iterator.dataset(toy_news(), toy_log(toy_news(), impressions=impressions))
