"""The dictionaries and word vectors of Microsoft Recommenders' newsrec, for models that start from its files.

Recommenders keeps its dictionaries `{name: id}` as pickles. They are read as the standard library's documentation shows
it, without a class or function that could run, or as JSON, into which `convert_pickle` turns them.
"""

from __future__ import annotations

import io
import json
import logging
import pickle
import reprlib
from pathlib import Path
from typing import Any

import numpy as np

from recommenders_miner.data.tsv import require_file
from recommenders_miner.data.vocabularies import COMMON, Vocabularies
from recommenders_miner.data.vocabulary import PADDING_ID, UNKNOWN_ID, Vocabulary, token_problem
from recommenders_miner.errors import DataFormatError, RecommendersMinerError
from recommenders_miner.hparams import HParams
from recommenders_miner.storage import atomic_write

LOGGER = logging.getLogger("recommenders_miner")

_OWN_MODELS = {"nrms", "lstur", "naml", "npa"}
_OWN_ENCODERS = {"self_attention", "cnn", "multi_view"}
_DICTIONARY = "a dictionary of Recommenders: names with ids, which are the whole numbers 1, 2, …, each once"
_MATRIX = "an embedding matrix in NumPy's .npy format: floating-point numbers, a row for each id of the dictionary"
# A pickle of protocol 2 or later, of protocol 0 and of protocol 1; no JSON starts so.
_PICKLE_STARTS = (b"\x80", b"(", b"}")


# === Dictionaries ===


def read_dictionary(path: str | Path) -> dict[str, int]:
    """Read a dictionary `{name: id}`, in JSON or as a pickle of dicts, text and numbers.

    Returns:
        The ids by name: 1 to n, each once.

    Raises:
        DataFormatError: the file is missing, damaged, or holds or asks for something else.
    """
    path = Path(path)
    require_file(path, f"JSON, or a pickle, of {_DICTIONARY}")
    data = path.read_bytes()
    is_pickle = data[:1] in _PICKLE_STARTS
    try:
        content = _PlainUnpickler(path, data).load() if is_pickle else json.loads(data)
    except DataFormatError:
        raise
    except Exception as error:  # whatever a damaged pickle leads to
        form = "a pickle" if is_pickle else "JSON"
        raise DataFormatError(path, f"is not readable as {form} ({error}); expected {_DICTIONARY}.") from None
    if type(content) is not dict:
        raise DataFormatError(path, f"holds a {type(content).__name__}; expected {_DICTIONARY}.")
    for name, number in content.items():
        if type(name) is not str:
            problem = f"a name is of type {type(name).__name__} and no text"
        elif type(number) is not int or not 1 <= number <= len(content):
            problem = f"the id of {reprlib.repr(name)} is none of 1 to {len(content):,}"
        else:
            continue
        raise DataFormatError(path, f"{problem}; expected {_DICTIONARY}.")
    if len(set(content.values())) < len(content):
        raise DataFormatError(path, f"two names have the same id; expected {_DICTIONARY}.")
    return content


def read_vocabulary(path: str | Path) -> Vocabulary:
    """Read a dictionary as a vocabulary: padding, unknown, then the names in the order of their ids.

    Names that nothing in MIND's files can be called (the empty one, with line breaks, not in UTF-8) are left out.
    """
    dictionary = read_dictionary(path)
    names = [name for name in sorted(dictionary, key=dictionary.__getitem__) if not token_problem(name, ())]
    if len(names) < len(dictionary):
        left_out = len(dictionary) - len(names)
        LOGGER.warning("%s: left out %d names that are empty, hold line breaks or are not UTF-8.", path, left_out)
    return Vocabulary(names)


def read_vocabularies(hparams: HParams) -> dict[str, Vocabulary]:
    """Read the dictionaries that the hyperparameters name, by field of `Vocabularies`."""
    keys = {"words": "word", "users": "user", "categories": "vert", "subcategories": "subvert"}
    files = {name: getattr(hparams, f"{key}Dict_file") for name, key in keys.items()}
    return {name: read_vocabulary(path) for name, path in files.items() if path is not None}


