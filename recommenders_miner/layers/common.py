"""What the layers share: how they are saved, and a softmax and cosines that are safe at padding."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable
from typing import Any, Self

import keras
from keras import ops

Shape = tuple[int | None, ...]
Tensor = Any
News = dict[str, Tensor]
"""Arrays by name, of one row an article: `vector`, or what else a news encoder returns, and columns as `category`."""

# Far below any logit, yet finite: -inf would turn a row without a single valid position into NaN.
_MASKED_LOGIT = -1e38

# The squared length up to which a vector counts as zero; well above the smallest normal float32 (1.2e-38).
_ZERO_SQUARED_LENGTH = 1e-24


class ConfiguredLayer(keras.layers.Layer):
    """A layer that is saved as the arguments of its constructor: numbers, names, Keras objects and lists of them.

    Those of this package are registered with Keras by the names of their classes.

    Attributes:
        config: these arguments by name, defaults included.
    """

    config: dict[str, Any]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__module__.startswith("recommenders_miner."):
            keras.saving.register_keras_serializable(package="recommenders_miner")(cls)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Record the arguments."""
        layer = super().__new__(cls, *args, **kwargs)
        bound = inspect.signature(cls.__init__).bind_partial(layer, *args, **kwargs)
        bound.apply_defaults()
        # Past Keras, which would track the layers among them a second time.
        vars(layer)["config"] = {k: v for k, v in bound.arguments.items() if k not in ("self", "kwargs")}
        return layer

    def require(self, fits: bool, expected: str, **received: Any) -> None:
        """Raise a ValueError that says which shapes this layer expects and which it received, unless they fit."""
        if not fits:
            shapes = ", ".join(f"{name} {tuple(array.shape)}" for name, array in received.items() if array is not None)
            raise ValueError(f"{type(self).__name__} expects {expected}. Received {shapes}.")

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None = None) -> Tensor:
        """Return None: masks are passed on as arguments, never attached to a result."""
        return None

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again."""
        return {**super().get_config(), **keras.saving.serialize_keras_object(self.config)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make a layer of what `get_config` returned."""
        deserialize = keras.saving.deserialize_keras_object
        return super().from_config({k: deserialize(v) if isinstance(v, dict | list) else v for k, v in config.items()})


class CompositeLayer(ConfiguredLayer):
    """A layer whose weights are all in the layers that it holds, which are built when it is first called.

    Loading a model from a file calls it as well, so a composite layer asks Keras to store no shapes to build it from.
    """

    def build(self, input_shape: Any = None) -> None:
        """Do nothing; without this, Keras would trace the whole layer once more to find out its shapes."""

    def get_build_config(self) -> None:
        """Return None: there is nothing to build before the first call."""
        return None


