"""One user's history: what models recommend for it, what their interests attend to, and the reasons for a score."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from recommenders_miner.errors import RecommendersMinerError
from recommenders_miner.plots.style import (
    FAINT,
    INK,
    SERIES,
    category_box,
    category_colors,
    in_style,
    label_news,
    new_figure,
    shorten,
)

if TYPE_CHECKING:
    from recommenders_miner.explain import Explanation

TITLE_WIDTH = 56  # characters

# Of explanations, in inches. A panel is at least so wide that the candidate's title finds room above.
LABELS, SCALE, GAPS, INTEREST, INFLUENCE, PANEL, ALL_INTERESTS = 3.7, 0.8, 0.6, 0.22, 0.9, 2.1, 6.6
CLICK, LOWEST, BARS, MARGINS, SCALE_BAR = 0.21, 0.9, 0.45, 2.2, 0.13
CANDIDATE_CHARACTERS, TITLE_LINES = 14, 3
"""Characters of a candidate's title in an inch, and its lines."""


class Shown(NamedTuple):
    """An article in the plot, and whether the user clicked it."""

    category: str
    title: str
    clicked: bool = False


@in_style
def draw_case_study(history: Sequence[Shown], tops: Mapping[str, Sequence[Shown]], categories: Sequence[str]) -> Figure:
    """Draw the history, newest last, at the left, at the right by model its first articles, the clicked one marked.

    The categories are those of all news of the table, which fix the colours.
    """
    num_rows = max(len(history) + 1, sum(len(top) + 1.6 for top in tops.values()))
    figure = new_figure(11, 0.9 + 0.34 * num_rows, "What a user has clicked, and what two models recommend")
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
    axes.text(0, row, title, fontsize=10, fontweight="bold", va="center")
    axes.plot([0, 1], [row + 0.5, row + 0.5], color=FAINT, linewidth=0.6)
    for place, shown in enumerate(news, start=1):
        at, box, weight = row + place, category_box(colors[shown.category]), "bold" if shown.clicked else "normal"
        axes.text(0.21, at, shown.category, fontsize=8, va="center", ha="right", bbox=box)
        axes.text(0.235, at, shorten(shown.title, TITLE_WIDTH), fontsize=8.5, va="center", fontweight=weight)
        if shown.clicked:
            axes.text(0, at, "✓", fontsize=11, va="center", color="#117733", fontweight="bold")


@in_style
def draw_attention_maps(
    maps: Mapping[str, np.ndarray], titles: Sequence[str], history_categories: Sequence[str], categories: Sequence[str]
) -> Figure:
    """Draw a map of weights (K, M) for each model: a row a click, newest on top, a column an interest, on one scale.

    The M titles and categories of the history come newest last; the other categories are those of all news of the
    table, which fix the colours.
    """
    figure = new_figure(9, 1.6 + 0.3 * len(titles), "What each interest attends to")
    strongest = max(weights.max() for weights in maps.values())
    every_axes = figure.subplots(1, len(maps), sharey=True, squeeze=False)[0]
    for axes, (name, weights) in zip(every_axes, maps.items(), strict=True):
        image = axes.imshow(weights.T[::-1], cmap="cividis", vmin=0, vmax=strongest, aspect="auto")
        axes.set_title(name, loc="center")
        axes.set_xticks(range(len(weights)), range(1, len(weights) + 1))
        axes.set_xlabel("interest")
        axes.tick_params(length=0)
        axes.spines["left"].set_visible(False)
        for (row, column), value in np.ndenumerate(weights.T[::-1]):
            color = "white" if value < 0.6 * strongest else INK
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=color)
    label_news(every_axes[0], range(len(titles)), titles[::-1], history_categories[::-1], category_colors(categories))
    bar = figure.colorbar(image, ax=every_axes, fraction=0.04, label="share of attention")
    bar.outline.set_visible(False)
    return figure


