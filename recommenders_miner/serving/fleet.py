"""The models of a service, which have the same articles, and what keeps both up to date."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from threading import RLock
from typing import TYPE_CHECKING

from recommenders_miner.serving.catalog import Card, Catalog, Row
from recommenders_miner.serving.loading import Articles, Load, Loader, add_readable
from recommenders_miner.serving.metrics import Metrics
from recommenders_miner.serving.settings import Settings
from recommenders_miner.serving.slots import Arm, Slot, arm_of
from recommenders_miner.serving.store import Store

if TYPE_CHECKING:
    from recommenders_miner.serving.runtime import Recommender

LOGGER = logging.getLogger("recommenders_miner")


class Fleet:
    """Models and articles, both of which change while requests are answered.

    Args:
        settings: which exports, shares and news.
        metrics: told of the articles and of new models.
        load: loads a model; by default `Recommender.load`.
    """

    def __init__(self, settings: Settings, metrics: Metrics, load: Load | None = None) -> None:
        self.catalog = Catalog()
        self._settings, self._metrics, self._load = settings, metrics, load
        slots = {export: Slot(export) for export in settings.exports}
        policies = settings.arm_policies or (None,) * len(settings.exports)
        self._slots = [*slots.values()]
        self._arms = [
            Arm(slots[export], share, policy)
            for export, share, policy in zip(settings.exports, settings.shares, policies, strict=True)
        ]
        self._changing = RLock()
        self._seen = 0  # the last change of articles in the store that is here, too

    def start(self, store: Store) -> None:
        """Load the models, with the articles of the news file as the store has changed them.

        Raises:
            RecommendersMinerError: an export or the news file cannot be used, or the store does not answer.
        """
        if self._load is None:
            from recommenders_miner.serving.runtime import Recommender

            self._load = Recommender.load
        articles = Articles(self._settings.news, store)
        for slot in self._slots:
            model, cards = self._loader.load(slot.export, articles)
            if slot is self._slots[0]:
                self.catalog.change(cards)
            else:
                self._align(model, cards)
            slot.fill(model)
        self._seen = articles.last
        self._metrics.candidates.set(len(self.catalog))

    @property
    def _loader(self) -> Loader:
        return Loader(self._load, self._settings.snapshot)

    def _align(self, model: Recommender, cards: Mapping[str, Card]) -> None:
        """Let a model that has the articles of some cards have what the first model has."""
        ours = {card.id: card for card in self.catalog.cards()}
        other = [id for id, card in ours.items() if id not in cards or cards[id].digest != card.digest]
        if gone := [id for id in cards if id not in ours]:
            model.remove(gone)
        if other:
            model.add_articles([self._slots[0].model.article(id) for id in other])

    # === Models ===

    def models(self) -> list[tuple[Recommender, float]]:
        """Return the models, each with its share of users, in the order of the exports."""
        return [(slot.model, sum(arm.share for arm in self._arms if arm.slot is slot)) for slot in self._slots]

    def share_of_policy(self, policy: str) -> float:
        """Return the share of users whose lists a policy arranges unless they ask otherwise."""
        return sum((arm.share for arm in self._arms if arm.policy == policy), 0.0)

    def arm_of(self, user: str | None, history: Sequence[str]) -> tuple[Recommender, str | None]:
        """Return the model and the policy that answer a user, or these clicks where no user is named."""
        arm = arm_of(self._arms, user, history)
        return arm.slot.model, arm.policy

    def take_new_models(self, store: Store) -> None:
        """Load what was exported anew beside the models that answer; one that cannot be loaded leaves the old one."""
        for slot in self._slots:
            if (state := slot.renewed()) is None:
                continue
            try:
                model, cards = self._loader.load(slot.export, Articles(self._settings.news, store))
                with self._changing:
                    self._align(model, cards)
                    slot.fill(model)
            except Exception as error:
                slot.failed()
                self._metrics.reloads.labels("failed").inc()
                LOGGER.error("%s: the new model cannot be loaded, and the old one stays: %s", slot.export, error)
            else:
                slot.taken(state)
                self._metrics.reloads.labels("taken").inc()
                LOGGER.info("%s: %s has taken over.", slot.export, model.name)

    # === Articles ===

    def put(self, store: Store, article: str, row: Row | None) -> int:
        """Change an article here and, for all processes, in the store; None removes it. Return the change's number.

        Nothing is changed where a model cannot read the article, or the store cannot keep it.
        """
        with self._changing:
            before = self._slots[0].model.article(article) if self.catalog.get(article) else None
            try:
                self._change(article, row)
                return store.put_article(article, row)
            except Exception:
                self._change(article, before)
                raise

    def _change(self, article: str, row: Row | None) -> None:
        for slot in self._slots:
            slot.model.remove([article]) if row is None else slot.model.add_articles([row])
        self._catalogue({article: None if row is None else Card.of(row)})

    def _catalogue(self, changes: Mapping[str, Card | None]) -> None:
        self.catalog.change(changes)
        self._metrics.candidates.set(len(self.catalog))

    def follow(self, store: Store) -> None:
        """Take over what other processes have changed in the store since the last time."""
        with self._changing:
            changes = store.articles_since(self._seen)
            cards = {article: None if row is None else Card.of(row) for _, article, row in changes}
            here = {article: self.catalog.get(article) for article in cards}
            cards = {article: card for article, card in cards.items() if card != here[article]}
            if cards:
                models = [slot.model for slot in self._slots]
                gone = [article for article, card in cards.items() if card is None]
                for model in models:
                    model.remove(gone)
                rows = [row for _, article, row in changes if cards.get(article)]
                cards |= dict.fromkeys(add_readable(models, rows))
                self._catalogue(cards)
            self._seen = max([self._seen, *(number for number, _, _ in changes)])
