"""What was measured with several seeds, or beside an error: curves over a few points, and effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recommenders_miner.plots.style import FAINT, SERIES, in_style, label_point, label_rows, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Curve:
    """A line of a plot.

    Attributes:
        name: what it is.
        x: where it was measured.
        values: at each x, a value a seed.
    """

    name: str
    x: Sequence[float]
    values: Sequence[Sequence[float]]


@in_style
def draw_curves(curves: Sequence[Curve], title: str, xlabel: str, ylabel: str, panels: bool = False) -> Figure:
    """Draw the mean of each curve over a logarithmic axis, in a band of one standard deviation over seeds.

    Args:
        curves: the curves.
        title: of the plot.
        xlabel: what x is.
        ylabel: what the values are.
        panels: draw each curve in a panel of its own, since their heights have little in common.
    """
    figure = new_figure(8.5 if panels else 7.5, 3.4 if panels else 4.4, title)
    every_axes = figure.subplots(1, len(curves)) if panels else [figure.add_subplot()] * len(curves)
    ends = []
    for place, (axes, curve) in enumerate(zip(every_axes, curves, strict=True)):
        color = SERIES[place % len(SERIES)]
        values = np.array(curve.values, float)
        mean = values.mean(axis=1)
        axes.plot(curve.x, mean, "o-", color=color, markersize=4.5, linewidth=1.6)
        if values.shape[1] > 1:
            spread = values.std(axis=1, ddof=1)
            axes.fill_between(curve.x, mean - spread, mean + spread, color=color, alpha=0.15, linewidth=0)
        ends.append((mean[-1], curve.name, color))
        axes.set_xscale("log")
        axes.set_xticks(list(curve.x), [f"{x:g}" for x in curve.x])
        axes.minorticks_off()
        axes.set_xlabel(xlabel)
        axes.set_ylabel(f"{curve.name}, {ylabel}" if panels else ylabel)
    if not panels:
        _name_curves(every_axes[0], ends, max(curves[0].x))
    return figure


def _name_curves(axes: Axes, ends: Sequence[tuple[float, str, str]], x: float) -> None:
    """Write the names of the curves behind their ends, pushed apart where they would lie on each other."""
    low, high = axes.get_ylim()
    gap = 0.055 * (high - low)
    height = -np.inf
    for end, name, color in sorted(ends):
        height = max(end, height + gap)
        label_point(axes, name, (x, height), (8, 0), va="center", color=color, annotation_clip=False)


@in_style
def draw_effects(
    names: Sequence[str], effects: Sequence[float], standard_errors: Sequence[float], xlabel: str, title: str
) -> Figure:
    """Draw each effect as a point with a whisker of two standard errors to either side, beside a line at zero.

    Args:
        names: of the effects, from top to bottom.
        effects: their sizes.
        standard_errors: of the sizes.
        xlabel: what the sizes are.
        title: of the plot.
    """
    figure = new_figure(7.5, 1.3 + 0.55 * len(names), title)
    axes = figure.add_subplot()
    axes.axvline(0, color=FAINT, linewidth=1)
    for row, (effect, error) in enumerate(zip(effects, standard_errors, strict=True)):
        axes.errorbar(effect, row, xerr=2 * error, fmt="o", color=SERIES[0], markersize=7, elinewidth=1.5, capsize=4)
        label_point(axes, f"{effect:+.2f}".replace("-", "\N{MINUS SIGN}"), (effect, row), (0, 7), ha="center")
    label_rows(axes, range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.6)
    axes.margins(x=0.1)
    axes.set_xlabel(xlabel)
    return figure
