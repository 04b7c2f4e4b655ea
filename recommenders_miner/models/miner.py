"""MINER: "MINER: Multi-Interest Matching Network for News Recommendation", Findings of ACL 2022."""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import ops

from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.encoders import (
    CategoryEncoder,
    CategoryHParams,
    ConcatenatedEncoder,
    InitialVectors,
    build_encoder,
)
from recommenders_miner.hparams import HParams, hparam
from recommenders_miner.layers import (
    CategoryBias,
    DisagreementRegularizer,
    HistoryPositions,
    InterestAggregation,
    InterestsOverClicks,
    News,
    PolyAttention,
    Tensor,
    match_interests,
)
from recommenders_miner.models.base import BaseModel, register
from recommenders_miner.models.network import ClickPredictor, Interests, NewsRecommender, UserEncoder, Users


class MINERHParams(CategoryHParams):
    """Hyperparameters of MINER."""

    num_interests: int = hparam("model", 32, "interest vectors of a user, K", ge=1)
    code_dim: int = hparam("model", 200, "dimension of a context code", ge=1)
    aggregation: Literal["max", "mean", "weighted"] = hparam(
        "model", "weighted", "how the interests' scores become one"
    )
    category_weighting: bool = hparam(
        "model", True, "weight the history by its categories' likeness to the candidate's"
    )
    category_concatenated: bool = hparam("model", False, "set category embeddings beside news vectors")
    category_embedding: Literal["learned", "glove", "plm"] = hparam(
        "model", "learned", "where category embeddings come from"
    )
    history_positions: bool = hparam("model", False, "attention knows the clicks' places in the history")
    disagreement_weight: float = hparam("model", 0.8, "β of the disagreement regulariser; 0 leaves it out", ge=0.0)


