"""What a policy makes of lists: every rule is kept, or named among those that gave way, and only where it has to be."""

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.errors import PolicyError
from recommenders_miner.reranking import Pin, Plan, Policy, exact, news_columns
from recommenders_miner.reranking.fill import fill, fill_floors_first
from recommenders_miner.reranking.pool import highest

HOUR, NOW = 3600, 1_573_700_000
RULES = ("ages", "shown", "same_story", "topics", "quotas", "floors", "pins")


def numbered(count):
    return {"id": [f"N{number}" for number in range(count)], "title": [f"word{number}" for number in range(count)]}


def arranged(rules, columns, scores, k=None, **options):
    plan = Plan(Policy.of(rules), numbered(len(scores)) | columns)
    return plan.arrange(np.array(scores, float), None, k, **{"now": NOW, **options})


# === Any policy, any small pool: against all lists that there are ===

categories, regions, amounts = st.sampled_from("abc"), st.sampled_from(["x", "y", None]), st.integers(1, 2)


@st.composite
def cases(draw):
    """A policy without contradictions, articles whose stories lie at angles, and k."""
    count, k = draw(st.integers(0, 7)), draw(st.integers(1, 4))
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    columns = numbered(count) | {
        "category": [draw(categories) for _ in range(count)],
        "region": [draw(regions) for _ in range(count)],
        "published": [NOW - draw(st.sampled_from([1, 50])) * HOUR for _ in range(count)],
    }
    columns["angle"] = [draw(st.sampled_from([None, 0, 0, 20, 40])) for _ in range(count)]
    rules = {"places": k, "same_story": 0.9} if draw(st.booleans()) else {"places": k}
    if draw(st.booleans()):
        rules["quotas"] = [{"column": "category", "at_most": draw(st.integers(1, 2))}]
        if draw(st.booleans()):
            rules["quotas"].append({"column": "region", "value": ["x"], "at_most": draw(st.integers(0, 2))})
    if draw(st.booleans()):
        rules["floors"] = [{"column": "region", "value": draw(st.sampled_from("xy")), "at_least": 1}]
        if draw(st.booleans()):
            rules["floors"].append(
                {"column": "category", "value": draw(categories), "at_least": draw(st.integers(1, 2))}
            )
    if draw(st.booleans()):
        rules["ages"] = [{"at_most": "48 h"}]
    if draw(st.booleans()):
        rules["shown"] = 2
    if draw(st.booleans()):
        rules["topics"] = {"share": "25%"}
    if draw(st.booleans()):
        rules["pins"] = [{"article": f"N{draw(st.integers(0, count))}", "place": draw(st.integers(1, k))}]
    order = draw(st.permutations(RULES))
    rules["relax"] = order[: draw(st.integers(0, len(order)))]
    rules["rerank"] = draw(st.sampled_from([None, {"by": "mmr"}, {"by": "pm2", "column": "category", "dial": 0.7}]))
    try:
        policy = Policy.of(rules)
    except PolicyError:
        policy = Policy.of(rules | {"floors": []})
    shown = random.integers(0, 4, count)
    return policy, columns, random.random(count), shown, draw(st.lists(categories, max_size=2)), k


def story_vectors(angles):
    """Return vectors of which those of 0 and 20 degrees, or of 20 and 40, tell one story, not those of 0 and 40."""
    vectors = np.eye(len(angles), len(angles) + 2)
    for row, angle in enumerate(angles):
        if angle is not None:
            vectors[row] = 0
            vectors[row, -2:] = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return vectors


def broken(policy, columns, shown, topics, k, chosen):
    """Count by hand how far a list breaks each rule, by its kind or title; `places` is how many are empty."""
    count = len(columns["id"])
    pinned = [int(pin.article[1:]) for pin in policy.pins]
    free = [i for i in chosen if i not in pinned]
    found = {
        "ages": sum(NOW - columns["published"][i] > 48 * HOUR for i in free) if policy.ages else 0,
        "shown": sum(shown[i] >= policy.shown for i in free) if policy.shown else 0,
        "same_story": sum(
            None not in angles and abs(angles[0] - angles[1]) <= 20
            for angles in itertools.combinations([columns["angle"][i] for i in chosen], 2)
        )
        if policy.same_story
        else 0,
        "topics": max(0, math.ceil(0.25 * k) - sum(columns["category"][i] in topics for i in chosen))
        if policy.topics and topics
        else 0,
        "places": min(k, count) - len(chosen),
    }
    for quota in policy.quotas:
        values = [columns[quota.column][i] for i in chosen]
        groups = [quota.value] if quota.value else [(value,) for value in set(values) - {None}]
        found[quota.title] = sum(max(0, sum(v in group for v in values) - quota.at_most) for group in groups)
    for floor in policy.floors:
        found[floor.title] = max(0, floor.at_least - sum(columns[floor.column][i] in floor.value for i in chosen))
    for pin in policy.pins:
        found[pin.title] = int(int(pin.article[1:]) not in chosen)
    return found


