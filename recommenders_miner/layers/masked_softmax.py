"""The softmax that every attention of the package uses."""

from __future__ import annotations

from typing import Any

from keras import ops

# Far below any logit, yet finite: -inf would turn a row without a single valid position into NaN.
_MASKED_LOGIT = -1e38


def masked_softmax(logits: Any, mask: Any | None = None, axis: int = -1) -> Any:
    """Softmax over the valid positions only, in float32.

    A masked position gets exactly 0, whatever logit (up to 1e37) stands there. Where a whole row is masked,
    all its weights and its gradients are 0.

    Args:
        logits: float tensor of any shape and float dtype.
        mask: tensor that broadcasts against `logits`, True (or non-zero) at valid positions. None: all are
            valid.
        axis: the axis that is summed to one.

    Returns:
        The weights, float32, in the shape of `logits`.
    """
    logits = ops.cast(logits, "float32")
    if mask is None:
        return _softmax(logits, axis)
    mask = ops.cast(mask, "bool")
    # An addition and a product of the small mask are cheaper than two selections on the large logits. The
    # addition already gives an exact 0 beside a valid position; the product clears the rows that have none.
    weights = _softmax(logits + ops.where(mask, 0.0, _MASKED_LOGIT), axis)
    return weights * ops.cast(mask, "float32")


def _softmax(logits: Any, axis: int) -> Any:
    if logits.shape[axis] == 1:
        # The weight is 1, with a gradient of 0 rather than none. Keras warns of a softmax over one position.
        return 1.0 + 0.0 * logits
    return ops.softmax(logits, axis=axis)
