"""PP-Rec's, GLORY's and CROWN's scores in float64 numpy, from the papers, one user and one candidate at a time.

`reference` is the `Reference` of a toy model, of which the vectors of articles and the weights are read.
"""

from __future__ import annotations

import itertools

import numpy as np

from tests.layers import reference as layers
from tests.models.reference_parts import attention, dense, gru, layer_norm, relu, sigmoid, table, values
from tests.models.toy import toy_log

# === PP-Rec ===

NEVER_SHOWN = {"age": -1, "click_rate": 1 / 25, "showings_1h": 0, "clicks_1h": 0}
"""The context of a candidate of which nothing is known, as a model without a log is asked."""


def tanh_network(vector, network):
    """A number, by dense layers with tanh and one without."""
    for layer in network.hidden:
        vector = np.tanh(dense(vector, layer))
    return float(dense(vector, network.number)[0])


def level_embedding(level, embedding):
    """The mean of the embeddings of the two levels around, by how near they are."""
    [rows] = values(embedding).values()
    level = min(max(level, 0), len(rows) - 1)
    return sum(max(0, 1 - abs(level - k)) * rows[k] for k in range(len(rows)))


def pp_rec_user(reference, history):
    """u and the weights α of Eq. 2."""
    encoder, content = reference.user_encoder, reference.network.news_encoder.popularity
    clicked = reference.clicked(history)
    heads = encoder.config["num_heads"]
    [in_context] = layers.self_attention(clicked[None], **values(encoder.self_attention), num_heads=heads)
    projection, bias, query = values(encoder.joint_attention).values()
    logits = []
    for vector, m in zip(clicked, in_context, strict=True):
        level = sigmoid(tanh_network(vector, content)) * (encoder.config["levels"] - 1)
        both = np.concatenate([m, level_embedding(level, encoder.popularity_embedding)])
        logits.append(float(query[:, 0] @ np.tanh(both @ projection + bias)))
    weights = np.array(layers.softmax(logits))
    return weights @ in_context, weights


