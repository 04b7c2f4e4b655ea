"""Reads pre-trained vectors of words or entities in GloVe's text format."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Container, Iterable, Iterator, Sequence
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
_BATCH_BYTES = 16 * 2**20
_DRAWN_AT_ONCE = 2**17
_DIMENSIONS_AT_ONCE = 16
_MAX_LINE_BYTES = 2**20
_MAX_DIM, _MAX_DIM_DIGITS = 10_000, 9
_SHOWN_BYTES = 80
_MAX_EXPANSION, _SMALL_FILE_BYTES = 100, 2**10
_LARGEST = 1e18
"""Beyond it, the squares of which a standard deviation is made leave float32."""
_Line = tuple[int, bytes, bytes]
"""The 1-based number of a line, its word and its numbers."""


def read_word_vectors(
    path: str | Path, vocabulary: Vocabulary, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Reads the vectors of a vocabulary's tokens.

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
        DataFormatError: the file is missing or damaged, a line has another number of numbers than the first
            or is longer than 1 MiB, vectors have more than 10,000 numbers, a wanted line holds something that is
            no number from -1e18 to 1e18, or no token of the vocabulary is in the file.
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
    mean, deviation = _spread(matrix, found)
    at_once = max(1, _DRAWN_AT_ONCE // matrix.shape[1])  # in float64; the numbers are those of one drawing
    for start in range(0, len(missing), at_once):
        rows = missing[start : start + at_once]
        matrix[rows] = rng.normal(mean, deviation, size=(len(rows), matrix.shape[1]))
    return matrix, found


def _spread(matrix: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the standard deviation of some rows, per dimension, (dim,) float64 each."""
    means, deviations = [], []
    # What is taken at once is copied, and brought to float64, which would be three times the matrix.
    for part in np.array_split(matrix, -(-matrix.shape[1] // _DIMENSIONS_AT_ONCE), axis=1):
        vectors = part[rows]
        means.append(vectors.mean(axis=0, dtype="float64"))
        deviations.append(vectors.std(axis=0, dtype="float64"))
    return np.concatenate(means), np.concatenate(deviations)


def read_vector_names(path: str | Path) -> list[str]:
    """Returns the words or entities that a file of vectors has, in its order.

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
    """Yields the 1-based line number, the word and the numbers of each line whose word is wanted."""
    dim = None
    with _open(path) as file:
        try:
            for number, line in enumerate(_lines(path, file), start=1):
                line = line.rstrip().replace(b"\t", b" ")
                is_header = number == 1 and _is_header(line)
                if not line:
                    continue
                spaces = line.count(b" ")
                if dim is None:
                    dim = int(line.split()[1][:_MAX_DIM_DIGITS]) if is_header else spaces
                    if dim > _MAX_DIM:
                        raise DataFormatError(path, f"vectors of more than {_MAX_DIM:,} numbers.", line=number)
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


def _batches(lines: Iterable[_Line]) -> Iterator[list[_Line]]:
    """Yields lines by the batch, none of which is empty."""
    batch, size = [], 0
    for line in lines:
        batch.append(line)
        size += len(line[-1])
        if len(batch) == _BATCH_LINES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _lines(path: Path, file: BinaryIO) -> Iterator[bytes]:
    """Yields the lines of a file, without a byte order mark at its start.

    A gzip file that holds more than one of vectors can was made to harm, and is refused.
    """
    most = _MAX_EXPANSION * max(path.stat().st_size, _SMALL_FILE_BYTES)
    number = size = 0
    while line := file.readline(_MAX_LINE_BYTES + 1):
        number, size = number + 1, size + len(line)
        if len(line) > _MAX_LINE_BYTES:
            problem = f"the line is longer than {_MAX_LINE_BYTES:,} bytes; the file should hold {_EXPECTED}."
            raise DataFormatError(path, problem, line=number)
        if size > most:
            raise DataFormatError(path, f"the gzip file grows to more than {_MAX_EXPANSION} times its size.")
        yield line.removeprefix(codecs.BOM_UTF8) if number == 1 else line


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
