"""GloVe (Pennington et al., EMNLP 2014): vectors of 400,000 words, of Wikipedia 2014 and Gigaword 5; public domain."""

from __future__ import annotations

import shutil
import zipfile
from functools import partial
from pathlib import Path, PurePosixPath

from recommenders_miner.data.vectors import glove_folder
from recommenders_miner.datasets.archives import extract_zip, zip_entries
from recommenders_miner.datasets.fetch import download, download_from_hub, downloads_of, fetch_from_first
from recommenders_miner.errors import DataFormatError, RecommendersMinerError
from recommenders_miner.storage import atomic_write

FILE_BYTES = {100: 347_116_733, 300: 1_037_962_819}
"""The dimensions that can be fetched, and the size of their files."""
ARCHIVE = "glove.6B.zip"
ARCHIVE_SHA256 = "617afb2fe6cbd085c235baf7a465b96f4112bd7f7ccb2b2cbd649fed9cbcf2fb"
HUB_REPOSITORY = "stanfordnlp/glove"
STANFORD = f"https://nlp.stanford.edu/data/{ARCHIVE}"


def fetch_glove(dim: int, folder: str | Path | None = None, source: str | Path | None = None) -> Path:
    """Fetch the vectors of one dimension, unless they are there.

    All of glove.6B.zip (862 MB) is downloaded, and one of its files kept.

    Args:
        dim: 100 or 300.
        folder: where to; None means `glove_folder()`.
        source: what the user has already: glove.6B.zip, the text file, or a folder with one of them. None: the Hugging
            Face hub, then Stanford's own host.

    Returns:
        The file, glove.6B.…d.txt, as the hyperparameter `word_embedding` takes it.

    Raises:
        DownloadError: no source gave it; the message says of each why.
        DataFormatError: `source` has no such file, or a damaged one.
        RecommendersMinerError: a file of that name is there, but of another size.
        ValueError: there is no such dimension.
    """
    if dim not in FILE_BYTES:
        raise ValueError(f"dim must be one of {', '.join(map(str, FILE_BYTES))}, got {dim!r}.")
    name = f"glove.6B.{dim}d.txt"
    target = (glove_folder() if folder is None else Path(folder)) / name

    def problem(path: Path) -> str | None:
        found, expected = path.stat().st_size, FILE_BYTES[dim]
        return None if found == expected else f"{name} has {found:,} bytes, expected {expected:,}."

    def take(found: Path) -> None:
        with atomic_write(target) as temporary:
            if found.suffix.lower() != ".zip" and not zipfile.is_zipfile(found):
                shutil.copyfile(found, temporary)
            elif (entry := PurePosixPath(name)) in zip_entries(found):
                extract_zip(found, {entry: temporary})
            else:
                raise DataFormatError(found, f"has no {name}.")
            if why := problem(temporary):
                raise DataFormatError(found, f"{why} It may have been cut short; fetch it again.")

    if target.exists():
        if why := problem(target):
            raise RecommendersMinerError(f"{target}: not overwritten, but {why} Remove it to have it fetched again.")
        shutil.rmtree(downloads_of(target), ignore_errors=True)  # where a call was killed
    elif source is None:
        sources = {
            f"the Hugging Face hub ({HUB_REPOSITORY})": partial(
                download_from_hub, HUB_REPOSITORY, ARCHIVE, "model", ARCHIVE_SHA256
            ),
            STANFORD: lambda downloads: download(STANFORD, downloads / ARCHIVE, ARCHIVE_SHA256),
        }
        fetch_from_first(name, sources, target, take)
    else:
        candidates = [path for path in (Path(source), Path(source, name), Path(source, ARCHIVE)) if path.is_file()]
        if not candidates:
            raise DataFormatError(source, f"is neither {name} nor {ARCHIVE}, nor a folder that has one of them.")
        take(candidates[0])
    return target
