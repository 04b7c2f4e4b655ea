"""NewsRecall: a model's best articles of a large pool."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from recommenders_miner.data.context import Context
from recommenders_miner.data.features import NewsFeatures
from recommenders_miner.data.iterator import Dataset
from recommenders_miner.data.log import CACHE_FOLDER, ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.encoders.whole_table import batches_of
from recommenders_miner.errors import HParamsError, NoVectorError
from recommenders_miner.evaluation.scoring import DistinctUsers
from recommenders_miner.models.base import BaseModel
from recommenders_miner.models.miner import MINERClickPredictor
from recommenders_miner.models.network import DotProductPredictor
from recommenders_miner.retrieval.news_pool import INDEXES, NewsPool, best_of

STRATEGIES = ("average", "multi", "category", "auto")
RERANKED = 1000
"""Articles that are scored by the full model, where its user vector alone does not say how it ranks them."""
BEFORE_THE_LOGS = np.iinfo(np.int64).min
"""When an article was first seen that no log shows to anyone: it may stand in histories, which are older."""
_OF_USERS = ("user_of", "history_of", "impression_id")  # of a log, by impression
_USERS_AT_ONCE = 128
_SECONDS_A_DAY = 86_400


def first_seen(news: NewsTable, logs: Iterable[tuple[ImpressionLog, NewsTable]]) -> np.ndarray:
    """Find when each article was first shown to anyone as a candidate: (N+1,) int64 Unix seconds.

    MIND's news have no date of their own. `logs` are all that there are, each with the table that its rows point into,
    since a log's first showing of an article need not be the first of all. `BEFORE_THE_LOGS` stands for articles that
    none shows.
    """
    never = np.iinfo(np.int64).max
    seen = np.full(len(news), never)
    for log, table in logs:
        earliest = np.full(len(table), never)
        np.minimum.at(earliest, log.candidates.values, log.candidates.repeat(log.time))
        seen = np.minimum(seen, news.align(table.ids, earliest, missing=never))
    return np.where(seen == never, BEFORE_THE_LOGS, seen)


class NewsRecall:
    """Finds the articles of a large pool that a model would score highest, by searching an index of news vectors.

    Strategies, for a user with the interests e_1 … e_K and an article h (of MINER; a user vector is a single interest):

    - `average`: by the mean interest, `(1/K Σ_i e_i)^T h`, without category weighting: the news recall of MINER's
      Section 4.6. One search a user. It is the score itself where that is a dot product (NRMS, NAML, LSTUR), and for
      MINER-mean without category weighting.
    - `multi`: by the best interest, `max_i e_i^T h`, without category weighting. K searches a user. It is the score
      itself for MINER-max without category weighting.
    - `category`: by the score itself, for every MINER. The news of each category are searched with the interests that
      this category gives the user (Eq. 5): with their mean for MINER-mean, with all for MINER-max and MINER-weighted,
      whose score the best interest's bounds: see `WeightedScores`. An article is met by the interests of its own
      category alone, so that categories cost no more than one search of the whole pool, whether they differ or not.
    - `auto`: `category` for MINER, else `average`, reranked where the score is more than a dot product (HieRec).

    Example:
    ```python
    recall = NewsRecall(model, "MIND/dev/news.tsv")
    recall.recommend(["N55528", "N19639"], k=100)
    ```

    Args:
        model: a trained model.
        news: the pool: a news table, a news.tsv, or a data set that the model has read, whose features may be cached.
        strategy: see above.
        index: `flat`, which is exact; `ivf` or `hnsw`, which are not, for pools of a million and more.
        rerank: score that many of the articles found by the full model, and return the best of them; None leaves them
            as they were found.
        in_turns: with `multi`, let the interests choose in turns, so that each has its share: see
            `NewsPool.search_in_turns`.
        keep_clicked: whether articles of the user's own history may be found.
        first_seen: (N+1,) int64 Unix seconds, when each article was first seen; see the function `first_seen`.
        max_age_days: leave out articles first seen more than so many days before the impression, or after it; None:
            search all. Needs `first_seen`.

    Raises:
        NoVectorError: the model has no vectors to search with.
        HParamsError: an argument is unknown or does not go with another.
    """

    def __init__(
        self,
        model: BaseModel,
        news: NewsTable | Dataset | str | Path,
        strategy: str = "auto",
        index: str = "flat",
        *,
        rerank: int | None = None,
        in_turns: bool = False,
        keep_clicked: bool = False,
        first_seen: np.ndarray | None = None,
        max_age_days: float | None = None,
    ) -> None:
        self._scorer = model.log_scorer
        whole = model.network.click_predictor
        predictor = whole.searched()
        if predictor.not_searchable:
            problem = f"{type(model).__name__} has no vectors to search a pool with: {predictor.not_searchable}."
            raise NoVectorError(f"{problem} It can score and rerank what another model has found.")
        for name, value, known in (("strategy", strategy, STRATEGIES), ("index", index, INDEXES)):
            if value not in known:
                raise HParamsError(f"Unknown {name} {value!r}. Choose one of {', '.join(known)}.")
        if rerank is not None and rerank < 1:
            raise HParamsError(f"rerank must be at least 1, not {rerank}.")
        if in_turns and strategy != "multi":
            raise HParamsError(f"in_turns goes with the strategy multi, not {strategy}.")
        if max_age_days is not None and first_seen is None:
            raise HParamsError("max_age_days needs first_seen, since news have no date of their own.")
        of_miner = isinstance(predictor, MINERClickPredictor)
        if strategy == "auto":
            strategy = "category" if of_miner else "average"
            if (not of_miner and not isinstance(predictor, DotProductPredictor)) or predictor is not whole:
                rerank = rerank or RERANKED
        mode = predictor.aggregation.mode if of_miner and strategy == "category" else None
        self.model, self.strategy, self.index, self.rerank = model, strategy, index, rerank
        self.in_turns, self.keep_clicked = in_turns, keep_clicked
        self._by_mean = mode == "mean" or strategy == "average"
        self._categories, self._num_parts = None, 1
        self._max_age = None if max_age_days is None else int(max_age_days * _SECONDS_A_DAY)
        self._first_seen = first_seen

        if isinstance(news, Dataset):
            self.news, features = news.news, news.features
        else:
            self.news = news if isinstance(news, NewsTable) else NewsTable.read(news)
            cache = None if isinstance(news, NewsTable) else Path(news).parent / CACHE_FOLDER
            features = NewsFeatures(self.news, model.vocabularies, model.hparams, cache)
        self._encoded = self._scorer.encode_news(model.network.prepare(features))
        part_of = None
        if strategy == "category" and self._scorer.candidate_aware:
            self._categories, part_of = np.unique(self._encoded["category"][1:], return_inverse=True)
            self._num_parts = len(self._categories)
        seen = None if self._max_age is None else first_seen[1:]
        vectors = self._encoded["vector"][1:]
        targets = None
        if mode == "weighted":
            batches = map(predictor.aggregation.target, batches_of(vectors, 1 << 16))
            targets = np.concatenate([*map(keras.ops.convert_to_numpy, batches)]).astype("float32")
        self._pool = NewsPool(vectors, part_of, seen, targets, index)

    def recommend(
        self, history: Sequence[str], k: int = 10, user: str | None = None, time: int | None = None
    ) -> list[tuple[str, float]]:
        """Return the k best articles of the pool for a history, best first.

        Args:
            history: ids of the clicked news, newest last; may be empty.
            k: how many.
            user: the user's id, for the models that know users.
            time: Unix seconds of now, where the pool is limited by age; None: when the newest of the pool was seen.

        Returns:
            At most k pairs of news id and score.

        Raises:
            UnknownNewsError: a news id is not in the table.
        """
        self.news.rows(history)
        if time is None:
            times = self.news.published if self._max_age is None else self._first_seen
            time = int(times.max())
        any_news = [self.news.ids[1].as_py()]  # a log has candidates; these are not looked at
        log = ImpressionLog.from_columns(self.news, [list(history)], [any_news], users=[user or ""], time=[time])
        users = np.array(self.model.vocabularies.users.encode([user or ""]), "int32")
        [rows], [scores] = self.search(log, users, k)
        found = rows > 0
        return list(zip(self.news.ids.take(rows[found]).to_pylist(), scores[found].tolist(), strict=True))

    def search(
        self, log: ImpressionLog, users: np.ndarray, k: int, progress: Callable[[float], None] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the k best articles of the pool for the user of each impression; its candidates are not looked at.

        Impressions that share a user (and, where the pool is limited by age, the time) are searched for once.

        Args:
            log: impressions whose rows are those of the pool's news table.
            users: (log users,) int32 ids that the model gives to the log's users.
            k: how many; may be more than there are.
            progress: told the share that is done, now and then.

        Returns:
            Rows (I, k) int32 of the news table, the best first, and scores (I, k) float32; 0 and -inf where there are
            too few.
        """
        distinct = self._scorer.distinct_users(log, users)
        num_users = len(distinct.lengths)
        is_timed = self._max_age is not None or bool(self._scorer.network.context)
        times = log.time if is_timed else np.zeros(len(log), np.int64)
        key = times * num_users + distinct.of_impression
        queries, first, query_of = np.unique(key, return_index=True, return_inverse=True)
        times, user_of = np.divmod(queries, num_users)
        context = None
        if self._scorer.network.context and self.rerank:
            context = Context.of_log(log, self.news, self.model.counts, self.model.hparams.horizon)
        rows, scores = np.empty((len(queries), k), "int32"), np.empty((len(queries), k), "float32")
        for batch in batches_of(np.arange(len(queries)), _USERS_AT_ONCE):
            asked = replace(log, time=times[batch], **{name: getattr(log, name)[first[batch]] for name in _OF_USERS})
            rows[batch], scores[batch] = self._search(asked, distinct, user_of[batch], k, context)
            if progress:
                progress((batch[-1] + 1) / len(queries))
        return rows[query_of], scores[query_of]

    def _search(
        self, log: ImpressionLog, distinct: DistinctUsers, members: np.ndarray, k: int, context: Context | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Search for some users (B,), one an impression of the log: rows of the table (B, k) and scores (B, k)."""
        times = log.time
        # What users have clicked must not be shown to them.
        clicked = log.histories.take(distinct.histories[members[: 0 if self.keep_clicked else None]])
        period = None if self._max_age is None else np.stack([times - self._max_age, times])
        vectors = self._scorer.user_vectors(self._encoded, log, distinct, members, self._categories)
        interests = vectors.reshape(len(members), self._num_parts, -1, vectors.shape[-1]).astype("float32", copy=False)
        if self._by_mean:
            interests = interests.mean(axis=2, keepdims=True)
        search = self._pool.search_in_turns if self.in_turns else self._pool.search
        scores, rows = search(interests, max(k, self.rerank or 0), (clicked.rows(), clicked.values - 1), period)
        rows = (rows + 1).astype("int32")
        if self.rerank:
            found = rows > 0
            shown = replace(log, candidates=Ragged.of_lengths(rows[found], found.sum(axis=1)))
            users = replace(distinct, of_impression=members)
            context = context and replace(context, log=shown)
            scores[found] = self._scorer.score_users(self._encoded, shown, users, context=context)
            scores, rows = best_of(scores, rows, k)
        return rows, scores