def known_at_once(hparams: HParams, given: dict[str, Vocabulary]) -> Vocabularies | None:
    """Return the vocabularies of Recommenders' own models where it gives those of words and users, else None."""
    own = hparams.model_type in _OWN_MODELS and hparams.news_encoder in _OWN_ENCODERS
    if not own or not {"words", "users"} <= given.keys():
        return None
    return Vocabularies({**{name: Vocabulary([]) for name in COMMON}, **given})


# === Word vectors ===


def read_word_matrix(hparams: HParams, words: Vocabulary) -> np.ndarray | None:
    """Read the vectors of words from the matrix `wordEmb_file`, whose rows the dictionary `wordDict_file` numbers.

    Returns:
        (len(words), dim) float32: padding is zero; the unknown word, and words that the dictionary lacks, are row 0.
        None where the hyperparameters name no matrix.

    Raises:
        DataFormatError: a file is missing or damaged, or the matrix does not fit the dictionary.
    """
    if not hparams.wordEmb_file:
        return None
    path, dictionary = Path(hparams.wordEmb_file), read_dictionary(hparams.wordDict_file)
    require_file(path, _MATRIX)
    try:
        matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy lets through whatever parsing a damaged header leads it into
        raise DataFormatError(path, f"is not readable as a matrix ({error}); expected {_MATRIX}.") from None
    if not isinstance(matrix, np.ndarray) or matrix.dtype.kind != "f" or matrix.ndim != 2:
        raise DataFormatError(path, f"holds something else than {_MATRIX}.")
    if len(matrix) != len(dictionary) + 1:
        raise DataFormatError(
            path,
            f"has {len(matrix):,} rows; expected {len(dictionary) + 1:,}, one for each id of {hparams.wordDict_file} "
            "and row 0 for unknown words.",
            remedy="Give wordEmb_file and wordDict_file that were made together.",
        )
    if matrix.shape[1] != hparams.word_emb_dim:
        LOGGER.info(
            "%s: its vectors have %d dimensions, and so has the word embedding; word_emb_dim says %d.",
            path,
            matrix.shape[1],
            hparams.word_emb_dim,
        )
    rows = np.array([0, 0, *(dictionary.get(word, 0) for word in words.tokens[UNKNOWN_ID + 1 :])])
    vectors = matrix[rows].astype("float32")
    vectors[PADDING_ID] = 0.0
    return vectors


# === Pickles ===


class _PlainUnpickler(pickle.Unpickler):
    """An unpickler that makes nothing but plain values."""

    def __init__(self, path: Path, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        """Refuse every class and function."""
        raise DataFormatError(
            self.path,
            f"asks for {f'{module}.{name}'[:80]}, and was not read; expected {_DICTIONARY}, in Python's own dict, "
            "str and int" + (", not NumPy's numbers." if module.startswith("numpy") else "."),
            remedy="If you trust who made it, load it in Python yourself and write json.dump({name: int(id) for "
            f"name, id in names.items()}}, open({str(self.path.with_suffix('.json'))!r}, 'w')).",
        )


def convert_pickle(path: str | Path) -> Path:
    """Write a pickled dictionary as JSON beside it, the name's ending changed to .json.

    Returns:
        The file that was written.

    Raises:
        DataFormatError: the file is missing, damaged, or holds something else.
        RecommendersMinerError: what stands at the JSON file's name is no dictionary.
    """
    path = Path(path)
    converted = path.with_suffix(".json")
    dictionary = read_dictionary(path)
    if converted.exists():
        try:
            read_dictionary(converted)
        except DataFormatError as error:
            raise RecommendersMinerError(f"Not overwritten, since it is no dictionary: {error}") from None
    with atomic_write(converted) as partial:
        partial.write_text(json.dumps(dictionary, indent=0) + "\n", encoding="utf-8")
    return converted
