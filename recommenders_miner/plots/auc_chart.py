"""The AUC of models: as the bars of a comparison, and beside what the paper reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recommenders_miner.plots.style import (
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

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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

    The axis does not begin at 0: it runs from just below the lowest floor to just above the highest ceiling,
    the range in which a model can lie.

    Args:
        path: the PNG file to write; an SVG stands beside it.
        bars: name, AUC and its uncertainty of each trained model, both times 100.
        lines: name and AUC times 100 of each floor or ceiling.
        title: the title of the plot.
        whiskers: what the uncertainty is.
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
        axes.vlines(value, -0.6, row + 0.3, color=FAINT, linestyle=(0, (4, 3)), linewidth=1, zorder=0.5)
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

    Args:
        names: of the models, in the order of the table, from top to bottom.
        here: AUC of each in percent.
        here_errors: half the length of its whisker.
        paper: AUC of each in the paper, in percent.
        here_title: what `here` was measured on.
        lines: name and AUC in percent of floors and ceilings.
    """
    figure = new_figure(8.5, 1.6 + 0.3 * len(names), "AUC, %")
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_points(left, names, here, here_errors, f"here: {here_title}")
    _draw_points(right, names, paper, [0] * len(names), "in the paper: MIND-small")
    for name, value in lines.items():
        axis_line = {"color": FAINT, "linestyle": (0, (4, 3)), "linewidth": 1, "zorder": 0.5}
        left.axvline(value, **axis_line)
        left.text(value, -1.2, name, ha="center", fontsize=7.5, style="italic", bbox=LABEL_BOX, clip_on=False)
    left.set_yticks(range(len(names)), names)
    left.set_ylim(len(names) - 0.4, -1.6)
    return figure


def _draw_points(
    axes: Axes, names: Sequence[str], values: Sequence[float], errors: Sequence[float], title: str
) -> None:
    for row, (name, value, error) in enumerate(zip(names, values, errors, strict=True)):
        color = SERIES[1] if name.startswith("miner") else SERIES[0]
        axes.errorbar(value, row, xerr=error or None, fmt="o", color=color, markersize=6, elinewidth=1.2, capsize=2.5)
        label_point(axes, f"{value:.1f}", (value, row), (0, 7), ha="center", fontsize=7.5)
    axes.set_title(title)
    axes.margins(x=0.12)
    axes.grid(axis="y", color="#EEEEEE", zorder=0)
