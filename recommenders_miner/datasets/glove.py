"""GloVe (Pennington et al., EMNLP 2014): vectors of 400,000 words, of Wikipedia 2014 and Gigaword 5; public domain."""

from __future__ import annotations

import functools
import shutil
import zipfile
from pathlib import Path, PurePosixPath

from recommenders_miner.data.vectors import glove_folder
from recommenders_miner.datasets.archives import extract_zip, zip_entries
from recommenders_miner.datasets.fetch import download, download_from_hub, fetch_from_first
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
    downloads = target.with_name(f".{name}.downloads")
    if target.exists():
        if problem := _problem(target, dim):
            raise RecommendersMinerError(
                f"{target}: not overwritten, but {problem} Remove it to have it fetched again."
            )
        shutil.rmtree(downloads, ignore_errors=True)  # where a call was killed
    elif source is None:
        hub = functools.partial(download_from_hub, HUB_REPOSITORY, ARCHIVE, kind="model", sha256=ARCHIVE_SHA256)
        stanford = functools.partial(download, STANFORD, sha256=ARCHIVE_SHA256)
        sources = {
            f"the Hugging Face hub ({HUB_REPOSITORY})": lambda folder: _take(hub(path=folder / ARCHIVE), target, dim),
            STANFORD: lambda folder: _take(stanford(path=folder / ARCHIVE), target, dim),
        }
        fetch_from_first(name, sources, downloads)
    else:
        candidates = [path for path in (Path(source), Path(source, name), Path(source, ARCHIVE)) if path.is_file()]
        if not candidates:
            raise DataFormatError(source, f"is neither {name} nor {ARCHIVE}, nor a folder that has one of them.")
        _take(candidates[0], target, dim)
    return target


def _take(found: Path, target: Path, dim: int) -> None:
    """Make the vectors' file of a copy of it, or of the archive."""
    with atomic_write(target) as temporary:
        if found.suffix.lower() != ".zip" and not zipfile.is_zipfile(found):
            shutil.copyfile(found, temporary)
        elif (entry := PurePosixPath(target.name)) in zip_entries(found):
            extract_zip(found, {entry: temporary})
        else:
            raise DataFormatError(found, f"has no {target.name}.")
        if problem := _problem(temporary, dim):
            raise DataFormatError(found, f"{problem} It may have been cut short; fetch it again.")


def _problem(path: Path, dim: int) -> str | None:
    """Return how a file differs from the vectors of that dimension, None where it does not."""
    found, expected = path.stat().st_size, FILE_BYTES[dim]
    return None if found == expected else f"glove.6B.{dim}d.txt has {found:,} bytes, expected {expected:,}."
