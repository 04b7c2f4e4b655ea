"""The recommenders of a simulation: a model of this package that is trained again and again, and what needs none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from recommenders_miner.data.counts import shrunk_rate
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.partition import join_logs
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.datasets.synthetic.weeks import Site, Visit
from recommenders_miner.errors import HParamsError, PolicyError
from recommenders_miner.hparams import MODELS, HParams
from recommenders_miner.reranking import Plan

_PRIOR_SHOWINGS = 100.0
_RETRAIN_EPOCHS = 2
OPTIONS: dict[str, Any] = {
    **{"head_num": 4, "news_dim": 64, "title_size": 12, "his_size": 20, "length_groups": 1, "cache": False},
    **{"batch_size": 512, "clicks_per_user": 4, "learning_rate": 4e-3, "epochs": 10},
}
"""What differs from `--scale fast`, so that a training takes seconds; `epochs` are those of the first one."""


class Recommender:
    """Scores the articles of a day for every user; the base is the one that knows nothing."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def restart(self) -> None:
        """Go back to where the warm-up ended."""

    def learn(self, log: ImpressionLog) -> None:
        """Take a day's log."""

    def score(self, visit: Visit, histories: Ragged) -> np.ndarray:
        """Return (users, P), higher is better."""
        raise NotImplementedError


class RandomOrder(Recommender):
    """Shows news at random."""

    def score(self, visit: Visit, histories: Ragged) -> np.ndarray:
        """Return (users, P), uniform."""
        return self.site.rng(visit.day, 2).random(visit.click_rates.shape)


class Oracle(Recommender):
    """Shows what is most likely to be clicked: the ceiling."""

    def score(self, visit: Visit, histories: Ragged) -> np.ndarray:
        """Return (users, P), the probabilities of a click."""
        return visit.click_rates


class Popularity(Recommender):
    """Shows everybody what has the highest click rate so far, shrunk as in `evaluation.baselines.popularity_scores`."""

    def __init__(self, site: Site, warm_up: Sequence[ImpressionLog]) -> None:
        super().__init__(site)
        self.warm_up = warm_up

    def restart(self) -> None:
        """Count what the warm-up showed."""
        self.clicks, self.showings = np.zeros((2, len(self.site.table)))
        for log in self.warm_up:
            self.learn(log)

    def learn(self, log: ImpressionLog) -> None:
        """Count what was shown, and what was clicked."""
        self.showings += np.bincount(log.candidates.values, minlength=len(self.showings))
        self.clicks += np.bincount(log.candidates.values, weights=log.labels, minlength=len(self.showings))

    def score(self, visit: Visit, histories: Ragged) -> np.ndarray:
        """Return (users, P), the same for all users."""
        overall = self.clicks.sum() / self.showings.sum()
        rates = shrunk_rate(self.clicks[visit.pool], self.showings[visit.pool], overall, _PRIOR_SHOWINGS)
        return np.broadcast_to(rates, visit.click_rates.shape)


class Trained(Recommender):
    """A model of this package: trained on the warm-up, then on the log of each period, going on from its weights."""

    def __init__(self, site: Site, warm_up: Sequence[ImpressionLog], hparams: HParams) -> None:
        super().__init__(site)
        log = join_logs(warm_up)
        published = site.table.ids[1 : np.searchsorted(site.news.birth, site.moment(0)) + 1].to_pylist()
        self.model = MODELS[hparams.model_type](hparams, seed=site.seed)
        vocabularies = self.model.train_iterator.build_vocabularies(site.table.select(published), log)
        self.model.build(vocabularies)
        if self.model.network.context:
            raise HParamsError(
                f"{hparams.model_type}: it reads the clicks of the moment, which the simulation does not count."
            )
        self.data = self.model.train_iterator.dataset(site.table, log)
        self.model.compile(total_steps=1)
        self._train(log, hparams.epochs)
        self._kept = [np.array(variable) for variable in self._variables()], self.news

    def restart(self) -> None:
        """Take the weights, and the optimiser's state, as they were after the warm-up."""
        values, self.news = self._kept
        for variable, value in zip(self._variables(), values, strict=True):
            variable.assign(value)
        self.logs: list[ImpressionLog] = []

    def learn(self, log: ImpressionLog) -> None:
        """Keep the log."""
        self.logs.append(log)

    def score(self, visit: Visit, histories: Ragged) -> np.ndarray:
        """Return (users, P), the model's scores; once a period is over, it is trained on its logs first."""
        if len(self.logs) == self.site.config.retrain_every:
            self._train(join_logs(self.logs), _RETRAIN_EPOCHS)
            self.logs = []
        everything = np.tile(np.arange(len(visit.pool)), (len(histories), 1))
        log = self.site.log(visit, everything, np.zeros(everything.shape, bool), histories)
        return self.model.log_scorer.score(self.news, log, self.data.users).reshape(everything.shape)

    def _train(self, log: ImpressionLog, epochs: int) -> None:
        log.require("train on")
        batches = self.model.training_batches(replace(self.data, log=log))
        steps = batches.steps_per_epoch
        self.model.network.fit(batches.stream(), steps_per_epoch=steps, epochs=epochs, shuffle=False, verbose=0)
        self.news = self.model.log_scorer.encode_news(self.model.network_features(self.data))

    def _variables(self) -> list[Any]:
        return [*self.model.network.variables, *self.model.network.optimizer.variables]


FLOORS: dict[str, Callable[[Site, Sequence[ImpressionLog]], Recommender]] = {
    "random": lambda site, warm_up: RandomOrder(site),
    "popularity": Popularity,
    "oracle": lambda site, warm_up: Oracle(site),
}
"""What needs no training, by name."""


class Edited:
    """Makes lists under a policy; it counts what it has shown to whom, and who has clicked it is no candidate."""

    def __init__(self, site: Site, plan: Plan) -> None:
        self.site, self.plan = site, plan
        self.showings = np.zeros((site.config.num_users, len(site.table)), np.int32)

    def __call__(self, visit: Visit, scores: np.ndarray, histories: Ragged) -> np.ndarray:
        """Return lists, places in the pool (users, K), of scores (users, P), -inf for what is no candidate.

        Raises:
            PolicyError: rules that do not give way leave a list shorter than that.
        """
        k, now = self.site.config.places, self.site.moment(visit.day)
        lists = np.empty((len(scores), k), np.int64)
        for user, of_user in enumerate(scores):
            candidates = np.flatnonzero(np.isfinite(of_user))
            rows = visit.pool[candidates]
            chosen = self.plan.arrange(
                of_user[candidates],
                rows,
                k,
                now=now,
                history=histories[user],
                shown=self.showings[user, rows],
                seed=[self.site.seed, visit.day, user],
            ).order
            if len(chosen) < k:
                raise PolicyError(
                    self.plan.policy.where,
                    f"leaves {len(chosen)} of {k} places on day {visit.day + 1}; a simulation needs full lists.",
                    "Let its rules give way: relax.",
                )
            lists[user] = candidates[chosen]
        np.add.at(self.showings, (np.arange(len(lists))[:, None], visit.pool[lists]), 1)
        return lists
