"""What recommended lists are like beside their accuracy: diversity, novelty, calibration and coverage.

Lists are `Ragged`, the best article of each list first. An article is named by its row of the `NewsTable`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy.sparse import csr_array

from recommenders_miner.data.ragged import Ragged
from recommenders_miner.evaluation.baselines import count_clicks
from recommenders_miner.evaluation.metrics import Evaluation, divided, rank_candidates

if TYPE_CHECKING:
    from recommenders_miner.data.log import ImpressionLog
    from recommenders_miner.data.news import NewsTable

_MIXED_IN = 0.01
"""How much of the history's shares calibration mixes into the list's, which keeps it finite."""


@dataclass(frozen=True, eq=False)
class BeyondAccuracy:
    """Describes the lists that a model recommends to the users of a log.

    With R the first k articles of a list, or all of them where there are fewer:

    - `ild@k`, intra-list diversity: the share of the pairs of R whose categories differ. Lists of one article have no
      pairs and are left out.
    - `novelty@k`: the mean self-information −log2 p(i) of R, in bits, p(i) being (clicks(i) + 1) / (all clicks + number
      of articles): as if every article of the table had been clicked once more than it was in training.
    - `calibration@k`: Σ_c p(c) ln(p(c) / q̃(c)), in nats, with p the shares of the categories in the user's history, q
      those in R and q̃ = 0.99 q + 0.01 p. 0 where R has the history's shares, at most ln 100 = 4.6. Users without a
      history are left out.
    - `coverage@k`: the share of the catalogue that is in at least one list.

    docs/metrics.md says which papers they come from.
    All but coverage are means over lists. Articles without a category share one, named "".

    Example:
        beyond = BeyondAccuracy.fit(dev_log, dev_news, train_log, train_news)
        beyond.evaluate(scores).metrics  # {"ild@10": …, "novelty@10": …, "calibration@10": …, "coverage@10": …}
    """

    log: ImpressionLog
    category: np.ndarray  # (rows,) int32 of each article
    self_information: np.ndarray  # (rows,) float64, −log2 p of each article
    interests: csr_array  # (histories, categories) float64, shares in each distinct history
    catalogue: np.ndarray  # (rows,) bool, which articles can be recommended
    k: int  # how many articles of a list count

    @classmethod
    def fit(
        cls,
        log: ImpressionLog,
        news: NewsTable,
        training_log: ImpressionLog,
        training_news: NewsTable,
        pool: np.ndarray | None = None,
        k: int = 10,
    ) -> Self:
        """Count the clicks of the training log, and the categories of the histories of the other one.

        Args:
            log: the log whose users the lists are for.
            news: the table that its rows point into.
            training_log: the log that models were trained on, with labels; ValueError without.
            training_news: its table.
            pool: the rows of the articles that can be recommended; None for the candidates of `log`.
            k: how many articles of a list count.
        """
        category = news.labels["category"][1]
        clicks = news.align(training_news.ids, count_clicks(training_log, training_news), missing=0)
        num_news = len(news) - 1  # without the padding row
        self_information = np.log2(clicks.sum() + num_news) - np.log2(clicks + 1)
        catalogue = np.zeros(len(news), bool)
        catalogue[log.candidates.values if pool is None else pool] = True
        histories = Ragged(category[log.histories.values], log.histories.offsets)
        return cls(log, category, self_information, _shares(histories, int(category.max()) + 1), catalogue, k)

    def evaluate(self, scores: np.ndarray) -> Evaluation:
        """Evaluate the lists that scores (candidates,) make of each impression's candidates, the highest first."""
        return self.evaluate_lists(ranked_lists(self.log.candidates, scores))

    def evaluate_lists(self, lists: Ragged, history_of: np.ndarray | None = None) -> Evaluation:
        """Evaluate lists of rows of the table, the best of each list first.

        `history_of` (lists,) is the distinct history of each list's user; None where there is a list for every
        impression. Lists take the place of impressions, and empty ones are left out; metrics that no list has are
        missing, and coverage has no standard error.
        """
        values = self.by_list(lists, history_of)
        means = Evaluation.mean(values, lists.lengths > 0)
        return means.with_metrics_of(Evaluation({f"coverage@{self.k}": self.coverage(lists)}, {}, len(lists), 0))

    def coverage(self, lists: Ragged) -> float:
        """Return the share of the catalogue that is in at least one list."""
        listed = np.zeros(self.catalogue.size, bool)
        listed[lists.values[lists.ranks() < self.k]] = True
        return float((listed & self.catalogue).sum() / self.catalogue.sum())

    def by_list(self, lists: Ragged, history_of: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Return the metrics that each list has, (lists,) float64, NaN where it has none; as `evaluate_lists`."""
        history_of = self.log.history_of if history_of is None else history_of
        lists = lists.keep(lists.ranks() < self.k)
        sizes = lists.lengths
        shares = _shares(Ragged(self.category[lists.values], lists.offsets), self.interests.shape[1])
        # Of n articles, n_c of them in category c, 1 − Σ n_c (n_c − 1) / (n (n − 1)) of the pairs differ, which is
        # (1 − Σ (n_c / n)²) n / (n − 1), the Gini–Simpson index of drawing without replacement.
        differing = 1 - shares.power(2).sum(axis=1)
        information = np.bincount(lists.rows(), weights=self.self_information[lists.values], minlength=len(lists))
        by_list = {
            "ild": divided(differing * sizes, sizes - 1, sizes > 1),
            "novelty": divided(information, sizes, sizes > 0),
            "calibration": _calibration(self.interests[history_of], shares),
        }
        return {f"{name}@{self.k}": values for name, values in by_list.items()}


def ranked_lists(candidates: Ragged, scores: np.ndarray) -> Ragged:
    """Return each impression's candidates by descending score, equal ones as they stand."""
    ranks = rank_candidates(Ragged(scores, candidates.offsets))
    ranked = np.empty_like(candidates.values)
    ranked[candidates.repeat(candidates.offsets[:-1]) + ranks - 1] = candidates.values
    return Ragged(ranked, candidates.offsets)


def is_beyond_accuracy(metric: str) -> bool:
    """Say whether a metric is one of this module, as `ild@10` is."""
    return metric.partition("@")[0] in ("ild", "novelty", "calibration", "coverage")


def _shares(lists: Ragged, num_categories: int) -> csr_array:
    """Count what share of each list of categories is in each: (lists, categories) float64, rows of 0 if empty."""
    ones = np.ones(len(lists.values))
    shares = csr_array((ones, (lists.rows(), lists.values)), shape=(len(lists), num_categories))
    shares.data /= np.repeat(lists.lengths, np.diff(shares.indptr))
    return shares


def _calibration(interests: csr_array, shares: csr_array) -> np.ndarray:
    """Compute Σ_c p(c) ln(p(c) / q̃(c)), q̃ = (1 − α) q + α p, of histories p and lists q: (L,), NaN if one is empty."""
    # As ln(p / q̃) = −ln α − ln(1 + (1 − α) q / (α p)), only categories that both p and q have need a logarithm.
    relative = shares.multiply(interests.power(-1))
    relative.data = np.log1p((1 - _MIXED_IN) / _MIXED_IN * relative.data)
    divergence = -np.log(_MIXED_IN) - interests.multiply(relative).sum(axis=1)
    defined = (np.diff(interests.indptr) > 0) & (np.diff(shares.indptr) > 0)
    return np.where(defined, np.maximum(divergence, 0), np.nan)  # rounding may leave −1e-15 of 0
