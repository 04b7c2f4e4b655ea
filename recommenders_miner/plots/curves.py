"""Curves over a few points, each point measured with several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recommenders_miner.plots.style import INK, SERIES, headline, new_figure, plain_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Curve:
    """A line of a figure.

    Attributes:
        name: what it is.
        x: where it was measured.
        values: at each x, a value a seed.
    """

    name: str
    x: Sequence[float]
    values: Sequence[Sequence[float]]


def draw_curves(curves: Sequence[Curve], title: str, xlabel: str, ylabel: str, panels: bool = False) -> Figure:
    """Draws the mean of each curve over a logarithmic axis, in a band of one standard deviation over seeds.

    Args:
        curves: the curves.
        title: of the figure.
        xlabel: what x is.
        ylabel: what the values are.
        panels: draw each curve in a panel of its own, since their heights have little in common.
    """
    figure = new_figure(8.5 if panels else 7.5, 3.4 if panels else 4.4)
    headline(figure, title)
    every_axes = figure.subplots(1, len(curves)) if panels else [figure.add_subplot()] * len(curves)
    ends = []
    for place, (axes, curve) in enumerate(zip(every_axes, curves, strict=True)):
        color = SERIES[place % len(SERIES)]
        ends.append((_draw_curve(axes, curve, color), curve.name, color))
        axes.set_xscale("log")
        axes.set_xticks(list(curve.x), [f"{x:g}" for x in curve.x])
        axes.minorticks_off()
        axes.set_xlabel(xlabel, fontsize=9, color=INK)
        axes.set_ylabel(f"{curve.name}, {ylabel}" if panels else ylabel, fontsize=9, color=INK)
        plain_axes(axes)
    if not panels:
        _name_curves(every_axes[0], ends, max(curves[0].x))
    return figure


def _draw_curve(axes: Axes, curve: Curve, color: str) -> float:
    """Draws one curve; returns the height at which it ends."""
    values = np.array(curve.values, float)
    mean = values.mean(axis=1)
    axes.plot(curve.x, mean, "o-", color=color, markersize=4.5, linewidth=1.6)
    if values.shape[1] > 1:
        spread = values.std(axis=1, ddof=1)
        axes.fill_between(curve.x, mean - spread, mean + spread, color=color, alpha=0.15, linewidth=0)
    return float(mean[-1])


def _name_curves(axes: Axes, ends: Sequence[tuple[float, str, str]], x: float) -> None:
    """Writes the names of the curves behind their ends, pushed apart where they would lie on each other."""
    low, high = axes.get_ylim()
    gap = 0.055 * (high - low)
    height = -np.inf
    for end, name, color in sorted(ends):
        height = max(end, height + gap)
        axes.annotate(
            name, (x, height), xytext=(8, 0), textcoords="offset points", va="center", fontsize=9, color=color,
            annotation_clip=False,
        )  # fmt: skip
