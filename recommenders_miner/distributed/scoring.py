"""What is asked of a saved model for a whole log, or for all of its users, done by several workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from recommenders_miner.data.iterator import Dataset
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.data.tsv import OnError
from recommenders_miner.distributed.pool import open_pool

_TASKS_A_WORKER = 4  # so that one that is slow, or dies, holds up little
_USERS_AT_ONCE = 4096


class LogWorker:
    """A saved model and a log, of which a worker encodes some articles and scores some impressions."""

    def __init__(self, folder: Path, news_file: Path, behaviors_file: Path, on_error: OnError) -> None:
        from recommenders_miner.models import load_model

        self.model = load_model(folder)
        self.whole = self.model.read(news_file, behaviors_file, on_error)
        self.features = self.model.network_features(self.whole)
        self.part: int | None = None

    def encode(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Encode some rows of the news."""
        return self.model.log_scorer.encode_rows(self.features, rows)

    def score(self, news: dict[str, np.ndarray], part: int, impressions: np.ndarray | None) -> np.ndarray:
        """Score the candidates of some impressions of a part of the log, or of all, for news that are encoded."""
        scorer = self.model.log_scorer
        if part != self.part:
            data = of_part(self.whole, part)
            self.part, self.log = part, data.log
            self.users = scorer.distinct_users(data.log, data.users)
            self.context = self.model.context_of(data)
        if impressions is None:
            return scorer.score_users(news, self.log, self.users, context=self.context)
        return scorer.score_some(news, self.log, self.users, impressions, context=self.context).values


def of_part(data: Dataset, part: int) -> Dataset:
    """Return a part of a data set's log as one of its own; its context is counted in the whole log."""
    if data.log.num_parts == 1:
        return data
    users = slice(data.log.parts[part, 2], data.log.parts[part + 1, 2])
    return replace(data, log=data.log.part(part), users=data.users[users], whole=data.whole or data.log)


def score_parts(
    model: Any,
    data: Dataset,
    files: tuple[Path, Path],
    *,
    on_error: OnError = "raise",
    workers: int,
    address: str | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Iterator[tuple[ImpressionLog, Ragged]]:
    """Score a log as `model.score_log` does, with several workers: each article is encoded once, each user by one.

    Args:
        model: one that was loaded from a folder, which workers load it from, too.
        data: what `model.read` gave of `files`, news and behaviors, with `on_error`.
        files: as above.
        on_error: as above.
        workers: how many.
        address: of a Ray cluster; None starts processes here.
        progress: is told the share that is done, now and then.

    Yields:
        Each part of the log, and the scores of its candidates, float32: an ingested log may be larger than memory.
    """
    scorer, parts, size = model.log_scorer, data.log.num_parts, len(data.news)
    arguments = (model.folder.absolute(), *(Path(file).absolute() for file in files), on_error)
    with open_pool(LogWorker, arguments, workers, address) as pool:
        if model.network.news_encoder.hops:  # articles that read others of the table
            news = scorer.encode_news(model.network_features(data))
        else:
            count = min(_TASKS_A_WORKER * workers, size)
            of_tasks = [np.arange(task, size, count) for task in range(count)]
            news = _joined(of_tasks, list(pool.map("encode", [(rows,) for rows in of_tasks])))
        shared = pool.share(news)
        if parts > 1:
            for part, scores in enumerate(pool.map("score", [(shared, part, None) for part in range(parts)])):
                log = data.log.part(part)
                progress((part + 1) / parts)
                yield log, Ragged(scores, log.candidates.offsets)
            return
        log, scores = data.log, np.empty(len(data.log.candidates.values), "float32")
        dealt = scorer.deal(log, scorer.distinct_users(log, data.users), _TASKS_A_WORKER * workers)
        found = pool.map("score", [(shared, 0, impressions) for impressions in dealt])
        for done, (impressions, of_task) in enumerate(zip(dealt, found, strict=True), start=1):
            scores[log.candidates.places(impressions).values] = of_task
            progress(done / len(dealt))
        yield log, Ragged(scores, log.candidates.offsets)


def _joined(of_tasks: list[np.ndarray], encoded: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Join what was made of some rows each to that of all, zeros behind where another task's texts are longer."""
    news, size = {}, sum(map(len, of_tasks))
    for name, first in encoded[0].items():
        shape = np.max([of_task[name].shape[1:] for of_task in encoded], axis=0).astype(int)
        news[name] = np.zeros((size, *shape), first.dtype)
        for rows, of_task in zip(of_tasks, encoded, strict=True):
            news[name][(rows, *map(slice, of_task[name].shape[1:]))] = of_task[name]
    return news


# === Recommendations for all users ===


class UserWorker:
    """A saved model that recommends from a table of news, or from some of it."""

    def __init__(self, folder: Path, news: NewsTable, pool: list[str] | None, k: int) -> None:
        from recommenders_miner.models import load_model

        self.model, self.pool, self.k = load_model(folder), pool, k
        self.model.set_news(news)

    def recommend(self, users: pa.StringArray, clicked: Ragged) -> pa.RecordBatch:
        """Return the best articles of some users, with their scores; clicks are rows of the news."""
        histories = [self.model.news.ids.take(pa.array(rows)).to_pylist() for rows in clicked]
        found = self.model.recommend_all(histories, self.pool, self.k, users.to_pylist())
        columns = {"user": users}
        columns["news"] = pa.array([[news_id for news_id, _ in best] for best in found], pa.list_(pa.string()))
        columns["score"] = pa.array([[score for _, score in best] for best in found], pa.list_(pa.float32()))
        return pa.RecordBatch.from_pydict(columns)


def recommend_all_users(
    folder: Path,
    log: ImpressionLog,
    news: NewsTable,
    pool: list[str] | None = None,
    k: int = 10,
    *,
    workers: int = 1,
    address: str | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Iterator[pa.RecordBatch]:
    """Recommend for every user of a log: the history of the last impression, and what was clicked in it.

    Args:
        folder: of the saved model.
        log: read with `news`.
        news: what the model knows.
        pool: ids of what is recommended; None is all of the news.
        k: how many for each user.
        workers: how many processes.
        address: of a Ray cluster; None starts them here.
        progress: is told the share that is done.

    Yields:
        `user`, `news` (list of ids) and `score` (list of float32), best first, in the order of `log.users`.
    """
    by_time = np.lexsort((log.time, log.user_of))
    last = by_time[np.flatnonzero(np.diff(log.user_of[by_time], append=-1))]
    firsts = range(0, len(last), _USERS_AT_ONCE)

    def task_of(first: int) -> tuple[pa.StringArray, Ragged]:
        impressions = last[first : first + _USERS_AT_ONCE]
        shown = log.candidates.places(impressions)
        clicked = shown.keep(log.labels[shown.values] == 1)
        histories = log.histories.take(log.history_of[impressions])
        of_users = [
            np.concatenate([before, log.candidates.values[slots]])
            for before, slots in zip(histories, clicked, strict=True)
        ]
        return log.users.slice(first, _USERS_AT_ONCE), Ragged.of_lists(of_users)

    with open_pool(UserWorker, (folder.absolute(), news, pool, k), workers, address) as workforce:
        for done, found in enumerate(workforce.map("recommend", map(task_of, firsts)), start=1):
            progress(done / len(firsts))
            yield found
