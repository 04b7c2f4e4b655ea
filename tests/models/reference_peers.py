"""PP-Rec's scores in float64 numpy, written from the paper, one user and one candidate at a time.

`reference` is the `Reference` of a toy model, of which the vectors of articles and the weights are read.
"""

from __future__ import annotations

import numpy as np

from tests.layers import reference as layers
from tests.models.reference_parts import dense, sigmoid, values

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
