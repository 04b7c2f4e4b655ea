"""Where the files of a data set lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from recommenders_miner.errors import DataFormatError


@dataclass(frozen=True)
class Split:
    """The two files of one split.

    Attributes:
        news: news.tsv.
        behaviors: behaviors.tsv.
    """

    news: Path
    behaviors: Path

    @classmethod
    def find(cls, data_dir: str | Path, name: str) -> Self:
        """Finds a split of a data folder that holds train/, dev/ and perhaps test/.

        Raises:
            DataFormatError: the folder or one of the files is missing.
        """
        folder = Path(data_dir) / name
        split = cls(folder / "news.tsv", folder / "behaviors.tsv")
        for path in (split.news, split.behaviors):
            if not path.is_file():
                raise DataFormatError(
                    path,
                    "is missing; a data folder has train, dev and perhaps test, each with news.tsv and behaviors.tsv.",
                    remedy="To make one for a try: recommenders-miner demo-data OUT",
                )
        return split
