"""Downloads that appear whole or not at all, and go on where an earlier attempt stopped.

Files of the Hugging Face hub come the same way, from the address and with the token that huggingface_hub knows: its own
`hf_hub_download` deletes what has arrived when it is stopped (2.4), so MIND-large would start anew.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path

import requests
from urllib3.exceptions import HTTPError, MaxRetryError

from recommenders_miner.errors import DownloadError, NotWrittenError
from recommenders_miner.progress import Report, progress_bar

LOGGER = logging.getLogger("recommenders_miner")

ATTEMPTS = 6
TIMEOUT_SECONDS = 30.0
"""How long a server may send nothing before the connection counts as stalled."""
PAUSE_SECONDS = 1.0
"""Before the second attempt; it doubles with each further one."""

_CHUNK_BYTES = 2**16
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_SIZE = r"\d{1,18}"


class _BrokenOffError(Exception):
    """A transfer broke off in a way that another attempt may mend."""


def download(url: str, path: str | Path, sha256: str | None = None, headers: Mapping[str, str] | None = None) -> Path:
    """Download a file, unless it is there.

    What has arrived lies beside `path` in `.NAME.part-…`, which ends in a digest of the URL. A transfer that breaks off
    or stalls is resumed from there, up to `ATTEMPTS` times a call, and by later calls. If the file changes on the
    server meanwhile, or ends early where the server does not say how long it is, only `sha256` tells.

    Args:
        url: its address, http or https.
        path: where to; missing folders are made.
        sha256: what its content must hash to, in hexadecimal.
        headers: sent with the request. `Authorization` goes to the host of `url` only.

    Returns:
        `path`.

    Raises:
        DownloadError: the server refuses, the transfer broke off too often, or the content is not the expected one.
        NotWrittenError: the disk is full or cannot be written.
    """
    path = Path(path)
    if path.is_file():
        return path
    part = path.with_name(f".{path.name}.part-{hashlib.sha256(url.encode()).hexdigest()[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with progress_bar(path.name) as report:
            _receive_all(url, part, headers or {}, report)
        if sha256 and (found := file_sha256(part)) != sha256:
            part.unlink()
            raise DownloadError(url, f"its SHA-256 is {found}, expected {sha256}; what was received is deleted.")
        os.replace(part, path)
    except OSError as error:  # what goes wrong in the network has become a DownloadError
        raise NotWrittenError(path, error) from error
    return path


def _receive_all(url: str, part: Path, headers: Mapping[str, str], report: Report) -> None:
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
        try:
            return _receive(url, part, headers, report)
        except _BrokenOffError as error:
            LOGGER.info("%s: %s", url, error)
            problem = f"{error} That was attempt {ATTEMPTS}; the next call resumes at byte {_size_of(part):,}."
    raise DownloadError(url, problem)


def _receive(url: str, part: Path, headers: Mapping[str, str], report: Report) -> None:
    """Make one request and append what it brings."""
    have = _size_of(part)
    headers = {"Accept-Encoding": "identity", **headers} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
            start, size = _extent(url, response)
            if start == have == size and start:
                return  # all had arrived, only the renaming was left to do
            if start not in (0, have):
                part.unlink(missing_ok=True)
                raise _BrokenOffError(f"the server answered with the range {start!r}.")
            with open(part, "ab" if start else "wb") as file:
                for chunk in response.iter_content(_CHUNK_BYTES):
                    file.write(chunk)
                    if size:
                        report(file.tell() / size, f"{file.tell() / 1e6:,.0f} of {size / 1e6:,.0f} MB")
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        if isinstance(error.args[0], MaxRetryError) and not have:  # the host cannot be reached at all
            raise DownloadError(url, f"{_cause(error)}.") from error
        raise _BrokenOffError(f"{_cause(error)}.") from error
    except requests.RequestException as error:
        raise DownloadError(url, f"{_cause(error)}.") from error
    except (ValueError, HTTPError) as error:  # requests lets those of the parsers of addresses and headers through
        raise DownloadError(url, f"it, or where it leads, cannot be asked for ({error}).") from error
    if size is not None and _size_of(part) != size:
        raise _BrokenOffError(f"the transfer ended at byte {_size_of(part):,} of {size:,}.")


def _extent(url: str, response: requests.Response) -> tuple[int | str, int | None]:
    """Return where in the file a response begins, or what it says of that if it cannot be read, and the file's size."""
    status = response.status_code
    if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
        # The hub puts into a header what Azure puts into the reason: "Public access is not permitted …".
        problem = f"HTTP {status} {response.headers.get('X-Error-Message') or response.reason}".rstrip(".") + "."
        raise _BrokenOffError(problem) if status in _TRANSIENT else DownloadError(url, problem, status=status)
    if (encoding := response.headers.get("Content-Encoding", "identity").strip().lower()) != "identity":
        problem = f"the server compresses it on the way ({encoding[:40]!r}), so it cannot be known to be whole."
        raise DownloadError(url, problem)
    if status == HTTPStatus.OK:
        length = response.headers.get("Content-Length")
        if length is not None and not re.fullmatch(_SIZE, length):
            raise DownloadError(url, f"the server says that it has {length[:80]!r} bytes.")
        return 0, None if length is None else int(length)
    said = response.headers.get("Content-Range", "")
    found = re.fullmatch(rf"bytes (?:({_SIZE})-{_SIZE}|\*)/({_SIZE})", said)
    if found is None or found[0] == "bytes */0":
        return said[:80], None
    return int(found[1] or found[2]), int(found[2])


