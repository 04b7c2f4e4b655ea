"""MINDIterator: from MIND's files to what models train and are evaluated on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recommenders_miner.errors import NotBuiltError
from recommenders_miner.hparams import HParams
from recommenders_miner.io.batches import TrainingBatches, history_matrix
from recommenders_miner.io.impression_log import CACHE_FOLDER, ImpressionLog
from recommenders_miner.io.news_features import NewsFeatures
from recommenders_miner.io.news_table import NewsTable
from recommenders_miner.io.pieces import Pieces
from recommenders_miner.io.vocabularies import Vocabularies
from recommenders_miner.io.word_vectors import read_vector_names


@dataclass(frozen=True)
class Dataset:
    """A news file and a behaviors file, read, and seen through a model's vocabularies.

    Attributes:
        news: the news table.
        log: the impressions over it.
        features: arrays of ids, a row a news.
        users: (log users,) int32 ids of the log's users.
    """

    news: NewsTable
    log: ImpressionLog
    features: NewsFeatures
    users: np.ndarray


class MINDIterator:
    """Reads MIND's files for a model.

    The constructor and the `load_…_from_file` generators are those of Microsoft Recommenders' `MINDIterator`, for code
    that was written against them; their dense batches repeat a title wherever it is clicked or shown. Models here use
    `load` and `batches` instead, where each distinct news stands once.

    Args:
        hparams: `batch_size`, `title_size`, `his_size` and `min_word_count` are used.
        npratio: negatives beside each click in `load_data_from_file`; -1 gives every candidate by itself.
        col_spliter: separator of columns.
        ID_spliter: taken for compatibility; Recommenders does not use it either.
        vocabularies: what names the ids; built from the first files that are loaded where left out.
    """

    def __init__(
        self,
        hparams: HParams,
        npratio: int = -1,
        col_spliter: str = "\t",
        ID_spliter: str = "%",
        vocabularies: Vocabularies | None = None,
    ) -> None:
        self.hparams, self.npratio, self.col_spliter = hparams, npratio, col_spliter
        self.vocabularies = vocabularies
        self.train_folder: Path | None = None
        self._loaded: dict[tuple, Dataset] = {}
        self._last_news: NewsTable | None = None

    # === What models use ===

    def load(self, news_file: str | Path, behaviors_file: str | Path) -> Dataset:
        """Reads a pair of files, or returns what was read if neither has changed since.

        Raises:
            DataFormatError: a file is missing or damaged.
        """
        key = (_fingerprint(news_file), _fingerprint(behaviors_file), id(self.vocabularies))
        if key not in self._loaded:
            news = self._read_news(news_file)
            log = ImpressionLog.read(behaviors_file, news, separator=self.col_spliter)
            if self.vocabularies is None:
                self.train_folder = Path(news_file).parent
                self.vocabularies = self._build_vocabularies(news, log)
                key = (*key[:2], id(self.vocabularies))
            self._loaded = {key: self.dataset(news, log, Path(news_file).parent / CACHE_FOLDER)}
        return self._loaded[key]

    def find(self, path: str) -> str:
        """Returns where a file that the hyperparameters name is: as it stands, or beside the training news."""
        beside = None if self.train_folder is None else self.train_folder / path
        return str(beside) if beside is not None and not Path(path).exists() and beside.exists() else path

    def _build_vocabularies(self, news: NewsTable, log: ImpressionLog) -> Vocabularies:
        hparams, entities = self.hparams, None
        if hparams.news_encoder == "knowledge":
            entities = read_vector_names(self.find(hparams.entity_embedding)) if hparams.entity_embedding else []
        return Vocabularies.build(
            news,
            log,
            min_word_count=hparams.min_word_count,
            entities=entities,
            pieces=Pieces(hparams.plm) if hparams.news_encoder == "plm" and hparams.plm else None,
        )

    def dataset(self, news: NewsTable, log: ImpressionLog, cache: Path | None = None) -> Dataset:
        """Sees tables that are already in memory through the vocabularies.

        Args:
            news: the news.
            log: impressions over them.
            cache: folder for what is costly to compute of the news; None keeps nothing.

        Raises:
            NotBuiltError: there are no vocabularies yet.
        """
        if self.vocabularies is None:
            raise NotBuiltError("There are no vocabularies yet: load training files first, or pass `vocabularies`.")
        features = NewsFeatures(news, self.vocabularies, self.hparams, cache)
        users = np.array(self.vocabularies.users.encode(log.users.to_pylist()), "int32")
        return Dataset(news, log, features, users)

    def batches(
        self, dataset: Dataset, features: Mapping[str, np.ndarray], seed: int, **options: Any
    ) -> TrainingBatches:
        """Returns the stream of training steps of a dataset.

        Args:
            dataset: whose log, and news.
            features: what a network reads of those news; arrays of N+1 rows.
            seed: fixes order and negatives.
            **options: further arguments of `TrainingBatches`.
        """
        return TrainingBatches(
            features,
            dataset.log,
            dataset.users,
            batch_size=self.hparams.batch_size,
            npratio=self.hparams.npratio,
            his_size=self.hparams.his_size,
            seed=seed,
            **{"length_groups": self.hparams.length_groups, **options},
        )

    def _read_news(self, news_file: str | Path) -> NewsTable:
        self._last_news = NewsTable.read(news_file, separator=self.col_spliter)
        return self._last_news

    # === Recommenders' generators ===

    def load_data_from_file(self, news_file: str | Path, behavior_file: str | Path) -> Iterator[dict[str, np.ndarray]]:
        """Yields samples in Recommenders' dense form.

        With `npratio` > 0 a sample is a click and its negatives; otherwise every candidate is one.

        Yields:
            `impression_index_batch` (B, 1), `user_index_batch` (B, 1), `clicked_title_batch` (B, his_size, title_size)
            and `candidate_title_batch` (B, 1 + npratio or 1, title_size), all int; `labels` (B, 1 + npratio or 1)
            float32.
        """
        data = self.load(news_file, behavior_file)
        if self.npratio > 0:
            stream = self.batches(data, {"category": data.features["category"]}, seed=0)
            for step in range(stream.steps_per_epoch):
                impressions, candidates = stream.samples_of_step(step)
                labels = np.zeros(candidates.shape, "float32")
                labels[:, 0] = 1.0
                yield self._dense(data, impressions, candidates, labels)
            return
        impression_of = np.repeat(np.arange(len(data.log)), np.diff(data.log.offsets))
        for slots in self._cut(len(impression_of)):
            candidates, labels = (
                data.log.candidates[slots, None],
                data.log.labels[slots, None].astype("float32"),
            )
            yield self._dense(data, impression_of[slots], candidates, labels)

    def load_user_from_file(self, news_file: str | Path, behavior_file: str | Path) -> Iterator[dict[str, np.ndarray]]:
        """Yields `user_index_batch`, `impr_index_batch` (both (B, 1)) and `clicked_title_batch`, one row each."""
        data = self.load(news_file, behavior_file)
        for impressions in self._cut(len(data.log)):
            yield {
                "user_index_batch": data.users[data.log.user_of[impressions]][:, None],
                "impr_index_batch": impressions[:, None],
                "clicked_title_batch": self._clicked_titles(data, impressions),
            }

    def load_news_from_file(self, news_file: str | Path) -> Iterator[dict[str, np.ndarray]]:
        """Yields `news_index_batch` (B, 1) and `candidate_title_batch` (B, title_size), row 0 being padding."""
        if self.vocabularies is None:
            raise NotBuiltError("There are no vocabularies yet: load training files first, or pass `vocabularies`.")
        features = NewsFeatures(self._read_news(news_file), self.vocabularies, self.hparams)
        for rows in self._cut(len(features["title"])):
            yield {"news_index_batch": rows[:, None], "candidate_title_batch": features["title"][rows]}

    def load_impression_from_file(
        self, behaviors_file: str | Path
    ) -> Iterator[tuple[int, np.ndarray, int, np.ndarray]]:
        """Yields (impression index, news rows (C,), user id, labels (C,)) over the news file that was read last."""
        if self._last_news is None or self.vocabularies is None:
            raise NotBuiltError("Read a news file first: behaviors refer to it.")
        log = ImpressionLog.read(behaviors_file, self._last_news, separator=self.col_spliter)
        users = self.vocabularies.users.encode(log.users.to_pylist())
        for index in range(len(log)):
            slots = slice(log.offsets[index], log.offsets[index + 1])
            yield index, log.candidates[slots], users[log.user_of[index]], log.labels[slots].astype("int32")

    def _dense(
        self, data: Dataset, impressions: np.ndarray, candidates: np.ndarray, labels: np.ndarray
    ) -> dict[str, np.ndarray]:
        return {
            "impression_index_batch": impressions[:, None],
            "user_index_batch": data.users[data.log.user_of[impressions]][:, None],
            "clicked_title_batch": self._clicked_titles(data, impressions),
            "candidate_title_batch": data.features["title"][candidates],
            "labels": labels,
        }

    def _clicked_titles(self, data: Dataset, impressions: np.ndarray) -> np.ndarray:
        rows = history_matrix(data.log, data.log.history_of[impressions], self.hparams.his_size)
        return data.features["title"][rows]

    def _cut(self, count: int) -> Iterator[np.ndarray]:
        for start in range(0, count, self.hparams.batch_size):
            yield np.arange(start, min(start + self.hparams.batch_size, count))


def _fingerprint(path: str | Path) -> tuple:
    """Tells a file from another, and from its own later content; enough to know that nothing need be read again."""
    path = Path(path).resolve()
    if not path.exists():
        return (path,)
    status = path.stat()
    return path, status.st_size, status.st_mtime_ns
