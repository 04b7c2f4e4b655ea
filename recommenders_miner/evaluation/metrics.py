"""The MIND ranking metrics, computed for a whole log at once.

The candidates of all impressions lie one after another. One stable sort ranks every impression; all else is array
arithmetic.

The definitions are those of the MIND evaluator (Wu et al., "MIND: A Large-scale Dataset for News Recommendation",
ACL 2020). Each metric is taken per impression, then averaged over impressions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from recommenders_miner.data.ragged import Ragged
from recommenders_miner.hparams import CHECKS

if TYPE_CHECKING:
    from recommenders_miner.data.log import ImpressionLog
    from recommenders_miner.data.news import NewsTable

DEFAULT_METRICS = ("group_auc", "mean_mrr", "ndcg@5", "ndcg@10")
COLD_AUC = "cold_auc"
_CLICKS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Evaluation:
    """The metrics of one model on one log.

    Attributes:
        metrics: metric name -> mean over the counted impressions; the ranking metrics are in [0, 1].
        standard_errors: metric name -> standard error of that mean, impressions taken as independent; NaN where only
            one impression counts, missing where the metric is not a mean.
        num_impressions: how many impressions the means are taken over.
        num_left_out: how many impressions were left out, for lack of a click or of a non-click.
    """

    metrics: dict[str, float]
    standard_errors: dict[str, float]
    num_impressions: int
    num_left_out: int

    @classmethod
    def mean(cls, values: Mapping[str, np.ndarray], counted: np.ndarray) -> Evaluation:
        """Average metrics over impressions.

        Values are (impressions,) float64, NaN where a metric is not defined; one that is defined nowhere is left out.
        `counted` (impressions,) says which impressions count as not left out.
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
        """Return this evaluation with the metrics of another one, of a part of the log say, beside its own."""
        return replace(
            self,
            metrics=self.metrics | other.metrics,
            standard_errors=self.standard_errors | other.standard_errors,
        )

    @classmethod
    def joined(cls, parts: Sequence[Evaluation]) -> Evaluation:
        """Join evaluations of the parts of a log, each by `evaluate_scores`, to that of the whole log."""
        counts = np.array([part.num_impressions for part in parts])
        total, metrics, errors = counts.sum(), {}, {}
        for name in parts[0].metrics:
            means = np.array([part.metrics[name] for part in parts])
            within = np.nan_to_num([part.standard_errors[name] for part in parts]) ** 2 * counts * (counts - 1)
            metrics[name] = float((counts * means).sum() / total)
            variance = (within + counts * (means - metrics[name]) ** 2).sum() / max(total - 1, 1)
            errors[name] = float(np.sqrt(variance / total)) if total > 1 else np.nan
        return cls(metrics, errors, int(total), sum(part.num_left_out for part in parts))


