"""What users get of whom no click is known: what is popular now, filled up with the newest, and some to explore."""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any, Literal

import numpy as np

from recommenders_miner.errors import HParamsError
from recommenders_miner.serving.catalog import Card, Catalog
from recommenders_miner.serving.store import Store

WINDOW_SECONDS = 24 * 3600
"""What was clicked within so long is popular now."""

_MOST_COUNTED = 10_000
_FRESH = 200
"""Of so many of the newest articles, those with the fewest showings are explored."""

Chosen = tuple[str, Literal["popular", "explored"]]


class Popular:
    """The articles of a catalog, ordered for users of whom nothing is known.

    Args:
        catalog: what there is to choose from.
        explore: the share of places for fresh articles with few showings, from 0 to 1.
    """

    def __init__(self, catalog: Catalog, explore: float) -> None:
        self._catalog, self._explore = catalog, explore
        self._ranking: list[str] = []
        self._showings: dict[str, int] = {}

    def refresh(self, store: Store) -> None:
        """Ask the store anew what is popular."""
        counted = store.popular(int(time.time()) - WINDOW_SECONDS, _MOST_COUNTED)
        # What nobody clicked when it was shown is not popular: newer articles come first.
        self._ranking = [article for article, clicks, _ in counted if clicks]
        self._showings = {article: max(clicks, showings) for article, clicks, showings in counted}

    def recommend(
        self,
        k: int,
        max_age: float | None = None,
        where: Mapping[str, Any] | None = None,
        exclude: Collection[str] = (),
    ) -> list[Chosen]:
        """Choose k articles, or as many as there are, under the limits of `Recommender.recommend`.

        Raises:
            HParamsError: no article has a column of `where`.
        """
        self._require(where)
        taken, now = set(exclude), time.time()
        newest = self._catalog.newest()

        def allowed(cards: Iterable[Card | None]) -> Iterator[str]:
            for card in cards:
                if card is not None and card.id not in taken and _matches(card, max_age, where or {}, now):
                    yield card.id

        chosen: list[Chosen] = []
        ranked = chain(map(self._catalog.get, self._ranking), (entry.card for entry in newest))
        for article in islice(allowed(ranked), k):
            taken.add(article)
            chosen.append((article, "popular"))
        if not (places := sum(random.random() < self._explore for _ in chosen)):
            return chosen
        taken = set(exclude)
        fresh = [*islice(allowed(entry.card for entry in newest), _FRESH)]
        random.shuffle(fresh)
        explored = sorted(fresh, key=lambda article: self._showings.get(article, 0))[:places]
        chosen = [pair for pair in chosen if pair[0] not in explored][: len(chosen) - len(explored)]
        for article in explored:
            chosen.insert(random.randint(0, len(chosen)), (article, "explored"))
        return chosen

    def score(
        self,
        row_of: Mapping[str, int],
        max_age: float | None = None,
        where: Mapping[str, Any] | None = None,
        exclude: Collection[str] = (),
    ) -> np.ndarray:
        """Score the articles of some rows, for a policy to arrange: 1 / place among all; -inf outside of the limits.

        `row_of` has the row of each article, the newest first; all else is as of `recommend`.
        """
        self._require(where)
        ranked = [row_of[article] for article in self._ranking if article in row_of]
        order = np.concatenate([ranked, np.setdiff1d(np.arange(len(row_of)), ranked)]).astype(np.int64)
        scores = np.empty(len(order))
        scores[order] = 1 / np.arange(1, len(order) + 1)
        scores[[row_of[article] for article in exclude if article in row_of]] = -np.inf
        if max_age is not None or where:
            now, cards = time.time(), map(self._catalog.get, row_of)
            allowed = [card is not None and _matches(card, max_age, where or {}, now) for card in cards]
            scores[~np.array(allowed, bool)] = -np.inf
        return scores

    def _require(self, where: Mapping[str, Any] | None) -> None:
        for name in where or {}:
            if name not in self._catalog.column_names:
                raise HParamsError(f"where: no article has a column {name!r}.")


def _matches(card: Card, max_age: float | None, where: Mapping[str, Any], now: float) -> bool:
    """Whether an article is within the limits; one that says nothing of its age is too old."""
    if max_age is not None and (not card.published or card.published < now - max_age):
        return False
    return all(card.column(name) in (value if isinstance(value, list) else [value]) for name, value in where.items())
