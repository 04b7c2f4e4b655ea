"""Where a network starts from: vectors drawn at random or read from files, and a pretrained language model."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from recommenders_miner.compat.files import read_matrix
from recommenders_miner.data.features import padded
from recommenders_miner.data.vectors import read_word_vectors
from recommenders_miner.data.vocabularies import Vocabularies
from recommenders_miner.data.vocabulary import Vocabulary
from recommenders_miner.encoders import PLMEncoder
from recommenders_miner.encoders.news_encoder import random_vectors
from recommenders_miner.errors import HParamsError
from recommenders_miner.hparams import HParams

LOGGER = logging.getLogger("recommenders_miner")

MIN_WORD_LENGTH = 3


@keras.saving.register_keras_serializable(package="recommenders_miner")
class PretrainedVectors(keras.initializers.Initializer):
    """Given initial values. Its config leaves them out: a saved model has them among its weights.

    Args:
        vectors: (rows, dim) float32; None, as after loading, gives zeros, which the saved weights then replace.
    """

    def __init__(self, vectors: np.ndarray | None = None) -> None:
        self.vectors = vectors

    def __call__(self, shape: tuple[int, ...], dtype: str | None = None) -> Any:
        """Returns the vectors as a tensor."""
        return ops.zeros(shape, dtype) if self.vectors is None else ops.convert_to_tensor(self.vectors, dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make this layer again."""
        return {}


@dataclass(frozen=True)
class InitialVectors:
    """Initialisers and dimensions of the embeddings, and the language model.

    Attributes:
        words: initialiser of the word embedding.
        word_dim: its dimension.
        categories: initialiser of the category embedding.
        category_dim: its dimension.
        entities: initialiser of the entity embedding.
        entity_dim: its dimension.
        contexts: initialiser of the embedding of the entities' contexts, of the same dimension.
        plm: the pretrained news encoder; None where the hyperparameters ask for none.
    """

    words: keras.initializers.Initializer
    word_dim: int
    categories: keras.initializers.Initializer
    category_dim: int
    entities: keras.initializers.Initializer
    entity_dim: int
    contexts: keras.initializers.Initializer
    plm: PLMEncoder | None = None

    @classmethod
    def prepare(
        cls, hparams: HParams, vocabularies: Vocabularies, seed: int, find: Callable[[str], str] = str
    ) -> InitialVectors:
        """Reads what the hyperparameters ask for.

        Args:
            hparams: `word_embedding` or `wordEmb_file`, and `entity_embedding`, name files, `category_embedding` says
                where categories come from, `plm` names the language model.
            vocabularies: the words, entities and categories that need vectors.
            seed: draws the vectors of words and entities that the files lack.
            find: says where a file is that a hyperparameter names.

        Raises:
            HParamsError: `category_embedding` is `glove` or `plm`, and there is no such file or model.
            DataFormatError: a file is missing or damaged, or knows none of the words.
            PresetError: the language model cannot be had.
        """
        plm = _language_model(hparams)
        if hparams.wordEmb_file:
            words = _from_matrix(hparams, vocabularies.words)
        else:
            words = _from_file(hparams.word_embedding, vocabularies.words, hparams.word_emb_dim, find, [seed, 1])
        categories = _categories(hparams, vocabularies, plm, find)
        return cls(*words, *categories, *_entities(hparams, vocabularies, seed, find), plm)


Start = tuple[keras.initializers.Initializer, int]


def _from_file(path: str | None, tokens: Vocabulary, dim: int, find: Callable[[str], str], seed: list[int]) -> Start:
    """The initialiser and dimension of an embedding: a file's, or `dim` random numbers."""
    if not path:
        return random_vectors(), dim
    matrix, _ = read_word_vectors(find(path), tokens, np.random.default_rng(seed))
    return PretrainedVectors(matrix), matrix.shape[1]


def _entities(
    hparams: HParams, vocabularies: Vocabularies, seed: int, find: Callable[[str], str]
) -> tuple[keras.initializers.Initializer, int, keras.initializers.Initializer]:
    """The initialisers of the entity and the context embedding, and the dimension of both."""
    names, dim = vocabularies.entities, hparams.word_emb_dim
    file = hparams.entity_embedding if hparams.news_encoder in ("knowledge", "kcnn") else None
    entities, dim = _from_file(file, names, dim, find, [seed, 2])
    if vocabularies.neighbours is None:
        return entities, dim, random_vectors()
    if not isinstance(entities, PretrainedVectors):
        entities = PretrainedVectors(np.random.default_rng([seed, 2]).normal(0, 0.3, (len(names), dim)))
    return entities, dim, PretrainedVectors(context_vectors(entities.vectors, vocabularies.neighbours))


