"""Where a network starts from: vectors drawn at random or read from files, and a pretrained language model."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Container, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from recommenders_miner.data.features import padded
from recommenders_miner.data.vectors import read_word_vectors
from recommenders_miner.data.vocabularies import Vocabularies, entity_files
from recommenders_miner.data.vocabulary import Vocabulary
from recommenders_miner.errors import DataFormatError, HParamsError
from recommenders_miner.hparams import HParams

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
        """Return the vectors as a tensor."""
        return ops.zeros(shape, dtype) if self.vectors is None else ops.convert_to_tensor(self.vectors, dtype)

    def get_config(self) -> dict[str, Any]:
        """Return no argument."""
        return {}


def random_vectors() -> keras.initializers.Initializer:
    """Return an initialiser of embeddings: normal with a standard deviation of 0.3, about that of GloVe's vectors."""
    return keras.initializers.RandomNormal(stddev=0.3)


Start = tuple[keras.initializers.Initializer, int]
"""The initialiser of an embedding, and its dimension."""


class InitialVectors:
    """What embeddings start from, each read when an encoder asks for it.

    What is drawn at random is drawn in a fixed order when this is made, behind the language model's own weights, so
    that a model's initial weights depend on its seed alone and not on who asks first.

    The seed draws the vectors of words and entities that the files lack, `find` says where a file is that a
    hyperparameter names, `word_matrix` (len(words), dim) takes the place of a file's, and `plm` is the pretrained news
    encoder, loaded before; None where the hyperparameters ask for none.
    """

    def __init__(
        self,
        hparams: HParams,
        vocabularies: Vocabularies,
        seed: int,
        find: Callable[[str], str],
        word_matrix: np.ndarray | None,
        plm: Any,
    ) -> None:
        self.hparams, self.vocabularies, self.seed, self.find = hparams, vocabularies, seed, find
        self.word_matrix, self.plm = word_matrix, plm
        self._entity_files = entity_files(hparams, find) if "entities" in vocabularies else []
        self._category_source = getattr(hparams, "category_embedding", "learned")
        from_files = {
            "words": word_matrix is not None or bool(hparams.word_embedding),
            "categories": self._category_source != "learned",
            "entities": bool(self._entity_files),
            "contexts": "neighbours" in vocabularies,
        }
        self._random = {name: random_vectors() for name, from_file in from_files.items() if not from_file}

    @functools.cache  # noqa: B019  # it lives as long as a model is built
    def words(self) -> Start:
        """Return what the word embedding starts from; raise `DataFormatError` where the file is of no use."""
        if self.word_matrix is not None:
            return PretrainedVectors(self.word_matrix), self.word_matrix.shape[1]
        file = self.hparams.word_embedding
        return self._from_files("words", [self.find(file)] if file else [], [self.seed, 1])

    @functools.cache  # noqa: B019
    def entities(self) -> Start:
        """Return what the entity embedding starts from; raise `DataFormatError` as `words` does."""
        start, dim = self._from_files("entities", self._entity_files, [self.seed, 2])
        if "neighbours" in self.vocabularies and not isinstance(start, PretrainedVectors):
            size = (len(self.vocabularies.entities), dim)
            start = PretrainedVectors(np.random.default_rng([self.seed, 2]).normal(0, 0.3, size))
        return start, dim

    def contexts(self) -> Start:
        """Return what the embedding of the entities' contexts starts from, the mean of each entity's neighbours."""
        entities, dim = self.entities()
        if "neighbours" not in self.vocabularies:
            return self._random["contexts"], dim
        return PretrainedVectors(context_vectors(entities.vectors, self.vocabularies.neighbours)), dim

    def categories(self) -> Start:
        """Return what MINER's category embedding starts from; `HParamsError` where there is no such file or model."""
        if self._category_source == "learned":
            return self._random["categories"], self.hparams.vert_emb_dim
        if self._category_source == "glove":
            if not self.hparams.word_embedding:
                raise HParamsError("category_embedding: 'glove' needs word_embedding, a file of word vectors.")
            matrix = category_vectors(self.find(self.hparams.word_embedding), self.vocabularies.categories)
        else:
            if self.plm is None:
                raise HParamsError("category_embedding: 'plm' needs news_encoder: plm.")
            names, size = self.vocabularies.categories.tokens[2:], self.hparams.title_size
            vectors = self.plm.title_vectors(padded(self.vocabularies.pieces.encode(names, size), size))
            matrix = np.pad(vectors[1:], [(2, 0), (0, 0)])  # padding and unknown are zero
        return PretrainedVectors(matrix), matrix.shape[1]

    def _from_files(self, name: str, paths: Sequence[str], seed: list[int]) -> Start:
        """Take a token's vector from the first file that has it."""
        if not paths:
            return self._random[name], self.hparams.word_emb_dim
        tokens = getattr(self.vocabularies, name)
        matrix, found = read_word_vectors(paths[0], tokens, np.random.default_rng(seed))
        for path in paths[1:]:
            further, in_further = read_word_vectors(path, tokens, np.random.default_rng(seed))
            if further.shape != matrix.shape:
                problem = f"has vectors of {further.shape[1]} numbers, {paths[0]} of {matrix.shape[1]}."
                raise DataFormatError(path, problem)
            matrix, found = np.where((in_further & ~found)[:, None], further, matrix), found | in_further
        return PretrainedVectors(matrix), matrix.shape[1]


