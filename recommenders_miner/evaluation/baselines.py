"""Scores that need no model: the floors and the ceilings that every trained model is read against.

Floors: random scores, the popularity of an article in training, and that of the moment. Ceilings, where the data was
made by a known process: a rule that counts the true subcategories of a user's history, and the true click logits, a
file of scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recommenders_miner.data.counts import clicks_with_label, shrunk_rate

if TYPE_CHECKING:
    from recommenders_miner.data.context import Context
    from recommenders_miner.data.log import ImpressionLog
    from recommenders_miner.data.news import NewsTable


FLOORS = ("random", "popularity", "popularity-now")
"""The names of the scores that need neither training nor the truth."""


def random_scores(log: ImpressionLog, seed: int) -> np.ndarray:
    """Score every candidate of a log at random, uniformly in [0, 1): (candidates,) float64."""
    return np.random.default_rng(seed).random(len(log.candidates.values))


def count_clicks(log: ImpressionLog, news: NewsTable) -> np.ndarray:
    """Count the clicks on every article of a training log's table: (rows,) int64; ValueError without labels."""
    if not log.labelled:
        raise ValueError("The popularity of news is counted from clicks, but the training log has no labels.")
    return np.bincount(log.candidates.values[log.labels == 1], minlength=len(news))


def popularity_scores(
    log: ImpressionLog,
    news: NewsTable,
    training_log: ImpressionLog,
    training_news: NewsTable,
    prior_showings: float = 100.0,
) -> np.ndarray:
    """Score an article by its click-through rate in training, whoever the user is: (candidates,) float64.

    The rate is shrunk towards the overall rate r of the training log, as if every article had been shown
    `prior_showings` times more and clicked at that rate:

        (clicks + prior_showings · r) / (showings + prior_showings)

    An article that training never showed has the rate r. With MIND's click rate of 4 %, 100 showings are worth four
    clicks.
    """
    clicks = count_clicks(training_log, training_news)
    showings = np.bincount(training_log.candidates.values, minlength=len(training_news))
    overall_rate = float(training_log.labels.mean(dtype=np.float64))
    click_rates = shrunk_rate(clicks, showings, overall_rate, prior_showings)
    return news.align(training_news.ids, click_rates, missing=overall_rate)[log.candidates.values]


def popularity_now_scores(context: Context) -> np.ndarray:
    """Score an article by its click rate so far, as of each impression, whoever the user is: (candidates,) float32.

    It is the `click_rate` of a log's context: what was shown and clicked before the impression, in this log and in the
    one that it goes on from, less what the context's horizon holds back.
    """
    return np.concatenate([column[:, 0] for _, column in context.only(["click_rate"]).parts()])


def history_oracle_scores(log: ImpressionLog, news: NewsTable, prior_clicks: float = 1.0) -> np.ndarray:
    """Score a candidate by how much more than others its user reads of the candidate's true subcategory.

    With n(u, s) the clicks on subcategory s in the history of user u, n(u) the length of that history and p(s) the
    share of s over all distinct histories of the log, the user is expected to click n(u) p(s) times on s, and

        score = log( (n(u, s) + a) / (n(u) p(s) + a) ),    a = `prior_clicks` > 0.

    The fraction is the posterior mean of a Poisson rate relative to its expectation, under a Gamma(a, a) prior, whose
    mean is 1. So one click on a rare subcategory does not outweigh all else, and a user without a history scores 0
    everywhere. The scores are (candidates,) float64.
    """
    names, subcategory = news.labels["subcategory"]
    clicked = subcategory[log.histories.values]
    share = np.bincount(clicked, minlength=len(names)) / max(clicked.size, 1)

    history = log.candidates.repeat(np.asarray(log.history_of, dtype=np.int64))
    clicks = clicks_with_label(log.histories, history, subcategory, log.candidates.values)
    expected = log.histories.lengths[history] * share[subcategory[log.candidates.values]]
    return np.log((clicks + prior_clicks) / (expected + prior_clicks))
