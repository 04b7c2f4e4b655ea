"""The user encoders of CAUM, Fastformer and late fusion in float64 numpy, written from the papers, one user at a time.

A function takes the clicked articles' vectors (N, d), without padding and maybe none, a candidate's vector (d,) and the
network's user encoder, of which it reads the weights alone; it returns the score.
"""

import numpy as np

from tests.layers.reference import additive_attention, softmax
from tests.models.reference_parts import dense, layer_norm, values


def kernel(layer):
    return values(layer)["kernel"]


def late_fusion_score(clicked, candidate, encoder=None):
    """1/N Σ_i n_i^T n_c."""
    return float(np.mean([click @ candidate for click in clicked])) if len(clicked) else 0.0


def fastformer_attention(vectors, layer):
    """r_i = W_r [k * q_i] + q_i, the heads side by side."""
    queries, keys = vectors @ kernel(layer.query), vectors @ kernel(layer.key)
    w_q, w_k = kernel(layer.query_logits), kernel(layer.key_logits)
    heads, dim = w_q.shape
    related = np.zeros_like(queries)
    for head in range(heads):
        part = slice(head * dim, (head + 1) * dim)
        own = queries[:, part]
        global_query = softmax([w_q[head] @ q / np.sqrt(dim) for q in own]) @ own
        products = global_query * keys[:, part]
        global_key = softmax([w_k[head] @ p / np.sqrt(dim) for p in products]) @ products
        related[:, part] = global_key * own
    return related @ kernel(layer.transform) + queries


def fastformer_score(clicked, candidate, encoder):
    """Layers that share their weights, each with a residual and a norm, then additive attention."""
    if not len(clicked):
        return 0.0
    for _ in range(encoder.config["num_layers"]):
        clicked = layer_norm(clicked + fastformer_attention(clicked, encoder.attention), encoder.norm)
    return float(additive_attention(clicked[None], **values(encoder.pooling))[0] @ candidate)


def caum_user(clicked, candidate, encoder):
    """The user as the candidate sees it, and the weights of the clicks."""
    heads, dim = encoder.config["num_heads"], encoder.config["head_dim"]
    window = kernel(encoder.convolution)
    before = (len(window) - 1) // 2
    contexts = []
    for i, click in enumerate(clicked):
        long_range = []
        for head in range(heads):
            part = slice(head * dim, (head + 1) * dim)

            def project(vector, layer, part=part):
                return vector @ kernel(layer)[:, part]

            among_clicks = project(clicked, encoder.click_key) @ project(click, encoder.click_query)
            with_candidate = project(clicked, encoder.candidate_key) @ project(candidate, encoder.candidate_query)
            long_range.append(softmax((among_clicks + with_candidate) / np.sqrt(dim)) @ project(clicked, encoder.value))
        short_range = values(encoder.convolution)["bias"] + candidate @ kernel(encoder.local_candidate)
        for place, weights in enumerate(window):
            if 0 <= i + place - before < len(clicked):
                short_range = short_range + clicked[i + place - before] @ weights
        contexts.append(dense(np.concatenate([short_range, *long_range]), encoder.join))
    logits = []
    for context in contexts:
        hidden = np.concatenate([context, candidate])
        for layer in encoder.hidden:
            hidden = np.tanh(dense(hidden, layer))
        logits.append(float(dense(hidden, encoder.relevance)[0]))
    weights = np.array(softmax(logits))
    return weights @ np.array(contexts), weights


def caum_score(clicked, candidate, encoder):
    """z = u^T n."""
    return float(caum_user(clicked, candidate, encoder)[0] @ candidate) if len(clicked) else 0.0
