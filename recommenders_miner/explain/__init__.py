"""Why a model scored a candidate as it did: interests, attention, and what each click adds."""

from recommenders_miner.explain.explanation import Explanation
from recommenders_miner.explain.scores import Impression, explain_scores

__all__ = ["Explanation", "Impression", "explain_scores"]
