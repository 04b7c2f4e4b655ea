"""A world small enough to be computed by hand: 12 news, 6 readers, every model over words at toy sizes."""

from __future__ import annotations

import functools
import json

import numpy as np

from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.hparams import prepare_hparams
from recommenders_miner.models import MODELS

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
ENCODERS = {"miner": "self_attention"}
"""The news encoders of the systems whose own is a language model."""

MODEL_NAMES = ["deepfm", "dkn", "hierec", "libfm", "lstur", "miner", "naml", "npa", "nrms"]


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
    """Histories from none to longer than his_size; some readers share one, some users come twice."""
    rng = np.random.default_rng(seed)
    histories = [[], IDS[:1], IDS[2:5], IDS[1:10], IDS[3:9], IDS[2:5]]
    readers = rng.integers(0, len(histories), impressions)
    candidates = [rng.choice(IDS, rng.integers(3, 8), replace=False).tolist() for _ in range(impressions)]
    return ImpressionLog.from_columns(
        news,
        histories=[histories[reader] for reader in readers],
        candidates=candidates,
        labels=[[1] + [0] * (len(c) - 1) for c in candidates],
        users=[f"U{reader}" for reader in readers],
    )


def toy_hparams(name: str, **overrides):
    encoder = {"news_encoder": ENCODERS[name]} if name in ENCODERS else {}
    return prepare_hparams(name, **{**SIZES, **encoder, **overrides})


@functools.cache
def toy_model(name: str, **overrides):
    """A model at toy sizes, the same for the same arguments; for tests that only ask it for scores."""
    return fresh_toy_model(name, **overrides)


def fresh_toy_model(name: str, seed: int = 1, **overrides):
    """A built model whose weights are all random, the ones that start at zero too."""
    news = toy_news()
    model = MODELS[name](toy_hparams(name, **overrides), seed=seed)
    model.build(model.train_iterator.build_vocabularies(news, toy_log(news)))
    rng = np.random.default_rng(seed)
    for weight in model.network.weights:
        weight.assign(rng.normal(0, 0.6, weight.shape))
    model.set_news(news)
    return model


def write_files(folder):
    """Writes the toy world's news.tsv and behaviors.tsv, and returns their paths."""
    news, log = toy_news(), toy_log(toy_news())
    columns = (news.ids, news.category, news.subcategory, news.title, news.abstract)
    entities = (news.title_entities, news.abstract_entities)
    rows = zip(
        *(c.to_pylist()[1:] for c in columns), [""] * len(IDS), *(e.to_pylist()[1:] for e in entities), strict=True
    )
    (folder / "news.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    ids, users = news.ids.to_pylist(), log.users.to_pylist()
    labels = iter(log.labels)
    lines = []
    for k, shown in enumerate(log.candidates):
        history = " ".join(ids[row] for row in log.histories[log.history_of[k]])
        candidates = " ".join(f"{ids[row]}-{next(labels)}" for row in shown)
        lines.append(f"{k + 1}\t{users[log.user_of[k]]}\t11/12/2019 2:14:46 PM\t{history}\t{candidates}\n")
    (folder / "behaviors.tsv").write_text("".join(lines))
    return folder / "news.tsv", folder / "behaviors.tsv"
