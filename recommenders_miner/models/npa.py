"""NPA: Wu et al., "NPA: Neural News Recommendation with Personalized Attention", KDD 2019."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.encoders import (
    ConvolutionHParams,
    InitialVectors,
    NewsEncoder,
    TokenVectors,
    word_convolution,
    word_vectors,
)
from recommenders_miner.errors import HParamsError
from recommenders_miner.hparams import HParams, hparam
from recommenders_miner.layers import DotProduct, PersonalizedAttention, WordConvolution, pool_by_query
from recommenders_miner.models.base import BaseModel
from recommenders_miner.models.network import ClickPredictor, NewsRecommender, UserEncoder
from recommenders_miner.models.registry import register


class NPAHParams(ConvolutionHParams):
    """Hyperparameters of NPA."""

    user_emb_dim: int = hparam("model", 50, "dimension of user embeddings", ge=1)
    dense_activation: str = hparam("model", "relu", "activation behind the queries")


@keras.saving.register_keras_serializable(package="recommenders_miner")
class PersonalizedEncoder(NewsEncoder):
    """The words of a title in context, and the keys by which each user weighs them: what no user changes.

    Which words count is up to the user, so an article has no vector by itself. But its convolution and its keys, which
    are nearly all of the work, serve every user; `pool_by_query` turns them into the vector that one user sees.

    Wu et al., "NPA: Neural News Recommendation with Personalized Attention", KDD 2019, Sections 3.1 and 3.3.

    Args:
        words: the vectors of a title's words.
        convolution: what sets them into context; its filters are the dimension d of a news vector.
        attention_dim: length q of queries and keys.

    Call arguments:
        features: dict with `title` (U, L) int32, zeros behind the words.

    Returns:
        dict of `words` (U, L, d), `keys` (U, L, q) and `title` (U, L) int32.
    """

    PARTS = ("words", "convolution")
    features = ("title",)

    def __init__(
        self, words: TokenVectors, convolution: WordConvolution, attention_dim: int = 200, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.config = {"attention_dim": attention_dim}
        self.words, self.convolution, self.dim = words, convolution, convolution.config["filters"]
        self.attention = PersonalizedAttention(attention_dim, dtype=self.dtype_policy)

    @classmethod
    def from_hparams(cls, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsEncoder:
        """See `NewsEncoder.from_hparams`."""
        words = word_vectors(hparams, vocabularies, vectors)
        return cls(words, word_convolution(hparams), hparams.attention_hidden_dim)

    def call(self, features: dict[str, Any], training: bool | None = None) -> dict[str, Any]:
        """See the class for the shapes."""
        words = self.convolution(self.words(features["title"], training=training), training=training)
        return {"words": words, "keys": self.attention.keys(words), "title": features["title"]}


@keras.saving.register_keras_serializable(package="recommenders_miner")
class NPAUserEncoder(UserEncoder):
    """The clicked articles as this user reads them, pooled as this user weighs them (Sections 3.2 and 3.3).

        q_w = relu(V_w e_u + v_w)     q_d = relu(V_d e_u + v_d)     of the embedding e_u of the user's id
        r_j = Σ_i softmax_i(q_w^T key_i) c_i                        words of a clicked article
        u   = Σ_j softmax_j(q_d^T tanh(W_d r_j + b_d)) r_j          clicked articles

    An unknown user (id 1) has the embedding zero, so that the queries are the biases, what all users have in common.
    All users start there; the biases start above zero, where relu lets training through.

    Args:
        num_users: rows of the user embedding, padding and unknown included.
        user_dim: dimension of the user embedding.
        attention_dim: length of queries and keys.
        activation: what follows the queries' dense layers.
    """

    def __init__(
        self, num_users: int, user_dim: int = 50, attention_dim: int = 200, activation: str = "relu", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.config = {
            "num_users": num_users,
            "user_dim": user_dim,
            "attention_dim": attention_dim,
            "activation": activation,
        }
        self.user_embedding = keras.layers.Embedding(
            num_users, user_dim, embeddings_initializer="zeros", dtype=self.dtype_policy
        )
        self.word_query, self.news_query = (
            keras.layers.Dense(
                attention_dim,
                activation=activation,
                bias_initializer=keras.initializers.RandomUniform(0.0, 0.5),
                dtype=self.dtype_policy,
            )
            for _ in range(2)
        )
        self.news_attention = PersonalizedAttention(attention_dim, dtype=self.dtype_policy)

    def encode_history(self, history: dict[str, Any], mask: Any, user: Any, training: bool | None = None) -> Any:
        """Return `vector` (B, d), zero for an empty history, and `word_query` (B, q), by which candidates are read."""
        word_query, news_query = self._queries(user)
        vector = self.news_attention(personal_vectors(history, word_query), news_query, mask=mask)
        return {"vector": vector, "word_query": word_query}

    def attention_weights(self, history: dict[str, Any], mask: Any, user: Any, candidates: dict[str, Any]) -> Any:
        """Return the weights that this user's query gives the clicked articles, (B, 1, 1, M)."""
        word_query, news_query = self._queries(user)
        clicked = personal_vectors(history, word_query)
        _, weights = self.news_attention(clicked, news_query, mask=mask, return_weights=True)
        return weights[:, None, None, :]

    def _queries(self, user: Any) -> tuple[Any, Any]:
        """The queries q_w and q_d of users, (B, q) each."""
        embedding = self.user_embedding(user)
        embedding = embedding * ops.cast(user > 1, embedding.dtype)[:, None]
        return self.word_query(embedding), self.news_query(embedding)

    def user_vectors(self, history: dict[str, Any], mask: Any, user: Any) -> Any:
        """Return the user vectors (B, d)."""
        return self.encode_history(history, mask, user)["vector"]


