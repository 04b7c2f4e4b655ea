"""SegmentPooling: each part of a sequence by itself."""

import numpy as np
import pytest

from recommenders_miner.layers import SegmentPooling
from tests.layers import reference
from tests.layers.layer_checks import call_once, check_layer, weights_of

GENERATOR = np.random.default_rng(4)
VALUES = GENERATOR.normal(size=(2, 4, 3))
MASK = np.array(
    [
        [[True, True, False, False], [False, False, True, False], [False] * 4],
        [[True, False, False, True], [True, True, True, True], [False, True, False, False]],
    ]
)
WEIGHTS = {"attention": {"kernel": (3, 2), "bias": (2,), "query": (2, 1)}, "mean": {}}


def each_by_itself(values, mask, **weights):
    pooled = np.zeros((*mask.shape[:2], values.shape[-1]))
    for row, segment in np.ndindex(mask.shape[:2]):
        own = values[row][mask[row, segment]]
        if len(own):
            pooled[row, segment] = (
                reference.additive_attention(own[None], **weights)[0] if weights else own.mean(axis=0)
            )
    return pooled


@pytest.mark.parametrize("pooling", ["attention", "mean"])
def test_shared_checks(pooling, tmp_path):
    check_layer(
        SegmentPooling,
        {"pooling": pooling, "attention_dim": 2},
        {"values": VALUES, "mask": MASK},
        each_by_itself,
        weights=WEIGHTS[pooling],
        dynamic_shapes={"values": (None, 3), "mask": (None, None)},
        tmp_path=tmp_path,
    )


def test_other_positions_have_no_influence():
    layer = SegmentPooling(attention_dim=2)
    layer.build(VALUES.shape)
    first = call_once(layer, {"values": VALUES, "mask": MASK})
    moved = np.where(MASK[:, 0][..., None], VALUES, 1e6)
    assert np.array_equal(call_once(layer, {"values": moved, "mask": MASK})[:, 0], first[:, 0])
    assert not np.any(first[0, 2])
    assert weights_of(layer).keys() == WEIGHTS["attention"].keys()


def test_other_poolings_are_refused():
    with pytest.raises(ValueError, match="attention or mean"):
        SegmentPooling("max")
