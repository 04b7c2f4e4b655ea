"""Recommenders and users over weeks: what is measured, what arms share, and what the controls show."""

import json
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders_miner.cli.simulating import UNTRAINED
from recommenders_miner.datasets.synthetic.weeks import SimulationConfig, Site, appended, clicked_before, top_places
from recommenders_miner.errors import HParamsError, PolicyError
from recommenders_miner.experiments.simulated_recommenders import FLOORS, OPTIONS, Edited, Trained
from recommenders_miner.experiments.simulation import (
    MEASURES,
    WEEK,
    Arm,
    by_topic,
    mean_entropy,
    measure_lists,
    run_arm,
    simulate,
)
from recommenders_miner.hparams import prepare_hparams
from recommenders_miner.reranking import Plan, Policy, news_columns
from tests.command_line import invoke, run

CONFIG = SimulationConfig(num_users=150, num_days=14, warm_up_days=4, news_per_day=60, places=10, drift=0.05)
TINY = SimulationConfig(num_users=40, num_days=4, warm_up_days=3, news_per_day=40, places=5, retrain_every=2)
SMALL = {"word_emb_dim": 8, "head_num": 2, "head_dim": 4, "attention_hidden_dim": 8, "epochs": 1}


@pytest.fixture(scope="module")
def floors():
    return simulate(CONFIG, ["random", "popularity", "oracle"], seeds=(1, 2))


# === Measures ===


@given(st.integers(0, 1000))
@settings(max_examples=30)
def test_measures_of_lists_are_those_of_a_loop(seed):
    rng = np.random.default_rng(seed)
    category = rng.integers(0, 4, 12)
    places = np.stack([rng.permutation(12)[:5] for _ in range(4)])
    found = measure_lists(places, category)
    pairs = [[category[one] != category[other] for one, other in combinations(row, 2)] for row in places]
    assert found["list_diversity"] == pytest.approx(np.mean(pairs))
    shared = [len({*one} & {*other}) / 5 for one, other in combinations(places, 2)]
    assert found["list_overlap"] == pytest.approx(np.mean(shared))
    counts = [sum(place in row for row in places) for place in range(12)]
    differences = np.mean([abs(one - other) for one in counts for other in counts])
    assert found["exposure_gini"] == pytest.approx(differences / 2 / np.mean(counts))


def test_entropy_is_in_bits_and_users_without_anything_do_not_count():
    assert mean_entropy(np.array([[1.0, 1, 1, 1], [0, 3, 0, 0], [0, 0, 0, 0]])) == pytest.approx((2 + 0) / 2)


def test_values_are_summed_by_topic():
    found = by_topic(np.array([[0, 2, 0], [1, 1, 1]]), np.array([[1.0, 2, 3], [4, 5, 6]]), 3)
    assert found.tolist() == [[4, 0, 2], [0, 15, 0]]


# === Arms ===


def test_every_model_has_a_control_and_trained_ones_the_policy():
    names = [arm.name for arm in Arm.of(["nrms", "random"], ["calm"])]
    assert names == ["nrms", "random", "nrms + calm", "nrms, no drift", "random, no drift"]


def test_without_drift_interests_stay_and_on_the_first_day_all_arms_of_a_model_are_one(floors):
    for arm in floors.arms:
        of_arm = floors.values[arm.name]
        assert all(values.shape == (2, CONFIG.num_days) for values in of_arm.values())
        if not arm.drifts:
            assert not of_arm["interest_shift"].any()
            assert np.ptp(of_arm["interest_entropy"], axis=1).max() < 1e-12
            for name, values in of_arm.items():
                np.testing.assert_array_equal(values[:, 0], floors.values[arm.model][name][:, 0])


def test_random_lists_leave_interests_as_broad_as_they_were_and_the_best_lists_narrow_them(floors):
    def narrowed(arm):
        entropy = floors.values[arm]["interest_entropy"]
        return (entropy[:, 0] - entropy[:, -1]) / entropy[:, 0]

    assert np.abs(narrowed("random")).max() < 0.03
    assert narrowed("oracle").min() > 0.1


def test_what_the_oracle_shows_is_clicked_most_and_popularity_shows_everybody_the_same(floors):
    clicks = {arm: floors.values[arm]["expected_clicks"].mean() for arm in ("random", "popularity", "oracle")}
    assert clicks["random"] < clicks["popularity"] < clicks["oracle"]
    assert floors.values["popularity"]["list_overlap"].min() > 0.8
    assert floors.values["popularity"]["exposure_gini"].min() > floors.values["random"]["exposure_gini"].max()


def test_the_tables_have_every_arm_and_the_mean_of_the_differences_of_the_last_week(floors):
    levels, differences = floors.tables().split("\n\n")
    assert [line.split("|")[1].strip() for line in levels.splitlines()[2:]] == [arm.name for arm in floors.arms]
    row = next(line for line in differences.splitlines() if "oracle against random " in line)
    one, other = (floors.values[name]["clicks"][:, -WEEK:].mean(axis=1) for name in ("oracle", "random"))
    cell = row.split("|")[2 + [*MEASURES].index("clicks")].strip()
    error = np.std(one - other, ddof=1) / np.sqrt(2)
    assert cell == f"{(one - other).mean():+.2f} ± {error:.2f}"


