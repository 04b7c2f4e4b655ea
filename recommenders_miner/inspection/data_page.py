"""A data set on one page: when its impressions were, how long its histories are, what was shown and clicked."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recommenders_miner.plots.style import FAINT, INK, SERIES, in_style, label_point, new_figure, save_figure, shorten

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from recommenders_miner.inspection.facts import Distribution, LogFacts, SplitReport
    from recommenders_miner.inspection.report import DataReport

MOST_FREQUENT, MOST_SPANS = 12, 1000
"""Categories, and spans of time, that are drawn at most."""

BARS, MARKED = 0.5, 10
"""The room that the bars of a row take, and the percent of the news whose showings are written out."""

_LATEST_HOUR = np.datetime64("9999-12-31T23").astype(int)
"""Dates of matplotlib end with the year 9999."""

_COLORS = {"train": SERIES[0], "dev": SERIES[1], "test": SERIES[2]}
_SHOWN, _CLICKED = SERIES[5], SERIES[4]


def save_data_page(report: DataReport, path: str | Path) -> None:
    """Draw the splits of a data set that can be read, and write the page as PNG and as SVG.

    Args:
        report: of the data set.
        path: the PNG's name; the SVG stands beside it.
    """
    with warnings.catch_warnings():
        # The font lacks most scripts of Asia. Boxes then stand for the names of categories, which the tables have too.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
        save_figure(draw_data_page(report), path)


@in_style
def draw_data_page(report: DataReport) -> Figure:
    """Draw the splits of a data set that can be read."""
    splits = {name: split for name, split in report.splits.items() if split.log is not None}
    logs = {name: split.log for name, split in splits.items()}
    figure = new_figure(11, 9, _title(report, logs))
    if not splits:
        figure.text(0.5, 0.5, "No split can be read.", ha="center", fontsize=11, color=FAINT)
        return figure
    grid = figure.add_gridspec(3, 3, height_ratios=[0.8, 1, 1.35])
    places = [grid[0, :], *(grid[row, column] for row in (1, 2) for column in range(3))]
    panels = [figure.add_subplot(place) for place in places]
    for axes in panels:
        axes.tick_params(labelsize=8)
    time, histories, candidates, titles, category, concentration, unknown = panels
    _draw_time(time, logs)
    _draw_lengths(histories, splits, lambda split: split.log.history_length)
    _draw_lengths(candidates, splits, lambda split: split.log.candidates_per_impression)
    _draw_lengths(titles, splits, lambda split: split.news.title_words)
    name, first = next(iter(splits.items()))
    _draw_categories(category, first)
    _draw_concentration(concentration, logs)
    _draw_unknown(unknown, report)
    _name(time, "Impressions", "", "an hour")
    _name(histories, "Histories (dashed: median)", "clicks in the history", "% of impressions")
    _name(candidates, "Candidates", "candidates shown", "% of impressions")
    _name(titles, "Titles", "words of the title", "% of news")
    _name(category, f"Categories of {name}", "% of all", "")
    _name(concentration, "Popularity", "% of the news shown, the most shown first", "% of the showings")
    _name(unknown, "New to train", "% of the split", "")
    return figure


def _name(axes: Axes, title: str, xlabel: str, ylabel: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(xlabel, fontsize=8.5)
    axes.set_ylabel(ylabel, fontsize=8.5)


def _title(report: DataReport, logs: Mapping[str, LogFacts]) -> str:
    impressions = ", ".join(f"{log.impressions:,} in {name}" for name, log in logs.items()) or "none"
    findings = (
        f"{len(found) or 'no'} {kind}{'' if len(found) == 1 else 's'}"
        for kind, found in (("error", report.errors), ("warning", report.warnings))
    )
    return f"{report.folder.resolve().name} · impressions: {impressions} · {', '.join(findings)}"


def _color(name: str) -> str:
    return _COLORS.get(name, SERIES[0])


# === The panels ===


def _draw_time(axes: Axes, logs: Mapping[str, LogFacts]) -> None:
    """Draw the impressions of each hour, or of longer spans where the log is long."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    first, last = (end(log.hours.values[k] for log in logs.values()) for end, k in ((min, 0), (max, -1)))
    span = max(1, (last - first) // MOST_SPANS)
    edges = np.unique(np.minimum(np.arange(first - span, last + 2 * span + 1, span), _LATEST_HOUR))
    times = edges.astype("datetime64[h]")
    lines = []
    for name, log in logs.items():
        counts = np.histogram(log.hours.values, edges, weights=log.hours.counts)[0] / span
        lines.append(_draw_steps(axes, counts, times, name))
    locator = AutoDateLocator(minticks=4, maxticks=10)
    axes.xaxis.set_major_locator(locator)
    days = ["%Y", "%b", "%a %d", "%H:%M", "%H:%M", "%S"]
    axes.xaxis.set_major_formatter(
        ConciseDateFormatter(locator, formats=days, zero_formats=["", "%Y", "%a %d %b", "%a %d", "%H:%M", "%H:%M"])
    )
    axes.set_xlim(*times[[0, -1]])
    # Labels of the lines themselves, from a folder named "_logs", matplotlib would pass over.
    axes.legend(lines, list(logs), loc="upper left", ncols=len(logs))
    axes.xaxis.get_offset_text().set(fontsize=8, color=INK)


def _draw_steps(axes: Axes, heights: np.ndarray, edges: np.ndarray, name: str) -> Artist:
    """Draw a histogram of a split, from zero on, and return its outline."""
    axes.stairs(heights, edges, color=_color(name), alpha=0.2, fill=True)
    outline = axes.stairs(heights, edges, color=_color(name), linewidth=1.3)
    axes.set_ylim(bottom=0)
    return outline


def _draw_lengths(axes: Axes, splits: Mapping[str, SplitReport], take: Callable[[SplitReport], Distribution]) -> None:
    """Draw how long something is: a curve a split, up to the percentile 99.5, and its median."""
    end = max(take(split).percentile(99.5) for split in splits.values())
    width = max(1, round(end / 40))
    edges = np.arange(0, end + 2 * width, width)
    for name, split in splits.items():
        lengths = take(split)
        bars, _ = np.histogram(lengths.values, edges, weights=lengths.counts)
        _draw_steps(axes, 100 * bars / lengths.total, edges, name)
        axes.axvline(lengths.percentile(50), color=_color(name), linewidth=1, linestyle=(0, (3, 2)))
    axes.set_xlim(0, edges[-1])


def _draw_categories(axes: Axes, split: SplitReport) -> None:
    """Draw the share of the most frequent categories among news, showings and clicks."""
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
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.legend(loc="lower right", handletextpad=0.1)


def _draw_concentration(axes: Axes, logs: Mapping[str, LogFacts]) -> None:
    """Draw what share of all showings the most shown news take."""
    for name, log in logs.items():
        news, showings = _ends(log.showings.counts), _ends(log.showings.counts * log.showings.values)
        axes.plot(100 * news, 100 * showings, color=_color(name), linewidth=1.6)
    counts = next(iter(logs.values())).showings
    take = np.interp(MARKED, 100 * _ends(counts.counts), 100 * _ends(counts.counts * counts.values))
    axes.plot(MARKED, take, "o", color=INK, markersize=4)
    label_point(axes, f"{MARKED} % take {take:.0f} %", (MARKED, take), (9, -3), va="top", fontsize=8.5)
    axes.plot([0, 100], [0, 100], color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 102)


def _ends(parts: np.ndarray) -> np.ndarray:
    """Return where parts of a whole that are laid one behind another end, from the last one on; 0 before, 1 behind."""
    return np.concatenate([[0], np.cumsum(parts[::-1])]) / parts.sum()


def _draw_unknown(axes: Axes, report: DataReport) -> None:
    """Draw the shares of what train does not know, a bar a split."""
    if not report.beside_train:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "nothing to compare with", ha="center", transform=axes.transAxes, fontsize=9, color=FAINT)
        return
    rows = {"candidates": "cold_candidates", "clicks": "cold_clicks", "users": "new_users"}
    height = BARS / len(report.beside_train)
    for place, (name, found) in enumerate(report.beside_train.items()):
        shares = np.array([100 * (getattr(found, field) or 0) for field in rows.values()])
        at = np.arange(len(rows)) - BARS / 2 + (place + 0.5) * height
        axes.barh(at, shares, height=0.9 * height, color=_color(name), alpha=0.85)
        for x, y in zip(shares, at, strict=True):
            label_point(axes, f"{x:.1f}", (x, y), (3, 0), va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.margins(x=0.15)