def cost(policy, counts):
    """Sum up what a list breaks by how important it is, the most important first."""
    kinds = {title: "quotas" for title in (quota.title for quota in policy.quotas)}
    kinds |= {title: "floors" for title in (floor.title for floor in policy.floors)}
    kinds |= {title: "pins" for title in (pin.title for pin in policy.pins)}
    usual = ["explore", "topics", "floors", "shown", "ages", "same_story", "quotas", "pins"]
    importance = [*policy.relax, "places", *(kind for kind in usual if kind not in policy.relax)]
    return [
        sum(count for title, count in counts.items() if kinds.get(title, title) == kind)
        for kind in reversed(importance)
    ]


@given(cases())
@settings(max_examples=100, deadline=None)
def test_rules_are_kept_or_named_and_no_list_breaks_fewer_in_the_order_of_the_file(case):
    policy, columns, scores, shown, topics, k = case
    history = [0][: len(scores)]
    plan = Plan(policy, columns, vectors=story_vectors(columns["angle"]))
    listing = plan.arrange(scores, None, k, now=NOW, shown=shown, topics=topics, history=history)
    chosen = listing.rows.tolist()
    assert len(set(chosen)) == len(chosen) <= k
    counts = broken(policy, columns, shown, topics, k, chosen)
    assert {one.rule: one.by for one in listing.relaxed} == {title: by for title, by in counts.items() if by}
    assert all(one.clashes and one.rule not in one.clashes for one in listing.relaxed)
    lists = (some for size in range(k + 1) for some in itertools.combinations(range(len(scores)), size))
    least = min(cost(policy, broken(policy, columns, shown, topics, k, some)) for some in lists)
    assert cost(policy, counts) == least

    ranks = {row: rank for rank, row in enumerate(np.argsort(-scores, kind="stable").tolist(), start=1)}
    assert {(move.row, move.rank, move.place) for move in listing.moves} == {
        (row, ranks[row], place) for place, row in enumerate(chosen, start=1) if ranks[row] != place
    }
    assert all(move.rule for move in listing.moves)
    for row in range(len(scores)):
        assert (listing.why_not(row) is None) == (row in chosen)
    for pin in policy.pins:
        if (row := int(pin.article[1:])) in chosen and len(chosen) == k:
            assert chosen.index(row) == pin.place - 1


# === One rule after another ===


def test_without_rules_the_scores_decide_and_nothing_is_said():
    listing = arranged({}, {}, [0.1, 0.9, 0.5], k=2)
    assert (listing.rows.tolist(), listing.scores.tolist()) == ([1, 2], [0.9, 0.5])
    assert (listing.moves, listing.relaxed) == ((), ())
    assert listing.why_not(0) == ("score", "By its score it is number 3, and the list has 2 places.", None)
    assert listing.why_not(7).rule == "candidates"


def test_a_pin_holds_in_its_hours_and_moves_others_down():
    rules = {"pins": [{"article": "N2", "place": 1, "from": "2019-11-14 03:00", "until": "2019-11-14 04:00"}]}
    inside = arranged(rules, {}, [3, 2, 1], now=NOW)  # 02:53:20 UTC
    assert inside.rows.tolist() == [0, 1, 2]
    inside = arranged(rules | {"timezone": "Europe/Copenhagen"}, {}, [3, 2, 1])
    assert inside.rows.tolist() == [2, 0, 1]
    assert inside.moves == ((2, 3, 1, "N2 at place 1"), (0, 1, 2, "N2 at place 1"), (1, 2, 3, "N2 at place 1"))