class HistoryPositions(ConfiguredLayer):
    """Add to each clicked article's vector one for its place in the history, counted from the newest click.

    Args:
        size: places that differ; older clicks have the vector of the last one.

    Call arguments:
        history: (B, M, d), newest last.
        mask: (B, M) bool, true at a click, false behind the last.

    Returns:
        (B, M, d). The vectors of places, (size, d), start at zero.
    """

    def __init__(self, size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = size

    def build(self, history_shape: Shape) -> None:
        """Create the weight."""
        self.places = self.add_weight(name="places", shape=(self.size, history_shape[-1]), initializer="zeros")

    def call(self, history: Tensor, mask: Tensor) -> Tensor:
        """See the class for the shapes."""
        clicks = ops.sum(ops.cast(mask, "int32"), axis=1, keepdims=True)
        place = ops.clip(clicks - 1 - ops.arange(ops.shape(mask)[1], dtype="int32"), 0, self.size - 1)
        return history + ops.take(self.places, place, axis=0)


def weights_digest(weights: Iterable[Any]) -> str:
    """Return a hex BLAKE2b digest of weights as they are now, which tells a trained layer from others."""
    digest = hashlib.blake2b(digest_size=16)
    for weight in weights:
        digest.update(ops.convert_to_numpy(weight).tobytes())
    return digest.hexdigest()


def mean_weights(mask: Tensor) -> Tensor:
    """Return 1/n at the n valid positions of the last axis, float32; zeros where none is valid."""
    valid = ops.cast(mask, "float32")
    return valid / ops.maximum(ops.sum(valid, axis=-1, keepdims=True), 1.0)


def mean_of_means(losses: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean over the samples, axis 0, of the means over what each has valid, float32; 0 where nothing is.

    So parts of a batch that have as many samples give each their share of the batch's.
    """
    counted = ops.ones_like(losses) if mask is None else ops.cast(mask, "float32")
    for axes in (tuple(range(1, len(losses.shape))), None):
        number = ops.sum(counted, axis=axes)
        losses = ops.sum(losses * counted, axis=axes) / ops.maximum(number, 1.0)
        counted = ops.cast(number > 0, "float32")
    return losses


def masked_softmax(logits: Tensor, mask: Tensor | None = None, axis: int = -1) -> Tensor:
    """Softmax of logits of any float dtype over the valid positions of an axis only, in float32.

    `mask` broadcasts against `logits`, True (or non-zero) at valid positions; None: all are valid. A masked position
    gets exactly 0, whatever logit (up to 1e37) stands there. Where a whole row is masked, all its weights and its
    gradients are 0.
    """
    logits = ops.cast(logits, "float32")
    if mask is None:
        return _softmax(logits, axis)
    mask = ops.cast(mask, "bool")
    # An addition and a product of the small mask are cheaper than two selections on the large logits. The
    # addition already gives an exact 0 beside a valid position; the product clears the rows that have none.
    weights = _softmax(logits + ops.where(mask, 0.0, _MASKED_LOGIT), axis)
    return weights * ops.cast(mask, "float32")


def _softmax(logits: Tensor, axis: int) -> Tensor:
    if logits.shape[axis] == 1:
        # The weight is 1, with a gradient of 0 rather than none. Keras warns of a softmax over one position.
        return 1.0 + 0.0 * logits
    return ops.softmax(logits, axis=axis)


def unit_vectors(vectors: Tensor) -> Tensor:
    """Scale vectors (…, d) to length one along the last axis, in float32.

    The zero vector (length up to 1e-12) stays zero, and its gradient is zero. `keras.ops.normalize` divides
    by a small epsilon there instead, which makes the gradient huge.
    """
    vectors = ops.cast(vectors, "float32")
    squared_length = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    nonzero = squared_length > _ZERO_SQUARED_LENGTH
    # The inner selection keeps rsqrt away from 0: the gradient of a branch not taken must be finite too.
    inverse_length = ops.where(nonzero, ops.rsqrt(ops.where(nonzero, squared_length, 1.0)), 0.0)
    return vectors * inverse_length


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of every vector of `a` (…, n, d) with every vector of `b` (…, m, d): float32 (…, n, m).

    The cosine of the zero vector with anything is 0, with a zero gradient.
    """
    return ops.matmul(unit_vectors(a), ops.swapaxes(unit_vectors(b), -1, -2))


def call_without_keeping(layer: keras.layers.Layer, *inputs: Tensor, **options: Any) -> Tensor:
    """Call a built layer, keep its inputs alone, and compute what stands between again for the gradients.

    This is gradient checkpointing (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016). Dropout must be
    the same the second time: for that, a layer is taken as a pure function of its inputs, its weights and the states of
    its dropout generators, which go on only once.

    Args:
        layer: what gives one array.
        *inputs: arrays of floats, (…).
        **options: of the call; gradients do not pass through them.

    Returns:
        What `layer(*inputs, **options)` returns.
    """
    weights, states = layer.trainable_variables, layer.non_trainable_variables
    before = [ops.copy(state) for state in states]

    def call(*arrays: Tensor) -> tuple[Tensor, ...]:
        inputs, weights = arrays[:count], arrays[count:]
        output, after = layer.stateless_call(weights, before, *inputs, **options)
        return (output, *after)

    count = len(inputs)
    output, *after = keras.remat(call)(*inputs, *(ops.copy(weight) for weight in weights))
    for state, value in zip(states, after, strict=True):
        state.assign(value)
    return output
