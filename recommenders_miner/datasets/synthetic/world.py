"""The simulator behind the synthetic benchmark: news, users, and the clicks that follow from both.

A user clicks by utility. The utility of news *i* for user *u* at time *t* is

    interest_weight · max_k weight_uk · match(k, topic of i)  +  taste_weight · taste_u,category of i
    +  popularity_weight · (log popularity_i + height_i · burst(t − onset_i))
    −  freshness_weight · log(1 + (t − birth_i) / freshness_hours)

where *k* runs over the user's interests, and match is 1 for the interest's own subcategory,
`sibling_credit` for another one of the same category and 0 elsewhere. A burst rises from 0 to 1 in a straight line,
then decays exponentially. In an impression, `position_weight` · log(1 + places above it) is taken off a candidate,
Gumbel noise of scale `noise_scale` is added, and the best few are clicked: the Plackett-Luce model. Histories come
from the same utility, without positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from recommenders_miner.data.ragged import Ragged

HOUR, DAY = 3600, 86_400  # seconds
MAX_INTERESTS = 5
INTEREST_SKEW = 0.75  # below 1, small subcategories have more followers than their share of the news
SPANS = 64  # of an article's life, in which histories are clicked
ROWS_PER_BLOCK = 4096  # users or impressions drawn at a time; bounds the memory
GENEROSITY = (2, 4, 8, 16)  # draws per article still missing, round by round, as repeats grow more common

# Measured on MIND-small (SPEC.md, section 5): the lengths of histories and impressions at these quantiles.
QUANTILES = (0.0, 0.05, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99, 1.0)
HISTORY_LENGTHS = (0, 2, 7, 18, 40, 76, 111, 201, 425)
CANDIDATE_LENGTHS = (2, 2, 10, 24, 52, 93, 120, 159, 283)


@dataclass(frozen=True)
class SyntheticConfig:
    """The numbers of a synthetic benchmark.

    Attributes:
        num_news: news in both splits together.
        num_users: users in both splits together, each with at least one impression.
        num_train_impressions: impressions of the train split.
        num_dev_impressions: impressions of the dev split, the last day.
        history_days: days before the train split, when the histories were clicked.
        train_days: days of the train split.
        dev_only_users: share of the users that the train split does not know.
        life_days: median life of an article in days; the logarithm of a life has a standard deviation of 0.4.
        promoted_share: share of the news that an editor puts forward; the others are rarely shown.
        unpromoted_exposure: how often an article that is not promoted is shown, relative to one that is.
        personalisation: log of how much more often an impression shows the user's main interest than chance would.
        interest_weight: weight of the best-matching interest in the utility of a click.
        sibling_credit: match of an interest with another subcategory of its category.
        taste_weight: weight of the user's standard normal taste for each category.
        popularity_weight: weight of the log popularity of the news, which is standard normal but for bursts.
        burst_height: mean height of an article's burst (exponential), in units of the log popularity.
        burst_delay: mean hours from an article's birth to the onset of its burst (exponential).
        burst_rise: hours from the onset of a burst to its height.
        burst_decay: hours in which a burst falls to 1/e of its height.
        freshness_weight: weight of an article's age, as log(1 + age / `freshness_hours`).
        freshness_hours: age in hours from which an article falls behind noticeably.
        position_weight: weight of the place in which a candidate is shown, as log(1 + places above it).
        noise_scale: scale of the Gumbel noise of a click.
        extra_clicks: mean number of clicks beyond the first (geometric), before small impressions cut it.
        spliced_titles: whether a title is the first half of one and the second half of another of its subcategory.
    """

    num_news: int
    num_users: int
    num_train_impressions: int
    num_dev_impressions: int
    history_days: int = 28
    train_days: int = 6
    dev_only_users: float = 0.1
    life_days: float = 2.5
    promoted_share: float = 0.14
    unpromoted_exposure: float = 0.02
    personalisation: float = 0.7
    interest_weight: float = 5.5
    sibling_credit: float = 0.2
    taste_weight: float = 0.5
    popularity_weight: float = 0.6
    burst_height: float = 1.5
    burst_delay: float = 12.0
    burst_rise: float = 1.0
    burst_decay: float = 4.0
    freshness_weight: float = 0.5
    freshness_hours: float = 6.0
    position_weight: float = 0.3
    noise_scale: float = 1.0
    extra_clicks: float = 0.58
    spliced_titles: bool = False


@dataclass(frozen=True)
class News:
    """The news and their truth, one entry per article; times in seconds since the beginning of the simulation."""

    topic: np.ndarray  # the index of the subcategory
    log_popularity: np.ndarray  # standard normal, without the burst
    exposure: np.ndarray  # how often the recommender considers the article, in arbitrary units
    birth: np.ndarray
    death: np.ndarray
    burst_onset: np.ndarray
    burst_height: np.ndarray


@dataclass(frozen=True)
class Users:
    """The users and their truth."""

    affinity: np.ndarray  # (users, topics) the best match of the user's interests with each topic, 0 … 1
    preference: np.ndarray  # (users, topics) the part of the utility that depends on the topic
    in_train: np.ndarray  # (users,) bool, False for those that only the dev split knows


@dataclass(frozen=True)
class Impressions:
    """One split's impressions."""

    user: np.ndarray  # (impressions,)
    time: np.ndarray  # (impressions,) int64, seconds since the beginning of the simulation
    candidates: Ragged
    position: np.ndarray  # (candidates,) how many others were shown above it
    logits: np.ndarray  # (candidates,) the utility without position and noise
    clicked: np.ndarray  # (candidates,) bool


