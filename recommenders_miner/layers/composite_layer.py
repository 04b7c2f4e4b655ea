"""Layers that are made of other layers."""

from __future__ import annotations

from typing import Any

import keras


class CompositeLayer(keras.layers.Layer):
    """A layer whose weights are all in the layers that it holds, which are built when it is first called.

    Loading a model from a file calls it as well, so a composite layer asks Keras to store no shapes to build it from.
    """

    def get_build_config(self) -> None:
        """Return None: there is nothing to build before the first call."""
        return None

    def compute_mask(self, inputs: Any, previous_mask: Any | None = None) -> None:
        """Return None: masks are passed on as arguments, never attached to a result."""
        return None
