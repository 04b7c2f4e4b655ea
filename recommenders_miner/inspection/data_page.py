"""A data set on one page: when its impressions were, how long its histories are, what was shown and clicked."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recommenders_miner.datasets.columns import LAST_SECOND
from recommenders_miner.plots.style import (
    FAINT,
    INK,
    LABEL_BOX,
    SERIES,
    in_style,
    label_point,
    new_figure,
    save_figure,
    shorten,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from recommenders_miner.inspection.facts import Comparison, Distribution
    from recommenders_miner.inspection.report import DataReport, SplitReport

    Splits = Mapping[str, SplitReport]

MOST_FREQUENT, MOST_SPANS = 12, 1000
"""Categories, and spans of time, that are drawn at most."""

BARS, MARKED = 0.5, 10
"""The room that the bars of a row take, and the percent of the news whose showings are written out."""

_COLORS = {"train": SERIES[0], "dev": SERIES[1], "test": SERIES[2]}
_SHOWN, _CLICKED = SERIES[5], SERIES[4]
_SIZES = {"axes.titlesize": 10, "axes.labelsize": 8.5, "xtick.labelsize": 8, "ytick.labelsize": 8}
_LENGTHS = (
    ("log.history_length", "Histories (dashed: median)", "clicks in the history", "% of impressions"),
    ("log.candidates_per_impression", "Candidates", "candidates shown", "% of impressions"),
    ("news.title_words", "Titles", "words of the title", "% of news"),
)


def save_data_page(report: DataReport, path: str | Path) -> None:
    """Draw the splits of a data set that can be read, and write the page as PNG, and as SVG beside it."""
    with warnings.catch_warnings():
        # The font lacks most scripts of Asia. Boxes then stand for the names of categories, which the tables have too.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
        save_figure(draw_data_page(report), path)


@in_style
def draw_data_page(report: DataReport) -> Figure:
    """Draw the splits of a data set that can be read."""
    import matplotlib

    splits = {name: split for name, split in report.splits.items() if split.log is not None}
    impressions = ", ".join(f"{split.log.impressions:,} in {name}" for name, split in splits.items()) or "none"
    title = f"{report.folder.resolve().name} · impressions: {impressions} · {', '.join(report.counts())}"
    figure = new_figure(11, 9, title)
    if not splits:
        figure.text(0.5, 0.5, "No split can be read.", ha="center", fontsize=11, color=FAINT)
        return figure
    grid = figure.add_gridspec(3, 3, height_ratios=[0.8, 1, 1.35])
    with matplotlib.rc_context(_SIZES):
        _draw_time(figure.add_subplot(grid[0, :]), splits)
        for column, (measure, title, xlabel, ylabel) in enumerate(_LENGTHS):
            axes = figure.add_subplot(grid[1, column], title=title, xlabel=xlabel, ylabel=ylabel)
            _draw_lengths(axes, {name: attrgetter(measure)(split) for name, split in splits.items()})
        _draw_categories(figure.add_subplot(grid[2, 0]), splits)
        _draw_concentration(figure.add_subplot(grid[2, 1]), splits)
        _draw_unknown(figure.add_subplot(grid[2, 2]), report.beside_train)
    return figure


def _color(name: str) -> str:
    return _COLORS.get(name, SERIES[0])


def _draw_time(axes: Axes, splits: Splits) -> None:
    """Draw the impressions of each hour, or of longer spans where the log is long."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    hours = {name: split.log.hours for name, split in splits.items()}
    first, last = min(of.values[0] for of in hours.values()), max(of.values[-1] for of in hours.values())
    span = max(1, (last - first) // MOST_SPANS)
    edges = np.arange(first - span, last + 2 * span + 1, span)
    times = np.minimum(edges, LAST_SECOND // 3600).astype("datetime64[h]")  # matplotlib knows no later ones
    lines = [
        _draw_steps(axes, np.histogram(of.values, edges, weights=of.counts)[0] / span, times, name)
        for name, of in hours.items()
    ]
    locator = AutoDateLocator(minticks=4, maxticks=10)
    axes.xaxis.set_major_locator(locator)
    days = ["%Y", "%b", "%a %d", "%H:%M", "%H:%M", "%S"]
    zero_days = ["", "%Y", "%a %d %b", "%a %d", "%H:%M", "%H:%M"]
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, formats=days, zero_formats=zero_days))
    axes.set(title="Impressions", ylabel="an hour", xlim=times[[0, -1]])
    # Labels of the lines themselves, from a folder named "_logs", matplotlib would pass over.
    axes.legend(lines, list(splits), loc="upper left", ncols=len(splits))
    axes.xaxis.get_offset_text().set(fontsize=8, color=INK)


