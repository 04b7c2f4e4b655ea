"""BaseModel: what every system shares, from files to metrics."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import keras
import numpy as np

from recommenders_miner.data.batching import TrainingBatches
from recommenders_miner.data.features import NewsFeatures
from recommenders_miner.data.iterator import Dataset, MINDIterator
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.encoders import NewsEncoder
from recommenders_miner.errors import NotBuiltError, NoVectorError, RecommendersMinerError
from recommenders_miner.evaluation.metrics import Evaluation, evaluate_scores
from recommenders_miner.evaluation.scoring import LogScorer, score_directly
from recommenders_miner.hparams import HParams
from recommenders_miner.backend import keep_freed_memory
from recommenders_miner.models.initial_vectors import InitialVectors
from recommenders_miner.models.network import NewsRecommender, UserEncoder
from recommenders_miner.models.optimizers import make_optimizer
from recommenders_miner.models.saving import load_model, save_model
from recommenders_miner.models.training import (
    EpochEvaluation,
    Throughput,
    TrainingCheckpoint,
    log_digest,
    precision,
    seeded,
)

if TYPE_CHECKING:
    from recommenders_miner.explain import Explanation

_LOSSES = {
    "cross_entropy_loss": keras.losses.CategoricalCrossentropy,
    "log_loss": keras.losses.BinaryCrossentropy,
}


class BaseModel:
    """A news recommender: trained and evaluated on MIND-format files, asked about news ids, saved and loaded.

    The constructor, `fit`, `run_eval`, `run_fast_eval`, `run_slow_eval`, `run_news` and `run_user` are those of
    Microsoft Recommenders' `newsrec`. A system is a subclass with one method, `build_network`.

    The network is made when the vocabularies are known: by the constructor, from dictionaries in Recommenders' form; at
    the first `fit`, from its training files; or by `build`.

    Args:
        hparams: hyperparameters, from `prepare_hparams`.
        iterator_creator: `MINDIterator`, or a class with its constructor, `load` and `batches`.
        seed: fixes initial weights, shuffling, negatives and dropout; None leaves them to chance.

    Attributes:
        network: the `keras.Model`, None before it is built.
        vocabularies: what names the ids of words, categories and users.
        news: the table that `score` and `recommend` look news ids up in; the training news until `set_news`.
        history: one dict of losses and metrics per epoch trained.
    """

    user_aware: ClassVar[bool] = False

    def __init__(
        self,
        hparams: HParams,
        iterator_creator: Callable[..., MINDIterator] = MINDIterator,
        seed: int | None = None,
    ) -> None:
        keep_freed_memory()
        self.hparams = hparams
        self.seed = int(np.random.default_rng().integers(2**31)) if seed is None else seed
        self.train_iterator = iterator_creator(hparams, hparams.npratio, col_spliter="\t")
        self.test_iterator = iterator_creator(hparams, col_spliter="\t")
        self.network: NewsRecommender | None = None
        self.vocabularies: Vocabularies | None = None
        self.news: NewsTable | None = None
        self.history: list[dict[str, float]] = []
        self.throughput: Throughput | None = None
        self._news_vectors: dict[str, np.ndarray] | None = None
        if self.train_iterator.vocabularies is not None:
            self.build(self.train_iterator.vocabularies)
            self.compile(total_steps=1)  # as in Recommenders; `fit` compiles for the steps that it takes

    def build_network(self, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsRecommender:
        """Returns the untrained network; each system's own.

        Args:
            hparams: the hyperparameters.
            vocabularies: sizes of the embeddings.
            vectors: where word and category embeddings start from.
        """
        raise NotImplementedError

    def build(self, vocabularies: Vocabularies) -> Self:
        """Makes the network for some vocabularies, with fresh weights.

        Raises:
            HParamsError, DataFormatError: the vectors that the hyperparameters name cannot be had.
            PresetError: the language model that they name cannot be had.
        """
        with seeded(self.seed), precision(self.hparams.precision):
            vectors = InitialVectors.prepare(self.hparams, vocabularies, self.seed, self.train_iterator.find)
            network = self.build_network(self.hparams, vocabularies, vectors)
            network.build()
        self.adopt(network, vocabularies)
        return self

    def adopt(self, network: NewsRecommender, vocabularies: Vocabularies) -> None:
        """Takes a network that is built already, with the vocabularies that it was built for."""
        self.network, self.vocabularies = network, vocabularies
        self.train_iterator.vocabularies = self.test_iterator.vocabularies = vocabularies
        self._scorer = LogScorer(network, self.hparams.his_size, user_aware=self.user_aware)
        self._news_vectors = None

    # === Recommenders' names for the network and its parts ===

    @property
    def model(self) -> NewsRecommender | None:
        """The network; also what Recommenders calls `scorer`."""
        return self.network

    scorer = model

    @property
    def loss(self) -> keras.losses.Loss | None:
        """The loss that the network is compiled with, None before it is."""
        return None if self.network is None else self.network.loss

    @property
    def train_optimizer(self) -> keras.optimizers.Optimizer | None:
        """The optimiser that the network is compiled with, None before it is."""
        return None if self.network is None else self.network.optimizer

    @property
    def newsencoder(self) -> NewsEncoder:
        """The network's news encoder."""
        self._require_built()
        return self.network.news_encoder

    @property
    def userencoder(self) -> UserEncoder:
        """The network's user encoder."""
        self._require_built()
        return self.network.user_encoder

    # === Training ===

    def fit(
        self,
        train_news_file: str | Path,
        train_behaviors_file: str | Path,
        valid_news_file: str | Path | None = None,
        valid_behaviors_file: str | Path | None = None,
        test_news_file: str | Path | None = None,
        test_behaviors_file: str | Path | None = None,
        *,
        run_dir: str | Path | None = None,
        resume: bool = False,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        verbose: str | int = "auto",
    ) -> Self:
        """Trains for `hparams.epochs` epochs, evaluating after each where files to evaluate on are given.

        A model that is not built yet takes its vocabularies from the training files. One that is goes on from its
        weights.

        Args:
            train_news_file: news.tsv of the training split.
            train_behaviors_file: its behaviors.tsv, labelled.
            valid_news_file: news.tsv to evaluate on after each epoch.
            valid_behaviors_file: its behaviors.tsv.
            test_news_file: a second pair to evaluate on.
            test_behaviors_file: its behaviors.tsv.
            run_dir: folder for a checkpoint after each epoch.
            resume: go on from the checkpoint in `run_dir`, if there is one; the result is that of an unbroken run.
            callbacks: more Keras callbacks; they find the evaluation as `val_group_auc`, ….
            verbose: as in `keras.Model.fit`.

        Raises:
            DataFormatError: a file is missing or damaged.
            RecommendersMinerError: the checkpoint is of another run.
            ValueError: the training log has no labels; or `resume` without `run_dir`.
        """
        if resume and run_dir is None:
            raise ValueError("resume needs run_dir, the folder of the run to go on with.")
        data = self.train_iterator.load(train_news_file, train_behaviors_file)
        if self.network is None:
            self.build(self.train_iterator.vocabularies)
        batches = self.training_batches(data)
        self.compile(batches.steps_per_epoch * self.hparams.epochs)
        evaluation = EpochEvaluation(
            self.run_eval,
            {"val": (valid_news_file, valid_behaviors_file), "test": (test_news_file, test_behaviors_file)},
        )
        self.throughput = Throughput(self.hparams.batch_size)
        checkpoint = TrainingCheckpoint(run_dir, {} if run_dir is None else self._identity(data))
        epochs_done = checkpoint.restore(self.network) if resume else 0
        batches.first_step = epochs_done * batches.steps_per_epoch
        self.network.fit(
            batches,
            steps_per_epoch=batches.steps_per_epoch,
            initial_epoch=epochs_done,
            epochs=self.hparams.epochs,
            callbacks=[self.throughput, evaluation, *callbacks, checkpoint],
            shuffle=False,
            verbose=verbose,
        )
        self.history = checkpoint.epoch_logs
        self.set_news(data.news)
        return self

    def training_batches(self, data: Dataset) -> TrainingBatches:
        """Returns the stream of training steps of a data set; in fixed shapes where the backend needs them."""
        static_shapes = keras.backend.backend() != "tensorflow"
        return self.train_iterator.batches(data, self.network_features(data), self.seed, static_shapes=static_shapes)

    def compile(self, total_steps: int) -> None:
        """Compiles the network with Adam and the loss that `hparams.loss` names.

        `cross_entropy_loss` is NCE over a click and the non-clicks beside it (MINER, Eq. 6); `log_loss` takes every
        candidate by itself. Candidates that only fill a shape have a score of -1e9 and add nothing to either.

        Args:
            total_steps: training steps of the whole run, which the step size may depend on.
        """
        self.network.compile(
            optimizer=make_optimizer(self.hparams, self.network, total_steps),
            loss=_LOSSES[self.hparams.loss](from_logits=True, reduction="mean_with_sample_weight"),
        )

    def _identity(self, data: Dataset) -> dict[str, Any]:
        return {
            "model": type(self).__name__,
            "hparams": self.hparams.to_dict(),
            "seed": self.seed,
            "news": data.news.digest,
            "impressions": [len(data.log), len(data.log.candidates.values), int(data.log.labels.sum())],
            "log": log_digest(data.log),
        }

    # === Evaluation ===

    @property
    def log_scorer(self) -> LogScorer:
        """What encodes news and readers, and scores them, in bulk."""
        self._require_built()
        return self._scorer

    def run_eval(self, news_filename: str | Path, behaviors_file: str | Path) -> dict[str, float]:
        """Evaluates on a pair of files.

        Returns:
            `group_auc`, `mean_mrr`, `ndcg@5`, `ndcg@10`, or what `hparams.metrics` lists; means over the impressions
            that have both a click and a non-click.

        Raises:
            DataFormatError: a file is missing or damaged.
            ValueError: the log has no labels.
        """
        return self.evaluate(self.read(news_filename, behaviors_file)).metrics

    def evaluate(self, data: Dataset) -> Evaluation:
        """Evaluates on a data set that `read` gave: metrics, their standard errors, and the impressions left out."""
        return evaluate_scores(self.score_log(data), data.log.labels, data.log.candidates.offsets, self.hparams.metrics)

    def read(self, news_file: str | Path, behaviors_file: str | Path) -> Dataset:
        """Reads a pair of files for this model to score."""
        self._require_built()
        return self.test_iterator.load(news_file, behaviors_file)

    def network_features(self, data: Dataset) -> dict[str, np.ndarray]:
        """Returns what the network reads of a data set's news: arrays of N+1 rows by name."""
        self._require_built()
        return self.network.prepare(data.features)

    def score_log(self, data: Dataset, progress: Callable[[float], None] | None = None) -> np.ndarray:
        """Scores every candidate of a log: (candidates,) float32, in the order of `data.log.candidates.values`."""
        self._require_built()
        news = self._scorer.encode_news(self.network_features(data))
        return self._scorer.score(news, data.log, data.users, progress)

    def run_fast_eval(
        self, news_filename: str | Path, behaviors_file: str | Path
    ) -> tuple[list[int], list[np.ndarray], list[np.ndarray]]:
        """Scores each impression, news and histories encoded once; returns impression indices, labels and scores."""
        data = self.read(news_filename, behaviors_file)
        return _by_impression(data.log, self.score_log(data))

    def run_slow_eval(
        self, news_filename: str | Path, behaviors_file: str | Path
    ) -> tuple[list[int], list[np.ndarray], list[np.ndarray]]:
        """As `run_fast_eval`, but every impression computed from its words, as in training."""
        data = self.read(news_filename, behaviors_file)
        features = self.network_features(data)
        scores = score_directly(self.network, features, data.log, data.users, self.hparams.his_size)
        return _by_impression(data.log, scores)

    def run_news(self, news_filename: str | Path) -> dict[int, np.ndarray]:
        """Encodes a news file; returns row of the news table (0 is padding) → vector (d,).

        Raises:
            NoVectorError: a news has a vector in view of a user only.
        """
        self._require_built()
        news = self._encode_news(NewsTable.read(news_filename))
        if "vector" not in news:
            raise NoVectorError(f"{type(self).__name__} has no vector of a news by itself, without a user.")
        return dict(enumerate(news["vector"]))

    def run_user(self, news_filename: str | Path, behaviors_file: str | Path) -> dict[int, Any]:
        """Encodes the users of a behaviors file; returns impression index → user.

        A user is a vector (d,); for MINER, interest vectors (K, d), without category weights for want of a candidate.
        """
        data = self.read(news_filename, behaviors_file)
        news = self._scorer.encode_news(self.network_features(data))
        users, reader_of = self._scorer.impression_user_vectors(news, data.log, data.users)
        return dict(enumerate(users[reader_of]))

    # === Serving ===

    def set_news(self, news: NewsTable | str | Path) -> None:
        """Chooses the news that `score` and `recommend` know: a table, or a news.tsv."""
        self._require_built()
        self.news = news if isinstance(news, NewsTable) else NewsTable.read(news)
        self._news_vectors = None

    def score(self, history: Sequence[str], candidates: Sequence[str], user: str | None = None) -> np.ndarray:
        """Scores candidates for a history.

        Args:
            history: ids of the clicked news, newest last; may be empty.
            candidates: ids of the news to score.
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
        """Scores the same candidates for several histories of one user: (histories, candidates), as `score` would."""
        news = self._encoded_table()
        self.news.rows([*itertools.chain(*histories), *candidates])  # refuses ids that are not in the table
        log = ImpressionLog.from_columns(
            self.news,
            histories=[list(history) for history in histories],
            candidates=[list(candidates)] * len(histories),
            users=[user or ""] * len(histories),
        )
        users = np.array(self.vocabularies.users.encode(log.users.to_pylist()), "int32")
        return self._scorer.score(news, log, users).reshape(len(histories), -1)

    def explain(self, history: Sequence[str], candidates: Sequence[str], user: str | None = None) -> Explanation:
        """Says why candidates score as they do: the user's interests, their attention, and what each click adds.

        Args:
            history: as in `score`; the newest `his_size` clicks are explained.
            candidates: ids of the news whose scores are explained.
            user: the user's id, for the models that know users.

        Raises:
            NotBuiltError: the model is not trained or loaded, or has no news table.
            UnknownNewsError: a news id is not in the table.
        """
        from recommenders_miner.explain import explain_scores

        return explain_scores(self, history, candidates, user)

    def recommend(
        self, history: Sequence[str], pool: Sequence[str] | None = None, k: int = 10, user: str | None = None
    ) -> list[tuple[str, float]]:
        """Returns the k best news of a pool for a history, best first, those already clicked left out.

        Args:
            history: ids of the clicked news, newest last; may be empty.
            pool: ids to choose from; None means all of the news table.
            k: how many.
            user: the user's id, for the models that know users.

        Returns:
            At most k pairs of news id and score.
        """
        if self.news is None:
            raise NotBuiltError("Which news? Call set_news with a news table or a news.tsv first.")
        clicked = set(history)
        pool = [
            news_id for news_id in (self.news.ids.to_pylist()[1:] if pool is None else pool) if news_id not in clicked
        ]
        if not pool:
            return []
        scores = self.score(history, pool, user)
        return [(pool[index], float(scores[index])) for index in np.argsort(-scores, kind="stable")[:k]]

    def encode_news(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        """Returns what the rest of the network reads of some news, to look inside.

        Args:
            ids: ids of news.

        Returns:
            By name, arrays of len(ids) rows: `vector` (len(ids), d), or what else the news encoder returns, and the
            columns that the other parts read beside it, as `category`.

        Raises:
            NotBuiltError: the model is not trained or loaded, or has no news table.
            UnknownNewsError: a news id is not in the table.
        """
        news = self._encoded_table()
        rows = self.news.rows(ids)
        return {name: values[rows] for name, values in news.items()}

    # === Saving ===

    def save(self, folder: str | Path) -> None:
        """Writes the model to a folder, whole or not at all: see `saving.save_model`."""
        self._require_built()
        save_model(self, folder)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Loads a model that `save` wrote; it scores exactly as the saved one did.

        Raises:
            RecommendersMinerError: the folder holds no saved model, a damaged one, or one of another class.
        """
        model = load_model(folder)
        if not isinstance(model, cls):
            raise RecommendersMinerError(f"{folder}: holds a {type(model).__name__}, not a {cls.__name__}.")
        return model

    def _require_built(self) -> None:
        if self.network is None:
            raise NotBuiltError(
                "The model is not built yet: call fit, or build with vocabularies, or load a saved model."
            )

    def _encoded_table(self) -> dict[str, np.ndarray]:
        """Returns the news that the model was told of, encoded once."""
        self._require_built()
        if self.news is None:
            raise NotBuiltError("Which news? Call set_news with a news table or a news.tsv first.")
        if self._news_vectors is None:
            self._news_vectors = self._encode_news(self.news)
        return self._news_vectors

    def _encode_news(self, news: NewsTable) -> dict[str, np.ndarray]:
        features = NewsFeatures(news, self.vocabularies, self.hparams)
        return self._scorer.encode_news(self.network.prepare(features))


def _by_impression(log: ImpressionLog, scores: np.ndarray) -> tuple[list[int], list[np.ndarray], list[np.ndarray]]:
    """Cuts flat scores into Recommenders' three lists."""
    cuts = log.candidates.offsets[1:-1]
    return list(range(len(log))), np.split(np.asarray(log.labels), cuts), np.split(scores, cuts)
