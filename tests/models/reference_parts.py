"""What restatements of several models are made of, in float64 numpy."""

from __future__ import annotations

import math

import numpy as np

from tests.layers import reference as layers


def values(layer):
    """A layer's weights by name, in float64."""
    return {weight.name: np.array(weight, "float64") for weight in layer.weights}


def table(layer):
    """The rows of an embedding, or of a layer that has one and no other weight, in float64."""
    [rows] = values(layer).values()
    return rows


def dense(x, layer):
    weights = values(layer)
    return x @ weights["kernel"] + weights.get("bias", 0)


def relu(x):
    return np.maximum(x, 0)


def normalised(vectors, gamma, beta):
    """Layer normalisation, with Keras' 0.001 beside the variance."""
    centred = vectors - vectors.mean(axis=-1, keepdims=True)
    return centred / np.sqrt(vectors.var(axis=-1, keepdims=True) + 1e-3) * gamma + beta


def personal(vectors, query, kernel, bias):
    """a_i = q^T tanh(W v_i + b), pooled by softmax(a)."""
    weights = layers.softmax([query @ np.tanh(vector @ kernel + bias) for vector in vectors])
    return np.array(weights) @ vectors


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


# === Transformers, one text (L, d) at a time (Vaswani et al. 2017, Devlin et al. 2019) ===


def layer_norm(x, layer):
    weights = values(layer)
    return (
        weights["gamma"] * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + layer.epsilon)
        + weights["beta"]
    )


def exact_gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def approximate_gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def attention(x, layer):
    """Multi-head attention of every piece to all."""
    parts = [values(part) for part in (layer.query_dense, layer.key_dense, layer.value_dense)]
    output, found = values(layer.output_dense), 0.0
    for head in range(output["kernel"].shape[0]):
        q, k, v = (x @ part["kernel"][:, head] + part["bias"][head] for part in parts)
        weights = np.array([layers.softmax(row) for row in q @ k.T / math.sqrt(q.shape[1])])
        found = found + weights @ v @ output["kernel"][head]
    return found + output["bias"]


def transformer(x, layer, gelu):
    x = layer_norm(x + attention(x, layer._self_attention_layer), layer._self_attention_layer_norm)
    inner = gelu(dense(x, layer._feedforward_intermediate_dense))
    return layer_norm(x + dense(inner, layer._feedforward_output_dense), layer._feedforward_layer_norm)


def bert(backbone, tokens, gelu):
    """The last states (L, d) of one title's tokens."""
    x = values(backbone.token_embedding)["embeddings"][tokens]
    x = x + table(backbone.position_embedding)[: len(tokens)] + table(backbone.segment_embedding)[0]
    x = layer_norm(x, backbone.embeddings_layer_norm)
    for layer in backbone.transformer_layers:
        x = transformer(x, layer, gelu)
    return x
