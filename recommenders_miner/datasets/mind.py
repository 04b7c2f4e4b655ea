"""MIND, the Microsoft News Dataset (Wu et al., ACL 2020): fetched from where it still is, or taken from what is there.

OUT/train/{news.tsv,behaviors.tsv,entity_embedding.vec,relation_embedding.vec}, OUT/dev/…, of MIND-large OUT/test/…
"""

from __future__ import annotations

import datetime
import functools
import json
import logging
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import yaml

from recommenders_miner.data.folders import BEHAVIORS_FILE, NEWS_FILE, SPLIT_NAMES
from recommenders_miner.datasets.archives import extract_zip, zip_entries
from recommenders_miner.datasets.fetch import download_from_hub, downloads_of, fetch_from_first
from recommenders_miner.errors import DataFormatError, LicenceError, RecommendersMinerError
from recommenders_miner.storage import atomic_write, cache_home, new_folder

LOGGER = logging.getLogger("recommenders_miner")

SIZES = ("demo", "small", "large")
TABLES = (NEWS_FILE, BEHAVIORS_FILE)
FILES = (*TABLES, "entity_embedding.vec", "relation_embedding.vec")

LICENCE_URL = "https://github.com/msnews/MIND/blob/master/MSR%20License_Data.pdf"
LICENCE = (
    f"MIND has a licence: {LICENCE_URL}\n"
    "It may be used and modified for non-commercial research, analysis and tests, and results may be published that "
    "include no material portion of it. It must not be distributed, and comes as it is, without warranty."
)
LICENCE_RECORD = "accepted_licences.json"

HUB_REPOSITORIES = ("yjw1029/MIND", "Recommenders/MIND")
"""On the Hugging Face hub. Both are known from code on GitHub that downloads from them: the first, of one of MIND's
authors, has small and large with the test split, and lets in whoever has accepted the licence on its page; the second,
of Microsoft Recommenders, has demo, small and large, and asks nobody (its tests read its headers without a token)."""
KAGGLE_DATASET = "arashnic/mind-news-dataset"
"""Has MINDsmall_train with its four files, as notebooks on Kaggle read them. What else it has is not known."""

_REMEDY = "A zip file of it that you have, or get by other means, is taken with --from PATH."
_MAX_DEPTH = 3
"""How many folders deep is looked, since a download folder may hold anything."""
_SPLIT_WORD = re.compile(
    r"(?<![a-z])(?:mind[-_ ]?(?:demo|small|large)?)?"
    r"(?:(train|training)|(dev|val|valid|validation)|(test))(?:set)?(?![a-z])"
)
"""By itself, as in MINDsmall_train, or written together with what else such names say: MINDsmalltrain, trainset."""
_SIZE_WORD = re.compile(r"mind[-_ ]?(demo|small|large)|(?<![a-z])(demo|small|large)(?![a-z])")


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
            the hub and Kaggle are tried in turn.
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
        _take(Path(source), out, size, missing, demanded=splits is not None, trusted=True)
    else:
        for split in missing:
            take = functools.partial(_take, out=out, size=size, splits=[split], demanded=True, trusted=False)
            fetch_from_first(f"MIND-{size}, {split}", _sources(size, split), out / split, take, _REMEDY)
    for split in known:
        if (out / split).exists():
            shutil.rmtree(downloads_of(out / split), ignore_errors=True)  # where a call was killed
    return out


@functools.cache
def known_files() -> dict[str, dict[str, Any]]:
    """Return what is known of MIND's files: `mind_files.yaml`."""
    return yaml.safe_load((Path(__file__).parent / "mind_files.yaml").read_text(encoding="utf-8"))


def _sources(size: str, split: str) -> dict[str, Callable[[Path], Path]]:
    """Return what downloads a split, as a zip file or a folder of several, in the order to try it."""
    name, digests = f"MIND{size}_{split}.zip", known_files()["zips"]
    sources: dict[str, Callable[[Path], Path]] = {
        f"the Hugging Face hub ({repository})": functools.partial(
            download_from_hub, repository, name, "dataset", digests.get(repository, {}).get(name)
        )
        for repository in HUB_REPOSITORIES
    }
    return sources | {f"Kaggle ({KAGGLE_DATASET})": _from_kaggle}


def _from_kaggle(_: Path) -> Path:
    import kagglehub

    # Into kagglehub's own cache, which it resumes; it refuses a folder of ours that holds a part.
    return Path(kagglehub.dataset_download(KAGGLE_DATASET))


# === Where a split is ===


@dataclass(frozen=True)
class Place:
    """A folder with both tables of a split."""

    container: Path  # the folder or zip file in which it is
    size: str | None  # what its name says
    split: str | None
    files: dict[str, PurePath]  # in the container, by name

    def __str__(self) -> str:
        return str(self.container / self.files[NEWS_FILE].parent)


def find_places(path: Path) -> list[Place]:
    """Return the places in a zip file or folder; a damaged zip file is an error, in a folder one named after MIND."""
    if path.is_file():
        return list(_places(path, (path.stem,), zip_entries(path)))
    if not path.is_dir():
        raise DataFormatError(path, "does not exist; expected a zip file of MIND, or a folder that has some in it.")
    patterns = ["[!.]*/" * depth + "*" for depth in range(_MAX_DEPTH + 1)]
    files = [file.relative_to(path) for pattern in patterns for file in path.glob(pattern) if file.is_file()]
    name = path.resolve().name
    places = list(_places(path, (name,), files))
    for file in sorted(file for file in files if file.suffix.lower() == ".zip"):
        try:
            places += _places(path / file, (name, *file.with_suffix("").parts), zip_entries(path / file))
        except (DataFormatError, OSError):
            if "mind" in file.name.lower():
                raise
    return places


