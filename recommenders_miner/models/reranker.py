"""A second stage: boosted trees over a model's scores and the context, fitted on what the model was not trained on.

A neural model knows what users like; what is read at this moment it can hardly know. Trees that see its score beside
the context join the two, as did the winners of the RecSys Challenge 2024 (Fujikawa, Murakami and Sugawara, *Enhancing
News Recommendation with Transformers and Ensemble Learning*, RecSysChallenge 2024). A model scores the impressions that
it was trained on better than others, and trees fitted on these would trust it too much: they are fitted on what
`held_out` kept from the training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from threadpoolctl import threadpool_limits

from recommenders_miner.data.context import CONTEXT, Context
from recommenders_miner.data.counts import Past
from recommenders_miner.data.folders import Split
from recommenders_miner.data.iterator import Dataset
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.data.tsv import OnError, content_digest
from recommenders_miner.errors import DataFormatError, HParamsError, RecommendersMinerError
from recommenders_miner.evaluation.metrics import mean_ranks
from recommenders_miner.hparams import HParams
from recommenders_miner.layers import weights_digest
from recommenders_miner.models.base import BaseModel
from recommenders_miner.models.saving import load_model, require_plain
from recommenders_miner.storage import atomic_write

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier

FILE = "reranker.npz"

COLUMNS = ("score", "score_rank", *CONTEXT)
"""What the trees see of a candidate: the model's score, its rank in the impression, and the columns of `CONTEXT`.

