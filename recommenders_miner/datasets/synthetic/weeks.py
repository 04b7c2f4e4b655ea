"""Simulated users, whose interests move towards what they click: the synthetic world, one day after another.

The utility of an article i of topic t for a user u is that of `datasets.synthetic.world`: v_ut, which depends on the
topic, and the attraction of the article at the moment. Every day each user is shown one list. An article in place r =
0, 1, … is looked at with probability (1 + r)^−position_weight, and clicked, if it is looked at, with probability

    σ(v_ut + attraction_i − threshold)

where the threshold makes a random user click a random article with probability `click_rate`. This is the
position-based model (Richardson et al., "Predicting Clicks", WWW 2007).

A user's interests are a distribution over topics, p_ut ∝ share_t exp(v_ut), with the topics' shares in the news: but
for the saturation of σ, the mix that the user would click if news were shown at random. After n clicks of a day, n_t of
them on topic t,

    p_ut ← (1 − η)^n p_ut + (1 − (1 − η)^n) n_t / n,        η = `drift`

and v_ut follows from p_ut such that Σ_t share_t exp(v_ut) stays: interests move, appetite does not grow. It is the
linear operator of Bush and Mosteller, Stochastic Models for Learning, 1955. Like the updates that Jiang et al. study
("Degenerate Feedback Loops in Recommender Systems", AIES 2019), it raises what is clicked. News shown at random leave
the expected interests about where they are, so that what else happens to them is the recommender's doing.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
from scipy.optimize import brentq
from scipy.special import expit, logsumexp

from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.datasets.synthetic.text import invent_entities, load_topics, write_story
from recommenders_miner.datasets.synthetic.world import (
    DAY,
    HOUR,
    News,
    SyntheticConfig,
    Users,
    attraction,
    draw_histories,
    draw_news,
    draw_users,
)

HISTORY_DAYS = 7  # before the warm-up, in which the histories were clicked
VISIT_HOUR = 16  # of the day, when the world's users read most
_RARE = 1e-12  # the least share of a topic in the interests, so that its logarithm is finite


@dataclass(frozen=True)
class SimulationConfig:
    """The numbers of a simulation.

    Attributes:
        num_users: users, each of whom visits once a day.
        num_days: days that are simulated.
        warm_up_days: days before them, the same for everybody, whose log is what models are trained on first.
        news_per_day: articles that are published a day, on average.
        places: articles in a list.
        click_rate: probability that a random user clicks a random article that was looked at, interests as drawn.
        drift: η, the share of the interests that one click replaces.
        retrain_every: days between trainings.
    """

    num_users: int = 1_000
    num_days: int = 28
    warm_up_days: int = 14
    news_per_day: int = 100
    places: int = 20
    click_rate: float = 0.02
    drift: float = 0.02
    retrain_every: int = 7


@dataclass(frozen=True)
class Interests:
    """What users are interested in.

    Attributes:
        shares: p, (users, topics) float64, rows of sum 1.
        appetite: log Σ_t share_t exp(v_ut), (users,), which stays.
        supply: the topics' shares in the news, (topics,).
    """

    shares: np.ndarray
    appetite: np.ndarray
    supply: np.ndarray

    @classmethod
    def of_preference(cls, preference: np.ndarray, supply: np.ndarray) -> Self:
        """Make them of v, (users, topics)."""
        logits = preference + np.log(supply)
        appetite = logsumexp(logits, axis=1)
        return cls(np.exp(logits - appetite[:, None]), appetite, supply)

    @property
    def preference(self) -> np.ndarray:
        """v, (users, topics)."""
        return np.log(np.maximum(self.shares, _RARE)) - np.log(self.supply) + self.appetite[:, None]

    def after(self, clicks: np.ndarray, drift: float) -> Self:
        """Return them after some clicks, (users, topics) counts."""
        total = clicks.sum(axis=1, keepdims=True)
        kept = (1 - drift) ** total
        shares = kept * self.shares + (1 - kept) * clicks / np.maximum(total, 1)
        return type(self)(shares, self.appetite, self.supply)


@dataclass(frozen=True)
class Visit:
    """One day's visits: what can be shown, and what would be clicked. P articles can be shown."""

    day: int
    pool: np.ndarray  # (P,) int32 rows of the news table
    click_rates: np.ndarray  # (users, P) probability of a click on what is looked at
    luck: np.ndarray  # (users, P) uniform: what is looked at and clicked is what has less of it than its probability


