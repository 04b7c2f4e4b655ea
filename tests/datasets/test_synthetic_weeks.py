"""Simulated users: how they click, and how their interests move."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.data.partition import join_logs
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.datasets.synthetic.weeks import (
    Interests,
    SimulationConfig,
    Site,
    appended,
    clicked_before,
    top_places,
)

CONFIG = SimulationConfig(num_users=120, num_days=6, warm_up_days=3, news_per_day=60, places=10)
SUPPLY = np.array([0.5, 0.3, 0.15, 0.05])


@pytest.fixture(scope="module")
def site():
    return Site.draw(CONFIG, 7)


def interests(seed, users=5):
    return Interests.of_preference(np.random.default_rng(seed).normal(0, 2, (users, len(SUPPLY))), SUPPLY)


# === Interests ===


@given(st.integers(0, 1000), st.floats(0, 0.5))
@settings(max_examples=30)
def test_interests_move_as_the_equation_says_and_appetite_stays(seed, drift):
    before = interests(seed)
    clicks = np.random.default_rng([seed, 1]).integers(0, 3, before.shares.shape).astype(float)
    after = before.after(clicks, drift)
    for user, of_user in enumerate(clicks):
        n = of_user.sum()
        for topic, n_t in enumerate(of_user):
            p = before.shares[user, topic]
            expected = (1 - drift) ** n * p + (1 - (1 - drift) ** n) * (n_t / n if n else 0)
            assert after.shares[user, topic] == pytest.approx(expected)
        appetite = [np.log(sum(SUPPLY * np.exp(v))) for v in (before.preference[user], after.preference[user])]
        assert appetite[0] == pytest.approx(appetite[1])


@given(st.integers(0, 1000))
@settings(max_examples=30)
def test_preference_gives_interests_and_they_give_it_back(seed):
    preference = np.random.default_rng(seed).normal(0, 3, (4, len(SUPPLY)))
    np.testing.assert_allclose(Interests.of_preference(preference, SUPPLY).preference, preference)


def test_clicks_on_a_random_supply_leave_the_expected_interests():
    before = interests(3)
    clicks = 5 * SUPPLY * np.exp(before.preference)  # of news shown at random, without saturation
    np.testing.assert_allclose(before.after(clicks, 0.1).shares, before.shares)


# === The site ===


def test_the_same_seed_gives_the_same_site_and_the_same_luck(site):
    again = Site.draw(CONFIG, 7)
    assert again.table.digest == site.table.digest
    for day in (0, 5):
        one, other = site.visit(site.interests, day), again.visit(again.interests, day)
        np.testing.assert_array_equal(one.luck, other.luck)
        np.testing.assert_array_equal(one.click_rates, other.click_rates)
    assert Site.draw(CONFIG, 8).table.digest != site.table.digest


def test_luck_does_not_depend_on_interests(site):
    moved = site.interests.after(np.eye(len(site.supply))[np.zeros(CONFIG.num_users, int)] * 50, 0.1)
    one, other = site.visit(site.interests, 2), site.visit(moved, 2)
    np.testing.assert_array_equal(one.luck, other.luck)
    assert not np.allclose(one.click_rates, other.click_rates)


def test_a_random_article_is_clicked_at_the_rate_that_is_asked_for(site):
    assert site.visit(site.interests, -CONFIG.warm_up_days).click_rates.mean() == pytest.approx(CONFIG.click_rate)


def test_only_what_is_published_and_not_gone_can_be_shown(site):
    for day in range(-CONFIG.warm_up_days, CONFIG.num_days):
        moment, news = site.moment(day), site.news
        alive = [row + 1 for row in range(len(news.topic)) if news.birth[row] <= moment < news.death[row]]
        assert site.pool(day).tolist() == alive
    assert (np.diff(site.table.published[1:]) >= 0).all()


def test_clicks_come_as_often_as_is_expected_and_less_often_further_down(site):
    visit = site.visit(site.interests, 0)
    places = np.tile(np.arange(CONFIG.places), (CONFIG.num_users, 1))
    shown = site.show(visit, places)
    for user, rank in ((0, 0), (3, 4), (7, 9)):
        looked_at = (1 + rank) ** -site.world.position_weight
        assert shown.expected[user, rank] == pytest.approx(looked_at * visit.click_rates[user, rank])
    spread = np.sqrt((shown.expected * (1 - shown.expected)).sum())
    assert abs(shown.clicked.sum() - shown.expected.sum()) < 4 * spread
    assert shown.clicked.any()


def test_the_warm_up_logs_what_was_shown_and_adds_clicks_to_histories(site):
    logs, histories = site.warm_up()
    log = join_logs(logs)
    assert len(log) == CONFIG.warm_up_days * CONFIG.num_users
    assert log.clicks.sum() == len(histories.values) - len(site.histories.values)
    for impression in (0, len(log) // 2, len(log) - 1):
        day, user = divmod(impression, CONFIG.num_users)
        assert log.user_of[impression] == user
        pool = site.pool(day - CONFIG.warm_up_days)
        candidates, history = log.candidates[impression], log.history(log.history_of[impression])
        assert np.isin(candidates, pool).all()
        assert not np.isin(candidates, history).any()
        assert histories[user][: len(history)].tolist() == history.tolist()


def test_too_few_articles_for_the_lists_are_refused():
    with pytest.raises(ValueError, match="raise news_per_day"):
        Site.draw(SimulationConfig(num_users=5, num_days=2, warm_up_days=2, news_per_day=3), 0)


# === Lists and histories ===


@given(st.integers(0, 1000))
@settings(max_examples=30)
def test_histories_lists_and_candidates_are_those_of_a_loop(seed):
    rng = np.random.default_rng(seed)
    users, num_rows, k = 6, 20, 4
    histories = Ragged.of_lists([rng.permutation(np.arange(1, num_rows))[: rng.integers(0, 6)] for _ in range(users)])
    pool = np.sort(rng.permutation(np.arange(1, num_rows))[:9])
    lists = np.stack([rng.permutation(pool)[:k] for _ in range(users)])
    clicked = rng.random(lists.shape) < 0.3
    longer = appended(histories, lists, clicked)
    assert [row.tolist() for row in longer] == [
        [*history, *shown[hit]] for history, shown, hit in zip(histories, lists, clicked, strict=True)
    ]
    found = clicked_before(histories, pool, num_rows)
    assert found.tolist() == [[article in history for article in pool] for history in histories]
    scores = rng.integers(0, 4, (users, len(pool))).astype(float)  # with ties, of which the newest come first
    expected = [sorted(range(len(pool)), key=lambda place, row=row: (-row[place], -place))[:k] for row in scores]
    assert top_places(scores, k).tolist() == expected
