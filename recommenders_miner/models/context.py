"""Context beside any model: a gate between how well an article fits the user and how it does at the moment."""

from __future__ import annotations

import functools
from typing import Any

import keras
from keras import ops

from recommenders_miner.data.context import CONTEXT
from recommenders_miner.layers import ContextScore, News, Tensor, affinity_features, user_features
from recommenders_miner.models.network import ClickPredictor, Interests, Users


class GatedByContext(ClickPredictor):
    """The score of another click predictor, and those of the context: `s = (1 - η) (s_m + s_a) + η s_p`.

    Qi et al., "PP-Rec: News Recommendation with Personalized User Interest and Time-aware News Popularity", ACL 2021,
    Section 3.5, where η is made of the user's vector. Here it is made of what the context says of the user, such as the
    number of clicks, which any model has: η = σ(w^T tanh(W x_u)). s_a, which that paper has not, is made of how many
    clicks the history has in the candidate's category and subcategory, `s_a = v^T tanh(W x_a + e_c + e_s)`: attention,
    whose weights add up to 1, forgets how many there were, and the vectors e of the labels know how many are usual.

    `matching` gives s_m; `reads_content` says whether candidates have a `vector`, which the context's score may read;
    then come the numbers of categories and subcategories.
    """

    def __init__(
        self,
        matching: ClickPredictor,
        reads_content: bool = True,
        num_categories: int = 2,
        num_subcategories: int = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.matching = matching
        self.context_score = ContextScore(reads_content=reads_content)
        self.affinity_hidden = keras.layers.Dense(16, dtype="float32")
        sizes = {"category": num_categories, "subcategory": num_subcategories}
        embedding = functools.partial(keras.layers.Embedding, embeddings_initializer="zeros", dtype="float32")
        self.of_label = {label: embedding(size, 16) for label, size in sizes.items()}
        self.affinity = keras.layers.Dense(1, use_bias=False, dtype="float32")
        self.gate_hidden = keras.layers.Dense(16, "tanh", dtype="float32")
        self.gate = keras.layers.Dense(1, "sigmoid", dtype="float32")
        self.columns = tuple(dict.fromkeys((*matching.columns, *sizes, *CONTEXT)))
        self.candidates_at_once = matching.candidates_at_once
        self.candidates_of_a_user = matching.candidates_of_a_user
        self.not_searchable = matching.not_searchable

    def searched(self) -> ClickPredictor:
        """Return the other click predictor: how articles do at the moment, no index knows."""
        return self.matching

    @property
    def pretrained_weights(self) -> list[Any]:
        """Those of the other click predictor."""
        return self.matching.pretrained_weights

    def prepare(self, news: News) -> News:
        """Return what the other click predictor makes of articles, and `content`, (U, hidden), for the context."""
        content = {"content": self.context_score.content(news["vector"])} if self.config["reads_content"] else {}
        return {**self.matching.prepare(news), **content}

    def call(self, users: Users, candidates: News, mask: Tensor | None = None, training: bool | None = None) -> Tensor:
        """Return scores (B, C); see the class."""
        share, of_labels, of_context = self._context(candidates)
        matching = self.matching(users, candidates, mask=mask, training=training)
        return (1.0 - share) * (matching + of_labels) + share * of_context

    def _context(self, candidates: News) -> tuple[Tensor, Tensor, Tensor]:
        """Return η, s_a and s_p, all (B, C)."""
        if self.config["reads_content"] and "content" not in candidates:
            candidates = {**candidates, "content": self.context_score.content(candidates["vector"])}
        share = self.gate(self.gate_hidden(user_features(candidates)))
        hidden = self.affinity_hidden(affinity_features(candidates))
        for label, embedding in self.of_label.items():
            hidden = hidden + embedding(candidates[label])
        of_labels = self.affinity(ops.tanh(hidden))
        return ops.squeeze(share, axis=-1), ops.squeeze(of_labels, axis=-1), self.context_score(candidates)

    def interests(self, users: Users, candidates: News) -> Interests:
        """Return the other click predictor's interests, and `labels` and `context`, s_a and s_p, as two more."""
        share, *of_context = self._context(candidates)
        found = self.matching.interests(users, candidates)
        if found is None:
            score = self.matching(users, candidates)
            found = Interests(["user"], score[..., None], ops.ones_like(score)[..., None])
        scores = ops.concatenate([found.scores, ops.stack(of_context, axis=-1)], axis=-1)
        of_match = 1.0 - share[..., None]
        weights = ops.concatenate([found.weights * of_match, of_match, share[..., None]], axis=-1)
        return Interests([*found.names, "labels", "context"], scores, weights)

    def attention_weights(self, users: Users, candidates: News) -> Tensor | None:
        """Return those of the other click predictor."""
        return self.matching.attention_weights(users, candidates)
