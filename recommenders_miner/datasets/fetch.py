"""Getting a file over HTTP: whole or not at all, and from where an earlier attempt stopped.

Why `requests`: unlike urllib it takes a token off when a server redirects to another host, as the Hugging Face hub
does. Why not `hf_hub_download`: huggingface_hub 2.4 deletes what has arrived when it is stopped, so that MIND-large
would start from nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import requests
from urllib3.exceptions import HTTPError, MaxRetryError

from recommenders_miner.errors import DownloadError, NotWrittenError
from recommenders_miner.progress import Report, progress_bar
from recommenders_miner.storage import atomic_write

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

LOGGER = logging.getLogger("recommenders_miner")

ATTEMPTS = 6
TIMEOUT_SECONDS = 30.0
"""How long a server may send nothing before the connection counts as stalled."""
PAUSE_SECONDS = 1.0
"""Before the second attempt; it doubles from one to the next."""

_PART = ".part"
_CHUNK_BYTES = 2**16
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_DIGITS = r"\d{1,18}"
"""A size. Longer ones are none, and Python refuses to read some of them."""
_SENDABLE = re.compile(r"[!-~\x80-\xff]([ -~\x80-\xff]*[!-~\x80-\xff])?")
"""The value of a header that can be sent back as it came, which one with a line break in it cannot."""


class _InterruptedError(Exception):
    """A transfer broke off in a way that another attempt may mend."""


def download(url: str, path: str | Path, sha256: str | None = None, headers: Mapping[str, str] | None = None) -> Path:
    """Gets a file, unless it is there.

    What has arrived lies in `.NAME.part` beside `path`, and `.NAME.part.json` says of which version of the file it is a
    part: the server's ETag or Last-Modified, and the size. A transfer that breaks off or stalls is resumed from there,
    up to `ATTEMPTS` requests a call, and by later calls; if the server has another version by then, or cannot resume,
    it starts anew. `path` appears when everything is there. Only where a server does not say how long a file is can a
    transfer that ended early go unnoticed, unless `sha256` is given. A server that compresses the file on the way,
    which it is asked not to, is refused: where what it sends is cut short, that cannot be told from the whole.

    Args:
        url: its address, http or https.
        path: where to; missing folders are made.
        sha256: what its content must hash to, in hexadecimal.
        headers: sent with the request. `Authorization` goes to the host of `url` only.

    Returns:
        `path`.

    Raises:
        DownloadError: the server refuses, the transfer broke off too often, or the content is another one.
        NotWrittenError: the disk is full or cannot be written.
    """
    path = Path(path)
    if path.is_file():
        return path
    partial = _Partial(path, url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with progress_bar(path.name) as report:
            _receive_all(url, partial, headers or {}, report)
        if sha256 and (found := file_sha256(partial.path)) != sha256:
            partial.discard()
            raise DownloadError(url, f"its SHA-256 is {found}, expected {sha256}; what was received is deleted.")
        partial.become(path)
    except NotWrittenError:
        raise
    except OSError as error:  # what the network does has become a DownloadError
        raise NotWrittenError(path, error) from error
    return path


@contextlib.contextmanager
def download_folder(folder: str | Path) -> Iterator[Path]:
    """Lends a folder for downloads that something else is then made of.

    It goes when the block ends, unless there is something to go on from: it stays if the block was interrupted by
    Ctrl-C, found the disk full, or ended with another error and left a part of a file.

    Args:
        folder: the folder, the same in every attempt.

    Yields:
        The folder, with what an earlier attempt left.

    Raises:
        NotWrittenError: it cannot be made.
        DownloadError: another process downloads into it.
    """
    folder = Path(folder)
    with _held(folder):
        try:
            yield folder
        except NotWrittenError:
            raise
        except Exception:
            if not any(folder.rglob(f".*{_PART}")):
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def forget_downloads(folder: str | Path) -> None:
    """Removes the folder of `download_folder` when all is there that it was for, as a killed process may have left it.

    Nothing is done while another process downloads into it.
    """
    if Path(folder).is_dir():
        with contextlib.suppress(DownloadError), download_folder(folder):
            pass


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Makes a folder and holds it against other processes, where the system has locks, until this one lets go or dies.

    Raises:
        NotWrittenError: it cannot be made.
        DownloadError: another process holds it.
    """
    try:
        lock = _locked_folder(folder)
    except OSError as error:
        raise NotWrittenError(folder, error) from error
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _locked_folder(folder: Path) -> int | None:
    """Makes a folder; returns the descriptor that holds its lock, None where there are no locks.

    The process that held it before may remove it at any moment, and a lock on a folder that is gone holds off nobody.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        if fcntl is None:
            return None
        try:
            lock = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise DownloadError(str(folder), "another process is downloading into it.") from error
        except OSError:
            pass  # a file system without locks
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), os.stat(folder)):
                return lock
        os.close(lock)


def file_sha256(path: str | Path) -> str:
    """Returns the SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class _Version:
    """What tells a version of a file from others.

    Attributes:
        tag: its ETag or date, as If-Range takes it; None where nothing tells it surely.
        size: its bytes; None where the server does not say.
    """

    tag: str | None
    size: int | None

    def may_be(self, other: _Version) -> bool:
        """Whether nothing that is known of both is different."""
        return not any(
            None not in pair and pair[0] != pair[1] for pair in ((self.tag, other.tag), (self.size, other.size))
        )