def test_a_quota_counts_every_value_of_an_article():
    people = {"people": [["a"], ["a", "b"], ["b"], []]}
    listing = arranged({"quotas": [{"column": "people", "at_most": 1}]}, people, [4, 3, 2, 1], k=3)
    assert listing.rows.tolist() == [0, 2, 3]
    assert listing.moves[0] == (2, 3, 2, "at most 1 of each people")
    assert listing.why_not(1) == ("at most 1 of each people", "a has the 1 places that it may have.", None)
    again = {"people": [["a", "a"], ["b"]]}
    assert arranged({"quotas": [{"column": "people", "at_most": 1}], "relax": []}, again, [2, 1]).relaxed == ()


def test_shares_are_of_the_list_that_is_asked_for():
    columns = {"category": [*"aaaaabbbbb"]}
    rules = {"quotas": [{"column": "category", "value": "a", "at_most": "50%"}]}
    assert sorted(arranged(rules, columns, range(10, 0, -1), k=4).rows.tolist()) == [0, 1, 5, 6]
    assert sorted(arranged(rules, columns, range(10, 0, -1), k=2).rows.tolist()) == [0, 5]


def test_half_lives_and_limits_of_a_column_take_the_place_of_general_ones():
    columns = {"category": ["a", "b", "b", "a"], "published": [NOW - age * HOUR for age in (30, 30, 60, 60)]}
    rules = {"ages": [{"at_most": "48 h"}, {"column": "category", "value": "b", "at_most": "4 d", "half_life": "30 h"}]}
    listing = arranged(rules, columns, [1.0, 4.0, 4.0, 0.0], k=3)
    assert listing.rows.tolist() == [1, 0, 2] or listing.rows.tolist() == [1, 2, 0]
    assert listing.pool.relevance.tolist() == [0.25, 0.5, 0.25, 0.0]
    assert listing.why_not(3) == ("ages", "It is 60 h old; 48 h are allowed.", None)


def test_what_nobody_knows_the_age_of_is_too_old():
    listing = arranged({"ages": [{"at_most": "1 h"}], "relax": []}, {"published": [None, 0, NOW, NOW]}, [4, 3, 2, 1])
    assert listing.rows.tolist() == [2, 3]
    assert str(listing.relaxed[0]) == "places: by 2, for ages"


def test_near_duplicates_are_found_by_titles_or_by_vectors():
    titles = {"title": ["Storm hits the coast", "The storm hits coast", "Lakers win again"]}
    assert arranged({"same_story": 0.7}, titles, [3, 2, 1], k=2).rows.tolist() == [0, 2]
    plan = Plan(Policy.of({"same_story": 0.7}), titles, vectors=np.eye(3)[[0, 1, 0]])
    listing = plan.arrange(np.array([3, 2, 1]), k=2, now=NOW)
    assert listing.rows.tolist() == [0, 1]
    assert listing.why_not(2)[::2] == ("same_story", 0)


@pytest.mark.parametrize(
    ("count", "stories", "relax", "relaxed"),
    [
        (26, 1, ["same_story"], [("same_story", 190)]),
        (60, 10, ["same_story"], [("same_story", 10)]),
        (400, 1, ["same_story"], [("same_story", 190)]),
        (400, 1, [], [("places", 19)]),
    ],
)
def test_fewer_stories_than_places_take_no_time(count, stories, relax, relaxed):
    titles = {"title": [f"live blog of story{i % stories} number{i % stories}" for i in range(count)]}
    plan = Plan(Policy.of({"same_story": 0.9, "relax": relax}), titles)
    start = time.perf_counter()
    listing = plan.arrange(np.random.default_rng(0).random(count), k=20, now=NOW)
    assert time.perf_counter() - start < 1
    assert [(one.rule, one.by) for one in listing.relaxed] == relaxed


