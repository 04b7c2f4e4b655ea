"""What a data set holds, and what of it would break training."""

from recommenders_miner.inspection.data_report import DataReport, Finding
from recommenders_miner.inspection.inspect_data import inspect_data

__all__ = ["DataReport", "Finding", "inspect_data"]
