"""Where the files of a data set lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from recommenders_miner.errors import DataFormatError

WHOLE, SPLIT_NAMES = "all", ("train", "dev", "test")
"""The name of what has not been split yet, and those of the splits."""

NEWS_FILE, BEHAVIORS_FILE = "news.tsv", "behaviors.tsv"

ARTICLES_FILE = "articles.parquet"
"""Stands beside a news.tsv where its source knows more: a column `id`, and others by whatever name."""

_DEMO_REMEDY = "To make one for a try: recommenders-miner demo-data OUT"


@dataclass(frozen=True)
class Split:
    """The two files of one split, news.tsv and behaviors.tsv."""

    news: Path
    behaviors: Path

    @classmethod
    def find(cls, data_dir: str | Path, name: str) -> Self:
        """Find a split of a data folder that holds train/, dev/ and perhaps test/."""
        files = [Path(data_dir) / name / file for file in (NEWS_FILE, BEHAVIORS_FILE)]
        for path in files:
            if not path.is_file():
                files = f"{NEWS_FILE} and {BEHAVIORS_FILE}"
                problem = f"is missing; a data folder has train, dev and perhaps test, each with {files}."
                raise DataFormatError(path, problem, remedy=_DEMO_REMEDY)
        return cls(*files)


def split_folders(folder: str | Path) -> dict[str, Path]:
    """Find the splits of a data set, train before dev before test.

    The folder holds news.tsv and behaviors.tsv itself, and then is the only split, under its own name; or train/, dev/
    and test/, or some of these; or all/, as what `recommenders-miner convert` writes.
    """
    folder = Path(folder)
    if any((folder / file).exists() for file in (NEWS_FILE, BEHAVIORS_FILE)):
        return {folder.resolve().name: folder}
    found = {name: folder / name for name in (*SPLIT_NAMES, WHOLE) if (folder / name).is_dir()}
    if not found:
        problem = f"holds neither {NEWS_FILE} and {BEHAVIORS_FILE} nor a folder {', '.join(SPLIT_NAMES)} or {WHOLE}."
        raise DataFormatError(folder, problem, remedy=_DEMO_REMEDY)
    if len(found) > 1:
        found.pop(WHOLE, None)
    return found
