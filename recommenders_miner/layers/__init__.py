"""Keras layers of news recommenders.

They use `keras` and `keras.ops` only, so they run on every Keras backend and compose with any Keras model.
"""

from __future__ import annotations

from recommenders_miner.layers.additive_attention import AdditiveAttention
from recommenders_miner.layers.candidate_attention import CandidateAttention
from recommenders_miner.layers.category_bias import CategoryBias
from recommenders_miner.layers.composite_layer import CompositeLayer
from recommenders_miner.layers.cosine import cosine, unit_vectors
from recommenders_miner.layers.disagreement_regularizer import DisagreementRegularizer, disagreement
from recommenders_miner.layers.dot_product import DotProduct
from recommenders_miner.layers.factorization_machine import FactorizationMachine, FactorTable, merged_squares
from recommenders_miner.layers.interest_aggregation import InterestAggregation, InterestsOverClicks, match_interests
from recommenders_miner.layers.masked_softmax import masked_softmax
from recommenders_miner.layers.personalized_attention import PersonalizedAttention, pool_by_query
from recommenders_miner.layers.poly_attention import PolyAttention
from recommenders_miner.layers.segment_pooling import SegmentPooling
from recommenders_miner.layers.self_attention import SelfAttention
from recommenders_miner.layers.word_convolution import WordConvolution

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
