"""Several places for the same thing: the first that gives it is used, the others are named, each with why not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

from recommenders_miner.datasets.fetch import download
from recommenders_miner.errors import DownloadError, NotWrittenError

LOGGER = logging.getLogger("recommenders_miner")

T = TypeVar("T")


def from_first_source(what: str, sources: Mapping[str, Callable[[], T]], remedy: str = "") -> T:
    """Returns what the first source gives that gives anything.

    Args:
        what: what is looked for, for messages.
        sources: what gets it, by the source's name, in the order to try them. Whatever one of them raises, the next is
            tried, but for a disk that is full.
        remedy: what else the user can do, a sentence.

    Raises:
        DownloadError: none gave it; the message has a line for each source and why.
        NotWrittenError: the disk is full or cannot be written.
    """
    failures = []
    for name, get in sources.items():
        try:
            found = get()
        except NotWrittenError:
            raise
        except Exception as error:
            reason = str(error) or type(error).__name__
            LOGGER.info("%s: not from %s (%s)", what, name, reason)
            failures.append(f"\n  {name}: {reason}")
        else:
            LOGGER.info("%s: from %s", what, name)
            return found
    raise DownloadError(what, "could not be fetched." + "".join(failures) + (f"\n{remedy}" if remedy else ""))


def download_from_hub(repository: str, name: str, path: str | Path, kind: str, sha256: str | None = None) -> Path:
    """Gets a file of a repository on the Hugging Face hub, as `download` does.

    The hub's address and the user's token are those that huggingface_hub knows (`HF_ENDPOINT`, `HF_TOKEN`, `hf auth
    login`).

    Args:
        repository: owner/name.
        name: the file in it.
        path: where to.
        kind: "model" or "dataset".
        sha256: as in `download`.

    Raises:
        DownloadError: as in `download`; the message says how to be let in where the owner wants terms to be accepted.
        NotWrittenError: as in `download`.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    try:
        url = hf_hub_url(repository, name, repo_type=kind)
        return download(url, path, sha256, headers=build_hf_headers(library_name="recommenders_miner"))
    except DownloadError as error:
        if error.status not in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise
        page = hf_hub_url(repository, "", repo_type=kind).partition("/resolve/")[0]
        remedy = f"Accept its terms on {page}, then: hf auth login"
        raise DownloadError(error.what, f"{error.problem} {remedy}", status=error.status) from error
