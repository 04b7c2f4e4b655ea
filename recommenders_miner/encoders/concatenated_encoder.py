"""Several news encoders as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

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

    def __init__(self, parts: Sequence[keras.layers.Layer], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.parts = list(parts)
        self.features = tuple(dict.fromkeys(name for part in self.parts for name in part.features))

    def call(self, features: dict[str, Any], training: bool | None = None) -> Any:
        """See the class for the shapes."""
        return ops.concatenate([part(features, training=training) for part in self.parts], axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make this layer again."""
        return {
            **super().get_config(),
            "parts": [keras.saving.serialize_keras_object(part) for part in self.parts],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ConcatenatedEncoder:
        """Makes a layer of what `get_config` returned."""
        return cls(**{**config, "parts": [keras.saving.deserialize_keras_object(part) for part in config["parts"]]})
