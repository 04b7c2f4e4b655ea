"""The MIND ranking metrics, computed for a whole log at once.

A log is ragged: the candidates of all impressions lie one after the other, and `offsets` (I+1,) says where
each impression begins and ends (the CSR layout). One stable sort ranks every impression; all else is array
arithmetic.

The definitions are those of the MIND evaluator (Wu et al., "MIND: A Large-scale Dataset for News
Recommendation", ACL 2020). Each metric is taken per impression, then averaged over impressions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

DEFAULT_METRICS = ("group_auc", "mean_mrr", "ndcg@5", "ndcg@10")


@dataclass(frozen=True)
class Evaluation:
    """The metrics of one model on one log.

    Attributes:
        metrics: metric name -> mean over the counted impressions; the ranking metrics are in [0, 1].
        standard_errors: metric name -> standard error of that mean, impressions taken as independent; NaN
            where only one impression counts, missing where the metric is not a mean.
        num_impressions: how many impressions the means are taken over.
        num_left_out: how many impressions were left out, for lack of a click or of a non-click.
    """

    metrics: dict[str, float]
    standard_errors: dict[str, float]
    num_impressions: int
    num_left_out: int

    @classmethod
    def mean(cls, values: Mapping[str, np.ndarray], counted: np.ndarray) -> Evaluation:
        """Averages metrics over impressions.

        Args:
            values: metric name -> (impressions,) float64, NaN where the metric is not defined; a metric that is
                defined nowhere is left out.
            counted: (impressions,) bool, which impressions count as not left out.
        """
        defined = {name: column[~np.isnan(column)] for name, column in values.items()}
        defined = {name: column for name, column in defined.items() if column.size}
        num_impressions = int(counted.sum())
        return cls(
            metrics={name: float(column.mean()) for name, column in defined.items()},
            standard_errors={
                name: float(column.std(ddof=1) / np.sqrt(column.size)) if column.size > 1 else np.nan
                for name, column in defined.items()
            },
            num_impressions=num_impressions,
            num_left_out=counted.size - num_impressions,
        )

    def with_metrics_of(self, other: Evaluation) -> Evaluation:
        """Returns this evaluation with the metrics of another one beside its own, as of a part of the log."""
        return replace(
            self,
            metrics={**self.metrics, **other.metrics},
            standard_errors={**self.standard_errors, **other.standard_errors},
        )


def evaluate_scores(
    scores: np.ndarray,
    labels: np.ndarray,
    offsets: np.ndarray,
    metrics: Sequence[str] = DEFAULT_METRICS,
) -> Evaluation:
    """Averages the metrics over the impressions of a log.

    Impressions without both a click and a non-click are left out of every metric, so that all metrics share a
    denominator.

    Args:
        scores: (candidates,) float32 or float64, higher is better.
        labels: (candidates,) 1 for a click and 0 for none.
        offsets: (impressions + 1,) int64, where each impression begins and ends.
        metrics: the names of the metrics; see `impression_metrics`.

    Returns:
        The means, their standard errors and the number of impressions counted and left out.

    Raises:
        ValueError: as `impression_metrics`, or if no impression has both a click and a non-click.
    """
    by_name = impression_metrics(scores, labels, offsets, metrics)
    counted = ~np.isnan(next(iter(by_name.values())))
    if not counted.any():
        raise ValueError(
            f"No metric is defined: none of the {counted.size} impressions has both a click and a non-click."
        )
    return Evaluation.mean(by_name, counted)


def impression_metrics(
    scores: np.ndarray,
    labels: np.ndarray,
    offsets: np.ndarray,
    metrics: Sequence[str] = DEFAULT_METRICS,
) -> dict[str, np.ndarray]:
    """Computes metrics for every impression of a log.

    With y the labels and ranks 1 … n by descending score, equal scores ranked in candidate order:

    - `group_auc`: the share of (click, non-click) pairs with the click scored higher, equal scores counting
      one half.
    - `mean_mrr`: the mean of 1/rank over **all** clicked candidates, not that of the first hit alone.
    - `ndcg@k`: Σ (2^y − 1) / log2(rank + 1) over the top k ranks, divided by its largest possible value.

    Args:
        scores: (candidates,) float32 or float64, higher is better.
        labels: (candidates,) 1 for a click and 0 for none.
        offsets: (impressions + 1,) int64, where each impression begins and ends.
        metrics: names as above, with any k ≥ 1. Recommenders' `ndcg@5;10` stands for `ndcg@5` and `ndcg@10`.

    Returns:
        Metric name -> (impressions,) float64, NaN where the impression lacks a click or a non-click.

    Raises:
        ValueError: if a metric is unknown, a score is not finite, a label is not 0 or 1, or lengths disagree.
    """
    names = _metric_names(metrics)
    scores, offsets = check_scores(scores, offsets)
    labels = _check_labels(labels, offsets)

    impression = _impression_of_candidate(offsets)
    order = _ranking_order(scores, impression)
    num_candidates = np.diff(offsets)
    num_clicks = np.bincount(impression[labels == 1], minlength=num_candidates.size)
    counted = (num_clicks > 0) & (num_clicks < num_candidates)

    # Only clicked candidates add to any of the sums, so they are all that is kept after the sort.
    clicked = np.flatnonzero(labels[order] == 1)
    clicked_impression = impression[clicked]
    clicked_rank = clicked - offsets[clicked_impression] + 1

    def mean_over_counted(total: np.ndarray, divisor: np.ndarray) -> np.ndarray:
        return np.divide(total, divisor, out=np.full(counted.size, np.nan), where=counted)

    def sum_by_impression(values: np.ndarray) -> np.ndarray:
        return np.bincount(clicked_impression, weights=values, minlength=counted.size)

    results = {}
    for name in names:
        if name == "group_auc":
            # Mann-Whitney: the clicks' rank sum, less the least it can be, counts the pairs in wrong order.
            rank_sum = sum_by_impression(_mid_ranks(scores[order], impression, clicked, clicked_rank))
            wrong_pairs = rank_sum - num_clicks * (num_clicks + 1) / 2
            results[name] = 1 - mean_over_counted(wrong_pairs, num_clicks * (num_candidates - num_clicks))
        elif name == "mean_mrr":
            results[name] = mean_over_counted(sum_by_impression(1 / clicked_rank), num_clicks)
        else:
            cutoff = int(name.removeprefix("ndcg@"))
            gains = np.where(clicked_rank <= cutoff, 1 / np.log2(clicked_rank + 1), 0)
            results[name] = mean_over_counted(sum_by_impression(gains), ideal_dcg(num_clicks, cutoff))
    return results


def rank_candidates(scores: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Ranks the candidates of each impression, the highest score first.

    Args:
        scores: (candidates,) float32 or float64, higher is better.
        offsets: (impressions + 1,) int64, where each impression begins and ends.

    Returns:
        (candidates,) int32 ranks 1 … n in candidate order; equal scores are ranked in candidate order.

    Raises:
        ValueError: if a score is not finite or lengths disagree.
    """
    scores, offsets = check_scores(scores, offsets)
    impression = _impression_of_candidate(offsets)
    ranks = np.empty(scores.size, np.int32)
    ranks[_ranking_order(scores, impression)] = np.arange(scores.size) - offsets[impression] + 1
    return ranks


