"""Models side by side, and the experiments of the MINER paper.

`recommenders-miner reproduce table2 | table3 | figure3 | … | figure6 | recommenders | all --data DIR --out OUT`
"""

from recommenders_miner.experiments.reproduce import EXPERIMENTS, reproduce
from recommenders_miner.experiments.study import Study

__all__ = ["EXPERIMENTS", "Study", "reproduce"]
