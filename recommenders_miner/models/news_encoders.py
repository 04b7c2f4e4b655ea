"""The news encoders that several systems share, in the sizes that the hyperparameters say."""

from __future__ import annotations

from collections.abc import Callable

from recommenders_miner.encoders import (
    CNNTitleEncoder,
    KnowledgeEncoder,
    NewsEncoder,
    SelfAttentionEncoder,
    TokenVectors,
)
from recommenders_miner.errors import HParamsError
from recommenders_miner.hparams import HParams
from recommenders_miner.io.vocabularies import Vocabularies
from recommenders_miner.models.initial_vectors import InitialVectors


def title_encoder(hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsEncoder:
    """Returns the encoder that `hparams.news_encoder` names.

    Raises:
        HParamsError: it needs a hyperparameter that is not given.
    """
    return _ENCODERS[hparams.news_encoder](hparams, vocabularies, vectors)


def _words(hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> TokenVectors:
    return TokenVectors(len(vocabularies.words), vectors.word_dim, hparams.dropout, vectors.words)


def _attention(hparams: HParams, tokens: TokenVectors, feature: str = "title") -> SelfAttentionEncoder:
    return SelfAttentionEncoder(
        tokens,
        num_heads=hparams.head_num,
        head_dim=hparams.head_dim,
        attention_dim=hparams.attention_hidden_dim,
        dropout=hparams.dropout,
        feature=feature,
    )


def _self_attention(hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsEncoder:
    return _attention(hparams, _words(hparams, vocabularies, vectors))


def _cnn(hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsEncoder:
    return CNNTitleEncoder(
        _words(hparams, vocabularies, vectors),
        filters=hparams.filter_num,
        window=hparams.window_size,
        activation=hparams.cnn_activation,
        attention_dim=hparams.attention_hidden_dim,
        dropout=hparams.dropout,
    )


def _knowledge(hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsEncoder:
    text = _attention(hparams, _words(hparams, vocabularies, vectors))
    entities = TokenVectors(len(vocabularies.entities), vectors.entity_dim, hparams.dropout, vectors.entities)
    dim = hparams.news_dim or hparams.head_num * hparams.head_dim
    return KnowledgeEncoder(text, _attention(hparams, entities, "entities"), dim)


def _plm(hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsEncoder:
    if vectors.plm is None:
        raise HParamsError("news_encoder: 'plm' needs plm, the name or folder of a pretrained language model.")
    return vectors.plm


_ENCODERS: dict[str, Callable[[HParams, Vocabularies, InitialVectors], NewsEncoder]] = {
    "self_attention": _self_attention,
    "cnn": _cnn,
    "knowledge": _knowledge,
    "plm": _plm,
}
