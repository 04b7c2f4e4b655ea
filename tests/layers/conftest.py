"""Layers are compared to the last digits of float32, so their initial weights must be the same in every run."""

import keras
import pytest


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(7)
