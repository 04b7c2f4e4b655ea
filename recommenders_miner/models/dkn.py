"""DKN: Wang et al., "DKN: Deep Knowledge-Aware Network for News Recommendation", WWW 2018."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.errors import NoVectorError
from recommenders_miner.hparams import HParams
from recommenders_miner.layers import CandidateAttention
from recommenders_miner.models.base_model import BaseModel
from recommenders_miner.models.initial_vectors import InitialVectors
from recommenders_miner.models.network import ClickPredictor, NewsRecommender, UserEncoder
from recommenders_miner.models.news_encoders import title_encoder


@keras.saving.register_keras_serializable(package="recommenders_miner")
class DKNUserEncoder(UserEncoder):
    """The clicked news as they are: only a candidate makes a user of them (Section 4.4)."""

    def encode_history(self, history: dict[str, Any], mask: Any, user: Any, training: bool | None = None) -> Any:
        """Returns `clicked` (B, M, d) and `mask` (B, M) bool."""
        return {"clicked": history["vector"], "mask": mask}

    def user_vectors(self, history: dict[str, Any], mask: Any, user: Any) -> Any:
        """Raises `NoVectorError`: there is no user without a candidate."""
        raise NoVectorError("DKN's user depends on the candidate: there is no user vector by itself.")


@keras.saving.register_keras_serializable(package="recommenders_miner")
class DKNClickPredictor(ClickPredictor):
    """The user as the candidate sees it, and a network over both: `s = G([Σ_j w_cj e(t_j); e(t_c)])` (Section 4.4).

    What goes into the two networks is layer-normalised, which the paper does not say. Max-pooled features all lie on
    one side of zero, and without this the networks took seven epochs of the demo to notice that titles can be alike.

    Args:
        attention_dim: hidden dimension of the attention network H.
        layer_sizes: hidden layers of the network G.
    """

    candidates_at_once = 4096  # every candidate meets every click in the attention network
    not_searchable = "its user depends on the candidate"

    def __init__(self, attention_dim: int = 100, layer_sizes: Sequence[int] = (100,), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = {"attention_dim": attention_dim, "layer_sizes": list(layer_sizes)}
        self.news_norm = keras.layers.LayerNormalization(dtype=self.dtype_policy)
        self.user_norm = keras.layers.LayerNormalization(dtype=self.dtype_policy)
        self.attention = CandidateAttention(attention_dim, dtype=self.dtype_policy)
        self.hidden = [keras.layers.Dense(size, activation="relu", dtype=self.dtype_policy) for size in layer_sizes]
        self.score = keras.layers.Dense(1, dtype="float32")

    def call(self, users: Any, candidates: dict[str, Any], mask: Any = None, training: bool | None = None) -> Any:
        """Returns scores (B, C)."""
        clicked, candidate = self.news_norm(users["clicked"]), self.news_norm(candidates["vector"])
        user = self.attention(clicked, candidate, mask=users["mask"])
        both = ops.concatenate([self.user_norm(user), candidate], axis=-1)
        for layer in self.hidden:
            both = layer(both)
        return ops.squeeze(self.score(both), axis=-1)

    def attention_weights(self, users: Any, candidates: dict[str, Any]) -> Any:
        """Returns the weights w_cj that a candidate gives the clicked news, (B, C, 1, M)."""
        clicked, candidate = self.news_norm(users["clicked"]), self.news_norm(candidates["vector"])
        _, weights = self.attention(clicked, candidate, mask=users["mask"], return_weights=True)
        return weights[:, :, None, :]


class DKNModel(BaseModel):
    """DKN: titles as words, entities and their contexts (`KnowledgeCNNEncoder`); users as each candidate sees them.

    The paper's settings: 100-d words and entities (TransD), 100 filters of each width 1 to 4, Adam on the log loss of
    clicks and as many non-clicks. Here the loss is that of all the systems, one click against 4 non-clicks, and
    entities have the vectors of MIND (TransE). MIND names no triples, so an entity's context is the mean of the
    entities that share a training news with it, in title or abstract, unless `entity_graph` names a file of triples.
    """

    def build_network(self, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsRecommender:
        """Returns the untrained network."""
        return NewsRecommender(
            news_encoder=title_encoder(hparams, vocabularies, vectors),
            user_encoder=DKNUserEncoder(),
            click_predictor=DKNClickPredictor(hparams.attention_hidden_dim, hparams.layer_sizes),
        )
