from __future__ import annotations

from typing import Any

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
