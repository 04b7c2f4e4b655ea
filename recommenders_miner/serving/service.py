"""What answers requests, whatever brings them: the models, the articles, the store, and the log of it all."""

from __future__ import annotations

import dataclasses
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from itertools import compress
from threading import Event as Flag
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np

from recommenders_miner.errors import UnknownNewsError
from recommenders_miner.serving import poprox, wire
from recommenders_miner.serving.fleet import Fleet
from recommenders_miner.serving.loading import Load
from recommenders_miner.serving.metrics import Metrics
from recommenders_miner.serving.policies import Arranged, Bound, Policies
from recommenders_miner.serving.popular import Popular
from recommenders_miner.serving.problems import Problem, busy
from recommenders_miner.serving.served_log import ServedLog
from recommenders_miner.serving.settings import Settings
from recommenders_miner.serving.store import Event, Store, StoreError, open_store

if TYPE_CHECKING:
    from recommenders_miner.serving.runtime import Recommender

LOGGER = logging.getLogger("recommenders_miner")

FOLLOW_SECONDS, WATCH_SECONDS, POPULAR_SECONDS = 0.5, 1.0, 10.0
_SHOWN_IDS = 5


class Service:
    """One process of a service; its methods are called on several threads.

    It can answer when `start` has loaded everything, in a thread of its own; until then its methods raise a `Problem`,
    503. They raise a `StoreError` where the store does not answer.

    Args:
        settings: what it is made of.
        load: what loads a model from an export; by default `Recommender.load`.
        on_failure: called where models or articles cannot be loaded at the start.
    """

    def __init__(
        self, settings: Settings, load: Load | None = None, on_failure: Callable[[Exception], None] | None = None
    ) -> None:
        self.metrics = Metrics()
        self._settings, self._on_failure = settings, on_failure
        self._fleet = Fleet(settings, self.metrics, load)
        self._popular = Popular(self._fleet.catalog, settings.explore)
        self._poprox = poprox.Answerer()
        self._policies = Policies(settings.policies, self._fleet.catalog)
        self._opened: Store | None = None
        self._log: ServedLog | None = None
        self._trouble: str | None = "Models and articles are being loaded."
        self._loaded, self._stopped = Flag(), Flag()
        self._threads: list[Thread] = []

    # === Running ===

    def start(self) -> None:
        """Load everything in a thread, and keep it up to date in others."""
        self._in_thread(self._load)

    def stop(self) -> None:
        """End the threads, write what is left of the log, and close the store."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout=5)
        try:
            if self._log:
                self._log.close()
        finally:
            if self._opened:
                self._opened.close()

    @property
    def trouble(self) -> str | None:
        """Why the service cannot answer all requests now; None where it can."""
        return self._trouble

    def _in_thread(self, work: Callable[..., None], *arguments: Any) -> None:
        thread = Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _load(self) -> None:
        try:
            if self._settings.log:
                self._log = ServedLog(self._settings.log)
            self._opened = open_store(self._settings.store)
            self._fleet.start(self._opened)
            self._popular.refresh(self._opened)
            self._policies.refresh()
        except Exception as error:
            self._trouble = f"The start has failed: {error}"
            if self._on_failure:
                self._on_failure(error)
            return
        self._trouble = None
        self._loaded.set()
        names = ", ".join(model.name for model, _ in self._fleet.models())
        LOGGER.info("Ready: %s, %s articles.", names, f"{len(self._fleet.catalog):,}")
        self._in_thread(self._every, FOLLOW_SECONDS, self._follow)
        self._in_thread(self._every, WATCH_SECONDS, lambda: self._fleet.take_new_models(self._store))
        if self._settings.policies:
            self._in_thread(self._every, FOLLOW_SECONDS, self._policies.refresh)
        self._in_thread(self._every, POPULAR_SECONDS, lambda: self._popular.refresh(self._store))

    def _every(self, seconds: float, work: Callable[[], None]) -> None:
        fails = False
        while not self._stopped.wait(seconds):
            try:
                work()
                fails = False
            except Exception as error:
                if not fails:  # say it once, not twice a second
                    LOGGER.error("%s", error, exc_info=not isinstance(error, StoreError))
                fails = True

    def _follow(self) -> None:
        try:
            self._fleet.follow(self._store)
            self._trouble = None
        except StoreError as error:
            self._trouble = str(error)
            raise

    @property
    def _store(self) -> Store:
        self._require_loaded()
        assert self._opened is not None
        return self._opened

    def _require_loaded(self) -> None:
        if not self._loaded.is_set():
            raise busy(f"Not ready. {self._trouble}")

    # === Recommending ===

    def models(self) -> wire.ServedModels:
        """Return the models, in the order of the exports."""
        self._require_loaded()
        return wire.ServedModels(
            models=[
                wire.ServedModel(name=model.name, kind=model.kind, share=share, history=model.his_size)
                for model, share in self._fleet.models()
            ],
            policies=[
                wire.ServedPolicy(
                    name=bound.name,
                    title=bound.policy.name,
                    share=self._fleet.share_of_policy(bound.name),
                    rerank=bound.policy.rerank and bound.policy.rerank.by,
                    dial=bound.policy.rerank and bound.policy.rerank.dial,
                    version=bound.version,
                )
                for bound in self._policies.all()
            ],
        )

    def recommend(self, request: wire.RecommendRequest) -> wire.Recommendations:
        """Recommend articles: by a model where a click is known, else what is popular; as a policy arranges them."""
        model, policy, history = self._whose(request)
        policy = policy if request.policy is None else request.policy
        is_known, id = any(article in model for article in history), uuid.uuid4()
        if not is_known:
            self.metrics.cold_users.inc()
        if policy:
            bound = self._policies.get(policy)
            found = self._arranged(request, bound, model if is_known else None, history, id.int)
            chosen, said = found.chosen("model" if is_known else "popular"), found.answer(request.why_not)
            self.metrics.arranged(policy, bound.titles(said["relaxed"]))
            said, logged = said | {"policy": policy}, {"policy": policy, "policy_version": bound.version}
        elif request.pins or request.why_not:
            raise Problem(422, "pins, why_not: no policy arranges this list; name one (policy).")
        else:
            chosen, said, logged = self._best(request, model if is_known else None, history), {}, {}
        cards = [(self._fleet.catalog.get(article), *rest) for article, *rest in chosen]
        articles = [
            wire.Recommendation(id=card.id, score=score, title=card.title, category=card.category, why=why, moved=moved)
            for card, score, why, moved in cards
            if card is not None  # it was removed this moment
        ]
        answer = wire.Recommendations(id=id.hex, model=model.name, articles=articles, **said)
        self.metrics.answers.labels(model.name).inc()
        if self._log and not request.why_not:  # to ask why not is to look, not to show
            ids, reasons = [article.id for article in articles], [article.why for article in articles]
            of_user = {"id": answer.id, "user": request.user, "model": model.name, "history": history}
            self._log.answer({**of_user, **logged, "articles": ids, "why": reasons})
        return answer

    def _best(
        self, request: wire.RecommendRequest, model: Recommender | None, history: Sequence[str]
    ) -> list[tuple[str, float, wire.Why, None]]:
        """Return what a model finds best, or is popular, without a policy."""
        if model is None:
            with self.metrics.stage("popular"):
                best = self._popular.recommend(request.k, **request.limits)
            return [(article, 1 / place, why, None) for place, (article, why) in enumerate(best, start=1)]
        with self.metrics.stage("rank"):
            best = model.recommend(history, request.k, user=request.user, **request.limits)
        return [(article, float(score), "model", None) for article, score in best]

    def _arranged(
        self,
        request: wire.RecommendRequest,
        bound: Bound,
        model: Recommender | None,
        history: Sequence[str],
        seed: int,
    ) -> Arranged:
        """Let a policy arrange all articles as a model, or what is popular, scores them."""
        if model is None:
            with self.metrics.stage("popular"):
                scores = self._popular.score(bound.articles.row_of, **request.limits)
            rows = np.arange(len(scores))
        else:
            with self.metrics.stage("rank"):
                ids, scores = model.score_pool(history, user=request.user, **request.limits)
            rows = bound.articles.rows_of(model.name, ids)
        shown = self._store.showings(request.user) if request.user and bound.policy.shown else {}
        with self.metrics.stage("arrange"):
            wishes = {"topics": request.topics, "pins": request.pins, "dial": request.dial}
            return bound.arrange(rows, scores, request.k, history=history, seed=seed, shown=shown, **wishes)

    def poprox(self, request: poprox.Request, pipeline: str | None) -> dict[str, Any]:
        """Answer POPROX's platform; `pipeline` names a policy, which is else that of the profile's arm."""
        self._require_loaded()
        profile = request.interest_profile.profile_id
        model, policy = self._fleet.arm_of(None if profile is None else str(profile), request.history())
        policy = policy if pipeline is None else pipeline
        with self.metrics.stage("poprox"):
            named = (policy, self._policies.get(policy).policy) if policy else None
            answer, relaxed = self._poprox.answer(request, model, named)
        self.metrics.answers.labels(model.name).inc()
        if policy:
            self.metrics.arranged(policy, relaxed)
        return answer

    def explain(self, request: wire.ExplainRequest) -> dict[str, Any]:
        """Return what `Recommender.explain` says; 404 where it does not know an article."""
        model, _, history = self._whose(request)
        unknown = [article for article in request.articles if article not in model]
        if unknown:
            shown = ", ".join(unknown[:_SHOWN_IDS]) + (", …" if len(unknown) > _SHOWN_IDS else "")
            raise UnknownNewsError(f"There is no article {shown}. PUT /v1/articles/ID adds one.")
        with self.metrics.stage("explain"):
            return model.explain(history, request.articles, user=request.user)

    def map(self, request: wire.MapRequest) -> dict[str, Any]:
        """Return what `Recommender.map` says."""
        model, _, history = self._whose(request)
        with self.metrics.stage("map"):
            return model.map(history, request.limit, user=request.user)

    def _whose(self, request: wire.OfSomeone) -> tuple[Recommender, str | None, Sequence[str]]:
        """Return the model that a request is for, the policy of its arm, and the clicks, newest last."""
        self._require_loaded()
        history = request.history
        if history is None:
            history = [click.article for click in self._clicks(request.user)]
        if request.model is None:
            return *self._fleet.arm_of(request.user, history), history
        models = {model.name: model for model, _ in self._fleet.models()}
        if request.model not in models:
            raise Problem(422, f"model: there is no {request.model}; there is {', '.join(models)}.")
        return models[request.model], None, history

    # === Events, users and articles ===

    def record(self, events: Sequence[wire.WireEvent]) -> wire.Recorded:
        """Make events durable, and say how many are new."""
        now = int(time.time())
        records = [
            Event(**event.model_dump(exclude={"time"}), time=now if event.time is None else int(event.time))
            for event in events
        ]
        with self.metrics.stage("record"):
            are_new = self._store.record(records, self._policies.count_showings)
        new = [*compress(records, are_new)]
        for event in new:
            self.metrics.events.labels(event.type).inc()
        for model, _ in self._fleet.models():
            model.record([(event.user, event.article, event.time, event.type == "click") for event in new])
        if self._log:  # repeated ones, too: a kill may have come between the store and the log
            self._log.events(map(dataclasses.asdict, records))
        return wire.Recorded(recorded=len(new), repeated=len(records) - len(new))

    def user(self, user: str) -> wire.UserClicks:
        """Return all that is kept of a user."""
        return wire.UserClicks(user=user, clicks=self._clicks(user), shown=self._store.showings(user) or None)

    def _clicks(self, user: str) -> list[wire.Click]:
        with self.metrics.stage("history"):
            return [wire.Click(article=article, time=at) for article, at in self._store.history(user, wire.MOST_CLICKS)]

    def forget(self, user: str) -> wire.Forgotten:
        """Remove all that is kept of a user."""
        return wire.Forgotten(user=user, forgotten=self._store.forget(user))

    def put_article(self, article: str, row: wire.ArticleRow | None) -> wire.Changed:
        """Put an article in the place of what there is of it, or remove it."""
        if row is not None and row.id not in (None, article):
            raise Problem(422, f"id: the row says {row.id}, and the address {article}; leave it out of the row.")
        values = None if row is None else row.as_row(article)
        with self.metrics.stage("encode"):
            change = self._fleet.put(self._store, article, values)
        if self._log and values:
            self._log.article({**values, "kind": "article", "time": int(time.time())})
        return wire.Changed(id=article, change=change)

    def articles(self, words: str, category: str | None, limit: int) -> wire.ListedArticles:
        """Search the titles."""
        self._require_loaded()
        catalog = self._fleet.catalog
        total, cards = catalog.search(words, category, limit)
        names = wire.ListedArticle.model_fields
        listed = [wire.ListedArticle(**{name: getattr(card, name) for name in names}) for card in cards]
        return wire.ListedArticles(total=total, articles=listed, categories=catalog.categories())
