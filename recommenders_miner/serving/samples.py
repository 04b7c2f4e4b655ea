"""Articles and requests made up of a model's vocabularies, by which an export is compared with its network."""

from __future__ import annotations

from typing import Any

import numpy as np

from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.vocabularies import Vocabularies

_ARTICLES, _REQUESTS, _SEED = 40, 24, 0


def sample_articles(vocabularies: Vocabularies, vector_size: int = 0) -> NewsTable:
    """Return articles with titles of 1 to 24 words and longer texts or none, under the model's own labels.

    With a `vector_size` they have ready-made vectors, too.
    """
    rng = np.random.default_rng(_SEED)
    words = [*_names(vocabularies, "words"), "today"]

    def texts(shortest: int, longest: int) -> list[str]:
        return [" ".join(rng.choice(words, rng.integers(shortest, longest + 1))) for _ in range(_ARTICLES)]

    category, subcategory = (
        rng.choice(["", *_names(vocabularies, name)], _ARTICLES).tolist() for name in ("categories", "subcategories")
    )
    known = _names(vocabularies, "news")[: _ARTICLES // 2]
    ids = [*known, *(f"sample {number}" for number in range(_ARTICLES - len(known)))]
    extra: dict[str, Any] = {"published": (1_700_000_000 + rng.integers(0, 10**6, _ARTICLES)).tolist()}
    if vector_size:
        extra["vector"] = list(rng.normal(size=(_ARTICLES, vector_size)).astype("float32"))
    extra["body"] = texts(0, 60)
    return NewsTable.from_columns(ids, texts(1, 24), category, subcategory, texts(0, 40), extra=extra)


def sample_requests(
    news: NewsTable, vocabularies: Vocabularies, his_size: int
) -> list[tuple[list[str], list[str], str | None]]:
    """Return (history, candidates, user) of requests; histories from none to more than is read, users known or not."""
    rng = np.random.default_rng(_SEED)
    ids, users = news.texts("ids"), [*_names(vocabularies, "users")[:_REQUESTS], None]
    lengths = [0, 1, 2, his_size + 3, *rng.integers(1, his_size + 1, _REQUESTS - 4)]
    return [
        (rng.choice(ids, length).tolist(), rng.choice(ids, 12, replace=False).tolist(), users[rng.integers(len(users))])
        for length in lengths
    ]


def _names(vocabularies: Vocabularies, name: str) -> list[str]:
    return vocabularies.parts[name].tokens[2:] if name in vocabularies else []
