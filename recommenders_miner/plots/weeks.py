"""The plot of a simulation: what is measured every day, a panel a measure, a line an arm."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from recommenders_miner.plots.style import SERIES, in_style, new_figure

_COLUMNS = 4


@in_style
def draw_weeks(
    values: Mapping[str, Mapping[str, np.ndarray]],
    styles: Mapping[str, tuple[str, str]],
    panels: Mapping[str, tuple[str, str]],
) -> Figure:
    """Draw the mean over seeds, in a band of one standard error.

    Args:
        values: by arm and measure, (seeds, days).
        styles: by arm, what shares its colour, and its kind of line, as Matplotlib writes it.
        panels: by measure, in order, the title of its panel and what is measured.
    """
    rows = -(-(len(panels) + 1) // _COLUMNS)  # one more for the legend
    figure = new_figure(3.1 * _COLUMNS, 2.9 * rows)
    groups = dict.fromkeys(group for group, _ in styles.values())
    colors = {group: SERIES[place % len(SERIES)] for place, group in enumerate(groups)}
    every_axes = figure.subplots(rows, _COLUMNS, sharex=True).ravel()
    for axes, measure in zip_longest(every_axes, panels):
        if measure is None:
            axes.axis("off")
            continue
        for arm, (group, line) in styles.items():
            by_seed = np.asarray(values[arm][measure])
            days, mean = np.arange(1, by_seed.shape[1] + 1), by_seed.mean(axis=0)
            axes.plot(days, mean, line, color=colors[group], linewidth=1.5)
            if len(by_seed) > 1:
                error = by_seed.std(axis=0, ddof=1) / np.sqrt(len(by_seed))
                axes.fill_between(days, mean - error, mean + error, color=colors[group], alpha=0.15, linewidth=0)
        title, meaning = panels[measure]
        axes.set_title(f"{title}\n", fontweight="bold")
        axes.text(0, 1.03, meaning, transform=axes.transAxes, fontsize=7.5)
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("day")
    handles = [Line2D([], [], color=colors[group], linestyle=line, label=arm) for arm, (group, line) in styles.items()]
    every_axes[len(panels)].legend(handles=handles, loc="center left")
    return figure