def context_vectors(vectors: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """Return the mean vector of each entity's neighbours, (E, dim), zero where there are none (DKN, Section 4.3).

    `neighbours` are (P, 2) pairs of an entity and a neighbour.
    """
    sums = np.zeros(vectors.shape, "float32")
    np.add.at(sums, neighbours[:, 0], vectors[neighbours[:, 1]].astype("float32"))
    counts = np.bincount(neighbours[:, 0], minlength=len(vectors))
    return sums / np.maximum(counts, 1)[:, None].astype("float32")


def category_vectors(path: str, categories: Vocabulary) -> np.ndarray:
    """Return the mean vectors of categories' words (MINER, Section 3.4: b_j and b_c), zero where no word is known.

    They are (len(categories), dim) float32; padding and unknown are zero.
    """
    parts = {part for name in categories.tokens[2:] for part in _parts(name)}
    pieces = Vocabulary(sorted(set().union(*map(_pieces, parts))))
    matrix, found = read_word_vectors(path, pieces, np.random.default_rng(0))
    known = {token for token, is_found in zip(pieces.tokens, found, strict=True) if is_found}
    vectors = np.zeros((len(categories), matrix.shape[1]), "float32")
    for row, name in enumerate(categories.tokens[2:], start=2):
        words = split_category(name, known)
        if words:
            vectors[row] = matrix[pieces.encode(words)].mean(axis=0)
    return vectors


def split_category(name: str, known: Container[str]) -> list[str]:
    """Split a category name into its words: `foodanddrink` into food and drink, `northamerica` into north and america.

    Non-letters separate words. A part that is no known word is cut into the fewest known words of at least three
    letters; if that cannot be done, the part is left out. The word "and" says nothing and is dropped.
    """
    words: list[str] = []
    for part in _parts(name):
        fewest: dict[int, list[str]] = {0: []}  # of each beginning of the part that can be cut
        allowed = _pieces(part)
        for end in range(1, len(part) + 1):
            cuts = [
                [*fewest[start], part[start:end]]
                for start in range(end)
                if start in fewest and part[start:end] in allowed and part[start:end] in known
            ]
            if cuts:
                fewest[end] = min(cuts, key=len)
        words += fewest.get(len(part), [])
    return [word for word in words if word != "and"]


def _parts(name: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", name.lower())


def _pieces(part: str) -> set[str]:
    """All substrings that could be a word: those of three letters at least, and the whole."""
    ends = range(MIN_WORD_LENGTH, len(part) + 1)
    return {part, *(part[start:end] for end in ends for start in range(end - MIN_WORD_LENGTH + 1))}
