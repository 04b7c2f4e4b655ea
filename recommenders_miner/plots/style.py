"""What all plots share: size, ink, colours that the colour-blind can tell apart, and how they are written."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from recommenders_miner.storage import atomic_write

INK, FAINT = "#333333", "#8A8A8A"

SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours of lines and bars: Okabe and Ito's palette, which stays distinct under colour blindness and in grey."""

_CATEGORIES = (
    *("#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499"),
    *("#77AADD", "#99DDFF", "#BBCC33", "#AAAA00", "#EEDD88", "#EE8866", "#FFAABB", "#44BB99", "#BBBBBB"),
)
"""Paul Tol's schemes `muted` and `light`; see https://sronpersonalpages.nl/~pault/."""

DASHED = {"color": FAINT, "linestyle": (0, (4, 3)), "linewidth": 1, "zorder": 0.5}
LABEL_BOX = {"facecolor": "white", "edgecolor": "none", "pad": 1}
"""Keeps lines from running through a label."""

in_style = matplotlib.rc_context(
    {
        "figure.dpi": 160,
        "figure.titlesize": 12,
        "figure.titleweight": "bold",
        "figure.constrained_layout.use": True,
        "figure.constrained_layout.w_pad": 0.08,
        "figure.constrained_layout.h_pad": 0.08,
        "font.size": 9,
        "text.color": INK,
        "text.parse_math": False,  # categories and folders are named by users: "$" is a dollar
        "axes.titlesize": 9.5,
        "axes.titlelocation": "left",
        "axes.labelsize": 9,
        "axes.labelcolor": INK,
        "axes.edgecolor": FAINT,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        **{f"{axis}tick.color": FAINT for axis in "xy"},
        **{f"{axis}tick.labelcolor": INK for axis in "xy"},
        **{f"{axis}tick.labelsize": 9 for axis in "xy"},
        **{f"{axis}tick.major.size": 3 for axis in "xy"},
    }
)
"""Lets a function draw in the look that all plots share: of a frame, what reads its values is left, two axes."""


@in_style
def new_figure(width: float, height: float, title: str = "") -> Figure:
    """Make a figure of a size in inches, to be drawn on without pyplot and its global state, its title at the left."""
    figure = Figure(figsize=(width, height))
    if title:
        figure.suptitle(title, x=0.02, ha="left")
    return figure


@in_style
def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a plot as PNG and, beside it, as SVG, under the path's name, with or without one of these endings."""
    path = Path(path)
    path = path.with_suffix("") if path.suffix in (".png", ".svg") else path
    # The same plot gives the same bytes: no date, and ids that do not come from chance.
    with matplotlib.rc_context({"svg.hashsalt": path.name, "svg.fonttype": "path"}):
        for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
            with atomic_write(path.with_name(path.name + suffix)) as temporary:
                figure.savefig(temporary, format=suffix[1:], metadata=metadata)


def category_colors(categories: Iterable[str]) -> dict[str, str]:
    """Give each category a colour, the most frequent ones those that are easiest told apart.

    Categories are of all news of a table, so that every plot of its news has the same colours. Beyond 18 categories,
    colours repeat, so plots name the category too.
    """
    counts = Counter(categories)
    names = sorted(counts, key=lambda name: (-counts[name], name))
    return {name: _CATEGORIES[place % len(_CATEGORIES)] for place, name in enumerate(names)}


def category_box(color: str) -> dict[str, Any]:
    """Return what a text on its category's colour stands in."""
    return {"boxstyle": "round,pad=0.2", "facecolor": color, "edgecolor": "none", "alpha": 0.45}


def shorten(text: str, width: int) -> str:
    """Cut a text to at most `width` characters, between words where it can, an ellipsis behind."""
    if len(text) <= width:
        return text
    return textwrap.shorten(text, width, placeholder="…") if " " in text[:width] else text[: width - 1] + "…"


def label_point(axes: Axes, text: str, point: tuple[float, float], offset: tuple[float, float], **options: Any) -> None:
    """Write a text beside a point, so many points of type to the right and above."""
    axes.annotate(text, point, xytext=offset, textcoords="offset points", bbox=LABEL_BOX, **options)


def label_rows(axes: Axes, rows: Sequence[float], names: Sequence[str], **options: Any) -> None:
    """Name the rows of a plot at its left, without an axis."""
    axes.set_yticks(rows, names, **options)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def label_news(
    axes: Axes, rows: Sequence[float], titles: Sequence[str], categories: Sequence[str], colors: Mapping[str, str]
) -> None:
    """Name the articles that rows of a plot stand for: title, shortened, and category, in the category's colour."""
    labels = [f"{shorten(title, 50)}  ({category})" for title, category in zip(titles, categories, strict=True)]
    label_rows(axes, rows, labels, fontsize=8)
    for label, category in zip(axes.get_yticklabels(), categories, strict=True):
        label.set_bbox(category_box(colors[category]))