def pp_rec_popularity(reference, candidate, context):
    """s_p of a candidate in its context, columns by name."""
    predictor, content = reference.predictor, reference.network.news_encoder.popularity
    vector, hours = reference.news_vector(candidate), reference.hparams.recency_hours
    recency = level_embedding(max(context["age"], 0) // hours, predictor.recency_embedding)
    theta = sigmoid(tanh_network(np.concatenate([vector, recency]), predictor.content_gate))
    by_age = tanh_network(recency, predictor.recency_popularity)
    predicted = theta * tanh_network(vector, content) + (1 - theta) * by_age
    window = reference.hparams.click_rate_window
    rate = (context[f"clicks_{window}"] + 50 * context["click_rate"]) / (context[f"showings_{window}"] + 50)
    w_c, w_p = (float(np.array(w)) for w in (predictor.rate_weight, predictor.popularity_weight))
    return w_c * rate + w_p * predicted


def pp_rec_scores(reference, history, candidates, user=None, contexts=None):
    """Eq. 3 of candidates, in the context of each."""
    vector = np.zeros(reference.network.news_encoder.dim)
    if history:
        vector, _ = pp_rec_user(reference, history)
    eta = sigmoid(tanh_network(vector, reference.predictor.user_gate))
    return np.array(
        [
            (1 - eta) * vector @ reference.news_vector(candidate)
            + eta * pp_rec_popularity(reference, candidate, context)
            for candidate, context in zip(candidates, contexts or [NEVER_SHOWN] * len(candidates), strict=True)
        ]
    )


# === GLORY ===


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def click_graph(log, size):
    """By article, the `size` that most users clicked right before it, of their first history; and all edges."""
    users, edges = {}, {}
    for user, history in zip(log.user_of.tolist(), log.history_of.tolist(), strict=True):
        users.setdefault(user, log.histories[history].tolist())
    for clicks in users.values():
        for before, after in itertools.pairwise(clicks):
            edges[before, after] = edges.get((before, after), 0) + 1
    return nearest(edges, size), edges


def nearest(edges, size):
    """By node, the nodes with most edges to it, but itself; ties in ascending order."""
    weights = {}
    for (source, target), weight in edges.items():
        if source != target:
            weights.setdefault(target, []).append((-weight, source))
    return {node: [source for _, source in sorted(of)[:size]] for node, of in weights.items()}


class Glory:
    """Articles as clicks and as candidates, by the graph of a log."""

    def __init__(self, reference, log):
        self.reference, self.encoder, hparams = reference, reference.network.news_encoder, reference.hparams
        self.names = reference.model.vocabularies.entities
        self.size = hparams.entity_size
        ids = reference.news.ids.to_pylist()
        before, edges = click_graph(log, hparams.graph_neighbours)
        self.before = {ids[node]: [ids[other] for other in others] for node, others in before.items()}
        joined = {}
        for (one, other), weight in edges.items():
            for a, b in itertools.product(self.entities(ids[one]), self.entities(ids[other])):
                for pair in ((a, b), (b, a)):
                    joined[pair] = joined.get(pair, 0) + weight
        self.joined = nearest(joined, hparams.entity_neighbours)

    def entities(self, news_id):
        names = [entity["WikidataId"] for entity in self.reference.entities(news_id)][: self.size]
        return self.names.encode(names)

    def attended(self, encoder, entities):
        if not entities:
            return None
        vectors = table(self.encoder.entities)[entities]
        heads = encoder.config["num_heads"]
        attended = layers.self_attention(vectors[None], **values(encoder.self_attention), num_heads=heads)
        pooled = layers.additive_attention(attended, **values(encoder.pooling))[0]
        return leaky(dense(pooled, encoder.projection))

    def pooled(self, views, attention):
        views = np.array([view for view in views if view is not None])
        return layers.additive_attention(views[None], **values(attention))[0]

    def candidate(self, news_id):
        entities = self.entities(news_id)
        around = [other for entity in entities for other in self.joined.get(entity, [])]
        local = self.attended(self.encoder.local_entities, entities)
        views = [self.reference.news_vector(news_id), local, self.attended(self.encoder.global_entities, around)]
        return leaky(dense(self.pooled(views, self.encoder.candidate_views), self.encoder.candidate))

    def graph(self, news_id, hops):
        """g^k of an article."""
        if not hops:
            return self.reference.news_vector(news_id)
        dim = self.encoder.dim
        total = sum((self.graph(other, hops - 1) for other in self.before.get(news_id, [])), np.zeros(dim))
        message = dense(total, self.encoder.steps[hops - 1])
        return gru([message], self.graph(news_id, hops - 1), **values(self.encoder.gate))

    def click(self, news_id):
        local = self.attended(self.encoder.local_entities, self.entities(news_id))
        views = [self.reference.news_vector(news_id), self.graph(news_id, self.encoder.hops), local]
        return self.pooled(views, self.encoder.clicked_views)


def glory_scores(reference, history, candidates, user=None, log=None):
    """The dot products of candidates with a user, by the graph of a log, the toy's where none is given."""
    if not history:
        return np.zeros(len(candidates))
    glory = Glory(reference, log or toy_log(reference.news))
    user = reference.attended(reference.user_encoder, np.array([glory.click(news_id) for news_id in history]))
    return np.array([user @ glory.candidate(news_id) for news_id in candidates])


# === CROWN ===


def text_vector(words, transformer):
    """The mean of a text's words (L, e) behind one layer of a transformer; zero without words."""
    if not len(words):
        return np.zeros(words.shape[1])
    dim = words.shape[1]
    rates = [10_000 ** (-2 * (k // 2) / dim) for k in range(dim)]
    placed = [[(np.cos if k % 2 else np.sin)(at * rates[k]) for k in range(dim)] for at in range(len(words))]
    states = words + np.array(placed)
    states = layer_norm(states + attention(states, transformer.attention), transformer.attention_norm)
    inner = relu(dense(states, transformer.inner))
    return layer_norm(states + dense(inner, transformer.outer), transformer.outer_norm).mean(axis=0)


def intents_vector(texts, labels, encoder):
    """n = [i_t; γ i_b; category; subcategory], of the words of title and body and the labels' embeddings."""
    topic = dense(np.concatenate(labels), encoder.label_projection)
    found = []
    for words, transformer, pooling in zip(texts, encoder.texts, encoder.poolings, strict=True):
        both = np.concatenate([text_vector(words, transformer), topic])
        intents = np.array([relu(dense(both, layer)) for layer in encoder.intents])
        pooled = layers.additive_attention(intents[None], **values(pooling))[0]
        found.append(pooled if len(words) else np.zeros_like(pooled))
    title, body = found
    return np.concatenate([title, (layers.cosine(title, body) + 1) / 2 * body, *labels])


def crown_user(clicked, candidate, encoder):
    """The user as the candidate sees it, and the weights of the clicks."""
    nodes = [dense(click, encoder.of_article) + dense(clicked.mean(axis=0), encoder.of_user) for click in clicked]
    query = dense(candidate, encoder.query)
    weights = np.array(layers.softmax([dense(node, encoder.key) @ query / np.sqrt(len(query)) for node in nodes]))
    return weights @ nodes, weights


def crown_score(clicked, candidate, encoder):
    """The dot product of a candidate with the user as it sees it."""
    return float(crown_user(clicked, candidate, encoder)[0] @ candidate) if len(clicked) else 0.0
