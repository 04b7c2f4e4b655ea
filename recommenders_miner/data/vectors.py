"""Read vectors: of words or entities in GloVe's text format, and ready-made ones of articles."""

from __future__ import annotations

import codecs
import gzip
import itertools
import logging
import re
import zlib
from collections.abc import Container, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recommenders_miner.data.folders import ARTICLES_FILE
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.tsv import require_file
from recommenders_miner.data.vocabulary import PADDING_ID, Vocabulary
from recommenders_miner.errors import DataFormatError
from recommenders_miner.storage import cache_home

LOGGER = logging.getLogger("recommenders_miner")

_EXPECTED = "vectors in GloVe's text format, a line each: a word, then its numbers, separated by spaces or tabs"
_FETCHED = re.compile(r"glove\.(6B\.[123]00d|840B\.300d)\.txt")
_GZIP_MAGIC = b"\x1f\x8b"
_BATCH_LINES = 4096
_SHOWN_IDS = 5
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


def article_vectors(source: str, news: NewsTable) -> np.ndarray:
    """Return ready-made vectors of a table's articles, (N+1, d) float32; zeros for articles without one.

    Args:
        source: a column of `articles.parquet`; or a Parquet file, whose one column of lists of numbers has the vectors,
            beside `article_id`, `news_id`, `id`, or else its first column; or a matrix in numpy's format, X.npy, whose
            rows X.txt names, one id a line.
        news: the table.

    Raises:
        DataFormatError: the file is missing, damaged or of another form, vectors differ in length or are not finite, or
            no article has one.
    """
    if news.extra is not None and source in news.extra.column_names:
        path, ids, vectors = Path(ARTICLES_FILE), news.ids, news.extra[source]
    else:
        path = Path(source)
        expected = f"vectors of articles in a .npy or .parquet file, or a column of {ARTICLES_FILE} of that name"
        require_file(path, expected)
        ids, vectors = _named_rows(path) if path.suffix == ".npy" else _parquet_vectors(path)
    row = pc.index_in(news.ids, value_set=ids).fill_null(-1).to_numpy()
    row = np.where(pc.equal(news.ids, "").to_numpy(zero_copy_only=False), -1, row)
    known = row[row >= 0]
    if isinstance(vectors, np.ndarray):
        with np.errstate(over="ignore"):  # becomes infinite, which is refused below
            wanted = vectors[known].astype(np.float32)
    else:
        wanted = _as_matrix(path, vectors.take(known))
    has = np.flatnonzero(row >= 0)[wanted.any(axis=1)]
    if not len(has):
        some = ", ".join(ids.slice(0, _SHOWN_IDS).to_pylist())
        raise DataFormatError(
            path, f"has vectors of none of the {len(news) - 1:,} articles; the ids that it has are {some}, …"
        )
    if not np.isfinite(wanted).all():
        bad = news.ids[int(np.flatnonzero(row >= 0)[~np.isfinite(wanted).all(axis=1)][0])]
        raise DataFormatError(path, f"the vector of the article {bad} has a number that is not finite, or too large.")
    if len(has) < len(news) - 1:
        LOGGER.warning("%s: %s of %s articles have no vector.", path, f"{len(news) - 1 - len(has):,}", len(news) - 1)
    matrix = np.zeros((len(news), wanted.shape[1]), np.float32)
    matrix[row >= 0] = wanted
    return matrix


def _named_rows(path: Path) -> tuple[pa.StringArray, np.ndarray]:
    """Return the ids that X.txt names, and the matrix of X.npy, which stays on disk."""
    try:
        matrix = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(matrix, np.ndarray):
            raise ValueError("it is an archive of several, .npz")
    except (OSError, ValueError, EOFError) as error:
        raise DataFormatError(path, f"is no array in numpy's format ({error}).") from None
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiu" or not matrix.shape[1]:
        raise DataFormatError(path, f"expected rows of numbers, got {matrix.dtype} of the shape {matrix.shape}.")
    names = path.with_suffix(".txt")
    require_file(names, f"the ids of the rows of {path.name}, one a line")
    ids = names.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    if len(ids) != len(matrix):
        raise DataFormatError(names, f"there are {len(ids):,} ids, but {len(matrix):,} rows in {path.name}.")
    return pa.array(ids, pa.string()), matrix


def _parquet_vectors(path: Path) -> tuple[pa.StringArray, pa.ChunkedArray]:
    """Return the ids and the vectors of a Parquet file."""
    try:
        table = pq.read_table(path)
        table.validate(full=True)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataFormatError(path, f"is not readable as Parquet ({error}).") from None
    lists = [field.name for field in table.schema if _is_vector(field.type)]
    if len(lists) != 1 or table.num_columns < 2:
        columns = ", ".join(f"{field.name} ({field.type})" for field in table.schema)
        raise DataFormatError(path, f"expected ids and one column of lists of numbers; the columns are {columns}.")
    others = [name for name in table.column_names if name != lists[0]]
    name = next((name for name in ("article_id", "news_id", "id") if name in others), others[0])
    try:
        return table[name].cast(pa.string()).fill_null("").combine_chunks(), table[lists[0]]
    except pa.ArrowException:
        raise DataFormatError(path, f"the column {name!r}, of type {table[name].type}, holds no ids.") from None


def _is_vector(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return is_list and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))


def _as_matrix(path: Path, vectors: pa.ChunkedArray) -> np.ndarray:
    """Return lists of numbers as a matrix, (lists, d) float32, zeros for null."""
    if not _is_vector(vectors.type):
        raise DataFormatError(path, f"expected lists of numbers, got {vectors.type}.")
    lengths = pc.list_value_length(vectors).fill_null(0).to_numpy()
    sizes = np.unique(lengths[lengths > 0])
    if len(sizes) > 1:
        raise DataFormatError(path, f"vectors have different lengths: {', '.join(map(str, sizes[:_SHOWN_IDS]))}.")
    matrix = np.zeros((len(lengths), *(sizes if len(sizes) else [1])), np.float32)
    values = pc.list_flatten(vectors.filter(pa.array(lengths > 0))).cast(pa.float32(), safe=False).fill_null(np.nan)
    matrix[lengths > 0] = values.to_numpy().reshape(-1, matrix.shape[1])
    return matrix


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
