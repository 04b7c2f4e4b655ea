"""NPA: Wu et al., "NPA: Neural News Recommendation with Personalized Attention", KDD 2019."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.encoders import PersonalizedEncoder
from recommenders_miner.errors import HParamsError
from recommenders_miner.hparams import HParams
from recommenders_miner.layers import DotProduct, PersonalizedAttention, pool_by_query
from recommenders_miner.models.base_model import BaseModel
from recommenders_miner.models.initial_vectors import InitialVectors
from recommenders_miner.models.network import ClickPredictor, NewsRecommender, UserEncoder
from recommenders_miner.models.news_encoders import title_words, word_convolution


@keras.saving.register_keras_serializable(package="recommenders_miner")
class NPAUserEncoder(UserEncoder):
    """The clicked news as this user reads them, pooled as this user weighs them (Sections 3.2 and 3.3).

        q_w = relu(V_w e_u + v_w)     q_d = relu(V_d e_u + v_d)     of the embedding e_u of the user's id
        r_j = Σ_i softmax_i(q_w^T key_i) c_i                        words of a clicked news
        u   = Σ_j softmax_j(q_d^T tanh(W_d r_j + b_d)) r_j          clicked news

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
        """Returns `vector` (B, d), zero for an empty history, and `word_query` (B, q), by which candidates are read."""
        word_query, news_query = self._queries(user)
        vector = self.news_attention(personal_vectors(history, word_query), news_query, mask=mask)
        return {"vector": vector, "word_query": word_query}

    def attention_weights(self, history: dict[str, Any], mask: Any, user: Any, candidates: dict[str, Any]) -> Any:
        """Returns the weights that this user's query gives the clicked news, (B, 1, 1, M)."""
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
        """Returns the user vectors (B, d)."""
        return self.encode_history(history, mask, user)["vector"]


@keras.saving.register_keras_serializable(package="recommenders_miner")
class NPAClickPredictor(ClickPredictor):
    """The dot product of the user and of the candidate as this user reads it (Section 3.4)."""

    candidates_at_once = 4096  # a candidate comes with all its words: 128 KB at the paper's sizes
    not_searchable = "the vector of a news depends on the user"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dot_product = DotProduct(dtype=self.dtype_policy)

    def call(self, users: Any, candidates: dict[str, Any], mask: Any = None, training: bool | None = None) -> Any:
        """Returns scores (B, C)."""
        return self.dot_product(users["vector"], personal_vectors(candidates, users["word_query"]))


def personal_vectors(news: dict[str, Any], word_query: Any) -> Any:
    """Returns the vectors (B, C, d) of news as B users see them, by their word queries (B, q)."""
    return pool_by_query(news["words"], news["keys"], word_query, mask=ops.not_equal(news["title"], 0))


class NPAModel(BaseModel):
    """NPA: which words of a title and which clicked news count is up to the user's id.

    The paper's settings: 300-d GloVe words, 400 filters of window 3, user embeddings of 50, queries of 200, dropout
    20 %, 4 negatives, Adam. A news' vector depends on the user, so there is none to keep: `run_news` has nothing to
    return. What does not depend on the user, the CNN and the keys, is computed once per news all the same.
    """

    user_aware = True

    def build_network(self, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsRecommender:
        """Returns the untrained network."""
        if hparams.news_encoder != "cnn":
            raise HParamsError(f"NPA pools the words of a CNN: news_encoder must be cnn, not {hparams.news_encoder}.")
        return NewsRecommender(
            news_encoder=PersonalizedEncoder(
                title_words(hparams, vocabularies, vectors), word_convolution(hparams), hparams.attention_hidden_dim
            ),
            user_encoder=NPAUserEncoder(
                len(vocabularies.users), hparams.user_emb_dim, hparams.attention_hidden_dim, hparams.dense_activation
            ),
            click_predictor=NPAClickPredictor(),
        )
