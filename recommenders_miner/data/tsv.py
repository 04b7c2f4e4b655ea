"""Streaming reader of large tab-separated files, with the line number of every fault.

A file is read in blocks of whole lines, one block a core at a time. Quoting is off: a quote is a character like any
other, as in MIND's titles.
"""

from __future__ import annotations

import codecs
import functools
import logging
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import pyarrow as pa

from recommenders_miner.errors import DataFormatError

LOGGER = logging.getLogger("recommenders_miner")

BLOCK_BYTES = 16 * 2**20
"""How much of a file a core works on at a time. Results do not depend on it."""

MAX_LINE_BYTES = 2**30
_EXAMPLES_PER_REASON = 5
_NEWLINE, _CARRIAGE_RETURN = ord("\n"), ord("\r")

OnError = Literal["raise", "skip"]


@dataclass
class SkipReport:
    """What a reader left out of a file under `on_error="skip"`.

    Attributes:
        path: the file.
        counts: how often each reason for leaving something out occurred.
        lines: the first few 1-based lines for each reason.
    """

    path: Path
    counts: dict[str, int] = field(default_factory=dict)
    lines: dict[str, list[int]] = field(default_factory=dict)

    def add(self, reason: str, lines: np.ndarray) -> None:
        """Counts one occurrence of `reason` per entry of `lines`; a line may stand there several times."""
        self.counts[reason] = self.counts.get(reason, 0) + len(lines)
        examples = self.lines.setdefault(reason, [])
        for line in np.unique(lines)[: 2 * _EXAMPLES_PER_REASON].tolist():  # as many again may be among them
            if len(examples) == _EXAMPLES_PER_REASON:
                break
            if line not in examples:
                examples.append(line)

    def summary(self) -> str:
        """One paragraph: what was left out, how often, and where to look."""
        if not self.counts:
            return f"{self.path}: nothing was left out."
        parts = [
            f"{reason}: {count:,} (e.g. line {', '.join(map(str, self.lines[reason]))})"
            for reason, count in self.counts.items()
        ]
        return f"{self.path}: left out {sum(self.counts.values()):,} faults; {'; '.join(parts)}."


class LineFaults:
    """Raises the earliest faulty line of a file, or counts all of them, as `on_error` says.

    A reader adds the faults of a block in any order, then calls `raise_earliest`.

    Args:
        path: the file being read.
        on_error: "raise" or "skip".

    Raises:
        ValueError: `on_error` is neither.
    """

    def __init__(self, path: Path, on_error: OnError) -> None:
        if on_error not in ("raise", "skip"):
            raise ValueError(f'on_error must be "raise" or "skip", got {on_error!r}.')
        self.path = path
        self.report = SkipReport(path) if on_error == "skip" else None
        self._earliest: DataFormatError | None = None

    def add(self, reason: str, lines: np.ndarray, describe: Callable[[int], str], remedy: str | None = None) -> None:
        """Notes faulty lines.

        Args:
            reason: the kind of fault, as the skip report names it.
            lines: 1-based line numbers, ascending; may be empty.
            describe: words the problem of `lines[k]`, given k. Called for one line only.
            remedy: what the user can do about it.
        """
        if len(lines) == 0:
            return
        if self.report is not None:
            self.report.add(reason, lines)
        elif self._earliest is None or lines[0] < self._earliest.line:
            self._earliest = DataFormatError(self.path, describe(0), line=int(lines[0]), remedy=remedy)

    def raise_earliest(self) -> None:
        """Raises the earliest fault added so far, if faults are to be raised and there is one."""
        if self._earliest is not None:
            raise self._earliest

    def log_summary(self) -> SkipReport | None:
        """Warns of what was left out, if anything; returns the report (None where faults are raised)."""
        if self.report is not None and self.report.counts:
            LOGGER.warning("%s", self.report.summary())
        return self.report