class _Partial:
    """The part of a file that has arrived, and the note beside it that says of what it is a part."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path.with_name(f".{path.name}{_PART}")
        self._note = path.with_name(f".{path.name}{_PART}.json")
        self._url = url

    def __len__(self) -> int:
        """The number of bytes that have arrived, of whatever version."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def version(self) -> _Version | None:
        """The version of the file that the part belongs to; None where there is no part to go on from."""
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            url, tag, size = note["url"], note["version"], note["size"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        if url != self._url or not len(self) or not isinstance(tag, str) or not _SENDABLE.fullmatch(tag):
            return None
        return _Version(tag, size) if size is None or re.fullmatch(_DIGITS, repr(size)) else None

    def begin(self, version: _Version) -> None:
        """Empties the part and notes the version of what is going to arrive, in an order that a kill cannot mix up."""
        self.discard()
        note = {"url": self._url, "version": version.tag, "size": version.size}
        with atomic_write(self._note) as temporary:
            temporary.write_text(json.dumps(note), encoding="utf-8")

    def discard(self) -> None:
        """Deletes the part and the note."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def become(self, path: Path) -> None:
        """Turns the part, which is whole, into the file."""
        self.path.touch()  # an empty file sends no bytes
        os.replace(self.path, path)
        self._note.unlink(missing_ok=True)


def _receive_all(url: str, partial: _Partial, headers: Mapping[str, str], report: Report) -> None:
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
        try:
            _receive(url, partial, headers, report)
        except _InterruptedError as error:
            LOGGER.info("%s: %s", url, error)
            problem = str(error)
        else:
            return
    raise DownloadError(url, f"{problem} That was attempt {ATTEMPTS}; the next call resumes at byte {len(partial):,}.")


def _receive(url: str, partial: _Partial, headers: Mapping[str, str], report: Report) -> None:
    """Makes one request and appends what it brings."""
    asked = {"Accept-Encoding": "identity", **headers}
    if begun := partial.version():
        asked |= {"Range": f"bytes={len(partial)}-", "If-Range": begun.tag}
    with (
        _connection_faults(url, partial),
        requests.get(url, headers=asked, stream=True, timeout=TIMEOUT_SECONDS) as answer,
    ):
        if answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            found = _Version(_tag(answer), _whole_size(answer))
            if begun and found.size == len(partial) and found.may_be(begun):
                return  # all had arrived, and only the renaming had not been done
            partial.discard()
            raise _InterruptedError("the server has another version, or less of it, than had arrived before.")
        _require_success(url, answer)
        start, found = _extent(url, answer)
        if start == 0:
            partial.begin(found)
            begun = found
        elif begun is None or start != len(partial) or not found.may_be(begun):
            partial.discard()
            raise _InterruptedError("the server went on elsewhere than it was asked to, or in another version.")
        size = found.size if begun.size is None else begun.size
        with open(partial.path, "ab") as file:
            for chunk in answer.iter_content(_CHUNK_BYTES):
                file.write(chunk)
                if size:
                    report(file.tell() / size, f"{file.tell() / 1e6:,.0f} of {size / 1e6:,.0f} MB")
    if size is not None and len(partial) != size:
        problem = f"the transfer ended at byte {len(partial):,} of {size:,}."
        if len(partial) > size:
            partial.discard()
        raise _InterruptedError(problem)


@contextlib.contextmanager
def _connection_faults(url: str, partial: _Partial) -> Iterator[None]:
    """Tells connections that broke, which are worth another attempt, from hosts that cannot be reached at all."""
    try:
        yield
    except requests.ConnectionError as error:
        never_connected = isinstance(error.args[0], MaxRetryError)
        if never_connected and not len(partial):
            raise DownloadError(url, f"{_cause(error)}.") from error
        raise _InterruptedError(f"{_cause(error)}.") from error
    except (requests.exceptions.ChunkedEncodingError, requests.Timeout) as error:
        raise _InterruptedError(f"{_cause(error)}.") from error
    except requests.RequestException as error:
        raise DownloadError(url, f"{_cause(error)}.") from error
    except (ValueError, HTTPError) as error:  # requests lets those of the parsers of addresses and headers through
        raise DownloadError(url, f"it, or where it leads, cannot be asked for ({error}).") from error


def _cause(error: requests.RequestException) -> str:
    """What went wrong, without the chain of calls that requests and urllib3 word around it."""
    inner = error.args[0] if error.args else error
    return re.sub(r"^HTTPS?Connection(Pool)?\(.*?\): ", "", str(getattr(inner, "reason", inner))).removesuffix(".")


def _require_success(url: str, answer: requests.Response) -> None:
    """Refuses an answer that brings no file, or one whose bytes on the way are not those of the file."""
    status = answer.status_code
    if status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        if (encoding := answer.headers.get("Content-Encoding", "identity").strip().lower()) != "identity":
            problem = f"the server packs it on the way ({encoding[:40]!r}), so that it cannot be known to be whole."
            raise DownloadError(url, problem)
        return
    # The hub says in a header what Azure says in the reason: "Public access is not permitted on this storage account".
    problem = f"HTTP {status} {answer.headers.get('X-Error-Message') or answer.reason}".rstrip(".") + "."
    if status in _PASSING:
        raise _InterruptedError(problem)
    raise DownloadError(url, problem, status=status)


def _extent(url: str, answer: requests.Response) -> tuple[int, _Version]:
    """Where in the file the answer begins, and of which version it is."""
    if answer.status_code == HTTPStatus.PARTIAL_CONTENT:
        content_range = answer.headers.get("Content-Range", "")
        found = re.fullmatch(rf"bytes ({_DIGITS})-{_DIGITS}/({_DIGITS}|\*)", content_range)
        if found is None:
            raise _InterruptedError(f"the server answered with the range {content_range[:80]!r}.")
        return int(found[1]), _Version(_tag(answer), _whole_size(answer))
    length = answer.headers.get("Content-Length")
    if length is not None and not re.fullmatch(_DIGITS, length):
        raise DownloadError(url, f"the server says that it has {length[:80]!r} bytes.")
    return 0, _Version(_tag(answer), None if length is None else int(length))


def _whole_size(answer: requests.Response) -> int | None:
    """The size of the whole file of which an answer has a part or none; None where the server does not say."""
    found = re.fullmatch(rf"bytes .*/({_DIGITS})", answer.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _tag(answer: requests.Response) -> str | None:
    """What tells this version of the file from others, as If-Range takes it; None where nothing does so surely."""
    etag = answer.headers.get("ETag", "")
    tag = etag if etag.startswith('"') else answer.headers.get("Last-Modified", "")
    return tag if _SENDABLE.fullmatch(tag) else None
