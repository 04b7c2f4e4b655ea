"""What a policy costs: accuracy against diversity and exposure along the dial of its reranker, on a log with clicks."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recommenders_miner.data.ragged import Ragged
from recommenders_miner.evaluation.beyond_accuracy import BeyondAccuracy, ranked_lists
from recommenders_miner.evaluation.metrics import Evaluation, list_metrics
from recommenders_miner.evaluation.normative import COLUMNS, Normative, mean_of_lists
from recommenders_miner.evaluation.user_groups import UserGroups
from recommenders_miner.experiments.columns import Column, columns_read, in_percent
from recommenders_miner.plots.charts import draw_tradeoff
from recommenders_miner.plots.style import save_figure, shorten
from recommenders_miner.reranking import Plan
from recommenders_miner.reranking.offline import arrange_log, distinct_candidates
from recommenders_miner.storage import atomic_write
from recommenders_miner.tables import markdown_table

if TYPE_CHECKING:
    from recommenders_miner.data.log import ImpressionLog
    from recommenders_miner.data.news import NewsTable

DIALS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
ALONE = "model alone"
_ACCURACY = ("ndcg", "clicks")
_SHOWN = (*_ACCURACY, *COLUMNS, "calibration", "ild", "novelty")
_PRICE = 0.01
"""How much nDCG the table says the worth of: one point."""


@dataclass(frozen=True)
class Point:
    """The lists of one setting: what they are like, and by how much they differ from those of the model alone.

    `values` are the metrics of each impression's list; `difference` has their mean differences and the errors of these,
    impression by impression.
    """

    name: str
    dial: float | None
    evaluation: Evaluation
    difference: Evaluation
    values: Mapping[str, np.ndarray] = field(repr=False)


def tradeoff(
    plan: Plan,
    scores: np.ndarray,
    log: ImpressionLog,
    news: NewsTable,
    training_log: ImpressionLog,
    training_news: NewsTable,
    dials: Sequence[float] = DIALS,
    k: int = 10,
    by: Sequence[str] = (),
    seed: int = 42,
    progress: Callable[[float], None] | None = None,
) -> Tradeoff:
    """Put each impression's candidates in the order of a policy, once for each setting of its reranker's dial.

    Args:
        plan: of the policy, for the rows of `news`; the policy's own dial joins the others, and without a reranker
            there is no dial to turn.
        scores: (candidates,), a model's.
        log: the log that is evaluated on, with clicks.
        news: its table.
        training_log: the log that the model was trained on.
        training_news: its table.
        dials: strengths of the reranker, from 0 to 1.
        k: how long the lists are.
        by: groups of users that the policy is reported by, as `UserGroups.find` takes them.
        seed: of what a policy draws at random, and of fragmentation's pairs.
        progress: told the share that is done, now and then.

    Raises:
        DataFormatError: the log has no click with a non-click beside it, or there is no such group of users.
    """
    log.require("evaluate on")
    policy = plan.policy
    groups = {name: UserGroups.find(name, log) for name in by}
    beyond = BeyondAccuracy.fit(log, news, training_log, training_news, k=k)
    normative = Normative.fit(log, news, training_log, training_news, k=k, seed=seed)
    turned = sorted({*dials, policy.rerank.dial}) if policy.rerank else [None]
    places = distinct_candidates(log, scores)

    def lists() -> Iterator[tuple[str, float | None, Ragged]]:
        yield ALONE, None, ranked_lists(places, scores[places.values])
        for done, dial in enumerate(turned):
            name = "policy" if dial is None else f"{dial:g}"
            share = (lambda part, done=done: progress((done + part) / len(turned))) if progress else None
            yield name, dial, _arranged(plan, scores, log, places, k, dial, seed, share)

    points: list[Point] = []
    for name, dial, slots in lists():
        listed = Ragged(log.candidates.values[slots.values], slots.offsets)
        values = list_metrics(slots, log, k) | normative.by_list(listed) | beyond.by_list(listed)
        evaluation = mean_of_lists(values, log.has_both)
        everywhere = normative.exposure(listed) | {f"coverage@{k}": beyond.coverage(listed)}
        evaluation = replace(evaluation, metrics=evaluation.metrics | everywhere)
        alone = points[0].values if points else values
        differences = {metric: column - alone[metric] for metric, column in values.items()}
        points.append(Point(name, dial, evaluation, mean_of_lists(differences, log.has_both), values))
    own = policy.rerank.dial if policy.rerank else None
    at_own = next(point for point in points[1:] if point.dial == own)
    by_group = {
        name: {point.name: group.evaluate(point.values) for point in (points[0], at_own)}
        for name, group in groups.items()
    }
    return Tradeoff(policy.name, k, len(log), points, normative.columns, own, by_group, plan.warnings)


def _arranged(
    plan: Plan,
    scores: np.ndarray,
    log: ImpressionLog,
    places: Ragged,
    k: int,
    dial: float | None,
    seed: int,
    progress: Callable[[float], None] | None,
) -> Ragged:
    """Arrange a list for every impression; return where its articles stand among the candidates of the log."""
    orders = []
    for impression, listing in enumerate(arrange_log(plan, log, scores, k, seed=seed, dial=dial)):
        orders.append(places[impression][listing.order])
        if progress and impression % 100 == 0:
            progress(impression / len(log))
    return Ragged.of_lists(orders, "int64")


@dataclass(frozen=True)
class Tradeoff:
    """The price list of a policy: the model alone, then the policy at each setting of its dial.

    Attributes:
        policy: its name.
        k: how long the lists are.
        num_impressions: how many there are.
        points: the settings, the model alone first.
        columns: what RADio's metrics read, by metric.
        own_dial: the setting in the policy's file; None where it has no reranker.
        by_group: by what users are grouped, of the model alone and of the policy as its file has it, group by group.
        warnings: values in the policy that no article has, in sentences.
    """

    policy: str
    k: int
    num_impressions: int
    points: Sequence[Point]
    columns: Mapping[str, str]
    own_dial: float | None
    by_group: Mapping[str, Mapping[str, Mapping[str, Evaluation]]] = field(default_factory=dict)
    warnings: Sequence[str] = ()

    def write(self, out: Path, about: Mapping[str, Any]) -> None:
        """Write tradeoff.json, which `about` joins, tradeoff.md, and the charts as PNG and SVG, into a folder."""
        document = {**about, **self.to_json()}
        as_json = json.dumps(document, indent=1, allow_nan=False) + "\n"
        for name, text in (("tradeoff.json", as_json), ("tradeoff.md", self.to_markdown(about))):
            with atomic_write(out / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
        for metric, name in zip(_ACCURACY, ("tradeoff.png", "tradeoff-clicks.png"), strict=True):
            save_figure(self.draw(f"{metric}@{self.k}"), out / name)

    def to_json(self) -> dict[str, Any]:
        """Give everything as plain values; a standard error that is not known is missing."""
        return {
            "policy": self.policy,
            "k": self.k,
            "num_impressions": self.num_impressions,
            "columns": dict(self.columns),
            "own_dial": self.own_dial,
            "warnings": list(self.warnings),
            "points": [
                {
                    "name": point.name,
                    "dial": point.dial,
                    **_figures(point.evaluation),
                    "differences": _figures(point.difference),
                }
                for point in self.points
            ],
            "by_group": {
                by: {setting: {name: _figures(one) for name, one in found.items()} for setting, found in of.items()}
                for by, of in self.by_group.items()
            },
        }

    # === Tables ===

    def to_markdown(self, about: Mapping[str, Any]) -> str:
        """Give the tables: the price list, differences from the model alone, exposure, and by group of users."""
        shown = [name for kind in _SHOWN if (name := f"{kind}@{self.k}") in self.points[0].evaluation.metrics]
        rest = [name for name in self.points[0].evaluation.metrics if name not in shown]
        titles = {name: Column.of_metric(name).title for name in [*shown, *rest]}
        header = ["Dial", *(titles[name] for name in shown)]
        levels = [[self._label(point), *(_cell(point.evaluation, name) for name in shown)] for point in self.points]
        changes = [
            [self._label(point), *(_cell(point.difference, name, sign="+") for name in shown)]
            for point in self.points[1:]
        ]
        exposure = [[self._label(point), *(_cell(point.evaluation, name) for name in rest)] for point in self.points]
        read = f" ({columns_read(self.columns)})"
        about_lines = "".join(f"- {name}: {value}\n" for name, value in about.items())
        about_lines += "".join(f"- {warning}\n" for warning in self.warnings)
        text = [
            f"# What the policy {self.policy!r} costs\n\n{about_lines}- lists: {self.k} of the candidates of each of "
            f"{self.num_impressions:,} impressions",
            f"{markdown_table(header, levels)}\n\nnDCG and diversity in percent, clicks in the list, novelty in bits, "
            f"calibration in nats, RADio's divergences from 0 to 1{read}; ± the standard error over impressions.",
            f"## Differences from the model alone\n\n{markdown_table(header, changes)}\n\nIn the same units, nDCG and "
            f"diversity in points; ± the standard error, impression by impression.\n\n{self.worth()}",
            f"## Exposure\n\n{markdown_table(['Dial', *(titles[name] for name in rest)], exposure)}\n\nGini: 0 where "
            "all are listed alike. The others in percent.",
        ]
        for by, of in self.by_group.items():
            names = [name for name in shown if not name.startswith("fragmentation")]
            rows = [
                [f"{group}, {setting}", f"{found.num_impressions:,}", *(_cell(found, name) for name in names)]
                for group in of[ALONE]
                for setting, found in ((setting, groups[group]) for setting, groups in of.items())
            ]
            heading = ["Users", "Impressions", *(titles[name] for name in names)]
            text.append(f"## By {by}\n\n{markdown_table(heading, rows)}")
        return "\n\n".join(text) + "\n"

    def worth(self) -> str:
        """Say in a sentence what the strongest setting changes that costs less than a point of nDCG."""
        accuracy = f"ndcg@{self.k}"
        cheap = [point for point in self.points[1:] if point.difference.metrics[accuracy] > -_PRICE]
        if not cheap:
            return f"Every setting costs a point of nDCG@{self.k} or more."
        best = max(cheap, key=lambda point: -1.0 if point.dial is None else point.dial)
        changes = []
        for kind in (*COLUMNS, "calibration", "ild"):
            name, alone = f"{kind}@{self.k}", self.points[0].evaluation.metrics
            if alone.get(name) and all(name in point.evaluation.metrics for point in self.points):
                title, write = Column.of_metric(name)[1:3]
                found, last = (point.evaluation.metrics[name] for point in (best, self.points[-1]))
                change = f"{100 * (found / alone[name] - 1):+.0f} %"
                if last is not found:
                    change += f"; {100 * (last / alone[name] - 1):+.0f} % at dial {self.points[-1].name}"
                changes.append(f"{title} {write(alone[name])} → {write(found)} ({change})")
        price = f"less than a point of nDCG@{self.k} ({_cell(best.difference, accuracy, sign='+')})"
        setting = "The policy costs" if best.dial is None else f"Dial {best.dial:g} is the furthest that costs"
        return f"{setting} {price}: {', '.join(changes)}."

    def _label(self, point: Point) -> str:
        own = point.dial is not None and point.dial == self.own_dial
        return f"{point.name} (the file's)" if own else point.name

    # === Chart ===

    def draw(self, accuracy: str) -> Any:
        """Draw what an accuracy changes by over each metric along the dial."""
        names = [f"{kind}@{self.k}" for kind in (*COLUMNS, "calibration", "ild", "gini", "cold_share")]
        price = 100 if in_percent(accuracy) else 1
        panels = []
        for name in (name for name in names if name in self.points[0].evaluation.metrics):
            scale = 100 if in_percent(name) else 1
            points = [
                (
                    scale * point.evaluation.metrics.get(name, math.nan),  # of empty lists there are none
                    scale * point.evaluation.standard_errors.get(name, 0.0),
                    price * point.difference.metrics[accuracy],
                    price * point.difference.standard_errors[accuracy],
                )
                for point in self.points
            ]
            panels.append((Column.of_metric(name).title + (", %" if in_percent(name) else ""), points))
        turned = [point.name if point.dial is None else f"dial {point.name}" for point in self.points[1:]]
        title = Column.of_metric(accuracy).title
        ylabel = f"{title}, {'points' if in_percent(accuracy) else 'a list'}"
        heading = f"{shorten(self.policy, 40)}: what it changes in {title}, ± one standard error"
        return draw_tradeoff(panels, [ALONE, *turned], ylabel, heading)


def _figures(evaluation: Evaluation) -> dict[str, dict[str, float]]:
    return {
        "metrics": {name: value for name, value in evaluation.metrics.items() if math.isfinite(value)},
        "standard_errors": {name: error for name, error in evaluation.standard_errors.items() if math.isfinite(error)},
    }


def _cell(evaluation: Evaluation, metric: str, sign: str = "") -> str:
    """Write a metric with its standard error, where it has one; `sign` "+" writes a plus before what is above 0."""
    if metric not in evaluation.metrics:
        return "-"
    value, write = round(evaluation.metrics[metric], 12) + 0.0, Column.of_metric(metric).write  # no -0.000
    error = evaluation.standard_errors.get(metric, math.nan)
    shown = (sign if value >= 0 else "") + write(value)
    return f"{shown} ± {write(error)}" if math.isfinite(error) else shown
