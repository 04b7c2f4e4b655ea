"""What is said of a score: the explanation itself, as JSON and for the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recommenders_miner.explain.tables import render

if TYPE_CHECKING:
    from rich.console import Group

_DECIMALS = 6


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a model scored C candidates as it did, for one reader of M clicks.

    The click score is `Σ_k interest_weights_k · interest_scores_k`. How the weights come about is up to the system:
    MINER's aggregation (softmax weights; 1/K; 1 for the best interest), HieRec's λ times the share of the clicks. In
    the other systems a user is one interest of weight 1.

    Attributes:
        model: the model's type, as `miner`.
        history: ids of the clicks that are used, newest last.
        candidates: ids of the candidates, in the order in which they were asked for.
        titles: the title of each of these news.
        categories: the category of each.
        scores: (C,) float32, what `model.score` gives.
        interest_names: what the K interests are called.
        interest_scores: (C, K) float32, the candidate's match with each interest.
        interest_weights: (C, K) float32, how each enters the click score.
        attention: (C, K, M) float32, the share that each interest has of each click; shares add up to 1, but all are 0
            where HieRec's reader has no such interest. None for systems without attention over the clicks.
        influence: (C, M) float32, what the score would lose without the click, all others as they are: negative where
            the click speaks against the candidate. No older click takes its place.
        labels: (C,) which candidates were clicked, 1 or 0; None where that is not known.
    """

    model: str
    history: tuple[str, ...]
    candidates: tuple[str, ...]
    titles: dict[str, str]
    categories: dict[str, str]
    scores: np.ndarray
    interest_names: tuple[str, ...]
    interest_scores: np.ndarray
    interest_weights: np.ndarray
    attention: np.ndarray | None
    influence: np.ndarray
    labels: np.ndarray | None = None

    @property
    def best_first(self) -> np.ndarray:
        """The candidates' indices (C,), the highest score first; ties keep their order."""
        return np.argsort(-self.scores, kind="stable")

    @property
    def contributions(self) -> np.ndarray:
        """What each interest adds to the score, (C, K)."""
        return self.interest_weights * self.interest_scores

    def to_json(self) -> dict[str, Any]:
        """Gives all of it as JSON takes it; lists over clicks are in the order of `history`."""
        return {
            "model": self.model,
            "history": [self._news(news_id) for news_id in self.history],
            "candidates": [self._candidate(index) for index in range(len(self.candidates))],
        }

    def render(self) -> Group:
        """Gives tables for the terminal, to be printed by a `rich.console.Console`."""
        return render(self)

    def _news(self, news_id: str) -> dict[str, str]:
        return {"id": news_id, "category": self.categories[news_id], "title": self.titles[news_id]}

    def _candidate(self, index: int) -> dict[str, Any]:
        return {
            **self._news(self.candidates[index]),
            "clicked": None if self.labels is None else bool(self.labels[index]),
            "score": _rounded(self.scores[index]),
            "interests": [
                {
                    "name": name,
                    "score": _rounded(self.interest_scores[index, k]),
                    "weight": _rounded(self.interest_weights[index, k]),
                    "attention": None if self.attention is None else _rounded(self.attention[index, k]),
                }
                for k, name in enumerate(self.interest_names)
            ],
            "influence": _rounded(self.influence[index]),
        }


def _rounded(values: np.ndarray) -> Any:
    """A float or a list of floats, without the digits that float32 does not have."""
    return np.round(values.astype("float64"), _DECIMALS).tolist()
