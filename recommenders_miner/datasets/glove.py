"""GloVe (Pennington et al., EMNLP 2014): vectors of 400,000 words, of Wikipedia 2014 and Gigaword 5; public domain."""

from __future__ import annotations

import functools
import os
import shutil
import zipfile
from pathlib import Path, PurePosixPath

from recommenders_miner.datasets.archives import extract_zip
from recommenders_miner.datasets.fetch import download, download_folder, forget_downloads
from recommenders_miner.datasets.home import glove_folder
from recommenders_miner.datasets.sources import download_from_hub, from_first_source
from recommenders_miner.errors import DataFormatError, RecommendersMinerError
from recommenders_miner.storage import atomic_write

FILE_BYTES = {100: 347_116_733, 300: 1_037_962_819}
"""The dimensions that can be fetched, and the size of their files."""
ARCHIVE = "glove.6B.zip"
ARCHIVE_SHA256 = "617afb2fe6cbd085c235baf7a465b96f4112bd7f7ccb2b2cbd649fed9cbcf2fb"
HUB_REPOSITORY = "stanfordnlp/glove"
STANFORD = f"https://nlp.stanford.edu/data/{ARCHIVE}"


def fetch_glove(dim: int, folder: str | Path | None = None, source: str | Path | None = None) -> Path:
    """Gets the vectors of one dimension, unless they are there.

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
    parts = target.with_name(f".{name}.downloads")
    if target.exists():
        if fault := _fault(target, dim):
            raise RecommendersMinerError(f"{target}: not overwritten, but {fault} Remove it to have it fetched again.")
        forget_downloads(parts)
        return target
    with download_folder(parts) as downloads:
        found = _download(name, downloads) if source is None else _find(Path(source), name)
        with atomic_write(target) as temporary:
            if found.suffix.lower() == ".zip" or zipfile.is_zipfile(found):
                extract_zip(found, downloads / "unpacked", wanted=lambda entry: entry == PurePosixPath(name))
                if not (downloads / "unpacked" / name).is_file():
                    raise DataFormatError(found, f"has no {name}.")
                os.replace(downloads / "unpacked" / name, temporary)
            else:
                shutil.copyfile(found, temporary)
            if fault := _fault(temporary, dim):
                raise DataFormatError(found, f"{fault} It may have been cut short; fetch it again.")
    return target


def _download(name: str, downloads: Path) -> Path:
    from_hub = functools.partial(download_from_hub, HUB_REPOSITORY, ARCHIVE, kind="model", sha256=ARCHIVE_SHA256)
    sources = {
        f"the Hugging Face hub ({HUB_REPOSITORY})": functools.partial(from_hub, path=downloads / "hub" / ARCHIVE),
        STANFORD: functools.partial(download, STANFORD, downloads / "stanford" / ARCHIVE, ARCHIVE_SHA256),
    }
    return from_first_source(name, sources)


def _find(source: Path, name: str) -> Path:
    """Returns the text file, or the archive, in what the user has."""
    for path in (source, source / name, source / ARCHIVE):
        if path.is_file():
            return path
    raise DataFormatError(source, f"is neither {name} nor {ARCHIVE}, nor a folder that has one of them.")


def _fault(path: Path, dim: int) -> str | None:
    """Says how a file differs from the vectors of that dimension; None where it does not."""
    found, expected = path.stat().st_size, FILE_BYTES[dim]
    return None if found == expected else f"{path.name} has {found:,} bytes, expected {expected:,}."