@dataclass(frozen=True)
class SyntheticWorld:
    """All that the simulator knows."""

    news: News
    users: Users
    histories: Ragged  # the clicked news of each user, newest last; the same in both splits, as in MIND
    train: Impressions
    dev: Impressions
    born_on_dev_day: np.ndarray  # (news,) bool, the news that the train split cannot know


def simulate(
    config: SyntheticConfig,
    topic_shares: np.ndarray,
    topic_category: np.ndarray,
    seed: np.random.SeedSequence,
    progress: Callable[[str], None],
) -> SyntheticWorld:
    """Simulate a news site whose topics have these shares in the news and categories, both (topics,)."""
    news_rng, user_rng, history_rng, train_rng, dev_rng = map(np.random.default_rng, seed.spawn(5))
    train_start = config.history_days * DAY
    dev_start = train_start + config.train_days * DAY

    progress("drawing news and users")
    news = draw_news(config, topic_shares, dev_start + DAY, news_rng)
    users = draw_users(config, topic_shares, topic_category, user_rng)
    progress("drawing click histories")
    histories = draw_histories(config, news, users, train_start, history_rng)
    progress(f"drawing {config.num_train_impressions:,} train impressions")
    known = np.flatnonzero(users.in_train)
    train_user = _draw_visitors(known, known, config.num_train_impressions, train_rng)
    train = _draw_impressions(config, news, users, train_user, train_start, dev_start, train_rng)
    progress(f"drawing {config.num_dev_impressions:,} dev impressions")
    everyone, newcomers = np.arange(config.num_users), np.flatnonzero(~users.in_train)
    dev_user = _draw_visitors(everyone, newcomers, config.num_dev_impressions, dev_rng)
    dev = _draw_impressions(config, news, users, dev_user, dev_start, dev_start + DAY, dev_rng)
    return SyntheticWorld(news, users, histories, train, dev, news.birth >= dev_start)


def draw_news(config: SyntheticConfig, topic_shares: np.ndarray, end: int, rng: np.random.Generator) -> News:
    """Draw news of topics with these shares, (topics,), born from 0 to `end`, in seconds."""
    size = config.num_news
    topic = rng.choice(len(topic_shares), size, p=topic_shares)
    log_popularity = rng.standard_normal(size)
    promoted = rng.random(size) < config.promoted_share
    exposure = np.exp(log_popularity) * np.where(promoted, 1.0, config.unpromoted_exposure)
    birth = rng.uniform(0, end, size)
    life = config.life_days * DAY * np.exp(0.4 * rng.standard_normal(size))
    onset = birth + config.burst_delay * HOUR * rng.standard_exponential(size)
    height = config.burst_height * rng.standard_exponential(size)
    return News(topic, log_popularity, exposure, birth, birth + life, onset, height)