def evaluate_scores(
    scores: np.ndarray, labels: np.ndarray, offsets: np.ndarray, metrics: Sequence[str] = DEFAULT_METRICS
) -> Evaluation:
    """Average the metrics over the impressions of a log; the arguments are those of `impression_metrics`.

    Impressions without both a click and a non-click are left out of every metric, so that all metrics share a
    denominator.

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
    scores: np.ndarray, labels: np.ndarray, offsets: np.ndarray, metrics: Sequence[str] = DEFAULT_METRICS
) -> dict[str, np.ndarray]:
    """Compute metrics for every impression of a log.

    With y the labels and ranks 1 … n by descending score, equal scores ranked in candidate order:

    - `group_auc`: the share of (click, non-click) pairs with the click scored higher, equal scores counting one half.
    - `mean_mrr`: the mean of 1/rank over **all** clicked candidates, not that of the first hit alone.
    - `mrr@k`: the same mean, clicks beyond the top k counting 0.
    - `ndcg@k`: Σ (2^y − 1) / log2(rank + 1) over the top k ranks, divided by its largest possible value.
    - `recall@k`: the share of the clicked candidates that are among the top k.
    - `hit@k`: whether at least one is.

    Args:
        scores: (candidates,) float32 or float64, higher is better.
        labels: (candidates,) 1 for a click and 0 for none.
        offsets: (impressions + 1,) int64, where each impression begins and the last one ends.
        metrics: names as above, with any k ≥ 1. Recommenders' `ndcg@5;10` stands for `ndcg@5` and `ndcg@10`; so do
            the others'.

    Returns:
        Metric name -> (impressions,) float64, NaN where the impression lacks a click or a non-click.

    Raises:
        ValueError: if a metric is unknown, a score is not finite, a label is not 0 or 1, or lengths disagree.
    """
    names = _metric_names(metrics)
    scored = check_scores(Ragged(scores, offsets))
    labels = _check_labels(labels, scored)
    impression = scored.rows()
    order = _ranking_order(scored.values, impression)
    num_candidates = scored.lengths
    num_clicks = np.bincount(impression[labels == 1], minlength=len(scored))
    counted = (num_clicks > 0) & (num_clicks < num_candidates)

    # Only clicked candidates add to any of the sums, so they are all that is kept after the sort.
    clicked = np.flatnonzero(labels[order] == 1)
    clicked_impression = impression[clicked]
    rank = clicked - scored.offsets[clicked_impression] + 1

    results = {}
    for name in names:
        if name == "group_auc":
            # Mann-Whitney: the clicks' rank sum, less the least it can be, counts the pairs in wrong order.
            ranks = rank + _shift_of_ties(scored.values[order], impression, clicked)
            pairs, least = num_clicks * (num_candidates - num_clicks), num_clicks * (num_clicks + 1) / 2
            rank_sums = np.bincount(clicked_impression, weights=ranks, minlength=len(scored))
            results[name] = 1 - divided(rank_sums - least, pairs, counted)
            continue
        kind, _, k = name.partition("@")
        cutoff = int(k) if k else len(order)
        if kind == "ndcg":
            results[name] = _ndcg(clicked_impression, rank, num_clicks, cutoff, counted)
            continue
        gains = (rank <= cutoff) / rank if "mrr" in kind else rank <= cutoff
        found = np.bincount(clicked_impression, weights=gains, minlength=len(scored))
        # One click found is a hit, others add nothing.
        results[name] = divided(*((np.minimum(found, 1), 1) if kind == "hit" else (found, num_clicks)), counted)
    return results


def rank_candidates(scores: Ragged) -> np.ndarray:
    """Rank each impression's candidates 1 … n, highest score first, equal ones as they stand: (candidates,) int32."""
    scores = check_scores(scores)
    ranks = np.empty(scores.values.size, np.int32)
    ranks[_ranking_order(scores.values, scores.rows())] = scores.ranks() + 1
    return ranks


def mean_ranks(of_models: Sequence[Ragged]) -> Ragged:
    """Average the ranks that several models' scores give the same candidates: (total,) float64, less the mean rank.

    Ranks do not depend on the scale of a model's scores, so that models of any kinds can be joined. Candidates with the
    same score share the mean of their ranks: a model that tells nothing apart has no say.
    """
    total = np.zeros(len(of_models[0].values))
    for scores in of_models:
        from_below = rank_candidates(Ragged(-scores.values, scores.offsets))
        total += (rank_candidates(scores) + scores.repeat(scores.lengths) + 1 - from_below) / 2
    return Ragged(-total / len(of_models), of_models[0].offsets)


def cold_articles(news: NewsTable, training_log: ImpressionLog, training_news: NewsTable) -> np.ndarray:
    """Say which rows of a table are cold, neither shown in the training log nor clicked in its histories."""
    seen = np.zeros(len(training_news), bool)
    seen[training_log.candidates.values] = True
    seen[training_log.histories.values] = True
    known = pc.is_in(news.ids, value_set=training_news.ids.filter(seen)).to_numpy(zero_copy_only=False)
    return ~known


def cold_candidates(
    log: ImpressionLog, news: NewsTable, training_log: ImpressionLog, training_news: NewsTable
) -> np.ndarray:
    """Say which candidates of a log are cold, see `cold_articles`."""
    return cold_articles(news, training_log, training_news)[log.candidates.values]


