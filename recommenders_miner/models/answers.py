"""What a trained model is asked: scores, recommendations and explanations for histories of news ids."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np
import pyarrow as pa

from recommenders_miner import __version__
from recommenders_miner.data import cache as array_cache
from recommenders_miner.data.behaviors import UNLABELLED
from recommenders_miner.data.context import Context
from recommenders_miner.data.features import NewsFeatures
from recommenders_miner.data.log import CACHE_FOLDER, ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.data.tsv import OnError, content_digest
from recommenders_miner.data.vocabulary import UNKNOWN_ID
from recommenders_miner.errors import NotBuiltError
from recommenders_miner.layers import weights_digest
from recommenders_miner.storage import MODEL_FILE

if TYPE_CHECKING:
    from recommenders_miner.explain import Explanation

_SCORES_AT_ONCE = 2**22
_ENCODED = "encoded-"
_TABLES_KEPT = 3  # a site's news change by the hour, and each table takes up to gigabytes


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
        log = self.log_of_now(histories, candidates, user)
        return self._score(log).reshape(len(histories), len(candidates))

    def _score(self, log: ImpressionLog) -> np.ndarray:
        """Score the candidates of what `log_of_now` or `_log` gave, (candidates,) float32."""
        news = self._encoded_table()
        users = np.array(self.vocabularies.users.encode(log.users.to_pylist()), "int32")
        return self.log_scorer.score(news, log, users, context=self.context_of_now(log))

    def log_of_now(
        self, histories: Sequence[Sequence[str]], candidates: Sequence[str], user: str | None = None
    ) -> ImpressionLog:
        """Return a log of one impression for each history, all of the same candidates; arguments are as of `score`."""
        self._require_news()
        shown = np.tile(self.news.rows(candidates), len(histories))
        return self._log(
            [self.news.rows(history) for history in histories],
            Ragged.of_lengths(shown, np.full(len(histories), len(candidates))),
            [user] * len(histories),
        )

    def _log(self, histories: Sequence[np.ndarray], shown: Ragged, users: Sequence[str | None]) -> ImpressionLog:
        """Return a log of one impression for each history, at the last second that is known of; rows of the news."""
        count = len(histories)
        now = max([int(self.news.published.max()), *(of.end for of in self.counts or ())])
        names = pa.array([user or "" for user in users], pa.string()).dictionary_encode()
        return ImpressionLog(
            candidates=shown,
            labels=np.full(len(shown.values), UNLABELLED, np.int8),
            histories=Ragged.of_lists(histories),
            history_of=np.arange(count, dtype=np.int32),
            user_of=names.indices.to_numpy(),
            time=np.full(count, now),
            impression_id=np.arange(1, count + 1),
            users=names.dictionary,
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
        self,
        history: Sequence[str],
        pool: Sequence[str] | None = None,
        k: int = 10,
        user: str | None = None,
        on_error: OnError = "raise",
    ) -> list[tuple[str, float]]:
        """Return the k best articles of a pool for a history, those already clicked left out.

        Where scores are equal, as they all are for a user without a history in most models, what training found popular
        comes first, the most popular leading; then the rest, the newest leading, where it is known when they came out.

        Args:
            history: as in `score`.
            pool: ids to choose from; None means all of the news table.
            k: how many.
            user: as in `score`.
            on_error: "raise" refuses ids that the news table lacks; "skip" passes them over, in history and pool.

        Returns:
            At most k pairs of news id and score, best first.
        """
        [found] = self.recommend_all([history], pool, k, [user], on_error)
        return found

    def recommend_all(
        self,
        histories: Sequence[Sequence[str]],
        pool: Sequence[str] | None = None,
        k: int = 10,
        users: Sequence[str | None] | None = None,
        on_error: OnError = "raise",
    ) -> list[list[tuple[str, float]]]:
        """Do as `recommend` for many histories, with a user each; a list for each of them."""
        self._require_news()
        users = [None] * len(histories) if users is None else users
        rows = np.arange(1, len(self.news)) if pool is None else self._rows(pool, on_error)
        rows = rows[np.sort(np.unique(rows, return_index=True)[1])].astype("int32")
        appeal = self._popularity()
        at_once, found = max(_SCORES_AT_ONCE // max(len(rows), 1), 1), []
        for first in range(0, len(histories), at_once):
            clicked = [self._rows(history, on_error) for history in histories[first : first + at_once]]
            shown = Ragged.of_lists([rows[~np.isin(rows, history)] for history in clicked])
            scores = np.empty(0, "float32")
            if len(shown.values):
                scores = self._score(self._log(clicked, shown, users[first : first + at_once]))
            for candidates, of_each in zip(shown, Ragged(scores, shown.offsets), strict=True):
                best = np.lexsort((appeal[candidates], -of_each))[:k]
                ids = self.news.ids.take(candidates[best]).to_pylist()
                found.append(list(zip(ids, of_each[best].tolist(), strict=True)))
        return found

    def _rows(self, ids: Sequence[str], on_error: OnError) -> np.ndarray:
        known = [news_id for news_id in ids if news_id in self.news.row_of] if on_error == "skip" else ids
        return self.news.rows(known)

    def _popularity(self) -> np.ndarray:
        """Return the place of each article, (N+1,), among the popular ones of the training, then among the newest."""
        if "popular" not in self.vocabularies:  # of dictionaries, which say nothing of clicks
            places = np.zeros(len(self.news), np.int64)
        else:
            places = np.array(self.vocabularies.popular.encode(self.news.ids.to_pylist()))
            places[places == UNKNOWN_ID] = len(self.vocabularies.popular)
        order = np.lexsort((-self.news.published, places))
        ranks = np.empty(len(order), np.int64)
        ranks[order] = np.arange(len(order))
        return ranks

    def encode_news(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        """Return what the rest of the network reads of the articles of some ids, to look inside; errors as of `score`.

        Returns:
            By name, arrays of len(ids) rows: `vector` (len(ids), d), or what else the news encoder returns, and the
            columns that the other parts read beside it, as `category`.
        """
        return {name: values[self.news.rows(ids)] for name, values in self._encoded_table().items()}

    def encode_table(self, news: NewsTable) -> dict[str, np.ndarray]:
        """Return what the rest of the network reads of a table's articles, N+1 rows by name.

        A loaded model keeps it in a folder beside its file, but for a table that one step encodes.
        """
        self.require_built()
        features = NewsFeatures(news, self.vocabularies, self.hparams)

        @functools.cache  # nothing is encoded twice where it cannot be written
        def encoded() -> dict[str, np.ndarray]:
            return self.log_scorer.encode_news(self.network.prepare(features))

        is_small = len(news) <= self.log_scorer.news_batch
        if is_small or not self.hparams.cache or self.folder is None or not (self.folder / MODEL_FILE).is_file():
            return encoded()
        key = self._encoding_key(news)
        folder = self.folder / CACHE_FOLDER / f"{_ENCODED}{key}"
        kept = array_cache.kept(folder, key, "the encoded news", lambda append: append(**encoded()))
        array_cache.keep_newest(folder.parent, f"{_ENCODED}*", _TABLES_KEPT)
        return kept

    def _encoding_key(self, news: NewsTable) -> str:
        """Name what `encode_table` returns: by the saved model, its weights as they are now, and the table."""
        software = keras.backend.backend(), keras.version(), __version__
        saved, now = content_digest(self.folder / MODEL_FILE), weights_digest(self.network.weights)
        depends_on = saved, now, self.hparams.to_dict(), news.digest, software
        return hashlib.blake2b(repr(depends_on).encode(), digest_size=16).hexdigest()

    def _require_news(self) -> None:
        self.require_built()
        if self.news is None:
            raise NotBuiltError("Which news? Call set_news with a news table or a news.tsv first.")

    def _encoded_table(self) -> dict[str, np.ndarray]:
        """Return the news that the model was told of, encoded once."""
        self._require_news()
        weights = self.network.weights_version
        if self._news_vectors is None or self._news_vectors[0] != weights:
            self._news_vectors = weights, self.encode_table(self.news)
        return self._news_vectors[1]
