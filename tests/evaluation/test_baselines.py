import math
from collections import Counter
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.data.context import PRIOR_SHOWINGS, Context
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.evaluation.baselines import (
    history_oracle_scores,
    popularity_now_scores,
    popularity_scores,
    random_scores,
)
from recommenders_miner.evaluation.metrics import evaluate_scores

SUBCATEGORY = {"N1": "golf", "N2": "golf", "N3": "tennis", "N4": "tax", "N5": "", "N6": "opera"}


def make_news(ids=tuple(SUBCATEGORY)):
    return NewsTable.from_columns(list(ids), list(ids), subcategory=[SUBCATEGORY[name] for name in ids])


@st.composite
def columns(draw, ids=tuple(SUBCATEGORY)):
    """Histories, candidates and labels of a log, as lists per impression."""
    news = st.sampled_from(ids)
    histories = draw(st.lists(st.lists(news, max_size=6), min_size=1, max_size=6))
    impressions = [draw(st.lists(st.tuples(news, st.integers(0, 1)), min_size=1, max_size=6)) for _ in histories]
    candidates = [[name for name, _ in shown] for shown in impressions]
    return histories, candidates, [[label for _, label in shown] for shown in impressions]


def test_random_scores_depend_on_the_seed_alone_and_have_an_auc_of_one_half():
    news = make_news()
    log = ImpressionLog.from_columns(news, [[]] * 2000, [["N1", "N2", "N3", "N4"]] * 2000, [[1, 0, 0, 0]] * 2000)
    scores = random_scores(log, seed=3)
    assert scores.shape == (8000,)
    assert len(set(scores)) == 8000
    np.testing.assert_array_equal(scores, random_scores(log, seed=3))
    assert not np.array_equal(scores, random_scores(log, seed=4))
    evaluation = evaluate_scores(scores, log.labels, log.candidates.offsets)
    assert abs(evaluation.metrics["group_auc"] - 0.5) < 4 * evaluation.standard_errors["group_auc"] < 0.04


@given(columns(), columns(ids=("N6", "N3", "N2", "N5")), st.sampled_from([0.5, 10.0, 100.0]))
@settings(max_examples=30, deadline=None)
def test_popularity_agrees_with_counting_one_by_one(train, dev, prior_showings):
    # The two tables hold other news, and those in both lie in other rows.
    train_news, dev_news = make_news(("N2", "N1", "N4", "N3", "N6", "N5")), make_news(("N6", "N3", "N2", "N5"))
    logs = ImpressionLog.from_columns(dev_news, *dev), dev_news, ImpressionLog.from_columns(train_news, *train)
    pairs = zip(chain(*train[1]), chain(*train[2]), strict=True)
    shown, clicked = Counter(chain(*train[1])), Counter(name for name, label in pairs if label)
    prior = prior_showings * clicked.total() / shown.total()
    expected = [(clicked[name] + prior) / (shown[name] + prior_showings) for row in dev[1] for name in row]
    np.testing.assert_allclose(popularity_scores(*logs, train_news, prior_showings), expected, rtol=1e-12)


def test_popularity_needs_labels():
    news = make_news()
    log = ImpressionLog.from_columns(news, [[]], [["N1", "N2"]])
    with pytest.raises(ValueError, match="no labels"):
        popularity_scores(log, news, log, news)


def at(hours, log_columns, news):
    return ImpressionLog.from_columns(news, *log_columns, time=[1_573_300_800 + 3600 * hour for hour in hours])


@given(columns(), columns(ids=("N6", "N3", "N2", "N5")), st.sampled_from([0, 2, "split"]), st.data())
@settings(max_examples=40, deadline=None)
def test_popularity_now_agrees_with_counting_one_by_one(train, dev, horizon, data):
    train_news, dev_news = make_news(("N2", "N1", "N4", "N3", "N6", "N5")), make_news(("N6", "N3", "N2", "N5"))
    hours = [data.draw(st.lists(st.integers(0, 5), min_size=len(of[0]), max_size=len(of[0]))) for of in (train, dev)]
    hours[1] = [hour + 6 for hour in hours[1]]
    train_log, log = at(hours[0], train, train_news), at(hours[1], dev, dev_news)
    earlier = Context.of_log(train_log, train_news, horizon=horizon).counts()
    found = popularity_now_scores(Context.of_log(log, dev_news, earlier, horizon))
    known = [
        (hour, name, label)
        for of_log, shown, labels in zip(hours, (train[1], dev[1]), (train[2], dev[2]), strict=True)
        for hour, names, marks in zip(of_log, shown, labels, strict=True)
        for name, label in zip(names, marks, strict=True)
    ]
    expected = []
    for hour, names in zip(hours[1], dev[1], strict=True):
        until = min(hours[1]) if horizon == "split" else hour - horizon
        past = [(name, label) for when, name, label in known if when < until]
        prior = PRIOR_SHOWINGS * (sum(label for _, label in past) + 1) / (len(past) + 25)
        for name in names:
            labels = [label for other, label in past if other == name]
            expected.append((sum(labels) + prior) / (len(labels) + PRIOR_SHOWINGS))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_popularity_now_of_a_log_is_made_in_parts(monkeypatch):
    news = make_news()
    rng = np.random.default_rng(0)
    shown = [rng.choice(news.ids.to_pylist()[1:], 3, replace=False).tolist() for _ in range(20)]
    log = at(range(20), ([[]] * 20, shown, [[1, 0, 0]] * 20), news)
    whole = popularity_now_scores(Context.of_log(log, news))
    monkeypatch.setattr("recommenders_miner.data.context._IMPRESSIONS_AT_ONCE", 7)
    assert popularity_now_scores(Context.of_log(log, news)).tolist() == whole.tolist()
    assert len(set(whole)) > 10


@given(columns(), st.sampled_from([0.5, 1.0, 5.0]))
@settings(max_examples=30, deadline=None)
def test_history_oracle_agrees_with_counting_one_by_one(log_columns, prior_clicks):
    histories, candidates, _ = log_columns
    news = make_news()
    log = ImpressionLog.from_columns(news, *log_columns)
    distinct = {tuple(history) for history in histories}
    overall = Counter(SUBCATEGORY[name] for history in distinct for name in history)
    expected = []
    for history, names in zip(histories, candidates, strict=True):
        own = Counter(SUBCATEGORY[name] for name in history)
        for name in names:
            share = overall[SUBCATEGORY[name]] / overall.total() if overall else 0
            numerator = own[SUBCATEGORY[name]] + prior_clicks
            expected.append(math.log(numerator / (len(history) * share + prior_clicks)))
    np.testing.assert_allclose(history_oracle_scores(log, news, prior_clicks), expected, atol=1e-12)