def evaluate_cold(scores: np.ndarray, log: ImpressionLog, cold: np.ndarray) -> Evaluation | None:
    """Evaluate the AUC among the `cold` candidates (candidates,) of each impression, as if nothing else had been shown.

    The only metric is `cold_auc`; None where no impression has a cold click and a cold non-click.
    """
    offsets = log.candidates.keep(cold).offsets
    [auc] = impression_metrics(scores[cold], log.labels[cold], offsets, ["group_auc"]).values()
    counted = ~np.isnan(auc)
    return Evaluation.mean({COLD_AUC: auc}, counted) if counted.any() else None


def evaluate_recall(rows: np.ndarray, log: ImpressionLog, cutoffs: Sequence[int]) -> Evaluation:
    """Evaluate what was retrieved for each impression of a log by the candidates that were clicked.

    Means over the impressions with a click, k being a cutoff:

    - `recall@k`: the share of the clicked candidates that are among the first k of the retrieved articles.
    - `hit_rate@k`: whether at least one is.
    - `ndcg@k`: Σ 1 / log2(rank + 1) over those that are, divided by its largest possible value.

    A clicked article that was not in the pool, for its age say, counts as not found. `rows` (I, k) are the retrieved
    articles, the best first, 0 behind the last.
    """
    if not (log.labels == 1).any():
        raise ValueError("Recall is counted from clicks, but the log has none.")
    if min(cutoffs) < 1 or max(cutoffs) > rows.shape[1]:
        raise ValueError(f"Cutoffs must be from 1 to the {rows.shape[1]} articles retrieved, not {list(cutoffs)}.")
    clicks = log.candidates.keep(log.labels == 1)
    impression, num_clicks = clicks.rows(), clicks.lengths
    rank = np.empty(len(impression))  # from 1, infinite where a click was not retrieved
    for start in range(0, len(impression), _CLICKS_AT_ONCE):
        part = slice(start, start + _CLICKS_AT_ONCE)
        found = rows[impression[part]] == clicks.values[part, None]
        rank[part] = np.where(found.any(axis=1), found.argmax(axis=1) + 1.0, np.inf)

    counted, metrics = num_clicks > 0, {}
    for cutoff in cutoffs:
        num_found = np.bincount(impression[rank <= cutoff], minlength=len(log))
        metrics[f"recall@{cutoff}"] = divided(num_found, num_clicks, counted)
        metrics[f"hit_rate@{cutoff}"] = np.ceil(metrics[f"recall@{cutoff}"])
        metrics[f"ndcg@{cutoff}"] = _ndcg(impression, rank, num_clicks, cutoff, counted)
    return Evaluation.mean(metrics, counted)


def list_metrics(slots: Ragged, log: ImpressionLog, k: int) -> dict[str, np.ndarray]:
    """Compute the accuracy of lists that were made of each impression's candidates, and may lack some of them.

    Returns (impressions,) float64, NaN where the impression lacks a click or a non-click:

    - `ndcg@k` as of `impression_metrics`; a click that is not in the list adds nothing.
    - `clicks@k`: how many of the clicked candidates are in the list's first k places, the clicks that could be expected
      there of a user who clicks on the same articles wherever among these they stand.

    `slots` are places among `log.candidates.values`, the best of each list first.
    """
    hit = log.labels[slots.values] == 1
    impression, rank = slots.rows()[hit], slots.ranks()[hit] + 1
    found = np.bincount(impression[rank <= k], minlength=len(log))
    return {
        f"ndcg@{k}": _ndcg(impression, rank, log.clicks, k, log.has_both),
        f"clicks@{k}": np.where(log.has_both, found, np.nan),
    }


