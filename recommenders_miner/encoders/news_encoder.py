"""What all news encoders have in common."""

from __future__ import annotations

from typing import Any

import keras

from recommenders_miner.layers import CompositeLayer


class NewsEncoder(CompositeLayer):
    """What turns the features of a news into its vector; the encoders are its subclasses.

    Attributes:
        features: names of the features that the encoder reads.
    """

    features: tuple[str, ...] = ()

    def call(self, features: dict[str, Any], training: bool | None = None) -> Any:
        """Returns (U, d) vectors of U news, whose features come as arrays of U rows."""
        raise NotImplementedError


def random_vectors() -> keras.initializers.Initializer:
    """Returns an initialiser of embeddings: normal with a standard deviation of 0.3, about that of GloVe's vectors.

    Keras' own, uniform within 0.05, makes the dot products of news vectors so small that training takes an epoch to
    start.
    """
    return keras.initializers.RandomNormal(stddev=0.3)
