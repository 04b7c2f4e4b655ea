"""A news as the sparse features of a factorisation machine: its id and the TF-IDF vector of its title."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from recommenders_miner.data.vocabulary import UNKNOWN_ID
from recommenders_miner.encoders.news_encoder import NewsEncoder
from recommenders_miner.layers import FactorTable


@keras.saving.register_keras_serializable(package="recommenders_miner")
class TfidfEncoder(NewsEncoder):
    """What a factorisation machine needs of a news, as a candidate and as a part of a history.

    A title has weights and factors of its own in each of the two roles, since they are different fields. Titles come as
    the ids and weights of their terms, so that nothing is as wide as the vocabulary of terms.

    Args:
        num_news: ids of news, padding and unknown included.
        num_terms: ids of terms, padding and unknown included.
        dim: length k of a factor.

    Call arguments:
        features: dict with `news_id` (U,) int32, `term` (U, L) int32, each term of a title once, and `term_weight`
            (U, L) float32, zeros behind the last.

    Returns:
        A dict. As a candidate, `vector` (U, k), `linear` (U,) and `squares` (U,) of all its features (the three sums of
        `FactorTable`), and `vector`'s two parts, `id_vector` and `title_vector` (U, k). As a clicked news,
        `clicked_vector` (U, k) and `clicked_linear` (U,). And, for the squares of a history, whose news may share
        terms, `term` and `term_weight` again and `term_norm` (U, L), the squared length of each term's clicked factor.
        All float32 but `term`, and all zeros for the padding news.
    """

    features = ("news_id", "term", "term_weight")

    def __init__(self, num_news: int, num_terms: int, dim: int, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.config = {"num_news": num_news, "num_terms": num_terms, "dim": dim}
        self.dim = dim
        self.news = FactorTable(num_news, dim, dtype=self.dtype_policy)
        self.title_terms = FactorTable(num_terms, dim, dtype=self.dtype_policy)
        self.clicked_terms = FactorTable(num_terms, dim, dtype=self.dtype_policy)

    def call(self, features: dict[str, Any], training: bool | None = None) -> dict[str, Any]:
        """See the class for the shapes."""
        term, weight = features["term"], ops.cast(features["term_weight"], "float32")
        identity = one_hot_sums(self.news, features["news_id"])
        title = self.title_terms(term, weight)
        clicked = self.clicked_terms(term, weight)
        return {
            "vector": identity["sums"] + title["sums"],
            "linear": identity["linear"] + title["linear"],
            "squares": identity["squares"] + title["squares"],
            "id_vector": identity["sums"],
            "title_vector": title["sums"],
            "clicked_vector": clicked["sums"],
            "clicked_linear": clicked["linear"],
            "term": term,
            "term_weight": weight,
            "term_norm": self.clicked_terms.norms(term) * ops.cast(weight > 0, "float32"),
        }


def one_hot_sums(table: FactorTable, ids: Any) -> dict[str, Any]:
    """Returns a table's three sums over one feature a row, the id; none where it is padding (0) or unknown (1).

    So what training has not seen has no weight and no factor.

    Args:
        table: weights and factors of the ids.
        ids: (B,) int32.
    """
    return table(ids[:, None], ops.cast(ids > UNKNOWN_ID, "float32")[:, None])
