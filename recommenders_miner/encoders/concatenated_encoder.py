"""Several news encoders as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from recommenders_miner.data.features import NewsFeatures
from recommenders_miner.encoders.news_encoder import NewsEncoder


@keras.saving.register_keras_serializable(package="recommenders_miner")
class ConcatenatedEncoder(NewsEncoder):
    """Several news encoders side by side, their vectors concatenated.

    Args:
        parts: news encoders.

    Call arguments:
        features: dict with every feature that a part reads.

    Returns:
        (U, sum of the parts' dimensions).
    """

    PARTS = ("parts",)

    def __init__(self, parts: Sequence[keras.layers.Layer], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.parts = list(parts)
        self.dim = sum(part.dim for part in self.parts)
        self.features = tuple(dict.fromkeys(name for part in self.parts for name in part.features))

    @property
    def pretrained_weights(self) -> list[Any]:
        """The parts' weights that come from a pretrained language model."""
        return [weight for part in self.parts for weight in part.pretrained_weights]

    def prepare(self, features: NewsFeatures) -> dict[str, np.ndarray]:
        """Returns what all the parts read, for a whole table."""
        return {name: array for part in self.parts for name, array in part.prepare(features).items()}

    def example(self) -> dict[str, Any]:
        """Returns what all the parts read, of one news."""
        return {name: array for part in self.parts for name, array in part.example().items()}

    def call(self, features: dict[str, Any], training: bool | None = None) -> Any:
        """See the class for the shapes."""
        return ops.concatenate([part(features, training=training) for part in self.parts], axis=-1)
