"""MIND, the Microsoft News Dataset (Wu et al., ACL 2020): fetched from where it still is, or taken from what is there.

OUT/train/{news.tsv,behaviors.tsv,entity_embedding.vec,relation_embedding.vec}, OUT/dev/…, of MIND-large OUT/test/…
"""

from __future__ import annotations

import datetime
import functools
import json
import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from recommenders_miner.datasets.fetch import download, download_from_hub, fetch_from_first
from recommenders_miner.datasets.mind_places import TABLES, Place, choose_place, find_places
from recommenders_miner.errors import DataFormatError, LicenceError, RecommendersMinerError
from recommenders_miner.storage import atomic_write, cache_home, new_folder

LOGGER = logging.getLogger("recommenders_miner")

SIZES = ("demo", "small", "large")
LICENCE_URL = "https://github.com/msnews/MIND/blob/master/MSR%20License_Data.pdf"
LICENCE = (
    f"MIND has a licence: {LICENCE_URL}\n"
    "It may be used and modified for non-commercial research, analysis and tests, and results may be published that "
    "include no material portion of it. It must not be distributed, and comes as it is, without warranty."
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
    """Make a data folder of MIND; splits that are there and whole are left as they are.

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
    _require_licence(accept_licence)
    out = Path(out)
    missing = [split for split in dict.fromkeys(splits or known) if not _is_there(out / split, size)]
    if source is not None:
        _take(Path(source), out, size, missing, demanded=splits is not None)
    else:
        for split in missing:
            what, sources = f"MIND-{size}, {split}", _sources(size, split, out / split)
            fetch_from_first(what, sources, _downloads(out / split), _REMEDY)
    for split in known:
        if (out / split).exists():
            shutil.rmtree(_downloads(out / split), ignore_errors=True)  # where a call was killed
    return out


@functools.cache
def known_files() -> dict[str, dict[str, Any]]:
    """Return what is known of MIND's files: `mind_files.yaml`."""
    return yaml.safe_load((Path(__file__).parent / "mind_files.yaml").read_text(encoding="utf-8"))


# === What the user has ===


def _take(source: Path, out: Path, size: str, splits: Collection[str], demanded: bool) -> None:
    """Copy splits out of what the user has. Not all of them need be there, unless they were demanded by name."""
    places, errors = find_places(source)
    chosen = {split: choose_place(places, size, split, alone=len(splits) == 1 and demanded) for split in splits}
    absent = [split for split, place in chosen.items() if place is None]
    if absent and (demanded or len(absent) == len(splits)):
        raise errors[0] if errors else _nothing_found(source, places, size, absent)
    for split, place in chosen.items():
        if place is None:
            LOGGER.warning("%s has no %s split of MIND-%s.", source, split, size)
        else:
            LOGGER.info("MIND-%s, %s: from %s", size, split, place)
            _copy(place, out / split, size, trusted=True)


def _nothing_found(source: Path, places: Collection[Place], size: str, absent: Collection[str]) -> DataFormatError:
    seen = f" There is {', '.join(map(str, places))}." if places else ""
    problem = f"has no {' or '.join(absent)} split of MIND-{size}.{seen}"
    remedy = (
        f"Expected zip files such as MIND{size}_train.zip, or folders with {' and '.join(TABLES)}, whose names say the "
        "split; --split says it of a single one that is named otherwise."
    )
    return DataFormatError(source, problem, remedy=remedy)


def _copy(place: Place, folder: Path, size: str, trusted: bool) -> None:
    """Make a split's folder; of a place that is not trusted, an error where the files cannot be MIND's."""
    with new_folder(folder) as new:
        place.copy_to(new)
        for name, problem, serious in _deviations(new, size, folder.name):
            if serious and not trusted:
                raise DataFormatError(name, f"{problem} It is not MIND-{size}'s of {folder.name}.")
            LOGGER.warning("MIND-%s, %s: %s %s", size, folder.name, name, problem)


# === Mirrors ===


def _sources(size: str, split: str, folder: Path) -> dict[str, Callable[[Path], None]]:
    """Return what makes a split's folder, in the order to try it."""
    name = f"MIND{size}_{split}.zip"
    downloads: dict[str, Callable[[Path], Path]] = {}
    for repository in HUB_REPOSITORIES:
        sha256 = known_files()["zips"].get(repository, {}).get(name)
        from_hub = functools.partial(download_from_hub, repository, name, kind="dataset", sha256=sha256)
        downloads[f"the Hugging Face hub ({repository})"] = from_hub
    downloads[f"Kaggle ({KAGGLE_DATASET})"] = _from_kaggle
    for host in OLD_HOSTS:
        downloads[f"the old host {urlsplit(host).hostname}"] = functools.partial(download, f"{host}/{name}")
    return {source: functools.partial(_unpack, get, name, folder, size) for source, get in downloads.items()}


def _downloads(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.downloads")


def _from_kaggle(_: Path) -> Path:
    import kagglehub

    # Into kagglehub's own cache, which it resumes; it refuses a folder of ours that holds a part.
    return Path(kagglehub.dataset_download(KAGGLE_DATASET))


def _unpack(get: Callable[[Path], Path], name: str, folder: Path, size: str, downloads: Path) -> None:
    """Make a split's folder of what a source gives, a zip file of it or a folder of several."""
    downloaded = get(downloads / name)
    try:
        places, _ = find_places(downloaded)
        place = choose_place(places, size, folder.name, alone=downloaded.is_file())
        if place is None:
            raise _nothing_found(downloaded, places, size, [folder.name])
        _copy(place, folder, size, trusted=False)
    except DataFormatError:
        (downloads / name).unlink(missing_ok=True)  # or the next call would take it for whole
        raise


# === Checks ===


def count_rows(path: str | Path) -> int:
    """Return the number of lines of a file; the last one may lack its end, blank ones at the end do not count."""
    with open(path, "rb") as file:
        ends = sum(block.count(b"\n") for block in iter(functools.partial(file.read, _BLOCK_BYTES), b""))
        file.seek(-min(file.tell(), _TAIL_BYTES), os.SEEK_END)
        tail = file.read()
    content = tail.rstrip(b"\r\n")
    return ends - tail[len(content) :].count(b"\n") + bool(content)


def _is_there(folder: Path, size: str) -> bool:
    """Return whether a folder holds a split of MIND.

    Raises:
        RecommendersMinerError: it holds something else, or is none.
    """
    if not os.path.lexists(folder):
        return False
    if not folder.is_dir():
        raise RecommendersMinerError(f"{folder}: not overwritten, since it is no folder. Name another one by --out.")
    if not any(folder.iterdir()):
        return False
    for name, problem, serious in _deviations(folder, size, folder.name):
        if serious:
            raise RecommendersMinerError(
                f"{folder}: not overwritten, since it holds something else than MIND-{size}'s {folder.name} split: "
                f"{name} {problem} Name another folder by --out, or remove this one."
            )
    return True


def _deviations(folder: Path, size: str, split: str) -> Iterator[tuple[str, str, bool]]:
    """Yield the files of a split that are not as MIND's are known to be: name, problem, and whether it is serious."""
    for name, known in known_files()[size][split].items():
        path = folder / name
        if not path.is_file():
            yield name, "is missing.", name in TABLES
        elif "rows" in known and (found := count_rows(path)) != known["rows"]:
            yield name, f"has {found:,} rows, expected {known['rows']:,}.", known.get("sure", True)
        elif "bytes" in known and (found := path.stat().st_size) != known["bytes"]:
            yield name, f"has {found:,} bytes, expected {known['bytes']:,}.", False


# === Licence ===


def licence_is_accepted() -> bool:
    """Return whether this user has accepted MIND's licence before."""
    return LICENCE_URL in _accepted_licences()


def _require_licence(accept: bool) -> None:
    """Remember that the user accepts the licence now, or check that he has done so before."""
    if not accept and not licence_is_accepted():
        raise LicenceError(f"{LICENCE}\nTo accept it: --accept-licence, in Python accept_licence=True.")
    if accept:
        accepted = _accepted_licences() | {LICENCE_URL: datetime.date.today().isoformat()}
        try:
            with atomic_write(_licence_record()) as temporary:
                temporary.write_text(json.dumps(accepted, indent=1), encoding="utf-8")
        except OSError as error:
            LOGGER.warning("That you accept the licence of MIND cannot be remembered (%s).", error)


def _licence_record() -> Path:
    return cache_home() / "accepted_licences.json"


def _accepted_licences() -> dict[str, str]:
    """Return the day on which each licence was accepted, by its address."""
    try:
        accepted = json.loads(_licence_record().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return accepted if isinstance(accepted, dict) else {}
