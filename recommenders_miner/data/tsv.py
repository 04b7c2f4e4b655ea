"""Opening data files, and reading large tab-separated ones block by block, with the line number of every error.

A block is whole lines, and blocks are parsed on all cores. Quoting is off: a quote is a character like any other, as in
MIND's titles. polars and pyarrow.csv were tried and are no faster: neither says which line is not UTF-8, pyarrow.csv
takes a carriage return within a title for a line end, and what stands in the columns takes most of the time.
"""

from __future__ import annotations

import bz2
import codecs
import glob
import gzip
import hashlib
import io
import logging
import lzma
import os
import re
import sys
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs

from recommenders_miner.errors import DataFormatError

LOGGER = logging.getLogger("recommenders_miner")

BLOCK_BYTES = 16 * 2**20
"""How much of a file a core works on at a time. Results do not depend on it."""

MANIFEST = "manifest.json"
"""Stands in a folder of arrays, as of a log, and says what they are."""

PARQUET, ARROW = b"PAR1\x15", b"ARROW1\0\0"
"""What files of these forms begin with."""

_PACKED = {rb"\x1f\x8b": gzip.open, rb"BZh[1-9]1AY&SY": bz2.open, rb"\xfd7zXZ": lzma.open}
_UTF_8, _AS_TEXT = "Convert it to UTF-8: iconv -f UTF-16 -t UTF-8", "Write it as text."
_OTHER_FORMS = {  # by what they begin with, what the user calls them, and what to do
    b"PK\x03\x04": ("a zip file or a spreadsheet", "Unpack the zip file: unzip {}; save the spreadsheet as CSV."),
    b"\xd0\xcf\x11\xe0": ("a spreadsheet", "Save it as CSV."),
    b"\x28\xb5\x2f\xfd": ("packed by zstd", "Unpack it: unzstd {}"),
    b"7z\xbc\xaf": ("an archive of 7-Zip", "Unpack it: 7z x {}"),
    b"\xff\xfe": ("UTF-16", _UTF_8),
    b"\xfe\xff": ("UTF-16", _UTF_8),
    b"\x80\x03": ("a pickle of Python", _AS_TEXT),
    b"\x80\x04": ("a pickle of Python", _AS_TEXT),
    b"\x80\x05": ("a pickle of Python", _AS_TEXT),
    b"Obj\x01": ("an Avro file", "Write it as Parquet or CSV."),
    b"SQLite format 3\0": ("a database of SQLite", "Write the tables as CSV."),
    b"\x89HDF": ("an HDF5 file", _AS_TEXT),
    PARQUET: ("a Parquet file", "recommenders-miner convert own makes MIND's files of it."),
    ARROW: ("an Arrow (Feather) file", "recommenders-miner convert own makes MIND's files of it."),
}
_REMOTE_BYTES = 2**20  # asked for at a time, at least
_TAR, _TAR_AT = b"ustar", 257
PASSED_OVER = re.compile(r"(^|/)[._]")  # in folders: what is hidden, and the marks that Spark leaves
# The words that names of columns are made of; none has a digit, as nearly all ids have.
_NAME = re.compile(
    "(abstracts?|articles?|body|cand(idate)?s?|cat(egor(y|ies))?|click(s|ed)?|content|created|date|day|docs?|document"
    "|entit(y|ies)|head(line)?|hist(ory)?|ids?|imp(r|ressions?)?|index|items?|labels?|languages?|leads?|list|links?|name"
    "|news|nid|published|readers?|relations?|sections?|sessions?|sub|summary|tail|teasers?|text|time(stamp)?|titles?"
    "|topics?|unnamed|urls?|users?|uid|vert(ical)?s?|views?|when)+"
)
_EXAMPLES_PER_REASON = 5

OnError = Literal["raise", "skip"]


@dataclass
class SkipReport:
    """What was left out of a file under `on_error="skip"`: how often, and the first few 1-based lines, by reason.

    Of several files that make one log, there are the counts alone.
    """

    path: Path
    counts: dict[str, int] = field(default_factory=dict)
    lines: dict[str, list[int]] = field(default_factory=dict)

    def add(self, reason: str, lines: np.ndarray) -> None:
        """Count one occurrence of `reason` per entry of `lines`; a line may stand there several times."""
        self.counts[reason] = self.counts.get(reason, 0) + len(lines)
        first = np.unique(lines)[: 2 * _EXAMPLES_PER_REASON].tolist()  # as many again may be among them already
        self.lines[reason] = list(dict.fromkeys(self.lines.get(reason, []) + first))[:_EXAMPLES_PER_REASON]

    def extend(self, later: SkipReport, lines_before: int) -> None:
        """Add what was left out of a later stretch of the file, whose own lines follow so many others."""
        for reason, count in later.counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + count
            lines = [*self.lines.get(reason, []), *(line + lines_before for line in later.lines[reason])]
            self.lines[reason] = lines[:_EXAMPLES_PER_REASON]

    def summary(self) -> str:
        """Say in one paragraph what was left out, how often, and where to look."""
        if not self.counts:
            return f"{self.path}: nothing was left out."
        at = {reason: f" (e.g. line {', '.join(map(str, lines))})" for reason, lines in self.lines.items()}
        parts = [f"{reason}: {count:,}{at.get(reason, '')}" for reason, count in self.counts.items()]
        return f"{self.path}: {sum(self.counts.values()):,} errors were left out. {'; '.join(parts)}."


