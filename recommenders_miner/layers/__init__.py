"""Keras layers of news recommenders.

They use `keras` and `keras.ops` only, so they run on every Keras backend and compose with any Keras model.
"""

from __future__ import annotations

from recommenders_miner.layers.additive_attention import AdditiveAttention
from recommenders_miner.layers.category_bias import CategoryBias
from recommenders_miner.layers.composite_layer import CompositeLayer
from recommenders_miner.layers.cosine import cosine, unit_vectors
from recommenders_miner.layers.disagreement_regularizer import DisagreementRegularizer, disagreement
from recommenders_miner.layers.dot_product import DotProduct
from recommenders_miner.layers.interest_aggregation import InterestAggregation
from recommenders_miner.layers.masked_softmax import masked_softmax
from recommenders_miner.layers.poly_attention import PolyAttention
from recommenders_miner.layers.self_attention import SelfAttention

__all__ = [
    "AdditiveAttention",
    "CategoryBias",
    "CompositeLayer",
    "DisagreementRegularizer",
    "DotProduct",
    "InterestAggregation",
    "PolyAttention",
    "SelfAttention",
    "cosine",
    "disagreement",
    "masked_softmax",
    "unit_vectors",
]
