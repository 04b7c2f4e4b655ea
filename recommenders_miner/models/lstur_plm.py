"""LSTUR over a pretrained language model, the paper's LSTUR+BERT."""

from __future__ import annotations

from recommenders_miner.models.lstur import LSTURModel


class LSTURPLMModel(LSTURModel):
    """LSTUR whose title encoder is a pretrained language model; category and subcategory embeddings stand beside it.

    Wu et al., "Empowering News Recommendation with Pre-trained Language Models", SIGIR 2021. The GRU and the user
    embedding have the dimension of the whole news vector: `news_dim` keeps it small.
    """