The rank is from 0, the highest score, to 1; candidates with the same score share the mean of theirs.
"""

DEPTH = 3
_SETTINGS = {"max_iter": 100, "learning_rate": 0.05, "max_depth": DEPTH, "min_samples_leaf": 50}


@dataclass(frozen=True)
class Trees:
    """Binary trees of equal depth D whose values add up, T of them; node i is followed by 2i + 1 and 2i + 2.

    Attributes:
        feature: the column that each inner node looks at, (T, 2^D - 1) int32.
        threshold: the largest value that goes to the first of the two that follow, (T, 2^D - 1) float64.
        value: of each leaf, (T, 2^D) float64.
    """

    feature: np.ndarray
    threshold: np.ndarray
    value: np.ndarray

    @classmethod
    def of(cls, classifier: HistGradientBoostingClassifier) -> Self:
        """Take the trees of a fitted classifier of two classes, whose depth is at most `DEPTH`."""
        predictors = [tree.nodes for [tree] in classifier._predictors]
        feature = np.zeros((len(predictors), 2**DEPTH - 1), "int32")
        threshold = np.full(feature.shape, np.inf)
        value = np.zeros((len(predictors), 2**DEPTH))
        for tree, nodes in enumerate(predictors):
            places = {0: 0}  # of scikit-learn's nodes among ours
            for number, node in enumerate(nodes):  # a node stands before those that follow it
                place = places[number]
                if node["is_leaf"]:
                    while place < len(feature[tree]):  # all that comes so far goes to the left
                        place = 2 * place + 1
                    value[tree, place - len(feature[tree])] = node["value"]
                else:
                    feature[tree, place], threshold[tree, place] = node["feature_idx"], node["num_threshold"]
                    places |= {int(node["left"]): 2 * place + 1, int(node["right"]): 2 * place + 2}
        value[0] += classifier._baseline_prediction.item()
        return cls(feature, threshold, value)

    def __call__(self, columns: np.ndarray) -> np.ndarray:
        """Add up the values of the leaves that candidates reach: (n, columns) float64 to (n,) float64."""
        count = len(columns)
        by_column = np.ascontiguousarray(columns.T).ravel()
        total, places = np.zeros(count), np.arange(count)
        for feature, threshold, value in zip(self.feature, self.threshold, self.value, strict=True):
            node = np.zeros(count, np.intp)
            for _ in range(DEPTH):
                goes_right = by_column[feature[node] * count + places] > threshold[node]
                node = 2 * node + 1 + goes_right
            total += value[node - len(feature)]
        return total


@dataclass(frozen=True)
class BoostedReranker:
    """Scores candidates by boosted trees over a model's scores and the context of the impression.

    Example:
        reranker = BoostedReranker.fit(model, "train/news.tsv", "train/behaviors.tsv")  # trained with held_out
        scores = reranker.score(model.read("dev/news.tsv", "dev/behaviors.tsv"))
        model.save("saved")
        reranker.save("saved")
        BoostedReranker.load("saved")

    Attributes:
        model: the model whose scores are read.
        trees: the trees, over `COLUMNS`.
        counts: of the training log, which the context of what is scored goes on from.
    """

    model: BaseModel
    trees: Trees
    counts: Past

    @classmethod
    def fit(
        cls,
        model: BaseModel,
        train_news_file: str | Path,
        train_behaviors_file: str | Path,
        max_impressions: int = 100_000,
        progress: Callable[[float], None] | None = None,
        on_error: OnError = "raise",
    ) -> Self:
        """Fit trees on the impressions that were held out when the model was trained on some files.

        The context counts all that the files say, up to each impression. Clicks and non-clicks of each impression weigh
        the same, in all impressions alike; those without both are left out. The same model and files give the same
        trees.

        Args:
            model: a model trained with `held_out`, or loaded.
            train_news_file: the news.tsv that it was trained on.
            train_behaviors_file: its behaviors.tsv.
            max_impressions: of what was held out, if it is more, so many at most are drawn.
            progress: told the share of the scoring that is done.
            on_error: as in the model's training.

        Raises:
            HParamsError: nothing was held out.
            RecommendersMinerError: the model was trained on other files, or on more.
            DataFormatError: a file is missing or damaged.
        """
        from sklearn.ensemble import HistGradientBoostingClassifier  # takes a second to import

        require_held_out(model.hparams)
        model.require_built()
        _, held_out = model.train_iterator.load_training(train_news_file, train_behaviors_file, on_error)
        if model.trained_on != [content_digest(train_behaviors_file)]:
            raise RecommendersMinerError(
                f"{train_behaviors_file}: is not what the {type(model).__name__} was trained on, or not all of it: "
                "nobody knows which impressions it has not seen. Take the file of its training, or train it anew."
            )
        data = _useful(model, held_out, max_impressions)
        columns = np.concatenate(list(_columns(model.score_log(data, progress), data.context)))
        shown, clicked = data.log.candidates, data.log.labels == 1
        clicks = data.log.clicks
        weight = 1 / np.where(clicked, shown.repeat(clicks), shown.repeat(shown.lengths - clicks))
        classifier = HistGradientBoostingClassifier(**_SETTINGS, early_stopping=False, random_state=0)
        with threadpool_limits(1, "openmp"):  # threads that wait for each other are slow beside other work
            classifier.fit(columns, clicked, sample_weight=weight / weight.mean())
        return cls(model, Trees.of(classifier), data.context.counts())

    def score(
        self, data: Dataset, scores: np.ndarray | None = None, progress: Callable[[float], None] | None = None
    ) -> np.ndarray:
        """Score every candidate of a log, in the order of `data.log.candidates`.

        Args:
            data: what `model.read` gave.
            scores: the model's own, (candidates,), where they are there already.
            progress: told the share of the model's scoring that is done.

        Returns:
            (candidates,) float64: the log odds of a click, were clicks and non-clicks equally many.
        """
        scores = self.model.score_log(data, progress) if scores is None else scores
        context = replace(data, earlier=self.counts).context
        return np.concatenate([self.trees(columns) for columns in _columns(scores, context)])

    # === Saving ===

    def save(self, folder: str | Path) -> None:
        """Write trees and counts to `reranker.npz` in a folder, beside the saved model.

        Raises:
            NotWrittenError: the disk is full, or the folder may not be written to; what it held still stands.
        """
        arrays = {
            "columns": np.array(COLUMNS),
            "model": np.array(weights_digest(self.model.network.weights)),
            **vars(self.trees),
        }
        with atomic_write(Path(folder) / FILE) as partial, open(partial, "wb") as file:
            np.savez_compressed(file, **arrays, **self.counts.arrays())

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Load a reranker and the model beside it; it scores exactly as the saved one did. Nothing in it is run.

        Raises:
            RecommendersMinerError: the folder holds no saved model, or no reranker.
            DataFormatError: it is damaged, or of another model or version.
        """
        path, model = Path(folder) / FILE, load_model(folder)
        if not path.is_file():
            raise RecommendersMinerError(
                f"{folder}: holds no reranker ({FILE} is missing). Fit one, and save it there."
            )
        try:
            require_plain(path)
            with np.load(path, allow_pickle=False) as found:
                arrays = dict(found)
            if arrays["model"].item() != weights_digest(model.network.weights):
                raise ValueError("it is of another model than the one beside it")
            if arrays["columns"].tolist() != list(COLUMNS):
                raise ValueError("it is of another version of the package")
            trees = Trees(*(arrays[name] for name in ("feature", "threshold", "value")))
            shapes, count = [array.shape for array in vars(trees).values()], len(trees.value)
            if shapes != [(count, 2**DEPTH - 1)] * 2 + [(count, 2**DEPTH)]:
                raise ValueError("its arrays do not go together")
            if not np.isin(trees.feature, range(len(COLUMNS))).all():
                raise ValueError("it looks at a column that there is none of")
            return cls(model, trees, Past.of_arrays(arrays))
        except Exception as error:  # numpy and zipfile let through whatever damaged files lead them into
            remedy = f"Delete {FILE}, and fit it again."
            raise DataFormatError(path, f"not a readable reranker ({error}).", remedy=remedy) from error

    @classmethod
    def beside(
        cls,
        folder: str | Path,
        data_dir: str | Path,
        progress: Callable[[float], None] | None = None,
        on_error: OnError = "raise",
    ) -> Self:
        """Load the reranker beside a saved model; where there is none, fit it on `data_dir/train` and keep it there.

        Raises:
            Exception: as `load`, or as `fit` and `save`.
        """
        if (Path(folder) / FILE).exists():
            return cls.load(folder)
        files = Split.find(data_dir, "train")
        reranker = cls.fit(load_model(folder), files.news, files.behaviors, progress=progress, on_error=on_error)
        reranker.save(folder)
        return reranker


