"""Where the vectors of words and categories start from: drawn at random, or read from a file of word vectors."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from recommenders_miner.encoders.news_encoder import random_vectors
from recommenders_miner.errors import HParamsError
from recommenders_miner.hparams import HParams
from recommenders_miner.io.vocabularies import Vocabularies
from recommenders_miner.io.vocabulary import Vocabulary
from recommenders_miner.io.word_vectors import read_word_vectors

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
    """Initialisers and dimensions of the word and category embeddings.

    Attributes:
        words: initialiser of the word embedding.
        word_dim: its dimension.
        categories: initialiser of the category embedding.
        category_dim: its dimension.
    """

    words: keras.initializers.Initializer
    word_dim: int
    categories: keras.initializers.Initializer
    category_dim: int

    @classmethod
    def prepare(cls, hparams: HParams, vocabularies: Vocabularies, seed: int) -> InitialVectors:
        """Reads what the hyperparameters ask for.

        Args:
            hparams: `word_embedding` names the file; `category_embedding` says whether categories come from it too.
            vocabularies: the words and categories that need vectors.
            seed: draws the vectors of words that the file lacks.

        Raises:
            HParamsError: `category_embedding` is `glove` and there is no file.
            DataFormatError: the file is missing or damaged, or knows none of the words.
        """
        words, word_dim = random_vectors(), hparams.word_emb_dim
        categories, category_dim = random_vectors(), hparams.vert_emb_dim
        if hparams.word_embedding:
            rng = np.random.default_rng([seed, 1])
            matrix, _ = read_word_vectors(hparams.word_embedding, vocabularies.words, rng)
            words, word_dim = PretrainedVectors(matrix), matrix.shape[1]
        if hparams.category_embedding == "glove":
            if not hparams.word_embedding:
                raise HParamsError("category_embedding: 'glove' needs word_embedding, a file of word vectors.")
            matrix = category_vectors(hparams.word_embedding, vocabularies.categories)
            categories, category_dim = PretrainedVectors(matrix), matrix.shape[1]
        return cls(words, word_dim, categories, category_dim)


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
