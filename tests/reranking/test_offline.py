"""A policy over a log, and the command that tries one."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.experiments.tradeoff import tradeoff
from recommenders_miner.reranking import Plan, Policy, news_columns
from recommenders_miner.reranking.offline import Review, arrange_log, showings_without_click
from tests.command_line import invoke, run

EXAMPLES = Path(__file__).parents[2] / "examples" / "policies"
NEWS = NewsTable.from_columns(
    ["N1", "N2", "N3", "N4"], ["One", "Two", "Three", "Four"], ["a", "a", "b", "b"], extra={"published": [1, 2, 3, 4]}
)
shown_articles = st.lists(st.tuples(st.sampled_from(["N1", "N2", "N3"]), st.integers(0, 1)), min_size=1, max_size=3)
impressions = st.lists(st.tuples(st.sampled_from("uv"), st.integers(0, 3), shown_articles), min_size=1, max_size=8)


@given(impressions)
@settings(max_examples=60, deadline=None)
def test_showings_are_counted_up_to_each_impression_and_forgotten_with_a_click(of_log):
    users, times, shown = zip(*of_log, strict=True)
    candidates = [list(dict(articles)) for articles in shown]
    labels = [list(dict(articles).values()) for articles in shown]
    log = ImpressionLog.from_columns(NEWS, [[] for _ in users], candidates, labels, users, times)
    expected = []
    for i, articles in enumerate(candidates):
        for article in articles:
            earlier = [j for j in range(len(users)) if users[j] == users[i] and (times[j], j) < (times[i], i)]
            earlier = [labels[j][candidates[j].index(article)] for j in earlier if article in candidates[j]]
            expected.append(0 if any(earlier) else len(earlier))
    assert showings_without_click(log).tolist() == expected


def test_lists_of_a_log_are_as_of_their_impressions_and_users():
    candidates = [["N1", "N2", "N3"], ["N1", "N2", "N3"]]
    log = ImpressionLog.from_columns(
        NEWS, [["N4"], ["N4"]], candidates, [[1, 0, 0], [0, 0, 1]], ["u", "u"], [7200 + 2, 7200 + 3]
    )
    rules = {"ages": [{"at_most": "2 h"}], "shown": 1, "places": 2, "relax": ["shown"]}
    plan = Plan(Policy.of(rules), news_columns(NEWS))
    first, second = arrange_log(plan, log, np.array([3.0, 2.0, 1.0] * 2))
    assert first.rows.tolist() == [2, 3]  # N1 is two hours and a second old
    assert second.rows.tolist() == [3]
    assert [(one.rule, one.by) for one in second.relaxed] == [("places", 1), ("shown", 1)]

    review = Review(plan, NEWS)
    for listing in (first, second):
        review.add(listing, "u")
    assert (review.lists, review.changed, review.replaced) == (2, 2, 2)
    assert review.rules["ages"].held_back == 2
    assert review.rules["shown"].clashes == {"ages": 1, "places": 1}
    assert review.rules["ages"].examples[0] == "u: “Two” from 2 to 1"


def test_an_article_that_an_impression_has_twice_is_listed_once():
    log = ImpressionLog.from_columns(NEWS, [["N4"]], [["N1", "N2", "N2", "N3"]], [[0, 0, 1, 0]], ["u"])
    for rules, scores, chosen in (
        ({}, [0.1, 0.8, 0.9, 0.3], [2, 3]),
        ({"same_story": 0.9}, [0.1, 0.9, 0.8, 0.3], [2, 3]),
        ({"quotas": [{"column": "category", "at_most": 1}]}, [0.3, 0.9, 0.9, 0.1], [2, 3]),
    ):
        plan = Plan(Policy.of(rules), news_columns(NEWS))
        [listing] = arrange_log(plan, log, np.array(scores), 2)
        assert listing.rows.tolist() == chosen
        review = Review(plan, NEWS)
        review.add(listing)
        assert review.lists == 1
        # Where the list stands among the log's candidates, and so whether it was clicked.
        price = tradeoff(plan, np.array(scores), log, NEWS, log, NEWS, k=2)
        clicks = {point.name: point.evaluation.metrics["clicks@2"] for point in price.points}
        assert clicks == dict.fromkeys(("model alone", "policy"), float(scores[2] > scores[1]))


def test_policy_check_says_what_each_rule_did(data, tmp_path):
    file, out = tmp_path / "policy.yaml", tmp_path / "check.json"
    file.write_text(
        "{places: 5, quotas: [{column: category, at_most: 1}], floors: [{column: category, value: sport, at_least: 1}]}"
    )
    printed = run("policy", "check", file, "--data", data, "--json", out)
    assert "Did you mean 'sports'?" in printed
    assert "at most 1 of each category" in printed
    found = json.loads(out.read_text(encoding="utf-8"))
    rule = found["rules"]["at most 1 of each category"]
    assert found["lists"] >= found["changed"] >= rule["lists"] > 0
    assert rule["held_back"] > 0
    assert found["rules"]["at least 1 of category sport"]["clashes"] == {"candidates": found["lists"]}

    file.write_text("quotas: [{column: categorie, at_most: 1}]")
    refused = invoke("policy", "check", file, "--data", data)
    assert "Did you mean 'category'?" in str(refused.exception)


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_examples_are_sound_and_name_values_of_the_demo(file, data):
    news = NewsTable.read(data / "dev" / "news.tsv")
    plan = Plan(Policy.read(file), news_columns(news))
    assert not [warning for warning in plan.warnings if "Did you mean" in warning]
    listing = plan.arrange(np.arange(len(news) - 1.0), np.arange(1, len(news)), now=float(news.published.max()))
    assert len(listing.rows) == plan.policy.places


def test_a_server_imports_it_without_a_backend():
    program = "import sys, recommenders_miner.reranking; print({'keras', 'tensorflow', 'jax'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "set()"
