"""What all figures share: size, ink, colours that the colour-blind can tell apart, and how they are written."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recommenders_miner.storage import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT = "#333333", "#8A8A8A"

LABEL_BOX = {"facecolor": "white", "edgecolor": "none", "pad": 1}
"""Keeps lines from running through a label."""

SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours of lines and bars: Okabe and Ito's palette, which stays distinct under colour blindness and in grey."""

_CATEGORIES = (
    *("#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499"),
    *("#77AADD", "#99DDFF", "#BBCC33", "#AAAA00", "#EEDD88", "#EE8866", "#FFAABB", "#44BB99", "#BBBBBB"),
)
"""Paul Tol's schemes `muted` and `light`; see https://sronpersonalpages.nl/~pault/."""


def category_colors(categories: Iterable[str]) -> dict[str, str]:
    """Gives each category a colour, the most frequent ones those that are easiest told apart.

    Args:
        categories: of all news of a table, so that every figure of its news has the same colours. Beyond 18 categories,
            colours repeat, so figures name the category too.
    """
    counts = Counter(categories)
    names = sorted(counts, key=lambda name: (-counts[name], name))
    return {name: _CATEGORIES[place % len(_CATEGORIES)] for place, name in enumerate(names)}


def shorten(text: str, width: int) -> str:
    """Cuts a text to at most `width` characters, between words where it can, an ellipsis behind."""
    if len(text) <= width:
        return text
    return textwrap.shorten(text, width, placeholder="…") if " " in text[:width] else text[: width - 1] + "…"


def new_figure(width: float, height: float) -> Figure:
    """Makes a figure of a size in inches, to be drawn on without pyplot and its global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    return figure


def headline(figure: Figure, title: str) -> None:
    """Sets the title of a figure, at its left."""
    figure.suptitle(title, x=0.02, ha="left", fontsize=12, fontweight="bold", color=INK)


def label_news(
    axes: Axes, rows: Sequence[float], titles: Sequence[str], categories: Sequence[str], colors: Mapping[str, str]
) -> None:
    """Writes news beside the rows of a plot: a title, shortened, and its category, in the category's colour.

    Args:
        axes: the plot.
        rows: where on its vertical axis each news stands.
        titles: of the news.
        categories: of the news.
        colors: from `category_colors`.
    """
    labels = [f"{shorten(title, 50)}  ({category})" for title, category in zip(titles, categories, strict=True)]
    axes.set_yticks(rows, labels, fontsize=8, color=INK)
    axes.tick_params(axis="y", length=0)
    for label, category in zip(axes.get_yticklabels(), categories, strict=True):
        box = {"boxstyle": "round,pad=0.15", "facecolor": colors[category], "edgecolor": "none", "alpha": 0.45}
        label.set_bbox(box)


def label_above(axes: Axes, text: str, x: float, y: float, fontsize: float) -> None:
    """Writes a text above a point."""
    axes.annotate(
        text,
        (x, y),
        xytext=(0, 7),
        textcoords="offset points",
        ha="center",
        fontsize=fontsize,
        color=INK,
        bbox=LABEL_BOX,
    )


def plain_axes(axes: Axes) -> None:
    """Leaves of the frame of a plot what reads its values: the left and the lower axis."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(labelsize=9, colors=FAINT, labelcolor=INK, length=3)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Writes a figure as PNG and as SVG.

    Args:
        figure: what to write.
        path: the PNG's name; the SVG stands beside it.
    """
    import matplotlib

    path = Path(path)
    # The same figure gives the same bytes: no date, and ids that do not come from chance.
    with matplotlib.rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "path"}):
        for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
            with atomic_write(path.with_suffix(suffix)) as temporary:
                figure.savefig(temporary, format=suffix[1:], metadata=metadata)
