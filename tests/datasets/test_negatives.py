"""Which articles are drawn as negatives, and with which probabilities."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.data.ragged import Ragged
from recommenders_miner.datasets import negatives as module
from recommenders_miner.datasets.negatives import Negatives, draw_negatives

HOUR = 3600


def draw(user, hours, article, published=None, **options):
    """The negatives of each click, and which place among its candidates it has."""
    time = np.array([round(hour * HOUR) for hour in hours], np.int64)
    published = np.full(max(article) + 1, -1) if published is None else np.array(published, np.int64)
    user, article = np.array(user, np.int32), np.array(article, np.int32)
    candidates, labels = draw_negatives(user, time, article, published, Negatives(**options))
    assert (candidates.values.dtype, labels.dtype, len(candidates)) == (np.int32, np.int8, len(user))
    assert candidates.values[labels == 1].tolist() == article.tolist()
    labels = Ragged(labels, candidates.offsets)
    assert (labels.sums() == 1).all()
    found = [sorted(row[label == 0].tolist()) for row, label in zip(candidates, labels, strict=True)]
    return found, [int(np.argmax(row)) for row in labels]


def eligible(click, user, time, article, published, window):
    """What a click's negatives can be, straight from the definition."""
    first_click = {item: min(time[article == item]) for item in article}
    own = {item for who, item in zip(user, article, strict=True) if who == user[click]}
    near = {item for when, item in zip(time, article, strict=True) if abs(when - time[click]) <= window}
    since = {item: published[item] if published[item] >= 0 else first_click[item] for item in near}
    return {item for item in near - own if since[item] <= time[click]}


@settings(deadline=None, max_examples=60)
@given(
    clicks=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 60), st.integers(0, 9)), min_size=1, max_size=40),
    published=st.lists(st.integers(-1, 40), min_size=10, max_size=10),
    count=st.integers(1, 12),
    window=st.integers(1, 30),
    draw_by=st.sampled_from(["popularity", "uniform"]),
    rounds=st.integers(0, 3),
)
def test_negatives_are_alive_distinct_and_as_many_as_there_are(clicks, published, count, window, draw_by, rounds):
    user, time, article = (np.array(column) for column in zip(*sorted(clicks, key=lambda c: c[1]), strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_ROUNDS", rounds)  # the rest is counted out
        options = {"count": count, "window_hours": window / HOUR, "draw": draw_by}
        found, _ = draw(user, time / HOUR, article, published, **options)
    for click, drawn in enumerate(found):
        allowed = eligible(click, user, time, article, published, window)
        assert len(set(drawn)) == len(drawn) == min(count, len(allowed))
        assert set(drawn) <= allowed


def test_counting_out_few_articles_takes_no_longer_for_more_clicks_on_them():
    clicks = 50_000
    user, time, article = np.arange(clicks), np.sort(np.arange(clicks) % 20_000), np.arange(clicks) % 15
    candidates, _ = draw_negatives(user, time, article, np.zeros(15, np.int64), Negatives(count=20))
    assert (candidates.lengths == 15).all()


@pytest.mark.parametrize("rounds", [20, 0])
@pytest.mark.parametrize(("draw_by", "expected"), [("popularity", [0.5, 0.25, 0.25]), ("uniform", [1 / 3] * 3)])
def test_shares(monkeypatch, draw_by, expected, rounds):
    """How often each of three articles is the one negative of a click, the first having twice the others' clicks."""
    monkeypatch.setattr(module, "_ROUNDS", rounds)
    user = range(4004)
    found, _ = draw(user, [1.0] * len(user), [0, 0, 1, 2, *[3] * 4000], count=1, draw=draw_by)
    shares = np.bincount([drawn[0] for drawn in found[4:]], minlength=3) / 4000
    np.testing.assert_allclose(shares, expected, atol=0.03)


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
    candidates, labels = draw_negatives(nothing, nothing, nothing, nothing, Negatives())
    assert (len(candidates), len(labels)) == (0, 0)


@pytest.mark.parametrize(("name", "bad"), [("count", 0), ("window_hours", 0), ("draw", "best"), ("seed", -1)])
def test_settings_out_of_range_are_refused(name, bad):
    with pytest.raises(ValueError, match=rf"{name}\n .*input_value={bad!r}"):
        Negatives(**{name: bad})
