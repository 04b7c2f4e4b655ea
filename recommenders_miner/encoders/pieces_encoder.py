"""The news encoder of a system whose language model reads candidate and history together."""

from __future__ import annotations

from typing import Any

import keras

from recommenders_miner.encoders.news_encoder import NewsEncoder


@keras.saving.register_keras_serializable(package="recommenders_miner")
class PiecesEncoder(NewsEncoder):
    """Hands the word pieces of a title on as they are.

    Call arguments:
        features: dict with `pieces` (U, L) int32, zeros behind.

    Returns:
        Dict with the same `pieces`.
    """

    features = ("pieces",)

    def call(self, features: dict[str, Any], training: bool | None = None) -> dict[str, Any]:
        """See the class for the shapes."""
        return {"pieces": features["pieces"]}
