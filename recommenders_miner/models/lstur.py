"""LSTUR: An et al., "Neural News Recommendation with Long- and Short-term User Representations", ACL 2019."""

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
from recommenders_miner.layers import News, Tensor
from recommenders_miner.models.base import BaseModel, register
from recommenders_miner.models.network import NewsRecommender, UserEncoder


class LSTURHParams(CategoryHParams):
    """Hyperparameters of LSTUR."""

    type: Literal["ini", "con"] = hparam("model", "ini", "how the two user vectors are joined")
    title_only: bool = hparam("model", False, "leave category and subcategory out of an article's vector")
    user_dropout: float = hparam(
        "model", 0.5, "probability of hiding a user's long-term vector in training", ge=0.0, le=1.0
    )


class LSTURUserEncoder(UserEncoder):
    """A long-term vector of the user id, and a short-term one from a GRU over the clicks (Section 3.2).

    `ini`: the long-term vector is the GRU's initial state; `con`: the two are concatenated, half of the dimension each.
    In training a user's long-term vector is hidden (set to zero) at random, so that the GRU learns to do without it; so
    are, always, the vectors of unknown users (id 1), of which the training log teaches nothing.
    """

    def __init__(self, num_users: int, dim: int, mode: str = "ini", dropout: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mode, self.dropout = mode, dropout
        long_term = dim if mode == "ini" else dim // 2
        self.user_embedding = keras.layers.Embedding(
            num_users, long_term, embeddings_initializer="zeros", dtype=self.dtype_policy
        )
        size = dim if mode == "ini" else dim - long_term
        # cuDNN refuses histories that are masked as a whole.
        self.gru = keras.layers.GRU(size, return_state=True, use_cudnn=False, dtype=self.dtype_policy)
        self.seed_generator = keras.random.SeedGenerator()

    def encode_history(self, history: News, mask: Tensor, user: Tensor, training: bool | None = None) -> Tensor:
        """Return user vectors (B, dim); an empty history leaves the long-term vector alone."""
        long_term, shown = self.user_embedding(user), user > 1
        if training and self.dropout:
            draw = keras.random.uniform(ops.shape(user), seed=self.seed_generator)
            shown = ops.logical_and(shown, draw >= self.dropout)
        long_term = long_term * ops.cast(shown, long_term.dtype)[:, None]
        # The last state, not the last output: where all is masked, Keras' output is zero, the state still the initial
        # one.
        initial = long_term if self.mode == "ini" else None
        _, short_term = self.gru(history["vector"], initial_state=initial, mask=mask)
        return short_term if self.mode == "ini" else ops.concatenate([short_term, long_term], axis=-1)


@register(
    "lstur",
    paper="An et al., Neural News Recommendation with Long- and Short-term User Representations, ACL",
    year=2019,
)
class LSTURModel(BaseModel):
    """LSTUR: news by title, category and subcategory, users long-term and short-term, the score a dot product.

    With `title_only` news are read by their titles alone, as in Recommenders.

    The paper's settings, those of lstur.yaml: 200-d GloVe words, 300 filters of window 3, dropout 20 %, user masking 50
    %, 4 negatives, batch 400, Adam with 0.01 (Section 4.1). It gives `ini` and `con` about the same accuracy.
    """

    hparams_class = LSTURHParams
    news_encoder = "cnn"
    user_aware = True

    @classmethod
    def reads(cls, hparams: HParams) -> tuple[str, ...]:
        """Return the labels, where they have a part in an article's vector."""
        return () if hparams.title_only else ("category", "subcategory")

    def build_network(self, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsRecommender:
        """Return the untrained network."""
        news_encoder = build_encoder(hparams, vocabularies, vectors)
        if not hparams.title_only:
            category = CategoryEncoder("category", len(vocabularies.categories), hparams.vert_emb_dim)
            subcategory = CategoryEncoder("subcategory", len(vocabularies.subcategories), hparams.subvert_emb_dim)
            news_encoder = ConcatenatedEncoder([news_encoder, category, subcategory])
        sizes = len(vocabularies.users), news_encoder.dim
        return NewsRecommender(news_encoder, LSTURUserEncoder(*sizes, hparams.type, hparams.user_dropout))


@register(
    "lstur-plm", paper="Wu et al., Empowering News Recommendation with Pre-trained Language Models, SIGIR", year=2021
)
class LSTURPLMModel(LSTURModel):
    """LSTUR whose title encoder is a pretrained language model; category and subcategory embeddings stand beside it.

    The GRU and the user embedding have the dimension of the whole news vector: `news_dim` keeps it small.
    """

    news_encoder = "plm"
