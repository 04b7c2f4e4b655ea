"""More than one process: training, scoring and recommending with workers on this machine, or on the nodes of Ray."""

from recommenders_miner.distributed.scoring import recommend_all_users, score_parts
from recommenders_miner.distributed.training import fit

__all__ = ["fit", "recommend_all_users", "score_parts"]
