"""What recommended lists are like beside their accuracy: diversity, novelty, calibration and coverage.

Lists are ragged, as logs are: the news of all lists lie one after the other, the best of each list first, and
`offsets` (L+1,) says where each list begins and ends. A news is named by its row of the `NewsTable`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy.sparse import coo_array, csr_array

from recommenders_miner.evaluation.baselines import count_clicks
from recommenders_miner.evaluation.metrics import Evaluation, rank_candidates

if TYPE_CHECKING:
    from recommenders_miner.data.log import ImpressionLog
    from recommenders_miner.data.news import NewsTable

BEYOND_ACCURACY = ("ild", "novelty", "calibration", "coverage")
"""The metrics of this module, as they are named before the @k."""


@dataclass(frozen=True, eq=False)
class BeyondAccuracy:
    """Describes the lists that a model recommends to the users of a log.

    With R the first k news of a list, or all of them where there are fewer:

    - `ild@k`, intra-list diversity: the share of the pairs of R whose categories differ. Lists of one news have
      no pairs and are left out. It is the mean pairwise distance of Castells, Hurley and Vargas ("Novelty and
      Diversity in Recommender Systems", Recommender Systems Handbook, 2nd ed., 2015), the complement of the
      intra-list similarity of Ziegler et al. ("Improving Recommendation Lists Through Topic Diversification",
      WWW 2005).
    - `novelty@k`: the mean self-information −log2 p(i) of R, in bits (Zhou et al., "Solving the Apparent
      Diversity-Accuracy Dilemma of Recommender Systems", PNAS 2010), p(i) being the news' share of all clicks as
      in the free discovery of Vargas and Castells ("Rank and Relevance in Novelty and Diversity Metrics for
      Recommender Systems", RecSys 2011), here (clicks(i) + 1) / (all clicks + number of news): as if every news of
      the table had been clicked once more than it was in training.
    - `calibration@k`: Σ_c p(c) ln(p(c) / q̃(c)), in nats, with p the shares of the categories in the user's
      history, q those in R and q̃ = 0.99 q + 0.01 p (Steck, "Calibrated Recommendations", RecSys 2018, every click
      and every place weighing the same). 0 where R has the history's shares, at most ln 100 = 4.6. Users without a
      history are left out.
    - `coverage@k`: the share of the catalogue that is in at least one list (Ge, Delgado-Battenfeld and Jannach,
      "Beyond Accuracy: Evaluating Recommender Systems by Coverage and Serendipity", RecSys 2010).

    All but coverage are means over lists. News without a category share one, named "".

    Example:
        beyond = BeyondAccuracy.fit(dev_log, dev_news, train_log, train_news)
        beyond.evaluate(scores).metrics  # {"ild@10": …, "novelty@10": …, "calibration@10": …, "coverage@10": …}

    Attributes:
        log: the log whose users the lists are for.
        category: (rows,) int32 category of each news.
        self_information: (rows,) float64, −log2 p of each news.
        interests: (histories, categories) float64, the shares of the categories in each distinct history.
        catalogue: (rows,) bool, which news can be recommended.
        k: how many news of a list count.
    """

    log: ImpressionLog
    category: np.ndarray
    self_information: np.ndarray
    interests: csr_array
    catalogue: np.ndarray
    k: int

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
        """Counts the clicks of the training log, and the categories of the histories of the other one.

        Args:
            log: the log whose users the lists are for.
            news: the table that its rows point into.
            training_log: the log that models were trained on, with labels.
            training_news: its table.
            pool: the rows of the news that can be recommended; None for the candidates of `log`.
            k: how many news of a list count.

        Raises:
            ValueError: if the training log has no labels.
        """
        category = np.asarray(news.category.dictionary_encode().indices)
        clicks = news.align(training_news.ids, count_clicks(training_log, training_news), missing=0)
        num_news = len(news) - 1  # without the padding news
        catalogue = np.zeros(len(news), bool)
        catalogue[log.candidates.values if pool is None else pool] = True
        return cls(
            log,
            category,
            np.log2(clicks.sum() + num_news) - np.log2(clicks + 1),
            category_shares(category[log.histories.values], log.histories.offsets, int(category.max()) + 1),
            catalogue,
            k,
        )

    def evaluate(self, scores: np.ndarray) -> Evaluation:
        """Evaluates the lists that scores make of each impression's candidates.

        Args:
            scores: (candidates,) of all the log's candidates, higher is better.

        Returns:
            As `evaluate_lists`.

        Raises:
            ValueError: if a score is not finite or there are not as many as candidates.
        """
        return self.evaluate_lists(*top_candidates(scores, self.log, self.k))

    def evaluate_lists(self, rows: np.ndarray, offsets: np.ndarray, history_of: np.ndarray | None = None) -> Evaluation:
        """Evaluates lists of any news.

        Args:
            rows: (listed,) int rows of the news of all lists, the best of each list first.
            offsets: (lists + 1,) int64, where each list begins and ends.
            history_of: (lists,) int, the distinct history of each list's user; None where there is a list for
                every impression of the log.

        Returns:
            The metrics, without those that no list has; coverage has no standard error. Lists take the place of
            impressions, and empty ones are left out.

        Raises:
            ValueError: if there are not as many lists as histories for them.
        """
        history_of = self.log.history_of if history_of is None else history_of
        if len(offsets) - 1 != len(history_of):
            raise ValueError(f"There are {len(offsets) - 1} lists, but users' histories for {len(history_of)}.")
        rows, offsets = first_of_lists(rows, offsets, self.k)
        shares = category_shares(self.category[rows], offsets, self.interests.shape[1])
        sizes = np.diff(offsets)
        by_list = {
            "ild": category_diversity(shares, sizes),
            "novelty": mean_of_lists(self.self_information[rows], offsets),
            "calibration": calibration(self.interests[history_of], shares),
        }
        recommended = np.zeros(self.catalogue.size, bool)
        recommended[rows] = True
        coverage = (recommended & self.catalogue).sum() / self.catalogue.sum()
        means = Evaluation.mean({f"{name}@{self.k}": values for name, values in by_list.items()}, sizes > 0)
        return means.with_metrics_of(Evaluation({f"coverage@{self.k}": float(coverage)}, {}, sizes.size, 0))


def is_beyond_accuracy(metric: str) -> bool:
    """Whether a metric is one of this module, as `ild@10` is."""
    return metric.partition("@")[0] in BEYOND_ACCURACY


def top_candidates(scores: np.ndarray, log: ImpressionLog, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Lists the k best candidates of each impression, or all of them where there are fewer.

    Args:
        scores: (candidates,) float32 or float64, higher is better; equal scores keep the order of the candidates.
        log: the log.
        k: the greatest length of a list.

    Returns:
        (listed,) int32 news rows, the best of each list first, and (impressions + 1,) int64 offsets.

    Raises:
        ValueError: if a score is not finite or there are not as many as candidates.
    """
    ranks = rank_candidates(scores, log.candidates.offsets)
    ranked = np.empty(ranks.size, log.candidates.values.dtype)
    ranked[np.repeat(log.candidates.offsets[:-1], log.candidates.lengths) + ranks - 1] = log.candidates.values
    return first_of_lists(ranked, log.candidates.offsets, k)


def first_of_lists(rows: np.ndarray, offsets: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Cuts lists after their first k entries.

    Args:
        rows: (listed,) the entries of all lists.
        offsets: (lists + 1,) int64, where each list begins and ends.
        k: the greatest length of a list.

    Returns:
        The entries and the offsets of the cut lists.
    """
    sizes = np.diff(offsets)
    place = np.arange(len(rows)) - np.repeat(offsets[:-1], sizes)
    return rows[place < k], np.concatenate([[0], np.cumsum(np.minimum(sizes, k))])


def mean_of_lists(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Averages values over each list.

    Args:
        values: (listed,) float64.
        offsets: (lists + 1,) int64, where each list begins and ends.

    Returns:
        (lists,) float64, NaN where the list is empty.
    """
    sizes = np.diff(offsets)
    sums = np.bincount(np.repeat(np.arange(sizes.size), sizes), weights=values, minlength=sizes.size)
    return np.divide(sums, sizes, out=np.full(sizes.size, np.nan), where=sizes > 0)


def category_shares(category: np.ndarray, offsets: np.ndarray, num_categories: int) -> csr_array:
    """Counts what share of each list, or of each history, is in each category.

    Args:
        category: (listed,) int categories of the news of all lists.
        offsets: (lists + 1,) int64, where each list begins and ends.
        num_categories: how many categories there are.

    Returns:
        (lists, categories) float64; rows sum to 1, or to 0 where the list is empty.
    """
    sizes = np.diff(offsets)
    list_of = np.repeat(np.arange(sizes.size), sizes)
    shares = coo_array((np.ones(list_of.size), (list_of, category)), shape=(sizes.size, num_categories)).tocsr()
    shares.data /= np.repeat(sizes, np.diff(shares.indptr))
    return shares


def category_diversity(shares: csr_array, sizes: np.ndarray) -> np.ndarray:
    """Computes which share of each list's pairs of news has different categories.

    Of n news, n_c of them in category c, it is 1 − Σ n_c (n_c − 1) / (n (n − 1)) = (1 − Σ (n_c / n)²) n / (n − 1),
    the Gini–Simpson index of drawing without replacement.

    Args:
        shares: (lists, categories) as of `category_shares`.
        sizes: (lists,) int, the number of news in each list.

    Returns:
        (lists,) float64 in [0, 1], NaN where the list has fewer than two news.
    """
    with_replacement = 1 - shares.power(2).sum(axis=1)
    return np.divide(with_replacement * sizes, sizes - 1, out=np.full(sizes.size, np.nan), where=sizes > 1)


def calibration(interests: csr_array, shares: csr_array, alpha: float = 0.01) -> np.ndarray:
    """Computes how far each list's categories are from those of its user's history.

    It is the Kullback-Leibler divergence Σ_c p(c) ln(p(c) / q̃(c)) with q̃ = (1 − α) q + α p, which is finite where
    the list lacks a category of the history.

    Args:
        interests: (lists, categories) p, the shares in the history of each list's user.
        shares: (lists, categories) q, the shares in the list.
        alpha: how much of p is mixed into q, in (0, 1).

    Returns:
        (lists,) float64 in [0, −ln α], NaN where the list or the history is empty.
    """
    # As ln(p / q̃) = −ln α − ln(1 + (1 − α) q / (α p)), only categories that both p and q have need a logarithm.
    relative = shares.multiply(interests.power(-1))
    relative.data = np.log1p((1 - alpha) / alpha * relative.data)
    divergence = -np.log(alpha) - interests.multiply(relative).sum(axis=1)
    defined = (np.diff(interests.indptr) > 0) & (np.diff(shares.indptr) > 0)
    return np.where(defined, np.maximum(divergence, 0), np.nan)  # rounding may leave −1e-15 of 0
