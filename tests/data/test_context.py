"""The context of impressions: against a plain loop over what happened before, and against what must not be known."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.data.context import CONTEXT, PRIOR_SHOWINGS, WINDOWS, Context
from recommenders_miner.data.counts import Counts
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable

HOUR, DAY = 3600, 86_400
IDS = ["N1", "N2", "N3", "N4"]
LABELS_OF = {
    "category": {"N1": "a", "N2": "a", "N3": "b", "N4": "b", "N9": "c"},
    "subcategory": {"N1": "x", "N2": "y", "N3": "x", "N4": "z", "N9": "x"},
}
START = 1_573_300_800  # Saturday, noon


def table(published=None, ids=IDS):
    extra = None if published is None else {"published": published}
    labels = {name: [of[news_id] for news_id in ids] for name, of in LABELS_OF.items()}
    return NewsTable.from_columns(ids, ["a title"] * len(ids), **labels, extra=extra)


impressions = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 2, 30 * 60, HOUR, 5 * HOUR, DAY, DAY + 1, 30 * HOUR, 3 * DAY]),
        st.sampled_from("UVW"),
        st.lists(st.tuples(st.sampled_from(IDS), st.integers(0, 1)), min_size=1, max_size=4, unique_by=lambda p: p[0]),
        st.lists(st.sampled_from(IDS), max_size=3),
    ),
    min_size=1,
    max_size=8,
)
horizons = st.sampled_from([0.0, 1.0, 24.0, "split"])


def log_of(rows, news):
    return ImpressionLog.from_columns(
        news,
        histories=[history for *_, history in rows],
        candidates=[[news_id for news_id, _ in shown] for _, _, shown, _ in rows],
        labels=[[label for _, label in shown] for _, _, shown, _ in rows],
        users=[user for _, user, *_ in rows],
        time=[START + seconds for seconds, *_ in rows],
    )


def before_the_log(rows):
    """By user, the history of the first impression, the earliest."""
    return {user: history for _, user, _, history in sorted(reversed(rows), key=lambda row: -row[0])}


def plain(rows, earlier, published, horizon):
    """The columns by name, a list over all candidates each, as their definitions say."""
    events = [
        (START + seconds, user, news_id, label)
        for seconds, user, shown, _ in (earlier or []) + (rows if horizon != "split" or earlier is None else [])
        for news_id, label in shown
    ]
    times = [START + seconds for seconds, *_ in rows]
    found = {name: [] for name in CONTEXT}
    for time, (_, user, shown, history) in zip(times, rows, strict=True):
        known_at = min(times) if horizon == "split" else time - horizon * HOUR
        if horizon == "split" and earlier is None:
            known_at = max(times) + 1
            while known_at > time:
                known_at -= DAY
        past = [event for event in events if event[0] < known_at]

        def count(news_id, since=-np.inf, past=past):
            labels = [label for at, _, other, label in past if other == news_id and at >= since]
            return len(labels), sum(labels)

        prior = (sum(label for *_, label in past) + 1) / (len(past) + 25)
        rates = {}
        for news_id, _ in shown:
            showings, clicks = count(news_id)
            rates[news_id] = (clicks + PRIOR_SHOWINGS * prior) / (showings + PRIOR_SHOWINGS)
        for news_id, _ in shown:
            for window, seconds in WINDOWS.items():
                showings, clicks = count(news_id, known_at - seconds)
                found[f"showings_{window}"].append(showings)
                found[f"clicks_{window}"].append(clicks)
            showings, clicks = count(news_id)
            found["showings"].append(showings)
            found["clicks"].append(clicks)
            found["click_rate"].append(rates[news_id])
            found["click_rate_rank"].append(np.mean([rate > rates[news_id] for rate in rates.values()]))
            first = min([at for at, _, other, _ in past if other == news_id], default=None)
            born = (published and published[IDS.index(news_id)]) or first
            found["age"].append(-1 if born is None else max(time - born, 0) / HOUR)
            for label, of in LABELS_OF.items():
                found[f"clicks_in_{label}"].append(sum(of[clicked] == of[news_id] for clicked in history))
                past_clicks = list(itertools.chain.from_iterable(before_the_log(earlier or rows).values()))
                same = sum(of[clicked] == of[news_id] for clicked in past_clicks)
                found[f"expected_in_{label}"].append(len(history) * same / max(len(past_clicks), 1))
            found["hour"].append(time // HOUR % 24)
            found["weekday"].append((time // DAY + 3) % 7)
            found["user_clicks"].append(len(history))
            last = max([at for at, other, _, label in past if other == user and label], default=None)
            found["days_since_click"].append(-1 if last is None else (time - last) / DAY)
    return found


def columns(context):
    log = context.log
    values = context.of(log.candidates.rows(), log.candidates.values)
    assert values.dtype == np.float32
    return dict(zip(CONTEXT, values.T, strict=True))


def check(context, expected):
    for name, values in columns(context).items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-6, atol=1e-6, err_msg=name)


@settings(max_examples=150, deadline=None)
@given(impressions, horizons, st.none() | st.tuples(*[st.sampled_from([None, START - DAY, START + HOUR])] * 4))
def test_a_logs_context_is_what_a_loop_over_its_past_counts(rows, horizon, published):
    news = table(published)
    log = log_of(rows, news)
    check(Context.of_log(log, news, horizon=horizon), plain(rows, None, published, horizon))


@settings(max_examples=100, deadline=None)
@given(impressions, impressions, horizons)
def test_a_later_log_goes_on_from_an_earlier_one_with_other_articles_and_users(earlier, rows, horizon):
    news, earlier_news = table(ids=IDS), table(ids=[*reversed(IDS), "N9"])
    rows = [(seconds + 4 * DAY, *rest) for seconds, *rest in rows]
    before, log = log_of(earlier, earlier_news), log_of(rows, news)
    counts = Context.of_log(before, earlier_news, horizon=horizon).counts()
    expected = plain(rows, earlier, None, horizon)
    check(Context.of_log(log, news, counts, horizon), expected)


@settings(max_examples=100, deadline=None)
@given(impressions, horizons, st.data())
def test_nothing_that_happens_later_changes_anything(rows, horizon, data):
    news = table()
    log = log_of(rows, news)
    moment = data.draw(st.sampled_from([seconds for seconds, *_ in rows]))
    later = [
        (seconds, user, [(news_id, label ^ (seconds >= moment)) for news_id, label in shown], history)
        for seconds, user, shown, history in rows
    ]
    changed = log_of(later, news)
    until = log.candidates.repeat(log.time <= START + moment)
    one, other = (columns(Context.of_log(of, news, horizon=horizon)) for of in (log, changed))
    for name in CONTEXT:
        assert one[name][until].tolist() == other[name][until].tolist(), name


def test_a_log_that_begins_before_the_earlier_one_ends_takes_nothing_from_its_future():
    news = table()
    log = log_of([(i * HOUR, "U", [("N1", 1), ("N2", 0)], []) for i in range(100)], news)
    counts = Context.of_log(log, news).counts()
    again = columns(Context.of_log(log, news, counts))
    assert again["showings"].tolist() == columns(Context.of_log(log, news))["showings"].tolist()
    late = log_of([(98 * HOUR, "V", [("N1", 1)], []), (200 * HOUR, "V", [("N1", 1)], [])], news)
    assert columns(Context.of_log(late, news, counts))["showings"].tolist() == [98, 99]


def test_with_the_split_as_horizon_no_click_of_a_dev_log_is_read():
    news = table()
    train = log_of([(0, "U", [("N1", 1), ("N2", 0)], [])], news)
    counts = Context.of_log(train, news).counts()
    dev = [(DAY, "U", [("N1", 0), ("N2", 1)], []), (2 * DAY, "U", [("N1", 0), ("N2", 1)], [])]
    clicked, other, unlabelled = (
        log_of([(at, user, [(i, label ^ flip) for i, label in shown], h) for at, user, shown, h in dev], news)
        for flip in (0, 1, 0)
    )
    unlabelled = ImpressionLog(**{**vars(unlabelled), "labels": np.full(4, -1, np.int8)})
    found = [columns(Context.of_log(log, news, counts, "split")) for log in (clicked, other, unlabelled)]
    for name in CONTEXT:
        assert found[0][name].tolist() == found[1][name].tolist() == found[2][name].tolist()
    assert found[0]["clicks"].tolist() == [1, 0, 1, 0]


def test_a_horizon_is_what_cutting_the_last_hours_off_a_log_leaves():
    news = table()
    past = [(hour * HOUR, "U", [("N1", hour % 2), ("N2", 1 - hour % 2)], []) for hour in range(40)]
    asked = (40 * HOUR, "V", [("N1", 1), ("N2", 0)], [])
    log, cut = log_of([*past, asked], news), log_of([*past[:34], asked], news)
    held_back, plainly = (
        columns(Context.of_log(log, news, horizon=6.0)),
        columns(replace(Context.of_log(cut, news), log=cut.select(np.array([34])))),
    )
    assert held_back["showings"][-2:].tolist() == plainly["showings"].tolist() == [34, 34]
    assert held_back["click_rate"][-2:] == pytest.approx(plainly["click_rate"])


def test_large_logs_are_counted_in_parts(monkeypatch):
    news = table()
    log = log_of([(i * 600, "U", [("N1", i % 2), ("N2", 0), ("N3", 1)], []) for i in range(50)], news)
    whole = Counts.of_log(log, news)
    monkeypatch.setattr("recommenders_miner.data.counts._EVENTS_AT_ONCE", 20)
    for one, other in zip(whole.events(), Counts.of_log(log, news).events(), strict=True):
        assert one.tolist() == other.tolist()


def test_counts_are_kept_for_the_same_log_and_news(tmp_path, monkeypatch):
    rows = [(i * 600, "U", [("N1", i % 2), ("N2", 0)], []) for i in range(50)]
    news = table()
    made = Counts.of_log(log_of(rows, news), news, tmp_path)
    other = Counts.of_log(log_of(rows[:40], news), news, tmp_path)
    monkeypatch.setattr("recommenders_miner.data.counts._events", None)
    for counts, log in ((made, log_of(rows, news)), (other, log_of(rows[:40], news))):
        again = Counts.of_log(log, news, tmp_path)
        assert [of.tolist() for of in again.events()] == [of.tolist() for of in counts.events()]
    assert len(made.key) > len(other.key)
