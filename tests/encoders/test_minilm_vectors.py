"""MiniLM as we read it against Hugging Face's own BERT: the pieces and the vectors of a dozen headlines."""

from __future__ import annotations

import functools
from pathlib import Path

import keras
import numpy as np
import pytest

from recommenders_miner.data.features import padded
from recommenders_miner.data.pieces import Pieces
from recommenders_miner.datasets.minilm import fetch_minilm
from recommenders_miner.encoders import PLMEncoder
from tests.encoders.make_minilm_vectors import HEADLINES

pytestmark = pytest.mark.slow
STORED = np.load(Path(__file__).with_name("minilm_vectors.npz"))


@pytest.fixture(scope="module")
def folder():
    return str(fetch_minilm())


@pytest.fixture(scope="module")
def pieces(folder):
    return padded(Pieces(folder).encode(HEADLINES, 20), 20)


def test_pieces_are_hugging_faces(pieces):
    assert np.maximum(pieces[1:] - 1, 0).tolist() == STORED["pieces"].tolist()


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_vectors_are_hugging_faces(pooling, folder, pieces):
    encoder = PLMEncoder.from_preset(folder, pooling=pooling, trainable_layers=0)
    assert encoder.frozen_outputs(pieces)[1:] == pytest.approx(STORED[pooling], abs=1e-4)


def test_with_kerashubs_own_gelu_they_would_not_be(folder, pieces):
    encoder = PLMEncoder.from_preset(folder, pooling="mean", trainable_layers=0)
    tanh = functools.partial(keras.activations.gelu, approximate=True)
    approximate = PLMEncoder(encoder.backbone, pooling="mean", trainable_layers=0, activation=tanh)
    off = np.abs(approximate.frozen_outputs(pieces)[1:] - STORED["mean"]).max()
    assert 1e-3 < off < 1e-2
