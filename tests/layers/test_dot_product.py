"""DotProduct."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from recommenders_miner.layers import DotProduct
from tests.layers.layer_checks import to_numpy

RNG = np.random.default_rng(3)
CANDIDATES = RNG.normal(size=(2, 4, 5)).astype("float32")


def test_a_user_of_its_own_for_each_sample():
    users = RNG.normal(size=(2, 5)).astype("float32")
    expected = [[user @ candidate for candidate in row] for user, row in zip(users, CANDIDATES, strict=True)]
    assert to_numpy(DotProduct()(users, CANDIDATES)) == pytest.approx(np.array(expected), abs=1e-5)


def test_a_user_of_its_own_for_each_candidate():
    users = RNG.normal(size=(2, 4, 5)).astype("float32")
    expected = [[users[b, c] @ CANDIDATES[b, c] for c in range(4)] for b in range(2)]
    assert to_numpy(DotProduct()(users, CANDIDATES)) == pytest.approx(np.array(expected), abs=1e-5)


def test_half_precision_is_scored_in_float32():
    scores = DotProduct(dtype="mixed_bfloat16")(CANDIDATES[:, 0], CANDIDATES)
    assert keras.backend.standardize_dtype(scores.dtype) == "float32"
