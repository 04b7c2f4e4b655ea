"""Plots of measured values: the AUC of models, curves over a few points, and effects beside their errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from recommenders_miner.plots.style import (
    DASHED,
    FAINT,
    INK,
    LABEL_BOX,
    SERIES,
    in_style,
    label_point,
    label_rows,
    new_figure,
    save_figure,
)

BEST, OTHERS = SERIES[0], SERIES[5]
WIDTH_INCHES = 7.5
ROW_INCHES = 0.36  # of a bar or of a label above the bars; one unit of the vertical axis


@in_style
def draw_auc(
    path: Path,
    bars: Sequence[tuple[str, float, float]],
    lines: Sequence[tuple[str, float]],
    title: str,
    whiskers: str = "standard error",
) -> None:
    """Draw trained models as horizontal bars, best on top, and floors and ceilings as dashed lines.

    The axis does not begin at 0: it runs from just below the lowest floor to just above the highest ceiling, the range
    in which a model can lie. A bar is a model's name, its AUC and its uncertainty, which `whiskers` names, both times
    100; a line the name and the AUC times 100 of a floor or ceiling. The path is that of a PNG file; an SVG stands
    beside it.
    """
    bars = sorted(bars, key=lambda bar: bar[1])
    values = [50.0, *(value for _, value, _ in bars), *(value for _, value in lines)]
    margin = max(0.04 * (max(values) - min(values)), 1)
    centre = (min(values) + max(values)) / 2
    floors = sorted((line for line in lines if line[1] < centre), key=lambda line: -line[1])
    ceilings = sorted((line for line in lines if line[1] >= centre), key=lambda line: line[1])
    num_rows = len(bars) + len(floors) + len(ceilings)

    figure = new_figure(WIDTH_INCHES, 1.2 + ROW_INCHES * num_rows, title)
    axes = figure.add_subplot()
    axes.set_xlim(min(values) - margin, max(values) + margin)
    axes.set_ylim(-0.6, num_rows - 0.4)
    for row, (_, value, error) in enumerate(bars):
        is_best = value == bars[-1][1]
        left = axes.get_xlim()[0]
        axes.barh(row, value - left, left=left, height=0.66, color=BEST if is_best else OTHERS)
        if error:
            axes.errorbar(value, row, xerr=error, color=INK, elinewidth=1, capsize=2.5, capthick=1)
        weight = "bold" if is_best else "normal"
        label_point(axes, f"{value:.2f}", (value + error, row), (4, 0), va="center_baseline", fontweight=weight)
    # Labels run inwards from their lines, one row higher each and in no row with another, so that nothing crosses them.
    for row, (name, value) in enumerate([*floors, *ceilings], start=len(bars)):
        axes.vlines(value, -0.6, row + 0.3, **DASHED)
        align = "left" if value < centre else "right"
        axes.text(value, row, f" {name} {value:.2f} ", ha=align, va="center_baseline", style="italic")
    label_rows(axes, range(len(bars)), [name for name, _, _ in bars], fontsize=10)
    axes.set_xlabel(f"AUC, % (whiskers: one {whiskers})")
    save_figure(figure, path)


@in_style
def draw_models(
    names: Sequence[str],
    here: Sequence[float],
    here_errors: Sequence[float],
    paper: Sequence[float],
    here_title: str,
    lines: Mapping[str, float],
) -> Figure:
    """Draw the AUC of models here, with its spread, beside the paper's; MINER's forms in a colour of their own.

    All AUC are in percent; `names` go from top to bottom, `here_errors` are half the lengths of the whiskers,
    `here_title` says what `here` was measured on, and `lines` are floors and ceilings.
    """
    figure = new_figure(8.5, 1.8 + 0.3 * len(names), "AUC, %")
    left, right = figure.subplots(1, 2, sharey=True)
    of_paper = "in the paper: MIND-small", paper, [0] * len(names)
    for axes, (title, values, errors) in ((left, (f"here: {here_title}", here, here_errors)), (right, of_paper)):
        for row, (name, value, error) in enumerate(zip(names, values, errors, strict=True)):
            color = SERIES[1] if name.startswith("miner") else SERIES[0]
            axes.errorbar(value, row, xerr=error or None, fmt="o", color=color, ms=6, elinewidth=1.2, capsize=2.5)
            label_point(axes, f"{value:.1f}", (value, row), (0, 7), ha="center", fontsize=7.5)
        axes.set_title(title)
        axes.margins(x=0.12)
        axes.grid(axis="y", color="#EEEEEE", zorder=0)
    for place, (name, value) in enumerate(sorted(lines.items(), key=lambda line: line[1])):
        left.axvline(value, **DASHED)
        height = -1.9 if place % 2 else -1.2  # names of neighbours would cover each other in one row
        left.text(value, height, name, ha="center", fontsize=7.5, style="italic", bbox=LABEL_BOX, clip_on=False)
    left.set_yticks(range(len(names)), names)
    left.set_ylim(len(names) - 0.4, -2.3)
    return figure


@in_style
def draw_curves(
    curves: Sequence[tuple[str, Sequence[float], Sequence[Sequence[float]]]],
    title: str,
    xlabel: str,
    ylabel: str,
    panels: bool = False,
) -> Figure:
    """Draw the mean of each curve over a logarithmic axis, in a band of one standard deviation over seeds.

    A curve is its name, where it was measured, and at each x a value a seed. `panels` draws each in a panel of its own,
    since their heights have little in common.
    """
    figure = new_figure(8.5 if panels else 7.5, 3.4 if panels else 4.4, title)
    every_axes = figure.subplots(1, len(curves)) if panels else [figure.add_subplot()] * len(curves)
    ends = []
    for place, (axes, (name, x, by_seed)) in enumerate(zip(every_axes, curves, strict=True)):
        color = SERIES[place % len(SERIES)]
        values = np.array(by_seed, float)
        mean = values.mean(axis=1)
        axes.plot(x, mean, "o-", color=color, markersize=4.5, linewidth=1.6)
        if values.shape[1] > 1:
            spread = values.std(axis=1, ddof=1)
            axes.fill_between(x, mean - spread, mean + spread, color=color, alpha=0.15, linewidth=0)
        ends.append((mean[-1], name, color))
        axes.set_xscale("log")
        axes.set_xticks(list(x), [f"{x:g}" for x in x])
        axes.minorticks_off()
        axes.set_xlabel(xlabel)
        axes.set_ylabel(f"{name}, {ylabel}" if panels else ylabel)
    if not panels:  # names stand behind the ends, pushed apart where they would lie on each other
        low, high = axes.get_ylim()
        height = -np.inf
        for end, name, color in sorted(ends):
            height = max(end, height + 0.055 * (high - low))
            point = max(curves[0][1]), height
            label_point(axes, name, point, (8, 0), va="center", color=color, annotation_clip=False)
    return figure


@in_style
def draw_effects(
    names: Sequence[str], effects: Sequence[float], standard_errors: Sequence[float], xlabel: str, title: str
) -> Figure:
    """Draw each effect as a point with a whisker of two standard errors to either side, beside a line at zero."""
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


@in_style
def draw_tradeoff(
    panels: Sequence[tuple[str, Sequence[tuple[float, float, float, float]]]],
    names: Sequence[str],
    ylabel: str,
    title: str,
) -> Figure:
    """Draw a panel for each metric: what accuracy changes by, over what the metric is, along a dial.

    A panel is its title and the points (x, its error, y, its error), of which the first one stands for what the others
    are measured against; whiskers are one error to either side. `names` are those of the points.
    """
    rows = -(-len(panels) // 4)
    columns = -(-len(panels) // rows)
    figure = new_figure(max(2.8 * columns, 5.5), 1.0 + 2.4 * rows, title)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    shades = matplotlib.colormaps["cividis"](np.linspace(0, 0.92, len(names) - 1))
    marks = [("D", SERIES[1]), *(("o", shade) for shade in shades)]
    for axes, (name, points) in zip(grid.flat, panels, strict=False):
        x, x_errors, y, y_errors = np.array(points).T
        axes.axhline(0, **DASHED)
        axes.plot(x[1:], y[1:], color=FAINT, linewidth=1)
        whiskers = {"fmt": "none", "ecolor": FAINT, "elinewidth": 0.9, "capsize": 2}
        axes.errorbar(x, y, xerr=np.nan_to_num(x_errors), yerr=np.nan_to_num(y_errors), **whiskers)
        # What the others are measured against comes last: a dial at 0 often stands where it does, and is the larger.
        for place in [*range(1, len(names)), 0]:
            marker, color = marks[place]
            axes.plot(x[place], y[place], marker, color=color, markersize=7 if place == 1 else 5, zorder=3)
        axes.set_title(name)
        axes.margins(x=0.1, y=0.1)
    for axes in grid[:, 0]:
        axes.set_ylabel(ylabel)
    keys = [Line2D([], [], marker=marker, color=color, linestyle="") for marker, color in marks]
    figure.legend(keys, names, loc="outside lower left", ncols=len(names), columnspacing=1.2, handletextpad=0.1)
    return figure
