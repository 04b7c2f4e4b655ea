"""NRMS over a pretrained language model, the paper's NRMS+BERT."""

from __future__ import annotations

from recommenders_miner.models.nrms import NRMSModel


class NRMSPLMModel(NRMSModel):
    """NRMS whose news encoder is a pretrained language model.

    Wu et al., "Empowering News Recommendation with Pre-trained Language Models", SIGIR 2021. That paper pools the
    model's outputs by attention; MINER's comparison, and `plm_pooling: cls` here, takes `[CLS]`. `news_dim` brings the
    vector to the dimension of the user encoder, `head_num` · `head_dim`.
    """
