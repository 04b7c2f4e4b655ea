"""Explaining scores: the network's own attention and interests, and the score without each click in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from recommenders_miner.explain.explanation import Explanation

if TYPE_CHECKING:
    from recommenders_miner.models.base import BaseModel
    from recommenders_miner.models.network import Interests


def explain_scores(
    model: BaseModel, history: Sequence[str], candidates: Sequence[str], user: str | None = None
) -> Explanation:
    """Explains the scores of candidates; see `BaseModel.explain`."""
    clicks, candidates = tuple(history)[-model.hparams.his_size :], tuple(candidates)
    without_one = [clicks[:place] + clicks[place + 1 :] for place in range(len(clicks))]
    scores = model.score_histories([clicks, *without_one], candidates, user)
    interests, attention = _look_inside(model, clicks, candidates, user)
    if interests is None:
        names, interest_scores, weights = ("user",), scores[0, :, None], np.ones((len(candidates), 1), "float32")
    else:
        names, (interest_scores, weights) = tuple(interests.names), (_array(part)[0] for part in interests[1:])
    if attention is not None:
        # What all candidates share is repeated for each; the padding of an empty history is cut off.
        shape = (len(candidates), len(names), len(clicks))
        attention = np.broadcast_to(_array(attention)[0, :, :, : len(clicks)], shape)
    news = list(dict.fromkeys((*clicks, *candidates)))
    rows = model.news.rows(news)
    titles, categories = (
        dict(zip(news, column.take(rows).to_pylist(), strict=True))
        for column in (model.news.title, model.news.category)
    )
    return Explanation(
        model=model.hparams.model_type,
        history=clicks,
        candidates=candidates,
        titles=titles,
        categories=categories,
        scores=scores[0],
        interest_names=names,
        interest_scores=interest_scores,
        interest_weights=weights,
        attention=attention,
        influence=(scores[0] - scores[1:]).T,
    )


def _look_inside(
    model: BaseModel, clicks: Sequence[str], candidates: Sequence[str], user: str | None
) -> tuple[Interests | None, Any]:
    """Runs the network's parts on one sample: interests and attention weights, None what the system has not."""
    user_encoder, click_predictor = model.network.user_encoder, model.network.click_predictor
    length = max(len(clicks), 1)
    history, shown = (
        _sample(model.encode_news(ids), size) for ids, size in ((clicks, length), (candidates, len(candidates)))
    )
    mask = ops.convert_to_tensor(np.arange(length)[None] < len(clicks))
    user_id = ops.convert_to_tensor(np.array(model.vocabularies.users.encode([user or ""]), "int32"))
    users = user_encoder(history, mask, user_id, shown)
    attention = user_encoder.attention_weights(history, mask, user_id, shown)
    if attention is None:
        attention = click_predictor.attention_weights(users, shown)
    return click_predictor.interests(users, shown), attention


def _sample(news: Mapping[str, np.ndarray], length: int) -> dict[str, Any]:
    """Makes a batch of one of some news, padding behind."""
    return keras.tree.map_structure(
        lambda values: ops.convert_to_tensor(
            np.pad(values, [(0, length - len(values)), *[(0, 0)] * (values.ndim - 1)])[None]
        ),
        dict(news),
    )


def _array(tensor: Any) -> np.ndarray:
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))
