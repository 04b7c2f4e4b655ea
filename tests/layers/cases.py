"""The table of the package's layers: how each is made, what it gets and must give, and which shared checks hold."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import keras
import numpy as np

from recommenders_miner import layers
from tests.layers import reference
from tests.layers.layer_checks import Arrays, as_tensors, leaves, randomise, weights_of

RNG = np.random.default_rng(4)
MASK = np.array([[True, True, True, True], [False, True, True, False], [False] * 4])
SEGMENTS = np.zeros((2, 3, 4), bool)
SEGMENTS[0, 0, :2] = SEGMENTS[0, 1, 2] = SEGMENTS[1, 0, ::3] = SEGMENTS[1, 1] = SEGMENTS[1, 2, 1] = True


def normal(*shape):
    return RNG.normal(size=shape)


@dataclass(frozen=True)
class Case:
    """A layer with one set of inputs.

    `reference` makes of float64 inputs and weights, by name, the expected output; an axis may vary unless
    its size is in `fixed`; `output_dtype` is the output's under every policy where it is not the
    policy's own. What stands at the padding of the inputs in `sequence` must not matter, nor, but where the output is
    `ordered` too, their order; `return_weights` gives the weights of the one that is named in `pools`. The weight
    `extreme` makes the logits extreme.
    """

    layer: type[keras.Layer]
    inputs: Arrays
    reference: Callable
    fixed: tuple[int, ...] = ()
    config: Mapping = field(default_factory=dict)
    weights: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    output_dtype: str | None = None
    sequence: tuple[str, ...] = ()
    pools: str | None = None
    ordered: bool = False
    extreme: str | None = None

    def make(self) -> keras.Layer:
        return self.layer(**self.config)

    def built(self) -> keras.Layer:
        """The layer with random weights."""
        layer = self.make()
        layer(**as_tensors(self.inputs))
        return randomise(layer)

    def expected(self, layer: keras.Layer) -> list[np.ndarray]:
        return leaves(self.reference(**self.inputs, **weights_of(layer)))


ADDITIVE = Case(
    layers.AdditiveAttention,
    {"values": normal(3, 4, 5), "mask": MASK},
    reference.additive_attention,
    (5,),
    {"dim": 2},
    {"kernel": (5, 2), "bias": (2,), "query": (2, 1)},
    sequence=("values",),
    pools="values",
    extreme="query",
)
PERSONALIZED = Case(
    layers.PersonalizedAttention,
    {"values": normal(3, 4, 5), "query": normal(3, 2), "mask": MASK},
    reference.personalized_attention,
    (5, 2),
    {"dim": 2},
    {"kernel": (5, 2), "bias": (2,)},
    sequence=("values",),
    pools="values",
)
CANDIDATE = Case(
    layers.CandidateAttention,
    {"history": normal(3, 4, 5), "candidates": normal(3, 2, 5), "mask": MASK},
    reference.candidate_attention,
    (5,),
    {"dim": 6},
    {"of_click_kernel": (5, 6), "of_click_bias": (6,), "of_candidate_kernel": (5, 6), "logit_kernel": (6, 1)},
    sequence=("history",),
    pools="history",
    extreme="logit_kernel",
)
SELF = Case(
    layers.SelfAttention,
    {"values": normal(3, 4, 3), "mask": MASK},
    functools.partial(reference.self_attention, num_heads=2),
    (3,),
    {"num_heads": 2, "head_dim": 3},
    {name: (3, 6) for name in ("query_kernel", "key_kernel", "value_kernel")},
    sequence=("values",),
    ordered=True,
    extreme="query_kernel",
)
POLY = Case(
    layers.PolyAttention,
    {"history": normal(3, 4, 5), "mask": MASK},
    lambda **arrays: reference.poly_attention(**arrays)[0],
    (5,),
    {"num_interests": 3, "code_dim": 2},
    {"projection": (5, 2), "codes": (3, 2)},
    sequence=("history",),
    pools="history",
    extreme="codes",
)
INTERESTS = {"interests": normal(2, 3, 4), "candidates": normal(2, 5, 4)}
INTERESTS_OF_EACH = INTERESTS | {"interests": normal(2, 5, 3, 4)}
AGGREGATION = Case(
    layers.InterestAggregation, INTERESTS, reference.interest_aggregation, (3, 4), output_dtype="float32"
)
CATEGORIES = {"history_category": normal(3, 4, 5), "candidate_category": normal(3, 2, 5)}
BIAS = Case(layers.CategoryBias, CATEGORIES, reference.category_bias, (5,), weights={"scale": ()})
REGULARIZER = Case(
    layers.DisagreementRegularizer,
    {"interests": normal(3, 2, 4, 5)},
    lambda interests: interests,
    (4, 5),
    {"weight": 0.3},
)
SEGMENT = Case(
    layers.SegmentPooling,
    {"values": normal(2, 4, 5), "mask": SEGMENTS},
    reference.segment_pooling,
    (5,),
    {"pooling": "attention", "attention_dim": 2},
    {"kernel": (5, 2), "bias": (2,), "query": (2, 1)},
)
CONVOLUTION = Case(
    layers.WordConvolution,
    {"words": normal(2, 5, 3)},
    reference.word_convolution,
    (3,),
    {"filters": 4, "window": 3, "activation": "tanh", "dropout": 0.5},
    {"kernel": (3, 3, 4), "bias": (4,)},
)
MACHINE = Case(
    layers.FactorizationMachine,
    {"linear": normal(2, 3), "sums": normal(2, 3, 4), "squares": normal(2, 3)},
    reference.factorization_machine,
    (4,),
    weights={"bias": ()},
    output_dtype="float32",
)
TABLE = Case(
    layers.FactorTable,
    {"ids": np.array([[1, 4, 2], [5, 0, 3]]), "values": np.array([[1.0, -0.5, 2.0], [0.3, 0.0, 1.5]])},
    reference.factor_table,
    (),
    {"num_features": 6, "dim": 4},
    {"factors": (6, 4), "weights": (6,)},
    output_dtype="float32",
)


def other(case: Case, without: str | None = None, **changes) -> Case:
    """The case with some fields of its own, or without one of its inputs."""
    inputs = {name: array for name, array in case.inputs.items() if name != without}
    return Case(**{**vars(case), "inputs": inputs, **changes})


def aggregation(mode: str, inputs: Arrays) -> Case:
    return other(
        AGGREGATION,
        inputs=inputs,
        reference=functools.partial(reference.interest_aggregation, mode=mode),
        config={"mode": mode},
        weights={"kernel": (4, 4)} if mode == "weighted" else {},
    )


MASKED = {
    "additive": ADDITIVE,
    "personalized": PERSONALIZED,
    "candidate": CANDIDATE,
    "self": SELF,
    "poly": POLY,
    "poly with a bias": other(POLY, inputs=POLY.inputs | {"bias": normal(3, 4)}, sequence=("history", "bias")),
    "poly with a bias per candidate": other(
        POLY, inputs=POLY.inputs | {"bias": normal(3, 2, 4)}, sequence=("history", "bias")
    ),
}
"""The layers that attend over a sequence which a mask goes along; a row of `MASK` is padding alone."""

CASES = {
    **MASKED,
    "additive of several axes": other(ADDITIVE, inputs={"values": normal(2, 3, 4, 5), "mask": SEGMENTS}),
    **{f"{name} without a mask": other(MASKED[name], without="mask") for name in list(MASKED)[:5]},
    **{
        f"aggregation by {mode} {whose}": aggregation(mode, inputs)
        for mode in ("max", "mean", "weighted")
        for whose, inputs in (("per user", INTERESTS), ("per candidate", INTERESTS_OF_EACH))
    },
    "category bias": BIAS,
    "category bias of one candidate": other(BIAS, inputs=CATEGORIES | {"candidate_category": normal(3, 5)}),
    "disagreement": REGULARIZER,
    "segments": SEGMENT,
    "segments by mean": other(SEGMENT, config={"pooling": "mean"}, weights={}),
    "convolution": CONVOLUTION,
    "wide convolution": other(
        CONVOLUTION, config=CONVOLUTION.config | {"window": 5}, weights={"kernel": (5, 3, 4), "bias": (4,)}
    ),
    "factorization machine": MACHINE,
    "factor table": TABLE,
}

VARIANTS = {name for name in CASES if name.endswith(("without a mask", "with a bias", "axes")) or "by mean" in name}
VARIANTS |= {"category bias of one candidate", "aggregation by max per candidate", "wide convolution"}
"""The cases that show of a layer once more what others show; their shared checks are slow tests."""