@pytest.mark.parametrize("seconds", [0, 0.02])
def test_a_search_that_runs_out_of_time_leaves_a_list_that_is_no_worse(monkeypatch, seconds):
    random = np.random.default_rng(1)
    vectors = random.normal(size=(80, 3))
    rules = {"same_story": 0.8, "quotas": [{"column": "category", "at_most": "35%"}]}
    plan = Plan(Policy.of(rules), numbered(80) | {"category": [*"abc"] * 26 + ["a"] * 2}, vectors=vectors)

    def found():
        return plan.arrange(random.random(80), k=20, now=NOW)

    monkeypatch.setattr(exact, "SECONDS", seconds)
    monkeypatch.setattr(exact, "_LEAST_SECONDS", 0.0)
    for _ in range(5):
        start = time.perf_counter()
        listing = found()
        assert time.perf_counter() - start < 1
        assert len({*listing.rows.tolist()}) == 20
        for attempt in (fill, fill_floors_first):
            filled = listing.pool.violations(attempt(listing.pool, listing.pool.shortlist()))
            assert listing.pool.cost(listing.violations) <= listing.pool.cost(filled)


def test_a_threshold_of_1_finds_equal_titles():
    words, random = [f"word{number}" for number in range(16)], np.random.default_rng(0)
    for _ in range(50):
        titles = [" ".join(random.choice(words, 6)) for _ in range(8)]
        listing = arranged({"same_story": 1}, {"title": [titles[0], *titles]}, range(9, 0, -1), k=3)
        assert listing.rows.tolist() == [0, 2, 3]


def test_exploration_draws_its_share_and_the_seed_says_what():
    rules, scores = {"explore": {"share": "15%"}}, np.arange(500, 0, -1.0)
    plan = Plan(Policy.of(rules), numbered(500))
    drawn = [plan.arrange(scores, k=10, now=NOW, seed=[7, user]) for user in range(200)]
    counts = [np.count_nonzero(listing.rows >= 20) for listing in drawn]
    assert 1.25 < np.mean(counts) < 1.75
    assert set(counts) <= {0, 1, 2}
    assert {move.rule for listing in drawn for move in listing.moves if move.rank > 20} == {"explore"}
    again = plan.arrange(scores, k=10, now=NOW, seed=[7, 3])
    assert again.rows.tolist() == drawn[3].rows.tolist()


def test_exploration_of_fresh_articles_only():
    published = {"published": [NOW - (HOUR if number == 499 else 9 * HOUR) for number in range(500)]}
    rules = {"explore": {"share": "30%", "newer_than": "2 h"}}
    listing = arranged(rules, published, np.arange(500, 0, -1.0), k=10)
    assert 499 in listing.rows
    assert [(one.rule, one.by, one.clashes) for one in listing.relaxed] == [("explore", 2, ("candidates",))]


def test_topics_that_the_user_named_have_their_share():
    columns, rules = {"category": [*"aaaabb"]}, {"topics": {"share": "40%"}}
    assert arranged(rules, columns, range(6, 0, -1), k=5, topics=["b"]).rows.tolist() == [0, 1, 2, 4, 5]
    assert arranged(rules, columns, range(6, 0, -1), k=5).rows.tolist() == [0, 1, 2, 3, 4]


def test_a_calibrated_list_has_the_shares_of_the_history():
    columns, rules = {"category": [*"aaaaabbbbb"]}, {"rerank": {"by": "calibrated", "column": "category", "dial": 0.9}}
    scores, history = np.linspace(1, 0.5, 10), [0, 5, 6, 7]
    listing = arranged(rules, columns, scores, k=4, history=history)
    assert sorted(listing.rows.tolist()) == [0, 5, 6, 7]
    assert listing.moves[0].rule == "rerank: calibrated"
    assert arranged(rules, columns, scores, k=4, history=history, dial=0).rows.tolist() == [0, 1, 2, 3]
    assert arranged(rules, columns, scores, k=4, history=[]).rows.tolist() == [0, 1, 2, 3]


def test_a_floor_whose_articles_a_quota_would_leave_no_place_is_kept():
    columns = {"category": ["a", "a", "b", "a"], "region": [None, None, None, "x"]}
    rules = {
        "quotas": [{"column": "category", "at_most": 2}],
        "floors": [{"column": "region", "value": "x", "at_least": 1}],
    }
    listing = arranged(rules, columns, [4, 3, 2, 1], k=3)
    assert (sorted(listing.rows.tolist()), listing.relaxed) == ([0, 2, 3], ())


