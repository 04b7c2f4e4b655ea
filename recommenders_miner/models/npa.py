"""NPA: Wu et al., "NPA: Neural News Recommendation with Personalized Attention", KDD 2019."""

from __future__ import annotations

import functools
from typing import Any

import keras
from keras import ops

from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.encoders import CNNEncoder, ConvolutionHParams, InitialVectors
from recommenders_miner.errors import HParamsError
from recommenders_miner.hparams import Activation, HParams, hparam
from recommenders_miner.layers import News, PersonalizedAttention, Tensor, pool_by_query
from recommenders_miner.models.base import BaseModel, register
from recommenders_miner.models.network import DotProductPredictor, NewsRecommender, UserEncoder, Users


class NPAHParams(ConvolutionHParams):
    """Hyperparameters of NPA."""

    user_emb_dim: int = hparam("model", 50, "dimension of user embeddings", ge=1)
    dense_activation: Activation = hparam("model", "relu", "activation behind the queries")


class PersonalizedEncoder(CNNEncoder):
    """The words of a title in context, and the keys by which each user weighs them: what no user changes.

    Which words count is up to the user, so an article has no vector by itself. But its convolution and its keys, which
    are nearly all of the work, serve every user; `pool_by_query` turns them into the vector that one user sees.

    Sections 3.1 and 3.3 of the paper.

    Its arguments are those of `CNNEncoder`. It returns a dict of `words` (U, L, d), `keys` (U, L, q) and `title`
    (U, L) int32.
    """

    attention = PersonalizedAttention
    gives_vectors = False

    def call(self, features: News, training: bool | None = None) -> News:
        """See the class for the shapes."""
        words = self.in_context(features, training)
        return {"words": words, "keys": self.pooling.keys(words), "title": features["title"]}

    def put(self, news: News, places: Tensor, vector: Tensor) -> News:
        """See `NewsEncoder.put`: articles of one word, which every user reads alike."""
        words, title = news["words"], news["title"]
        at_first = ops.cast(ops.arange(ops.shape(title)[-1]) == 0, title.dtype)
        return {
            **news,
            "words": ops.where(places[..., None, None], ops.cast(vector, words.dtype), words),
            "title": ops.where(places[..., None], at_first, title),
        }


class NPAUserEncoder(UserEncoder):
    """The clicked articles as this user reads them, pooled as this user weighs them (Sections 3.2 and 3.3).

        q_w = relu(V_w e_u + v_w)     q_d = relu(V_d e_u + v_d)     of the embedding e_u of the user's id
        r_j = Σ_i softmax_i(q_w^T key_i) c_i                        words of a clicked article
        u   = Σ_j softmax_j(q_d^T tanh(W_d r_j + b_d)) r_j          clicked articles

    An unknown user (id 1) has the embedding zero, so that the queries are the biases, what all users have in common.
    All users start there; the biases start above zero, where relu lets training through.
    """

    def __init__(
        self, num_users: int, user_dim: int = 50, attention_dim: int = 200, activation: str = "relu", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.user_embedding = keras.layers.Embedding(
            num_users, user_dim, embeddings_initializer="zeros", dtype=self.dtype_policy
        )
        dense = functools.partial(keras.layers.Dense, attention_dim, activation, dtype=self.dtype_policy)
        self.word_query, self.news_query = (
            dense(bias_initializer=keras.initializers.RandomUniform(0.0, 0.5)) for _ in range(2)
        )
        self.news_attention = PersonalizedAttention(attention_dim, dtype=self.dtype_policy)

    def encode_history(self, history: News, mask: Tensor, user: Tensor, training: bool | None = None) -> Users:
        """Return `vector` (B, d), zero for an empty history, and `word_query` (B, q), by which candidates are read."""
        word_query, news_query = self._queries(user)
        vector = self.news_attention(personal_vectors(history, word_query), news_query, mask=mask)
        return {"vector": vector, "word_query": word_query}

    def attention_weights(self, history: News, mask: Tensor, user: Tensor, candidates: News) -> Tensor:
        """Return the weights that this user's query gives the clicked articles, (B, 1, 1, M)."""
        word_query, news_query = self._queries(user)
        clicked = personal_vectors(history, word_query)
        _, weights = self.news_attention(clicked, news_query, mask=mask, return_weights=True)
        return weights[:, None, None, :]

    def _queries(self, user: Tensor) -> tuple[Tensor, Tensor]:
        """The queries q_w and q_d of users, (B, q) each."""
        embedding = self.user_embedding(user)
        embedding = embedding * ops.cast(user > 1, embedding.dtype)[:, None]
        return self.word_query(embedding), self.news_query(embedding)


class NPAClickPredictor(DotProductPredictor):
    """The dot product of the user and of the candidate as this user reads it (Section 3.4)."""

    candidates_at_once = 4096  # a candidate comes with all its words: 128 KB at the paper's sizes
    not_searchable = "the vector of an article depends on the user"

    def call(self, users: Users, candidates: News, mask: Tensor = None, training: bool | None = None) -> Tensor:
        """Return scores (B, C)."""
        return super().call(users["vector"], {"vector": personal_vectors(candidates, users["word_query"])})


def personal_vectors(news: News, word_query: Tensor) -> Tensor:
    """Return the vectors (B, C, d) of articles as B users see them, by their word queries (B, q)."""
    return pool_by_query(news["words"], news["keys"], word_query, mask=ops.not_equal(news["title"], 0))


@register("npa", paper="Wu et al., NPA: Neural News Recommendation with Personalized Attention, KDD", year=2019)
class NPAModel(BaseModel):
    """NPA: which words of a title and which clicked articles count is up to the user's id.

    The paper's settings, those of npa.yaml: 300-d GloVe words, 400 filters of window 3, user embeddings of 50, queries
    of 200, dropout 20 %, titles of 30 words, 4 negatives, batch 100, Adam (Section 4.1). The attention is that of
    Microsoft Recommenders, not the paper's: see `PersonalizedAttention`. An article's vector depends on the user, so
    there is none to keep: `run_news` has nothing to return. What does not depend on the user, the CNN and the keys, is
    computed once per article all the same.
    """

    hparams_class = NPAHParams
    news_encoder = "cnn"
    user_aware = True

    def build_network(self, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsRecommender:
        """Return the untrained network."""
        if hparams.news_encoder != "cnn":
            raise HParamsError(f"NPA pools the words of a CNN: news_encoder must be cnn, not {hparams.news_encoder}.")
        news_encoder = PersonalizedEncoder.from_hparams(hparams, vocabularies, vectors)
        sizes = len(vocabularies.users), hparams.user_emb_dim, hparams.attention_hidden_dim
        user_encoder = NPAUserEncoder(*sizes, hparams.dense_activation)
        return NewsRecommender(news_encoder, user_encoder, NPAClickPredictor())
