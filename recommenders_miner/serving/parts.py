"""A network cut into the parts that an export has, each with an example of what it reads."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from recommenders_miner.data.features import FEATURES, NewsFeatures
from recommenders_miner.encoders.plm_encoder import PLMEncoder
from recommenders_miner.models.network import NewsRecommender

Axes = dict[str, tuple[str | None, ...]]
_EXAMPLES = 7  # articles


class Part(NamedTuple):
    """A step of a network, called with structures of tensors as keywords, that returns a dict of tensors.

    `example` has arrays in the place of tensors, and `axes` says of each, by its name, what its axes count that may be
    of any length; None for those that may not.
    """

    step: Callable[..., dict[str, Any]]
    example: dict[str, Any]
    axes: Axes


def network_parts(network: NewsRecommender, features: NewsFeatures) -> dict[str, Part]:
    """Return a network's parts by name, with examples made of the features of a few articles.

    - `plm`: word pieces of a text → what frozen layers of a language model make of them, where there are such.
    - `news`: features of articles → all that the other parts read of them. With `relate_0`, … behind it where articles
      learn from related ones.
    - `user`: clicked articles → the state of a user, whatever that is.
    - `search`: the same → interests (R, P, K, d), for each of P categories where they depend on these, by whose inner
      products with articles a pool is searched; only of models that allow it. With `match`, articles' largest inner
      products with some interests, which onnxruntime computes in half of numpy's time.
    - `score`: states and candidates, with their context where it is read → scores (R, C).
    - `explain`: users and candidates → scores and weights of the interests, their attention to clicks; where there are.
    """
    parts: dict[str, Part] = {}
    for layer in network.news_encoder._flatten_layers():
        if isinstance(layer, PLMEncoder) and layer.is_cached:
            pieces = np.full((2, 3), 2, "int32")
            parts["plm"] = Part(layer.frozen_step, {"pieces": pieces}, {"pieces": ("articles", "pieces")})
    prepared = {name: array[:_EXAMPLES] for name, array in network.prepare(features).items()}
    of_features = {
        f"features.{name}": ("articles", _counted(name), *[None] * (array.ndim - 2))[: array.ndim]
        for name, array in prepared.items()
    }
    parts["news"] = Part(network.encode_table, {"features": prepared}, of_features)
    news = _arrays(network.encode_table(prepared))
    shorter = {name: array[:, :-1] if FEATURES[name].kind == "tokens" else array for name, array in prepared.items()}
    other = _arrays(network.encode_table(shorter))
    encoder = network.news_encoder
    for hop in range(encoder.hops):
        messages = news[encoder.message][np.minimum(news[encoder.related], _EXAMPLES - 1)]
        axes = {"messages": ("articles", "related", *[None] * (messages.ndim - 2))}
        step = functools.partial(encoder.relate, hop=hop)
        parts[f"relate_{hop}"] = Part(step, {"news": news, "messages": messages}, axes | _axes("news", 1, news, other))
        news, other = _arrays(step(news, messages)), _arrays(step(other, messages))
    of_users = _axes("history", 2, news, other) | {"mask": ("rows", "clicks"), "user": ("rows",)}
    of_shown = _axes("candidates", 2, news, other, "candidates") | {"context": ("rows", "candidates", None)}

    def encode_user(history: Any, mask: Any, user: Any) -> dict[str, Any]:
        return {"state": network.user_encoder.encode_history(*network.with_cold(history, mask), user)}

    users, more = _clicked(news, 3), _clicked(news, 4)
    parts["user"] = Part(encode_user, users, of_users)
    state, longer = _arrays(encode_user(**users))["state"], _arrays(encode_user(**more))["state"]
    if not network.click_predictor.searched().not_searchable:
        asked = {"category": np.array([0, 1, 2], "int32")} if network.user_encoder.candidate_aware else {}
        axes = of_users | {"category": ("categories",)}
        parts["search"] = Part(functools.partial(_interests, network, encode_user), {**users, **asked}, axes)
        pair = {"vectors": np.eye(3, 4, dtype="float32"), "interests": np.ones((2, 4), "float32")}
        parts["match"] = Part(_match, pair, {"vectors": ("articles", "dim"), "interests": ("interests", "dim")})
    shown: dict[str, Any] = {"candidates": {name: array[[[1, 2, 3, 4], [3, 4, 5, 6]]] for name, array in news.items()}}
    if network.context:
        shown["context"] = np.zeros((2, 4, len(network.context)), "float32")
    of_state = {
        name: ("rows", *_differing(name, array, named(longer, "state")[name])[1:])
        for name, array in named(state, "state").items()
    }
    parts["score"] = Part(functools.partial(_score, network), {"state": state, **shown}, of_state | of_shown)
    explained = {**users, **shown}
    if _look_inside(network, **keras.tree.map_structure(ops.convert_to_tensor, explained)):
        parts["explain"] = Part(functools.partial(_look_inside, network), explained, of_users | of_shown)
    return parts


def interest_names(network: NewsRecommender, part: Part) -> list[str]:
    """Return what the interests of the part `explain` are called."""
    interests, _ = network.look_inside(**keras.tree.map_structure(ops.convert_to_tensor, part.example))
    return ["user"] if interests is None else list(interests.names)


def _interests(network: NewsRecommender, encode_user: Callable, category: Any = None, **clicked: Any) -> dict[str, Any]:
    encoder = network.user_encoder
    if category is None:
        vectors = encoder.user_vectors(*network.with_cold(clicked["history"], clicked["mask"]), clicked["user"])
        vectors = vectors[:, None, None] if len(vectors.shape) == 2 else vectors[:, None]
    else:
        tiled = ops.repeat(category[None], ops.shape(clicked["mask"])[0], axis=0)
        vectors = encoder.for_categories(encode_user(**clicked)["state"], tiled)
    return {"interests": ops.cast(vectors, "float32")}


def _match(vectors: Any, interests: Any) -> dict[str, Any]:
    return {"best": ops.max(ops.matmul(vectors, ops.transpose(interests)), axis=-1)}


def _score(network: NewsRecommender, state: Any, candidates: Any, context: Any = None) -> dict[str, Any]:
    shown = {**candidates, **network._named(context)}
    mask = ops.ones(ops.shape(keras.tree.flatten(candidates)[0])[:2], "bool")
    users = network.user_encoder.bind_candidates(state, shown)
    return {"scores": network.click_predictor(users, shown, mask=mask)}


def _look_inside(network: NewsRecommender, **explained: Any) -> dict[str, Any]:
    """Return the interests' `scores` and `weights` (R, C, K), and their `attention` to clicks, what there is of it."""
    interests, attention = network.look_inside(**explained)
    found = {} if interests is None else {"scores": interests.scores, "weights": interests.weights}
    found |= {} if attention is None else {"attention": attention}
    return {name: ops.cast(values, "float32") for name, values in found.items()}


