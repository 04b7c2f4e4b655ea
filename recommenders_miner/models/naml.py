"""NAML: Wu et al., "Neural News Recommendation with Attentive Multi-View Learning", IJCAI 2019."""

from __future__ import annotations

from typing import Any

import keras

from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.hparams import HParams
from recommenders_miner.layers import AdditiveAttention
from recommenders_miner.models.base_model import BaseModel
from recommenders_miner.models.initial_vectors import InitialVectors
from recommenders_miner.models.network import NewsRecommender, UserEncoder
from recommenders_miner.models.news_encoders import title_encoder


@keras.saving.register_keras_serializable(package="recommenders_miner")
class NAMLUserEncoder(UserEncoder):
    """The clicked news, pooled by additive attention (Section 3.2).

    Args:
        attention_dim: hidden dimension of the additive attention.
    """

    def __init__(self, attention_dim: int = 200, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = {"attention_dim": attention_dim}
        self.pooling = AdditiveAttention(attention_dim, dtype=self.dtype_policy)

    def encode_history(self, history: dict[str, Any], mask: Any, user: Any, training: bool | None = None) -> Any:
        """Returns user vectors (B, d); zero for an empty history."""
        return self.pooling(history["vector"], mask=mask)

    def attention_weights(self, history: dict[str, Any], mask: Any, user: Any, candidates: dict[str, Any]) -> Any:
        """Returns the attention weights of the clicked news, (B, 1, 1, M)."""
        _, weights = self.pooling(history["vector"], mask=mask, return_weights=True)
        return weights[:, None, None, :]


class NAMLModel(BaseModel):
    """NAML: news from title, abstract, category and subcategory (`MultiViewEncoder`); the score is a dot product.

    The paper's settings: 300-d GloVe words, 400 filters of window 3, category embeddings of 100, attention 200, dropout
    20 %, 4 negatives, Adam. Where a news has no abstract, its view is left out here; the paper does not say.
    """

    def build_network(self, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsRecommender:
        """Returns the untrained network."""
        return NewsRecommender(
            news_encoder=title_encoder(hparams, vocabularies, vectors),
            user_encoder=NAMLUserEncoder(hparams.attention_hidden_dim),
        )