class LineErrors:
    """Raises the earliest error in the lines of a file, or counts all of them in its `report`, as `on_error` says.

    Whoever reads the file adds the errors of a block in any order, then calls `raise_earliest`.

    Attributes:
        num_lines: how many lines `read_tsv` has read so far.
    """

    def __init__(self, path: Path, on_error: OnError) -> None:
        if on_error not in ("raise", "skip"):
            raise ValueError(f'on_error must be "raise" or "skip", got {on_error!r}.')
        self.path = path
        self.num_lines = 0
        self.report = SkipReport(path) if on_error == "skip" else None
        self._earliest: DataFormatError | None = None

    def add(self, reason: str, lines: np.ndarray, describe: Callable[[int], str], remedy: str | None = None) -> None:
        """Note lines with an error of a kind, as the skip report names it.

        `lines` are 1-based and ascending, and may be none; `describe(k)` words the problem of `lines[k]`, and is called
        for one line only; `remedy` says what the user can do about it.
        """
        if len(lines) == 0:
            return
        if self.report is not None:
            self.report.add(reason, lines)
        elif self._earliest is None or lines[0] < self._earliest.line:
            self._earliest = DataFormatError(self.path, describe(0), line=int(lines[0]), remedy=remedy)

    def raise_earliest(self) -> None:
        """Raise the earliest error added so far, if errors are to be raised and there is one."""
        if self._earliest is not None:
            raise self._earliest

    def log_summary(self) -> SkipReport | None:
        """Warn of what was left out, if anything; return the report (None where errors are raised)."""
        if self.report is not None and self.report.counts:
            LOGGER.warning("%s", self.report.summary())
        return self.report


def find_files(path: Path) -> list[Path]:
    """Return the files that a path stands for, in the order of their names: itself, or those of a pattern or folder.

    Raises:
        ValueError: there are none.
    """
    if os.path.isdir(path):  # Path.is_dir() raises where a name is too long
        found = (file for file in sorted(path.rglob("*")) if file.is_file())
        files = [file for file in found if not PASSED_OVER.search(file.relative_to(path).as_posix())]
    elif glob.has_magic(str(path)) and not os.path.exists(path):
        files = [file for found in sorted(glob.glob(str(path), recursive=True)) for file in find_files(Path(found))]
    else:
        return [path]
    if not files:
        raise ValueError(f"there is no file {path}." if glob.has_magic(str(path)) else f"there are no files in {path}.")
    return files


@contextmanager
def open_data(path: Path, expected: str, besides: Sequence[bytes] = ()) -> Iterator[BinaryIO]:
    """Lend a file of text, or of one of the forms `besides` that text is not; unpack what gzip, bzip2 or xz packed.

    Raises:
        DataFormatError: the file is missing, a folder or empty, where it is said what is `expected`; or has another
            form, or is packed and damaged.
    """
    require_file(path, expected)
    with open_binary(path) as packed:
        unpack, name = unpacking_of(packed), os.path.basename(path)
        try:
            with unpack(packed) if unpack else nullcontext(packed) as file:
                start = file.read(_TAR_AT + len(_TAR))
                for magic, (form, remedy) in _OTHER_FORMS.items():
                    if start.startswith(magic) and magic not in besides:
                        raise DataFormatError(path, f"is {form}; expected {expected}.", remedy=remedy.format(name))
                if start[_TAR_AT:] == _TAR:
                    raise DataFormatError(path, "is an archive.", remedy=f"Unpack it: tar -xf {name}")
                file.seek(0)
                yield file
        except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            if unpack is None or getattr(error, "errno", None) is not None:  # an error of the disk, say
                raise
            raise DataFormatError(path, f"is packed, and damaged: {error}.", remedy="Fetch or pack it again.") from None


