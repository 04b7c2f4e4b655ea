"""GLORY: Yang et al., "Going Beyond Local: Global Graph-Enhanced Personalized News Recommendations", RecSys 2023."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from recommenders_miner.data.features import NewsFeatures
from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.encoders import (
    ConcatenatedEncoder,
    InitialVectors,
    KnowledgeHParams,
    NewsEncoder,
    TokenVectors,
)
from recommenders_miner.hparams import HParams, hparam
from recommenders_miner.layers import AdditiveAttention, CompositeLayer, News, SelfAttention, Tensor
from recommenders_miner.models.base import register
from recommenders_miner.models.network import UserEncoder
from recommenders_miner.models.nrms import NRMSModel, NRMSUserEncoder


class GLORYHParams(KnowledgeHParams):
    """Hyperparameters of GLORY's graphs."""

    graph_neighbours: int = hparam("data", 8, "articles clicked right before an article that it learns from", ge=1)
    entity_neighbours: int = hparam("data", 10, "entities around an entity that are read", ge=1)
    graph_hops: int = hparam("model", 2, "how far an article sees in the click graph", ge=1)


class EntityEncoder(CompositeLayer):
    """Entities that attend to each other, pooled: of vectors (U, T, e) and a mask (U, T), (U, dim); zero for none."""

    def __init__(self, dim: int, num_heads: int, head_dim: int, attention_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.self_attention = SelfAttention(num_heads, head_dim, dtype=self.dtype_policy)
        self.pooling = AdditiveAttention(attention_dim, dtype=self.dtype_policy)
        self.projection = keras.layers.Dense(dim, use_bias=False, dtype=self.dtype_policy)

    def call(self, entities: Tensor, mask: Tensor) -> Tensor:
        """See the class for the shapes."""
        pooled = self.pooling(self.self_attention(entities, mask=mask), mask=mask)
        return ops.leaky_relu(self.projection(pooled), 0.2)


class GLORYNewsEncoder(ConcatenatedEncoder):
    """An article as a click and as a candidate, by its title, the global click graph and its entities.

    The title's vector h comes from the news encoder within. Local entities e are those of the title, global ones g^e
    those that the click graph joins to them (`ClickGraph`):

        e = LeakyReLU(W^l attended(entities)),   g^e = LeakyReLU(W^g attended(entities around them))

    Gated graph neural network (Li et al., ICLR 2016) over the click graph, K hops from articles to what was clicked
    right after them; B(i) are the neighbours that were clicked right before i:

        g_i^0 = h_i,   g_i^{k+1} = GRU(W_k Σ_{j in B(i)} g_j^k, g_i^k)

    Historical and candidate news aggregator, by additive attention over these views:

        clicked   = attention([h; g^K; e])
        candidate = LeakyReLU(W attention([h; e; g^e]) + b)

    A view of entities that an article has none of is left out of the attention.
    """

    related, message = "clicked_before", "graph"

    def __init__(
        self,
        title: NewsEncoder,
        entities: TokenVectors,
        heads: tuple[int, int] = (5, 20),
        attention_dim: int = 200,
        hops: int = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__([title], **kwargs)
        self.entities, self.hops = entities, hops
        self.own = ("entities", "related_entities", self.related)
        self.features = tuple(dict.fromkeys((*self.features, *self.own)))
        dense = keras.layers.Dense
        self.local_entities, self.global_entities = (
            EntityEncoder(self.dim, *heads, attention_dim, dtype=self.dtype_policy) for _ in range(2)
        )
        self.steps = [dense(self.dim, use_bias=False, dtype=self.dtype_policy) for _ in range(hops)]
        self.gate = keras.layers.GRUCell(self.dim, dtype=self.dtype_policy)
        self.clicked_views, self.candidate_views = (
            AdditiveAttention(attention_dim, dtype=self.dtype_policy) for _ in range(2)
        )
        self.candidate = dense(self.dim, dtype=self.dtype_policy)

    def prepare(self, features: NewsFeatures) -> dict[str, np.ndarray]:
        """See `NewsEncoder.prepare`."""
        return {**super().prepare(features), **{name: features[name] for name in self.own}}

    def example(self) -> News:
        """See `NewsEncoder.example`."""
        return {**NewsEncoder.example(self), **super().example()}

    def put(self, news: News, places: Tensor, vector: Tensor) -> News:
        """See `NewsEncoder.put`: articles that were clicked."""
        own = news["clicked"]
        return {**news, "clicked": ops.where(places[..., None], ops.cast(vector, own.dtype), own)}

    def call(self, features: News, training: bool | None = None) -> News:
        """Return, of U articles, `vector` (U, d) as a candidate, and what the hops over the graph go on from."""
        title = super().call(features, training=training)
        local, is_named = self._entities(self.local_entities, features["entities"], training)
        around, has_more = self._entities(self.global_entities, features["related_entities"], training)
        views, seen = [title, local, around], [ops.ones_like(is_named), is_named, has_more]
        pooled = self.candidate_views(ops.stack(views, axis=1), mask=ops.stack(seen, axis=1))
        vector = ops.leaky_relu(self.candidate(pooled), 0.2)
        state = {"title_vector": title, "graph": title, "local": local, "is_named": is_named}
        return {"vector": vector, **state, self.related: features[self.related]}

    def _entities(self, encoder: EntityEncoder, ids: Tensor, training: bool | None) -> tuple[Tensor, Tensor]:
        """Return what an encoder makes of entities (U, T), and which articles have any, (U,) bool."""
        mask = ops.not_equal(ids, 0)
        return encoder(self.entities(ids, training=training), mask), ops.any(mask, axis=-1)

    def relate(self, news: News, messages: Tensor, hop: int) -> News:
        """See `NewsEncoder.relate`; the last hop gives `clicked` (R, d), and drops what only these hops need."""
        near = ops.cast(news[self.related] > 0, messages.dtype)
        message = self.steps[hop](ops.squeeze(ops.matmul(near[:, None, :], messages), axis=1))
        graph, _ = self.gate(message, [news["graph"]])
        if hop + 1 < self.hops:
            return {**news, "graph": graph}
        always, is_named = ops.ones_like(news["is_named"]), news["is_named"]
        views = ops.stack([news["title_vector"], graph, news["local"]], axis=1)
        clicked = self.clicked_views(views, mask=ops.stack([always, always, is_named], axis=1))
        done = {"title_vector", "graph", "local", "is_named", self.related}
        return {"clicked": clicked, **{name: array for name, array in news.items() if name not in done}}


class GLORYUserEncoder(NRMSUserEncoder):
    """The clicked articles, `clicked` of them, attend to each other, then are pooled by additive attention."""

    def encode_history(self, history: News, mask: Tensor, user: Tensor, training: bool | None = None) -> Tensor:
        """Return user vectors (B, num_heads · head_dim); zero for an empty history."""
        return super().encode_history({"vector": history["clicked"]}, mask, user, training=training)

    def attention_weights(self, history: News, mask: Tensor, user: Tensor, candidates: News) -> Tensor:
        """Return the weights of the clicks, (B, 1, 1, M), as `NRMSUserEncoder` does."""
        return super().attention_weights({"vector": history["clicked"]}, mask, user, candidates)


@register(
    "glory",
    paper="Yang et al., Going Beyond Local: Global Graph-Enhanced Personalized News Recommendations, RecSys",
    year=2023,
)
class GLORYModel(NRMSModel):
    """GLORY: clicked articles learn from those that others clicked before them; scored by dot product.

    The settings of the authors' code, those of glory.yaml: 300-d GloVe words, 100-d entities, 20 heads of 20, 8
    neighbours of an article, 2 hops, 10 neighbours of an entity, dropout 20 %, 4 negatives, batch 32, Adam.

    Where the code differs: its graph is cut out for each user, of the clicks and what is up to two steps away, all
    edges among them, over which the network passes three times; ours is one for all, of the nearest neighbours, and an
    article sees as far as there are hops. So an article has one vector as a click, which evaluation computes once. The
    code's graph has the news of train and dev; ours forgets a neighbour that the news table lacks. The code normalises
    the layers of titles and entities, and projects local entities alone.
    """

    hparams_class = GLORYHParams
    columns = ("entities", "related_entities", "clicked_before")

    def around(
        self, news_encoder: NewsEncoder, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors
    ) -> NewsEncoder:
        """Return the news encoder with graph and entities."""
        initializer, dim = vectors.entities()
        entities = TokenVectors(len(vocabularies.entities), dim, hparams.dropout, initializer)
        heads = hparams.entity_head_num or hparams.head_num, hparams.head_dim
        return GLORYNewsEncoder(news_encoder, entities, heads, hparams.attention_hidden_dim, hparams.graph_hops)

    def user_encoder(self, hparams: HParams) -> UserEncoder:
        """Return the untrained user encoder."""
        return GLORYUserEncoder(hparams.head_num, hparams.head_dim, hparams.attention_hidden_dim)
