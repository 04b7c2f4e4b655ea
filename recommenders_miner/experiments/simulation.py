"""What recommenders do to users over weeks: recommend, click, drift, retrain, in arms that share all chance.

`simulated_users` says how users click and how their interests move. Here are the recommenders, what is measured a day,
and the arms: every model, and every model without drift, which is the control; models that are trained also under a
policy. In all arms of a seed the news, the users, the days before and the luck of each user with each article are the
same, so that the difference of two arms is far better known than each of them.
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from scipy.special import entr

from recommenders_miner.data.ragged import Ragged
from recommenders_miner.datasets.synthetic.weeks import (
    SimulationConfig,
    Site,
    Visit,
    appended,
    clicked_before,
    top_places,
)
from recommenders_miner.errors import PolicyError
from recommenders_miner.evaluation.normative import gini
from recommenders_miner.experiments.runs import Variant, require_known_models
from recommenders_miner.experiments.simulated_recommenders import FLOORS, OPTIONS, Edited, Recommender, Trained
from recommenders_miner.plots.style import save_figure
from recommenders_miner.plots.weeks import draw_weeks
from recommenders_miner.progress import Report
from recommenders_miner.reranking import Plan, Policy, news_columns
from recommenders_miner.storage import atomic_write
from recommenders_miner.tables import markdown_table

WEEK = 7

Arrange = Callable[[Visit, np.ndarray, Ragged], np.ndarray]


# === Measures ===


class Measure(NamedTuple):
    """What is measured every day; the mean over users where it is of each of them."""

    title: str
    short: str
    meaning: str
    digits: int


MEASURES = {
    "expected_clicks": Measure(
        "expected clicks", "a user and day", "clicks of a user to be expected of the list, by the truth", 2
    ),
    "clicks": Measure("clicks", "a user and day", "clicks of a user that came of it", 2),
    "list_diversity": Measure(
        "diversity of lists", "pairs of two categories", "share of the pairs of a list whose categories differ", 3
    ),
    "reading_entropy": Measure(
        "breadth of reading",
        "entropy over topics, bits",
        f"entropy of the topics of a user's expected clicks of the last {WEEK} days, bits",
        2,
    ),
    "exposure_gini": Measure(
        "concentration", "Gini of exposure", "Gini coefficient of how often the articles of the day are shown", 3
    ),
    "list_overlap": Measure(
        "overlap of users", "share of a list", "share of a list that another user's list of the day has too", 3
    ),
    "interest_entropy": Measure(
        "breadth of interests", "entropy since day 1, bits", "entropy of a user's interests over topics, bits", 2
    ),
    "interest_shift": Measure(
        "shift of interests", "from the first day", "total variation of a user's interests from the first day's", 3
    ),
}


def measure_lists(places: np.ndarray, category: np.ndarray) -> dict[str, float]:
    """Measure lists (users, K) of places in a pool, whose articles have a category (P,): what needs no more."""
    users, k = places.shape
    of_category = np.zeros((users, category.max() + 1))
    np.add.at(of_category, (np.arange(users)[:, None], category[places]), 1)
    shown = np.bincount(places.ravel(), minlength=len(category))
    return {
        "list_diversity": float((1 - (of_category * (of_category - 1)).sum(axis=1) / (k * (k - 1))).mean()),
        "exposure_gini": gini(shown),
        # Of n users who are shown an article, each shares it with n − 1 of the others.
        "list_overlap": float((shown * (shown - 1)).sum() / (users * (users - 1) * k)),
    }


def mean_entropy(weights: np.ndarray) -> float:
    """Return the mean entropy, in bits, of distributions with some weights, (users, topics), rows of 0 left out."""
    totals = weights.sum(axis=1, keepdims=True)
    shares = np.divide(weights, totals, where=totals > 0, out=np.zeros_like(weights))
    return float(entr(shares[totals[:, 0] > 0]).sum(axis=1).mean() / np.log(2))


def by_topic(topics: np.ndarray, values: np.ndarray, num_topics: int) -> np.ndarray:
    """Sum values over the topics of lists, both (users, K): (users, num_topics)."""
    found = np.zeros((len(topics), num_topics))
    np.add.at(found, (np.arange(len(topics))[:, None], topics), values)
    return found


# === Arms ===


@dataclass(frozen=True)
class Arm:
    """What users are served: a model, perhaps under a policy, by name; and whether their interests move."""

    model: str
    policy: str = ""
    drifts: bool = True

    @property
    def name(self) -> str:
        """What tables and plots call it."""
        return " + ".join(filter(None, (self.model, self.policy))) + ", no drift" * (not self.drifts)

    @classmethod
    def of(cls, models: Sequence[str], policies: Sequence[str] = ()) -> list[Arm]:
        """Return the arms of some models: each with and without drift, trained ones also under each policy."""
        with_policy = [cls(model, policy) for model in models if model not in FLOORS for policy in policies]
        return [*map(cls, models), *with_policy, *(cls(model, drifts=False) for model in models)]


def run_arm(
    site: Site, histories: Ragged, recommender: Recommender, drift: float, arrange: Arrange | None = None
) -> dict[str, list[float]]:
    """Let a recommender serve the users of a site, and measure every day; `histories` are as of the first one.

    `arrange` makes lists, places in the pool (users, K), of a visit, scores (users, P) and histories; where left out,
    the highest scores come first. What a user has clicked has a score of -inf, and is not shown.
    """
    recommender.restart()
    first = interests = site.interests
    reading: deque[np.ndarray] = deque(maxlen=WEEK)
    found: dict[str, list[float]] = {name: [] for name in MEASURES}
    for day in range(site.config.num_days):
        visit = site.visit(interests, day)
        scores = np.where(
            clicked_before(histories, visit.pool, len(site.table)), -np.inf, recommender.score(visit, histories)
        )
        places = top_places(scores, site.config.places) if arrange is None else arrange(visit, scores, histories)
        shown = site.show(visit, places)
        topics = site.topic[visit.pool[places]]
        reading.append(by_topic(topics, shown.expected, len(site.supply)))
        of_day = {
            "expected_clicks": shown.expected.sum(axis=1).mean(),
            "clicks": shown.clicked.sum(axis=1).mean(),
            **measure_lists(places, site.category[visit.pool]),
            "reading_entropy": mean_entropy(np.sum(reading, axis=0)),
            "interest_entropy": mean_entropy(interests.shares),
            "interest_shift": np.abs(interests.shares - first.shares).sum(axis=1).mean() / 2,
        }
        for name, value in of_day.items():
            found[name].append(float(value))
        interests = interests.after(by_topic(topics, shown.clicked, len(site.supply)), drift)
        recommender.learn(site.log(visit, places, shown.clicked, histories))
        histories = appended(histories, visit.pool[places], shown.clicked)
    return found


@dataclass(frozen=True)
class Simulation:
    """What came of a simulation.

    Attributes:
        config: its numbers.
        arms: what users were served.
        seeds: the seeds, each a site of its own.
        values: by arm and measure, (seeds, days) float64.
        about: what else to write down: the policy, hyperparameters, seconds.
    """

    config: SimulationConfig
    arms: Sequence[Arm]
    seeds: Sequence[int]
    values: Mapping[str, Mapping[str, np.ndarray]]
    about: Mapping[str, Any]

    def pairs(self) -> list[tuple[str, Arm, Arm]]:
        """Return which arms are compared, and what their difference is the effect of."""
        of = {arm: arm for arm in self.arms}
        found = []
        for arm in self.arms:
            if arm.policy:
                found.append(("the policy", arm, of[Arm(arm.model)]))
            if arm.drifts and arm.model != "random" and Arm("random") in of:
                found.append(("the recommender", arm, of[Arm("random")]))
        return [
            *found,
            *(("drift", Arm(arm.model), arm) for arm in self.arms if not arm.drifts and Arm(arm.model) in of),
        ]

    def last_week(self, arm: Arm, measure: str) -> np.ndarray:
        """Return the mean over the last week, (seeds,)."""
        return self.values[arm.name][measure][:, -WEEK:].mean(axis=1)

    def tables(self) -> str:
        """Return the last week in Markdown: what each arm came to, and what arms differ by, with standard errors."""
        header = [measure.title for measure in MEASURES.values()]
        levels = [
            [arm.name, *(_with_error(self.last_week(arm, name), of.digits) for name, of in MEASURES.items())]
            for arm in self.arms
        ]
        differences = [
            [
                f"{cause}: {one.name} against {other.name}",
                *(
                    _with_error(self.last_week(one, name) - self.last_week(other, name), of.digits, "+")
                    for name, of in MEASURES.items()
                ),
            ]
            for cause, one, other in self.pairs()
        ]
        return f"{markdown_table(['arm', *header], levels)}\n\n{markdown_table(['effect of', *header], differences)}"

    def write(self, out: Path) -> None:
        """Write simulation.json, simulation.md, simulation.png and simulation.svg into a folder."""
        document = {
            **self.about,
            "config": asdict(self.config),
            "seeds": list(self.seeds),
            "measures": {name: of.meaning for name, of in MEASURES.items()},
            "arms": {
                arm: {name: np.round(values, 6).tolist() for name, values in of_arm.items()}
                for arm, of_arm in self.values.items()
            },
        }
        legend = "\n".join(f"- {of.title}: {of.meaning}." for of in MEASURES.values())
        over = f"The last {WEEK} of {self.config.num_days} days: mean, ± standard error over {len(self.seeds)} seeds."
        page = f"{over}\n\n{self.tables()}\n\n{legend}\n"
        for name, content in (("simulation.json", json.dumps(document) + "\n"), ("simulation.md", page)):
            with atomic_write(out / name) as temporary:
                temporary.write_text(content, encoding="utf-8")
        save_figure(self.draw(), out / "simulation.png")

    def draw(self) -> Figure:
        """Draw every measure over the days, but the clicks that came by luck; interests since the first day."""
        panels = {name: (of.title, of.short) for name, of in MEASURES.items() if name != "clicks"}
        styles = {
            arm.name: (arm.name if arm.policy else arm.model, "--" if arm.policy else "-" if arm.drifts else ":")
            for arm in self.arms
        }
        # How broad interests are depends on the users that a seed has drawn, which no arm can help.
        values = {
            arm: {**of_arm, "interest_entropy": of_arm["interest_entropy"] - of_arm["interest_entropy"][:, :1]}
            for arm, of_arm in self.values.items()
        }
        return draw_weeks(values, styles, panels)


def _with_error(by_seed: np.ndarray, digits: int, sign: str = "") -> str:
    mean = f"{by_seed.mean():{sign}.{digits}f}"
    return mean if len(by_seed) < 2 else f"{mean} ± {by_seed.std(ddof=1) / math.sqrt(len(by_seed)):.{digits}f}"


def simulate(
    config: SimulationConfig,
    models: Sequence[str],
    policies: Sequence[Policy] = (),
    seeds: Sequence[int] = (0,),
    options: Mapping[str, Any] | None = None,
    progress: Report = lambda share, doing="": None,
) -> Simulation:
    """Simulate every arm for every seed.

    Args:
        config: the numbers of the simulation.
        models: names of hyperparameter files, or `random`, `popularity` (click rate so far), `oracle` (the ceiling).
        policies: what trained models are served under in further arms; no two of one name.
        seeds: each draws a site of its own: news, users, luck, and the first weights of models.
        options: hyperparameters that win over those of the scale `fast` and of `OPTIONS`; `nrms.epochs` for one model.
        progress: told of the share that is done.

    Raises:
        HParamsError: there is no such model, or it reads what the simulation does not have.
        PolicyError: a policy names a column that there is none of, leaves lists short, or has another one's name; or no
            model is trained.
        ValueError: there are too few articles for lists of that length.
    """
    trained, overrides = [model for model in models if model not in FLOORS], options or {}
    require_known_models(overrides, trained)
    hparams = {model: Variant(model, changes=OPTIONS).hparams("fast", overrides) for model in trained}
    for place, policy in enumerate(policies):
        if not hparams:
            raise PolicyError(policy.where, f"is for models that are trained, and {', '.join(models)} are not.")
        if policy.name in {other.name for other in policies[:place]}:
            raise PolicyError(policy.where, f"another policy is called {policy.name!r} too.", "Change its name.")
    began, arms = time.perf_counter(), Arm.of(models, [policy.name for policy in policies])
    values: dict[str, dict[str, list[list[float]]]] = {arm.name: {name: [] for name in MEASURES} for arm in arms}
    done = 0
    for seed in seeds:
        site = Site.draw(config, seed)
        plans = {policy.name: Plan(policy, news_columns(site.table)) for policy in policies}
        logs, histories = site.warm_up()
        for model in models:
            progress(done / (len(seeds) * len(arms)), f"seed {seed}, training {model}")
            recommender = FLOORS[model](site, logs) if model in FLOORS else Trained(site, logs, hparams[model])
            for arm in (arm for arm in arms if arm.model == model):
                progress(done / (len(seeds) * len(arms)), f"seed {seed}, {arm.name}")
                arrange = Edited(site, plans[arm.policy]) if arm.policy else None
                found = run_arm(site, histories, recommender, config.drift if arm.drifts else 0.0, arrange)
                for name, by_day in found.items():
                    values[arm.name][name].append(by_day)
                done += 1
    said = [policy.model_dump(mode="json", exclude_defaults=True) for policy in policies]
    about = {"models": list(models), "policies": said, "options": dict(overrides)}
    about["seconds"] = round(time.perf_counter() - began, 1)
    arrays = {arm: {name: np.array(rows) for name, rows in of_arm.items()} for arm, of_arm in values.items()}
    return Simulation(config, arms, seeds, arrays, about)