def test_large_pools_keep_rules_whose_articles_rank_last():
    random = np.random.default_rng(0)
    columns = {"category": ["a"] * 2990 + ["b"] * 10, "region": [None] * 2999 + ["x"]}
    rules = {
        "quotas": [{"column": "category", "value": "a", "at_most": 4}],
        "floors": [{"column": "region", "value": "x", "at_least": 1}],
    }
    listing = arranged(rules, columns, np.sort(random.random(3000))[::-1], k=10)
    assert listing.relaxed == ()
    assert np.count_nonzero(listing.rows < 2990) == 4
    assert 2999 in listing.rows


# === Binding ===


def test_an_unknown_column_is_refused_with_the_nearest():
    rules = {"floors": [{"column": "regoin", "value": "x", "at_least": 1}]}
    with pytest.raises(PolicyError, match=r"floors: at least 1 of regoin x: .*'regoin'\. Did you mean 'region'"):
        Plan(Policy.of(rules), {"region": ["x"], "category": ["a"]})


@pytest.mark.parametrize("column", ["id", "published"])
def test_rules_may_name_columns_that_others_read(column):
    articles = {"id": ["N0", "N1", "N2"], "published": [NOW - 60, None, NOW], "title": ["a", "b", "c"]}
    value = articles[column][0]
    rules = {
        "quotas": [{"column": column, "at_most": 2}],
        "floors": [{"column": column, "value": value, "at_least": 1}],
        "ages": [{"column": column, "value": value, "at_most": "1 h"}],
        "topics": {"column": column, "share": "50%"},
        "rerank": {"by": "mmr", "column": column},
    }
    for some in ([name] for name in rules):
        policy = Policy.of({name: rules[name] for name in some})
        listing = Plan(policy, articles).arrange(np.arange(3.0), k=2, now=NOW, topics=[value], history=[0])
        assert (len(listing.rows), listing.relaxed) == (2, ())
        if some[0] in ("floors", "topics"):
            assert 0 in listing.rows
    text = {"published": ["soon"] * 3, "id": articles["id"]}  # of which only ages want seconds
    assert arranged({"quotas": [rules["quotas"][0]]}, text, [3, 2, 1], k=1).rows.tolist() == [0]


def test_a_value_that_no_article_has_is_a_warning():
    rules = {"floors": [{"column": "category", "value": "sport", "at_least": 1}]}
    plan = Plan(Policy.of(rules), {"category": ["sports"]})
    assert plan.warnings == ["floors: no article has category 'sport'. Did you mean 'sports'?"]


def test_a_news_table_gives_all_its_columns():
    from recommenders_miner.data.news import NewsTable

    news = NewsTable.from_columns(["N1", "N2"], ["One", "Two"], ["a", "b"], extra={"region": ["x", None]})
    plan = Plan(Policy.of({"quotas": [{"column": "region", "at_most": 0}], "relax": []}), news_columns(news))
    assert plan.arrange(np.array([2.0, 1.0]), np.array([1, 2]), now=NOW).rows.tolist() == [2]


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="scores finite"):
        arranged({}, {}, [1.0, math.nan])


# === Pins of one list ===


def test_pins_of_one_list_take_the_place_of_the_policys():
    rules = {"pins": [{"article": "N3", "place": 1}, {"article": "N4", "place": 2}], "quotas": [], "places": 4}
    plan = Plan(Policy.of(rules), numbered(6))
    pinned = plan.pinned({Pin(article="N5", place=1): 5, Pin(article="gone", place=3): -1})
    found = pinned.arrange(np.arange(6.0)[::-1], None, 4, now=NOW)
    assert found.rows.tolist() == [5, 4, 0, 1]
    assert [(move.row, move.rank, move.place, move.rule) for move in found.moves[:2]] == [
        (5, 6, 1, "N5 at place 1"),
        (4, 5, 2, "N4 at place 2"),
    ]
    assert [(one.rule, one.clashes) for one in found.relaxed] == [("gone at place 3", ("candidates",))]
    assert plan.arrange(np.arange(6.0)[::-1], None, 4, now=NOW).rows.tolist() == [3, 4, 0, 1]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0, 1.5, 2.0]), min_size=1, max_size=40), st.integers(1, 6))
def test_the_highest_are_those_of_a_stable_sort(values, count):
    values = np.array(values)
    assert highest(values, count).tolist() == np.argsort(-values, kind="stable")[:count].tolist()
