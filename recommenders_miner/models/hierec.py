"""HieRec: Qi et al., "HieRec: Hierarchical User Interest Modeling for Personalized News Recommendation", ACL 2021."""

from __future__ import annotations

import functools
from typing import Any, Self

import keras
import pydantic
from keras import ops

from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.encoders import InitialVectors, build_encoder
from recommenders_miner.errors import HParamsError
from recommenders_miner.hparams import HParams, hparam
from recommenders_miner.layers import News, Tensor, masked_softmax
from recommenders_miner.models.base import BaseModel, register
from recommenders_miner.models.network import ClickPredictor, Interests, NewsRecommender, UserEncoder, Users


class HieRecHParams(HParams):
    """Hyperparameters of HieRec."""

    count_emb_dim: int = hparam("model", 128, "dimension of the embeddings of click counts", ge=1)
    topic_weight: float = hparam("model", 0.15, "λ_t, weight of the topic level", ge=0.0, le=1.0)
    subtopic_weight: float = hparam("model", 0.7, "λ_s, weight of the subtopic level", ge=0.0, le=1.0)
    news_dropout: float = hparam("model", 0.0, "share of the news vectors' numbers dropped in training", ge=0.0, lt=1.0)

    @pydantic.model_validator(mode="after")
    def _weights_are_shares(self) -> Self:
        if self.topic_weight + self.subtopic_weight > 1:
            problem = f"add up to more than 1: {self.topic_weight:g} and {self.subtopic_weight:g}."
            raise HParamsError(f"topic_weight, subtopic_weight: {problem} The user's own level has the rest.")
        return self