def require_held_out(hparams: HParams) -> None:
    """Refuse the hyperparameters of a model that no reranker could be fitted for: `HParamsError`."""
    if hparams.held_out == "none":
        raise HParamsError(
            "held_out: a reranker is fitted on impressions that its model was not trained on, and for "
            f"{hparams.model_type} there are none. Train it with held_out=users, or last_day."
        )


def _useful(model: BaseModel, data: Dataset, at_most: int) -> Dataset:
    """Return a data set of the impressions that have both a click and a non-click, of at most so many of them."""
    rows = np.flatnonzero(data.log.has_both)
    if len(rows) > at_most:
        rows = np.sort(np.random.default_rng(0).choice(rows, at_most, replace=False))
    log = data.log.select(rows)
    users = np.array(model.vocabularies.users.encode(log.users.to_pylist()), "int32")
    return replace(data, log=log, users=users)


def _columns(scores: np.ndarray, context: Context) -> Iterator[np.ndarray]:
    """Yield `COLUMNS` of a part of a log's candidates after another: (n, columns) float32, of scores (candidates,)."""
    shown = context.log.candidates
    rank = (-mean_ranks([Ragged(scores, shown.offsets)]).values - 0.5) / shown.repeat(shown.lengths)
    for place, known in context.parts():
        yield np.concatenate([scores[place, None], rank[place, None], known], axis=1, dtype="float32")