def require_file(path: Path, expected: str) -> None:
    """Raises a `DataFormatError` that says what is `expected`, unless `path` is a file and not empty."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last for a null character in the path
        raise DataFormatError(path, f"the path does not exist; expected {expected}.") from None
    except OSError as error:
        raise DataFormatError(path, f"the path cannot be used ({error.strerror}); expected {expected}.") from None
    if stat.S_ISDIR(status.st_mode):
        raise DataFormatError(path, f"the path is a folder; expected {expected}.")
    if status.st_size == 0:
        raise DataFormatError(path, f"the file is empty; expected {expected}.")


def describe_columns(columns: Sequence[str], separator: str) -> str:
    """The columns of a file in words, for error messages."""
    kind = "tab-separated columns" if separator == "\t" else f"columns separated by {separator!r}"
    return f"{len(columns)} {kind} ({', '.join(columns)})"


def read_tsv(
    path: Path,
    columns: Sequence[str],
    faults: LineFaults,
    separator: str = "\t",
    parse: Callable[[pa.Table], Any] = lambda table: table,
) -> Iterator[tuple[Any, np.ndarray]]:
    r"""Reads a file of separated columns without a header, block by block.

    Lines end in LF or CRLF; the last one may lack its end; blank lines at the end of the file and a UTF-8
    byte order mark at its start are ignored. A line with another number of columns or with bytes that are not
    UTF-8 is a fault. Where faults are raised, the lines before a faulty one are yielded first, so that a
    caller who checks more than the form of a line can raise an earlier fault of its own.

    Args:
        path: the file.
        columns: names of the columns, in file order.
        faults: told of every faulty line.
        separator: one ASCII character.
        parse: what to make of a block's table; called on threads, for blocks ahead of the one that is yielded.

    Yields:
        What `parse` makes of a table of string columns, by itself the table, and the 1-based line number of each of
        the table's rows, (rows,) int64.

    Raises:
        DataFormatError: the file is missing, a folder or empty, or a line is faulty and faults are raised.
        ValueError: `separator` is not one ASCII character other than a line end.
    """
    if len(separator) != 1 or not separator.isascii() or separator in "\r\n":
        raise ValueError(f"separator must be one ASCII character other than a line end, got {separator!r}.")
    expected = describe_columns(columns, separator)
    require_file(path, expected)

    def parse_block(block: bytes) -> _ParsedBlock:
        if len(block) > BLOCK_BYTES + MAX_LINE_BYTES:
            raise DataFormatError(path, f"a line is longer than {MAX_LINE_BYTES:,} bytes; expected {expected}.")
        pieces, first_field, width = _find_fields(block, ord(separator))
        undecodable = _undecodable_lines(block)
        sound = width == len(columns)
        misshapen = np.flatnonzero(~sound)
        sound[undecodable] = False
        if faults.report is None and not sound.all():
            sound[np.argmin(sound) :] = False  # what follows the first fault is not wanted
        usable = np.flatnonzero(sound)
        parsed = parse(_take_columns(pieces, first_field[usable], columns)) if len(usable) else None
        return _ParsedBlock(parsed, usable, undecodable, misshapen, width)

    line_count = 0
    with open(path, "rb") as file:
        for block in _ahead(_threads(), parse_block, _blocks_of_lines(file), _cores()):
            lines = np.arange(line_count + 1, line_count + 1 + len(block.width))
            line_count += len(lines)
            if len(block.usable):
                yield block.parsed, lines[block.usable]
            faults.add(
                "bytes that are not UTF-8",
                lines[block.undecodable],
                lambda _: "the line is not valid UTF-8.",
                remedy="Convert the file to UTF-8.",
            )
            faults.add(
                "wrong number of columns",
                lines[block.misshapen],
                lambda k, found=block.width[block.misshapen]: f"expected {expected}, got {found[k]}.",
            )
            faults.raise_earliest()
    pa.default_memory_pool().release_unused()  # what the blocks took would else stay with Arrow
    if line_count == 0:
        raise DataFormatError(path, f"the file holds nothing but blank lines; expected {expected}.")


@dataclass(frozen=True)
class _ParsedBlock:
    """A block of lines: what was made of the usable ones, and which lines are faulty.

    Attributes:
        parsed: what the caller's `parse` gave; None where no line is usable.
        usable: indices of lines, ascending; so are `undecodable` and `misshapen`.
        undecodable: the lines that are not UTF-8.
        misshapen: the lines with another number of columns.
        width: (lines,) the number of columns of each line.
    """

    parsed: Any
    usable: np.ndarray
    undecodable: np.ndarray
    misshapen: np.ndarray
    width: np.ndarray


def _cores() -> int:
    return os.cpu_count() or 1


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """The threads that parse, of all readers.

    They are not a reader's own, since a reader that an error left half-way ends when its memory is collected, which may
    happen in any thread, and joining threads there can lock up.
    """
    return ThreadPoolExecutor(_cores(), thread_name_prefix="read_tsv")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.cache_clear)  # a forked process has none of the threads


def _ahead(threads: ThreadPoolExecutor, work: Callable[[Any], Any], items: Iterable[Any], count: int) -> Iterator[Any]:
    """Yields what some work makes of items, in their order, up to `count` items ahead of the one that is yielded."""
    waiting = deque()
    for item in items:
        waiting.append(threads.submit(work, item))
        if len(waiting) > count:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _blocks_of_lines(file: BinaryIO) -> Iterator[bytes]:
    """Cuts a file into blocks of whole lines; blank lines at the end of the file are dropped."""
    if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
        file.seek(0)
    held = b""  # blank lines wait here until a line with content follows them
    while chunk := file.read(BLOCK_BYTES) + file.readline(MAX_LINE_BYTES + 1):
        block = held + chunk
        content_end = _content_end(block)
        if content_end == 0:
            held = block
            continue
        last_newline = block.find(b"\n", content_end)
        if last_newline < 0:
            yield block + b"\n"
            held = b""
        else:
            yield block[: last_newline + 1]
            held = block[last_newline + 1 :]


def _content_end(block: bytes) -> int:
    """Where the block's last blank lines begin."""
    tail = block[-64:]
    content = tail.rstrip(b"\r\n")
    return len(block) - len(tail) + len(content) if content else len(block.rstrip(b"\r\n"))