@in_style
def draw_explanation(explanation: Explanation, categories: Iterable[str], candidates: int = 3) -> Figure:
    """Draw a panel for each of the best candidates, the clicks as rows, the newest on top.

    The columns of a panel are interests: their weights and scores above, their attention to the clicks below; to the
    right is each click's influence on the score. Of more interests than find room, those that add most are drawn.
    Where there is but one interest, weight and score are left out; where there is no attention, influence stands alone.
    The categories are those of the whole news table, which fix the colours.
    """
    if not explanation.history:
        raise RecommendersMinerError("The history is empty: there are no clicks to draw.")
    shown = explanation.best_first[:candidates]
    count = min(len(explanation.interest_names), int(ALL_INTERESTS / INTEREST / len(shown)))
    widths = {"influence": PANEL}
    if explanation.attention is not None:
        map_width = INTEREST * max(count, 2)
        widths = {"attention": map_width, "influence": max(INFLUENCE, PANEL - map_width)}
    heights = {"weight": BARS, "score": BARS} if count > 1 else {}
    map_height = max(CLICK * len(explanation.history), LOWEST)
    figure = new_figure(
        LABELS + (sum(widths.values()) + GAPS) * len(shown) + SCALE,
        MARGINS + sum(heights.values()) + map_height,
        f"The clicks behind the scores of {explanation.model}",
    )
    grid = figure.add_gridspec(
        len(heights) + 1,
        len(widths) * len(shown),
        height_ratios=[*heights.values(), map_height],
        width_ratios=[*widths.values()] * len(shown),
    )
    weights, scores, influence = explanation.interest_weights, explanation.interest_scores, explanation.influence
    lowest_row = []
    for rank, candidate in enumerate(shown, start=1):
        first = (rank - 1) * len(widths)
        above = {name: figure.add_subplot(grid[row, first]) for row, name in enumerate(heights)}
        below = {name: figure.add_subplot(grid[-1, first + column]) for column, name in enumerate(widths)}
        lowest_row += below.values()
        # The interests that add most, in their own order.
        interests = np.sort(np.argsort(-np.abs(explanation.contributions[candidate]), kind="stable")[:count])
        if above:
            _draw_bars(above["weight"], weights[candidate, interests], _limits(weights[shown]), SERIES[0])
            _draw_bars(above["score"], scores[candidate, interests], _limits(scores[shown]), SERIES[5])
        if explanation.attention is not None:
            names = [explanation.interest_names[k] for k in interests] if count > 1 else ["attention"]
            most = explanation.attention[shown].max()
            axes, shares = below["attention"], explanation.attention[candidate, interests, ::-1].T
            mesh = axes.pcolormesh(shares, cmap="cividis", vmin=0, vmax=most, edgecolors="white", linewidth=0.3)
            axes.set_xticks(np.arange(len(names)) + 0.5, names, rotation=90)
            axes.set_yticks([])
            axes.invert_yaxis()
            axes.tick_params(length=0, labelsize=8)
            axes.spines[:].set_visible(False)
        _draw_influence(below["influence"], influence[candidate, ::-1], _limits(influence[shown]))
        title = _title(explanation, candidate, rank, int(CANDIDATE_CHARACTERS * sum(widths.values())))
        next(iter((above | below).values())).set_title(title, fontsize=8.5)
        if rank == 1:
            for name, axes in above.items():
                axes.set_ylabel(name, fontsize=8.5)
            figure.align_ylabels([*above.values()])
    history = explanation.history[::-1]
    label_news(
        lowest_row[0],
        np.arange(len(history)) + 0.5,
        [explanation.titles[news_id] for news_id in history],
        [explanation.categories[news_id] for news_id in history],
        category_colors(categories),
    )
    if explanation.attention is not None:
        scale = figure.colorbar(
            mesh,
            ax=lowest_row,
            aspect=map_height / SCALE_BAR,
            pad=0.02,
            format=lambda share, _: f"{100 * share:.0f} %",
        )
        scale.set_label("attention", fontsize=8.5)
        scale.ax.tick_params(length=0, labelsize=8)
        scale.outline.set_visible(False)
    return figure


def _title(explanation: Explanation, candidate: int, rank: int, width: int) -> str:
    """Return rank, score and title of a candidate, in lines of so many characters."""
    news_id = explanation.candidates[candidate]
    title = f"{explanation.categories[news_id]} · {explanation.titles[news_id]}"
    lines = textwrap.wrap(title, width, max_lines=TITLE_LINES, placeholder=" …")
    mark = "  ✓ clicked" if explanation.clicked(candidate) else ""
    head = f"{rank}.  score {explanation.scores[candidate]:.3f}{mark}"
    # Blank lines let the titles of all panels begin at one height.
    return "\n".join([head, *lines, *[""] * (TITLE_LINES - len(lines))])


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Return the ends of an axis that shows the values of all panels, and zero."""
    low, high = min(values.min(), 0), max(values.max(), 0)
    margin = 0.05 * (high - low) or 1
    return low - margin, high + margin


def _draw_bars(axes: Axes, values: np.ndarray, limits: tuple[float, float], color: str) -> None:
    """Draw a bar above each interest's column."""
    axes.bar(np.arange(len(values)) + 0.5, values, width=0.7, color=color)
    axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.set_xlim(0, len(values))
    axes.set_ylim(limits)
    axes.set_xticks([])
    axes.locator_params(axis="y", nbins=2)
    axes.tick_params(labelsize=7.5)


def _draw_influence(axes: Axes, influence: np.ndarray, limits: tuple[float, float]) -> None:
    """Draw what the score would lose without each click, the newest on top."""
    rows = np.arange(len(influence)) + 0.5
    axes.barh(rows, influence, height=0.7, color=np.where(influence >= 0, SERIES[2], SERIES[1]))
    axes.axvline(0, color=FAINT, linewidth=0.8)
    axes.set_xlim(limits)
    axes.set_ylim(len(influence), 0)
    axes.set_yticks([])
    axes.locator_params(axis="x", nbins=3)
    axes.set_xlabel("influence", fontsize=8.5)
    axes.tick_params(labelsize=7.5)
    axes.spines["left"].set_visible(False)
