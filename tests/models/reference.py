"""The models' scores in float64 numpy, written from the papers, one news and one user at a time."""

from __future__ import annotations

import numpy as np

from recommenders_miner.io.tokenize import tokenize
from tests.layers import reference as layers


def values(layer):
    """A layer's weights by name, in float64."""
    return {weight.name: np.array(weight, "float64") for weight in layer.weights}


class Reference:
    """Scores candidates of one history for a toy model."""

    def __init__(self, model, name):
        self.model, self.name = model, name
        self.network, self.hparams, self.news = model.network, model.hparams, model.news

    def score(self, history, candidates, user="U1"):
        history = history[-self.hparams.his_size :]
        return np.array([self.click_score(history, candidate, user) for candidate in candidates])

    def click_score(self, history, candidate, user):
        vector = self.news_vector(candidate)
        if self.name == "miner":
            return self.miner_score(history, candidate, vector)
        return vector @ self.user_vector(history, user)

    # === News encoders ===

    def words(self, encoder, news_id):
        title = self.news.title[self.news.row_of[news_id]].as_py()
        ids = self.model.vocabularies.words.encode(tokenize(title)[: self.hparams.title_size])
        return values(encoder.words)["embeddings"][ids]

    def news_vector(self, news_id):
        encoder = self.network.news_encoder
        if self.name != "lstur":
            return self.self_attention_title(encoder, news_id)
        title, category, subcategory = encoder.parts
        row = self.news.row_of[news_id]
        category_id = self.model.vocabularies.categories[self.news.category[row].as_py()]
        subcategory_id = self.model.vocabularies.subcategories[self.news.subcategory[row].as_py()]
        return np.concatenate(
            [
                self.cnn_title(title, news_id),
                values(category)["embeddings"][category_id],
                values(subcategory)["embeddings"][subcategory_id],
            ]
        )

    def self_attention_title(self, encoder, news_id):
        words = self.words(encoder, news_id)[None]
        attended = layers.self_attention(words, **values(encoder.self_attention), num_heads=self.hparams.head_num)
        return layers.additive_attention(attended, **values(encoder.pooling))[0]

    def cnn_title(self, encoder, news_id):
        """c_i = ReLU(F · [w_{i-1}; w_i; w_{i+1}] + b), zeros beyond the title."""
        words = self.words(encoder, news_id)
        weights = values(encoder.convolution)
        edge = np.zeros((1, words.shape[1]))
        padded = np.concatenate([edge, words, edge])
        convolved = [
            np.maximum(sum(padded[i + k] @ weights["kernel"][k] for k in range(3)) + weights["bias"], 0)
            for i in range(len(words))
        ]
        return layers.additive_attention(np.array(convolved)[None], **values(encoder.pooling))[0]

    # === Users ===

    def user_vector(self, history, user):
        encoder = self.network.user_encoder
        clicked = [self.news_vector(news_id) for news_id in history]
        if self.name == "nrms":
            if not history:
                return np.zeros(self.hparams.head_num * self.hparams.head_dim)
            attended = layers.self_attention(
                np.array(clicked)[None], **values(encoder.self_attention), num_heads=self.hparams.head_num
            )
            return layers.additive_attention(attended, **values(encoder.pooling))[0]
        user_id = self.model.vocabularies.users[user]
        long_term = values(encoder.user_embedding)["embeddings"][user_id] * (user_id > 1)
        if self.hparams.type == "ini":
            return gru(clicked, long_term, **values(encoder.gru))
        return np.concatenate([gru(clicked, np.zeros(encoder.gru.units), **values(encoder.gru)), long_term])

    # === MINER ===

    def miner_score(self, history, candidate, vector):
        encoder, predictor = self.network.user_encoder, self.network.click_predictor
        dim = len(vector)
        if not history:
            return 0.0
        clicked = np.array([self.news_vector(news_id) for news_id in history])
        bias = None
        if self.hparams.category_weighting:
            [scale] = [float(w) for w in encoder.category_bias.weights]
            bias = np.array([[scale * layers.cosine(self.category(j), self.category(candidate)) for j in history]])
        interests, _ = layers.poly_attention(clicked[None], **values(encoder.poly_attention), bias=bias)
        kernel = next(iter(values(predictor.aggregation).values()), None)
        scores = layers.interest_aggregation(
            interests.reshape(1, -1, dim), vector[None, None], self.hparams.aggregation, kernel
        )
        return scores[0, 0]

    def category(self, news_id):
        category_id = self.model.vocabularies.categories[self.news.category[self.news.row_of[news_id]].as_py()]
        return values(self.network.user_encoder.category_embedding)["embeddings"][category_id]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru(inputs, state, kernel, recurrent_kernel, bias):
    """Cho et al. 2014, in the form with a second bias inside the reset gate (cuDNN's); gates in the order z, r, h."""
    for x in inputs:
        x_z, x_r, x_h = np.split(x @ kernel + bias[0], 3)
        h_z, h_r, h_h = np.split(state @ recurrent_kernel + bias[1], 3)
        update, reset = sigmoid(x_z + h_z), sigmoid(x_r + h_r)
        state = update * state + (1 - update) * np.tanh(x_h + reset * h_h)
    return state
