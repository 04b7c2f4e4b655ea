"""HieRec's news encoder, which knows the entities of a title."""

from __future__ import annotations

from typing import Any

import keras

from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.encoders.base import NewsEncoder, news_encoder
from recommenders_miner.encoders.initial_vectors import InitialVectors
from recommenders_miner.encoders.title_encoders import (
    SelfAttentionEncoder,
    SelfAttentionHParams,
    TokenVectors,
)
from recommenders_miner.hparams import HParams, hparam


class EntityHParams(HParams):
    """Hyperparameters of encoders that read entities."""

    entity_embedding: str | None = hparam(
        "info", None, "file of entity vectors in MIND's format; also looked for beside the training news"
    )


class KnowledgeHParams(SelfAttentionHParams, EntityHParams):
    """Hyperparameters of HieRec's news encoder."""

    entity_size: int = hparam("data", 5, "entities of a title that are read", ge=1)
    news_dim: int | None = hparam("model", None, "dimension of a news vector; None: that of all heads", ge=1)


@news_encoder("knowledge", KnowledgeHParams)
@keras.saving.register_keras_serializable(package="recommenders_miner")
class KnowledgeEncoder(NewsEncoder):
    """A title's words and its entities, each attending to themselves and pooled: `h = W_t t + W_e e`.

    Qi et al., "HieRec: Hierarchical User Interest Modeling for Personalized News Recommendation", ACL 2021, Section
    3.3; MINER's ablation "without BERT" uses it.

    Args:
        text: encoder of the words.
        entities: encoder of the entities.
        dim: dimension d of a news vector.

    Call arguments:
        features: dict with `title` (U, L) and `entities` (U, E), int32, zeros behind.

    Returns:
        (U, d) news vectors; of a title without entities `W_t t`.
    """

    PARTS = ("text", "entities")
    features = ("title", "entities")

    def __init__(self, text: SelfAttentionEncoder, entities: SelfAttentionEncoder, dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = {"dim": dim}
        self.text, self.entities, self.dim = text, entities, dim
        self.features = (*text.features, *entities.features)
        self.text_projection = keras.layers.Dense(dim, use_bias=False, dtype=self.dtype_policy)
        self.entity_projection = keras.layers.Dense(dim, use_bias=False, dtype=self.dtype_policy)

    @classmethod
    def from_hparams(cls, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsEncoder:
        """See `NewsEncoder.from_hparams`."""
        text = SelfAttentionEncoder.from_hparams(hparams, vocabularies, vectors)
        initializer, dim = vectors.entities()
        entities = TokenVectors(len(vocabularies.entities), dim, hparams.dropout, initializer)
        dim = hparams.news_dim or hparams.head_num * hparams.head_dim
        return cls(text, SelfAttentionEncoder.over(entities, hparams, "entities"), dim)

    def call(self, features: dict[str, Any], training: bool | None = None) -> Any:
        """See the class for the shapes."""
        text = self.text_projection(self.text(features, training=training))
        return text + self.entity_projection(self.entities(features, training=training))