def _find_fields(block: bytes, separator: int) -> tuple[pa.StringArray, np.ndarray, np.ndarray]:
    """Finds the fields of every line.

    Returns:
        The block cut at every field's start and end: piece 2k is field k, piece 2k + 1 the separator or line
        end after it (a view of the block, without a copy); the number of each line's first field, (lines,);
        and the number of fields in each line, (lines,).
    """
    data = np.frombuffer(block, np.uint8)
    ends_field = data == separator
    ends_field |= data == _NEWLINE
    ends = np.flatnonzero(ends_field)
    ends_line = data[ends] == _NEWLINE
    last_field = np.flatnonzero(ends_line)
    width = np.diff(last_field, prepend=-1)
    cuts = np.empty(2 * len(ends) + 1, np.int32)
    cuts[0] = 0
    cuts[1::2] = ends - (ends_line & (data[ends - 1] == _CARRIAGE_RETURN))
    cuts[2::2] = ends + 1
    pieces = pa.StringArray.from_buffers(2 * len(ends), pa.py_buffer(cuts), pa.py_buffer(block))
    return pieces, last_field - width + 1, width


def _undecodable_lines(block: bytes) -> np.ndarray:
    """The 0-based lines of the block that are not UTF-8, ascending."""
    if _is_utf8(block):
        return np.empty(0, np.int64)
    return np.array([k for k, line in enumerate(block.split(b"\n")) if not _decodes(line)], np.int64)


def _decodes(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_utf8(text: bytes) -> bool:
    offsets = np.array([0, len(text)], np.int32)
    try:  # unlike bytes.decode, this makes no string and lets other threads run
        pa.StringArray.from_buffers(1, pa.py_buffer(offsets), pa.py_buffer(text)).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _take_columns(pieces: pa.StringArray, first_field: np.ndarray, columns: Sequence[str]) -> pa.Table:
    """The lines whose first fields are given, as a table."""
    return pa.table(
        [pieces.take(pa.array(2 * (first_field + column))) for column in range(len(columns))],
        names=list(columns),
    )
