"""Effects and how sure one can be of their sign."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from recommenders_miner.plots.style import FAINT, INK, SERIES, headline, label_above, new_figure, plain_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_effects(
    names: Sequence[str], effects: Sequence[float], standard_errors: Sequence[float], xlabel: str, title: str
) -> Figure:
    """Draws each effect as a point with a whisker of two standard errors to either side, beside a line at zero.

    Args:
        names: of the effects, from top to bottom.
        effects: their sizes.
        standard_errors: of the sizes.
        xlabel: what the sizes are.
        title: of the figure.
    """
    figure = new_figure(7.5, 1.3 + 0.55 * len(names))
    headline(figure, title)
    axes = figure.add_subplot()
    axes.axvline(0, color=FAINT, linewidth=1)
    for row, (effect, error) in enumerate(zip(effects, standard_errors, strict=True)):
        axes.errorbar(effect, row, xerr=2 * error, fmt="o", color=SERIES[0], markersize=7, elinewidth=1.5, capsize=4)
        label_above(axes, f"{effect:+.2f}".replace("-", "\N{MINUS SIGN}"), effect, row, fontsize=9)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.6)
    axes.margins(x=0.1)
    axes.set_xlabel(xlabel, fontsize=9, color=INK)
    plain_axes(axes)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure
