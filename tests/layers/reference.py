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


def poly_attention(history, projection, codes, mask=None, bias=None):
    """Equations (1), (2) and (5): interests (B, K, d) or (B, C, K, d), and their weights."""
    users, length, _ = history.shape
    per_candidate = bias is not None and bias.ndim == 3
    interests, weights = [], []
    for user in range(users):
        valid = None if mask is None else mask[user]
        biases = [np.zeros(length)] if bias is None else (bias[user] if per_candidate else [bias[user]])
        user_weights = []
        for candidate_bias in biases:
            rows = []
            for code in codes:
                logits = [code @ np.tanh(projection.T @ history[user, j]) + candidate_bias[j] for j in range(length)]
                rows.append(softmax(logits, valid))
            user_weights.append(rows)
        weights.append(user_weights if per_candidate else user_weights[0])
        interests.append(np.asarray(weights[-1]) @ history[user])
    return np.asarray(interests), np.asarray(weights)


def category_bias(history_category, candidate_category, scale):
    """λ cos(b_j, b_c): (B, C, M), or (B, M) for one candidate a user."""
    candidates = candidate_category if candidate_category.ndim == 3 else candidate_category[:, None]
    bias = np.array(
        [
            [[scale * cosine(b_j, b_c) for b_j in clicked] for b_c in shown]
            for clicked, shown in zip(history_category, candidates, strict=True)
        ]
    )
    return bias if candidate_category.ndim == 3 else bias[:, 0]


def disagreement(interests):
    """Equation (3) of one user: interests (K, d)."""
    return sum(cosine(e_i, e_j) for e_i in interests for e_j in interests) / len(interests) ** 2


def interest_aggregation(interests, candidates, mode, kernel=None):
    """Equation (4) and the three click predictors: scores (B, C)."""
    users, shown, _ = candidates.shape
    scores = np.zeros((users, shown))
    for user in range(users):
        for c in range(shown):
            own = interests[user] if interests.ndim == 3 else interests[user, c]
            matches = [e_i @ candidates[user, c] for e_i in own]
            if mode == "max":
                scores[user, c] = max(matches)
            elif mode == "mean":
                scores[user, c] = sum(matches) / len(matches)
            else:
                # Row vectors in Keras: W^e h_c is h_c @ kernel.
                target = gelu(candidates[user, c] @ kernel)
                weights = softmax([e_i @ target for e_i in own])
                scores[user, c] = sum(w * s for w, s in zip(weights, matches, strict=True))
    return scores


def additive_attention(values, kernel, bias, query, mask=None):
    """a_i = q^T tanh(W v_i + b), pooled by softmax(a): (…, d)."""
    pooled = np.zeros(values.shape[:-2] + values.shape[-1:])
    for where in np.ndindex(values.shape[:-2]):
        logits = [float(query[:, 0] @ np.tanh(kernel.T @ v + bias)) for v in values[where]]
        weights = softmax(logits, None if mask is None else mask[where])
        pooled[where] = sum(w * v for w, v in zip(weights, values[where], strict=True))
    return pooled


def self_attention(values, query_kernel, key_kernel, value_kernel, num_heads, mask=None):
    """softmax(Q K^T / sqrt(head_dim)) V of each head, side by side: (B, T, heads * head_dim)."""
    batch, length, _ = values.shape
    head_dim = query_kernel.shape[1] // num_heads
    output = np.zeros((batch, length, num_heads * head_dim))
    for b in range(batch):
        for head in range(num_heads):
            part = slice(head * head_dim, (head + 1) * head_dim)
            queries, keys, vectors = (
                values[b] @ kernel[:, part] for kernel in (query_kernel, key_kernel, value_kernel)
            )
            for t in range(length):
                logits = [queries[t] @ key / math.sqrt(head_dim) for key in keys]
                weights = softmax(logits, None if mask is None else mask[b])
                output[b, t, part] = sum(w * v for w, v in zip(weights, vectors, strict=True))
    return output


def personalized_attention(values, query, kernel, bias, mask=None):
    """a_i = q^T tanh(W v_i + b), pooled by softmax(a) with each row's own query: (B, d)."""
    pooled = np.zeros((len(values), values.shape[-1]))
    for row, (sequence, own) in enumerate(zip(values, query, strict=True)):
        logits = [float(own @ np.tanh(kernel.T @ v + bias)) for v in sequence]
        weights = softmax(logits, None if mask is None else mask[row])
        pooled[row] = sum(w * v for w, v in zip(weights, sequence, strict=True))
    return pooled


def candidate_attention(
    history, candidates, of_click_kernel, of_click_bias, of_candidate_kernel, logit_kernel, mask=None
):
    """a_cj = v^T relu(W [h_c; h_j] + b), pooled over j by softmax: (B, C, d)."""
    kernel = np.concatenate([of_candidate_kernel, of_click_kernel])
    pooled = np.zeros(candidates.shape[:2] + history.shape[-1:])
    for b, c in np.ndindex(candidates.shape[:2]):
        pairs = [np.concatenate([candidates[b, c], h]) for h in history[b]]
        logits = [float(np.maximum(pair @ kernel + of_click_bias, 0) @ logit_kernel[:, 0]) for pair in pairs]
        weights = softmax(logits, None if mask is None else mask[b])
        pooled[b, c] = sum(w * h for w, h in zip(weights, history[b], strict=True))
    return pooled


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


def dot_product(users, candidates):
    """u^T h_c: (B, C)."""
    own = users if users.ndim == 3 else np.repeat(users[:, None], candidates.shape[1], axis=1)
    return np.array(
        [[user @ shown for user, shown in zip(*row, strict=True)] for row in zip(own, candidates, strict=True)]
    )


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