class MINERUserEncoder(UserEncoder):
    """K interests of a history by poly attention (Section 3.3, Eqs. 1 and 2), fitted to the candidate's category (3.4).

    `call` is Eq. 5 as it stands, one interest set per candidate. In evaluation, where many candidates share a history,
    `encode_history`, `bind_candidates` and `for_categories` give the same at less cost. exp(logit + bias) = exp(logit)
    · exp(bias), so an interest is

        e^c_i = Σ_j x_ij g_jc h_j / Σ_j x_ij g_jc,   x_ij = exp(logit_ij),   g_jc = exp(λ cos(b_j, b_c))

    whose x no candidate has a part in, and whose product with a candidate needs the products h_j^T h_c, not the sum.

    Without a `category_embedding`, from category ids to vectors, there is no category weighting. With `positions`, the
    number of clicks that are read, attention knows their places, which the paper's does not: see `HistoryPositions`.
    """

    users_at_once = 2048  # so that many have candidates of like number

    def __init__(
        self,
        num_interests: int = 32,
        code_dim: int = 200,
        category_embedding: keras.layers.Embedding | None = None,
        positions: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.positions = HistoryPositions(positions, dtype=self.dtype_policy) if positions else None
        self.poly_attention = PolyAttention(num_interests, code_dim, dtype=self.dtype_policy)
        self.category_embedding = category_embedding
        self.category_bias = CategoryBias(dtype=self.dtype_policy) if category_embedding else None

    @property
    def candidate_aware(self) -> bool:
        """Whether a user's interests depend on the candidate's category."""
        return self.category_embedding is not None

    @property
    def columns(self) -> tuple[str, ...]:
        """The category, where interests depend on it."""
        return ("category",) if self.candidate_aware else ()

    def call(self, history: News, mask: Tensor, user: Tensor, candidates: News, training: bool | None = None) -> Tensor:
        """Return interests (B, K, d), or (B, C, K, d) with category weighting; zero for an empty history."""
        return self._interests(history, mask, bias=self._bias(history, candidates))

    def attention_weights(self, history: News, mask: Tensor, user: Tensor, candidates: News) -> Tensor:
        """Return the weights w_ij of Eq. 5, (B, C, K, M), or of Eq. 1, (B, 1, K, M), without category weighting."""
        bias = self._bias(history, candidates)
        _, weights = self._interests(history, mask, bias=bias, return_weights=True)
        return weights if self.candidate_aware else weights[:, None]

    def _interests(self, history: News, mask: Tensor, **options: Any) -> Tensor:
        return self.poly_attention(history["vector"], mask=mask, keys=self.keys(history, mask), **options)

    def keys(self, history: News, mask: Tensor) -> Tensor:
        """Return what the attention is made of: the clicked articles, with their places where these count."""
        return history["vector"] if self.positions is None else self.positions(history["vector"], mask)

    def _bias(self, history: News, candidates: News) -> Tensor:
        """λ cos(b_j, b_c), (B, C, M); None without category weighting."""
        if not self.candidate_aware:
            return None
        return self.category_bias(
            self.category_embedding(history["category"]), self.category_embedding(candidates["category"])
        )

    def encode_history(self, history: News, mask: Tensor, user: Tensor, training: bool | None = None) -> Users:
        """Return interests (B, K, d), or with category weighting what they are made of.

        That is `weights` x (B, M, K), and `vector` (B, M, d) and `category` (B, M) of the clicks. A row's exponentials
        are scaled by its largest, which the quotient cancels; 0 for padding.
        """
        if not self.candidate_aware:
            return self._interests(history, mask)
        logits = ops.cast(self.poly_attention.logits(self.keys(history, mask)), "float32")
        logits = ops.where(mask[:, None, :], logits, -1e9)
        exponentials = ops.exp(logits - ops.max(logits, axis=-1, keepdims=True)) * ops.cast(mask[:, None, :], "float32")
        weights = ops.swapaxes(exponentials, -1, -2)
        return {"weights": weights, "vector": history["vector"], "category": history["category"]}

    def bind_candidates(self, state: Users, candidates: News) -> Tensor:
        """Return the interests of B states for their candidates, (B, C, …)."""
        if not self.candidate_aware:
            return state
        gains = self._gains(state["category"], candidates["category"])
        return InterestsOverClicks(ops.swapaxes(state["weights"], -1, -2), gains, state["vector"])

    def for_categories(self, state: Users, category: Tensor) -> Tensor:
        """Return the interests (B, P, K, d) of B states for P candidate categories each, (B, P) int32."""
        gains = ops.swapaxes(self._gains(state["category"], category), -1, -2)
        weights = ops.swapaxes(state["weights"], -1, -2)[:, None] * gains[:, :, None, :]
        totals = ops.sum(weights, axis=-1, keepdims=True)
        weights = weights / ops.where(totals > 0, totals, 1.0)
        return self.poly_attention.weighted_sums(weights, ops.cast(state["vector"], "float32"))

    def _gains(self, clicked: Tensor, candidate: Tensor) -> Tensor:
        """Return exp(λ cos(b_j, b_c)) (B, M, C) of categories (B, M) and (B, C), a column's largest scaled to 1.

        They are computed once for each category, (B, M, G), of which a product with ones and zeros takes C columns.
        """
        number = self.category_embedding.input_dim
        vectors = self.category_embedding(ops.arange(number))[None]
        bias = ops.cast(self.category_bias(vectors, vectors), "float32")[0]
        logits = ops.take(bias, clicked, axis=0)
        logits = ops.where(clicked[:, :, None] > 0, logits, -1e9)  # 0 is the padding's category alone
        gains = ops.exp(logits - ops.max(logits, axis=1, keepdims=True))
        return ops.matmul(gains, ops.one_hot(candidate, number, axis=1, dtype="float32"))

    def user_vectors(self, history: News, mask: Tensor, user: Tensor) -> Tensor:
        """Return the interests of Eq. 1, (B, K, d), without category weights."""
        return self._interests(history, mask)


class MINERClickPredictor(ClickPredictor):
    """Score every interest against the candidate and join the scores (Eq. 4); keep the interests apart (Eq. 3)."""

    not_searchable = ""

    def __init__(self, aggregation: str = "weighted", disagreement_weight: float = 0.8, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.disagreement = DisagreementRegularizer(disagreement_weight, dtype=self.dtype_policy)
        self.aggregation = InterestAggregation(aggregation, dtype=self.dtype_policy)

    def call(self, users: Users, candidates: News, mask: Tensor = None, training: bool | None = None) -> Tensor:
        """Return scores (B, C) of users (B, K, d), (B, C, K, d) or `InterestsOverClicks` for `vector` (B, C, d)."""
        if not isinstance(users, InterestsOverClicks):
            of_users = mask if mask is None or len(users.shape) == 4 else ops.any(mask, axis=-1)
            users = self.disagreement(users, mask=of_users, training=training)
        return self.aggregation(users, candidates["vector"], candidates.get("target"))

    def prepare(self, news: News) -> News:
        """Return gelu(W^e h) as `target`, (U, d), where interests are weighted by it."""
        weighted = self.config["aggregation"] == "weighted"
        return {"target": self.aggregation.target(news["vector"])} if weighted else {}

    def interests(self, users: Users, candidates: News) -> Interests:
        """Return the s_i of Eq. 4, with the weights of the aggregation."""
        scores = match_interests(users, candidates["vector"])
        _, weights = self.aggregation(users, candidates["vector"], return_weights=True)
        return Interests([f"interest {i + 1}" for i in range(scores.shape[-1])], scores, weights)


@register(
    "miner", paper="Li et al., MINER: Multi-Interest Matching Network for News Recommendation, ACL Findings", year=2022
)
class MINERModel(BaseModel):
    """MINER: several interest vectors a user, kept apart by a regulariser, weighted by category, matched one by one.

    The paper's settings, those of miner.yaml: BERT-base as news encoder, fine-tuned, K = 32 codes of 200 dimensions,
    β = 0.8, the newest 50 clicks, 4 negatives. Its ablation "without BERT" is miner-knowledge.yaml. What its footnote 4
    tries instead of weighting by category, and finds worse, is `category_concatenated`.
    """

    hparams_class = MINERHParams

    @classmethod
    def reads(cls, hparams: HParams) -> tuple[str, ...]:
        """Return the category, where interests depend on it."""
        return ("category",) if hparams.category_weighting or hparams.category_concatenated else ()

    def build_network(self, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsRecommender:
        """Return the untrained network."""
        news_encoder, embedding = build_encoder(hparams, vocabularies, vectors), None
        trained = hparams.category_embedding == "learned"
        if hparams.category_concatenated:
            initializer, dim = vectors.categories()
            options = {"initializer": initializer, "trained": trained}
            category = CategoryEncoder("category", len(vocabularies.categories), dim, **options)
            news_encoder = ConcatenatedEncoder([news_encoder, category])
        if hparams.category_weighting:
            # b_j and b_c of Eq. 5: learned, or fixed vectors of the category's words.
            initializer, dim = vectors.categories()
            embedding = keras.layers.Embedding(len(vocabularies.categories), dim, embeddings_initializer=initializer)
            embedding.trainable = trained
        positions = hparams.his_size if hparams.history_positions else 0
        user_encoder = MINERUserEncoder(hparams.num_interests, hparams.code_dim, embedding, positions)
        predictor = MINERClickPredictor(hparams.aggregation, hparams.disagreement_weight)
        return NewsRecommender(news_encoder, user_encoder, predictor)
