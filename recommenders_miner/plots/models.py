"""All systems on two data sets, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from recommenders_miner.plots.style import (
    FAINT,
    INK,
    LABEL_BOX,
    SERIES,
    headline,
    label_above,
    new_figure,
    plain_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW_INCHES = 0.3


def draw_systems(
    names: Sequence[str],
    here: Sequence[float],
    here_errors: Sequence[float],
    paper: Sequence[float],
    here_title: str,
    lines: Mapping[str, float],
) -> Figure:
    """Draws the AUC of systems here, with its spread, beside the paper's; MINER's forms in a colour of their own.

    Args:
        names: of the systems, in the order of the table, from top to bottom.
        here: AUC of each in percent.
        here_errors: half the length of its whisker.
        paper: AUC of each in the paper, in percent.
        here_title: what `here` was measured on.
        lines: name and AUC in percent of floors and ceilings.
    """
    figure = new_figure(8.5, 1.6 + ROW_INCHES * len(names))
    headline(figure, "AUC, %")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, values, errors, title in (
        (left, here, here_errors, f"here: {here_title}"),
        (right, paper, None, "in the paper: MIND-small"),
    ):
        for row, (name, value) in enumerate(zip(names, values, strict=True)):
            color = SERIES[1] if name.startswith("miner") else SERIES[0]
            axes.plot(value, row, "o", color=color, markersize=6, zorder=3)
            label_above(axes, f"{value:.1f}", value, row, fontsize=7.5)
            if errors is not None and errors[row]:
                axes.errorbar(value, row, xerr=errors[row], color=color, elinewidth=1.2, capsize=2.5, zorder=2)
        axes.set_title(title, fontsize=9.5, loc="left", color=INK)
        axes.margins(x=0.12)
        axes.grid(axis="y", color="#EEEEEE", zorder=0)
        plain_axes(axes)
    _draw_lines(left, lines)
    left.set_yticks(range(len(names)), names)
    left.set_ylim(len(names) - 0.4, -1.6)
    return figure


def _draw_lines(axes: Axes, lines: Mapping[str, float]) -> None:
    """Draws floors and ceilings, their names above the systems."""
    for name, value in lines.items():
        axes.axvline(value, color=FAINT, linestyle=(0, (4, 3)), linewidth=1, zorder=0.5)
        axes.text(
            value, -1.2, name, ha="center", fontsize=7.5, style="italic", color=INK, bbox=LABEL_BOX, clip_on=False
        )
