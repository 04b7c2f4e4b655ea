"""One reader's history, and what systems put on top of the same impression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recommenders_miner.plots.style import FAINT, INK, category_colors, headline, new_figure, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLE_WIDTH = 56  # characters


@dataclass(frozen=True)
class Shown:
    """A news in the picture.

    Attributes:
        category: its category.
        title: its title.
        clicked: whether the reader clicked it.
    """

    category: str
    title: str
    clicked: bool = False


def draw_case_study(history: Sequence[Shown], tops: Mapping[str, Sequence[Shown]], categories: Sequence[str]) -> Figure:
    """Draws the history at the left, the systems' lists at the right, the clicked news marked.

    Args:
        history: the clicked news, newest last.
        tops: by system, its first news, best first.
        categories: those of all news of the table, which fix the colours.
    """
    rows_right = sum(len(top) + 1.6 for top in tops.values())
    num_rows = max(len(history) + 1, rows_right)
    figure = new_figure(11, 0.9 + 0.34 * num_rows)
    headline(figure, "What a reader has clicked, and what two systems recommend")
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
    axes.text(0, row, title, fontsize=10, fontweight="bold", va="center", color=INK)
    for place, shown in enumerate(news, start=1):
        color = colors[shown.category]
        axes.text(
            0.21, row + place, shown.category, fontsize=8, va="center", ha="right", color=INK,
            bbox={"boxstyle": "round,pad=0.25", "facecolor": color, "edgecolor": "none", "alpha": 0.45},
        )  # fmt: skip
        axes.text(
            0.235, row + place, shorten(shown.title, TITLE_WIDTH), fontsize=8.5, va="center",
            color=INK, fontweight="bold" if shown.clicked else "normal",
        )  # fmt: skip
        if shown.clicked:
            axes.text(0.0, row + place, "✓", fontsize=11, va="center", color="#117733", fontweight="bold")
    axes.plot([0, 1], [row + 0.5, row + 0.5], color=FAINT, linewidth=0.6)
