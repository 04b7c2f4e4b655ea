"""The models' scores in float64 numpy, written from the papers, one article and one user at a time."""

from __future__ import annotations

import functools
import itertools
import json

import numpy as np

from recommenders_miner.data.text import tokenize
from tests.layers import reference as layers
from tests.models import reference_fm, reference_new, reference_peers, reference_unbert
from tests.models.reference_parts import (
    approximate_gelu,
    bert,
    dense,
    exact_gelu,
    gru,
    normalised,
    personal,
    relu,
    table,
    values,
)

NO_ARTICLE = "what stands for a history without clicks"


def of_clicks(score):
    """Lift a score of the clicked articles' vectors, a candidate's and a user encoder's weights."""
    return lambda reference, history, candidates, user: np.array(
        [score(reference.clicked(history), reference.news_vector(one), reference.user_encoder) for one in candidates]
    )


IN_FILES_OF_THEIR_OWN = {
    "caum": of_clicks(reference_new.caum_score),
    "crown": of_clicks(reference_peers.crown_score),
    "deepfm": reference_fm.scores,
    "fastformer": of_clicks(reference_new.fastformer_score),
    "late-fusion": of_clicks(reference_new.late_fusion_score),
    "glory": reference_peers.glory_scores,
    "libfm": reference_fm.scores,
    "pp-rec": reference_peers.pp_rec_scores,
    "unbert": reference_unbert.scores,
}
"""By model: from a `Reference`, a history cut to `his_size`, candidates and a user to scores (C,).

They import what they need from reference_parts.py, and nothing from here."""


def windows(vectors, convolution, count):
    """ReLU(F · [v_i; v_{i+1}; …] + b) at each of the first `count` places."""
    kernel, bias = values(convolution).values()
    at = [sum(vectors[i + k] @ kernel[k] for k in range(len(kernel))) + bias for i in range(count)]
    return relu(np.array(at))


