"""HieRec's news encoder, which knows the entities of a title."""

from __future__ import annotations

from typing import Any

import keras

from recommenders_miner.encoders.news_encoder import NewsEncoder
from recommenders_miner.encoders.self_attention_encoder import SelfAttentionEncoder


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

    def __init__(self, text: SelfAttentionEncoder, entities: SelfAttentionEncoder, dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = {"dim": dim}
        self.text, self.entities, self.dim = text, entities, dim
        self.features = (*text.features, *entities.features)
        self.text_projection = keras.layers.Dense(dim, use_bias=False, dtype=self.dtype_policy)
        self.entity_projection = keras.layers.Dense(dim, use_bias=False, dtype=self.dtype_policy)

    def call(self, features: dict[str, Any], training: bool | None = None) -> Any:
        """See the class for the shapes."""
        text = self.text_projection(self.text(features, training=training))
        return text + self.entity_projection(self.entities(features, training=training))
