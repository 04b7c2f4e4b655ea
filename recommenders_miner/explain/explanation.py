"""What is said of a score: the explanation itself, as JSON and for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_DECIMALS = 6
SHOWN_INTERESTS, SHOWN_CLICKS = 3, 3
EXPLAINED = "Influence: what the score would lose without the click, all others as they are."


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a model scored C candidates as it did, for one user of M clicks.

    The click score is `Σ_k interest_weights_k · interest_scores_k`. How the weights come about is up to the model:
    MINER's aggregation (softmax weights; 1/K; 1 for the best interest), HieRec's λ times the share of the clicks. In
    the other models a user is one interest of weight 1.

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
            where HieRec's user has no such interest. None for models without attention over the clicks.
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

    def clicked(self, candidate: int) -> bool | None:
        """Say whether a candidate was clicked, None where that is not known."""
        return None if self.labels is None else bool(self.labels[candidate])

    # === JSON ===

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON takes it; lists over clicks are in the order of `history`."""
        return {
            "model": self.model,
            "history": [self._article(news_id) for news_id in self.history],
            "candidates": [self._candidate(index) for index in range(len(self.candidates))],
        }

    def _article(self, news_id: str) -> dict[str, str]:
        return {"id": news_id, "category": self.categories[news_id], "title": self.titles[news_id]}

    def _candidate(self, index: int) -> dict[str, Any]:
        return {
            **self._article(self.candidates[index]),
            "clicked": self.clicked(index),
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

    # === For the terminal ===

    def render(self) -> Group:
        """Return tables for a `rich.console.Console`: the history, then the candidates, best first, and their clicks.

        Titles are cut to the width of the terminal.
        """
        parts: list[RenderableType] = [self._history()]
        for place, candidate in enumerate(self.best_first, start=1):
            parts += [Text(), self._headline(place, candidate)]
            parts += [Padding(part, (0, 0, 0, 4)) for part in self._reasons(candidate)]
        if self.history:
            parts += [Text(), Text(EXPLAINED, style="dim italic")]
        return Group(*parts)

    def _history(self) -> RenderableType:
        count = len(self.history)
        if count == 0:
            return Text("The history is empty.", style="italic")
        table = _plain_table(title=Text(f"The history: {count} clicks, newest first"), show_header=False)
        table.add_column(justify="right", style="dim", no_wrap=True)
        table.add_column(style="dim", no_wrap=True)
        _add_news_columns(table)
        for number, news_id in enumerate(reversed(self.history), start=1):
            table.add_row(str(number), Text(news_id), *self._cells(news_id))
        return table

    def _headline(self, place: int, candidate: int) -> Text:
        news_id = self.candidates[candidate]
        return _line(
            (f"{place:>2}  {self.scores[candidate]:.3f}  ", "bold"),
            ("clicked  ", "bold green") if self.clicked(candidate) else "",
            (f"{news_id}  ", "dim"),
            (f"{self.categories[news_id]}  ", "cyan"),
            (self.titles[news_id], "bold"),
        )

    def _reasons(self, candidate: int) -> Iterator[RenderableType]:
        """Yield, of the interests that add most, a line and a table of clicks; of a single one the table alone."""
        if not self.history:
            return
        influence = self.influence[candidate]
        if self.attention is None:
            yield self._clicks(influence, None, _largest(np.abs(influence), SHOWN_CLICKS))
            return
        contributions = self.contributions[candidate]
        for rank, k in enumerate(_largest(np.abs(contributions), SHOWN_INTERESTS)):
            if len(self.interest_names) > 1:
                weight, score = self.interest_weights[candidate, k], self.interest_scores[candidate, k]
                yield _line(
                    (self.interest_names[k], "bold"),
                    f"  adds {contributions[k]:.3f} = weight {weight:.3f} · score {score:.3f}",
                )
            shares = self.attention[candidate, k]
            yield self._clicks(influence, shares, _largest(shares, SHOWN_CLICKS), show_header=rank == 0)

    def _clicks(
        self, influence: np.ndarray, shares: np.ndarray | None, places: Sequence[int], show_header: bool = True
    ) -> Table:
        """Return a table of some clicks of the history: attention, if there is any, and influence."""
        table = _plain_table(show_header=show_header, header_style="dim italic")
        for name in ("influence",) if shares is None else ("attention", "influence"):
            table.add_column(name, justify="right", min_width=9, no_wrap=True)
        table.add_column("", justify="right", min_width=2, style="dim", no_wrap=True)
        _add_news_columns(table)
        for place in places:
            table.add_row(
                *([] if shares is None else [f"{100 * shares[place]:.1f} %"]),
                f"{influence[place]:+.3f}",
                str(len(self.history) - place),
                *self._cells(self.history[place]),
            )
        return table

    def _cells(self, news_id: str) -> tuple[Text, Text]:
        return Text(self.categories[news_id]), Text(self.titles[news_id])


def _rounded(values: np.ndarray) -> Any:
    """Return a float or a list of floats, without the digits that float32 does not have."""
    return np.round(values.astype("float64"), _DECIMALS).tolist()


def _largest(values: np.ndarray, count: int) -> list[int]:
    """Return where the largest values stand, at most `count`, the largest first, those that are zero left out."""
    return [int(place) for place in np.argsort(-values, kind="stable")[:count] if values[place] > 0]


def _line(*parts: str | tuple[str, str]) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def _plain_table(**options: object) -> Table:
    return Table(box=None, pad_edge=False, expand=True, title_justify="left", **options)


def _add_news_columns(table: Table) -> None:
    # As wide as the longest of MIND's common categories, so that tables below each other stand in line.
    table.add_column("category", style="cyan", width=13, no_wrap=True, overflow="ellipsis")
    table.add_column("title", ratio=1, no_wrap=True, overflow="ellipsis")
