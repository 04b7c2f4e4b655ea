"""An editor's policy, rerankers, and the lists that they make: numpy and scipy, no model and no Keras."""

from recommenders_miner.reranking.listing import Listing, Move, Reason, Relaxed
from recommenders_miner.reranking.plan import Plan, news_columns
from recommenders_miner.reranking.policy import Pin, Policy

__all__ = ["Listing", "Move", "Pin", "Plan", "Policy", "Reason", "Relaxed", "news_columns"]
