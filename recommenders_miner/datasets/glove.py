"""GloVe (Pennington et al., EMNLP 2014), public domain: two sets of word vectors.

That of 6 billion tokens has 400,000 lower-case words, of Wikipedia 2014 and Gigaword 5; that of 840 billion has 2.2
million, of Common Crawl, with capitals.
"""

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

FILE_BYTES = {
    "glove.6B.100d.txt": 347_116_733,
    "glove.6B.200d.txt": 693_432_828,
    "glove.6B.300d.txt": 1_037_962_819,
    "glove.840B.300d.txt": 5_646_236_541,
}
"""The files that can be fetched, and their sizes."""
SHA256 = {
    "glove.6B.zip": "617afb2fe6cbd085c235baf7a465b96f4112bd7f7ccb2b2cbd649fed9cbcf2fb",
    "glove.840B.300d.zip": "c06db255e65095393609f19a4cfca20bf3a71e20cc53e892aafa490347e3849f",
}
"""Of the archives that they come in."""
HUB_REPOSITORY = "stanfordnlp/glove"
STANFORD = "https://nlp.stanford.edu/data"


def fetch_glove(name: str, folder: str | Path | None = None, source: str | Path | None = None) -> Path:
    """Fetch one file of vectors, unless it is there.

    All of its archive is downloaded, 862 MB or, for glove.840B.300d.txt, 2.2 GB, and this one file kept.

    Args:
        name: a file of `FILE_BYTES`.
        folder: where to; None means `glove_folder()`.
        source: what the user has already: the archive, the text file, or a folder with one of them. None: the Hugging
            Face hub, then Stanford's own host.

    Returns:
        The file, as the hyperparameter `word_embedding` takes it.

    Raises:
        DownloadError: no source gave it; the message says of each why.
        DataFormatError: `source` has no such file, or a damaged one.
        RecommendersMinerError: a file of that name is there, but of another size.
        ValueError: there is no such file.
    """
    if name not in FILE_BYTES:
        raise ValueError(f"name must be one of {', '.join(FILE_BYTES)}, got {name!r}.")
    [archive] = (archive for archive in SHA256 if name.startswith(archive.removesuffix("zip")))
    target = (glove_folder() if folder is None else Path(folder)) / name

    def problem(path: Path) -> str | None:
        found, expected = path.stat().st_size, FILE_BYTES[name]
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
                download_from_hub, HUB_REPOSITORY, archive, "model", SHA256[archive]
            ),
            f"{STANFORD}/{archive}": lambda to: download(f"{STANFORD}/{archive}", to / archive, SHA256[archive]),
        }
        fetch_from_first(name, sources, target, take)
    else:
        candidates = [path for path in (Path(source), Path(source, name), Path(source, archive)) if path.is_file()]
        if not candidates:
            raise DataFormatError(source, f"is neither {name} nor {archive}, nor a folder that has one of them.")
        take(candidates[0])
    return target
