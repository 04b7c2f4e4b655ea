"""Microsoft Recommenders' iterators: their constructors, and their dense batches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from recommenders_miner.compat.dictionaries import known_at_once, read_vocabularies
from recommenders_miner.data.features import NewsFeatures
from recommenders_miner.data.iterator import Dataset, NewsIterator
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.sampling import TrainingSamples
from recommenders_miner.data.tsv import OnError
from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.errors import NotBuiltError
from recommenders_miner.hparams import HParams


class MINDIterator(NewsIterator):
    """Reads MIND's files for a model.

    The constructor and the `load_…_from_file` generators are those of Microsoft Recommenders' `MINDIterator`, for code
    that was written against them; their dense batches repeat a title wherever it is clicked or shown. Models here use
    `load` and `batches` instead, where each distinct article stands once.

    Dictionaries in Recommenders' form (`wordDict_file`, …) take the place of the vocabularies that training files would
    give. Recommenders' own models then know their vocabularies at once; categories that have no dictionary are all
    unknown to them. Other models read more, and wait for the training files.

    Args:
        hparams: the model's hyperparameters.
        npratio: negatives beside each click in `load_data_from_file`; -1 gives every candidate by itself.
        col_spliter: separator of columns.
        ID_spliter: taken for compatibility; Recommenders does not use it either.
        vocabularies: what names the ids; where left out, they come from dictionaries and the first files that are
            loaded.

    Attributes:
        dense_features: what the dense batches hold of an article: Recommenders' name for it, and the feature's.

    Raises:
        DataFormatError: a dictionary is missing or damaged.
    """

    dense_features: ClassVar[dict[str, str]] = {"title": "title"}

    def __init__(
        self,
        hparams: HParams,
        npratio: int = -1,
        col_spliter: str = "\t",
        ID_spliter: str = "%",
        vocabularies: Vocabularies | None = None,
    ) -> None:
        given = read_vocabularies(hparams) if vocabularies is None else {}
        super().__init__(hparams, vocabularies or known_at_once(hparams, given), given, col_spliter)
        self.npratio = npratio
        self._last_news: NewsTable | None = None
        self._passes = 0

    def read_news(self, news_file: str | Path, on_error: OnError = "raise") -> NewsTable:
        """Read a news file, which a behaviors file may then refer to."""
        self._last_news = super().read_news(news_file, on_error)
        return self._last_news

    def load_data_from_file(
        self, news_file: str | Path, behavior_file: str | Path, on_error: OnError = "raise"
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yield samples in Recommenders' dense form.

        With `npratio` > 0 a sample is a click and its negatives, in another order and with others in each pass;
        otherwise every candidate is one.

        Yields:
            `impression_index_batch` (B, 1), `user_index_batch` (B, 1), `clicked_title_batch` (B, his_size, title_size)
            and `candidate_title_batch` (B, 1 + npratio or 1, title_size), all int; `labels` (B, 1 + npratio or 1)
            float32. `MINDAllIterator` adds `clicked_ab_batch`, `candidate_vert_batch` and so on.
        """
        data = self.load(news_file, behavior_file, on_error)
        if self.npratio > 0:
            samples = TrainingSamples(data.log, self.hparams.batch_size, self.npratio, negatives=self.hparams.negatives)
            first = self._passes * samples.steps_per_epoch
            self._passes += 1
            for step in range(first, first + samples.steps_per_epoch):
                impressions, candidates = samples.of_step(step)
                labels = np.zeros(candidates.shape, "float32")
                labels[:, 0] = 1.0
                yield self._dense(data, impressions, candidates, labels)
            return
        impression_of = data.log.candidates.rows()
        for slots in self._cut(len(impression_of)):
            candidates, labels = data.log.candidates.values[slots, None], data.log.labels[slots, None]
            yield self._dense(data, impression_of[slots], candidates, labels.astype("float32"))

    def load_user_from_file(
        self, news_file: str | Path, behavior_file: str | Path, on_error: OnError = "raise"
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yield `user_index_batch`, `impr_index_batch`, (B, 1) each, `clicked_title_batch` and so on."""
        data = self.load(news_file, behavior_file, on_error)
        for impressions in self._cut(len(data.log)):
            yield {
                "user_index_batch": data.users[data.log.user_of[impressions]][:, None],
                "impr_index_batch": impressions[:, None],
                **self._clicked(data, impressions),
            }

    def load_news_from_file(
        self, news_file: str | Path, on_error: OnError = "raise"
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yield `news_index_batch` (B, 1), `candidate_title_batch` (B, title_size) and so on, row 0 being padding."""
        if self.vocabularies is None:
            raise NotBuiltError("There are no vocabularies yet: load training files first, or pass `vocabularies`.")
        features = NewsFeatures(self.read_news(news_file, on_error), self.vocabularies, self.hparams)
        for rows in self._cut(len(features["title"])):
            yield {"news_index_batch": rows[:, None], **self._of_news(features, rows, "candidate")}

    def load_impression_from_file(
        self, behaviors_file: str | Path, on_error: OnError = "raise"
    ) -> Iterator[tuple[int, np.ndarray, int, np.ndarray]]:
        """Yield (impression index, news rows (C,), user id, labels (C,)) over the news file that was read last."""
        if self._last_news is None or self.vocabularies is None:
            raise NotBuiltError("Read a news file first: behaviors refer to it.")
        log = ImpressionLog.read(behaviors_file, self._last_news, on_error, self.separator)
        users = self.vocabularies.users.encode(log.users.to_pylist())
        for index, rows in enumerate(log.candidates):
            labels = log.labels[log.candidates.offsets[index] :][: len(rows)]
            yield index, rows, users[log.user_of[index]], labels.astype("int32")

    def _dense(
        self, data: Dataset, impressions: np.ndarray, candidates: np.ndarray, labels: np.ndarray
    ) -> dict[str, np.ndarray]:
        return {
            "impression_index_batch": impressions[:, None],
            "user_index_batch": data.users[data.log.user_of[impressions]][:, None],
            **self._clicked(data, impressions),
            **self._of_news(data.features, candidates, "candidate"),
            "labels": labels,
        }

    def _clicked(self, data: Dataset, impressions: np.ndarray) -> dict[str, np.ndarray]:
        rows = data.log.histories.last(data.log.history_of[impressions], self.hparams.his_size)
        return self._of_news(data.features, rows, "clicked")

    def _of_news(self, features: NewsFeatures, rows: np.ndarray, role: str) -> dict[str, np.ndarray]:
        """Return the features of some rows, (…, length) each; a category is of length 1."""
        return {
            f"{role}_{name}_batch": features[feature].reshape(len(features[feature]), -1)[rows]
            for name, feature in self.dense_features.items()
        }

    def _cut(self, count: int) -> Iterator[np.ndarray]:
        for start in range(0, count, self.hparams.batch_size):
            yield np.arange(start, min(start + self.hparams.batch_size, count))


class MINDAllIterator(MINDIterator):
    """Reads MIND's files as `MINDIterator` does; its dense batches hold abstracts and categories beside the titles."""

    dense_features: ClassVar[dict[str, str]] = {
        "title": "title",
        "ab": "abstract",
        "vert": "category",
        "subvert": "subcategory",
    }