def attraction(config: SyntheticConfig, news: News, article: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Return the part of the utility of articles that all users share, at times from their birth on; all (…,)."""
    since_onset = (time - news.burst_onset[article]) / HOUR
    rise = np.clip(since_onset / config.burst_rise, 0, 1)
    burst = rise * np.exp(-np.maximum(since_onset - config.burst_rise, 0) / config.burst_decay)
    popularity = news.log_popularity[article] + news.burst_height[article] * burst
    age = (time - news.birth[article]) / (config.freshness_hours * HOUR)
    return config.popularity_weight * popularity - config.freshness_weight * np.log1p(age)


def draw_users(
    config: SyntheticConfig, topic_shares: np.ndarray, topic_category: np.ndarray, rng: np.random.Generator
) -> Users:
    """Draw users, whose interests follow the topics' shares and categories, both (topics,)."""
    size = config.num_users
    # Distinct interests, drawn one after the other: the order in which exponential clocks ring.
    clocks = rng.standard_exponential((size, len(topic_shares))) / topic_shares**INTEREST_SKEW
    interests = np.argsort(clocks, axis=1)[:, :MAX_INTERESTS]
    weights = rng.uniform(0.5, 1.0, interests.shape)
    weights[:, 0] = 1.0
    num_interests = rng.integers(2, MAX_INTERESTS + 1, size)
    weights[np.arange(MAX_INTERESTS) >= num_interests[:, None]] = 0.0

    rows = np.arange(size)
    affinity = np.zeros((size, len(topic_shares)))
    for interest, weight in zip(interests.T, weights.T, strict=True):
        sibling = topic_category[interest][:, None] == topic_category
        np.maximum(affinity, config.sibling_credit * weight[:, None] * sibling, out=affinity)
        affinity[rows, interest] = np.maximum(affinity[rows, interest], weight)

    taste = rng.standard_normal((size, topic_category.max() + 1))
    preference = config.interest_weight * affinity + config.taste_weight * taste[:, topic_category]
    in_train = np.ones(size, bool)
    in_train[rng.permutation(size)[: round(config.dev_only_users * size)]] = False
    return Users(affinity, preference, in_train)


def draw_histories(
    config: SyntheticConfig, news: News, users: Users, train_start: int, rng: np.random.Generator
) -> Ragged:
    """Return what each user clicked before the train split, in the order of the clicks."""
    past = np.flatnonzero(news.birth < train_start)
    # Interpolating the logarithm hits the 2 % of empty histories as well as the quantiles.
    drawn = np.expm1(np.interp(rng.random(config.num_users), QUANTILES, np.log1p(HISTORY_LENGTHS)))
    length = np.minimum(np.rint(drawn).astype(np.int64), len(past) // 2)

    # Choosing by utility with Gumbel noise is choosing with weights exp(utility / noise scale), here summed over spans
    # of an article's life up to the train split.
    span = np.maximum(np.minimum(news.death, train_start) - news.birth, 0) / SPANS
    middles = news.birth[:, None] + (np.arange(SPANS) + 0.5) * span[:, None]
    appeal = np.exp(attraction(config, news, np.arange(config.num_news)[:, None], middles) / config.noise_scale)
    appeal = np.cumsum(appeal, axis=1)
    sampler = _NewsSampler(past, news.topic, news.exposure * span * appeal[:, -1], users.preference.shape[1])
    histories = sampler.draw_distinct(np.exp(users.preference / config.noise_scale), length, rng)

    clicked = histories.values
    # All articles' distributions over their spans end to end make one increasing sequence.
    stacked = (appeal / appeal[:, -1:] + np.arange(config.num_news)[:, None]).ravel()
    spent = np.searchsorted(stacked, clicked + rng.random(len(clicked))) - SPANS * clicked
    time = news.birth[clicked] + (spent + rng.random(len(clicked))) * span[clicked]
    return Ragged(clicked[np.lexsort((time, histories.rows()))], histories.offsets)


def _draw_visitors(
    users: np.ndarray, certain: np.ndarray, num_impressions: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the user of each impression: the `certain` ones at least once, some of `users` far more often."""
    activity = rng.standard_gamma(1.0, len(users))
    more = rng.choice(users, num_impressions - len(certain), p=activity / activity.sum())
    return rng.permutation(np.concatenate([certain, more]))


def _draw_impressions(
    config: SyntheticConfig,
    news: News,
    users: Users,
    user: np.ndarray,
    start: int,
    end: int,
    rng: np.random.Generator,
) -> Impressions:
    size = len(user)
    # People read by day: the least at 4 a.m., the most at 4 p.m.
    hours = np.arange(start // HOUR, end // HOUR)
    traffic = 1.0 - 0.8 * np.cos(2 * np.pi * (hours % 24 - 4) / 24)
    hour = rng.choice(hours, size, p=traffic / traffic.sum())
    time = hour * HOUR + rng.integers(0, HOUR, size)
    drawn = np.exp(np.interp(rng.random(size), QUANTILES, np.log(CANDIDATE_LENGTHS)))
    length = np.rint(drawn).astype(np.int64)

    relevance = np.exp(config.personalisation * users.affinity)
    by_hour = Ragged.of_lengths(np.argsort(hour, kind="stable"), np.bincount(hour - hours[0], minlength=len(hours)))
    parts = []
    for this_hour, members in zip(hours, by_hour, strict=True):
        alive = np.flatnonzero((news.birth <= this_hour * HOUR) & (news.death >= (this_hour + 1) * HOUR))
        if len(alive) < 4:
            raise ValueError("SyntheticConfig leaves fewer than 4 articles alive: raise num_news or life_days.")
        sampler = _NewsSampler(alive, news.topic, news.exposure, relevance.shape[1])
        length[members] = np.minimum(length[members], len(alive) // 2)
        drawn = sampler.draw_distinct(relevance[user[members]], length[members], rng)
        parts.append(_show(config, news, users, user[members], time[members], drawn, rng))
    lengths, in_order = length[by_hour.values], np.argsort(by_hour.values)
    columns = (Ragged.of_lengths(np.concatenate(part), lengths).take(in_order) for part in zip(*parts, strict=True))
    candidates, position, logits, clicked = columns
    return Impressions(user, time, candidates, position.values, logits.values, clicked.values)


def _show(
    config: SyntheticConfig,
    news: News,
    users: Users,
    user: np.ndarray,
    time: np.ndarray,
    drawn: Ragged,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Show users what the recommender drew for them, what it drew first in the first place.

    The articles, their positions, their logits and whether they are clicked, (candidates,), are shuffled within each
    impression, as in MIND, so that the order of the candidates tells nothing.
    """
    row = drawn.rows()
    shuffled = np.lexsort((rng.random(len(row)), row))
    article, position = drawn.values[shuffled], drawn.ranks()[shuffled]
    logits = users.preference[user[row], news.topic[article]] + attraction(config, news, article, time[row])
    noisy = logits - config.position_weight * np.log1p(position) + config.noise_scale * rng.gumbel(size=len(row))
    num_clicks = np.minimum(rng.geometric(1 / (1 + config.extra_clicks), len(user)), drawn.lengths - 1)
    clicked = np.empty(len(row), bool)
    clicked[np.lexsort((-noisy, row))] = drawn.ranks() < num_clicks[row]
    return article, position, logits, clicked


class _NewsSampler:
    """Draw news from a pool with a weight per article times a weight per row and topic.

    The topic is drawn first, then the article within it, so that a draw costs two binary searches, and no
    table of rows by news is needed.
    """

    def __init__(self, pool: np.ndarray, topic: np.ndarray, weight: np.ndarray, num_topics: int) -> None:
        self.pool = pool[np.argsort(topic[pool], kind="stable")]
        self.topic, self.weight = topic[self.pool], weight[self.pool]
        self.upper = np.cumsum(self.weight)
        edges = np.append(0.0, self.upper)[np.searchsorted(self.topic, np.arange(num_topics + 1))]
        self.lower, self.mass = edges[:-1], np.diff(edges)

    def draw_distinct(self, topic_weights: np.ndarray, lengths: np.ndarray, rng: np.random.Generator) -> Ragged:
        """Draw for each row `lengths` distinct articles, in the order of the draws; `topic_weights` (rows, topics)."""
        starts = range(0, len(lengths), ROWS_PER_BLOCK)
        blocks = [slice(start, start + ROWS_PER_BLOCK) for start in starts]
        drawn = [self._draw_block(topic_weights[block], lengths[block], rng) for block in blocks]
        return Ragged.of_lengths(np.concatenate([np.empty(0, np.int64), *drawn]), lengths)

    def _draw_block(self, topic_weights: np.ndarray, lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        cumulative = np.cumsum(topic_weights * self.mass, axis=1)
        cumulative /= cumulative[:, -1:]
        # All rows' distributions end to end make one increasing sequence: row r covers r … r + 1.
        stacked = (cumulative + np.arange(len(lengths))[:, None]).ravel()
        drawn_row = drawn = np.empty(0, np.int64)
        missing, num_topics = lengths, len(self.mass)
        for generosity in GENEROSITY:
            if not missing.any():
                return drawn
            # Drawing with replacement and keeping the first of each article is drawing without replacement.
            row = np.repeat(np.arange(len(lengths)), generosity * missing)
            topic = np.searchsorted(stacked, row + rng.random(len(row)), side="right") - row * num_topics
            topic = np.minimum(topic, num_topics - 1)
            level = self.lower[topic] + rng.random(len(row)) * self.mass[topic]
            position = np.minimum(np.searchsorted(self.upper, level, side="right"), len(self.pool) - 1)
            drawn_row, drawn = np.concatenate([drawn_row, row]), np.concatenate([drawn, self.pool[position]])
            _, first = np.unique(drawn_row * (drawn.max() + 1) + drawn, return_index=True)
            first = first[np.lexsort((first, drawn_row[first]))]
            found = np.bincount(drawn_row[first], minlength=len(lengths))
            first = first[Ragged.of_lengths(first, found).ranks() < lengths[drawn_row[first]]]
            drawn_row, drawn = drawn_row[first], drawn[first]
            missing = np.maximum(lengths - found, 0)
        # A few rows have used up all likely articles. Of what is left come those whose exponential clocks ring first.
        rows = list(Ragged.of_lengths(drawn, lengths - missing))
        for row in np.flatnonzero(missing):
            left = np.flatnonzero(~np.isin(self.pool, rows[row]))
            clocks = rng.standard_exponential(len(left)) / (topic_weights[row][self.topic[left]] * self.weight[left])
            raced = left[np.argsort(clocks, kind="stable")[: missing[row]]]
            rows[row] = np.append(rows[row], self.pool[raced])
        return np.concatenate(rows)
