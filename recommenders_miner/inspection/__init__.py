"""What a data set holds, and what of it would break training."""

from recommenders_miner.inspection.inspect_data import inspect_data
from recommenders_miner.inspection.report import DataReport, Finding

__all__ = ["DataReport", "Finding", "inspect_data"]
