"""How an article does at this moment: the columns of `CONTEXT` as a score, and a gate between it and matching."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from recommenders_miner.data.context import CONTEXT, PRIOR_SHOWINGS, WINDOWS
from recommenders_miner.data.counts import shrunk_rate
from recommenders_miner.layers.common import CompositeLayer, News, Tensor

_USUAL_RATE = 0.04  # MIND's; centres the logarithms of rates


def article_features(candidates: News) -> Tensor:
    """Bring what the context says of candidates to like scales, (B, C, features) float32.

    Logarithms of age, counts and click rates; those of a time window are shrunk to the rate of all time as this is to
    the rate of all articles. See `CONTEXT`.
    """
    columns = _columns(candidates)
    age, rate = columns["age"], columns["click_rate"]
    features = [ops.log1p(ops.maximum(age, 0.0)) / 3.0, ops.cast(age < 0, "float32"), columns["click_rate_rank"]]
    features += [ops.log1p(columns["showings"]) / 5.0, ops.log1p(columns["clicks"]) / 3.0, _relative(rate)]
    for window in WINDOWS:
        features += [ops.log1p(columns[f"showings_{window}"]) / 5.0, _relative(recent_rate(candidates, window))]
    return ops.stack(features, axis=-1)


def affinity_features(candidates: News) -> Tensor:
    """Bring what the history has of a candidate's category and subcategory to like scales, (B, C, 6) float32."""
    columns = _columns(candidates)
    of_labels = [columns["clicks_in_category"], columns["clicks_in_subcategory"]]
    shares = [clicks / ops.maximum(columns["user_clicks"], 1.0) for clicks in of_labels]
    usual = [columns["expected_in_category"], columns["expected_in_subcategory"]]
    more = [ops.log((clicks + 0.5) / (of_all + 0.5)) for clicks, of_all in zip(of_labels, usual, strict=True)]
    return ops.stack([*(ops.log1p(clicks) for clicks in of_labels), *shares, *more], axis=-1)


def user_features(candidates: News) -> Tensor:
    """Bring what the context says of the user to like scales, (B, C, features) float32."""
    columns = _columns(candidates)
    day, week = (2 * math.pi / period * columns[name] for name, period in (("hour", 24), ("weekday", 7)))
    since = columns["days_since_click"]
    recency = [ops.exp(-ops.maximum(since, 0.0)), ops.cast(since < 0, "float32")]
    times = [ops.sin(day), ops.cos(day), ops.sin(week), ops.cos(week)]
    return ops.stack([ops.log1p(columns["user_clicks"]) / 3.0, *recency, *times], axis=-1)


def recent_rate(candidates: News, window: str) -> Tensor:
    """Return the click rate within a window of `WINDOWS`, shrunk to that of all time: (B, C) float32."""
    columns = _columns(candidates)
    clicks, showings = (columns[f"{what}_{window}"] for what in ("clicks", "showings"))
    return shrunk_rate(clicks, showings, columns["click_rate"], PRIOR_SHOWINGS)


def _columns(candidates: News) -> News:
    return {name: ops.cast(candidates[name], "float32") for name in CONTEXT if name in candidates}


def _relative(rate: Tensor) -> Tensor:
    return ops.log(ops.maximum(rate, 1e-6) / _USUAL_RATE)


class ContextScore(CompositeLayer):
    """Score a candidate by its context and its content, whoever the user is.

    The idea is that of Qi et al., "PP-Rec", ACL 2021, Section 3.3: popularity as a function of recent clicks, of
    recency and of content. Here one hidden layer reads all three, and content enters before it:

        s_p = v^T tanh(W x + U h)

    with the features x of `article_features` and the news vector h.

    Args:
        hidden_dim: units of the hidden layer.
        reads_content: whether candidates have a `vector` to read.

    Call arguments:
        candidates: the columns of `CONTEXT`, (B, C) each, and `content` (B, C, hidden_dim), if it is read.

    Returns:
        (B, C) float32.
    """

    def __init__(self, hidden_dim: int = 32, reads_content: bool = True, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.hidden = keras.layers.Dense(hidden_dim, dtype="float32")
        self.of_content = keras.layers.Dense(hidden_dim, use_bias=False, dtype="float32") if reads_content else None
        self.output_layer = keras.layers.Dense(1, use_bias=False, dtype="float32")

    def content(self, vector: Tensor) -> Tensor:
        """Return U h of news vectors (…, d), what content adds, (…, hidden_dim) float32."""
        return self.of_content(ops.cast(vector, "float32"))

    def call(self, candidates: News) -> Tensor:
        """See the class for the shapes."""
        hidden = self.hidden(article_features(candidates))
        if self.of_content is not None:
            hidden = hidden + candidates["content"]
        return ops.squeeze(self.output_layer(ops.tanh(hidden)), axis=-1)
