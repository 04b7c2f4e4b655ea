"""DKN's news encoder, the knowledge-aware CNN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from recommenders_miner.encoders.news_encoder import NewsEncoder
from recommenders_miner.encoders.token_vectors import TokenVectors


@keras.saving.register_keras_serializable(package="recommenders_miner")
class KnowledgeCNNEncoder(NewsEncoder):
    """A title as three aligned channels, words, entities and the entities' contexts, under filters of several widths.

        W   = [w_i; g(e_i); g(ē_i)]_i,   g(e) = tanh(M e + b)
        c_i = f(h * W_{i:i+l-1} + b),    one number per filter h of width l and word i
        e(t) = max_i c_i of every filter

    Entities and contexts are fixed vectors, which g brings into the space of the words. A word that belongs to no
    entity has zeros in both channels. A filter starts at every word of the title, and sees zeros behind the last one.

    Wang et al., "DKN: Deep Knowledge-Aware Network for News Recommendation", WWW 2018, Section 4.3.

    Args:
        words: the vectors of a title's words.
        entities: the vectors of the entities, not trained.
        contexts: of each entity, the mean of its neighbours' vectors, not trained.
        filters: filters of each width.
        windows: the widths l.
        activation: f.

    Call arguments:
        features: dict with `title` and `word_entities`, both (U, L) int32, zeros behind the words.

    Returns:
        (U, d) news vectors, d = filters · number of widths; zero for a title without words.
    """

    PARTS = ("words", "entities", "contexts")
    features = ("title", "word_entities")

    def __init__(
        self,
        words: TokenVectors,
        entities: TokenVectors,
        contexts: TokenVectors,
        filters: int = 100,
        windows: Sequence[int] = (1, 2, 3, 4),
        activation: str = "relu",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.config = {"filters": filters, "windows": list(windows), "activation": activation}
        self.words, self.entities, self.contexts = words, entities, contexts
        self.dim = filters * len(windows)
        self.transformation = keras.layers.Dense(words.config["dim"], activation="tanh", dtype=self.dtype_policy)
        self.convolutions = [
            keras.layers.Conv1D(filters, window, activation=activation, dtype=self.dtype_policy) for window in windows
        ]

    def call(self, features: dict[str, Any], training: bool | None = None) -> Any:
        """See the class for the shapes."""
        title, word_entities = features["title"], features["word_entities"]
        words = self.words(title, training=training)
        has_entity = ops.cast(ops.not_equal(word_entities, 0), words.dtype)[..., None]
        knowledge = [
            self.transformation(vectors(word_entities, training=training)) * has_entity
            for vectors in (self.entities, self.contexts)
        ]
        channels = ops.concatenate([words, *knowledge], axis=-1)
        mask = ops.not_equal(title, 0)
        return ops.concatenate([self._max_over_time(channels, mask, filters) for filters in self.convolutions], axis=-1)

    def _max_over_time(self, channels: Any, mask: Any, convolution: keras.layers.Layer) -> Any:
        """Max-over-time pooling of one width, (U, filters)."""
        behind = convolution.kernel_size[0] - 1
        values = convolution(ops.pad(channels, [(0, 0), (0, behind), (0, 0)]))
        lowest = ops.cast(-1e4, values.dtype)
        pooled = ops.max(ops.where(mask[..., None], values, lowest), axis=1)
        return ops.where(ops.any(mask, axis=-1)[:, None], pooled, ops.zeros_like(pooled))