# === Examples and their axes ===


def _clicked(news: Mapping[str, np.ndarray], length: int) -> dict[str, Any]:
    """Return two users of `length` clicks, the second of one less."""
    mask = np.arange(length) < np.array([[length], [length - 1]])
    rows = np.where(mask, np.arange(2 * length).reshape(2, length) % (_EXAMPLES - 1) + 1, 0)
    return {"history": {k: array[rows] for k, array in news.items()}, "mask": mask, "user": np.array([1, 0], "int32")}


def _counted(feature: str) -> str | None:
    """Say what axis 1 of a feature counts, if it may be of any length."""
    declared = FEATURES[feature]
    return {"tokens": f"{declared.told_by or feature}_length", "rows": f"{feature}_length"}.get(declared.kind)


def _axes(
    prefix: str, leading: int, news: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray], second: str = "clicks"
) -> Axes:
    """Name the axes of encoded articles behind one or two leading ones, where they depend on the texts' lengths."""
    first = ("articles",) if leading == 1 else ("rows", second)
    return {f"{prefix}.{name}": first + _differing(name, array, other[name])[1:] for name, array in news.items()}


def _differing(name: str, one: np.ndarray, other: np.ndarray) -> tuple[str | None, ...]:
    sizes = enumerate(zip(one.shape, other.shape, strict=True))
    return tuple(f"{name}_{axis}" if a != b else None for axis, (a, b) in sizes)


def named(structure: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of a structure by their paths, as `history.vector`."""
    pairs = keras.tree.flatten_with_path(structure)
    return {".".join(filter(None, (prefix, *map(str, path)))): leaf for path, leaf in pairs}


def _arrays(structure: Any) -> Any:
    return keras.tree.map_structure(ops.convert_to_numpy, structure)