def _draw_steps(axes: Axes, heights: np.ndarray, edges: np.ndarray, name: str) -> Artist:
    """Draw a histogram of a split, from zero on, and return its outline."""
    axes.stairs(heights, edges, color=_color(name), alpha=0.2, fill=True)
    outline = axes.stairs(heights, edges, color=_color(name), linewidth=1.3)
    axes.set_ylim(bottom=0, auto=None)
    return outline


def _draw_lengths(axes: Axes, lengths: Mapping[str, Distribution]) -> None:
    """Draw how long something is: a curve a split, up to the percentile 99.5, and its median."""
    end = max(of.percentile(99.5) for of in lengths.values())
    width = max(1, round(end / 40))
    edges = np.arange(0, end + 2 * width, width)
    for name, of in lengths.items():
        bars, _ = np.histogram(of.values, edges, weights=of.counts)
        _draw_steps(axes, 100 * bars / of.total, edges, name)
        axes.axvline(of.percentile(50), color=_color(name), linewidth=1, linestyle=(0, (3, 2)))
    axes.set_xlim(0, edges[-1])


def _draw_categories(axes: Axes, splits: Splits) -> None:
    """Draw the share of the most frequent categories of the first split among news, showings and clicks."""
    split = next(iter(splits.values()))
    names = list(split.news.categories)[:MOST_FREQUENT]
    rows = np.arange(len(names))
    sources = [("news", split.news.categories, FAINT), ("shown", split.log.category_showings, _SHOWN)]
    if split.log.labelled:
        sources.append(("clicked", split.log.category_clicks, _CLICKED))
    shares = np.array(
        [[100 * counts.get(name, 0) / (sum(counts.values()) or 1) for name in names] for _, counts, _ in sources]
    )
    axes.hlines(rows, shares.min(axis=0), shares.max(axis=0), color="#DDDDDD", linewidth=2.5, zorder=1)
    for (title, _, color), values in zip(sources, shares, strict=True):
        axes.scatter(values, rows, s=26, color=color, label=title, zorder=2)
    axes.set_yticks(rows, [shorten(name or "(none)", 16) for name in names])
    axes.set(title=f"Categories of {split.name}", xlabel="% of all", xlim=(0, None), ylim=(len(names) - 0.4, -0.6))
    axes.legend(loc="lower right", handletextpad=0.1)


def _draw_concentration(axes: Axes, splits: Splits) -> None:
    """Draw what share of all showings the most shown news take, and mark it in the first split."""
    marked = None
    for name, split in splits.items():
        showings = split.log.showings
        news, shown = 100 * _ends(showings.counts), 100 * _ends(showings.counts * showings.values)
        axes.plot(news, shown, color=_color(name), linewidth=1.6)
        marked = np.interp(MARKED, news, shown) if marked is None else marked
    axes.plot(MARKED, marked, "o", color=INK, markersize=4)
    label_point(axes, f"{MARKED} % take {marked:.0f} %", (MARKED, marked), (9, -3), va="top", fontsize=8.5)
    axes.plot([0, 100], [0, 100], color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
    names = {"xlabel": "% of the news shown, the most shown first", "ylabel": "% of the showings"}
    axes.set(title="Popularity", xlim=(0, 100), ylim=(0, 102), **names)


def _ends(parts: np.ndarray) -> np.ndarray:
    """Return where parts of a whole that are laid one behind another end, from the last one on; 0 before, 1 behind."""
    return np.concatenate([[0], np.cumsum(parts[::-1])]) / parts.sum()


def _draw_unknown(axes: Axes, beside_train: Mapping[str, Comparison]) -> None:
    """Draw the shares of what train does not know, a bar a split."""
    axes.set(title="New to train", xlabel="% of the split")
    if not beside_train:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "nothing to compare with", ha="center", transform=axes.transAxes, fontsize=9, color=FAINT)
        return
    rows = {"candidates": "cold_candidates", "clicks": "cold_clicks", "users": "new_users"}
    height = BARS / len(beside_train)
    for place, (name, found) in enumerate(beside_train.items()):
        shares = np.array([100 * (getattr(found, field) or 0) for field in rows.values()])
        at = np.arange(len(rows)) - BARS / 2 + (place + 0.5) * height
        bars = axes.barh(at, shares, height=0.9 * height, color=_color(name), alpha=0.85)
        axes.bar_label(bars, [f"{share:.1f}" for share in shares], padding=3, fontsize=8, bbox=LABEL_BOX)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.margins(x=0.15)
