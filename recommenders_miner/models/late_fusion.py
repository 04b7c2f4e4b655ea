"""Late fusion: Iana, Glavaš and Paulheim, "Simplifying Content-Based Neural News Recommendation", SIGIR 2023."""

from __future__ import annotations

from keras import ops

from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.encoders import InitialVectors, build_encoder
from recommenders_miner.hparams import HParams
from recommenders_miner.layers import News, Tensor, mean_weights
from recommenders_miner.models.base import BaseModel, register
from recommenders_miner.models.network import NewsRecommender, UserEncoder


class MeanUserEncoder(UserEncoder):
    """The mean of the clicked articles' vectors, which has nothing to train.

    Late fusion scores a candidate by the mean of its dot products with the N clicked articles. The dot product is
    linear, so that this is its product with one vector, which evaluation computes once per user:

        s = 1/N Σ_i n_i^T n_c = (1/N Σ_i n_i)^T n_c
    """

    def encode_history(self, history: News, mask: Tensor, user: Tensor, training: bool | None = None) -> Tensor:
        """Return user vectors (B, d); zero for an empty history."""
        weights = ops.cast(mean_weights(mask), history["vector"].dtype)
        return ops.squeeze(ops.matmul(weights[:, None, :], history["vector"]), axis=1)

    def attention_weights(self, history: News, mask: Tensor, user: Tensor, candidates: News) -> Tensor:
        """Return 1/N for each of N clicks, (B, 1, 1, M)."""
        return mean_weights(mask)[:, None, None, :]


@register(
    "late-fusion",
    paper="Iana, Glavaš and Paulheim, Simplifying Content-Based Neural News Recommendation: On User Modeling and "
    "Training Objectives, SIGIR",
    year=2023,
)
class LateFusionModel(BaseModel):
    """Late fusion: any news encoder, no user encoder; a candidate's score is the mean of its products with the clicks.

    The paper puts it in the place of the user encoders of NRMS, NAML, LSTUR, CAUM and others, and finds it as good or
    better. It trains with cross-entropy and with a contrastive loss; here the loss is the cross-entropy of all models.
    A user without clicks, of whom the paper does not speak, scores every candidate 0.
    """

    def build_network(self, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsRecommender:
        """Return the untrained network."""
        return NewsRecommender(build_encoder(hparams, vocabularies, vectors), MeanUserEncoder())
