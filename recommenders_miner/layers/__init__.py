"""Keras layers of news recommenders.

They use `keras` and `keras.ops` only, so they run on every Keras backend and compose with any Keras model.
"""

from __future__ import annotations

from recommenders_miner.layers.attention import (
    AdditiveAttention,
    CandidateAttention,
    PersonalizedAttention,
    SegmentPooling,
    SelfAttention,
    WordConvolution,
    pool_by_query,
)
from recommenders_miner.layers.common import (
    CompositeLayer,
    ConfiguredLayer,
    HistoryPositions,
    News,
    Tensor,
    call_without_keeping,
    cosine,
    masked_softmax,
    mean_of_means,
    mean_weights,
    unit_vectors,
    weights_digest,
)
from recommenders_miner.layers.context import (
    ContextScore,
    affinity_features,
    article_features,
    recent_rate,
    user_features,
)
from recommenders_miner.layers.factorization_machine import FactorizationMachine, FactorTable, merged_squares
from recommenders_miner.layers.interests import (
    CategoryBias,
    DisagreementRegularizer,
    InterestAggregation,
    InterestsOverClicks,
    PolyAttention,
    disagreement,
    match_interests,
)

__all__ = [
    "AdditiveAttention",
    "CandidateAttention",
    "CategoryBias",
    "CompositeLayer",
    "ConfiguredLayer",
    "ContextScore",
    "DisagreementRegularizer",
    "FactorTable",
    "FactorizationMachine",
    "HistoryPositions",
    "InterestAggregation",
    "InterestsOverClicks",
    "News",
    "PersonalizedAttention",
    "PolyAttention",
    "SegmentPooling",
    "SelfAttention",
    "Tensor",
    "WordConvolution",
    "affinity_features",
    "article_features",
    "call_without_keeping",
    "cosine",
    "disagreement",
    "masked_softmax",
    "match_interests",
    "mean_of_means",
    "mean_weights",
    "merged_squares",
    "pool_by_query",
    "recent_rate",
    "unit_vectors",
    "user_features",
    "weights_digest",
]
