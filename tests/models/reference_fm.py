"""LibFM's and DeepFM's scores in float64 numpy, from the papers: a dense vector over all features for each sample."""

from __future__ import annotations

import itertools

import numpy as np

from tests.models.reference_parts import dense, relu


def scores(reference, history, candidates, user):
    machine = Machine(reference.model)
    return np.array([machine.score(history, candidate, user) for candidate in candidates])


class Machine:
    def __init__(self, model):
        self.model = model
        network = model.network
        self.predictor = network.click_predictor
        encoder = network.news_encoder
        tables = [network.user_encoder.users, encoder.news, encoder.title_terms, encoder.clicked_terms]
        self.weights = np.concatenate([np.array(table.feature_weights, "float64") for table in tables])
        self.factors = np.concatenate([np.array(table.factors, "float64") for table in tables])
        self.bounds = np.cumsum([0, *(len(np.array(table.feature_weights)) for table in tables)])

    def score(self, history, candidate, user):
        x = self.features(history, candidate, user)
        present = np.flatnonzero(x)
        total = float(np.array(self.predictor.machine.bias)) + self.weights @ x
        for i, j in itertools.combinations(present, 2):
            total += self.factors[i] @ self.factors[j] * x[i] * x[j]
        return total + self.deep(x)

    def features(self, history, candidate, user):
        """The sample's features: one-hot user, one-hot news, TF-IDF of the candidate, mean TF-IDF of the history."""
        names = self.model.vocabularies
        clicked = [self.tfidf(news_id) for news_id in history]
        return np.concatenate(
            [
                one_hot(names.users, user),
                one_hot(names.news, candidate),
                self.tfidf(candidate),
                np.mean(clicked, axis=0) if clicked else np.zeros(len(names.terms.terms)),
            ]
        )

    def tfidf(self, news_id):
        news, terms = self.model.news, self.model.vocabularies.terms
        title = news.title[news.row_of[news_id]].as_py()
        words = title.split(" ")[: self.model.hparams.title_size]
        x = np.array([words.count(term) for term in terms.terms.tokens]) * terms.idf
        return x / np.linalg.norm(x) if x.any() else x

    def deep(self, x):
        """The deep component of DeepFM, where there is one: ReLU layers over the fields' embeddings."""
        if not hasattr(self.predictor, "hidden"):
            return 0.0
        user, news, title, history = (
            x[start:end] @ self.factors[start:end] for start, end in itertools.pairwise(self.bounds)
        )
        hidden = np.concatenate([user, history, news, title])
        for layer in self.predictor.hidden:
            hidden = relu(dense(hidden, layer))
        return dense(hidden, self.predictor.deep_score)[0]


def one_hot(names, name):
    """Nothing at all for a name that the vocabulary lacks."""
    return np.array([float(index > 1 and known == name) for index, known in enumerate(names.tokens)])
