"""Reading click logs that are larger than memory, on several processes, into one that is mapped in parts.

First, stretches of the files are read, each by one process, and dealt to parts by user; then each part is joined
(`data/partition.py`). A part has its impressions in the order of files and lines, so that the result is the same for
any number of processes.
"""

from __future__ import annotations

import filecmp
import hashlib
import multiprocessing
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from pyarrow import fs

from recommenders_miner.backend import end_with_parent, keep_freed_memory
from recommenders_miner.data.behaviors import (
    FILE_COLUMNS,
    READER_VERSION,
    LogReader,
    no_usable_line,
    read_blocks,
)
from recommenders_miner.data.cache import ArraysInMemory, ArrayWriter
from recommenders_miner.data.folders import ARTICLES_FILE, BEHAVIORS_FILE, INGESTED, NEWS_FILE
from recommenders_miner.data.log import LOGGER, ImpressionLog
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.partition import deal, join_parts
from recommenders_miner.data.tsv import (
    PASSED_OVER,
    LineErrors,
    OnError,
    SkipReport,
    ahead,
    describe_columns,
    find_files,
    is_uri,
    open_binary,
    require_file,
    unpacking_of,
)
from recommenders_miner.errors import DataFormatError, RecommendersMinerError
from recommenders_miner.progress import Report
from recommenders_miner.storage import atomic_write, new_folder

_STRETCH_BYTES = 2**28
_CANDIDATES_AT_ONCE = 2**24
_PART_BYTES = 2**30
_JOINING = 0.1  # of all the time, roughly

Source = str | Path


