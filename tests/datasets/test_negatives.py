"""Which news are drawn as negatives, and with which probabilities."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.datasets import negatives as module
from recommenders_miner.datasets.negatives import DRAWS, Negatives, draw_negatives

HOUR = 3600


def draw(user, hours, news, published=None, **options):
    """The candidates of each click, without the click; and which place the click has."""
    time = np.array([round(hour * HOUR) for hour in hours], np.int64)
    published = np.full(max(news) + 1, -1) if published is None else np.array(published, np.int64)
    user, news = np.array(user, np.int32), np.array(news, np.int32)
    candidates, labels, offsets = draw_negatives(user, time, news, published, Negatives(**options))
    assert (candidates.dtype, labels.dtype, offsets.dtype) == (np.int32, np.int8, np.int64)
    found = []
    for click, (first, last) in enumerate(itertools.pairwise(offsets)):
        assert labels[first:last].sum() == 1
        assert candidates[first:last][labels[first:last] == 1] == news[click]
        found.append(sorted(candidates[first:last][labels[first:last] == 0].tolist()))
    return found, [int(np.argmax(labels[first:last])) for first, last in itertools.pairwise(offsets)]


def eligible(click, user, time, news, published, window):
    """What a click's negatives can be, straight from the definition."""
    first_click = {item: min(time[news == item]) for item in news}
    own = {item for who, item in zip(user, news, strict=True) if who == user[click]}
    near = {item for when, item in zip(time, news, strict=True) if abs(when - time[click]) <= window}
    since = {item: published[item] if published[item] >= 0 else first_click[item] for item in near}
    return {item for item in near - own if since[item] <= time[click]}


clicks = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 60), st.integers(0, 9)), min_size=1, max_size=40)


@settings(deadline=None, max_examples=60)
@given(
    clicks=clicks,
    published=st.lists(st.integers(-1, 40), min_size=10, max_size=10),
    count=st.integers(1, 12),
    window=st.integers(1, 30),
    draw=st.sampled_from(DRAWS),
    rounds=st.integers(0, 3),
)
def test_negatives_are_alive_distinct_and_as_many_as_there_are(clicks, published, count, window, draw, rounds):
    user, time, news = (np.array(column) for column in zip(*sorted(clicks, key=lambda click: click[1]), strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_ROUNDS", rounds)  # the rest is counted out
        options = Negatives(count, window / HOUR, draw)
        candidates, labels, offsets = draw_negatives(user, time.astype(np.int64), news, np.array(published), options)
    assert len(offsets) == len(clicks) + 1
    for click in range(len(clicks)):
        shown = slice(offsets[click], offsets[click + 1])
        drawn = candidates[shown][labels[shown] == 0].tolist()
        assert candidates[shown][labels[shown] == 1].tolist() == [news[click]]
        allowed = eligible(click, user, time, news, published, window)
        assert len(set(drawn)) == len(drawn) == min(count, len(allowed))
        assert set(drawn) <= allowed


@pytest.mark.parametrize("draw_by", DRAWS)
def test_the_window_reaches_as_far_before_as_after(draw_by):
    found, _ = draw([0, 1, 2], [0, 24, 48.01], [0, 1, 2], published=[0, 0, 0], draw=draw_by)
    assert found == [[1], [0], []]


@pytest.mark.parametrize("draw_by", DRAWS)
def test_a_news_without_a_date_is_no_negative_before_somebody_clicked_on_it(draw_by):
    found, _ = draw([0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 1], draw=draw_by)
    assert found == [[], [0], [0, 1], [0, 2]]


def test_counting_out_few_news_takes_no_longer_for_more_clicks_on_them():
    clicks = 200_000
    user, time, news = np.arange(clicks), np.sort(np.arange(clicks) % 80_000), np.arange(clicks) % 15
    _, _, offsets = draw_negatives(user, time, news, np.zeros(15, np.int64), Negatives(count=20))
    assert (np.diff(offsets) == 15).all()


def shares(draw_by, rounds=20):
    """How often each of three news is the one negative of a click; the first has twice the clicks of each other."""
    count = 4000
    user = [0, 1, 2, 3, *range(4, 4 + count)]
    news = [0, 0, 1, 2, *[3] * count]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_ROUNDS", rounds)
        found, _ = draw(user, [1.0] * len(user), news, count=1, draw=draw_by)
    return np.bincount([drawn[0] for drawn in found[4:]], minlength=3) / count


@pytest.mark.parametrize("rounds", [20, 0])
def test_popularity_draws_in_proportion_to_clicks(rounds):
    np.testing.assert_allclose(shares("popularity", rounds), [0.5, 0.25, 0.25], atol=0.03)


@pytest.mark.parametrize("rounds", [20, 0])
def test_uniform_draws_each_alike(rounds):
    np.testing.assert_allclose(shares("uniform", rounds), [1 / 3] * 3, atol=0.03)


def test_the_click_stands_at_any_place_among_its_negatives():
    user = list(range(3000))
    _, places = draw(user, [1.0] * 3000, [k % 10 for k in user], count=4)
    np.testing.assert_allclose(np.bincount(places) / 3000, [0.2] * 5, atol=0.03)


def test_the_same_seed_draws_the_same_and_another_does_not():
    arguments = [list(range(200)), [k / 10 for k in range(200)], [k % 40 for k in range(200)]]
    one, again, other = (draw(*arguments, count=5, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_no_clicks_give_no_candidates():
    nothing = np.empty(0, np.int64)
    candidates, labels, offsets = draw_negatives(nothing, nothing, nothing, nothing, Negatives())
    assert (len(candidates), len(labels), offsets.tolist()) == (0, 0, [0])


@pytest.mark.parametrize("bad", [{"count": 0}, {"window_hours": 0}, {"draw": "best"}, {"seed": -1}])
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(ValueError, match="got"):
        Negatives(**bad)
