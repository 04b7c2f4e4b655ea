"""RADio's metrics and those of exposure, against their definitions one list at a time, in loops."""

import math
from collections import Counter, defaultdict
from statistics import fmean

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.errors import DataFormatError
from recommenders_miner.evaluation.beyond_accuracy import ranked_lists
from recommenders_miner.evaluation.normative import Normative, divergence, gini, is_normative

ARTICLES = {
    # id: category, story, sentiment, complexity, parties, mentions of a minority and of the majority, source
    "A": ("sport", "cup", -0.9, 30.0, ["red"], 0, 2, "x"),
    "B": ("sport", "cup", 0.1, None, ["red", "red", "blue"], 3, 1, "y"),
    "C": ("sport", None, 0.4, 55.0, [], 0, 0, "x"),
    "D": ("money", "bank", None, 61.0, None, 1, 0, None),
    "E": ("money", None, 0.0, 90.0, ["green"], None, 4, "z"),
    "F": ("", "storm", 0.77, 12.5, ["blue", "green"], 2, 2, "z"),
}
NAMES = ["category", "story", "sentiment", "complexity", "parties", "minority_mentions", "majority_mentions", "source"]
COLUMNS = dict(zip(NAMES, map(list, zip(*ARTICLES.values(), strict=True)), strict=True))
CATEGORY = COLUMNS.pop("category")
NEWS = NewsTable.from_columns(list(ARTICLES), list(ARTICLES), category=CATEGORY, extra=COLUMNS)
TRAINING_NEWS = NewsTable.from_columns(["A", "C", "gone"], ["title"] * 3)
TRAINING_LOG = ImpressionLog.from_columns(TRAINING_NEWS, [["C"]], [["A", "gone"]], [[1, 0]])


def fit(histories, candidates, users=None, news=NEWS, **options):
    log = ImpressionLog.from_columns(news, histories, candidates, users=users)
    return Normative.fit(log, news, TRAINING_LOG, TRAINING_NEWS, **options)


def rows_of(lists):
    return Ragged.of_lists([NEWS.rows(names) for names in lists])


# === The definitions, as the paper has them ===


def of(name, column):
    return ARTICLES[name][NAMES.index(column)]


def distribution(names, values_of, discount):
    """Eq. 5: what the values of the articles weigh, the article at rank r 1/r; `values_of` gives shares of each."""
    weights = defaultdict(float)
    for rank, name in enumerate(names, start=1):
        for value, share in values_of(name).items():
            weights[value] += share / rank if discount else share
    total = sum(weights.values())
    return {value: weight / total for value, weight in weights.items() if weight} if total else {}


def plain_divergence(p, q):
    """Eq. 2 and 4, the square root."""
    if not p or not q:
        return math.nan
    total = 0.0
    for value in {*p, *q}:
        p_bar = 0.999 * p.get(value, 0) + 0.001 * q.get(value, 0)
        q_bar = 0.999 * q.get(value, 0) + 0.001 * p.get(value, 0)
        middle = (p_bar + q_bar) / 2
        total += -middle * math.log2(middle) + p_bar * math.log2(p_bar) / 2 + q_bar * math.log2(q_bar) / 2
    return math.sqrt(max(total, 0))


def categorical(column):
    return lambda name: {of(name, column): 1.0}


def story(name):
    return {of(name, "story") or f"only {name}": 1.0}


def parties(name):
    mentions = of(name, "parties") or []
    return {party: count / len(mentions) for party, count in Counter(mentions).items()}


def voices(name):
    few, many = of(name, "minority_mentions") or 0, of(name, "majority_mentions") or 0
    return {"few": few / (few + many), "many": many / (few + many)} if few + many else {}


def binned(number_of, context):
    known = [number_of(name) for name in context if number_of(name) is not None]

    def bins(name):
        number = number_of(name)
        if number is None or not known:
            return {}
        low, high = min(known), max(known)
        place = int(np.clip((number - low) / ((high - low) / 5), 0, 4)) if high > low else 0
        return {place: 1.0}

    return bins


def activation(name):
    sentiment = of(name, "sentiment")
    return None if sentiment is None else abs(sentiment)


