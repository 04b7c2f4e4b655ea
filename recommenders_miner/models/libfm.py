"""LibFM: Rendle, "Factorization Machines with libFM", ACM TIST 3(3), 2012, on ids and TF-IDF features of news."""

from __future__ import annotations

from typing import Any

from keras import ops

from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.data.vocabulary import UNKNOWN_ID
from recommenders_miner.encoders import InitialVectors, NewsEncoder, news_encoder
from recommenders_miner.errors import HParamsError
from recommenders_miner.hparams import HParams, hparam
from recommenders_miner.layers import FactorizationMachine, FactorTable, News, Tensor, merged_squares
from recommenders_miner.models.base import BaseModel, register
from recommenders_miner.models.network import ClickPredictor, NewsRecommender, UserEncoder, Users


class TfidfHParams(HParams):
    """Hyperparameters of the sparse features."""

    max_terms: int = hparam("data", 50_000, "terms of the TF-IDF features, the most frequent", ge=1)


class FactorHParams(HParams):
    """Hyperparameters of factorisation machines."""

    factor_dim: int = hparam("model", 16, "dimension of a feature's factor", ge=1)


@news_encoder("tfidf", TfidfHParams)
class TfidfEncoder(NewsEncoder):
    """What a factorisation machine needs of an article, as a candidate and as a part of a history.

    A title has weights and factors of its own in each of the two roles, since they are different fields. Titles come as
    the ids and weights of their terms, so that nothing is as wide as the vocabulary of terms.

    It reads `news_id` (U,) int32, `term` (U, L) int32, each term of a title once, and `term_weight` (U, L) float32,
    zeros behind the last. It returns, as a candidate, the three sums of `FactorTable` over all its features, `vector`
    (U, k), `linear` (U,) and `squares` (U,), and `vector`'s two parts, `id_vector` and `title_vector`; as a clicked
    article, `clicked_vector` and `clicked_linear`; and, for the squares of a history, whose articles may share terms,
    `term` and `term_weight` again and `term_norm` (U, L), the squared length of each term's clicked factor.
    """

    features = ("news_id", "term", "term_weight")

    def __init__(self, num_news: int, num_terms: int, dim: int, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.dim = dim
        self.news = FactorTable(num_news, dim, dtype=self.dtype_policy)
        self.title_terms = FactorTable(num_terms, dim, dtype=self.dtype_policy)
        self.clicked_terms = FactorTable(num_terms, dim, dtype=self.dtype_policy)

    def call(self, features: News, training: bool | None = None) -> News:
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


def one_hot_sums(table: FactorTable, ids: Tensor) -> dict[str, Any]:
    """Return a table's three sums over one feature a row, the id (B,) int32; none where it is padding or unknown.

    So what training has not seen has no weight and no factor.
    """
    return table(ids[:, None], ops.cast(ids > UNKNOWN_ID, "float32")[:, None])


class FactorUserEncoder(UserEncoder):
    """A user's sparse features: the user's id, and the mean of the TF-IDF vectors of the clicked titles."""

    reads_vectors = False

    def __init__(self, num_users: int, dim: int, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.users = FactorTable(num_users, dim, dtype=self.dtype_policy)

    def encode_history(self, history: News, mask: Tensor, user: Tensor, training: bool | None = None) -> News:
        """Return the three sums of all the user's features as `vector` (B, k), `linear` (B,) and `squares` (B,).

        Beside them come `vector`'s two parts, `id_vector` and `history_vector`. An empty history adds nothing.
        """
        clicks = ops.cast(mask, "float32")
        share = clicks / ops.maximum(ops.sum(clicks, axis=-1, keepdims=True), 1.0)
        identity = one_hot_sums(self.users, user)
        history_vector = ops.sum(share[..., None] * history["clicked_vector"], axis=1)
        linear = ops.sum(share * history["clicked_linear"], axis=1)
        # A term's value in the mean is the sum of what it has in each of the titles.
        terms, values, norms = (
            ops.reshape(array, (ops.shape(array)[0], -1))
            for array in (history["term"], share[..., None] * history["term_weight"], history["term_norm"])
        )
        return {
            "vector": identity["sums"] + history_vector,
            "linear": identity["linear"] + linear,
            "squares": identity["squares"] + merged_squares(terms, values, norms),
            "id_vector": identity["sums"],
            "history_vector": history_vector,
        }


class FactorizationMachinePredictor(ClickPredictor):
    """The factorisation machine over the features of user and candidate together, in O(k) for each candidate."""

    not_searchable = "its score has terms of the candidate alone beside the product with the user"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.machine = FactorizationMachine(dtype=self.dtype_policy)

    def call(self, users: Users, candidates: News, mask: Tensor = None, training: bool | None = None) -> Tensor:
        """Return scores (B, C) of the sums of users, (B, …), and of candidates, (B, C, …)."""
        return self.machine(
            linear=users["linear"][:, None] + candidates["linear"],
            sums=users["vector"][:, None] + candidates["vector"],
            squares=users["squares"][:, None] + candidates["squares"],
        )


@register("libfm", paper="Rendle, Factorization Machines with libFM, ACM TIST", year=2012)
class LibFMModel(BaseModel):
    """LibFM: a factorisation machine of degree 2 over four fields of sparse features.

    The fields are the user's id, the candidate's id, the TF-IDF vector of the candidate's title, and the mean of those
    of the clicked titles. All pairs of features interact, so the history's words meet the candidate's, and ids meet
    words; weights and factors of a word differ between the two fields.

        s = w_0 + Σ_i w_i x_i + Σ_{i<j} v_i·v_j x_i x_j

    The loss is log loss on clicks and non-clicks (`loss: log_loss` in libfm.yaml). As in libFM, factors start from a
    normal distribution and weights from zero; libFM's own defaults are k = 8 and a standard deviation of 0.1.

    Where this differs: libFM learns by SGD, ALS or MCMC with an L2 penalty, here it is Adam without one. It takes every
    sample of the log; here, as for the other models, `npratio` non-clicks are drawn beside each click, so w_0 is
    fitted to that share of clicks and not to the log's, which leaves the ranking alone. Users and articles that
    training did not see have no weight and no factor.
    """

    hparams_class = FactorHParams
    news_encoder = "tfidf"
    user_aware = True

    def build_network(self, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsRecommender:
        """Return the untrained network."""
        if hparams.news_encoder != "tfidf":
            raise HParamsError(f"news_encoder: {type(self).__name__} reads tfidf, not {hparams.news_encoder}.")
        news_encoder = TfidfEncoder(len(vocabularies.news), len(vocabularies.terms.terms), hparams.factor_dim)
        user_encoder = FactorUserEncoder(len(vocabularies.users), hparams.factor_dim)
        return NewsRecommender(news_encoder, user_encoder, self.click_predictor(hparams))

    def click_predictor(self, hparams: HParams) -> ClickPredictor:
        """Return what scores the sums of user and candidate."""
        return FactorizationMachinePredictor()
