"""Several views of an article joined in one vector: a language model's, trained words, labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import keras

from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.encoders.base import NewsEncoder, news_encoder
from recommenders_miner.encoders.initial_vectors import InitialVectors
from recommenders_miner.encoders.news_encoders import (
    CategoryEncoder,
    CategoryHParams,
    ConcatenatedEncoder,
    SelfAttentionEncoder,
    SelfAttentionHParams,
    word_vectors,
)
from recommenders_miner.encoders.plm_encoder import PLMEncoder, PLMHParams
from recommenders_miner.hparams import HParams, hparam
from recommenders_miner.layers import News, Tensor


class JoinedHParams(PLMHParams, SelfAttentionHParams, CategoryHParams):
    """Hyperparameters of joined views."""

    views: list[Literal["plm", "title", "abstract", "body", "category", "subcategory"]] = hparam(
        "model",
        ["plm", "title", "subcategory"],
        "what is joined: the language model, words of texts, labels",
        min_length=1,
    )
    body_size: int = hparam("data", 50, "words of an abstract, or a body, that are read", ge=1)


@news_encoder("joined", JoinedHParams)
class JoinedEncoder(ConcatenatedEncoder):
    """Views of an article, the `parts`, each projected to `dim` numbers and added: `h = Σ_v W_v x_v + b`.

    A frozen language model knows what words mean and nothing of what readers care for; trained words and labels learn
    that. Added, each view brings what it has, and one that an article lacks, as a title without known words, nothing.
    """

    def __init__(self, parts: Sequence[NewsEncoder], dim: int = 256, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(parts, **kwargs)
        self.dim = dim
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.projection = keras.layers.Dense(dim, dtype=self.dtype_policy)

    @classmethod
    def reads(cls, hparams: HParams) -> tuple[str, ...]:
        """Return the features that such an encoder is made of."""
        plm = PLMEncoder.reads(hparams)
        return tuple(name for view in hparams.views for name in (plm if view == "plm" else (view,)))

    @classmethod
    def pretrained(cls, hparams: HParams) -> NewsEncoder | None:
        """Load the language model that the hyperparameters name, if it is a view."""
        return PLMEncoder.pretrained(hparams.replace(news_dim=None)) if "plm" in hparams.views else None

    @classmethod
    def from_hparams(cls, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsEncoder:
        """See `NewsEncoder.from_hparams`."""
        parts: list[NewsEncoder] = []
        for view in hparams.views:
            match view:
                case "plm":
                    parts.append(PLMEncoder.from_hparams(hparams, vocabularies, vectors))
                case "title" | "abstract" | "body":
                    words = word_vectors(hparams, vocabularies, vectors)
                    parts.append(SelfAttentionEncoder.over(words, hparams, view))
                case "category":
                    parts.append(CategoryEncoder(view, len(vocabularies.categories), hparams.vert_emb_dim))
                case "subcategory":
                    parts.append(CategoryEncoder(view, len(vocabularies.subcategories), hparams.subvert_emb_dim))
        return cls(parts, hparams.news_dim or 256, hparams.dropout)

    def call(self, features: News, training: bool | None = None) -> Tensor:
        """See the class for the shapes."""
        views = super().call(features, training=training)
        return self.projection(self.dropout(views, training=training))
