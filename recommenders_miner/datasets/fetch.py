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

_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_ANSWERS = {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE}


def download(url: str, path: str | Path, sha256: str | None = None, headers: Mapping[str, str] | None = None) -> Path:
    """Download a file from an http or https address, unless it is there; return its path.

    What has arrived lies beside `path` in `.NAME.part-…`, which ends in a digest of the URL. A transfer that breaks off
    or stalls is resumed from there, up to `ATTEMPTS` times a call, and by later calls. If the file changes on the
    server meanwhile, or ends early where the server does not say how long it is, only `sha256` tells. The header
    `Authorization` goes to the host of `url` only.

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
            for attempt in range(1, ATTEMPTS + 1):
                problem = _receive(url, part, headers or {}, report)
                if problem is None:
                    break
                LOGGER.info("%s: %s", url, problem)
                if attempt == ATTEMPTS:
                    rest = f"That was attempt {attempt}; the next call resumes at byte {_size_of(part):,}."
                    raise DownloadError(url, f"{problem} {rest}")
                time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
        if sha256 and (found := file_sha256(part)) != sha256:
            part.unlink()
            raise DownloadError(url, f"its SHA-256 is {found}, expected {sha256}; what was received is deleted.")
        os.replace(part, path)
    except OSError as error:  # what goes wrong in the network has become a DownloadError
        raise NotWrittenError(path, error) from error
    return path


def _receive(url: str, part: Path, headers: Mapping[str, str], report: Report) -> str | None:
    """Make one request and append what it brings; return why it broke off, None where the file is whole."""
    have = _size_of(part)
    headers = {"Accept-Encoding": "identity", **headers} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
            status = response.status_code
            if status not in _ANSWERS:
                # The hub puts into a header what Azure puts into the reason: "Public access is not permitted …".
                problem = (
                    f"HTTP {status} {response.headers.get('X-Error-Message') or response.reason}".rstrip(".") + "."
                )
                if status in _TRANSIENT:
                    return problem
                raise DownloadError(url, problem, status=status)
            start, size = 0, response.raw.length_remaining  # None where the server does not say it
            if status != HTTPStatus.OK:
                said = response.headers.get("Content-Range", "")
                found = re.fullmatch(r"bytes (?:(\d{1,18})-\d{1,18}|\*)/(\d{1,18})", said)
                start, size = (int(found[1] or found[2]), int(found[2])) if found else (-1, None)
                if start == have == size and have:
                    return None  # all had arrived, only the renaming was left to do
                if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or start not in (0, have):
                    part.unlink(missing_ok=True)
                    return f"the server answered with the range {said[:80]!r}."
            with open(part, "ab" if start else "wb") as file:
                for chunk in response.iter_content(2**16):
                    file.write(chunk)
                    if size:
                        report(file.tell() / size, f"{file.tell() / 1e6:,.0f} of {size / 1e6:,.0f} MB")
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        if isinstance(error.args[0], MaxRetryError) and not have:  # the host cannot be reached at all
            raise DownloadError(url, _cause(error)) from error
        return _cause(error)
    except (requests.RequestException, ValueError, HTTPError) as error:  # of parsers of addresses and headers too
        raise DownloadError(url, _cause(error)) from error
    arrived = _size_of(part)
    return None if size in (None, arrived) else f"the transfer ended at byte {arrived:,} of {size:,}."


def _cause(error: Exception) -> str:
    """Return what went wrong, without the chain of calls that requests and urllib3 word around it."""
    inner = error.args[0] if error.args and isinstance(error.args[0], Exception) else error
    return re.sub(r"^HTTPS?Connection(Pool)?\(.*?\): ", "", str(getattr(inner, "reason", inner))).rstrip(".") + "."


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download_from_hub(repository: str, name: str, kind: str, sha256: str | None, folder: Path) -> Path:
    """Download a file of a repository, a "model" or "dataset", on the Hugging Face hub into a folder.

    Where the owner wants terms to be accepted, the error says how to be let in.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(repository, name, repo_type=kind)
    try:
        return download(url, folder / name, sha256, headers=build_hf_headers(library_name="recommenders_miner"))
    except DownloadError as error:
        if error.status not in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise
        remedy = f"Accept its terms on {url.partition('/resolve/')[0]}, then: hf auth login"
        raise DownloadError(error.what, f"{error.problem} {remedy}", status=error.status) from error


def downloads_of(target: Path) -> Path:
    """Return the folder, beside a file or folder to be made, where what it is made of lies while it comes."""
    target = Path(os.path.abspath(target))  # "." has no name
    return target.with_name(f".{target.name}.downloads")


def fetch_from_first(
    what: str,
    sources: Mapping[str, Callable[[Path], Path]],
    target: Path,
    take: Callable[[Path], object],
    remedy: str = "",
) -> None:
    """Ask one source after another for something until `take` makes the target of what one of them gives.

    Each source gets a folder for its downloads, the same in every call, and returns where it put them. Whatever it or
    `take` raises, the next is tried, except where the disk is full; when all have failed, an error names each and why.
    The downloads lie beside the target and go at the end, unless there is something to go on from: after Ctrl-C, on a
    full disk, or where all sources failed and one left a part of a file.
    """
    problem, downloads = "could not be fetched.", downloads_of(target)
    for number, (name, get) in enumerate(sources.items()):
        folder = downloads / str(number)
        try:
            take(get(folder))
        except NotWrittenError:
            raise
        except Exception as error:
            if not isinstance(error, DownloadError):
                shutil.rmtree(folder, ignore_errors=True)  # or the next call would take what is in it for whole
            reason = str(error) or type(error).__name__
            LOGGER.info("%s: not from %s (%s)", what, name, reason)
            problem += f"\n  {name}: {reason}"
        else:
            LOGGER.info("%s: from %s", what, name)
            shutil.rmtree(downloads, ignore_errors=True)
            return
    if not any(downloads.rglob(".*.part-*")):
        shutil.rmtree(downloads, ignore_errors=True)
    raise DownloadError(what, f"{problem}\n{remedy}".rstrip())
