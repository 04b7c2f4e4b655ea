"""The simulator of the synthetic benchmark: who is shown what, when, and the truth by which they click."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from recommenders_miner.data.ragged import Ragged
from recommenders_miner.datasets.synthetic.benchmark import PRESETS
from recommenders_miner.datasets.synthetic.text import load_topics
from recommenders_miner.datasets.synthetic.world import DAY, HOUR, _NewsSampler, attraction, simulate
from recommenders_miner.evaluation.metrics import evaluate_scores


def simulated(config, seed):
    topics, _ = load_topics()
    categories = sorted({topic.category for topic in topics})
    category = np.array([categories.index(topic.category) for topic in topics])
    shares = np.array([topic.share for topic in topics])
    return simulate(config, shares, category, np.random.SeedSequence(seed), progress=lambda step: None)


@pytest.fixture(scope="module")
def world():
    return simulated(PRESETS["demo"], 3)


def test_a_few_articles_are_shown_most():
    """At MIND's density of news: the 100 most shown have 20 % of the showings, the 1,000 most shown 74 %."""
    fewer = {"num_users": 1000, "num_train_impressions": 5000, "num_dev_impressions": 100}
    shown = simulated(dataclasses.replace(PRESETS["mind-small"], **fewer), 0).train.candidates.values
    showings = np.sort(np.bincount(shown))[::-1] / len(shown)
    assert showings[:100].sum() == pytest.approx(0.20, abs=0.03)
    assert showings[:1000].sum() == pytest.approx(0.74, abs=0.04)


def test_candidates_are_alive_and_histories_past_and_in_the_order_of_time(world):
    config, news = PRESETS["demo"], world.news
    for split in (world.train, world.dev):
        time = split.candidates.repeat(split.time)
        assert (news.birth[split.candidates.values] <= time).all()
        assert (time <= news.death[split.candidates.values]).all()
    assert (news.birth[world.histories.values] < config.history_days * DAY).all()
    assert 2 < np.median(news.death - news.birth) / DAY < 3
    # Within a history, later positions were born later on average; a shuffled one shows no such trend.
    long = [news.birth[row] for row in world.histories.slice(0, 300) if len(row) > 10]
    assert np.mean([np.corrcoef(np.arange(len(birth)), birth)[0, 1] for birth in long]) > 0.8


def test_sampling_without_replacement_follows_the_weights():
    """First draws match the weights, and the article left out matches Plackett-Luce."""
    topic, weight = np.array([0, 0, 1, 1, 2]), np.array([1.0, 3.0, 2.0, 2.0, 4.0])
    of_topic, rows = np.array([2.0, 1.0, 0.5]), 40_000
    sampler = _NewsSampler(np.arange(5), topic, weight, num_topics=3)
    drawn = sampler.draw_distinct(np.tile(of_topic, (rows, 1)), np.full(rows, 4), np.random.default_rng(0))
    drawn = drawn.values.reshape(rows, 4)
    assert all(len(set(row)) == 4 for row in drawn[:200].tolist())
    p = weight * of_topic[topic] / (weight * of_topic[topic]).sum()
    np.testing.assert_allclose(np.bincount(drawn[:, 0], minlength=5) / rows, p, atol=0.01)
    last = [comes_last(p, item, frozenset(range(5)) - {item}) for item in range(5)]
    np.testing.assert_allclose(np.bincount(10 - drawn.sum(1), minlength=5) / rows, last, atol=0.01)


def comes_last(p, item, others):
    """Return the Plackett-Luce probability that all others come before an item: the sum over all their orders."""
    mass = p[item] + sum(p[other] for other in others)
    return sum(p[other] / mass * comes_last(p, item, others - {other}) for other in others) if others else 1.0


def test_logits_are_the_utility(world):
    split, news, users = world.dev, world.news, world.users
    shown, time = split.candidates.values, split.candidates.repeat(split.time)
    preference = users.preference[split.candidates.repeat(split.user), news.topic[shown]]
    np.testing.assert_allclose(split.logits, preference + attraction(PRESETS["demo"], news, shown, time))
    assert (users.affinity.max(1) == 1).all()


# === Clicks: worlds of one effect, with one click in every impression ===

NOTHING = dict.fromkeys(
    ("interest_weight", "taste_weight", "popularity_weight", "freshness_weight", "position_weight", "extra_clicks"), 0.0
)


def world_of(**effects):
    """Train of a small world where nothing but some effects matters, and its config and news."""
    config = dataclasses.replace(PRESETS["tiny"], num_train_impressions=6000, **(NOTHING | effects))
    made = simulated(config, 5)
    return config, made.news, made.train


def assert_clicks_follow(split, utility, groups):
    """Assert that the candidates of groups are clicked as often as Plackett and Luce say; return the click rates."""
    weight = np.exp(utility)
    expected = np.bincount(groups, weight / split.candidates.repeat(Ragged(weight, split.candidates.offsets).sums()))
    clicks = np.bincount(groups, split.clicked)
    assert (np.abs(clicks - expected) < 4 * np.sqrt(expected)).all()
    assert expected.min() > 50
    return clicks / np.bincount(groups)