def _cause(error: requests.RequestException) -> str:
    """Return what went wrong, without the chain of calls that requests and urllib3 word around it."""
    inner = error.args[0] if error.args else error
    return re.sub(r"^HTTPS?Connection(Pool)?\(.*?\): ", "", str(getattr(inner, "reason", inner))).removesuffix(".")


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_from_first(
    what: str, sources: Mapping[str, Callable[[Path], object]], downloads: Path, remedy: str = ""
) -> None:
    """Let one source after another fetch something until one succeeds.

    Args:
        what: what is fetched, for messages.
        sources: what fetches it, by the source's name, in the order to try them. Each gets a folder for its downloads,
            the same in every call. Whatever one of them raises, the next is tried, except where the disk is full.
        downloads: the folder of these folders. It goes at the end, unless there is something to go on from: after
            Ctrl-C, on a full disk, or where all sources failed and one left a part of a file.
        remedy: what else the user can do, a sentence.

    Raises:
        DownloadError: all failed; the message has a line for each source and why.
        NotWrittenError: the disk is full or cannot be written.
    """
    failures = []
    for number, (name, fetch) in enumerate(sources.items()):
        try:
            fetch(downloads / str(number))
        except NotWrittenError:
            raise
        except Exception as error:
            reason = str(error) or type(error).__name__
            LOGGER.info("%s: not from %s (%s)", what, name, reason)
            failures.append(f"\n  {name}: {reason}")
        else:
            LOGGER.info("%s: from %s", what, name)
            shutil.rmtree(downloads, ignore_errors=True)
            return
    if not any(downloads.rglob(".*.part-*")):
        shutil.rmtree(downloads, ignore_errors=True)
    raise DownloadError(what, "could not be fetched." + "".join(failures) + (f"\n{remedy}" if remedy else ""))


def download_from_hub(repository: str, name: str, path: str | Path, kind: str, sha256: str | None = None) -> Path:
    """Download a file of a repository, a "model" or "dataset", on the Hugging Face hub, as `download` does.

    Raises:
        DownloadError: as in `download`; the message says how to be let in where the owner wants terms to be accepted.
        NotWrittenError: as in `download`.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(repository, name, repo_type=kind)
    try:
        return download(url, path, sha256, headers=build_hf_headers(library_name="recommenders_miner"))
    except DownloadError as error:
        if error.status not in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise
        remedy = f"Accept its terms on {url.partition('/resolve/')[0]}, then: hf auth login"
        raise DownloadError(error.what, f"{error.problem} {remedy}", status=error.status) from error
