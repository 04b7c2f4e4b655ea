"""The title encoders that several systems share, in the sizes that the hyperparameters say."""

from __future__ import annotations

from recommenders_miner.encoders import CNNTitleEncoder, SelfAttentionTitleEncoder, TitleWords
from recommenders_miner.hparams import HParams
from recommenders_miner.io.vocabularies import Vocabularies
from recommenders_miner.models.initial_vectors import InitialVectors


def title_words(hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> TitleWords:
    """Returns the word vectors of a title: `word_embedding`'s, or `word_emb_dim` random numbers a word."""
    return TitleWords(len(vocabularies.words), vectors.word_dim, hparams.dropout, vectors.words)


def self_attention_title_encoder(
    hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors
) -> SelfAttentionTitleEncoder:
    """Returns NRMS' title encoder."""
    return SelfAttentionTitleEncoder(
        title_words(hparams, vocabularies, vectors),
        num_heads=hparams.head_num,
        head_dim=hparams.head_dim,
        attention_dim=hparams.attention_hidden_dim,
        dropout=hparams.dropout,
    )


def cnn_title_encoder(hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> CNNTitleEncoder:
    """Returns LSTUR's and NAML's title encoder."""
    return CNNTitleEncoder(
        title_words(hparams, vocabularies, vectors),
        filters=hparams.filter_num,
        window=hparams.window_size,
        activation=hparams.cnn_activation,
        attention_dim=hparams.attention_hidden_dim,
        dropout=hparams.dropout,
    )
