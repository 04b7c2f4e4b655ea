"""An explanation for the terminal: the history, then the candidates with the clicks that weigh most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from recommenders_miner.explain.explanation import Explanation

SHOWN_INTERESTS, SHOWN_CLICKS = 3, 3
EXPLAINED = "Influence: what the score would lose without the click, all others as they are."


def render(explanation: Explanation) -> Group:
    """Lays an explanation out, candidates best first; titles are cut to the width of the terminal."""
    parts: list[RenderableType] = [_history(explanation)]
    for place, candidate in enumerate(explanation.best_first, start=1):
        parts += [Text(), _headline(explanation, place, candidate)]
        parts += [Padding(part, (0, 0, 0, 4)) for part in _reasons(explanation, candidate)]
    if explanation.history:
        parts += [Text(), Text(EXPLAINED, style="dim italic")]
    return Group(*parts)


def _history(explanation: Explanation) -> RenderableType:
    count = len(explanation.history)
    if count == 0:
        return Text("The history is empty.", style="italic")
    table = _plain_table(title=Text(f"The history: {count} clicks, newest first"), show_header=False)
    for name in ("number", "id"):
        table.add_column(name, justify="right" if name == "number" else "left", style="dim", no_wrap=True)
    _add_news_columns(table)
    for place in reversed(range(count)):
        news_id = explanation.history[place]
        table.add_row(str(count - place), Text(news_id), *_news_cells(explanation, news_id))
    return table


def _headline(explanation: Explanation, place: int, candidate: int) -> Text:
    news_id = explanation.candidates[candidate]
    clicked = explanation.labels is not None and explanation.labels[candidate]
    return Text.assemble(
        (f"{place:>2}  {explanation.scores[candidate]:.3f}  ", "bold"),
        ("clicked  ", "bold green") if clicked else "",
        (f"{news_id}  ", "dim"),
        (f"{explanation.categories[news_id]}  ", "cyan"),
        (explanation.titles[news_id], "bold"),
        no_wrap=True,
        overflow="ellipsis",
    )


def _reasons(explanation: Explanation, candidate: int) -> Iterator[RenderableType]:
    """Yields, of the interests that add most, a line and a table of clicks; of a single one the table alone."""
    if not explanation.history:
        return
    influence = explanation.influence[candidate]
    if explanation.attention is None:
        yield _clicks(explanation, influence, None, largest(np.abs(influence), SHOWN_CLICKS))
        return
    contributions = explanation.contributions[candidate]
    single = len(explanation.interest_names) == 1
    for rank, k in enumerate(largest(np.abs(contributions), SHOWN_INTERESTS)):
        if not single:
            weight, score = explanation.interest_weights[candidate, k], explanation.interest_scores[candidate, k]
            yield Text.assemble(
                (explanation.interest_names[k], "bold"),
                f"  adds {contributions[k]:.3f} = weight {weight:.3f} · score {score:.3f}",
                no_wrap=True,
                overflow="ellipsis",
            )
        shares = explanation.attention[candidate, k]
        yield _clicks(explanation, influence, shares, largest(shares, SHOWN_CLICKS), show_header=rank == 0)


def _clicks(
    explanation: Explanation,
    influence: np.ndarray,
    shares: np.ndarray | None,
    places: Sequence[int],
    show_header: bool = True,
) -> Table:
    """A table of some clicks of the history: attention, if there is any, and influence."""
    table = _plain_table(show_header=show_header, header_style="dim italic")
    if shares is not None:
        table.add_column("attention", justify="right", min_width=9, no_wrap=True)
    table.add_column("influence", justify="right", min_width=9, no_wrap=True)
    table.add_column("", justify="right", min_width=2, style="dim", no_wrap=True)
    _add_news_columns(table)
    for place in places:
        table.add_row(
            *([] if shares is None else [f"{100 * shares[place]:.1f} %"]),
            f"{influence[place]:+.3f}",
            str(len(explanation.history) - place),
            *_news_cells(explanation, explanation.history[place]),
        )
    return table


def largest(values: np.ndarray, count: int) -> list[int]:
    """Returns where the largest values stand, at most `count`, the largest first, those that are zero left out."""
    return [int(place) for place in np.argsort(-values, kind="stable")[:count] if values[place] > 0]


def _plain_table(**options: object) -> Table:
    return Table(box=None, pad_edge=False, expand=True, title_justify="left", **options)


def _add_news_columns(table: Table) -> None:
    # As wide as the longest of MIND's common categories, so that tables below each other stand in line.
    table.add_column("category", style="cyan", width=13, no_wrap=True, overflow="ellipsis")
    table.add_column("title", ratio=1, no_wrap=True, overflow="ellipsis")


def _news_cells(explanation: Explanation, news_id: str) -> tuple[Text, Text]:
    return Text(explanation.categories[news_id]), Text(explanation.titles[news_id])
