"""Layers that are made of other layers."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import keras


class CompositeLayer(keras.layers.Layer):
    """A layer whose weights are all in the layers that it holds, which are built when it is first called.

    Loading a model from a file calls it as well, so a composite layer asks Keras to store no shapes to build it from.

    A subclass keeps the plain arguments of its constructor in `config`, and names in `PARTS` those that are layers,
    initialisers or lists of them, which it keeps as attributes of the same name; saving and loading follow from that.

    Attributes:
        PARTS: names of the constructor's arguments that Keras has to serialise.
        config: the constructor's other arguments.
    """

    PARTS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config: dict[str, Any] = {}

    def get_build_config(self) -> None:
        """Return None: there is nothing to build before the first call."""
        return None

    def compute_mask(self, inputs: Any, previous_mask: Any | None = None) -> None:
        """Return None: masks are passed on as arguments, never attached to a result."""
        return None

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again."""
        parts = {part: keras.saving.serialize_keras_object(getattr(self, part)) for part in self.PARTS}
        return {**super().get_config(), **self.config, **parts}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make a layer of what `get_config` returned."""
        parts = {part: keras.saving.deserialize_keras_object(config[part]) for part in cls.PARTS}
        return super().from_config({**config, **parts})