def ingest(
    sources: Iterable[Source],
    out: str | Path,
    news_file: str | Path,
    *,
    workers: int = 1,
    parts: int | None = None,
    on_error: OnError = "raise",
    separator: str = "\t",
    overwrite: bool = False,
    progress: Report = lambda share, doing: None,
) -> ImpressionLog:
    """Read files in the form of `behaviors.tsv` into `out/behaviors`, the columns of one log, and copy the news beside.

    What is copied is news.tsv, and of what stands beside it articles.parquet and files of vectors (`*.vec`).

    The files may be larger than memory, and so may be what they become. `out` can then stand in the place of a split of
    a data folder. The users are dealt to parts, which stand one after another; within a part, impressions are in the
    order of files and lines, and of histories with the same articles there is one.

    While it works it takes little more disk than in the end. After a kill the next call to the same folder starts over.

    Args:
        sources: files, plain or packed by gzip, bzip2 or xz; a text with `://` is the URI of an object of S3, Google
            Cloud Storage or whatever else Arrow opens. They are taken one by one as they are needed, so that a
            generator may make each just before.
        out: gets `behaviors`, and a copy of the news unless it has them.
        news_file: the news that the log refers to.
        workers: processes that read; a packed file is read by one.
        parts: how many parts users are dealt to; by default one for each GiB of the sources, which then are a sequence.
            Joining takes as much memory as a part.
        on_error: as in `ImpressionLog.read`.
        separator: what stands between columns.
        overwrite: whether to replace what `out` has already.
        progress: told the share that is done.

    Raises:
        ValueError: there are no sources.
        DataFormatError: as `ImpressionLog.read` does of a file.
        FolderExistsError: `out/behaviors` is there.
        RecommendersMinerError: `out` has a `behaviors.tsv`, or other news.
        NotWrittenError: the disk is full, say.
    """
    out, target = Path(out), Path(out) / INGESTED
    total = sum(map(_size, sources)) if isinstance(sources, Sequence) else None
    if parts is None:
        if total is None:
            raise ValueError("parts can be left out for a sequence of sources only.")
        parts = -(-total // _PART_BYTES)
    news = NewsTable.read(news_file, on_error)
    copies = _news_to_copy(Path(news_file), out, overwrite)
    for left in out.glob(f".{INGESTED}.????????.tmp"):
        shutil.rmtree(left, ignore_errors=True)
    with new_folder(target, overwrite) as folder:
        fragments = folder / "fragments"
        fragments.mkdir()
        task = _Task(news, on_error, separator, parts, fragments, max(1, (os.cpu_count() or 1) // workers))
        key = hashlib.blake2b(repr((READER_VERSION, news.ids_digest, parts)).encode(), digest_size=16)
        skipped, done = Counter(), 0
        for stretch, found in _read_all(task, sources, workers):
            key.update(found.digest)
            skipped.update(found.skipped)
            done += stretch.size
            progress((1 - _JOINING) * done / total if total else 0.0, os.path.basename(stretch.path))
        writer = ArrayWriter(folder)
        join_parts(fragments, parts, writer, lambda share: progress(1 - _JOINING * (1 - share), "joining"))
        writer.meta = {"news": news.ids_digest, "counts": None if on_error == "raise" else dict(skipped)}
        writer.finish(key.hexdigest())
        for source, copied in copies.items():
            if source.exists():
                with atomic_write(copied) as partial:
                    shutil.copyfile(source, partial)
            else:
                copied.unlink()
    return ImpressionLog.open(target, news)


def find_sources(source: str) -> list[Source]:
    """Return the files that a path, a pattern or a URI stands for; of a folder, those called `behaviors…` if there are.

    Raises:
        DataFormatError: there are none.
    """
    if is_uri(source):
        filesystem, name = fs.FileSystem.from_uri(source)
        if filesystem.get_file_info(name).type != fs.FileType.Directory:
            return [source]
        inside = filesystem.get_file_info(fs.FileSelector(name, recursive=True))
        paths = sorted(file.path.removeprefix(name).lstrip("/") for file in inside if file.is_file)
        uri = urlsplit(source)
        files = {
            uri._replace(path=f"{uri.path.rstrip('/')}/{quote(path)}").geturl(): os.path.basename(path)
            for path in paths
            if not PASSED_OVER.search(path)
        }
        if not files:
            raise DataFormatError(source, "there are no files in it.")
    else:
        try:
            files = {file: file.name for file in find_files(Path(source))}
        except ValueError as error:
            raise DataFormatError(source, str(error)) from None
    logs = [file for file, name in files.items() if name.startswith("behaviors")]
    return logs or [*files]


def _size(path: Source) -> int:
    """Return the bytes of a source, which must be there and hold something."""
    require_file(path, describe_columns(FILE_COLUMNS))
    with open_binary(path) as file:
        return file.seek(0, os.SEEK_END)


def _news_to_copy(news_file: Path, out: Path, overwrite: bool) -> dict[Path, Path]:
    """Return the files of news that are to be copied to a folder, and where; refuse a folder that has others.

    A file that is not there takes away the one in its place.
    """
    if (out / BEHAVIORS_FILE).exists():
        raise RecommendersMinerError(f"{out}: has a {BEHAVIORS_FILE}, which would go before what is ingested.")
    copies = {news_file: out / NEWS_FILE}
    for source in (news_file.with_name(ARTICLES_FILE), *news_file.parent.glob("*.vec")):
        copies[source] = out / source.name
    needed = {}
    for source, copied in copies.items():
        if copied.exists() and source.exists() and filecmp.cmp(source, copied, shallow=False):
            continue
        if copied.exists() and not overwrite:
            raise RecommendersMinerError(f"{copied}: is another one than that of {news_file}. Choose another folder.")
        if copied.exists() or source.exists():
            needed[source] = copied
    return needed


# === Reading ===


class _Stretch(NamedTuple):
    """Whole lines of a file; all of a packed one."""

    path: Source
    start: int
    end: int
    size: int  # in the file, packed as it is


@dataclass(frozen=True)
class _Task:
    """What is the same for all stretches."""

    news: NewsTable
    on_error: OnError
    separator: str
    parts: int
    fragments: Path
    threads: int  # of one process


class _Found(NamedTuple):
    """What reading a stretch gave; its lines count from 1."""

    impressions: int
    num_lines: int
    digest: bytes
    report: SkipReport | None
    error: tuple[str, int | None, str | None] | None  # problem, line, remedy

    @property
    def skipped(self) -> dict[str, int]:
        return self.report.counts if self.report else {}


def _stretches(path: Source) -> Iterator[_Stretch]:
    """Cut a file behind lines that are not blank, so that what a reader passes over stands at the end of the file."""
    size, start = _size(path), 0
    with open_binary(path) as file:
        if unpacking_of(file):
            yield _Stretch(path, 0, sys.maxsize, size)
            return
        while start < size:
            file.seek(min(start + _STRETCH_BYTES, size))
            file.readline()
            while (line := file.readline()) and not line.strip(b"\r\n"):
                pass
            end = file.tell()
            yield _Stretch(path, start, end, end - start)
            start = end


def _is_labelled(task: _Task, path: Source) -> bool | None:
    """Return whether the first sound impression of a file has labels; None where there is none."""
    errors = LineErrors(path, task.on_error)
    reader = LogReader(task.news, errors, lambda **_: None)
    for block, lines in read_blocks(path, task.news, errors, task.separator, threads=1):
        reader.add(block, lines)
        if reader.labelled is not None:
            break
    return reader.labelled


def _read_all(task: _Task, sources: Iterable[Source], workers: int) -> Iterator[tuple[_Stretch, _Found]]:
    """Read all stretches, and yield what was found in each, in their order; raise the first error of all."""

    def jobs() -> Iterator[tuple[_Stretch, bool | None, int]]:
        labelled, number = None, count()
        for path in sources:
            if labelled is None:
                labelled = _is_labelled(task, path)
            yield from ((stretch, labelled, next(number)) for stretch in _stretches(path))

    report, lines_before, impressions = None, 0, 0
    for stretch, found in _in_order(task, jobs(), workers):
        if stretch.start == 0:
            _warn(report)
            report, lines_before = SkipReport(stretch.path), 0
        if found.error is not None:
            problem, line, remedy = found.error
            raise DataFormatError(stretch.path, problem, line and line + lines_before, remedy)
        if found.report:
            report.extend(found.report, lines_before)
        lines_before += found.num_lines
        impressions += found.impressions
        yield stretch, found
    _warn(report)
    if report is None:
        raise ValueError("There are no sources.")
    if not impressions:
        raise no_usable_line(stretch.path, task.separator)


def _warn(report: SkipReport | None) -> None:
    if report is not None and report.counts:
        LOGGER.warning("%s", report.summary())


def _in_order(task: _Task, jobs: Iterator[tuple], workers: int) -> Iterator[tuple[_Stretch, _Found]]:
    """Yield each job's stretch and what reading it gave, a few jobs ahead on so many processes."""
    if workers == 1:
        yield from ((job[0], _read(task, *job)) for job in jobs)
        return
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, spawn, _begin, (task,))
    try:
        yield from ahead(pool, _read_here, jobs, 2 * workers)
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(task: _Task) -> None:
    """Prepare a process that reads."""
    global _task
    _task = task
    end_with_parent()


def _read_here(stretch: _Stretch, *job: Any) -> tuple[_Stretch, _Found]:
    return stretch, _read(_task, stretch, *job)


def _read(task: _Task, stretch: _Stretch, labelled: bool | None, number: int) -> _Found:
    """Read a stretch, the one of that number, and deal it to the parts."""
    keep_freed_memory()
    errors, error = LineErrors(stretch.path, task.on_error), None
    digest, impressions = hashlib.blake2b(digest_size=16), 0
    try:
        for block, log in enumerate(_logs(task, stretch, errors, labelled)):
            impressions += len(log)
            digest.update(deal(log, task.parts, task.fragments, f"{number:08}-{block:08}"))
    except DataFormatError as raised:
        error = raised.problem, raised.line, raised.remedy
    return _Found(impressions, errors.num_lines, digest.digest(), errors.report, error)


def _logs(task: _Task, stretch: _Stretch, errors: LineErrors, labelled: bool | None) -> Iterator[ImpressionLog]:
    """Yield the impressions of a stretch as logs that fit into memory."""
    blocks = read_blocks(
        stretch.path,
        task.news,
        errors,
        task.separator,
        start=stretch.start,
        end=stretch.end,
        threads=task.threads,
    )
    arrays = reader = None
    for block, lines in blocks:
        if reader is None:
            arrays = ArraysInMemory()
            reader = LogReader(task.news, errors, arrays.append, labelled)
        reader.add(block, lines)
        if reader.num_candidates >= _CANDIDATES_AT_ONCE:
            reader.append_users()
            yield ImpressionLog.from_arrays(arrays.joined(), Path(stretch.path))
            reader = None
    if reader is not None:
        reader.append_users()
        yield ImpressionLog.from_arrays(arrays.joined(), Path(stretch.path))
