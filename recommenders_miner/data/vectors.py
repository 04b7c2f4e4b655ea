"""Read pre-trained vectors of words or entities in GloVe's text format."""

from __future__ import annotations

import codecs
import gzip
import itertools
import re
import zlib
from collections.abc import Container, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommenders_miner.data.tsv import require_file
from recommenders_miner.data.vocabulary import PADDING_ID, Vocabulary
from recommenders_miner.errors import DataFormatError
from recommenders_miner.storage import cache_home

_EXPECTED = "vectors in GloVe's text format, a line each: a word, then its numbers, separated by spaces or tabs"
_FETCHED = re.compile(r"glove\.(6B\.[123]00d|840B\.300d)\.txt")
_GZIP_MAGIC = b"\x1f\x8b"
_BATCH_LINES = 4096
_SHOWN_BYTES = 80
_LARGEST = 1e18
"""Beyond it, the squares of which a standard deviation is made leave float32."""


def read_word_vectors(
    path: str | Path, vocabulary: Vocabulary, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Read the vectors of a vocabulary's tokens.

    Reads GloVe's files, plain or gzipped, word2vec's text format (whose first line is `count dim`), and MIND's
    `entity_embedding.vec` and `relation_embedding.vec`. A word may contain spaces, as some of glove.840B do. If a word
    stands there twice, its first vector counts. Only the lines of tokens in the vocabulary are parsed. `rng` draws the
    vectors of the tokens that the file lacks, the unknown token's among them, from a normal distribution with the mean
    and standard deviation, per dimension, of the vectors found.

    Returns:
        The embedding matrix, (len(vocabulary), dim) float32, whose row 0 (padding) is zero; and which of its rows come
        from the file, (len(vocabulary),) bool.

    Raises:
        DataFormatError: the file is missing or damaged, a line has another number of numbers than the first, a wanted
            line holds something that is no number from -1e18 to 1e18, or no token of the vocabulary is in the file.
    """
    path = Path(path)
    row_of = {token.encode(): row for row, token in enumerate(vocabulary.tokens) if token in vocabulary}
    found, matrix = np.zeros(len(vocabulary), bool), None
    wanted_lines = _lines(path, row_of)
    while batch := list(itertools.islice(wanted_lines, _BATCH_LINES)):
        lines, words, numbers = zip(*batch, strict=True)
        vectors = _parse(numbers)
        if vectors is None:
            line, text = next(pair for pair in zip(lines, numbers, strict=True) if _parse(pair[1:]) is None)
            field = next(field for field in text.split(b" ") if _parse([field]) is None)
            shown = field[:_SHOWN_BYTES].decode(errors="backslashreplace")
            problem = f"expected a finite number, got {shown!r} (none beyond {_LARGEST:g} is read)."
            raise DataFormatError(path, problem, line=line)
        rows, first = np.unique([row_of[word] for word in words], return_index=True)
        rows, first = rows[~found[rows]], first[~found[rows]]
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
    """Return the words or entities that a file of vectors has, in its order."""
    return [word.decode(errors="replace") for _, word, _ in _lines(Path(path))]


def glove_folder() -> Path:
    """Return the folder of GloVe's files in the user's cache, where models look for word vectors."""
    return cache_home() / "glove"


def _lines(path: Path, wanted: Container[bytes] | None = None) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield the 1-based line number, the word and the numbers of each line whose word is wanted, or of all."""
    if _FETCHED.fullmatch(path.name) and not path.exists():
        remedy = f"Get them by: recommenders-miner fetch {path.stem.lower().replace('.', '-')}"
        raise DataFormatError(
            path, f"GloVe's vectors are not there. {remedy}", remedy="Or do without: word_embedding=null"
        )
    require_file(path, _EXPECTED)
    with open(path, "rb") as file:
        opener = gzip.open if file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC else open
    dim = None
    with opener(path, "rb") as file:
        try:
            for number, line in enumerate(file, start=1):
                line = line.rstrip().replace(b"\t", b" ")
                if number == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)
                    header = line.split()
                    if len(header) == 2 and line.replace(b" ", b"").isdigit() and len(header[1]) < 10:  # word2vec's
                        dim = int(header[1])
                        continue
                if not line:
                    continue
                spaces = line.count(b" ")
                dim = spaces if dim is None else dim
                if spaces < dim or dim == 0:
                    problem = f"expected a word and {dim or 'its'} numbers, got {spaces + 1} fields"
                    raise DataFormatError(path, f"{problem}; the file should hold {_EXPECTED}.", line=number)
                word, *numbers = line.split(b" ", 1) if spaces == dim else line.rsplit(b" ", dim)
                if spaces > dim:  # a word with spaces, or a word followed by numbers too many
                    head, extra = word.split(b" ", 1)
                    if (wanted is None or head in wanted) and _parse([extra]) is not None:
                        raise DataFormatError(
                            path, f"expected a word and {dim} numbers, got {spaces} numbers.", line=number
                        )
                if wanted is None or word in wanted:
                    yield number, word, b" ".join(numbers)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataFormatError(path, f"the gzip file is damaged ({error}).", remedy="Fetch it again.") from error


def _parse(numbers: Sequence[bytes]) -> np.ndarray | None:
    """Parse lines of as many numbers each, (lines, numbers) float32; None unless all are numbers of a usable size."""
    try:
        fields = pc.split_pattern(pa.array(numbers, pa.binary()).cast(pa.string()), " ").flatten()
        vectors = fields.cast(pa.float32()).to_numpy().reshape(len(numbers), -1)
    except pa.ArrowInvalid:
        return None
    return vectors if (np.abs(vectors) <= _LARGEST).all() else None  # not so for NaN