class Reference:
    """Scores candidates of one history for a toy model; the name may go on behind the model's own, as in toy.py."""

    def __init__(self, model, name):
        self.model, self.name = model, name.split()[0].removesuffix("-plm")
        self.news_vector = functools.cache(self.news_vector)
        self.network, self.hparams, self.news = model.network, model.hparams, model.news
        self.encoder, self.user_encoder = self.network.news_encoder, self.network.user_encoder
        # LSTUR's vectors are a title's and its labels' side by side.
        self.labels = []
        if self.hparams.news_encoder != "joined":
            self.encoder, *self.labels = getattr(self.encoder, "parts", [self.encoder])
        self.predictor = self.network.click_predictor

    def score(self, history, candidates, user="U1", **more):
        history = history[-self.hparams.his_size :]
        if not history and self.network.cold is not None:
            history = [NO_ARTICLE]
        if self.name in IN_FILES_OF_THEIR_OWN:
            return IN_FILES_OF_THEIR_OWN[self.name](self, history, candidates, user, **more)
        scores = getattr(self, f"{self.name}_score", self.dot_product)
        return np.array([scores(history, candidate, user) for candidate in candidates])

    def dot_product(self, history, candidate, user):
        return self.news_vector(candidate) @ getattr(self, f"{self.name}_user")(history, user)

    # === News encoders ===

    def news_vector(self, news_id):
        if news_id == NO_ARTICLE:
            return np.array(self.network.cold)
        vector = getattr(self, f"{self.hparams.news_encoder}_news")(news_id)
        labels = [table(part)[self.label(part.features[0], news_id)] for part in self.labels]
        return np.concatenate([vector, *labels])

    def column(self, name, news_id):
        return getattr(self.news, name)[self.news.row_of[news_id]].as_py()

    def label(self, feature, news_id):
        """The id of a category or subcategory."""
        if news_id == NO_ARTICLE:
            return 0
        names = {"category": "categories", "subcategory": "subcategories"}[feature]
        return getattr(self.model.vocabularies, names)[self.column(feature, news_id)]

    def words(self, words, news_id, text="title", size=None):
        tokens = tokenize(self.column(text, news_id))[: size or self.hparams.title_size]
        return table(words)[self.model.vocabularies.words.encode(tokens)]

    def self_attention_news(self, news_id):
        return self.attended(self.encoder, self.words(self.encoder.words, news_id))

    def attended(self, encoder, vectors):
        """Vectors that attend to each other, then are pooled by additive attention."""
        if not len(vectors):
            return np.zeros(encoder.config["num_heads"] * encoder.config["head_dim"])
        heads = encoder.config["num_heads"]
        attended = layers.self_attention(vectors[None], **values(encoder.self_attention), num_heads=heads)
        return layers.additive_attention(attended, **values(encoder.pooling))[0]

    def cnn_news(self, news_id):
        return self.cnn(self.encoder.convolution, self.encoder.pooling, self.words(self.encoder.words, news_id))

    def plm_news(self, news_id):
        return dense(self.plm_vector(self.encoder, news_id), self.encoder.projection)

    def plm_vector(self, encoder, news_id):
        return np.concatenate(
            [self.text_vector(encoder, self.column(text, news_id), text) for text in encoder.config["texts"]]
        )

    def text_vector(self, encoder, written, text):
        if not written:
            return np.zeros(encoder.backbone.hidden_dim)
        size = self.hparams.title_size if text == "title" else self.hparams.text_size
        tokens = self.model.vocabularies.pieces.encode([written], size)[0]
        gelu = approximate_gelu if encoder.config["activation"] is None else exact_gelu
        states = bert(encoder.backbone, np.array(tokens) - 1, gelu)
        if encoder.attention is not None:
            return layers.additive_attention(states[None], **values(encoder.attention))[0]
        return states[0] if self.hparams.plm_pooling == "cls" else states.mean(axis=0)

    def convolved(self, convolution, words):
        """c_i = ReLU(F · [w_{i-1}; w_i; w_{i+1}] + b), zeros beyond the text."""
        return windows(np.pad(words, [(1, 1), (0, 0)]), convolution, len(words))

    def cnn(self, convolution, pooling, words):
        return layers.additive_attention(self.convolved(convolution, words)[None], **values(pooling))[0]

    def joined_news(self, news_id):
        """Σ_v W_v x_v + b."""
        sizes = {"title": self.hparams.title_size, "abstract": self.hparams.body_size}
        vectors = []
        for view, part in zip(self.hparams.views, self.encoder.parts, strict=True):
            if view == "plm":
                vectors.append(self.plm_vector(part, news_id))
            elif view in ("title", "abstract"):
                vectors.append(self.attended(part, self.words(part.words, news_id, view, sizes[view])))
            else:
                vectors.append(table(part.embedding)[self.label(view, news_id)])
        return dense(np.concatenate(vectors), self.encoder.projection)

    def intents_news(self, news_id):
        texts = {"title": self.hparams.title_size, "abstract": self.hparams.body_size}
        words = [self.words(self.encoder.words, news_id, text, size) for text, size in texts.items()]
        labels = [table(label.embedding)[self.label(label.features[0], news_id)] for label in self.encoder.labels]
        return reference_peers.intents_vector(words, labels, self.encoder)

    def multi_view_news(self, news_id):
        encoder = self.encoder
        views = []
        sizes = {"title": self.hparams.title_size, "abstract": self.hparams.body_size}
        for place, (text, size) in enumerate(sizes.items()):
            words = self.words(encoder.words, news_id, text, size)
            if len(words):
                views.append(self.cnn(encoder.convolutions[place], encoder.word_poolings[place], words))
        for label in encoder.labels:
            embedding = table(label.embedding)[self.label(label.features[0], news_id)]
            views.append(relu(dense(embedding, label.projection)))
        return layers.additive_attention(np.array(views)[None], **values(encoder.view_pooling))[0]

    def entities(self, news_id, text="title"):
        return json.loads(self.column(f"{text}_entities", news_id) or "[]")

    def knowledge_news(self, news_id):
        encoder = self.encoder
        text = self.attended(encoder.text, self.words(encoder.text.words, news_id))
        names = [entity["WikidataId"] for entity in self.entities(news_id)][: self.hparams.entity_size]
        known = table(encoder.entities.words)[self.model.vocabularies.entities.encode(names)]
        entities = self.attended(encoder.entities, known)
        return dense(text, encoder.text_projection) + dense(entities, encoder.entity_projection)

    def kcnn_news(self, news_id):
        """Every filter of width l at every word: words, entities and contexts side by side, zeros behind the title."""
        encoder, title = self.encoder, self.column("title", news_id)
        words = self.words(encoder.words, news_id)
        channels = np.zeros((len(words) + 3, 3 * words.shape[1]))
        channels[: len(words), : words.shape[1]] = words
        owner_of_letter = {}
        for entity in reversed(self.entities(news_id)):
            for offset, form in zip(entity["OccurrenceOffsets"], entity["SurfaceForms"], strict=True):
                owner_of_letter |= dict.fromkeys(range(offset, offset + len(form)), entity["WikidataId"])
        ends = list(itertools.accumulate(len(token) + 1 for token in title.split()))
        for word, (token, end) in enumerate(zip(title.split(), ends, strict=True)):
            letters = range(end - 1 - len(token), end - 1)
            owners = [owner_of_letter[letter] for letter in letters if letter in owner_of_letter]
            if owners and word < len(words):
                entity = self.model.vocabularies.entities[owners[0]]
                vectors = (table(encoder.entities)[entity], table(encoder.contexts)[entity])
                channels[word, words.shape[1] :] = np.concatenate(
                    [np.tanh(dense(vector, encoder.transformation)) for vector in vectors]
                )
        return np.concatenate([windows(channels, of, len(words)).max(axis=0) for of in encoder.convolutions])

    # === Users ===

    def clicked(self, history):
        return np.array([self.news_vector(news_id) for news_id in history])

    def placed(self, history):
        """The clicked articles' vectors with those of their places, the newest click's first."""
        if self.user_encoder.positions is None:
            return self.clicked(history)
        places = next(iter(values(self.user_encoder.positions).values()))
        return self.clicked(history) + places[: len(history)][::-1] if history else self.clicked(history)

    def nrms_user(self, history, user):
        return self.attended(self.user_encoder, self.placed(history))

    def naml_user(self, history, user):
        if not history:
            return np.zeros(self.hparams.filter_num)
        return layers.additive_attention(self.clicked(history)[None], **values(self.user_encoder.pooling))[0]

    def lstur_user(self, history, user):
        encoder, clicked = self.user_encoder, self.clicked(history)
        user_id = self.model.vocabularies.users[user]
        long_term = table(encoder.user_embedding)[user_id] * (user_id > 1)
        if self.hparams.type == "ini":
            return gru(clicked, long_term, **values(encoder.gru))
        return np.concatenate([gru(clicked, np.zeros(encoder.gru.units), **values(encoder.gru)), long_term])

    # === NPA ===

    def npa_score(self, history, candidate, user):
        encoder = self.user_encoder
        user_id = self.model.vocabularies.users[user]
        embedding = table(encoder.user_embedding)[user_id] * (user_id > 1)
        word_query, news_query = (relu(dense(embedding, layer)) for layer in (encoder.word_query, encoder.news_query))

        def seen(news_id):
            if news_id == NO_ARTICLE:
                return self.news_vector(news_id)
            words = self.convolved(self.encoder.convolution, self.words(self.encoder.words, news_id))
            return personal(words, word_query, **values(self.encoder.pooling))

        if not history:
            return 0.0
        clicked = np.array([seen(news_id) for news_id in history])
        return personal(clicked, news_query, **values(encoder.news_attention)) @ seen(candidate)

    # === DKN ===

    def dkn_score(self, history, candidate, user):
        attention = self.predictor.attention
        vector = normalised(self.news_vector(candidate), **values(self.predictor.news_norm))
        aggregate = np.zeros_like(vector)
        if history:
            clicked = normalised(self.clicked(history), **values(self.predictor.news_norm))
            kernel = np.concatenate([values(attention.of_candidate)["kernel"], values(attention.of_click)["kernel"]])
            bias = values(attention.of_click)["bias"]
            hidden = [relu(np.concatenate([vector, click]) @ kernel + bias) for click in clicked]
            weights = layers.softmax([(h @ table(attention.logit))[0] for h in hidden])
            aggregate = np.array(weights) @ clicked
        both = np.concatenate([normalised(aggregate, **values(self.predictor.user_norm)), vector])
        for layer in self.predictor.hidden:
            both = relu(dense(both, layer))
        return dense(both, self.predictor.score)[0]

    # === HieRec ===

    def hierec_score(self, history, candidate, user):
        if not history:
            return 0.0
        encoder, clicked = self.user_encoder, self.clicked(history)
        topics = [self.label("category", news_id) for news_id in history]
        subtopics = [(t, self.label("subcategory", n)) for t, n in zip(topics, history, strict=True)]

        def pooled(vectors, counts, logit):
            """Attention by a linear logit, and by that of an embedded count where there is one."""
            logits = [float(dense(vector, logit)[0]) for vector in vectors]
            for place, count in enumerate(counts):
                logits[place] += dense(table(encoder.count_embedding)[count], encoder.count_logit)[0]
            return np.array(layers.softmax(logits)) @ np.array(vectors)

        by_subtopic = {}
        for subtopic in dict.fromkeys(subtopics):
            members = [vector for vector, own in zip(clicked, subtopics, strict=True) if own == subtopic]
            interest = pooled(members, [], encoder.click_logit)
            by_subtopic[subtopic] = interest + table(encoder.subtopic_embedding)[subtopic[1]]
        by_topic = {}
        for topic in dict.fromkeys(topics):
            own = [subtopic for subtopic in by_subtopic if subtopic[0] == topic]
            counts = [subtopics.count(subtopic) for subtopic in own]
            interest = pooled([by_subtopic[s] for s in own], counts, encoder.subtopic_logit)
            by_topic[topic] = interest + table(encoder.topic_embedding)[topic]
        counts = [topics.count(topic) for topic in by_topic]
        whole = pooled(list(by_topic.values()), counts, encoder.topic_logit)

        vector, topic = self.news_vector(candidate), self.label("category", candidate)
        subtopic = (topic, self.label("subcategory", candidate))
        nothing = np.zeros_like(vector)
        share, subshare = topics.count(topic) / len(history), subtopics.count(subtopic) / len(history)
        lambda_t, lambda_s = self.hparams.topic_weight, self.hparams.subtopic_weight
        return (
            lambda_s * subshare * by_subtopic.get(subtopic, nothing) @ vector
            + lambda_t * share * by_topic.get(topic, nothing) @ vector
            + (1 - lambda_s - lambda_t) * whole @ vector
        )

    # === MINER ===

    def miner_score(self, history, candidate, user):
        if not history:
            return 0.0
        vector, clicked = self.news_vector(candidate), self.clicked(history)
        encoder, bias = self.user_encoder, None
        if self.hparams.category_weighting:
            [scale] = [float(w) for w in encoder.category_bias.weights]
            categories = table(encoder.category_embedding)
            own = categories[self.label("category", candidate)]
            bias = np.array([[scale * layers.cosine(categories[self.label("category", j)], own) for j in history]])
        interests, _ = layers.poly_attention(
            clicked[None], **values(encoder.poly_attention), bias=bias, keys=self.placed(history)[None]
        )
        kernel = next(iter(values(self.predictor.aggregation).values()), None)
        scores = layers.interest_aggregation(
            interests.reshape(1, -1, len(vector)), vector[None, None], self.hparams.aggregation, kernel
        )
        return scores[0, 0]
