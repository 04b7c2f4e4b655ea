"""What a data set holds, and what of it would break training."""

from recommenders_miner.inspection.findings import Finding
from recommenders_miner.inspection.inspect_data import inspect_data
from recommenders_miner.inspection.report import DataReport

__all__ = ["DataReport", "Finding", "inspect_data"]
