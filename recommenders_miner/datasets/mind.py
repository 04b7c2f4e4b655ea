"""MIND, the Microsoft News Dataset (Wu et al., ACL 2020): fetched from where it still is, or taken from what is there.

OUT/train/{news.tsv,behaviors.tsv,entity_embedding.vec,relation_embedding.vec}, OUT/dev/…, of MIND-large OUT/test/…
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from recommenders_miner.datasets.fetch import download, download_folder, forget_downloads
from recommenders_miner.datasets.licence import Licence
from recommenders_miner.datasets.mind_places import TABLES, Place, choose_place, find_places
from recommenders_miner.datasets.sources import download_from_hub, from_first_source
from recommenders_miner.errors import DataFormatError, RecommendersMinerError

LOGGER = logging.getLogger("recommenders_miner")

SIZES = ("demo", "small", "large")
LICENCE = Licence(
    "MIND",
    "https://github.com/msnews/MIND/blob/master/MSR%20License_Data.pdf",
    "It may be used and modified for non-commercial research, analysis and tests, and results may be published that "
    "include no material portion of it. It must not be distributed, and comes as it is, without warranty.",
)

HUB_REPOSITORIES = ("yjw1029/MIND", "Recommenders/MIND")
"""On the Hugging Face hub. Both are known from code on GitHub that downloads from them: the first, of one of MIND's
authors, has small and large with the test split, and lets in whoever has accepted the licence on its page; the second,
of Microsoft Recommenders, has demo, small and large, and asks nobody (its tests read its headers without a token)."""
KAGGLE_DATASET = "arashnic/mind-news-dataset"
"""Has MINDsmall_train with its four files, as notebooks on Kaggle read them. What else it has is not known."""
OLD_HOSTS = (
    "https://mind201910small.blob.core.windows.net/release",  # since July 2024: HTTP 409, public access not permitted
    "https://recodatasets.z20.web.core.windows.net/newsrec",  # since 2026: the name is unknown
)

_REMEDY = "A zip file of it that you have, or get by other means, is taken with --from PATH."
_BLOCK_BYTES = 2**20
_TAIL_BYTES = 2**12


def fetch_mind(
    size: str,
    out: str | Path,
    splits: Collection[str] | None = None,
    source: str | Path | None = None,
    accept_licence: bool = False,
) -> Path:
    """Makes a data folder of MIND; splits that are there and whole are left as they are.

    Rows are counted in every split before it gets its name. Where a download has other counts than MIND is known to
    have, that source has failed; where the user's own files have, a warning is logged. Files with the right rows but of
    another size in bytes are taken, with a warning.

    Args:
        size: demo, small or large.
        out: the data folder.
        splits: of train, dev and, for large, test; None means all of them, with a `source` all that it has.
        source: what the user has already: a zip file, or a folder with zip files or unpacked ones, nested or not. None:
            the hub, Kaggle and the old hosts are tried in turn.
        accept_licence: that the user accepts `LICENCE`. It is remembered.

    Returns:
        `out`.

    Raises:
        LicenceError: the licence has not been accepted.
        DownloadError: no source gave a split; the message says of each why.
        DataFormatError: `source` lacks a split that was asked for, or holds a damaged or dangerous zip file.
        RecommendersMinerError: a split's folder holds something else.
        ValueError: there is no such size or split.
    """
    if size not in SIZES:
        raise ValueError(f"size must be one of {', '.join(SIZES)}, got {size!r}.")
    known = known_files()[size]
    if unknown := sorted(set(splits or ()) - set(known)):
        raise ValueError(f"MIND-{size} has the splits {', '.join(known)}, not {', '.join(unknown)}.")
    LICENCE.require(accept_licence)
    out = Path(out)
    downloads = out / ".downloads"
    missing = [split for split in dict.fromkeys(splits or known) if not _is_there(out / split, size, known[split])]
    if source is not None:
        _take(Path(source), out, size, missing, demanded=splits is not None)
    elif missing:
        with download_folder(downloads):
            for split in missing:
                from_first_source(f"MIND-{size}, {split}", _sources(size, split, downloads, out / split), _REMEDY)
    if all((out / split).exists() for split in known):
        forget_downloads(downloads)
    return out


@functools.cache
def known_files() -> dict[str, dict[str, Any]]:
    """Returns what is known of MIND's files: `mind_files.yaml`."""
    return yaml.safe_load((Path(__file__).parent / "mind_files.yaml").read_text(encoding="utf-8"))


# === What the user has ===


def _take(source: Path, out: Path, size: str, splits: Collection[str], demanded: bool) -> None:
    """Copies splits out of what the user has. Not all of them need be there, unless they were demanded by name."""
    places, faults = find_places(source)
    chosen = {split: choose_place(places, size, split, alone=len(splits) == 1 and demanded) for split in splits}
    absent = [split for split, place in chosen.items() if place is None]
    if absent and (demanded or len(absent) == len(splits)):
        raise faults[0] if faults else _nothing_found(source, places, size, absent)
    for split, place in chosen.items():
        if place is None:
            LOGGER.warning("%s has no %s split of MIND-%s.", source, split, size)
        else:
            LOGGER.info("MIND-%s, %s: from %s", size, split, place)
            place.copy_to(out / split, functools.partial(_warn_of_deviations, size=size, split=split))


