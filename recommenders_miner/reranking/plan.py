"""A policy bound to articles, which arranges lists for user after user.

`Plan.arrange` takes a shortlist of the pool and fills the places one after another by the reranker among what the rules
allow, looking ahead only as far as floors need it. Where that leaves a rule broken that need not be, it tries again
with floors first and with more of the pool, and then has an integer program choose the articles. So most lists cost
one or two milliseconds, and no rule is broken that could be kept with these candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from recommenders_miner.reranking.fill import fill, fill_floors_first
from recommenders_miner.reranking.listing import Listing
from recommenders_miner.reranking.policy import Pin, Policy
from recommenders_miner.reranking.pool import Pool
from recommenders_miner.reranking.rules import Rules

if TYPE_CHECKING:
    from recommenders_miner.data.news import NewsTable


class Plan:
    """Arranges lists of some articles by a policy.

    Example:
    ```python
    plan = Plan(Policy.read("policy.yaml"), news_columns(news))
    listing = plan.arrange(scores, rows, 20, now=time.time(), history=clicked)
    listing.rows, listing.moves, listing.relaxed, listing.why_not(row)
    ```

    Args:
        policy: the policy.
        columns: by name, what each of N articles has: text, numbers, truth values or None, or lists of these; a list,
            or an array of numpy or Arrow. `policy.columns` says which are needed. `news_columns` makes them of a
            `NewsTable`, whose rows then keep their numbers.
        vectors: (N, d), by which `same_story` and `mmr` compare articles; of the words of `title` where left out, so
            that a file's threshold means the same everywhere.

    Attributes:
        policy: the policy.
        warnings: values in the policy that no article has, in sentences.

    Raises:
        PolicyError: a column is not there (the nearest name is told), or columns differ in length.
    """

    def __init__(self, policy: Policy, columns: Mapping[str, Sequence[Any]], vectors: Any = None) -> None:
        # It needs scipy.optimize, 40 MB that a server without a policy goes without.
        from recommenders_miner.reranking.exact import choose_exactly

        self._choose_exactly = choose_exactly
        self.policy, self._rules = policy, Rules(policy, columns, vectors)
        self.warnings = self._rules.warnings

    @property
    def titles(self) -> list[str]:
        """What the rules are called in moves and among what was relaxed, rerankers left out."""
        return [rule.title for rule in self._rules.rules]

    def pinned(self, pins: Mapping[Pin, int]) -> Plan:
        """Return the plan with further pins, each with its article's row (-1 for none), without binding all anew.

        Pins of the policy that want one of their places or articles give way to them, whatever the hours.
        """
        other = copy(self)
        other._rules = self._rules.pinned(pins)
        other.policy = other._rules.policy
        return other

    def arrange(
        self,
        scores: np.ndarray,
        rows: np.ndarray | None = None,
        k: int | None = None,
        *,
        now: float,
        history: Sequence[int] | np.ndarray = (),
        shown: np.ndarray | None = None,
        topics: Sequence[str] = (),
        seed: int | Sequence[int] = 0,
        dial: float | None = None,
    ) -> Listing:
        """Arrange a list for one user.

        Relevance is what scores are between the lowest and the highest of the pool, from 0 to 1, times what half-lives
        leave of it.

        Args:
            scores: (C,) finite numbers, the model's; their scale does not matter.
            rows: (C,) distinct rows of the articles of the pool; all articles where left out.
            k: how long the list is; the policy's `places` where left out.
            now: Unix seconds.
            history: rows of the articles that the user clicked on.
            shown: (C,), how often each was shown to the user, who did not click on it; nothing where left out.
            topics: what the user named, values of the column of `topics`.
            seed: what exploration depends on; the same seed draws the same articles and places.
            dial: the reranker's strength from 0 to 1, in the place of the policy's.

        Returns:
            At most k articles: fewer where there are fewer candidates, or where rules that do not give way exclude
            them.
        """
        pool = Pool.of(
            self._rules, scores, rows, self.policy.places if k is None else k, now, history, shown, topics, seed, dial
        )
        tried = []
        for wide in (False, True):
            among = pool.shortlist(wide)
            for attempt in (fill, fill_floors_first):
                order = attempt(pool, among)
                violations = pool.violations(order)
                if not violations.any() or not pool.avoidable(order, violations):
                    return Listing(order, pool, violations)
                tried.append((order, violations))
            if len(among) == len(pool.rows):
                break
        order, violations = self._choose_exactly(pool, among, *min(tried, key=lambda one: pool.cost(one[1])))
        return Listing(order, pool, violations)


def news_columns(news: NewsTable) -> dict[str, Any]:
    """Return all columns of a news table by name, N + 1 values each, for a `Plan`; its row 0 is the padding."""
    names = ("category", "subcategory", "title", "abstract")
    extra = {} if news.extra is None else {name: news.extra[name] for name in news.extra.column_names}
    return {"published": news.published, **extra, "id": news.ids, **{name: getattr(news, name) for name in names}}
