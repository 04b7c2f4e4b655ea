"""Why a recommender says what it says, in the form that a page or a person reads: JSON of plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from recommenders_miner.serving.segments import Arrays

Describe = Callable[[str], Mapping[str, Any]]


def explanation(
    kind: str,
    clicks: Sequence[str],
    candidates: Sequence[str],
    score: Callable[[Sequence[str]], np.ndarray],
    opened: Arrays,
    names: Sequence[str],
    describe: Describe,
) -> dict[str, Any]:
    """Return what `explain.Explanation.to_json` returns, of scores by an export.

    Args:
        kind: the model's type.
        clicks: the M clicks that are used.
        candidates: the C candidates.
        score: scores (C,) for some clicks.
        opened: what the part `explain` says: `scores` and `weights` (1, C, K), `attention` (1, C or 1, K, M).
        names: of the interests, as many as there are or more.
        describe: an article's row.
    """
    scores = score(clicks)
    influence = [scores - score([*clicks[:place], *clicks[place + 1 :]]) for place in range(len(clicks))]
    of_interests = opened.get("scores", scores[None, :, None])[0]
    weights = opened["weights"][0] if "weights" in opened else np.ones((len(candidates), 1))
    attention = opened["attention"][0][..., : len(clicks)] if "attention" in opened else None

    def shares(candidate: int, interest: int) -> list[float] | None:
        if attention is None:
            return None
        of_candidate = attention[candidate % len(attention)]
        # What is no interest of the user, such as popularity, comes last and looks at no click.
        return _rounded(of_candidate[interest]) if interest < len(of_candidate) else [0.0] * len(clicks)

    def interests(c: int) -> list[dict[str, Any]]:
        of_each = enumerate(zip(names, of_interests[c], weights[c], strict=False))
        return [
            {"name": name, "score": _rounded(match), "weight": _rounded(weight), "attention": shares(c, i)}
            for i, (name, match, weight) in of_each
        ]

    return {
        "model": kind,
        "history": [_named(describe(news_id), news_id) for news_id in clicks],
        "candidates": [
            {
                **_named(describe(news_id), news_id),
                "clicked": None,
                "score": _rounded(scores[c]),
                "interests": interests(c),
                "influence": [_rounded(of_click[c]) for of_click in influence],
            }
            for c, news_id in enumerate(candidates)
        ],
    }


def plane(ids: Sequence[str], vectors: np.ndarray, interests: np.ndarray, describe: Describe) -> dict[str, Any]:
    """Return places in a plane, the two main axes of some articles' vectors (n, d), of these and of interests (K, d).

    Interests are drawn as if they were as long as the articles are on average, since only their direction counts.
    """
    centre = vectors.mean(axis=0)
    axes = np.linalg.svd(vectors - centre, full_matrices=False)[2][:2]
    lengths = np.maximum(np.linalg.norm(interests, axis=1, keepdims=True), 1e-9)
    interests = interests / lengths * np.linalg.norm(vectors, axis=1).mean()

    def placed(points: np.ndarray) -> list[dict[str, float]]:
        return [{"x": _rounded(x), "y": _rounded(y)} for x, y in (points - centre) @ axes.T]

    names = [f"interest {place + 1}" for place in range(len(interests))] if len(interests) > 1 else ["user"]
    articles = [_named(describe(news_id), news_id) for news_id in ids]
    return {
        "articles": [{**article, **at} for article, at in zip(articles, placed(vectors), strict=True)],
        "interests": [{"name": name, **at} for name, at in zip(names, placed(interests), strict=False)],
    }


def _named(row: Mapping[str, Any], news_id: str) -> dict[str, Any]:
    return {"id": news_id, "category": row.get("category", ""), "title": row.get("title", "")}


def _rounded(values: Any) -> Any:
    return np.round(np.asarray(values, "float64"), 6).tolist()
