"""Scores that need no model: the floors and the ceilings that every trained model is read against.

Floors: random scores, and the popularity of a news in training. Ceilings, where the data was made by a known
process: the true click logits, and a rule that counts the true subcategories of a user's history.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from recommenders_miner.errors import DataFormatError
from recommenders_miner.evaluation.submission import read_scores

if TYPE_CHECKING:
    from recommenders_miner.data.log import ImpressionLog
    from recommenders_miner.data.news import NewsTable


def random_scores(log: ImpressionLog, seed: int) -> np.ndarray:
    """Scores every candidate at random, uniformly in [0, 1).

    Args:
        log: the log to score.
        seed: the same seed gives the same scores.

    Returns:
        (candidates,) float64.
    """
    return np.random.default_rng(seed).random(len(log.candidates.values))


def count_clicks(log: ImpressionLog, news: NewsTable) -> np.ndarray:
    """Counts the clicks on every news.

    Args:
        log: the training log, with labels.
        news: the table that the log's rows point into.

    Returns:
        (rows,) int64.

    Raises:
        ValueError: if the log has no labels.
    """
    if not log.labelled:
        raise ValueError("The popularity of news is counted from clicks, but the training log has no labels.")
    return np.bincount(log.candidates.values[log.labels == 1], minlength=len(news))


@dataclass(frozen=True)
class PopularityBaseline:
    """Scores a news by its click-through rate in training, whoever the user is.

    The rate is shrunk towards the overall rate r of the log, as if every news had been shown `prior_showings`
    times more and clicked at that rate:

        (clicks + prior_showings · r) / (showings + prior_showings)

    A news that training never showed has the rate r.

    Example:
        scores = PopularityBaseline.fit(train_log, train_news).score(dev_log, dev_news)

    Attributes:
        news_ids: (rows,) ids of the training table's rows.
        click_rates: (rows,) float64 shrunk click-through rates.
        overall_rate: clicks / showings over the training log.
    """

    news_ids: pa.StringArray
    click_rates: np.ndarray
    overall_rate: float

    @classmethod
    def fit(cls, log: ImpressionLog, news: NewsTable, prior_showings: float = 100.0) -> PopularityBaseline:
        """Counts the showings and the clicks of every news.

        Args:
            log: the training log, with labels.
            news: the table that the log's rows point into.
            prior_showings: the weight of the overall rate. With MIND's click rate of 4 %, 100 showings are
                worth four clicks.

        Raises:
            ValueError: if the log has no labels.
        """
        clicks = count_clicks(log, news)
        showings = np.bincount(log.candidates.values, minlength=len(news))
        overall_rate = float(log.labels.mean(dtype=np.float64))
        click_rates = (clicks + prior_showings * overall_rate) / (showings + prior_showings)
        return cls(news.ids, click_rates, overall_rate)

    def score(self, log: ImpressionLog, news: NewsTable) -> np.ndarray:
        """Scores every candidate of a log.

        Args:
            log: the log to score.
            news: the table that the log's rows point into; it need not be the training table.

        Returns:
            (candidates,) float64 click-through rates.
        """
        return news.align(self.news_ids, self.click_rates, missing=self.overall_rate)[log.candidates.values]


def history_oracle_scores(log: ImpressionLog, news: NewsTable, prior_clicks: float = 1.0) -> np.ndarray:
    """Scores a candidate by how much more than others its user reads of the candidate's true subcategory.

    With n(u, s) the clicks on subcategory s in the history of user u, n(u) the length of that history
    and p(s) the share of s over all distinct histories of the log, the user is expected to click n(u) p(s)
    times on s, and

        score = log( (n(u, s) + a) / (n(u) p(s) + a) ),    a = `prior_clicks`.

    The fraction is the posterior mean of a Poisson rate relative to its expectation, under a Gamma(a, a)
    prior, whose mean is 1. So one click on a rare subcategory does not outweigh all else, and a user without
    a history scores 0 everywhere.

    Args:
        log: the log to score.
        news: the table that the log's rows point into.
        prior_clicks: the strength a > 0 of the smoothing, in clicks.

    Returns:
        (candidates,) float64.
    """
    subcategory = np.asarray(news.subcategory.dictionary_encode().indices, dtype=np.int64)
    num_subcategories = int(subcategory.max()) + 1
    history_length = log.histories.lengths
    history = np.repeat(np.arange(history_length.size), history_length)
    clicked = subcategory[log.histories.values]
    share = np.bincount(clicked, minlength=num_subcategories) / max(clicked.size, 1)
    pairs, clicks = np.unique(history * num_subcategories + clicked, return_counts=True)

    of_history = np.repeat(np.asarray(log.history_of, dtype=np.int64), log.candidates.lengths)
    of_subcategory = subcategory[log.candidates.values]
    observed = _look_up(pairs, clicks, of_history * num_subcategories + of_subcategory)
    expected = history_length[of_history] * share[of_subcategory]
    return np.log((observed + prior_clicks) / (expected + prior_clicks))


def oracle_scores(path: str | Path, log: ImpressionLog) -> np.ndarray:
    """Reads the true click logits that were written when the log was made.

    Args:
        path: `click_logits.txt`, in the format of `write_scores`.
        log: the log that the file belongs to.

    Returns:
        (candidates,) float64.

    Raises:
        DataFormatError: if the file does not have a line per impression and a number per candidate.
        FileNotFoundError: if there is no such file.
    """
    scores, offsets = read_scores(path)
    remedy = "The file belongs to another behaviors.tsv."
    if len(offsets) != len(log.candidates.offsets):
        problem = f"has {len(offsets) - 1} lines, but the log has {len(log.candidates.offsets) - 1} impressions."
        raise DataFormatError(path, problem, remedy=remedy)
    found, expected = np.diff(offsets), log.candidates.lengths
    wrong = np.flatnonzero(found != expected)
    if wrong.size:
        first = wrong[0]
        problem = f"has {found[first]} scores, but the impression has {expected[first]} candidates."
        raise DataFormatError(path, problem, line=int(first) + 1, remedy=remedy)
    return scores


def _look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Finds each wanted key's value among sorted distinct non-negative keys; 0 where there is none."""
    keys, values = np.append(keys, np.iinfo(np.int64).max), np.append(values, 0)
    position = np.searchsorted(keys, wanted)
    return np.where(keys[position] == wanted, values[position], 0)
