"""The bar chart of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recommenders_miner.plots.style import (
    FAINT,
    INK,
    LABEL_BOX,
    SERIES,
    headline,
    new_figure,
    plain_axes,
    save_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEST, OTHERS = SERIES[0], SERIES[5]

WIDTH_INCHES = 7.5
ROW_INCHES = 0.36  # of a bar or of a label above the bars; one unit of the vertical axis


def draw_auc(
    path: Path,
    bars: Sequence[tuple[str, float, float]],
    lines: Sequence[tuple[str, float]],
    title: str,
    whiskers: str = "standard error",
) -> None:
    """Draws trained models as horizontal bars, best on top, and floors and ceilings as dashed lines.

    The axis does not begin at 0: it runs from just below the lowest floor to just above the highest ceiling,
    the range in which a model can lie.

    Args:
        path: the PNG file to write; an SVG stands beside it.
        bars: name, AUC and its uncertainty of each trained model, both figures times 100.
        lines: name and AUC times 100 of each floor or ceiling.
        title: the title of the figure.
        whiskers: what the uncertainty is.
    """
    bars = sorted(bars, key=lambda bar: bar[1])
    values = [50.0, *(value for _, value, _ in bars), *(value for _, value in lines)]
    margin = max(0.04 * (max(values) - min(values)), 1)
    centre = (min(values) + max(values)) / 2
    floors = sorted((line for line in lines if line[1] < centre), key=lambda line: -line[1])
    ceilings = sorted((line for line in lines if line[1] >= centre), key=lambda line: line[1])
    num_rows = len(bars) + len(floors) + len(ceilings)

    figure = new_figure(WIDTH_INCHES, 1.2 + ROW_INCHES * num_rows)
    headline(figure, title)
    axes = figure.add_subplot()
    axes.set_xlim(min(values) - margin, max(values) + margin)
    axes.set_ylim(-0.6, num_rows - 0.4)
    _draw_bars(axes, bars)
    _draw_lines(axes, floors, label_row=len(bars), align="left")
    _draw_lines(axes, ceilings, label_row=len(bars) + len(floors), align="right")

    axes.set_yticks(range(len(bars)), [name for name, _, _ in bars])
    axes.set_xlabel(f"AUC, % (whiskers: one {whiskers})", fontsize=9, color=INK)
    plain_axes(axes)
    axes.tick_params(axis="y", length=0, labelsize=10)
    axes.spines["left"].set_visible(False)
    save_figure(figure, path)


def _draw_bars(axes: Axes, bars: Sequence[tuple[str, float, float]]) -> None:
    """Draws bars from the bottom up, each with its value behind its end."""
    left = axes.get_xlim()[0]
    for row, (_, value, error) in enumerate(bars):
        is_best = value == bars[-1][1]
        axes.barh(row, value - left, left=left, height=0.66, color=BEST if is_best else OTHERS)
        if error:
            axes.errorbar(value, row, xerr=error, color=INK, elinewidth=1, capsize=2.5, capthick=1)
        axes.annotate(
            f"{value:.2f}",
            (value + error, row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center_baseline",
            fontsize=9.5,
            fontweight="bold" if is_best else "normal",
            color=INK,
            bbox=LABEL_BOX,
        )


def _draw_lines(axes: Axes, lines: Sequence[tuple[str, float]], label_row: int, align: str) -> None:
    """Draws dashed lines, the innermost first, each up to its label above the bars.

    Labels run inwards from their lines, one row higher each and in no row with another, so that nothing crosses them.
    """
    for row, (name, value) in enumerate(lines, start=label_row):
        axes.vlines(value, -0.6, row + 0.3, color=FAINT, linestyle=(0, (4, 3)), linewidth=1, zorder=0.5)
        label = f" {name} {value:.2f} "
        axes.text(value, row, label, ha=align, va="center_baseline", fontsize=9, style="italic", color=INK)
