"""Attention of interests over a history, as heat maps side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from recommenders_miner.plots.style import INK, category_colors, headline, label_news, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_attention_maps(
    maps: Mapping[str, np.ndarray], titles: Sequence[str], history_categories: Sequence[str], categories: Sequence[str]
) -> Figure:
    """Draws a map for each model: a row a click, newest on top, a column an interest; one scale for all.

    Args:
        maps: by the model's name, weights (K, M).
        titles: M titles, newest last.
        history_categories: M categories.
        categories: those of all news of the table, which fix the colours.
    """
    figure = new_figure(9, 1.6 + 0.3 * len(titles))
    headline(figure, "What each interest attends to")
    colors = category_colors(categories)
    strongest = max(weights.max() for weights in maps.values())
    every_axes = figure.subplots(1, len(maps), sharey=True, squeeze=False)[0]
    for axes, (name, weights) in zip(every_axes, maps.items(), strict=True):
        image = axes.imshow(weights.T[::-1], cmap="cividis", vmin=0, vmax=strongest, aspect="auto")
        axes.set_title(name, fontsize=9.5, color=INK)
        axes.set_xticks(range(len(weights)), range(1, len(weights) + 1))
        axes.set_xlabel("interest", fontsize=9, color=INK)
        axes.tick_params(length=0, labelsize=8.5, labelcolor=INK)
        for place, value in np.ndenumerate(weights.T[::-1]):
            light = value < 0.6 * strongest
            axes.text(
                *place[::-1], f"{value:.2f}", ha="center", va="center", fontsize=7, color="white" if light else INK
            )
    label_news(every_axes[0], range(len(titles)), titles[::-1], history_categories[::-1], colors)
    bar = figure.colorbar(image, ax=every_axes, fraction=0.04)
    bar.set_label("share of attention", fontsize=9, color=INK)
    bar.ax.tick_params(labelsize=8, colors=INK)
    bar.outline.set_visible(False)
    return figure
