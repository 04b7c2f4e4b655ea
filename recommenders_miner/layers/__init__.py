"""Keras layers of news recommenders.

They use `keras` and `keras.ops` only, so they run on every Keras backend and compose with any Keras model.
"""

from __future__ import annotations

from recommenders_miner.layers.click_scores import (
    DotProduct,
    InterestAggregation,
    InterestsOverClicks,
    match_interests,
)
from recommenders_miner.layers.common import CompositeLayer, cosine, masked_softmax, unit_vectors
from recommenders_miner.layers.contextual import SelfAttention, WordConvolution
from recommenders_miner.layers.disagreement_regularizer import DisagreementRegularizer, disagreement
from recommenders_miner.layers.factorization_machine import FactorizationMachine, FactorTable, merged_squares
from recommenders_miner.layers.poly_attention import CategoryBias, PolyAttention
from recommenders_miner.layers.pooling import (
    AdditiveAttention,
    CandidateAttention,
    PersonalizedAttention,
    SegmentPooling,
    pool_by_query,
)

__all__ = [
    "AdditiveAttention",
    "CandidateAttention",
    "CategoryBias",
    "CompositeLayer",
    "DisagreementRegularizer",
    "DotProduct",
    "FactorTable",
    "FactorizationMachine",
    "InterestAggregation",
    "InterestsOverClicks",
    "PersonalizedAttention",
    "PolyAttention",
    "SegmentPooling",
    "SelfAttention",
    "WordConvolution",
    "cosine",
    "disagreement",
    "masked_softmax",
    "match_interests",
    "merged_squares",
    "pool_by_query",
    "unit_vectors",
]