def test_what_is_written_holds_every_day_of_every_seed(floors, tmp_path):
    floors.write(tmp_path)
    document = json.loads((tmp_path / "simulation.json").read_text())
    assert np.shape(document["arms"]["oracle"]["clicks"]) == (2, CONFIG.num_days)
    assert document["config"]["drift"] == CONFIG.drift
    assert all(of.meaning in (tmp_path / "simulation.md").read_text() for of in MEASURES.values())
    assert (tmp_path / "simulation.png").stat().st_size > 10_000


# === Recommenders ===


def test_popularity_counts_what_was_shown_and_clicked_so_far():
    site = Site.draw(TINY, 0)
    logs, histories = site.warm_up()
    popularity = FLOORS["popularity"](site, logs)
    popularity.restart()
    visit = site.visit(site.interests, 0)
    scores = popularity.score(visit, histories)
    shown = {row: [0, 0] for row in range(len(site.table))}
    for log in logs:
        for row, label in zip(log.candidates.values, log.labels, strict=True):
            shown[row][0] += 1
            shown[row][1] += label
    overall = sum(clicks for _, clicks in shown.values()) / sum(showings for showings, _ in shown.values())
    expected = [(shown[row][1] + 100 * overall) / (shown[row][0] + 100) for row in visit.pool]
    np.testing.assert_allclose(scores, np.tile(expected, (TINY.num_users, 1)))


def test_lists_under_a_policy_keep_it_and_show_nothing_that_was_clicked():
    site = Site.draw(TINY, 0)
    _, histories = site.warm_up()
    policy = Policy.of({"places": 5, "quotas": [{"column": "category", "at_most": 1}], "shown": 1})
    edited, visit = Edited(site, Plan(policy, news_columns(site.table))), site.visit(site.interests, 0)
    clicked = clicked_before(histories, visit.pool, len(site.table))
    first = edited(visit, np.where(clicked, -np.inf, visit.click_rates), histories)
    for user, places in enumerate(first):
        assert len({*site.category[visit.pool[places]]}) == 5
        assert not clicked[user, places].any()
    again = edited(visit, np.where(clicked, -np.inf, visit.click_rates), histories)
    assert not any({*one} & {*other} for one, other in zip(first, again, strict=True))


def test_a_policy_that_leaves_lists_short_is_named():
    site = Site.draw(TINY, 0)
    _, histories = site.warm_up()
    policy = Policy.of({"places": 5, "ages": [{"at_most": "1 min"}], "relax": []})
    visit = site.visit(site.interests, 0)
    with pytest.raises(PolicyError, match="of 5 places on day 1"):
        Edited(site, Plan(policy, news_columns(site.table)))(visit, visit.click_rates, histories)


def test_models_options_and_policies_are_looked_at_before_anything_is_simulated():
    with pytest.raises(HParamsError, match="nrmz"):
        simulate(TINY, ["random", "nrmz"])
    with pytest.raises(HParamsError, match="head_num"):
        simulate(TINY, ["nrms"], options={"head_nun": 1})
    with pytest.raises(HParamsError, match="no model 'naml' here"):
        simulate(TINY, ["nrms"], options={"naml.epochs": 1})
    with pytest.raises(PolicyError, match="random are not"):
        simulate(TINY, ["random"], [Policy.of({"places": 5})])
    with pytest.raises(PolicyError, match="another policy is called 'calm' too"):
        simulate(TINY, ["nrms"], [Policy.of({"name": "calm"}), Policy.of({"name": "calm"})])


def test_the_command_writes_what_it_simulated(tmp_path):
    assert set(UNTRAINED) == set(FLOORS)
    command = ("simulate", "--users", 30, "--days", 2, "--models", "random, oracle", "--seeds", 2, "--drift", 0.1)
    run(*command, "--out", tmp_path / "sim")
    document = json.loads((tmp_path / "sim" / "simulation.json").read_text())
    assert document["seeds"] == [42, 43]
    assert [*document["arms"]] == ["random", "oracle", "random, no drift", "oracle, no drift"]
    assert document["config"]["drift"] == 0.1
    assert (tmp_path / "sim" / "simulation.png").is_file()
    (tmp_path / "policy.yaml").write_text("places: 20\n")
    refused = invoke(*command, "--out", tmp_path / "other", "--policy", tmp_path / "policy.yaml")
    assert isinstance(refused.exception, PolicyError)


@pytest.mark.slow
def test_a_trained_model_starts_every_arm_from_the_warm_up_and_is_trained_again():
    site = Site.draw(TINY, 0)
    logs, histories = site.warm_up()
    model = Trained(site, logs, prepare_hparams("nrms", scale="fast", **{**OPTIONS, **SMALL}))
    one, other = (run_arm(site, histories, model, TINY.drift) for _ in range(2))
    assert one == other
    model.restart()
    visit = site.visit(site.interests, 0)
    before = model.score(visit, histories)
    shown = top_places(before, TINY.places)
    clicked = site.show(visit, shown).clicked
    for _ in range(TINY.retrain_every):
        model.learn(site.log(visit, shown, clicked, histories))
    after = model.score(visit, appended(histories, visit.pool[shown], clicked))
    assert before.shape == after.shape == visit.click_rates.shape
    assert not np.allclose(before, after)
