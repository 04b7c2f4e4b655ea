"""MINDIterator: from MIND's files to what models train and are evaluated on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from recommenders_miner.compat.files import read_vocabularies
from recommenders_miner.data.batching import TrainingBatches
from recommenders_miner.data.entities import graph_neighbours, news_neighbours
from recommenders_miner.data.features import NewsFeatures
from recommenders_miner.data.log import CACHE_FOLDER, ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.pieces import Pieces
from recommenders_miner.data.sampling import TrainingSamples
from recommenders_miner.data.terms import TermWeights
from recommenders_miner.data.vectors import read_vector_names
from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.data.vocabulary import Vocabulary
from recommenders_miner.datasets.home import glove_folder
from recommenders_miner.errors import NotBuiltError
from recommenders_miner.hparams import RECOMMENDERS_ENCODERS, HParams


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

    Dictionaries in Recommenders' form (`wordDict_file`, …) take the place of the vocabularies that training files would
    give. Recommenders' own systems then know their vocabularies at once; categories that have no dictionary are all
    unknown to them. Other systems read more, and wait for the training files.

    Args:
        hparams: `batch_size`, `title_size`, `his_size` and `min_word_count` are used.
        npratio: negatives beside each click in `load_data_from_file`; -1 gives every candidate by itself.
        col_spliter: separator of columns.
        ID_spliter: taken for compatibility; Recommenders does not use it either.
        vocabularies: what names the ids; where left out, they come from dictionaries and the first files that are
            loaded.

    Attributes:
        dense_features: what the dense batches hold of a news: Recommenders' name for it, and the feature's.

    Raises:
        DataFormatError: a dictionary is missing, damaged, or a pickle that is not converted.
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
        self.hparams, self.npratio, self.col_spliter = hparams, npratio, col_spliter
        self._dictionaries = read_vocabularies(hparams) if vocabularies is None else {}
        self.vocabularies = vocabularies or self._known_at_once()
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
                self.vocabularies = self.build_vocabularies(news, log)
                key = (*key[:2], id(self.vocabularies))
            self._loaded = {key: self.dataset(news, log, Path(news_file).parent / CACHE_FOLDER)}
        return self._loaded[key]

    def find(self, path: str) -> str:
        """Returns where a file that the hyperparameters name is.

        It is looked for as it stands, beside the training news, and where `fetch` puts word vectors.
        """
        folders = [Path(), *([self.train_folder] if self.train_folder else []), glove_folder()]
        return next((str(folder / path) for folder in folders if (folder / path).exists()), path)

    def _known_at_once(self) -> Vocabularies | None:
        """Returns the vocabularies of Recommenders' own systems where it gives those of words and users."""
        hparams, given = self.hparams, self._dictionaries
        own = hparams.model_type in RECOMMENDERS_ENCODERS and hparams.news_encoder in RECOMMENDERS_ENCODERS.values()
        if not own or "words" not in given or "users" not in given:
            return None
        empty = {name: Vocabulary([]) for name in ("categories", "subcategories", "entities")}
        return Vocabularies(**{**empty, **given})

    def build_vocabularies(self, news: NewsTable, log: ImpressionLog) -> Vocabularies:
        """Builds what the hyperparameters' system has to know by name, from training tables.

        Raises:
            DataFormatError: entities in the table, or a file that the hyperparameters name, are damaged.
        """
        hparams, entities = self.hparams, None
        if hparams.news_encoder in ("knowledge", "kcnn"):
            entities = read_vector_names(self.find(hparams.entity_embedding)) if hparams.entity_embedding else []
        built = Vocabularies.build(
            news,
            log,
            min_word_count=hparams.min_word_count,
            abstracts=hparams.news_encoder == "multi_view",
            entities=entities,
            pieces=Pieces(hparams.plm) if hparams.news_encoder == "plm" and hparams.plm else None,
            news_ids=hparams.news_encoder == "tfidf",
            terms=self._terms(news) if hparams.news_encoder == "tfidf" else None,
        )
        neighbours = self._neighbours(news, built.entities) if hparams.news_encoder == "kcnn" else None
        return dataclasses.replace(built, neighbours=neighbours, **self._dictionaries)

    def _terms(self, news: NewsTable) -> TermWeights:
        return TermWeights.fit(news.title.to_pylist()[1:], self.hparams.title_size, self.hparams.max_terms)

    def _neighbours(self, news: NewsTable, entities: Vocabulary) -> np.ndarray:
        """Returns the pairs of entities whose vectors are each other's context."""
        graph = self.hparams.entity_graph
        return graph_neighbours(self.find(graph), entities) if graph else news_neighbours(news, entities)

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
        self,
        dataset: Dataset,
        features: Mapping[str, np.ndarray],
        seed: int,
        shard: tuple[int, int] = (0, 1),
        **options: Any,
    ) -> TrainingBatches:
        """Returns the stream of training steps of a dataset.

        Args:
            dataset: whose log, and news.
            features: what a network reads of those news; arrays of N+1 rows.
            seed: fixes order and negatives.
            shard: (index, count) of the process that the steps are for.
            **options: further arguments of `TrainingBatches`.
        """
        hparams = self.hparams
        samples = TrainingSamples(
            dataset.log, hparams.batch_size, hparams.npratio, hparams.clicks_per_user, seed=seed, shard=shard
        )
        options = {"his_size": hparams.his_size, "length_groups": hparams.length_groups, **options}
        return TrainingBatches(features, samples, dataset.users, **options)

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
            float32. `MINDAllIterator` adds `clicked_ab_batch`, `candidate_vert_batch` and so on.
        """
        data = self.load(news_file, behavior_file)
        if self.npratio > 0:
            stream = self.batches(data, {"category": data.features["category"]}, seed=0).samples
            for step in range(stream.steps_per_epoch):
                impressions, candidates = stream.of_step(step)
                labels = np.zeros(candidates.shape, "float32")
                labels[:, 0] = 1.0
                yield self._dense(data, impressions, candidates, labels)
            return
        impression_of = data.log.candidates.rows()
        for slots in self._cut(len(impression_of)):
            candidates, labels = (
                data.log.candidates.values[slots, None],
                data.log.labels[slots, None].astype("float32"),
            )
            yield self._dense(data, impression_of[slots], candidates, labels)

    def load_user_from_file(self, news_file: str | Path, behavior_file: str | Path) -> Iterator[dict[str, np.ndarray]]:
        """Yields `user_index_batch`, `impr_index_batch`, (B, 1) each, `clicked_title_batch` and so on."""
        data = self.load(news_file, behavior_file)
        for impressions in self._cut(len(data.log)):
            yield {
                "user_index_batch": data.users[data.log.user_of[impressions]][:, None],
                "impr_index_batch": impressions[:, None],
                **self._clicked(data, impressions),
            }

    def load_news_from_file(self, news_file: str | Path) -> Iterator[dict[str, np.ndarray]]:
        """Yields `news_index_batch` (B, 1), `candidate_title_batch` (B, title_size) and so on, row 0 being padding."""
        if self.vocabularies is None:
            raise NotBuiltError("There are no vocabularies yet: load training files first, or pass `vocabularies`.")
        features = NewsFeatures(self._read_news(news_file), self.vocabularies, self.hparams)
        for rows in self._cut(len(features["title"])):
            yield {"news_index_batch": rows[:, None], **self._of_news(features, rows, "candidate")}

    def load_impression_from_file(
        self, behaviors_file: str | Path
    ) -> Iterator[tuple[int, np.ndarray, int, np.ndarray]]:
        """Yields (impression index, news rows (C,), user id, labels (C,)) over the news file that was read last."""
        if self._last_news is None or self.vocabularies is None:
            raise NotBuiltError("Read a news file first: behaviors refer to it.")
        log = ImpressionLog.read(behaviors_file, self._last_news, separator=self.col_spliter)
        users = self.vocabularies.users.encode(log.users.to_pylist())
        for index in range(len(log)):
            slots = slice(log.candidates.offsets[index], log.candidates.offsets[index + 1])
            yield index, log.candidates.values[slots], users[log.user_of[index]], log.labels[slots].astype("int32")

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
        """Returns the features of some rows, (…, length) each; a category is of length 1."""
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


def _fingerprint(path: str | Path) -> tuple:
    """Tells a file from another, and from its own later content; enough to know that nothing need be read again."""
    path = Path(path).resolve()
    if not path.exists():
        return (path,)
    status = path.stat()
    return path, status.st_size, status.st_mtime_ns
