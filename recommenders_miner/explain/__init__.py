"""Why a model scored a candidate as it did: interests, attention, and what each click adds."""

from recommenders_miner.explain.explanation import Explanation
from recommenders_miner.explain.impression import Impression
from recommenders_miner.explain.scores import explain_scores

__all__ = ["Explanation", "Impression", "explain_scores"]