def test_clicks_fall_with_age():
    config, news, split = world_of(freshness_weight=1.0)
    age = (split.candidates.repeat(split.time) - news.birth[split.candidates.values]) / HOUR
    np.testing.assert_allclose(split.logits, -np.log1p(age / config.freshness_hours))
    rates = assert_clicks_follow(split, split.logits, np.digitize(age, [3, 12, 24, 48, 96]))
    assert (np.diff(rates) < 0).all()


def test_clicks_follow_the_burst():
    config, news, split = world_of(popularity_weight=0.5, burst_height=4.0)
    shown = split.candidates.values
    hours = (split.candidates.repeat(split.time) - news.burst_onset[shown]) / HOUR
    before, rising, high, falling, past = assert_clicks_follow(split, split.logits, np.digitize(hours, [0, 1, 4, 12]))
    assert before < rising < high > falling > past
    assert high > 3 * before

    # Truth: from 0 at the onset to the height an hour later, to 1/e of it after the decay.
    article = np.arange(len(news.topic))
    moments = np.array([0, 0.5, 1, 1 + config.burst_decay, 1000])
    curve = attraction(config, news, article[:, None], news.burst_onset[:, None] + moments * HOUR)
    extra = curve / config.popularity_weight - news.log_popularity[:, None]
    np.testing.assert_allclose(extra, news.burst_height[:, None] * [0, 0.5, 1, np.exp(-1), 0], atol=1e-9)
    assert (news.burst_onset > news.birth).all()
    assert news.burst_height.mean() == pytest.approx(4, rel=0.2)
    assert np.mean(news.burst_onset - news.birth) / HOUR == pytest.approx(config.burst_delay, rel=0.2)


def test_clicks_fall_with_the_position_which_neither_truth_nor_file_order_tells():
    _, news, split = world_of(position_weight=1.0)
    assert (split.logits == 0).all()
    rates = assert_clicks_follow(split, -np.log1p(split.position), np.digitize(split.position, [1, 2, 4, 8, 16]))
    assert (np.diff(rates) < 0).all()
    assert all((np.sort(row) == np.arange(len(row))).all() for row in Ragged(split.position, split.candidates.offsets))

    long = split.candidates.repeat(split.candidates.lengths) >= 8
    place, position = split.candidates.ranks()[long], split.position[long]
    share = place / split.candidates.repeat(split.candidates.lengths)[long]
    rates = np.bincount((4 * share).astype(int), split.clicked[long]) / np.bincount((4 * share).astype(int))
    assert np.ptp(rates) < 0.15 * rates.mean()
    exposure = news.exposure[split.candidates.values[long]]
    of_lists = split.candidates.rows()[long]
    assert abs(within(of_lists, place, position)) < 0.02 > abs(within(of_lists, place, exposure))
    assert within(of_lists, position, exposure) < -0.1  # what is put forward stands high


def within(group, one, other):
    """The correlation of two columns, less the means of their groups."""
    one, other = (
        column - (np.bincount(group, column) / np.maximum(np.bincount(group), 1))[group] for column in (one, other)
    )
    return np.corrcoef(one, other)[0, 1]


def test_histories_are_clicked_when_articles_attract():
    """The stronger the pull of fresh articles, the closer the order of clicks to that of births."""
    orders = []
    for weight in (0.0, 4.0):
        made = simulated(dataclasses.replace(PRESETS["tiny"], **(NOTHING | {"freshness_weight": weight})), 0)
        births = [made.news.birth[row] for row in made.histories if len(row) > 10]
        orders.append(np.mean([np.corrcoef(np.arange(len(birth)), birth)[0, 1] for birth in births]))
    assert orders[0] + 0.03 < orders[1] > 0.95


def auc(scores, split):
    return evaluate_scores(scores, split.clicked.astype(np.int8), split.candidates.offsets).metrics["group_auc"]


def test_nothing_that_a_model_could_know_beats_the_truth(world):
    """Not what the truth lacks a part of, nor what guesses the position, in which the most exposed are shown first."""
    config, news, split = PRESETS["demo"], world.news, world.dev
    shown, time = split.candidates.values, split.candidates.repeat(split.time)
    popularity = config.popularity_weight * news.log_popularity[shown]
    age = attraction(dataclasses.replace(config, popularity_weight=0), news, shown, time)
    burst = attraction(config, news, shown, time) - popularity - age
    truth = auc(split.logits, split)
    assert max(auc(split.logits - part, split) for part in (popularity, age, burst)) < truth - 0.002
    assert auc(split.logits + 0.1 * np.log(news.exposure[shown]), split) < truth + 0.002
    assert auc(split.logits - config.position_weight * np.log1p(split.position), split) > truth + 0.002


def test_the_truths_own_auc_is_what_its_probabilities_say():
    _, _, split = world_of(interest_weight=5.5, popularity_weight=0.6, freshness_weight=0.5)
    expected = []
    for logits in Ragged(split.logits, split.candidates.offsets):
        chance = np.exp(logits) / np.exp(logits).sum()
        expected.append(chance @ (logits[:, None] > logits).mean(1) * len(logits) / (len(logits) - 1))
    assert auc(split.logits, split) == pytest.approx(np.mean(expected), abs=0.01)
