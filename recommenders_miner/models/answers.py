"""What a trained model is asked: scores, recommendations and explanations for histories of news ids."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recommenders_miner.data.context import Context
from recommenders_miner.data.features import NewsFeatures
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.errors import NotBuiltError

if TYPE_CHECKING:
    from recommenders_miner.explain import Explanation


class Answers:
    """The part of `BaseModel` that answers about news ids, in the news table that it was told of."""

    def set_news(self, news: NewsTable | str | Path) -> None:
        """Choose the news that `score` and `recommend` know: a table, or a news.tsv."""
        self.require_built()
        self.news = news if isinstance(news, NewsTable) else NewsTable.read(news)
        self._news_vectors = self._now = None

    def score(self, history: Sequence[str], candidates: Sequence[str], user: str | None = None) -> np.ndarray:
        """Score candidates for a history.

        Args:
            history: ids of the clicked articles, newest last; may be empty.
            candidates: ids of the articles to score.
            user: the user's id, for the models that know users.

        Returns:
            (candidates,) float32.

        Raises:
            NotBuiltError: the model is not trained or loaded, or has no news table.
            UnknownNewsError: a news id is not in the table.
        """
        return self.score_histories([history], candidates, user)[0]

    def score_histories(
        self, histories: Sequence[Sequence[str]], candidates: Sequence[str], user: str | None = None
    ) -> np.ndarray:
        """Score the same candidates for several histories of one user: (histories, candidates), as `score` would.

        A model that reads the context is asked as of the last second that it knows of: a publication or, in training,
        a showing.
        """
        news = self._encoded_table()
        log = self.log_of_now(histories, candidates, user)
        users = np.array(self.vocabularies.users.encode(log.users.to_pylist()), "int32")
        context = self.context_of_now(log)
        return self.log_scorer.score(news, log, users, context=context).reshape(len(histories), -1)

    def log_of_now(
        self, histories: Sequence[Sequence[str]], candidates: Sequence[str], user: str | None = None
    ) -> ImpressionLog:
        """Return a log of one impression for each history, all of the same candidates; arguments are as of `score`."""
        self.news.rows([*itertools.chain(*histories), *candidates])  # refuses ids that are not in the table
        now = max([int(self.news.published.max()), *(of.end for of in self.counts or ())])
        return ImpressionLog.from_columns(
            self.news,
            histories=[list(history) for history in histories],
            candidates=[list(candidates)] * len(histories),
            users=[user or ""] * len(histories),
            time=[now] * len(histories),
        )

    def context_of_now(self, log: ImpressionLog) -> Context | None:
        """Return the context of what `log_of_now` gave, where the network reads it."""
        if not self.network.context:
            return None
        if self._now is None or self.counts is None:  # to go on from the counts of all the training takes a while
            of_none = Context.of_log(log, self.news, self.counts, self.hparams.horizon)
            self._now = of_none.only(self.network.context)
        return replace(self._now, log=log)

    def explain(self, history: Sequence[str], candidates: Sequence[str], user: str | None = None) -> Explanation:
        """Say why candidates score as they do: the user's interests, their attention, and what each click adds.

        Arguments and errors are those of `score`; the newest `his_size` clicks are explained.
        """
        from recommenders_miner.explain import explain_scores

        return explain_scores(self, history, candidates, user)

    def recommend(
        self, history: Sequence[str], pool: Sequence[str] | None = None, k: int = 10, user: str | None = None
    ) -> list[tuple[str, float]]:
        """Return the k best articles of a pool for a history, those already clicked left out.

        Args:
            history: as in `score`.
            pool: ids to choose from; None means all of the news table.
            k: how many.
            user: as in `score`.

        Returns:
            At most k pairs of news id and score, best first.
        """
        self._encoded_table()
        clicked = set(history)
        ids = self.news.ids.to_pylist()[1:] if pool is None else pool
        pool = [news_id for news_id in ids if news_id not in clicked]
        scores = self.score(history, pool, user) if pool else np.empty(0)
        return [(pool[index], float(scores[index])) for index in np.argsort(-scores, kind="stable")[:k]]

    def encode_news(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        """Return what the rest of the network reads of the articles of some ids, to look inside; errors as of `score`.

        Returns:
            By name, arrays of len(ids) rows: `vector` (len(ids), d), or what else the news encoder returns, and the
            columns that the other parts read beside it, as `category`.
        """
        return {name: values[self.news.rows(ids)] for name, values in self._encoded_table().items()}

    def encode_table(self, news: NewsTable) -> dict[str, np.ndarray]:
        """Return what the rest of the network reads of a table's articles, N+1 rows by name."""
        self.require_built()
        features = NewsFeatures(news, self.vocabularies, self.hparams)
        return self.log_scorer.encode_news(self.network.prepare(features))

    def _encoded_table(self) -> dict[str, np.ndarray]:
        """Return the news that the model was told of, encoded once."""
        self.require_built()
        if self.news is None:
            raise NotBuiltError("Which news? Call set_news with a news table or a news.tsv first.")
        if self._news_vectors is None:
            self._news_vectors = self.encode_table(self.news)
        return self._news_vectors