@keras.saving.register_keras_serializable(package="recommenders_miner")
class NPAClickPredictor(ClickPredictor):
    """The dot product of the user and of the candidate as this user reads it (Section 3.4)."""

    candidates_at_once = 4096  # a candidate comes with all its words: 128 KB at the paper's sizes
    not_searchable = "the vector of an article depends on the user"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dot_product = DotProduct(dtype=self.dtype_policy)

    def call(self, users: Any, candidates: dict[str, Any], mask: Any = None, training: bool | None = None) -> Any:
        """Return scores (B, C)."""
        return self.dot_product(users["vector"], personal_vectors(candidates, users["word_query"]))


def personal_vectors(news: dict[str, Any], word_query: Any) -> Any:
    """Return the vectors (B, C, d) of articles as B users see them, by their word queries (B, q)."""
    return pool_by_query(news["words"], news["keys"], word_query, mask=ops.not_equal(news["title"], 0))


@register("npa", paper="Wu et al., NPA: Neural News Recommendation with Personalized Attention, KDD", year=2019)
class NPAModel(BaseModel):
    """NPA: which words of a title and which clicked articles count is up to the user's id.

    The paper's settings: 300-d GloVe words, 400 filters of window 3, user embeddings of 50, queries of 200, dropout
    20 %, 4 negatives, Adam. An article's vector depends on the user, so there is none to keep: `run_news` has nothing
    to return. What does not depend on the user, the CNN and the keys, is computed once per article all the same.
    """

    hparams_class = NPAHParams
    news_encoder = "cnn"
    user_aware = True

    def build_network(self, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsRecommender:
        """Return the untrained network."""
        if hparams.news_encoder != "cnn":
            raise HParamsError(f"NPA pools the words of a CNN: news_encoder must be cnn, not {hparams.news_encoder}.")
        return NewsRecommender(
            news_encoder=PersonalizedEncoder.from_hparams(hparams, vocabularies, vectors),
            user_encoder=NPAUserEncoder(
                len(vocabularies.users), hparams.user_emb_dim, hparams.attention_hidden_dim, hparams.dense_activation
            ),
            click_predictor=NPAClickPredictor(),
        )