def unpacking_of(file: BinaryIO) -> Callable[[BinaryIO], BinaryIO] | None:
    """Return what unpacks a file that stands at its beginning; None where it is not packed."""
    start = file.read(max(map(len, _PACKED)))
    file.seek(0)
    return next((unpack for magic, unpack in _PACKED.items() if re.match(magic, start)), None)


def is_uri(path: str | Path) -> bool:
    """Return whether a text names an object of a store that Arrow knows, as `s3://…` and `gs://…` do."""
    return isinstance(path, str) and "://" in path


def open_binary(path: str | Path) -> BinaryIO:
    """Open a file, or, through Arrow's file systems, an object by its URI."""
    if not is_uri(path):
        return open(path, "rb")
    filesystem, name = fs.FileSystem.from_uri(path)
    return io.BufferedReader(filesystem.open_input_file(name), _REMOTE_BYTES)


def names_columns(cells: Sequence[str]) -> bool:
    """Return whether the cells of a line are names of columns, or their numbers, rather than values."""
    cells = [cell.strip("\ufeff#\"' ") for cell in cells]
    if len(cells) > 3 and cells == [str(number) for number in range(len(cells))]:
        return True  # as pandas writes columns without names; three numbers may be a triple
    names = [re.sub(r"[\s_.:-]", "", cell).lower() for cell in cells if cell]
    are_names = [_NAME.fullmatch(name) is not None for name in names]
    return len(names) > 1 and are_names[0] and sum(are_names) > len(names) / 2


def require_file(path: str | Path, expected: str) -> None:
    """Raise a `DataFormatError` that says what is `expected`, unless `path` is a file, or an object, and not empty."""
    try:
        if is_uri(path):
            filesystem, name = fs.FileSystem.from_uri(path)
            found = filesystem.get_file_info(name)
            if found.type == fs.FileType.NotFound:
                raise FileNotFoundError
            size, is_folder = found.size, found.type == fs.FileType.Directory
        else:
            size, is_folder = os.stat(path).st_size, os.path.isdir(path)
        problem = "the path is a folder" if is_folder else "the file is empty" if size == 0 else None
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last for a null character in the path
        problem = "the path does not exist"
    except OSError as error:
        problem = f"the path cannot be used ({error.strerror})"
    if problem:
        raise DataFormatError(path, f"{problem}; expected {expected}.")


def fingerprint(path: str | Path) -> tuple:
    """Tell a file from another, and from its own later content; enough to know that nothing need be read again."""
    path = Path(path).resolve()
    if not path.exists():
        return (path,)
    status = path.stat()
    return path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def content_digest(path: str | Path) -> str:
    """Return a hex BLAKE2b digest of what a file holds, or of what names the content of the folder of a log."""
    with open(Path(path) / MANIFEST if os.path.isdir(path) else path, "rb") as file:
        return hashlib.file_digest(file, hashlib.blake2b).hexdigest()


def describe_columns(columns: Sequence[str], separator: str = "\t") -> str:
    """Name the columns of a file in words, for error messages."""
    kind = "tab-separated columns" if separator == "\t" else f"columns separated by {separator!r}"
    return f"{len(columns)} {kind} ({', '.join(columns)})"


