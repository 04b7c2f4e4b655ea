"""A world small enough to be computed by hand: 12 news, 6 readers, every model at toy sizes."""

from __future__ import annotations

import functools

import numpy as np

from recommenders_miner.hparams import prepare_hparams
from recommenders_miner.io.impression_log import ImpressionLog
from recommenders_miner.io.news_table import NewsTable
from recommenders_miner.io.vocabularies import Vocabularies
from recommenders_miner.models import MODELS

WORDS = [f"word{i}" for i in range(15)]
IDS = [f"N{i}" for i in range(12)]
SIZES = {
    "news_encoder": "self_attention",
    "word_embedding": None,
    "category_embedding": "learned",
    "learning_rate": 1e-3,
    "warmup": 0.0,
    "decay": "constant",
    "title_size": 6,
    "his_size": 5,
    "word_emb_dim": 7,
    "head_num": 2,
    "head_dim": 4,
    "attention_hidden_dim": 5,
    "filter_num": 6,
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
MODEL_NAMES = ["lstur", "miner", "nrms"]


def toy_news(seed: int = 0) -> NewsTable:
    rng = np.random.default_rng(seed)
    return NewsTable.from_columns(
        ids=IDS,
        titles=[" ".join(rng.choice(WORDS, rng.integers(1, 9))) for _ in IDS],
        category=[f"category{i % 3}" for i in range(len(IDS))],
        subcategory=[f"sub{i % 5}" for i in range(len(IDS))],
    )


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


@functools.cache
def toy_model(name: str, **overrides):
    """A model at toy sizes, the same for the same arguments; for tests that only ask it for scores."""
    return fresh_toy_model(name, **overrides)


def fresh_toy_model(name: str, seed: int = 1, **overrides):
    """A built model whose weights are all random, the ones that start at zero too."""
    news = toy_news()
    encoder = {"news_encoder": "cnn"} if name == "lstur" else {}
    model = MODELS[name](prepare_hparams(name, **{**SIZES, **encoder, **overrides}), seed=seed)
    model.build(Vocabularies.build(news, toy_log(news)))
    rng = np.random.default_rng(seed)
    for weight in model.network.weights:
        weight.assign(rng.normal(0, 0.6, weight.shape))
    model.set_news(news)
    return model
