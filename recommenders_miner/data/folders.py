"""Where the files of a data set lie, and by which names its splits are known."""

from __future__ import annotations

import functools
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from recommenders_miner.errors import DataFormatError

LOGGER = logging.getLogger("recommenders_miner")

WHOLE, SPLIT_NAMES = "all", ("train", "dev", "test")
"""The name of what has not been split yet, and those of the splits."""

NEWS_FILE, BEHAVIORS_FILE = "news.tsv", "behaviors.tsv"

INGESTED = "behaviors"
"""The folder that `recommenders-miner ingest` writes in the place of behaviors.tsv."""

ARTICLES_FILE = "articles.parquet"
"""Stands beside a news.tsv where its source knows more: a column `id`, and others by whatever name."""

_OTHER_NAMES = {
    **dict.fromkeys(("training",), "train"),
    **dict.fromkeys(("val", "valid", "validation", "devel", "development", "eval", "evaluation"), "dev"),
    **dict.fromkeys(("testing",), "test"),
}
"""What splits are called elsewhere; upper case, and MIND's name and size in front, as in `MINDsmall_dev`, do not count.
"""

_DEMO_REMEDY = "To make one for a try: recommenders-miner demo-data OUT"


@dataclass(frozen=True)
class Split:
    """The two files of one split, news.tsv and behaviors.tsv; the latter may be a folder, an ingested log."""

    news: Path
    behaviors: Path

    @classmethod
    def find(cls, data_dir: str | Path, name: str) -> Self:
        """Find a split of a data folder that holds train, dev and perhaps test, each with its two files.

        Raises:
            DataFormatError: there is no such split, it lacks a file, or several folders may be meant.
        """
        folder = _named(Path(data_dir)).get(name, Path(data_dir) / name)
        files = folder / NEWS_FILE, log_in(folder)
        for path in files:
            if not os.path.isfile(path) and path.name != INGESTED:
                files = f"{NEWS_FILE} and {BEHAVIORS_FILE}"
                problem = f"is missing; a data folder has train, dev and perhaps test, each with {files}."
                raise DataFormatError(path, problem, remedy=_remedy(Path(data_dir)))
        _say_unread(Path(data_dir))
        return cls(*files)


def log_in(folder: Path) -> Path:
    """Return the path of the log in a split's folder: behaviors.tsv, unless there is none but an ingested log."""
    file, ingested = folder / BEHAVIORS_FILE, folder / INGESTED
    return ingested if ingested.is_dir() and not file.exists() else file


def split_folders(folder: str | Path) -> dict[str, Path]:
    """Find the splits of a data set, train before dev before test.

    The folder holds news.tsv and behaviors.tsv itself, and then is the only split, under its own name; or train/, dev/
    and test/, or some of these, by whatever name is usual; or all/, as what `recommenders-miner convert` writes.

    Raises:
        DataFormatError: there is nothing of that, or several folders may be meant by one split.
    """
    folder = Path(folder)
    if any(os.path.exists(folder / file) for file in (NEWS_FILE, BEHAVIORS_FILE)):  # Path's raise for long names
        name = folder.resolve().name
        return {split_name(name) or name: folder}
    found = _named(folder)
    if not found:
        problem = f"holds neither {NEWS_FILE} and {BEHAVIORS_FILE} nor a folder {', '.join(SPLIT_NAMES)} or {WHOLE}."
        raise DataFormatError(folder, problem, remedy=_remedy(folder))
    if len(found) > 1:
        found.pop(WHOLE, None)
    _say_unread(folder)
    return found


def unread_folders(folder: str | Path) -> list[Path]:
    """Return the folders in a data folder that hold a news.tsv and a behaviors.tsv, and that no command reads."""
    read = _named(Path(folder))
    if len(read) > 1:
        read.pop(WHOLE, None)
    return [
        path
        for path in _folders_in(Path(folder))
        if path not in read.values() and all((path / file).is_file() for file in (NEWS_FILE, BEHAVIORS_FILE))
    ]


def split_name(folder_name: str) -> str | None:
    """Return which split, or `WHOLE`, a folder of some name holds: "dev" for `Valid` or `MINDsmall_dev`; or None."""
    name = re.sub(r"^mind[ _-]?(demo|small|large)?[ _-]?", "", folder_name.lower())
    name = _OTHER_NAMES.get(name, name)
    return name if name in (*SPLIT_NAMES, WHOLE) else None


UNREAD = f"holds {NEWS_FILE} and {BEHAVIORS_FILE}, but no command reads it: the splits are {', '.join(SPLIT_NAMES)}."


@functools.cache
def _say_unread(folder: Path) -> None:
    """Warn of folders that are passed over, once for each data folder."""
    for path in unread_folders(folder):
        LOGGER.warning("%s: %s", path, UNREAD)


def _named(folder: Path) -> dict[str, Path]:
    """Return the folders of the splits that there are, and of `WHOLE`; one of just that name comes before others."""
    found = {}
    for name in (*SPLIT_NAMES, WHOLE):
        folders = [path for path in _folders_in(folder) if split_name(path.name) == name]
        exact = [path for path in folders if path.name == name]
        # Results, say, may lie in a folder `eval`.
        folders = [path for path in folders if any((path / file).exists() for file in (NEWS_FILE, BEHAVIORS_FILE))]
        if len(exact or folders) > 1:
            names = " and ".join(path.name for path in folders)
            raise DataFormatError(folder, f"{names} could each be {name}.", remedy=f"Name one of them {name}.")
        if exact or folders:
            [found[name]] = exact or folders
    return found


def _remedy(folder: Path) -> str:
    """Name the folder within that seems to be meant, or a way to get one."""
    meant = next((path for path in _folders_in(folder) if _named(path)), None)
    return f"Is {meant} meant?" if meant else _DEMO_REMEDY


def _folders_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if os.path.isdir(folder) else []