class Shown(NamedTuple):
    """What came of a day's lists, (users, K)."""

    clicked: np.ndarray  # bool
    expected: np.ndarray  # probability of that


@dataclass(frozen=True)
class Site:
    """All that the recommenders of one seed have in common: the news, the users as they are at first, and chance.

    Rows are those of the news table, the padding included; articles stand in the order of their publication.
    """

    config: SimulationConfig
    seed: int
    world: SyntheticConfig
    news: News  # the truth, without the padding
    users: Users
    table: NewsTable
    topic: np.ndarray  # (rows,) of each article
    category: np.ndarray  # (rows,)
    supply: np.ndarray  # (topics,)
    histories: Ragged  # of the users when the warm-up begins, rows
    threshold: float

    @classmethod
    def draw(cls, config: SimulationConfig, seed: int) -> Self:
        """Draw a site; the same seed gives the same one.

        Raises:
            ValueError: fewer articles than twice the places of a list can be shown on some day.
        """
        topics, words = load_topics()
        categories = list(dict.fromkeys(topic.category for topic in topics))
        topic_category = np.array([categories.index(topic.category) for topic in topics])
        supply = np.array([topic.share for topic in topics])
        num_days = HISTORY_DAYS + config.warm_up_days + config.num_days
        world = SyntheticConfig(config.news_per_day * num_days, config.num_users, 0, 0, HISTORY_DAYS)
        rngs = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(4))
        news_rng, user_rng, history_rng, text_rng = rngs
        drawn = draw_news(world, supply, num_days * DAY, news_rng)
        order = np.argsort(drawn.birth)
        news = News(**{field.name: getattr(drawn, field.name)[order] for field in fields(News)})
        users = draw_users(world, supply, topic_category, user_rng)
        histories = draw_histories(world, news, users, HISTORY_DAYS * DAY, history_rng)
        entities = invent_entities(topics, words, text_rng)
        stories = [write_story(topics[topic], entities[topic], words, text_rng) for topic in news.topic]
        table = NewsTable.from_columns(
            ids=[f"N{row}" for row in range(1, len(stories) + 1)],
            titles=[story.title for story in stories],
            category=[topics[topic].category for topic in news.topic],
            subcategory=[topics[topic].name for topic in news.topic],
            abstract=[story.abstract for story in stories],
            extra={"published": news.birth.astype(np.int64), "body": [story.body for story in stories]},
        )
        topic = np.concatenate([[0], news.topic])
        rows = Ragged((histories.values + 1).astype(np.int32), histories.offsets)
        site = cls(config, seed, world, news, users, table, topic, topic_category[topic], supply, rows, 0.0)
        utility = site._utility(site.interests, site.pool(-config.warm_up_days), -config.warm_up_days)
        threshold = brentq(lambda level: expit(utility - level).mean() - config.click_rate, -50, 50)
        return cls(**{**vars(site), "threshold": threshold})

    @property
    def interests(self) -> Interests:
        """What users are interested in at first."""
        return Interests.of_preference(self.users.preference, self.supply)

    def moment(self, day: int) -> int:
        """Return when users visit on a day, in seconds; those of the warm-up are negative."""
        return (HISTORY_DAYS + self.config.warm_up_days + day) * DAY + VISIT_HOUR * HOUR

    def pool(self, day: int) -> np.ndarray:
        """Return the articles that can be shown on a day, (P,) int32 rows."""
        moment = self.moment(day)
        pool = np.flatnonzero((self.news.birth <= moment) & (moment < self.news.death)) + 1
        if len(pool) < 2 * self.config.places:
            raise ValueError(f"{len(pool)} articles can be shown on day {day}: raise news_per_day or lower places.")
        return pool.astype(np.int32)

    def rng(self, day: int, purpose: int) -> np.random.Generator:
        """Return the source of chance of a day, the same whatever is recommended."""
        return np.random.default_rng([self.seed, day + self.config.warm_up_days, purpose])

    def _utility(self, interests: Interests, pool: np.ndarray, day: int) -> np.ndarray:
        moments = np.full(len(pool), self.moment(day))
        return interests.preference[:, self.topic[pool]] + attraction(self.world, self.news, pool - 1, moments)

    def visit(self, interests: Interests, day: int) -> Visit:
        """Return what is on offer on a day, and what users with these interests would make of it."""
        pool = self.pool(day)
        click_rates = expit(self._utility(interests, pool, day) - self.threshold)
        return Visit(day, pool, click_rates, self.rng(day, 0).random(click_rates.shape))

    def show(self, visit: Visit, places: np.ndarray) -> Shown:
        """Show each user a list, (users, K) places in the pool, and let them click."""
        looked_at = (1.0 + np.arange(places.shape[1])) ** -self.world.position_weight
        expected = looked_at * np.take_along_axis(visit.click_rates, places, axis=1)
        return Shown(np.take_along_axis(visit.luck, places, axis=1) < expected, expected)

    def warm_up(self) -> tuple[list[ImpressionLog], Ragged]:
        """Return the logs of the days of the warm-up, and the users' histories after them.

        The lists are those of the synthetic world's own recommender, which shows what editors promote, and a little
        more of what interests the user. Interests stay as they are.
        """
        interests, histories, logs = self.interests, self.histories, []
        for day in range(-self.config.warm_up_days, 0):
            visit = self.visit(interests, day)
            scores = self.world.personalisation * self.users.affinity[:, self.topic[visit.pool]]
            scores += np.log(self.news.exposure[visit.pool - 1]) + self.rng(day, 1).gumbel(size=scores.shape)
            scores[clicked_before(histories, visit.pool, len(self.table))] = -np.inf
            places = top_places(scores, self.config.places)
            clicked = self.show(visit, places).clicked
            logs.append(self.log(visit, places, clicked, histories))
            histories = appended(histories, visit.pool[places], clicked)
        return logs, histories

    def log(self, visit: Visit, places: np.ndarray, clicked: np.ndarray, histories: Ragged) -> ImpressionLog:
        """Return the log of a day, an impression a user, of lists and what was clicked of them, (users, K)."""
        users = np.arange(self.config.num_users, dtype=np.int32)
        lists = visit.pool[places]
        return ImpressionLog(
            candidates=Ragged.of_lengths(lists.ravel(), np.full(len(lists), lists.shape[1])),
            labels=clicked.ravel().astype(np.int8),
            histories=histories,
            history_of=users,
            user_of=users,
            time=np.full(len(users), self.moment(visit.day)),
            impression_id=users + 1 + len(users) * np.int64(visit.day + self.config.warm_up_days),
            users=pa.array([f"U{user}" for user in users]),
        )


def appended(histories: Ragged, lists: np.ndarray, clicked: np.ndarray) -> Ragged:
    """Put what was clicked, of lists (users, K) of articles, behind the histories."""
    user, place = np.nonzero(clicked)
    rows = np.concatenate([histories.rows(), user])
    values = np.concatenate([histories.values, lists[user, place]])
    return Ragged.of_lengths(values[np.argsort(rows, kind="stable")], histories.lengths + clicked.sum(axis=1))


def clicked_before(histories: Ragged, pool: np.ndarray, num_rows: int) -> np.ndarray:
    """Say which articles of a pool each user has clicked, (users, P) bool."""
    place = np.full(num_rows, -1)
    place[pool] = np.arange(len(pool))
    found = place[histories.values]
    clicked = np.zeros((len(histories), len(pool)), bool)
    clicked[histories.rows()[found >= 0], found[found >= 0]] = True
    return clicked


def top_places(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the places of the k highest scores of each row, highest first; of equal ones the last come first."""
    order = np.argsort(-scores[:, ::-1], axis=1, kind="stable")[:, :k]
    return scores.shape[1] - 1 - order
