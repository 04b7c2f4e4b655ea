"""UNBERT's score in float64 numpy, from the paper, one text at a time."""

from __future__ import annotations

import numpy as np

from tests.layers import reference as layers
from tests.models.reference_parts import approximate_gelu, dense, exact_gelu, layer_norm, table, transformer, values


def scores(reference, history, candidates, user):
    return np.array([score(reference.model, history, candidate) for candidate in candidates])


def text_of(model, history, candidate):
    """Section 3.2: pieces, and the number of the article that each belongs to, 0 for [CLS]."""

    def pieces(news_id):
        title = model.news.title[model.news.row_of[news_id]].as_py()
        return model.vocabularies.pieces.encode([title], model.hparams.title_size)[0]

    text = pieces(candidate)
    news = [0] + [1] * (len(text) - 1)
    room = model.network.click_predictor.config["input_size"] - model.hparams.title_size
    for number, news_id in enumerate(history[::-1][: model.hparams.his_size], start=2):
        title = pieces(news_id)[1:]
        room -= len(title)
        if room < 0:
            break
        text, news = text + title, news + [number] * len(title)
    return text, np.array(news)


def embeddings(model, text, news):
    predictor = model.network.click_predictor
    backbone = predictor.plm.backbone
    embedding = getattr(backbone, "embeddings", backbone)
    rows = values(embedding.token_embedding)["embeddings"][np.array(text) - 1]
    rows = rows + table(embedding.position_embedding)[: len(text)]
    if hasattr(backbone, "segment_embedding"):
        rows = rows + table(backbone.segment_embedding)[(news > 1).astype(int)]
    return rows + table(predictor.news_embedding)[news] * (news > 0)[:, None]


def score(model, history, candidate):
    predictor = model.network.click_predictor
    backbone = predictor.plm.backbone
    gelu = approximate_gelu if type(backbone).__name__ == "BertBackbone" else exact_gelu
    text, news = text_of(model, history, candidate)
    states = layer_norm(embeddings(model, text, news), backbone.embeddings_layer_norm)
    for layer in backbone.transformer_layers:
        states = transformer(states, layer, gelu)
    vectors = [states[0]]
    for number in range(1, news.max() + 1):
        own = states[news == number]
        if model.hparams.news_level_pooling == "attention":
            vectors.append(layers.additive_attention(own[None], **values(predictor.pooling))[0])
        else:
            vectors.append(own.mean(axis=0) if model.hparams.news_level_pooling == "mean" else own[-1])
    matched = np.array(vectors)
    for layer in predictor.news_layers:
        matched = transformer(matched, layer, gelu)
    return dense(np.concatenate([states[0], matched[0]]), predictor.score)[0]
