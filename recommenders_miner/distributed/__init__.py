"""More than one process: training, scoring and recommending with workers on this machine, or on the nodes of Ray."""

from recommenders_miner.distributed.scoring import score_log
from recommenders_miner.distributed.training import fit

__all__ = ["fit", "score_log"]
