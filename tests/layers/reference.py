"""The equations of the layers once more, in float64 numpy and plain loops, written from the papers.

Nothing here shares code with the package. Every function takes the layer's inputs and weights by their names.
"""

import math

import numpy as np


def softmax(logits, valid=None):
    """Weights of a list of logits; 0 at positions that are not valid."""
    valid = [True] * len(logits) if valid is None else valid
    largest = max((logit for logit, ok in zip(logits, valid, strict=True) if ok), default=0.0)
    terms = [math.exp(logit - largest) if ok else 0.0 for logit, ok in zip(logits, valid, strict=True)]
    total = sum(terms)
    return [term / total if total else 0.0 for term in terms]


def cosine(a, b):
    """Cosine of two vectors; 0 where one of them is zero."""
    lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0


def gelu(x):
    return np.vectorize(lambda value: 0.5 * value * (1 + math.erf(value / math.sqrt(2))))(x)


def pooled(vectors, logits, valid=None):
    """The vectors, summed up by the softmax of their logits."""
    return np.asarray(softmax(logits, valid)) @ vectors


def poly_attention(history, projection, codes, mask=None, bias=None, keys=None):
    """Equations (1), (2) and (5): interests (B, K, d) or (B, C, K, d), and their weights."""
    keys = history if keys is None else keys
    bias = np.zeros(history.shape[:2]) if bias is None else bias
    biases = bias if bias.ndim == 3 else bias[:, None]
    weights = np.zeros((*biases.shape[:2], len(codes), history.shape[1]))
    for user, candidate, code in np.ndindex(weights.shape[:3]):
        logits = [codes[code] @ np.tanh(projection.T @ clicked) for clicked in keys[user]]
        valid = None if mask is None else mask[user]
        weights[user, candidate, code] = softmax(np.add(logits, biases[user, candidate]), valid)
    weights = weights if bias.ndim == 3 else weights[:, 0]
    return np.einsum("b...m,bmd->b...d", weights, history), weights


def category_bias(history_category, candidate_category, scale):
    """λ cos(b_j, b_c): (B, C, M), or (B, M) for one candidate a user."""
    if candidate_category.ndim == 2:
        return category_bias(history_category, candidate_category[:, None], scale)[:, 0]
    pairs = zip(history_category, candidate_category, strict=True)
    return np.array([[[scale * cosine(b_j, b_c) for b_j in clicked] for b_c in shown] for clicked, shown in pairs])


def disagreement(interests):
    """Equation (3) of one user: interests (K, d)."""
    return sum(cosine(e_i, e_j) for e_i in interests for e_j in interests) / len(interests) ** 2


def interest_aggregation(interests, candidates, mode, kernel=None):
    """Equation (4) and the three click predictors: scores (B, C)."""
    scores = np.zeros(candidates.shape[:2])
    for user, c in np.ndindex(scores.shape):
        own = interests[user] if interests.ndim == 3 else interests[user, c]
        matches = own @ candidates[user, c]
        # Row vectors in Keras: W^e h_c is h_c @ kernel.
        weights = softmax(own @ gelu(candidates[user, c] @ kernel)) if mode == "weighted" else None
        scores[user, c] = max(matches) if mode == "max" else np.average(matches, weights=weights)
    return scores


def additive_attention(values, kernel, bias, query, mask=None):
    """a_i = q^T tanh(W v_i + b), pooled by softmax(a): (…, d)."""
    output = np.zeros(values.shape[:-2] + values.shape[-1:])
    for where in np.ndindex(values.shape[:-2]):
        logits = [float(query[:, 0] @ np.tanh(kernel.T @ v + bias)) for v in values[where]]
        output[where] = pooled(values[where], logits, None if mask is None else mask[where])
    return output


def self_attention(values, query_kernel, key_kernel, value_kernel, num_heads, mask=None):
    """softmax(Q K^T / sqrt(head_dim)) V of each head, side by side: (B, T, heads * head_dim)."""
    head_dim = query_kernel.shape[1] // num_heads
    output = np.zeros((*values.shape[:2], num_heads * head_dim))
    for b, t, head in np.ndindex(*values.shape[:2], num_heads):
        part = slice(head * head_dim, (head + 1) * head_dim)
        query, keys = values[b, t] @ query_kernel[:, part], values[b] @ key_kernel[:, part]
        logits = keys @ query / math.sqrt(head_dim)
        output[b, t, part] = pooled(values[b] @ value_kernel[:, part], logits, None if mask is None else mask[b])
    return output


def personalized_attention(values, query, kernel, bias, mask=None):
    """a_i = q^T tanh(W v_i + b), pooled by softmax(a) with each row's own query: (B, d)."""
    mask = np.ones(values.shape[:2], bool) if mask is None else mask
    rows = zip(values, query, mask, strict=True)
    return np.array([pooled(v, [own @ np.tanh(kernel.T @ word + bias) for word in v], valid) for v, own, valid in rows])


def candidate_attention(
    history, candidates, of_click_kernel, of_click_bias, of_candidate_kernel, logit_kernel, mask=None
):
    """a_cj = v^T relu(W [h_c; h_j] + b), pooled over j by softmax: (B, C, d)."""
    kernel = np.concatenate([of_candidate_kernel, of_click_kernel])
    output = np.zeros(candidates.shape[:2] + history.shape[-1:])
    for b, c in np.ndindex(candidates.shape[:2]):
        pairs = [np.concatenate([candidates[b, c], h]) for h in history[b]]
        logits = [float(np.maximum(pair @ kernel + of_click_bias, 0) @ logit_kernel[:, 0]) for pair in pairs]
        output[b, c] = pooled(history[b], logits, None if mask is None else mask[b])
    return output


def segment_pooling(values, mask, **weights):
    """Each segment pooled by itself, by additive attention or, without weights, by its mean: (B, S, d)."""
    pooled = np.zeros((*mask.shape[:2], values.shape[-1]))
    for row, segment in np.ndindex(mask.shape[:2]):
        own = values[row][mask[row, segment]]
        if len(own):
            pooled[row, segment] = additive_attention(own[None], **weights)[0] if weights else own.mean(axis=0)
    return pooled


def word_convolution(words, kernel, bias):
    """c_i = tanh(F [w_{i-k}; …; w_{i+k}] + b), zeros beyond both ends: (U, L, filters)."""
    half = len(kernel) // 2
    padded = np.pad(words, [(0, 0), (half, half), (0, 0)])
    length = range(words.shape[1])
    rows = [[sum(row[i + k] @ kernel[k] for k in range(len(kernel))) + bias for i in length] for row in padded]
    return np.tanh(np.array(rows))


def factorization_machine(linear, sums, squares, bias):
    """w_0 + linear + ½ (‖sums‖² − squares)."""
    return bias + linear + 0.5 * ((sums**2).sum(axis=-1) - squares)


def factor_table(ids, values, weights, factors):
    """The three sums of a factorisation machine, one feature at a time."""
    linear, squares = np.zeros(ids.shape[:-1]), np.zeros(ids.shape[:-1])
    sums = np.zeros((*ids.shape[:-1], factors.shape[1]))
    for where in np.ndindex(ids.shape[:-1]):
        for i, x in zip(ids[where], values[where], strict=True):
            linear[where] += weights[i] * x
            sums[where] += x * factors[i]
            squares[where] += x**2 * (factors[i] @ factors[i])
    return {"linear": linear, "sums": sums, "squares": squares}