def context_vectors(vectors: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """Returns the mean vector of each entity's neighbours, zero where there are none (DKN, Section 4.3).

    Args:
        vectors: (E, dim) of the entities.
        neighbours: (P, 2) int32 pairs of an entity and a neighbour.

    Returns:
        (E, dim) float32.
    """
    sums = np.zeros(vectors.shape, "float32")
    np.add.at(sums, neighbours[:, 0], vectors[neighbours[:, 1]].astype("float32"))
    counts = np.bincount(neighbours[:, 0], minlength=len(vectors))
    return sums / np.maximum(counts, 1)[:, None].astype("float32")


def _from_matrix(hparams: HParams, words: Vocabulary) -> Start:
    """The initialiser and dimension of a word embedding in Recommenders' form."""
    matrix = read_matrix(hparams.wordEmb_file, hparams.wordDict_file, words)
    if matrix.shape[1] != hparams.word_emb_dim:
        LOGGER.info(
            "%s: its vectors have %d dimensions, and so has the word embedding; word_emb_dim says %d.",
            hparams.wordEmb_file,
            matrix.shape[1],
            hparams.word_emb_dim,
        )
    return PretrainedVectors(matrix), matrix.shape[1]


def _language_model(hparams: HParams) -> PLMEncoder | None:
    if hparams.news_encoder != "plm" or not hparams.plm:
        return None
    return PLMEncoder.from_preset(
        hparams.plm,
        plm_dropout=hparams.plm_dropout,
        depth=hparams.plm_depth,
        trainable_layers=hparams.plm_layers,
        pooling=hparams.plm_pooling,
        news_dim=hparams.news_dim,
        dropout=hparams.dropout,
    )


def _categories(
    hparams: HParams, vocabularies: Vocabularies, plm: PLMEncoder | None, find: Callable[[str], str]
) -> Start:
    """The initialiser and dimension of MINER's category embedding."""
    if hparams.category_embedding == "learned":
        return random_vectors(), hparams.vert_emb_dim
    if hparams.category_embedding == "glove":
        if not hparams.word_embedding:
            raise HParamsError("category_embedding: 'glove' needs word_embedding, a file of word vectors.")
        matrix = category_vectors(find(hparams.word_embedding), vocabularies.categories)
    else:
        if plm is None:
            raise HParamsError("category_embedding: 'plm' needs news_encoder: plm.")
        names, size = vocabularies.categories.tokens[2:], hparams.title_size
        vectors = plm.title_vectors(padded(vocabularies.pieces.encode(names, size), size))
        matrix = np.pad(vectors[1:], [(2, 0), (0, 0)])  # padding and unknown are zero
    return PretrainedVectors(matrix), matrix.shape[1]


def category_vectors(path: str, categories: Vocabulary) -> np.ndarray:
    """Returns the mean vector of each category's words (SPEC: b_j and b_c), zero where no word is known.

    Args:
        path: a file of word vectors.
        categories: the category names.

    Returns:
        (len(categories), dim) float32; padding and unknown are zero.
    """
    pieces = Vocabulary(sorted({piece for name in categories.tokens[2:] for piece in _pieces(name)}))
    matrix, found = read_word_vectors(path, pieces, np.random.default_rng(0))
    known = {token for token, is_found in zip(pieces.tokens, found, strict=True) if is_found}
    vectors = np.zeros((len(categories), matrix.shape[1]), "float32")
    for row, name in enumerate(categories.tokens[2:], start=2):
        words = split_category(name, known)
        if words:
            vectors[row] = matrix[pieces.encode(words)].mean(axis=0)
    return vectors


def split_category(name: str, known: Container[str]) -> list[str]:
    """Splits a category name into its words: `foodanddrink` into food and drink, `northamerica` into north and america.

    Non-letters separate words. A part that is no known word is cut into the fewest known words of at least three
    letters; if that cannot be done, the part is left out. The word "and" says nothing and is dropped.

    Args:
        name: the category's name.
        known: the words that have vectors.
    """
    words = [word for part in _parts(name) for word in _fewest_words(part, known) or []]
    return [word for word in words if word != "and"]


def _parts(name: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", name.lower())


def _pieces(name: str) -> set[str]:
    """All substrings that could be a word of the name."""
    return {
        part[start:end]
        for part in _parts(name)
        for start in range(len(part))
        for end in range(start + 1, len(part) + 1)
        if end - start >= MIN_WORD_LENGTH or part == part[start:end]
    }


def _fewest_words(part: str, known: Container[str]) -> list[str] | None:
    """Cuts `part` into as few known words as possible; None where it cannot be."""
    best: list[list[str] | None] = [[]] + [None] * len(part)
    for end in range(1, len(part) + 1):
        for start in range(end):
            word = part[start:end]
            if best[start] is None or word not in known or (len(word) < MIN_WORD_LENGTH and word != part):
                continue
            if best[end] is None or len(best[start]) + 1 < len(best[end]):
                best[end] = [*best[start], word]
    return best[-1]