def check_scores(scores: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Checks that scores are finite and that offsets cut them into impressions.

    Args:
        scores: (candidates,) numbers.
        offsets: (impressions + 1,) integers.

    Returns:
        Both as arrays, the offsets as int64.

    Raises:
        ValueError: saying what is wrong and, for scores that are not finite, in which impressions.
    """
    scores, offsets = np.asarray(scores), np.asarray(offsets, dtype=np.int64)
    if scores.ndim != 1 or offsets.ndim != 1 or offsets.size == 0:
        raise ValueError(
            "Scores and offsets must be flat arrays, with one offset more than impressions; "
            f"their shapes are {scores.shape} and {offsets.shape}."
        )
    if offsets[0] != 0 or (np.diff(offsets) < 0).any():
        raise ValueError("Offsets must begin at 0 and never fall.")
    if offsets[-1] != scores.size:
        raise ValueError(f"There are {scores.size} scores, but the offsets end at {offsets[-1]} candidates.")
    bad = np.flatnonzero(~np.isfinite(scores))
    if bad.size:
        impressions = np.unique(np.searchsorted(offsets, bad, side="right") - 1)
        shown = ", ".join(map(str, impressions[:5])) + (", …" if impressions.size > 5 else "")
        raise ValueError(
            f"{bad.size} of {scores.size} scores are NaN or infinite, in {impressions.size} impressions "
            f"(counted from 0: {shown})."
        )
    return scores, offsets


def _check_labels(labels: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != (offsets[-1],):
        raise ValueError(f"There are {offsets[-1]} scores, but the labels have the shape {labels.shape}.")
    bad = np.flatnonzero((labels != 0) & (labels != 1))
    if bad.size:
        first = np.searchsorted(offsets, bad[0], side="right") - 1
        place = f"{bad.size} of {labels.size} candidates, the first in impression {first} (counted from 0)"
        if labels[bad[0]] == -1:
            raise ValueError(
                f"Metrics need labels, but {place}, have none (-1). A split without labels, such as MIND's "
                "test split, can only be scored: write a submission instead."
            )
        raise ValueError(f"Labels must be 0 or 1, but are not for {place}: {labels[bad[0]]}.")
    return labels


def _metric_names(metrics: Sequence[str]) -> list[str]:
    names = []
    for metric in metrics:
        if metric in ("group_auc", "mean_mrr"):
            names.append(metric)
        elif re.fullmatch(r"ndcg@[1-9]\d*(;[1-9]\d*)*", metric):
            names += [f"ndcg@{cutoff}" for cutoff in metric.removeprefix("ndcg@").split(";")]
        else:
            raise ValueError(
                f"Unknown metric {metric!r}. The known ones are group_auc, mean_mrr and ndcg@k for any k ≥ 1."
            )
    if not names:
        raise ValueError("Name at least one metric.")
    return names


def _impression_of_candidate(offsets: np.ndarray) -> np.ndarray:
    return np.repeat(np.arange(offsets.size - 1), np.diff(offsets))


def _ranking_order(scores: np.ndarray, impression: np.ndarray) -> np.ndarray:
    """Sorts candidates by impression, then by descending score, then by candidate order."""
    # Complex numbers sort by their real part, then by their imaginary part. A stable sort of such a key finds
    # the impressions in order already, and so takes a quarter of the time of np.lexsort.
    key = np.empty(scores.size, np.complex128)
    key.real = impression
    key.imag = scores
    key.imag *= -1
    return np.argsort(key, kind="stable")


def _mid_ranks(
    sorted_scores: np.ndarray, impression: np.ndarray, positions: np.ndarray, ranks: np.ndarray
) -> np.ndarray:
    """Gives sorted candidates with equal scores in one impression the mean of their ranks.

    Args:
        sorted_scores: (candidates,) scores in ranking order.
        impression: (candidates,) the impression of each.
        positions: (clicks,) where in that order the candidates in question stand.
        ranks: (clicks,) their ranks with ties broken.

    Returns:
        (clicks,) float64 mean ranks.
    """
    is_first = np.ones(sorted_scores.size, bool)
    is_first[1:] = (sorted_scores[1:] != sorted_scores[:-1]) | (impression[1:] != impression[:-1])
    bounds = np.append(np.flatnonzero(is_first), sorted_scores.size)
    tie = np.searchsorted(bounds, positions, side="right")
    middle = (bounds[tie - 1] + bounds[tie] - 1) / 2
    return ranks + (middle - positions)


def ideal_dcg(num_clicks: np.ndarray, cutoff: int) -> np.ndarray:
    """Returns the DCG of clicks that take the first ranks, as far as the cutoff: (I,) float64 of (I,) numbers."""
    most = min(cutoff, int(num_clicks.max(initial=0)))
    dcg_of_top = np.append(0.0, np.cumsum(1 / np.log2(np.arange(most) + 2)))
    return dcg_of_top[np.minimum(num_clicks, most)]