def _places(container: Path, names: tuple[str, ...], files: Iterable[PurePath]) -> Iterator[Place]:
    """Yield the places among a container's files; `names` are those of the container, outermost first."""
    found: dict[PurePath, dict[str, PurePath]] = defaultdict(dict)
    for file in files:
        if file.name in FILES:
            found[file.parent][file.name] = file
    for inner, here in sorted(found.items()):
        if here.keys() >= set(TABLES):
            yield Place(container, *said_by((*names, *inner.parts)), here)


def said_by(names: Sequence[str]) -> tuple[str | None, str | None]:
    """Return the size and the split of MIND that names of folders, outermost first, say; the innermost counts."""
    size = split = None
    for name in names:
        if match := _SIZE_WORD.search(name.lower()):
            size = match[1] or match[2]
        if match := _SPLIT_WORD.search(name.lower()):
            split = SPLIT_NAMES[match.lastindex - 1]
    return size, split


# === What is taken ===


def _take(source: Path, out: Path, size: str, splits: Collection[str], demanded: bool, trusted: bool) -> None:
    """Copy splits out of a zip file or folder.

    Not all of them need be there, unless they were `demanded` by name. Files that cannot be MIND's are an error, unless
    they are the user's own, which are `trusted`. A place that is named after the size comes before one that is named
    after none, and an unpacked one before a zip file; one that is named after another size or split is none.
    """
    places = find_places(source)
    chosen = {}
    for split in splits:
        fitting = [place for place in places if place.split == split and place.size in (size, None)]
        if not fitting and demanded and len(splits) == len(places) == 1 and places[0].split is None:
            fitting = places
        best = sorted(fitting, key=lambda place: (place.size != size, place.container.is_file()))
        chosen[split] = best[0] if best else None
    absent = [split for split, place in chosen.items() if place is None]
    if absent and (demanded or len(absent) == len(splits)):
        seen = f" There is {', '.join(map(str, places))}." if places else ""
        remedy = (
            f"Expected zip files such as MIND{size}_train.zip, or folders with {' and '.join(TABLES)}, whose names say "
            "the split; --split says it of a single one that is named otherwise."
        )
        raise DataFormatError(source, f"has no {' or '.join(absent)} split of MIND-{size}.{seen}", remedy=remedy)
    for split, place in chosen.items():
        if place is None:
            LOGGER.warning("%s has no %s split of MIND-%s.", source, split, size)
            continue
        LOGGER.info("MIND-%s, %s: from %s", size, split, place)
        with new_folder(out / split) as new:
            if place.container.is_file():
                extract_zip(place.container, {file: new / name for name, file in place.files.items()})
            else:
                for name, file in place.files.items():
                    shutil.copyfile(place.container / file, new / name)
            for name, problem, serious in _deviations(new, size, split):
                if serious and not trusted:
                    raise DataFormatError(name, f"{problem} It is not MIND-{size}'s of {split}.")
                LOGGER.warning("MIND-%s, %s: %s %s", size, split, name, problem)


def _is_there(folder: Path, size: str) -> bool:
    """Return whether a folder holds a split of MIND; one that holds something else is an error."""
    if not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir())):
        return False
    for name, problem, serious in _deviations(folder, size, folder.name):
        if serious:
            raise RecommendersMinerError(
                f"{folder}: not overwritten, since it is something else than MIND-{size}'s {folder.name} split: "
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


def mind_size(data_dir: Path) -> str | None:
    """Return which of MIND's sizes a data folder holds, told by the rows of its training split; None for other data."""
    tables = [data_dir / "train" / table for table in TABLES]
    if all(table.is_file() for table in tables):
        rows = [count_rows(table) for table in tables]
        for size in SIZES:
            if rows == [known_files()[size]["train"][table].get("rows") for table in TABLES]:
                return size
    return None


def count_rows(path: str | Path) -> int:
    """Return the number of lines of a file; blank ones at the end do not count."""
    with open(path, "rb") as file:
        return max((number for number, line in enumerate(file, 1) if not line.isspace()), default=0)


# === Licence ===


def licence_is_accepted() -> bool:
    """Return whether this user has accepted MIND's licence before."""
    try:
        return LICENCE_URL in (cache_home() / LICENCE_RECORD).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


def _require_licence(accept: bool) -> None:
    """Remember that the user accepts the licence now, or check that it has been accepted before."""
    if not accept and not licence_is_accepted():
        raise LicenceError(f"{LICENCE}\nTo accept it: --accept-licence, in Python accept_licence=True.")
    if accept:
        try:
            with atomic_write(cache_home() / LICENCE_RECORD) as temporary:
                accepted = {LICENCE_URL: datetime.date.today().isoformat()}
                temporary.write_text(json.dumps(accepted, indent=1), encoding="utf-8")
        except OSError as error:
            LOGGER.warning("That you accept the licence of MIND cannot be remembered (%s).", error)
