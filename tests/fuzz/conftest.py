"""Fuzzed files are warned of by the thousand."""

import logging

import pytest


@pytest.fixture(autouse=True)
def _no_warnings():
    logger = logging.getLogger("recommenders_miner")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)
