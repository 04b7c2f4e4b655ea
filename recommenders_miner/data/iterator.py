"""From MIND's files to what models train and are evaluated on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from recommenders_miner.data.batching import TrainingBatches
from recommenders_miner.data.context import Context
from recommenders_miner.data.counts import Past
from recommenders_miner.data.features import FEATURES, NewsFeatures
from recommenders_miner.data.log import CACHE_FOLDER, ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.sampling import Draw, TrainingSamples, hold_out
from recommenders_miner.data.tsv import OnError, SkipReport, fingerprint
from recommenders_miner.data.vectors import glove_folder
from recommenders_miner.data.vocabularies import COMMON, TrainingTables, Vocabularies
from recommenders_miner.data.vocabulary import Vocabulary
from recommenders_miner.errors import NotBuiltError
from recommenders_miner.hparams import HParams


@dataclass(frozen=True)
class Dataset:
    """A news file and a behaviors file, read, and seen through a model's vocabularies."""

    news: NewsTable
    log: ImpressionLog
    features: NewsFeatures  # arrays of ids, a row an article
    users: np.ndarray  # (log users,) int32 ids of the log's users
    whole: ImpressionLog | None = None  # that the log is a part of, where it is one
    earlier: Past | None = None  # of the log before it

    @cached_property
    def context(self) -> Context:
        """What is known at each impression; counted when it is first asked for."""
        horizon, log = self.features.hparams.horizon, self.whole or self.log
        return replace(Context.of_log(log, self.news, self.earlier, horizon, self.features.cache), log=self.log)


class NewsIterator:
    """Reads MIND's files for a model, and makes training steps of them.

    Args:
        hparams: the model's hyperparameters.
        vocabularies: what names the ids; where left out, they are built of the first files that are loaded.
        given: vocabularies that are there already, by name, and take the place of those that would be built.
        separator: what stands between columns.

    Attributes:
        user_aware: whether the model knows users by their ids, which it then has a vocabulary of.
        skipped: by file, what was left out of those that were read with `on_error="skip"`.
    """

    def __init__(
        self,
        hparams: HParams,
        vocabularies: Vocabularies | None = None,
        given: Mapping[str, Vocabulary] | None = None,
        separator: str = "\t",
    ) -> None:
        self.hparams, self.vocabularies, self.separator = hparams, vocabularies, separator
        self.given, self.user_aware = dict(given or {}), True
        self.train_folder: Path | None = None
        self.earlier: Past | None = None
        self.skipped: dict[Path, SkipReport] = {}
        self._loaded: dict[tuple, Dataset] = {}

    def load(self, news_file: str | Path, behaviors_file: str | Path, on_error: OnError = "raise") -> Dataset:
        """Read a pair of files, or return what was read if neither has changed since.

        `on_error`, here and elsewhere, is as of `ImpressionLog.read` and `NewsTable.read`.
        """
        key = fingerprint(news_file), fingerprint(behaviors_file), on_error
        if key not in self._loaded:
            news, log = self._read(news_file, behaviors_file, on_error)
            if self.vocabularies is None:
                self.train_folder = Path(news_file).parent
                self.vocabularies = self.build_vocabularies(news, log)
            self._loaded = {key: self.dataset(news, log, Path(news_file).parent / CACHE_FOLDER)}
        return self._loaded[key]

    def load_training(
        self, news_file: str | Path, behaviors_file: str | Path, on_error: OnError = "raise"
    ) -> tuple[Dataset, Dataset | None]:
        """Read a pair of files to train on, and divide it as `hold_out` does.

        Vocabularies that are not there yet are built of what is trained on alone.
        """
        if self.hparams.held_out == "none":
            return self.load(news_file, behaviors_file, on_error), None
        news, whole = self._read(news_file, behaviors_file, on_error)
        log, held_out = hold_out(whole, self.hparams)
        if self.vocabularies is None:
            self.train_folder = Path(news_file).parent
            self.vocabularies = self.build_vocabularies(news, log)
        data = replace(self.dataset(news, log, Path(news_file).parent / CACHE_FOLDER), whole=whole)
        users = self.vocabularies.users.encode_strings(held_out.users)
        return data, replace(data, log=held_out, users=users)

    def adopt(self, vocabularies: Vocabularies) -> None:
        """Take other vocabularies; what was loaded is seen through them from now on."""
        if vocabularies is not self.vocabularies:
            self.vocabularies, self._loaded = vocabularies, {}

    def go_on_from(self, earlier: Past | None) -> None:
        """Let the context of what is loaded from now on continue from the counts of an earlier log."""
        self.earlier, self._loaded = earlier, {}

    def read_news(self, news_file: str | Path, on_error: OnError = "raise") -> NewsTable:
        """Read a news file."""
        return NewsTable.read(news_file, on_error, self.separator)

    def _read(
        self, news_file: str | Path, behaviors_file: str | Path, on_error: OnError
    ) -> tuple[NewsTable, ImpressionLog]:
        news = self.read_news(news_file, on_error)
        log = ImpressionLog.read(behaviors_file, news, on_error, self.separator)
        self.skipped |= {table.skipped.path: table.skipped for table in (news, log) if table.skipped}
        return news, log

    def find(self, path: str) -> str:
        """Look for a file of the hyperparameters as it stands, beside the training news, and among fetched vectors."""
        folders = [Path(), *([self.train_folder] if self.train_folder else []), glove_folder()]
        return next((str(folder / path) for folder in folders if (folder / path).exists()), path)

    def build_vocabularies(self, news: NewsTable, log: ImpressionLog) -> Vocabularies:
        """Build what the model has to know by name, from training tables."""
        read = self.hparams.features
        needed = [name for feature in read for name in FEATURES[feature].needs]
        tables = TrainingTables(news, log, self.hparams, frozenset(read), self.find, self.user_aware)
        return Vocabularies.build([*COMMON, *needed], tables, self.given)

    def dataset(self, news: NewsTable, log: ImpressionLog, cache: Path | None = None) -> Dataset:
        """See tables in memory through the vocabularies; `cache` is a folder for what is costly to compute of news."""
        if self.vocabularies is None:
            raise NotBuiltError("There are no vocabularies yet: load training files first, or pass `vocabularies`.")
        features = NewsFeatures(news, self.vocabularies, self.hparams, cache)
        users = self.vocabularies.users.encode_strings(log.users)
        return Dataset(news, log, features, users, earlier=self.earlier)

    def batches(
        self,
        dataset: Dataset,
        features: Mapping[str, np.ndarray],
        seed: int,
        *,
        shards: int = 1,
        negatives: str | Callable[[ImpressionLog], Draw] | None = None,
        **options: Any,
    ) -> TrainingBatches:
        """Return the stream of training steps of a dataset; `features` is what a network reads of its news.

        `seed`, `shards` and `negatives`, by default what the hyperparameters say, are those of `TrainingSamples`; the
        options those of `TrainingBatches`.
        """
        hparams = self.hparams
        samples = TrainingSamples(
            dataset.log,
            hparams.batch_size,
            hparams.npratio,
            hparams.clicks_per_user,
            seed=seed,
            shards=shards,
            negatives=negatives or hparams.negatives,
            accumulate_steps=hparams.accumulate_steps,
        )
        options = {"his_size": hparams.his_size, "length_groups": hparams.length_groups, **options}
        return TrainingBatches(features, samples, dataset.users, **options)
