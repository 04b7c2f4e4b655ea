"""The news encoders that several systems share, in the sizes that the hyperparameters say."""

from __future__ import annotations

from collections.abc import Callable

from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.encoders import (
    CategoryEncoder,
    CNNEncoder,
    KnowledgeCNNEncoder,
    KnowledgeEncoder,
    MultiViewEncoder,
    NewsEncoder,
    SelfAttentionEncoder,
    TokenVectors,
)
from recommenders_miner.errors import HParamsError
from recommenders_miner.hparams import HParams
from recommenders_miner.layers import WordConvolution
from recommenders_miner.models.initial_vectors import InitialVectors


def title_encoder(hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsEncoder:
    """Returns the encoder that `hparams.news_encoder` names.

    Raises:
        HParamsError: it needs a hyperparameter that is not given.
    """
    if hparams.news_encoder not in _ENCODERS:
        raise HParamsError(f"news_encoder: {hparams.news_encoder!r} gives no news vectors, which this system needs.")
    return _ENCODERS[hparams.news_encoder](hparams, vocabularies, vectors)


def title_words(hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> TokenVectors:
    """Returns the word vectors that an encoder starts with."""
    return TokenVectors(len(vocabularies.words), vectors.word_dim, hparams.dropout, vectors.words)


def word_convolution(hparams: HParams) -> WordConvolution:
    """Returns a convolution over words."""
    return WordConvolution(hparams.filter_num, hparams.window_size, hparams.cnn_activation, hparams.dropout)


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
    return _attention(hparams, title_words(hparams, vocabularies, vectors))


def _cnn(hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsEncoder:
    words = title_words(hparams, vocabularies, vectors)
    return CNNEncoder(words, word_convolution(hparams), hparams.attention_hidden_dim)


def _multi_view(hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsEncoder:
    labels = [
        CategoryEncoder(feature, len(names), dim, hparams.filter_num, hparams.dense_activation)
        for feature, names, dim in (
            ("category", vocabularies.categories, hparams.vert_emb_dim),
            ("subcategory", vocabularies.subcategories, hparams.subvert_emb_dim),
        )
    ]
    texts = ("title", "abstract")
    words = title_words(hparams, vocabularies, vectors)
    convolutions = [word_convolution(hparams) for _ in texts]
    return MultiViewEncoder(words, convolutions, labels, texts, hparams.attention_hidden_dim)


def _knowledge(hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsEncoder:
    text = _attention(hparams, title_words(hparams, vocabularies, vectors))
    entities = TokenVectors(len(vocabularies.entities), vectors.entity_dim, hparams.dropout, vectors.entities)
    dim = hparams.news_dim or hparams.head_num * hparams.head_dim
    return KnowledgeEncoder(text, _attention(hparams, entities, "entities"), dim)


def _kcnn(hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsEncoder:
    entities, contexts = (
        TokenVectors(len(vocabularies.entities), vectors.entity_dim, 0.0, start, trained=False)
        for start in (vectors.entities, vectors.contexts)
    )
    words = title_words(hparams, vocabularies, vectors)
    return KnowledgeCNNEncoder(
        words, entities, contexts, hparams.filter_num, hparams.window_sizes, hparams.cnn_activation
    )


def _plm(hparams: HParams, vocabularies: Vocabularies, vectors: InitialVectors) -> NewsEncoder:
    if vectors.plm is None:
        raise HParamsError("news_encoder: 'plm' needs plm, the name or folder of a pretrained language model.")
    return vectors.plm


_ENCODERS: dict[str, Callable[[HParams, Vocabularies, InitialVectors], NewsEncoder]] = {
    "self_attention": _self_attention,
    "cnn": _cnn,
    "multi_view": _multi_view,
    "knowledge": _knowledge,
    "kcnn": _kcnn,
    "plm": _plm,
}
