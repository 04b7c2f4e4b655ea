"""Read pre-trained vectors of words or entities in GloVe's text format."""

from __future__ import annotations

import codecs
import gzip
import itertools
import zlib
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.tsv import require_file
from recommenders_miner.data.vocabulary import PADDING_ID, Vocabulary
from recommenders_miner.errors import DataFormatError

_EXPECTED = "vectors in GloVe's text format, a line each: a word, then its numbers, separated by spaces or tabs"
_GZIP_MAGIC = b"\x1f\x8b"
_BATCH_LINES = 4096
_SHOWN_BYTES = 80
_LARGEST = 1e18
"""Beyond it, the squares of which a standard deviation is made leave float32."""
_Line = tuple[int, bytes, bytes]
"""The 1-based number of a line, its word and its numbers."""


def read_word_vectors(
    path: str | Path, vocabulary: Vocabulary, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Read the vectors of a vocabulary's tokens.

    Reads GloVe's files, plain or gzipped, word2vec's text format (whose first line is `count dim`), and
    MIND's `entity_embedding.vec` and `relation_embedding.vec`. A word may contain spaces, as some of
    glove.840B do. If a word stands there twice, its first vector counts. Only the lines of tokens in the
    vocabulary are parsed.

    Args:
        path: the file.
        vocabulary: the tokens to look for.
        rng: draws the vectors of the tokens that the file lacks, the unknown token's among them, from a
            normal distribution with the mean and standard deviation, per dimension, of the vectors found.

    Returns:
        The embedding matrix, (len(vocabulary), dim) float32, whose row 0 (padding) is zero; and which of its
        rows come from the file, (len(vocabulary),) bool.

    Raises:
        DataFormatError: the file is missing or damaged, a line has another number of numbers than the first, a wanted
            line holds something that is no number from -1e18 to 1e18, or no token of the vocabulary is in the file.
    """
    path = Path(path)
    require_file(path, _EXPECTED)
    row_of = {token.encode(): row for row, token in enumerate(vocabulary.tokens) if token in vocabulary}
    found = np.zeros(len(vocabulary), bool)
    matrix = None
    for batch in _batches(_wanted_lines(path, row_of)):
        lines, words, numbers = zip(*batch, strict=True)
        vectors = _parse_batch(path, lines, numbers)
        rows = np.array([row_of[word] for word in words])
        rows, first = np.unique(rows, return_index=True)
        first = first[~found[rows]]
        rows = rows[~found[rows]]
        if matrix is None:
            matrix = np.zeros((len(vocabulary), vectors.shape[1]), np.float32)
        matrix[rows] = vectors[first]
        found[rows] = True
    if matrix is None:
        raise DataFormatError(
            path,
            f"none of the vocabulary's {len(row_of):,} tokens is in the file; expected {_EXPECTED}.",
            remedy="Are its words in the same language and case as the vocabulary?",
        )
    missing = np.flatnonzero(~found)
    missing = missing[missing != PADDING_ID]
    known = matrix[found]
    mean, deviation = known.mean(axis=0, dtype="float64"), known.std(axis=0, dtype="float64")
    matrix[missing] = rng.normal(mean, deviation, size=(len(missing), matrix.shape[1]))
    return matrix, found


def read_vector_names(path: str | Path) -> list[str]:
    """Return the words or entities that a file of vectors has, in its order.

    Raises:
        DataFormatError: the file is missing or damaged.
    """
    require_file(Path(path), _EXPECTED)
    return [word.decode(errors="replace") for _, word, _ in _wanted_lines(Path(path), _Everything())]


class _Everything(Container[bytes]):
    """Holds whatever it is asked for."""

    def __contains__(self, _: object) -> bool:
        return True


def _wanted_lines(path: Path, wanted: Container[bytes]) -> Iterator[_Line]:
    """Yield the 1-based line number, the word and the numbers of each line whose word is wanted."""
    dim = None
    with _open(path) as file:
        try:
            for number, line in enumerate(file, start=1):
                line = line.rstrip().replace(b"\t", b" ")
                line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                is_header = number == 1 and _is_header(line)
                if not line:
                    continue
                spaces = line.count(b" ")
                if dim is None:
                    dim = int(line.split()[1]) if is_header else spaces
                if is_header:
                    continue
                if spaces < dim or dim == 0:
                    problem = f"expected a word and {dim or 'its'} numbers, got {spaces + 1} fields"
                    raise DataFormatError(path, f"{problem}; the file should hold {_EXPECTED}.", line=number)
                word, *numbers = line.split(b" ", 1) if spaces == dim else line.rsplit(b" ", dim)
                if spaces > dim and _is_overlong(word, wanted):
                    problem = f"expected a word and {dim} numbers, got {spaces} numbers"
                    raise DataFormatError(path, f"{problem}.", line=number)
                if word in wanted:
                    yield number, word, b" ".join(numbers)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataFormatError(path, f"the gzip file is damaged ({error}).", remedy="Fetch it again.") from error


def _batches(lines: Iterator[_Line]) -> Iterator[list[_Line]]:
    """Yield lines by the batch, none of which is empty."""
    while batch := list(itertools.islice(lines, _BATCH_LINES)):
        yield batch


def _open(path: Path) -> BinaryIO:
    with open(path, "rb") as file:
        zipped = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    return gzip.open(path, "rb") if zipped else open(path, "rb")


def _is_header(line: bytes) -> bool:
    """Whether a file's first line is word2vec's `count dim`."""
    fields = line.split()
    return len(fields) == 2 and all(field.isdigit() for field in fields)


def _is_overlong(word: bytes, wanted: Container[bytes]) -> bool:
    """Whether what was taken for a word with spaces is a wanted word followed by numbers too many."""
    head, extra = word.split(b" ", 1)
    return head in wanted and _all_finite(extra)


def _parse_batch(path: Path, lines: Sequence[int], numbers: Sequence[bytes]) -> np.ndarray:
    """The vectors of some lines, (lines, dim) float32, all finite."""
    try:
        vectors = _parse_numbers(numbers)
    except pa.ArrowInvalid:
        vectors = None
    if vectors is not None and _in_range(vectors):
        return vectors
    line, text = next(pair for pair in zip(lines, numbers, strict=True) if not _all_finite(pair[1]))
    field = next(field for field in text.split(b" ") if not _all_finite(field))
    shown = field[:_SHOWN_BYTES].decode(errors="backslashreplace")
    raise DataFormatError(
        path, f"expected a finite number, got {shown!r} (none beyond {_LARGEST:g} is read).", line=line
    )


def _in_range(vectors: np.ndarray) -> bool:
    return bool((np.abs(vectors) <= _LARGEST).all())  # not so for NaN


def _all_finite(numbers: bytes) -> bool:
    try:
        return _in_range(_parse_numbers([numbers]))
    except pa.ArrowInvalid:
        return False


def _parse_numbers(numbers: Sequence[bytes]) -> np.ndarray:
    """Numbers separated by single spaces, as many in each line: (lines, numbers per line) float32."""
    fields = pc.split_pattern(pa.array(numbers, pa.binary()).cast(pa.string()), " ").flatten()
    return fields.cast(pa.float32()).to_numpy().reshape(len(numbers), -1)