class HieRecUserEncoder(UserEncoder):
    """A tree of interests over the clicked articles: subtopics, topics of subtopics, the user (Section 3.1).

        u_s = Σ_{j in s} softmax(a^T h_j) h_j + e_s                  subtopic s, its clicks j
        z_t = Σ_{s in t} softmax(b^T u_s + φ(n_s)) u_s + e_t         topic t, its subtopics s
        g   = Σ_t softmax(c^T z_t + φ(n_t)) z_t                      the user

    n_s and n_t count the clicks, and φ scores an embedding of the count. A subtopic is a pair of category and
    subcategory. Interests stand at the positions of the history: an interest is that of the click's own subtopic or
    topic, and its first click stands for it where each must count once. Counts up to `max_clicks` have embeddings. In
    training a share `dropout` of the clicked vectors' numbers is dropped, as in the authors' code.
    """

    columns = ("category", "subcategory")

    def __init__(
        self,
        num_categories: int,
        num_subcategories: int,
        dim: int,
        max_clicks: int,
        count_dim: int,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        embedding = functools.partial(keras.layers.Embedding, dtype=self.dtype_policy)
        dense = functools.partial(keras.layers.Dense, dtype=self.dtype_policy)
        self.topic_embedding = embedding(num_categories, dim, embeddings_initializer="zeros")
        self.subtopic_embedding = embedding(num_subcategories, dim, embeddings_initializer="zeros")
        self.count_embedding = embedding(max_clicks + 1, count_dim)
        self.count_logit = dense(1)
        self.click_logit, self.subtopic_logit, self.topic_logit = (dense(1, use_bias=False) for _ in range(3))

    def encode_history(self, history: News, mask: Tensor, user: Tensor, training: bool | None = None) -> Users:
        """Return the interests and what a candidate finds its own by.

        Returns:
            `subtopic` and `topic` (B, M, d), the interest at each position; their shares of all clicks
            `subtopic_share` and `topic_share` (B, M) float32, zero but at the first click of each; `category` and
            `subcategory` (B, M) int32; `vector` (B, d), the user, zero for an empty history.
        """
        clicked = self.dropout(history["vector"], training=training)
        return self._tree({**history, "vector": clicked}, mask)[0]

    def attention_weights(self, history: News, mask: Tensor, user: Tensor, candidates: News) -> Tensor:
        """Return the shares of the clicks in the candidate's subtopic, its topic and the user, (B, C, 3, M).

        They are the products of the levels' attention weights down to the clicks. Where the user clicked none of the
        candidate's subtopic or topic, there is no such interest, and all its shares are zero.
        """
        users, (clicks, subtopics, topics) = self._tree(history, mask)
        own_subtopic, own_topic = (ops.cast(share > 0, "float32") for share in _own_shares(users, candidates))
        in_topics = ops.matmul(subtopics, clicks)
        in_user = ops.broadcast_to(ops.matmul(topics, in_topics), ops.shape(own_topic))
        return ops.stack([ops.matmul(own_subtopic, clicks), ops.matmul(own_topic, in_topics), in_user], axis=2)

    def _tree(self, history: News, mask: Tensor) -> tuple[dict[str, Any], tuple[Tensor, Tensor, Tensor]]:
        """What `encode_history` returns, and the attention of subtopics to clicks, topics to subtopics, user to topics.

        The first two are (B, M, M), a row for the interest at each position; the last is (B, 1, M).
        """
        category, subcategory = history["category"], history["subcategory"]
        same_topic = ops.equal(category[:, :, None], category[:, None, :]) & mask[:, None, :] & mask[:, :, None]
        same_subtopic = same_topic & ops.equal(subcategory[:, :, None], subcategory[:, None, :])
        first_of_topic, first_of_subtopic = _is_first(same_topic) & mask, _is_first(same_subtopic) & mask

        clicks = history["vector"]
        subtopic, to_clicks = self._pool(clicks, self.click_logit(clicks), same_subtopic)
        subtopic = subtopic + self.subtopic_embedding(subcategory)
        subtopic_count, topic_count = (ops.sum(ops.cast(same, "int32"), -1) for same in (same_subtopic, same_topic))
        logit = self.subtopic_logit(subtopic) + self._count_logit(subtopic_count)
        topic, to_subtopics = self._pool(subtopic, logit, same_topic & first_of_subtopic[:, None, :])
        topic = topic + self.topic_embedding(category)
        logit = self.topic_logit(topic) + self._count_logit(topic_count)
        whole, to_topics = self._pool(topic, logit, first_of_topic[:, None, :])

        clicked = ops.maximum(ops.sum(ops.cast(mask, "float32"), axis=-1, keepdims=True), 1.0)
        users = {
            "subtopic": subtopic,
            "topic": topic,
            "vector": whole[:, 0],
            "category": category,
            "subcategory": subcategory,
            "subtopic_share": ops.cast(first_of_subtopic, "float32") * ops.cast(subtopic_count, "float32") / clicked,
            "topic_share": ops.cast(first_of_topic, "float32") * ops.cast(topic_count, "float32") / clicked,
        }
        return users, (to_clicks, to_subtopics, to_topics)

    def _pool(self, values: Tensor, logits: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
        """Pool (B, M, d) by logits (B, M, 1) over each row of `members` (B, R, M): (B, R, d), and weights (B, R, M)."""
        weights = masked_softmax(ops.squeeze(logits, axis=-1)[:, None], members)
        return ops.matmul(ops.cast(weights, values.dtype), values), weights

    def _count_logit(self, count: Tensor) -> Tensor:
        return self.count_logit(self.count_embedding(ops.minimum(count, self.config["max_clicks"])))


def _is_first(same: Tensor) -> Tensor:
    """Which positions have no equal before them, (B, M) bool."""
    position = ops.arange(ops.shape(same)[-1])
    return ops.logical_not(ops.any(same & (position[None, None, :] < position[None, :, None]), axis=-1))


def _own_shares(users: Users, candidates: News) -> tuple[Tensor, Tensor]:
    """The shares of clicks of the candidate's own subtopic and topic, (B, C, M), zero where other interests stand."""
    same_topic = ops.equal(candidates["category"][:, :, None], users["category"][:, None, :])
    same_subtopic = same_topic & ops.equal(candidates["subcategory"][:, :, None], users["subcategory"][:, None, :])
    return (
        ops.cast(same_subtopic, "float32") * users["subtopic_share"][:, None, :],
        ops.cast(same_topic, "float32") * users["topic_share"][:, None, :],
    )


class HieRecClickPredictor(ClickPredictor):
    """A candidate against the interests of its subtopic and topic and the whole user (Section 3.2).

        s = λ_s n_s/n (u_s · h_c) + λ_t n_t/n (z_t · h_c) + (1 - λ_s - λ_t) (g · h_c)

    with the candidate's subtopic s and topic t and their shares of the clicks, zero where the user clicked none. In
    training a share `dropout` of h_c is dropped.

    Raises:
        ValueError: the weights add up to more than 1.
    """

    columns = ("category", "subcategory")
    not_searchable = ""

    def __init__(
        self, topic_weight: float = 0.15, subtopic_weight: float = 0.7, dropout: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(autocast=False, **kwargs)  # shares of clicks stay float32
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        if topic_weight + subtopic_weight > 1:
            raise ValueError(f"The weights add up to more than 1. Received {topic_weight} and {subtopic_weight}.")

    def call(self, users: Users, candidates: News, mask: Tensor = None, training: bool | None = None) -> Tensor:
        """Return scores (B, C)."""
        candidates = {**candidates, "vector": self.dropout(candidates["vector"], training=training)}
        return sum(weight * ops.sum(share * match, axis=-1) for weight, share, match in self._levels(users, candidates))

    def interests(self, users: Users, candidates: News) -> Interests:
        """Return the products with u_s, z_t and g, weighted by λ times the share of the clicks."""
        levels = self._levels(users, candidates)
        scores = [ops.sum(ops.where(share > 0, match, 0.0), axis=-1) for _, share, match in levels]
        weights = [weight * ops.sum(share, axis=-1) for weight, share, _ in levels]
        return Interests(["subtopic", "topic", "user"], ops.stack(scores, axis=-1), ops.stack(weights, axis=-1))

    def _levels(self, users: Users, candidates: News) -> list[tuple[float, Any, Any]]:
        """Of subtopic, topic and user: λ; shares of the clicks, zero but for the candidate's own; matches with all.

        Shares and matches are (B, C, M) float32, at the positions of the interests, and (B, C, 1) for the user.
        """
        vector = ops.cast(candidates["vector"], "float32")
        subtopic_share, topic_share = _own_shares(users, candidates)
        subtopic_weight, topic_weight = self.config["subtopic_weight"], self.config["topic_weight"]
        levels = (
            (subtopic_weight, subtopic_share, users["subtopic"]),
            (topic_weight, topic_share, users["topic"]),
            (1 - topic_weight - subtopic_weight, ops.ones_like(topic_share[..., :1]), users["vector"][:, None]),
        )
        return [
            (weight, share, ops.matmul(vector, ops.swapaxes(ops.cast(interests, "float32"), 1, 2)))
            for weight, share, interests in levels
        ]


@register(
    "hierec",
    paper="Qi et al., HieRec: Hierarchical User Interest Modeling for Personalized News Recommendation, ACL",
    year=2021,
)
class HieRecModel(BaseModel):
    """HieRec: news from words and entities (`KnowledgeEncoder`), interests in a tree, matched level by level.

    The paper's settings, those of hierec.yaml: 300-d GloVe words, 100-d entities, 20 heads of 20 over words and 5 of 20
    over entities, λ_s = 0.7, λ_t = 0.15, dropout, 4 negatives, Adam. What it leaves open is as in the authors' code:
    attention logits are linear, 25 % of news vectors are dropped, Adam is amsgrad with 1e-4 and batches of 16.
    """

    hparams_class = HieRecHParams
    news_encoder = "knowledge"
    columns = ("category", "subcategory")

    def build_network(self, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsRecommender:
        """Return the untrained network."""
        news_encoder = build_encoder(hparams, vocabularies, vectors)
        labels, dropout = (len(vocabularies.categories), len(vocabularies.subcategories)), hparams.news_dropout
        user_encoder = HieRecUserEncoder(*labels, news_encoder.dim, hparams.his_size, hparams.count_emb_dim, dropout)
        predictor = HieRecClickPredictor(hparams.topic_weight, hparams.subtopic_weight, dropout)
        return NewsRecommender(news_encoder, user_encoder, predictor)
