"""One user's history: what models recommend for it, and what their interests attend to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recommenders_miner.plots.style import (
    FAINT,
    INK,
    category_box,
    category_colors,
    in_style,
    label_news,
    new_figure,
    shorten,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE_WIDTH = 56  # characters


@dataclass(frozen=True)
class Shown:
    """An article in the plot.

    Attributes:
        category: its category.
        title: its title.
        clicked: whether the user clicked it.
    """

    category: str
    title: str
    clicked: bool = False


@in_style
def draw_case_study(history: Sequence[Shown], tops: Mapping[str, Sequence[Shown]], categories: Sequence[str]) -> Figure:
    """Draw the history at the left, the models' lists at the right, the clicked article marked.

    Args:
        history: the clicked articles, newest last.
        tops: by model, its first articles, best first.
        categories: those of all news of the table, which fix the colours.
    """
    num_rows = max(len(history) + 1, sum(len(top) + 1.6 for top in tops.values()))
    figure = new_figure(11, 0.9 + 0.34 * num_rows, "What a user has clicked, and what two models recommend")
    colors = category_colors(categories)
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.set_xlim(0, 1)
        axes.set_ylim(num_rows, -0.5)
        axes.axis("off")
    _write_list(left, 0, "history, newest first", history[::-1], colors)
    row = 0.0
    for name, top in tops.items():
        _write_list(right, row, f"top {len(top)} of {name}", top, colors)
        row += len(top) + 1.6
    return figure


def _write_list(axes: Axes, row: float, title: str, news: Sequence[Shown], colors: Mapping[str, str]) -> None:
    axes.text(0, row, title, fontsize=10, fontweight="bold", va="center")
    axes.plot([0, 1], [row + 0.5, row + 0.5], color=FAINT, linewidth=0.6)
    for place, shown in enumerate(news, start=1):
        at, box, weight = row + place, category_box(colors[shown.category]), "bold" if shown.clicked else "normal"
        axes.text(0.21, at, shown.category, fontsize=8, va="center", ha="right", bbox=box)
        axes.text(0.235, at, shorten(shown.title, TITLE_WIDTH), fontsize=8.5, va="center", fontweight=weight)
        if shown.clicked:
            axes.text(0, at, "✓", fontsize=11, va="center", color="#117733", fontweight="bold")


@in_style
def draw_attention_maps(
    maps: Mapping[str, np.ndarray], titles: Sequence[str], history_categories: Sequence[str], categories: Sequence[str]
) -> Figure:
    """Draw a map for each model: a row a click, newest on top, a column an interest; one scale for all.

    Args:
        maps: by the model's name, weights (K, M).
        titles: M titles, newest last.
        history_categories: M categories.
        categories: those of all news of the table, which fix the colours.
    """
    figure = new_figure(9, 1.6 + 0.3 * len(titles), "What each interest attends to")
    strongest = max(weights.max() for weights in maps.values())
    every_axes = figure.subplots(1, len(maps), sharey=True, squeeze=False)[0]
    for axes, (name, weights) in zip(every_axes, maps.items(), strict=True):
        image = axes.imshow(weights.T[::-1], cmap="cividis", vmin=0, vmax=strongest, aspect="auto")
        axes.set_title(name, loc="center")
        axes.set_xticks(range(len(weights)), range(1, len(weights) + 1))
        axes.set_xlabel("interest")
        axes.tick_params(length=0)
        axes.spines["left"].set_visible(False)
        for (row, column), value in np.ndenumerate(weights.T[::-1]):
            color = "white" if value < 0.6 * strongest else INK
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=color)
    label_news(every_axes[0], range(len(titles)), titles[::-1], history_categories[::-1], category_colors(categories))
    bar = figure.colorbar(image, ax=every_axes, fraction=0.04, label="share of attention")
    bar.outline.set_visible(False)
    return figure
