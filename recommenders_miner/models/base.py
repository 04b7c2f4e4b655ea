"""BaseModel: what every model shares, from files to metrics."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Self, TypeVar

import keras
import numpy as np

from recommenders_miner.backend import keep_freed_memory
from recommenders_miner.compat.dictionaries import read_word_matrix
from recommenders_miner.compat.iterator import MINDIterator
from recommenders_miner.compat.names import RecommendersNames
from recommenders_miner.data.batching import TrainingBatches
from recommenders_miner.data.context import Context
from recommenders_miner.data.counts import Past
from recommenders_miner.data.iterator import Dataset, NewsIterator
from recommenders_miner.data.log import ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.sampling import Draw, require_clicks
from recommenders_miner.data.tsv import OnError, content_digest
from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.encoders import InitialVectors
from recommenders_miner.errors import NotBuiltError, RecommendersMinerError
from recommenders_miner.evaluation.metrics import Evaluation, evaluate_scores
from recommenders_miner.evaluation.scoring import LogScorer
from recommenders_miner.hparams import ENCODERS, MODELS, HParams
from recommenders_miner.models import training
from recommenders_miner.models.answers import Answers
from recommenders_miner.models.context import GatedByContext
from recommenders_miner.models.network import NewsRecommender
from recommenders_miner.models.optimizers import make_optimizer
from recommenders_miner.models.parallel import Devices, score_together
from recommenders_miner.models.saving import load_model, save_model

_LOSSES = {"cross_entropy_loss": keras.losses.CategoricalCrossentropy, "log_loss": keras.losses.BinaryCrossentropy}


class BaseModel(Answers, RecommendersNames):
    """A news recommender: trained and evaluated on MIND-format files, asked about news ids, saved and loaded.

    A model is a subclass with one method, `build_network`, that registers itself by `register`. The names are those of
    Microsoft Recommenders' `newsrec`, more of them in `compat/names.py`.

    The network is made when the vocabularies are known: by the constructor, from dictionaries in Recommenders' form; at
    the first `fit`, from its training files; or by `build`.

    Args:
        hparams: hyperparameters, from `prepare_hparams`.
        iterator_creator: `MINDIterator`, or a class with its constructor, `load`, `load_training` and `batches`.
        seed: fixes initial weights, shuffling, negatives and dropout; None leaves them to chance.

    Attributes:
        network: the `keras.Model`, None before it is built.
        vocabularies: what names the ids of words, categories and users.
        news: the table that `score` and `recommend` look news ids up in; the training news until `set_news`.
        history: one dict of losses and metrics per epoch trained.
        trained_on: digests of the behaviors files that it was trained on.
        folder: where it was loaded from, and what it encodes is kept; None where it was not.
        hparams_class: of the class: the hyperparameters of its own, a subclass of `HParams`.
        news_encoder: of the class: the news encoder where a file names none.
        columns: of the class: features of articles that it reads beside the news encoder's.
        user_aware: of the class: whether it knows users by their ids.
        name, paper, year: of the class, as it was registered.
    """

    hparams_class: ClassVar[type[HParams]] = HParams
    news_encoder: ClassVar[str] = "self_attention"
    columns: ClassVar[tuple[str, ...]] = ()
    user_aware: ClassVar[bool] = False
    name: ClassVar[str]
    paper: ClassVar[str]
    year: ClassVar[int]

    def __init__(
        self, hparams: HParams, iterator_creator: Callable[..., NewsIterator] = MINDIterator, seed: int | None = None
    ) -> None:
        self.hparams = hparams
        self.seed = int(np.random.default_rng().integers(2**31) if seed is None else seed)
        self.train_iterator = iterator_creator(hparams, hparams.npratio, col_spliter="\t")
        self.test_iterator = iterator_creator(hparams, col_spliter="\t")
        self.train_iterator.user_aware = self.user_aware
        self.network: NewsRecommender | None = None
        self.vocabularies: Vocabularies | None = None
        self.news: NewsTable | None = None
        self.history: list[dict[str, float]] = []
        self.trained_on: list[str] = []
        self.folder: Path | None = None
        self.throughput: training.Throughput | None = None
        self.counts: Past | None = None
        self._news_vectors: tuple[tuple[int, int], dict[str, np.ndarray]] | None = None  # and what weights they are of
        self._now: Context | None = None
        if self.train_iterator.vocabularies is not None:
            self.build(self.train_iterator.vocabularies)
            self.compile(total_steps=1)  # as in Recommenders; `fit` compiles for the steps that it takes

    @classmethod
    def reads(cls, hparams: HParams) -> tuple[str, ...]:
        """Return the features of articles that such a model reads beside its news encoder's."""
        return cls.columns

    def build_network(self, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsRecommender:
        """Return the untrained network, each model's own: `vectors` says where its embeddings start."""
        raise NotImplementedError

    def build(self, vocabularies: Vocabularies) -> Self:
        """Make the network for some vocabularies, with fresh weights.

        Raises:
            HParamsError, DataFormatError: the vectors that the hyperparameters name cannot be had.
            PresetError: the language model that they name cannot be had.
        """
        find = self.train_iterator.find
        with training.seeded(self.seed), training.precision(self.hparams.precision):
            plm = ENCODERS[self.hparams.news_encoder].pretrained(self.hparams)
            words = read_word_matrix(self.hparams, vocabularies.words)
            vectors = InitialVectors(self.hparams, vocabularies, self.seed, find, words, plm)
            network = self.build_network(self.hparams, vocabularies, vectors)
            if self.hparams.context == "gated":
                labels = len(vocabularies.categories), len(vocabularies.subcategories)
                predictor = GatedByContext(network.click_predictor, network.news_encoder.gives_vectors, *labels)
                network = NewsRecommender(**{**network.config, "click_predictor": predictor})
            if self.hparams.cold_history == "learned" and network.user_encoder.reads_vectors:
                network = NewsRecommender(**{**network.config, "learns_cold": True})
            network.build()
        self.adopt(network, vocabularies)
        return self

    def adopt(self, network: NewsRecommender, vocabularies: Vocabularies) -> None:
        """Take a network that is built already, with the vocabularies that it was built for."""
        self.network, self.vocabularies = network, vocabularies
        self.train_iterator.adopt(vocabularies)
        self.test_iterator.adopt(vocabularies)
        self._scorer = LogScorer(network, self.hparams.his_size, user_aware=self.user_aware)
        self._news_vectors = self._now = None

    def go_on_from(self, earlier: Past | None) -> None:
        """Let the context of the logs that are read from now on continue from counts of earlier ones."""
        self.counts, self._now = earlier, None
        self.test_iterator.go_on_from(earlier)

    def require_built(self) -> None:
        """Raise `NotBuiltError` where there is no network yet."""
        if self.network is None:
            raise NotBuiltError("The model is not built: call fit, or build with vocabularies, or load a saved model.")

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
        on_error: OnError = "raise",
        negatives: str | Callable[[ImpressionLog], Draw] | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        verbose: str | int = "auto",
    ) -> Self:
        """Train for `hparams.epochs` epochs, evaluating after each on what is held out and on the files given for that.

        All files are read before the training begins. Those that nothing can be evaluated on, for want of labels say,
        are left out with a warning.

        A model that is not built yet takes its vocabularies from the training files. One that is goes on from its
        weights. On Linux, freed memory stays with the process: see `backend.keep_freed_memory`.

        Args:
            train_news_file: news.tsv of the training split.
            train_behaviors_file: its behaviors.tsv, labelled.
            valid_news_file: news.tsv to evaluate on after each epoch.
            valid_behaviors_file: its behaviors.tsv.
            test_news_file: a second pair to evaluate on.
            test_behaviors_file: its behaviors.tsv.
            run_dir: folder for a checkpoint after each epoch.
            resume: go on from the checkpoint in `run_dir`, if there is one; the result is that of an unbroken run.
            on_error: "raise" stops at the first faulty line of a file; "skip" leaves out such lines, and ids that the
                news file lacks, and logs how many.
            negatives: how negatives are drawn, a name or a strategy of one's own as those of `data/sampling.py`; what
                `hparams.negatives` says where left out.
            callbacks: more Keras callbacks; they find the evaluation as `val_group_auc`, ….
            verbose: as in `keras.Model.fit`.

        Raises:
            DataFormatError: a file is missing or damaged, or the training log has nothing to train on.
            RecommendersMinerError: the checkpoint is of another run.
            HParamsError: there is nothing to select an epoch by.
            ValueError: `resume` without `run_dir`, or a news file without its behaviors file.
        """
        if resume and run_dir is None:
            raise ValueError("resume needs run_dir, the folder of the run to go on with.")
        keep_freed_memory()
        files = {"val": (valid_news_file, valid_behaviors_file), "test": (test_news_file, test_behaviors_file)}
        files = training.paired(files)
        data, held_out = self.train_iterator.load_training(train_news_file, train_behaviors_file, on_error)
        require_clicks(data.log, negatives or self.hparams.negatives)
        devices = Devices()
        if self.network is None:
            with devices.apart():
                self.build(self.train_iterator.vocabularies)
        devices.place(self.network)
        if (context := self.context_of(data)) is not None:
            self.go_on_from(context.counts())
        files = training.evaluable(files, functools.partial(self.read, on_error=on_error))
        prefix = "held_out" if held_out else "val" if "val" in files else None
        selection = training.Selection.of(self.hparams, prefix, run_dir if devices.is_first else None)
        batches = self.training_batches(data, negatives)
        self.compile(batches.steps_per_epoch * self.hparams.epochs)
        self._news_vectors = None  # updates are counted anew, and so may come to the same number
        self.throughput = training.Throughput(self.hparams.batch_size)
        identity = {} if run_dir is None else {"news": data.news.digest, "log": data.log.digest}
        identity |= {"model": type(self).__name__, "hparams": self.hparams.to_dict(), "seed": self.seed}
        checkpoint = training.TrainingCheckpoint(run_dir, identity, writes=devices.is_first)
        measure = held_out and (lambda: self.evaluate(held_out).metrics)
        run_eval = functools.partial(self.run_eval, on_error=on_error)
        ends = [training.epoch_evaluation(run_eval, files, measure, checkpoint), *callbacks, selection, checkpoint]
        epochs_done = checkpoint.restore(self.network) if resume else 0
        selection.restore(checkpoint.epoch_logs[: epochs_done if checkpoint.is_evaluated else -1])
        if not checkpoint.is_evaluated:  # the run ended in the evaluation of its last epoch, which is made now
            logs, again = checkpoint.epoch_logs[-1], (ends[0], selection, checkpoint)
            for end in again:
                end.set_model(self.network)
            for end in again:
                end.on_epoch_end(epochs_done - 1, logs)
        self.trained_on = list(dict.fromkeys([*self.trained_on, content_digest(train_behaviors_file)]))
        batches.first_step = epochs_done * batches.steps_per_epoch
        self.network.fit(
            batches.stream(),
            steps_per_epoch=batches.steps_per_epoch,
            initial_epoch=self.hparams.epochs if selection.has_ended else epochs_done,
            epochs=self.hparams.epochs,
            callbacks=[self.throughput, *ends],
            shuffle=False,
            verbose=verbose,
        )
        self.history = checkpoint.epoch_logs
        selection.take(self.network)
        self.set_news(data.news)
        return self

    def training_batches(
        self, data: Dataset, negatives: str | Callable[[ImpressionLog], Draw] | None = None
    ) -> TrainingBatches:
        """Return the stream of training steps of a data set; in fixed shapes where the backend needs them."""
        devices = Devices()
        options = {
            "static_shapes": keras.backend.backend() != "tensorflow",
            "negatives": negatives,
            "shards": devices.shards,
            "own_shards": devices.own,
            "context": self.context_of(data),
            "hops": self.network.news_encoder.hops,
        }
        return self.train_iterator.batches(data, self.network_features(data), self.seed, **options)

    def compile(self, total_steps: int) -> None:
        """Compile the network with Adam, for a run of some training steps, and the loss that `hparams.loss` names.

        `cross_entropy_loss` is NCE over a click and the negatives beside it (MINER, Eq. 6); `log_loss` takes every
        candidate by itself. Candidates that only fill a shape have a score of -1e9 and add nothing to either.
        """
        loss = _LOSSES[self.hparams.loss](from_logits=True, reduction="mean_with_sample_weight")
        self.network.compile(make_optimizer(self.hparams, self.network, total_steps), loss)

    # === Evaluation ===

    @property
    def log_scorer(self) -> LogScorer:
        """What encodes articles and users, and scores them, in bulk."""
        self.require_built()
        return self._scorer

    def run_eval(
        self, news_filename: str | Path, behaviors_file: str | Path, on_error: OnError = "raise"
    ) -> dict[str, float]:
        """Evaluate on a pair of files; `on_error` is as in `fit`.

        Returns:
            `group_auc`, `mean_mrr`, `ndcg@5`, `ndcg@10`, or what `hparams.metrics` lists; means over the impressions
            that have both a click and a non-click.

        Raises:
            DataFormatError: a file is missing or damaged, or no impression has both a click and a non-click.
        """
        return self.evaluate(self.read(news_filename, behaviors_file, on_error)).metrics

    def evaluate(self, data: Dataset) -> Evaluation:
        """Evaluate on a data set that `read` gave: metrics, their standard errors, and the impressions left out.

        Raises:
            DataFormatError: no impression has both a click and a non-click.
        """
        data.log.require("evaluate on")
        return evaluate_scores(self.score_log(data), data.log.labels, data.log.candidates.offsets, self.hparams.metrics)

    def read(self, news_file: str | Path, behaviors_file: str | Path, on_error: OnError = "raise") -> Dataset:
        """Read a pair of files for this model to score; `on_error` is as in `fit`."""
        self.require_built()
        return self.test_iterator.load(news_file, behaviors_file, on_error)

    def network_features(self, data: Dataset) -> dict[str, np.ndarray]:
        """Return what the network reads of a data set's news: arrays of N+1 rows by name."""
        self.require_built()
        return self.network.prepare(data.features)

    def score_log(self, data: Dataset, progress: Callable[[float], None] | None = None) -> np.ndarray:
        """Score every candidate of a log: (candidates,) float32, in the order of `data.log.candidates`.

        Raises:
            RecommendersMinerError: the scores are no numbers.
        """
        scores = score_together(
            Devices(), self.log_scorer, self.network_features(data), data, self.context_of(data), progress
        )
        if unusable := np.count_nonzero(~np.isfinite(scores)):
            raise RecommendersMinerError(
                f"{unusable:,} of {len(scores):,} scores of the model are NaN or infinite: its training has diverged. "
                "Train it anew with a smaller learning_rate, or with clip_norm=1.0."
            )
        return scores

    def context_of(self, data: Dataset) -> Context | None:
        """Return the context of a data set, with the columns that the network reads, None where there are none."""
        self.require_built()
        return data.context.only(self.network.context) if self.network.context else None

    # === Saving ===

    def save(self, folder: str | Path) -> None:
        """Write the model to a folder: see `saving.save_model`."""
        self.require_built()
        save_model(self, folder)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Load a model that `save` wrote; it scores exactly as the saved one did.

        Raises:
            RecommendersMinerError: the folder holds no saved model, a damaged one, or one of another class.
        """
        model = load_model(folder)
        if not isinstance(model, cls):
            raise RecommendersMinerError(f"{folder}: holds a {type(model).__name__}, not a {cls.__name__}.")
        return model


Model = TypeVar("Model", bound=type[BaseModel])


def register(name: str, *, paper: str, year: int) -> Callable[[Model], Model]:
    """Register the decorated model under the name that the hyperparameter `model_type` takes.

    Args:
        name: the name; a YAML file of this name in `hparams/` has the settings of its paper.
        paper: authors, title and venue.
        year: of publication.
    """

    def decorate(cls: Model) -> Model:
        cls.name, cls.paper, cls.year = name, paper, year
        MODELS[name] = cls
        return cls

    return decorate