def plain_metrics(histories, candidates, users, lists, k):
    found = defaultdict(list)
    cut = [names[:k] for names in lists]
    for place, (history, pool, names) in enumerate(zip(histories, candidates, cut, strict=True)):
        newest_first = history[::-1]
        complexity = binned(lambda name: of(name, "complexity"), history)
        active = binned(activation, pool)
        for metric, context, values_of, discount in (
            ("calibration_topic", newest_first, categorical("category"), True),
            ("calibration_complexity", newest_first, complexity, True),
            ("activation", pool, active, False),
            ("representation", pool, parties, False),
            ("alternative_voices", pool, voices, False),
        ):
            p, q = distribution(context, values_of, discount), distribution(names, values_of, True)
            found[metric].append(plain_divergence(p, q))
        mine = distribution(names, story, True)
        others = [
            plain_divergence(distribution(other, story, True), mine)
            for there, other in enumerate(cut)
            if users[there] != users[place] and other and names
        ]
        found["fragmentation"].append(fmean(others) if others else math.nan)
        found["cold_share"].append(fmean(name not in "AC" for name in names) if names else math.nan)
    return {f"{name}@{k}": values for name, values in found.items()}


names = st.lists(st.sampled_from(list(ARTICLES)), max_size=7)
impressions = st.tuples(names, names.filter(bool), names, st.sampled_from(["u", "v", "w"]))


@given(st.lists(impressions, min_size=1, max_size=9), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_every_metric_agrees_with_its_definition(drawn, k):
    histories, candidates, lists, users = map(list, zip(*drawn, strict=True))
    normative = fit(histories, candidates, users, k=k)
    found = normative.by_list(rows_of(lists))
    expected = plain_metrics(histories, candidates, users, lists, k)
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-7, err_msg=name)
    evaluation = normative.evaluate_lists(rows_of(lists))
    for name, values in expected.items():
        known = [value for value in values if not math.isnan(value)]
        assert evaluation.metrics.get(name) == (pytest.approx(fmean(known), abs=1e-7) if known else None)


