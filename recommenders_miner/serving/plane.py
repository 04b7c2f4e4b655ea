"""Articles and interests in a plane, as a page draws them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

_DECIMALS = 6


def plane(
    ids: Sequence[str], vectors: np.ndarray, interests: np.ndarray, describe: Callable[[str], Mapping[str, Any]]
) -> dict[str, Any]:
    """Return places in a plane, the two main axes of some articles' vectors (n, d), of these and of interests (K, d).

    Interests are drawn as if they were as long as the articles are on average, since only their direction counts.
    `describe` returns an article's row.
    """
    centre = vectors.mean(axis=0)
    found = np.linalg.svd(vectors - centre, full_matrices=False)[2][:2]
    axes = np.zeros((2, vectors.shape[1]), vectors.dtype)
    axes[: len(found)] = found  # a single article has one
    lengths = np.maximum(np.linalg.norm(interests, axis=1, keepdims=True), 1e-9)
    interests = interests / lengths * np.linalg.norm(vectors, axis=1).mean()

    def placed(points: np.ndarray) -> list[dict[str, float]]:
        places = np.round(((points - centre) @ axes.T).astype("float64"), _DECIMALS)
        return [{"x": x, "y": y} for x, y in places.tolist()]

    names = [f"interest {place + 1}" for place in range(len(interests))] if len(interests) > 1 else ["user"]
    rows = map(describe, ids)
    articles = [{"id": row["id"], **{name: row.get(name, "") for name in ("category", "title")}} for row in rows]
    return {
        "articles": [{**article, **at} for article, at in zip(articles, placed(vectors), strict=True)],
        "interests": [{"name": name, **at} for name, at in zip(names, placed(interests), strict=False)],
    }
