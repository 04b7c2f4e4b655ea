import math
import re
from collections import Counter
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.errors import DataFormatError
from recommenders_miner.evaluation.baselines import (
    PopularityBaseline,
    history_oracle_scores,
    oracle_scores,
    random_scores,
)
from recommenders_miner.evaluation.metrics import evaluate_scores
from recommenders_miner.evaluation.submission import write_scores

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


def naive_rates(candidates, labels, prior_showings):
    pairs = zip(chain(*candidates), chain(*labels), strict=True)
    shown, clicked = Counter(chain(*candidates)), Counter(name for name, label in pairs if label)
    overall = clicked.total() / shown.total()
    return lambda name: (clicked[name] + prior_showings * overall) / (shown[name] + prior_showings)


# === Random ===


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


# === Popularity ===


@given(columns(), columns(ids=("N6", "N3", "N2", "N5")), st.sampled_from([0.5, 10.0, 100.0]))
@settings(max_examples=30, deadline=None)
def test_popularity_agrees_with_counting_one_by_one(train, dev, prior_showings):
    # The two tables hold other news, and those in both lie in other rows.
    train_news, dev_news = make_news(), make_news(("N6", "N3", "N2", "N5"))
    train_log = ImpressionLog.from_columns(train_news, *train)
    dev_log = ImpressionLog.from_columns(dev_news, *dev)
    baseline = PopularityBaseline.fit(train_log, train_news, prior_showings)
    rate = naive_rates(*train[1:], prior_showings)
    expected = [rate(name) for row in dev[1] for name in row]
    np.testing.assert_allclose(baseline.score(dev_log, dev_news), expected, rtol=1e-12)


def test_an_article_that_training_lacks_has_the_overall_rate():
    train_news = make_news(("N1", "N2", "N3"))
    train_log = ImpressionLog.from_columns(train_news, [[]], [["N1", "N1", "N2", "N2"]], [[1, 0, 0, 0]])
    dev_news = make_news(("N4", "N3", "N2", "N1"))
    dev_log = ImpressionLog.from_columns(dev_news, [[]], [["N4", "N3", "N2", "N1"]])
    scores = PopularityBaseline.fit(train_log, train_news, prior_showings=2).score(dev_log, dev_news)
    # The overall rate is 1/4: (0 + 2/4) / (0 + 2), the same, (0 + 2/4) / (2 + 2) and (1 + 2/4) / (2 + 2).
    assert scores.tolist() == [0.25, 0.25, 0.125, 0.375]


def test_few_showings_weigh_less_than_many_and_labels_are_needed():
    news = make_news()
    shown = [["N1"], *[["N2"]] * 200, *[["N3"]] * 200]
    clicked = [[1], *[[1]] * 100, *[[0]] * 300]
    log = ImpressionLog.from_columns(news, [[]] * 401, shown, clicked)
    one_of_one, hundred_of_two_hundred = PopularityBaseline.fit(log, news).score(log, news)[:2]
    assert one_of_one < hundred_of_two_hundred
    with pytest.raises(ValueError, match="no labels"):
        PopularityBaseline.fit(ImpressionLog.from_columns(news, [[]], [["N1", "N2"]]), news)


# === History oracle ===


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


def test_history_oracle_prefers_what_the_user_reads_more_than_others():
    news = make_news()
    log = ImpressionLog.from_columns(
        news,
        [["N1", "N2", "N1", "N3"], ["N3", "N3", "N3"], []],
        [["N2", "N3", "N4"], ["N1", "N3", "N4"], ["N1", "N3", "N4"]],
    )
    of_golf, of_tennis, newcomer = history_oracle_scores(log, news).reshape(3, 3)
    assert of_golf[0] > of_golf[2] > of_golf[1]  # golf, then tax that nobody reads, then tennis
    assert of_tennis[1] > of_tennis[2] > of_tennis[0]
    assert newcomer.tolist() == [0, 0, 0]
    without_histories = ImpressionLog.from_columns(news, [[], []], [["N1", "N2"], ["N3"]])
    assert history_oracle_scores(without_histories, news).tolist() == [0, 0, 0]


# === Oracle ===


@pytest.fixture
def log():
    return ImpressionLog.from_columns(make_news(), [[], []], [["N1", "N2"], ["N3", "N4", "N1"]])


def test_oracle_reads_the_logits(tmp_path, log):
    logits = Ragged.of_lists([[0.5, -1.25], [3.0, 0.0, 1e-9]], "float64")
    write_scores(tmp_path / "click_logits.txt", logits)
    np.testing.assert_array_equal(oracle_scores(tmp_path / "click_logits.txt", log), logits.values)


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("1 2\n", "", "has 1 lines, but the log has 2 impressions"),
        ("1 2\n1 2 3\n\n", "", "has 3 lines, but the log has 2 impressions"),
        ("1 2\n1 2\n", ", line 2", "has 2 scores, but the impression has 3 candidates"),
        ("1 2 3\n1 2\n", ", line 1", "has 3 scores, but the impression has 2 candidates"),
    ],
)
def test_logits_of_another_log_are_refused(tmp_path, log, text, place, message):
    path = tmp_path / "click_logits.txt"
    path.write_text(text)
    with pytest.raises(DataFormatError, match=re.escape(f"{path}{place}: {message}")):
        oracle_scores(path, log)
