"""What is asked of a saved model for a whole log, done by several workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from recommenders_miner.data.iterator import Dataset
from recommenders_miner.data.tsv import OnError
from recommenders_miner.distributed.pool import open_pool

_TASKS_A_WORKER = 4  # so that one that is slow, or dies, holds up little


class LogWorker:
    """A saved model and a log, of which a worker encodes some articles and scores some impressions."""

    def __init__(self, folder: Path, news_file: Path, behaviors_file: Path, on_error: OnError) -> None:
        from recommenders_miner.models import load_model

        self.model = load_model(folder)
        self.data = self.model.read(news_file, behaviors_file, on_error)
        self.features = self.model.network_features(self.data)
        self.users = self.model.log_scorer.distinct_users(self.data.log, self.data.users)
        self.context = self.model.context_of(self.data)

    def encode(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Encode some rows of the news."""
        return self.model.log_scorer.encode_news({name: values[rows] for name, values in self.features.items()})

    def score(self, news: dict[str, np.ndarray], impressions: np.ndarray) -> np.ndarray:
        """Score the candidates of some impressions, for news that are encoded."""
        scorer, log = self.model.log_scorer, self.data.log
        return scorer.score_some(news, log, self.users, impressions, context=self.context).values


def score_log(
    model: Any,
    data: Dataset,
    files: tuple[Path, Path],
    *,
    on_error: OnError = "raise",
    workers: int,
    address: str | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> np.ndarray:
    """Score a log as `model.score_log` does, with several workers: each article is encoded once, each user by one.

    Args:
        model: one that was loaded from a folder, which workers load it from, too.
        data: what `model.read` gave of `files`, news and behaviors, with `on_error`.
        files: as above.
        on_error: as above.
        workers: how many.
        address: of a Ray cluster; None starts processes here.
        progress: is told the share that is done, now and then.

    Returns:
        (candidates,) float32, in the order of `data.log.candidates`.
    """
    log, scorer, count = data.log, model.log_scorer, _TASKS_A_WORKER * workers
    size = len(data.news)
    arguments = (model.folder.absolute(), *(Path(file).absolute() for file in files), on_error)
    dealt = scorer.deal(log, scorer.distinct_users(log, data.users), count)
    with open_pool(LogWorker, arguments, workers, address) as pool:
        if model.network.news_encoder.hops:  # articles that read others of the table
            news = scorer.encode_news(model.network_features(data))
        else:
            of_tasks = [np.arange(task, size, count) for task in range(min(count, size))]
            news = {}
            for rows, encoded in zip(of_tasks, pool.map("encode", [(rows,) for rows in of_tasks]), strict=True):
                for name, values in encoded.items():
                    news.setdefault(name, np.zeros((size, *values.shape[1:]), values.dtype))[rows] = values
        shared, scores = pool.share(news), np.empty(len(log.candidates.values), "float32")
        found: Iterator[np.ndarray] = pool.map("score", [(shared, impressions) for impressions in dealt])
        for done, (impressions, of_task) in enumerate(zip(dealt, found, strict=True), start=1):
            scores[log.candidates.places(impressions).values] = of_task
            progress(done / count)
    return scores
