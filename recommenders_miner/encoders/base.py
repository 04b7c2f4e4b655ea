"""What all news encoders have in common, and how one is made of hyperparameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
from keras import ops

from recommenders_miner.data.features import FEATURES, NewsFeatures
from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.encoders.initial_vectors import InitialVectors
from recommenders_miner.errors import HParamsError
from recommenders_miner.hparams import ENCODERS, HParams
from recommenders_miner.layers import CompositeLayer, News, Tensor


class NewsEncoder(CompositeLayer):
    """What turns the features of an article into its vector; the encoders are its subclasses.

    Attributes:
        hparams_class: of the class: its hyperparameters.
        features: names of the features that `call` reads.
        dim: dimension d of a news vector.
        gives_vectors: of the class: whether `call` returns a vector of each article.
        pretrained_weights: weights that come from a pretrained language model.
        related: the feature that says which articles an article learns from, of kind `rows`; none where empty.
        message: what it learns of each of them: an array of those that `call` returns.
        hops: how often it does; after k times it knows of articles that are k steps away.
    """

    hparams_class: ClassVar[type[HParams]] = HParams
    features: tuple[str, ...] = ()
    dim: int
    gives_vectors: ClassVar[bool] = True
    pretrained_weights: Sequence[Any] = ()
    related, message, hops = "", "", 0

    @classmethod
    def from_hparams(cls, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsEncoder:
        """Make an untrained encoder: its sizes, the rows of its embeddings, and what these start from.

        Raises:
            HParamsError: it needs a hyperparameter that is not given.
        """
        raise HParamsError(f"news_encoder: {hparams.news_encoder!r} gives no news vectors, which this model needs.")

    @classmethod
    def pretrained(cls, hparams: HParams) -> NewsEncoder | None:
        """Return what is loaded before anything is drawn at random; None where nothing is."""
        return None

    @classmethod
    def reads(cls, hparams: HParams) -> tuple[str, ...]:
        """Return the features that such an encoder is made of."""
        return cls.features

    def prepare(self, features: NewsFeatures) -> dict[str, np.ndarray]:
        """Return what `call` reads, of a whole table, arrays of N+1 rows by name; what training never changes, once."""
        return {name: features[name] for name in self.features}

    def put(self, news: News, places: Tensor, vector: Tensor) -> News:
        """Return encoded articles (B, M) that have a vector (d,) in the place of their own at `places` (B, M) bool."""
        own = news["vector"]
        return {**news, "vector": ops.where(places[..., None], ops.cast(vector, own.dtype), own)}

    def example(self) -> News:
        """Return what `call` reads, of one article of two words, related to none; to create the weights with."""
        kinds = {name: FEATURES[name].kind for name in self.features}
        shapes = {name: (1, 2) if kind in ("tokens", "rows") else (1,) for name, kind in kinds.items()}
        return {name: ops.full(shapes[name], int(kind != "rows"), "int32") for name, kind in kinds.items()}

    def call(self, features: News, training: bool | None = None) -> Tensor:
        """Return what user encoder and click predictor see of U articles, whose features come as arrays of U rows.

        Returns:
            (U, d) vectors; or a dict of arrays of U rows, where more or something else than a vector is needed.
        """
        raise NotImplementedError

    def relate(self, news: News, messages: Tensor, hop: int) -> News:
        """Return encoded articles after they learnt once more from those that are related to them.

        Args:
            news: what `call`, or `relate` before, returned of R articles, and columns, which are to be kept.
            messages: `message` of the articles that each is related to, (R, length, …), of any where there is none.
            hop: how often they did so before. The last time it returns what user encoder and click predictor see.
        """
        raise NotImplementedError


Encoder = TypeVar("Encoder", bound=type[NewsEncoder])


def news_encoder(name: str, hparams: type[HParams] = HParams) -> Callable[[Encoder], Encoder]:
    """Register the decorated class, with its hyperparameters, under the name that `news_encoder` takes."""

    def decorate(cls: Encoder) -> Encoder:
        ENCODERS[name], cls.hparams_class = cls, hparams
        return cls

    return decorate


def build_encoder(hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsEncoder:
    """Return the encoder that `hparams.news_encoder` names; see `NewsEncoder.from_hparams`."""
    return ENCODERS[hparams.news_encoder].from_hparams(hparams, vocabularies, vectors)
