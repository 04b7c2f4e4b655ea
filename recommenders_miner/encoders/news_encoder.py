"""What all news encoders have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from recommenders_miner.data.features import LENGTH_FEATURE, NewsFeatures
from recommenders_miner.layers import CompositeLayer

Tensor = Any


class NewsEncoder(CompositeLayer):
    """What turns the features of a news into its vector; the encoders are its subclasses.

    Attributes:
        features: names of the features that `call` reads. One that `NewsFeatures` does not have is made by `prepare`.
        dim: dimension d of a news vector.
        pretrained_weights: weights that come from a pretrained language model.
    """

    features: tuple[str, ...] = ()
    dim: int
    pretrained_weights: Sequence[Any] = ()

    def prepare(self, features: NewsFeatures) -> dict[str, np.ndarray]:
        """Returns what `call` reads, for a whole table; what training never changes is computed here, once.

        Args:
            features: the table's features, which may keep what is costly on disk.

        Returns:
            Arrays of N+1 rows by name, `features` of them.
        """
        return {name: features[name] for name in self.features}

    def example(self) -> dict[str, Tensor]:
        """Returns what `call` reads, of one news of two words; to create the weights with."""
        return {name: ops.ones((1, 2) if name in LENGTH_FEATURE else (1,), "int32") for name in self.features}

    def call(self, features: dict[str, Tensor], training: bool | None = None) -> Tensor:
        """Returns what the user encoder and the click predictor see of U news, whose features come as arrays of U rows.

        Returns:
            (U, d) vectors; or a dict of arrays of U rows, where more or something else than a vector is needed.
        """
        raise NotImplementedError


def random_vectors() -> keras.initializers.Initializer:
    """Returns an initialiser of embeddings: normal with a standard deviation of 0.3, about that of GloVe's vectors.

    Keras' own, uniform within 0.05, makes the dot products of news vectors so small that training takes an epoch to
    start.
    """
    return keras.initializers.RandomNormal(stddev=0.3)
