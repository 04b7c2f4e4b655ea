"""NRMS: Wu et al., "Neural News Recommendation with Multi-Head Self-Attention", EMNLP-IJCNLP 2019."""

from __future__ import annotations

from typing import Any

from keras import ops

from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.encoders import InitialVectors, NewsEncoder, SelfAttentionHParams, build_encoder
from recommenders_miner.errors import HParamsError
from recommenders_miner.hparams import HParams, hparam
from recommenders_miner.layers import AdditiveAttention, HistoryPositions, News, SelfAttention, Tensor
from recommenders_miner.models.base import BaseModel, register
from recommenders_miner.models.network import ClickPredictor, DotProductPredictor, NewsRecommender, UserEncoder


class NRMSUserEncoder(UserEncoder):
    """The clicked articles attend to each other, then are pooled by additive attention (Section 2.2).

    With `positions`, the number of clicks that are read, they know their places: see `HistoryPositions`.
    """

    def __init__(
        self, num_heads: int = 20, head_dim: int = 20, attention_dim: int = 200, positions: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.positions = HistoryPositions(positions, dtype=self.dtype_policy) if positions else None
        self.self_attention = SelfAttention(num_heads, head_dim, dtype=self.dtype_policy)
        self.pooling = AdditiveAttention(attention_dim, dtype=self.dtype_policy)

    def encode_history(self, history: News, mask: Tensor, user: Tensor, training: bool | None = None) -> Tensor:
        """Return user vectors (B, num_heads · head_dim); zero for an empty history."""
        return self.pooling(self.self_attention(self._placed(history, mask), mask=mask), mask=mask)

    def _placed(self, history: News, mask: Tensor) -> Tensor:
        return history["vector"] if self.positions is None else self.positions(history["vector"], mask)

    def attention_weights(self, history: News, mask: Tensor, user: Tensor, candidates: News) -> Tensor:
        """Return (B, 1, 1, M): of click j `Σ_i w_i mean_h S_hij`, for pooling weights w and the heads' attention S.

        It is the attention rollout of Abnar and Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020,
        without its half of the identity, which stands for residual connections; NRMS has none.
        """
        attended, heads = self.self_attention(self._placed(history, mask), mask=mask, return_weights=True)
        _, weights = self.pooling(attended, mask=mask, return_weights=True)
        return ops.matmul(weights[:, None, None, :], ops.mean(heads, axis=1, keepdims=True))


class NRMSHParams(SelfAttentionHParams):
    """Hyperparameters of NRMS."""

    history_positions: bool = hparam("model", False, "clicks know their places in the history")


@register("nrms", paper="Wu et al., Neural News Recommendation with Multi-Head Self-Attention, EMNLP", year=2019)
class NRMSModel(BaseModel):
    """NRMS: self-attention over a title's words and over the clicked articles; scored by dot product (Section 2.3).

    The paper's settings, those of nrms.yaml: 300-d GloVe words, 16 heads of 16, additive attention of 200, dropout 20
    %, 4 negatives, batch 64, Adam (Section 3.1).
    """

    hparams_class = NRMSHParams

    def build_network(self, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsRecommender:
        """Return the untrained network."""
        news_encoder = build_encoder(hparams, vocabularies, vectors)
        user_dim = hparams.head_num * hparams.head_dim
        if news_encoder.dim != user_dim:
            raise HParamsError(
                f"head_num · head_dim, the user vector's dimension, is {user_dim}, and the news vector's is "
                f"{news_encoder.dim}: the dot product needs them equal. Set news_dim, or the heads."
            )
        news_encoder = self.around(news_encoder, hparams, vocabularies, vectors)
        return NewsRecommender(news_encoder, self.user_encoder(hparams), self.click_predictor(hparams))

    def around(
        self, news_encoder: NewsEncoder, hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors
    ) -> NewsEncoder:
        """Return the untrained news encoder with what a model puts around it; vectors keep their dimension."""
        return news_encoder

    def user_encoder(self, hparams: HParams) -> UserEncoder:
        """Return the untrained user encoder, whose vectors have the dimension of all heads."""
        positions = hparams.his_size if hparams.history_positions else 0
        return NRMSUserEncoder(hparams.head_num, hparams.head_dim, hparams.attention_hidden_dim, positions)

    def click_predictor(self, hparams: HParams) -> ClickPredictor:
        """Return the untrained click predictor."""
        return DotProductPredictor()


@register(
    "nrms-plm", paper="Wu et al., Empowering News Recommendation with Pre-trained Language Models, SIGIR", year=2021
)
class NRMSPLMModel(NRMSModel):
    """NRMS whose news encoder is a pretrained language model.

    As in Wu et al. (Sections 3.1 and 3.4) nrms-plm.yaml trains the two upper layers and pools their outputs by
    attention; `plm_pooling: cls` takes `[CLS]` as MINER does. `news_dim` brings the vector to the dimension of the user
    encoder, `head_num` · `head_dim`.
    """

    news_encoder = "plm"