@given(st.lists(names, min_size=1, max_size=6), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_exposure_agrees_with_its_definition(lists, k):
    catalogue = ["A", "B", "C", "E", "F"]
    lists = [[name for name in listed if name in catalogue] for listed in lists]
    found = fit([[]] * len(lists), [catalogue] * len(lists), k=k).evaluate_lists(rows_of(lists)).metrics
    listed = [name for one in lists for name in one[:k]]
    for suffix, value_of in (
        ("", str),
        ("_category", lambda n: of(n, "category")),
        ("_source", lambda n: of(n, "source")),
    ):
        values = list(dict.fromkeys(map(value_of, catalogue)))
        counts = [sum(value_of(name) == value for name in listed) for value in values]
        apart = fmean(abs(one - other) for one in counts for other in counts)
        expected = apart / (2 * fmean(counts)) if listed else math.nan
        assert found[f"gini{suffix}@{k}"] == pytest.approx(expected, nan_ok=True)
        if suffix:
            assert found[f"coverage{suffix}@{k}"] == fmean(count > 0 for count in counts)


# === What must hold beside ===


def test_a_list_like_its_history_is_at_0_and_one_without_its_topics_near_1():
    normative = fit([["D", "A"], ["A"]], [["A", "B"]] * 2)
    found = normative.by_list(rows_of([["A", "D"], ["D", "E"]]))["calibration_topic@10"]
    assert found == pytest.approx([0, 1], abs=0.01)
    assert found[1] < 1


def test_rank_matters_within_a_list():
    """Two lists of the same articles: Eq. 5 has Q* = (2/3, 1/3) of one and (1/3, 2/3) of the other, P = (1, 0)."""
    found = fit([["A"], ["A"]], [["A", "D"]] * 2).by_list(rows_of([["A", "D"], ["D", "A"]]))["calibration_topic@10"]
    first, second = (plain_divergence({"sport": 1.0}, {"sport": s, "money": 1 - s}) for s in (2 / 3, 1 / 3))
    assert found == pytest.approx([first, second])
    assert first < second


def test_metrics_are_there_where_their_columns_are_and_stories_fall_back_on_categories():
    bare = NewsTable.from_columns(list(ARTICLES), list(ARTICLES), category=CATEGORY)
    normative = fit([["A"]], [["A", "B"]], news=bare)
    assert normative.columns == {"calibration_topic": "category", "fragmentation": "category"}
    found = normative.evaluate_lists(rows_of([["A"]])).metrics
    assert {"gini@10", "gini_category@10", "coverage_category@10"} <= set(found)
    assert "gini_source@10" not in found
    assert fit([["A"]], [["A"]]).columns["fragmentation"] == "story"


def test_columns_may_have_other_names_and_wrong_ones_name_the_nearest():
    assert fit([["A"]], [["A"]], columns={"representation": "source"}).columns["representation"] == "source"
    with pytest.raises(DataFormatError, match=r"no column 'partys'. Did you mean 'parties'"):
        fit([["A"]], [["A"]], columns={"representation": "partys"})
    with pytest.raises(DataFormatError, match=r"no metric 'activated'. Did you mean 'activation'"):
        fit([["A"]], [["A"]], columns={"activated": "sentiment"})
    with pytest.raises(DataFormatError, match="'story' must hold numbers, not string"):
        fit([["A"]], [["A"]], columns={"activation": "story"})


def test_columns_are_of_any_types_that_tell_values_apart():
    def gini(source):
        news = NewsTable.from_columns(list("ABCD"), list("ABCD"), category=[*"wwxy"], extra={"source": source})
        return fit([["A"]], [["A"]], news=news).evaluate_lists(rows_of([["A", "B", "C"]])).metrics["gini_source@10"]

    texts = pa.array(["a", "b", "b", None])
    assert gini(texts.dictionary_encode()) == gini(texts) == gini([1, 2, 2, None])
    with pytest.raises(DataFormatError, match="'source' must hold text or numbers, not struct"):
        gini([{"name": "a"}] * 4)


def test_fragmentation_of_many_lists_is_sampled_with_a_seed_and_near_the_exact_one(monkeypatch):
    rng = np.random.default_rng(0)
    lists = [[list(ARTICLES)[i] for i in rng.permutation(6)[:3]] for _ in range(120)]
    users = [f"u{i % 100}" for i in range(120)]
    args = [[]] * 120, [["A"]] * 120, users
    exact = fit(*args).evaluate_lists(rows_of(lists))
    monkeypatch.setattr("recommenders_miner.evaluation.normative._EXACT_UP_TO", 100)
    sampled = [fit(*args, seed=seed).by_list(rows_of(lists))["fragmentation@10"] for seed in (1, 1, 2)]
    assert (sampled[0] == sampled[1]).all()
    assert (sampled[0] != sampled[2]).any()
    assert sampled[0].mean() == pytest.approx(exact.metrics["fragmentation@10"], abs=0.02)


def test_the_error_of_fragmentation_is_that_of_a_mean_over_pairs():
    """Over many logs of lists drawn alike, the mean varies as much as the error of one log says."""
    rng = np.random.default_rng(3)
    means, errors = [], []
    for _ in range(150):
        lists = [[list(ARTICLES)[i] for i in rng.permutation(6)[:2]] for _ in range(30)]
        found = fit([[]] * 30, [["A"]] * 30, [f"u{i}" for i in range(30)]).evaluate_lists(rows_of(lists))
        means.append(found.metrics["fragmentation@10"])
        errors.append(found.standard_errors["fragmentation@10"])
    assert np.std(means) == pytest.approx(np.mean(errors), rel=0.25)


def test_divergence_is_symmetric_and_a_distance():
    from scipy.sparse import csr_array

    rows = np.random.default_rng(0).dirichlet(np.full(5, 0.5), size=(3, 50))
    p, q, r = (csr_array(row) for row in rows)
    assert divergence(p, q) == pytest.approx(divergence(q, p))
    assert (divergence(p, q) <= divergence(p, r) + divergence(r, q) + 1e-12).all()
    assert divergence(p, p) == pytest.approx(np.zeros(50), abs=1e-7)


def test_gini_goes_from_0_to_one_that_has_all():
    assert gini(np.array([3, 3, 3])) == 0
    assert gini(np.array([0, 0, 0, 7])) == pytest.approx(3 / 4)
    assert math.isnan(gini(np.zeros(3)))


def test_scores_make_lists_and_names_tell_metrics_apart():
    candidates = rows_of([["A", "B", "C"], ["D", "E"]])
    ranked = ranked_lists(candidates, np.array([0.1, 0.3, 0.2, 0.0, 0.0]))
    assert ranked.values.tolist() == rows_of([["B", "C", "A"], ["D", "E"]]).values.tolist()
    metrics = (
        "activation@5",
        "gini@10",
        "coverage_source@10",
        "cold_share@10",
        "coverage@10",
        "calibration@10",
        "ndcg@5",
    )
    assert [is_normative(name) for name in metrics] == [True] * 4 + [False] * 3