def read_tsv(
    path: Path,
    columns: Sequence[str],
    errors: LineErrors,
    separator: str = "\t",
    parse: Callable[[pa.Table], Any] = lambda table: table,
    start: int = 0,
    end: int = sys.maxsize,
    threads: int | None = None,
) -> Iterator[tuple[Any, np.ndarray]]:
    """Read a file of separated columns without a header, block by block.

    Lines end in LF or CRLF; the last one may lack its end; blank lines at the end of the file and a UTF-8
    byte order mark at its start are ignored. A line with another number of columns or with bytes that are not
    UTF-8 is an error. Where errors are raised, the lines before it are yielded first, so that a caller who checks more
    than the form of a line can raise an earlier error of its own. A header is an error, too.

    `parse` says what to make of a block's table of string columns; it is called on so many threads, by default as many
    as there are cores, for blocks ahead of the one that is yielded.

    Of a file that is not packed, only the bytes from `start` up to `end` are read, which are a line's first byte and
    what follows the end of a line that is not blank; `start` then counts as line 1.

    Yields:
        What `parse` makes of a table, by itself the table, and the 1-based line number of each of its rows, (rows,)
        int64.

    Raises:
        DataFormatError: the file is missing, a folder or empty, or a line has an error and errors are raised.
        ValueError: `separator` is not one ASCII character other than a line end.
    """
    if len(separator) != 1 or not separator.isascii() or separator in "\r\n":
        raise ValueError(f"separator must be one ASCII character other than a line end, got {separator!r}.")
    expected = describe_columns(columns, separator)

    def parse_block(block: bytes, has_header: bool) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
        fields, starts = _split(block, separator)
        widths = np.diff(starts)
        decodable = _decodable_lines(block, len(widths))
        sound = decodable & (widths == len(columns))
        sound[:has_header] = False
        if errors.report is None and not sound.all():
            sound[np.argmin(sound) :] = False  # what follows the first error is not wanted
        usable = np.flatnonzero(sound)
        table = {name: fields.take(pa.array(starts[usable] + k)) for k, name in enumerate(columns)}
        return parse(pa.table(table)) if len(usable) else None, usable, decodable, widths

    with open_data(path, expected) as file:
        names = file.readline().decode(errors="replace").strip("\r\n").split(separator)
        if is_header := start == 0 and names_columns(names):
            problem = f"the line is a header ({', '.join(names)[:80]}); the file should have none."
            remedy = 'Delete the line; on_error="skip" (--on-error skip) leaves it out.'
            errors.add("header line", np.array([1]), lambda _: problem, remedy)
        blocks = ((block, is_header and number == 0) for number, block in enumerate(_blocks_of_lines(file, start, end)))
        for parsed, usable, decodable, widths in _on_threads(parse_block, blocks, threads or os.cpu_count() or 1):
            lines = np.arange(errors.num_lines + 1, errors.num_lines + 1 + len(widths))
            misshapen = widths != len(columns)
            misshapen[: is_header and errors.num_lines == 0] = False
            errors.num_lines += len(lines)
            if len(usable):
                yield parsed, lines[usable]
            remedy = "Convert the file to UTF-8."
            errors.add("bytes that are not UTF-8", lines[~decodable], lambda _: "the line is not valid UTF-8.", remedy)
            found = widths[misshapen]
            errors.add(
                "wrong number of columns",
                lines[misshapen],
                lambda k, found=found: f"expected {expected}, got {found[k]}.",
            )
            errors.raise_earliest()
    pa.default_memory_pool().release_unused()  # what the blocks took would else stay with Arrow
    if start == errors.num_lines == 0:
        raise DataFormatError(path, f"the file holds nothing but blank lines; expected {expected}.")


def _on_threads(work: Callable[..., Any], items: Iterable[tuple[Any, ...]], count: int) -> Iterator[Any]:
    """Yield what some work makes of arguments, in their order, a few ahead on so many threads."""
    threads = ThreadPoolExecutor(count, thread_name_prefix="read_tsv")
    try:
        yield from ahead(threads, work, items, count)
    finally:  # without waiting, since this may be run in one of the threads, when an abandoned reader is collected
        threads.shutdown(wait=False, cancel_futures=True)


def ahead(pool: Executor, work: Callable[..., Any], items: Iterable[tuple[Any, ...]], count: int) -> Iterator[Any]:
    """Yield what some work makes of arguments, in their order; the pool has so many of them ahead."""
    waiting = deque()
    for item in items:
        waiting.append(pool.submit(work, *item))
        if len(waiting) > count:
            yield waiting.popleft().result()
    yield from (waiting.popleft().result() for _ in range(len(waiting)))


def _blocks_of_lines(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    """Cut a stretch of a file into blocks of whole lines; blank lines at the end of the file are dropped."""
    file.seek(start)
    if start == 0 and file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
        file.seek(0)
    held, place = b"", file.tell()  # blank lines wait here until a line with content follows them
    while chunk := file.read(min(BLOCK_BYTES, end - place)):
        chunk += file.readline() if place + len(chunk) < end else b""
        place += len(chunk)
        block = held + chunk
        content = len(block.rstrip(b"\r\n"))
        size = (block.find(b"\n", content) + 1 or len(block)) if content else 0
        held = block[size:]
        if size:
            yield block[:size] if block.endswith(b"\n", 0, size) else block + b"\n"


def _split(block: bytes, separator: str) -> tuple[pa.StringArray, np.ndarray]:
    """Find the fields of every line, and which is each line's first one, (lines + 1,)."""
    bounds = pa.array([0, len(block) - 1], pa.int32())  # without the last line end
    text = pa.StringArray.from_buffers(1, bounds.buffers()[1], pa.py_buffer(block))
    lines = pc.ascii_rtrim(pc.split_pattern(text, "\n").flatten(), "\r")
    fields = pc.split_pattern(lines, separator)
    return fields.flatten(), fields.offsets.to_numpy()


def _decodable_lines(block: bytes, count: int) -> np.ndarray:
    """Find which lines of a block are UTF-8, (count,) bool."""
    try:
        block.decode()
        return np.ones(count, bool)
    except UnicodeDecodeError:
        return np.array([line == line.decode(errors="ignore").encode() for line in block.split(b"\n")[:count]])