def _nothing_found(source: Path, places: Collection[Place], size: str, absent: Collection[str]) -> DataFormatError:
    seen = f" There is {', '.join(map(str, places))}." if places else ""
    problem = f"has no {' or '.join(absent)} split of MIND-{size}.{seen}"
    remedy = (
        f"Expected zip files such as MIND{size}_train.zip, or folders with {' and '.join(TABLES)}, whose names say the "
        "split; --split says it of a single one that is named otherwise."
    )
    return DataFormatError(source, problem, remedy=remedy)


# === Sources ===


def _sources(size: str, split: str, downloads: Path, folder: Path) -> dict[str, Callable[[], None]]:
    """What puts a split into a folder, in the order to try it."""
    name = f"MIND{size}_{split}.zip"
    sources: dict[str, Callable[[], None]] = {}

    def add(source: str, get: Callable[[Path], Path]) -> None:
        archive = downloads / str(len(sources)) / name
        sources[source] = lambda: _unpack(get(archive), folder, size, split)

    for repository in HUB_REPOSITORIES:
        sha256 = known_files()["zips"].get(repository, {}).get(name)
        get = functools.partial(download_from_hub, repository, name, kind="dataset", sha256=sha256)
        add(f"the Hugging Face hub ({repository})", get)
    add(f"Kaggle ({KAGGLE_DATASET})", _from_kaggle)
    for host in OLD_HOSTS:
        add(f"the old host {urlsplit(host).hostname}", functools.partial(download, f"{host}/{name}"))
    return sources


def _from_kaggle(_: Path) -> Path:
    import kagglehub

    # Into kagglehub's own cache, which it resumes; it refuses a folder of ours that holds a part.
    return Path(kagglehub.dataset_download(KAGGLE_DATASET))


def _unpack(downloaded: Path, folder: Path, size: str, split: str) -> None:
    """Makes a split's folder of what was downloaded, a zip file of it or a folder of several."""
    try:
        places, _ = find_places(downloaded)
        place = choose_place(places, size, split, alone=downloaded.is_file())
        if place is None:
            raise _nothing_found(downloaded, places, size, [split])
        place.copy_to(folder, functools.partial(_refuse_deviations, size=size, split=split))
    except DataFormatError:
        if downloaded.is_file():
            downloaded.unlink()  # or the next call would take it for whole
        raise


# === Checks ===


@dataclass(frozen=True)
class _Deviation:
    """A file that is not as MIND's is known to be.

    Attributes:
        path: the file.
        problem: what is different.
        serious: whether it cannot be MIND's.
    """

    path: Path
    problem: str
    serious: bool


def count_rows(path: str | Path) -> int:
    """Returns the number of lines of a file; the last one may lack its end, blank ones at the end do not count."""
    with open(path, "rb") as file:
        ends = sum(block.count(b"\n") for block in iter(functools.partial(file.read, _BLOCK_BYTES), b""))
        file.seek(-min(file.tell(), _TAIL_BYTES), os.SEEK_END)
        tail = file.read()
    content = tail.rstrip(b"\r\n")
    return ends - tail[len(content) :].count(b"\n") + bool(content)


def _is_there(folder: Path, size: str, facts: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a folder holds a split of MIND.

    Raises:
        RecommendersMinerError: it holds something else, or is none.
    """
    if not os.path.lexists(folder):
        return False
    if not os.path.isdir(folder):
        raise RecommendersMinerError(f"{folder}: not overwritten, since it is no folder. Name another one by --out.")
    if not any(folder.iterdir()):
        return False
    for deviation in _deviations(folder, facts):
        if deviation.serious:
            raise RecommendersMinerError(
                f"{folder}: not overwritten, since it holds something else than MIND-{size}'s {folder.name} split: "
                f"{deviation.path.name} {deviation.problem} Name another folder by --out, or remove this one."
            )
    return True


def _refuse_deviations(folder: Path, size: str, split: str) -> None:
    for deviation in _deviations(folder, known_files()[size][split]):
        if deviation.serious:
            raise DataFormatError(deviation.path.name, f"{deviation.problem} It is not MIND-{size}'s of {split}.")
        LOGGER.warning("MIND-%s, %s: %s %s", size, split, deviation.path.name, deviation.problem)


def _warn_of_deviations(folder: Path, size: str, split: str) -> None:
    for deviation in _deviations(folder, known_files()[size][split]):
        LOGGER.warning("MIND-%s, %s: %s %s", size, split, deviation.path.name, deviation.problem)


def _deviations(folder: Path, facts: Mapping[str, Mapping[str, Any]]) -> Iterator[_Deviation]:
    """Compares the files of a split with what is known of them, first by rows, then by bytes."""
    for name, fact in facts.items():
        path = folder / name
        if not path.is_file():
            yield _Deviation(path, "is missing.", serious=name in TABLES)
        elif "rows" in fact and (found := count_rows(path)) != fact["rows"]:
            problem = f"has {found:,} rows, expected {fact['rows']:,}."
            yield _Deviation(path, problem, serious=fact.get("sure", True))
        elif "bytes" in fact and (found := path.stat().st_size) != fact["bytes"]:
            yield _Deviation(path, f"has {found:,} bytes, expected {fact['bytes']:,}.", serious=False)
