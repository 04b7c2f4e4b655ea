"""Why a model scored a candidate as it did: interests, attention, and the score without each click in turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from recommenders_miner.data.ragged import Ragged
from recommenders_miner.errors import UnknownImpressionError

if TYPE_CHECKING:
    from recommenders_miner.data.iterator import Dataset

_DECIMALS = 6  # float32 has no more
_SHOWN_INTERESTS, _SHOWN_CLICKS, _SHOWN_IDS = 3, 3, 5


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

    @classmethod
    def of(
        cls,
        model: str,
        clicks: Sequence[str],
        candidates: Sequence[str],
        scores: np.ndarray,
        interests: tuple[Sequence[str], np.ndarray, np.ndarray] | None,
        attention: np.ndarray | None,
        titles: dict[str, str],
        categories: dict[str, str],
    ) -> Self:
        """Put an explanation together; arguments that are not named here are the attributes.

        Args:
            model: the model's type.
            clicks: the M clicks that are used.
            candidates: the C candidates.
            scores: (1 + M, C) float32, of all the clicks, and without each of them.
            interests: their names, scores and weights, both (C, K); None where a user is one interest.
            attention: (C, K, M) or (1, K, M), of at least one click, and of the first interests where K is less.
            titles: the title of each of these news.
            categories: the category of each.
        """
        if interests is None:
            interests = ("user",), scores[0, :, None], np.ones((len(candidates), 1), "float32")
        names, interest_scores, weights = interests
        if attention is not None:
            attention = attention[..., : len(clicks)]  # the padding of an empty history is cut off
            # What is no interest of the user, such as popularity, comes last and looks at no click.
            attention = np.pad(attention, [(0, 0), (0, len(names) - attention.shape[1]), (0, 0)])
            # What all candidates share is repeated for each.
            attention = np.broadcast_to(attention, (len(candidates), len(names), len(clicks)))
        return cls(
            model=model,
            history=tuple(clicks),
            candidates=tuple(candidates),
            titles=titles,
            categories=categories,
            scores=scores[0],
            interest_names=tuple(names),
            interest_scores=interest_scores,
            interest_weights=weights,
            attention=attention,
            influence=(scores[0] - scores[1:]).T,
        )

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

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON takes it; lists over clicks are in the order of `history`."""

        def article(news_id: str) -> dict[str, str]:
            return {"id": news_id, "category": self.categories[news_id], "title": self.titles[news_id]}

        return {
            "model": self.model,
            "history": [article(news_id) for news_id in self.history],
            "candidates": [
                {
                    **article(news_id),
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
                for index, news_id in enumerate(self.candidates)
            ],
        }

    def render(self) -> Group:
        """Return tables for a `rich.console.Console`: the history, then the candidates, best first, and their clicks.

        Titles are cut to the width of the terminal.
        """
        parts: list[RenderableType] = [self._history()]
        for place, candidate in enumerate(self.best_first, start=1):
            news_id = self.candidates[candidate]
            headline = _line(
                (f"{place:>2}  {self.scores[candidate]:.3f}  ", "bold"),
                ("clicked  ", "bold green") if self.clicked(candidate) else "",
                (f"{news_id}  ", "dim"),
                (f"{self.categories[news_id]}  ", "cyan"),
                (self.titles[news_id], "bold"),
            )
            parts += [Text(), headline, *(Padding(part, (0, 0, 0, 4)) for part in self._reasons(candidate))]
        if self.history:
            influence = "Influence: what the score would lose without the click, all others as they are."
            parts += [Text(), Text(influence, style="dim italic")]
        return Group(*parts)

    def _history(self) -> RenderableType:
        if not self.history:
            return Text("The history is empty.", style="italic")
        title = Text(f"The history: {len(self.history)} clicks, newest first")
        table = _news_table([("", {"style": "dim"}), ("", {"style": "dim"})], title=title, show_header=False)
        for number, news_id in enumerate(reversed(self.history), start=1):
            table.add_row(str(number), Text(news_id), *self._cells(news_id))
        return table

    def _reasons(self, candidate: int) -> Iterator[RenderableType]:
        """Yield, of the interests that add most, a line and a table of clicks; of a single one the table alone."""
        if not self.history:
            return
        influence = self.influence[candidate]
        if self.attention is None:
            yield self._clicks(influence, None, _largest(np.abs(influence), _SHOWN_CLICKS))
            return
        contributions = self.contributions[candidate]
        for rank, k in enumerate(_largest(np.abs(contributions), _SHOWN_INTERESTS)):
            if len(self.interest_names) > 1:
                weight, score = self.interest_weights[candidate, k], self.interest_scores[candidate, k]
                yield _line(
                    (self.interest_names[k], "bold"),
                    f"  adds {contributions[k]:.3f} = weight {weight:.3f} · score {score:.3f}",
                )
            shares = self.attention[candidate, k]
            yield self._clicks(influence, shares, _largest(shares, _SHOWN_CLICKS), show_header=rank == 0)

    def _clicks(
        self, influence: np.ndarray, shares: np.ndarray | None, places: Sequence[int], show_header: bool = True
    ) -> Table:
        """Return a table of some clicks of the history: attention, if there is any, and influence."""
        names = ("influence",) if shares is None else ("attention", "influence")
        columns = [*((name, {"min_width": 9}) for name in names), ("", {"style": "dim", "min_width": 2})]
        table = _news_table(columns, show_header=show_header, header_style="dim italic")
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
    return np.round(values.astype("float64"), _DECIMALS).tolist()


def _largest(values: np.ndarray, count: int) -> list[int]:
    """Return where the largest values stand, at most `count`, the largest first, those that are zero left out."""
    return [int(place) for place in np.argsort(-values, kind="stable")[:count] if values[place] > 0]


def _line(*parts: str | tuple[str, str]) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def _news_table(columns: Sequence[tuple[str, Mapping[str, Any]]], **options: Any) -> Table:
    """Make a table of narrow columns, then an article's category and title."""
    table = Table(box=None, pad_edge=False, expand=True, title_justify="left", **options)
    for name, style in columns:
        table.add_column(name, justify="right", no_wrap=True, **style)
    # As wide as the longest of MIND's common categories, so that tables below each other stand in line.
    table.add_column("category", style="cyan", width=13, no_wrap=True, overflow="ellipsis")
    table.add_column("title", ratio=1, no_wrap=True, overflow="ellipsis")
    return table


def explain_scores(
    model: Any, history: Sequence[str], candidates: Sequence[str], user: str | None = None
) -> Explanation:
    """Explain the scores of candidates; see `BaseModel.explain`.

    Used of the model: `news`, `hparams`, `vocabularies.users`, `score_histories`, `encode_news`, and its `network`.
    """
    clicks, candidates = tuple(history)[-model.hparams.his_size :], tuple(candidates)
    scores = model.score_histories([clicks, *without_each(clicks)], candidates, user)
    interests, attention = _look_inside(model, clicks, candidates, user)
    news = list(dict.fromkeys((*clicks, *candidates)))
    rows = model.news.rows(news)
    titles, categories = (
        dict(zip(news, column.take(rows).to_pylist(), strict=True))
        for column in (model.news.title, model.news.category)
    )
    asked = model.hparams.model_type, clicks, candidates
    return Explanation.of(*asked, scores, interests, attention, titles, categories)


def without_each(clicks: Sequence[str]) -> list[Sequence[str]]:
    """Return a history without each of its clicks in turn."""
    return [[*clicks[:place], *clicks[place + 1 :]] for place in range(len(clicks))]


def _look_inside(model: Any, clicks: Sequence[str], candidates: Sequence[str], user: str | None) -> tuple[Any, Any]:
    """Run the network's parts on one sample: interests and attention as `Explanation.of` takes them."""
    from keras import ops  # who explains an export's scores has no Keras

    def sample(ids: Sequence[str], size: int) -> Any:
        """Make a batch of one of some news, padding behind."""
        return {
            name: ops.convert_to_tensor(np.pad(array, [(0, size - len(ids))] + [(0, 0)] * (array.ndim - 1))[None])
            for name, array in model.encode_news(ids).items()
        }

    def array(tensor: Any) -> np.ndarray:
        return ops.convert_to_numpy(ops.cast(tensor, "float32"))[0]

    length = max(len(clicks), 1)
    log = model.log_of_now([clicks], candidates, user)
    context = model.context_of_now(log)
    values = context and ops.convert_to_tensor(context.of(np.zeros(1, int), log.candidates.values[None]))
    mask = ops.convert_to_tensor(np.arange(length)[None] < len(clicks))
    user_id = ops.convert_to_tensor(np.array(model.vocabularies.users.encode([user or ""]), "int32"))
    history, shown = sample(clicks, length), sample(candidates, len(candidates))
    interests, attention = model.network.look_inside(history, mask, user_id, shown, values)
    found = None if interests is None else (interests.names, *map(array, interests[1:]))
    return found, None if attention is None else array(attention)


def find_impression(
    data: Dataset, impression_id: int, file: str | Path
) -> tuple[str, list[str], list[str], np.ndarray | None]:
    """Find an impression of `data`, which was read from `file`, by its id, the first one if several have it.

    Returns:
        The user's id, the ids of all the articles clicked before, newest last, the ids of the candidates, and their
        labels, 1 for a click, or None in an unlabelled log.

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
    user = log.users[int(log.user_of[index])].as_py()
    labels = Ragged(log.labels, log.candidates.offsets)[index] if log.labelled else None
    clicked, shown = log.histories[int(log.history_of[index])], log.candidates[index]
    return user, ids.take(clicked).to_pylist(), ids.take(shown).to_pylist(), labels
