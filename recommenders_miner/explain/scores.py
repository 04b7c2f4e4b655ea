"""Explaining scores: the network's own attention and interests, and the score without each click in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import keras
import numpy as np
from keras import ops

from recommenders_miner.errors import UnknownImpressionError
from recommenders_miner.explain.explanation import Explanation

if TYPE_CHECKING:
    from recommenders_miner.data.iterator import Dataset

_SHOWN_IDS = 5


def explain_scores(
    model: Any, history: Sequence[str], candidates: Sequence[str], user: str | None = None
) -> Explanation:
    """Explain the scores of candidates; see `BaseModel.explain`.

    Args:
        model: a model with a news table. Used of it: `news`, `hparams`, `vocabularies.users`, `score_histories`,
            `encode_news`, and of its `network` the user encoder and the click predictor, each with its
            `attention_weights`, the predictor with `interests` too.
        history: ids of the clicked news, newest last.
        candidates: ids of the news whose scores are explained.
        user: the user's id, for the models that know users.
    """
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


def _look_inside(model: Any, clicks: Sequence[str], candidates: Sequence[str], user: str | None) -> tuple[Any, Any]:
    """Run the network's parts on one sample: interests and attention weights, None what the model has not."""
    user_encoder, click_predictor = model.network.user_encoder, model.network.click_predictor
    length = max(len(clicks), 1)
    history, shown = (
        _sample(model.encode_news(ids), size) for ids, size in ((clicks, length), (candidates, len(candidates)))
    )
    mask = ops.convert_to_tensor(np.arange(length)[None] < len(clicks))
    user_id = ops.convert_to_tensor(np.array(model.vocabularies.users.encode([user or ""]), "int32"))
    users = user_encoder.users_for(history, mask, user_id, shown)
    attention = user_encoder.attention_weights(history, mask, user_id, shown)
    if attention is None:
        attention = click_predictor.attention_weights(users, shown)
    return click_predictor.interests(users, shown), attention


def _sample(news: Mapping[str, np.ndarray], length: int) -> dict[str, Any]:
    """Make a batch of one of some news, padding behind."""
    return keras.tree.map_structure(
        lambda values: ops.convert_to_tensor(
            np.pad(values, [(0, length - len(values)), *[(0, 0)] * (values.ndim - 1)])[None]
        ),
        dict(news),
    )


def _array(tensor: Any) -> np.ndarray:
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))


@dataclass(frozen=True, eq=False)
class Impression:
    """What one impression of a log showed to whom, by the ids that its files give.

    Attributes:
        user: the user's id.
        history: ids of all the news clicked before, newest last.
        candidates: ids of the news shown.
        labels: (candidates,) 1 for a click, 0 for none; None in an unlabelled log.
    """

    user: str
    history: list[str]
    candidates: list[str]
    labels: np.ndarray | None

    @classmethod
    def find(cls, data: Dataset, impression_id: int, file: str | Path) -> Self:
        """Find an impression by its id; the first one, if several have it.

        Args:
            data: what was read.
            impression_id: the number in the first column of behaviors.tsv.
            file: where the log was read from, for the message.

        Raises:
            UnknownImpressionError: the log has no such impression; the message names some that it has.
        """
        log, ids = data.log, data.news.ids
        found = np.flatnonzero(log.impression_id == impression_id)
        if not len(found):
            some = ", ".join(map(str, log.impression_id[:_SHOWN_IDS])) + (", …" if len(log) > _SHOWN_IDS else "")
            raise UnknownImpressionError(
                f"{file}: no impression has the id {impression_id}; the ids of its {len(log):,} impressions are {some}"
            )
        index = int(found[0])
        return cls(
            user=log.users[int(log.user_of[index])].as_py(),
            history=ids.take(log.histories[int(log.history_of[index])]).to_pylist(),
            candidates=ids.take(log.candidates[index]).to_pylist(),
            labels=log.labels[slice(*log.candidates.offsets[index : index + 2])] if log.labelled else None,
        )