def check_scores(scores: Ragged) -> Ragged:
    """Return scores as arrays whose offsets are int64; ValueError where one is not finite, or lengths disagree."""
    scores = Ragged(np.asarray(scores.values), np.asarray(scores.offsets, dtype=np.int64))
    values = scores.values
    if scores.offsets[-1] != values.size:
        raise ValueError(f"There are {values.size} scores, but the offsets end at {scores.offsets[-1]} candidates.")
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        impressions = np.unique(scores.row_of(bad))
        shown = ", ".join(map(str, impressions[:5])) + (", …" if impressions.size > 5 else "")
        raise ValueError(
            f"{bad.size} of {values.size} scores are NaN or infinite, in {impressions.size} impressions "
            f"(counted from 0: {shown})."
        )
    return scores


def divided(totals: np.ndarray, divisors: np.ndarray, defined: np.ndarray) -> np.ndarray:
    """Divide where a quotient is defined: (I,) float64, NaN elsewhere."""
    return np.divide(totals, divisors, out=np.full(len(totals), np.nan), where=defined)


def _ndcg(
    impression: np.ndarray, rank: np.ndarray, num_clicks: np.ndarray, cutoff: int, counted: np.ndarray
) -> np.ndarray:
    """Compute nDCG of the impressions (I,) from the ranks of clicks (n,), infinite where one was not found."""
    gains = np.where(rank <= cutoff, 1 / np.log2(rank + 1), 0)
    most = min(cutoff, int(num_clicks.max(initial=0)))
    ideal = np.append(0.0, np.cumsum(1 / np.log2(np.arange(most) + 2)))[np.minimum(num_clicks, most)]
    return divided(np.bincount(impression, weights=gains, minlength=len(num_clicks)), ideal, counted)


def _check_labels(labels: np.ndarray, scores: Ragged) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != scores.values.shape:
        raise ValueError(f"There are {scores.values.size} scores, but the labels have the shape {labels.shape}.")
    bad = np.flatnonzero((labels != 0) & (labels != 1))
    if bad.size:
        wrong = (
            f"{bad.size} of {labels.size} candidates, the first in impression {scores.row_of(bad[0])} (counted from 0)"
        )
        if labels[bad[0]] == -1:
            raise ValueError(
                f"Metrics need labels, but {wrong}, have none (-1). A split without labels, such as MIND's test split, "
                "can only be scored: write a submission instead."
            )
        raise ValueError(f"Labels must be 0 or 1, but are not for {wrong}: {labels[bad[0]]}.")
    return labels


def _metric_names(metrics: Sequence[str]) -> list[str]:
    names = []
    for metric in metrics:
        if not re.fullmatch(r"group_auc|mean_mrr|(mrr|ndcg|recall|hit)@[1-9][0-9]*(;[1-9][0-9]*)*", metric):
            raise ValueError(
                f"Unknown metric {metric!r}; the known ones are group_auc, mean_mrr, and for any k ≥ 1 mrr@k, ndcg@k, "
                "recall@k and hit@k."
            )
        kind, at, cutoffs = metric.partition("@")
        names += [f"{kind}{at}{cutoff}" for cutoff in cutoffs.split(";")]
    if not names:
        raise ValueError("Name at least one metric.")
    return names


CHECKS["metrics"] = _metric_names


def _ranking_order(scores: np.ndarray, impression: np.ndarray) -> np.ndarray:
    """Sort candidates by impression, then by descending score, then by candidate order."""
    # Complex numbers sort by their real part, then by their imaginary part. A stable sort of such a key finds
    # the impressions in order already, and so takes a quarter of the time of np.lexsort.
    key = np.empty(scores.size, np.complex128)
    key.real = impression
    key.imag = scores
    key.imag *= -1
    return np.argsort(key, kind="stable")


def _shift_of_ties(ranked_scores: np.ndarray, impression: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return how far some places (n,) of the ranking (candidates,) stand before the middle of the ties they are in."""
    is_first = np.ones(ranked_scores.size, bool)
    is_first[1:] = (ranked_scores[1:] != ranked_scores[:-1]) | (impression[1:] != impression[:-1])
    bounds = np.append(np.flatnonzero(is_first), ranked_scores.size)
    tie = np.searchsorted(bounds, places, side="right")
    return (bounds[tie - 1] + bounds[tie] - 1) / 2 - places
