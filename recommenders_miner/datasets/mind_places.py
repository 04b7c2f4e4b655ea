"""Finding the splits of MIND in what a user has: zip files and folders, however they were unpacked and named."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from recommenders_miner.data.folders import BEHAVIORS_FILE, NEWS_FILE, SPLIT_NAMES
from recommenders_miner.datasets.archives import extract_zip, zip_entries
from recommenders_miner.errors import DataFormatError
from recommenders_miner.storage import new_folder

TABLES = (NEWS_FILE, BEHAVIORS_FILE)
VECTORS = ("entity_embedding.vec", "relation_embedding.vec")
FILES = (*TABLES, *VECTORS)

_MAX_DEPTH = 3
"""How many folders deep is looked, since a download folder may hold anything."""
_SPLIT_WORD = re.compile(
    r"(?<![a-z])(?:mind[-_ ]?(?:demo|small|large)?)?"
    r"(?:(train|training)|(dev|val|valid|validation)|(test))(?:set)?(?![a-z])"
)
"""By itself, as in MINDsmall_train, or written together with what else such names say: MINDsmalltrain, trainset."""
_SIZE_WORD = re.compile(r"mind[-_ ]?(demo|small|large)|(?<![a-z])(demo|small|large)(?![a-z])")


@dataclass(frozen=True)
class Place:
    """A folder, in the file system or in a zip file, with both tables of a split.

    Attributes:
        container: the folder, or the zip file.
        inner: the folder in the zip file; None where the container is a folder.
        label: what the user's file and the folders in it are called, outermost first.
    """

    container: Path
    inner: PurePosixPath | None
    label: tuple[str, ...]

    @property
    def split(self) -> str | None:
        """The split that its name says it is, the innermost name first."""
        for name in reversed(self.label):
            if found := _SPLIT_WORD.search(name.lower()):
                return SPLIT_NAMES[found.lastindex - 1]
        return None

    @property
    def size(self) -> str | None:
        """The size of MIND that its name says it is of, the innermost name first."""
        for name in reversed(self.label):
            if found := _SIZE_WORD.search(name.lower()):
                return found[1] or found[2]
        return None

    def __str__(self) -> str:
        return str(self.container if self.inner in (None, PurePosixPath()) else self.container / self.inner)

    def copy_to(self, folder: str | Path, check: Callable[[Path], None]) -> None:
        """Makes a folder of the split's files, which appears when it is whole and the check has passed.

        Args:
            folder: where to; what stands there is replaced.
            check: raises for a folder that is not to be taken.

        Raises:
            DataFormatError: the zip file is refused or damaged.
        """
        with new_folder(folder, overwrite=True) as new:
            if self.inner is None:
                for name, spelled in _spelled(_files_in(self.container, os.listdir(self.container))).items():
                    shutil.copyfile(self.container / spelled, new / name)
            else:
                unpacked = new / "unpacked"
                extract_zip(self.container, unpacked, self._holds)
                for path in (unpacked / self.inner).iterdir():
                    os.replace(path, new / path.name.lower())
                shutil.rmtree(unpacked)
            check(new)

    def _holds(self, name: PurePosixPath) -> bool:
        return name.parent == self.inner and name.name.lower() in FILES


def choose_place(places: Sequence[Place], size: str, split: str, alone: bool) -> Place | None:
    """Returns which of some places has a split of MIND of some size; None where none has.

    Of several those count more that are named after the size, then those in folders. A place that is named after
    another size or split is none.

    Args:
        places: where to look.
        size: demo, small or large.
        split: train, dev or test.
        alone: whether no other split is wanted. Then a single place that is named after no split at all has it.
    """
    fitting = [place for place in places if place.split == split and place.size in (size, None)]
    if not fitting and alone and len(places) == 1 and places[0].split is None:
        return places[0]
    return min(fitting, key=lambda place: (place.size != size, place.inner is not None), default=None)


def find_places(path: str | Path) -> tuple[list[Place], list[DataFormatError]]:
    """Returns the places in a zip file or folder, and the faults of zip files that are named after MIND.

    Raises:
        DataFormatError: there is no such path, or it is a file that is no zip file or a damaged one.
    """
    path = Path(path)
    if path.is_file():
        return _places_in_zip(path, (path.stem,)), []
    if not path.is_dir():
        raise DataFormatError(path, "does not exist; expected a zip file of MIND, or a folder that has some in it.")
    places: list[Place] = []
    faults: list[DataFormatError] = []
    for folder, label, names in _walk(path):
        if _spelled(names).keys() >= set(TABLES):
            places.append(Place(folder, None, label))
        for name in sorted(names):
            if not name.lower().endswith(".zip"):
                continue
            try:
                places += _places_in_zip(folder / name, (*label, name[: -len(".zip")]))
            except (DataFormatError, OSError) as error:
                if isinstance(error, DataFormatError) and "mind" in name.lower():
                    faults.append(error)
    return places, faults


def _walk(path: Path) -> Iterator[tuple[Path, tuple[str, ...], set[str]]]:
    """Yields each folder, the names from `path` to it, and the names of its files; hidden folders are left out."""
    for root, folders, others in os.walk(path):
        label = (path.resolve().name, *Path(root).relative_to(path).parts)
        if len(label) > _MAX_DEPTH:
            folders.clear()
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        yield Path(root), label, _files_in(root, others)


def _files_in(folder: str | Path, names: Iterable[str]) -> set[str]:
    """Those of the names that are files: `isfile`, unlike entries of a folder, takes a link to itself for none."""
    return {name for name in names if os.path.isfile(os.path.join(folder, name))}


def _spelled(names: Iterable[str]) -> dict[str, str]:
    """How MIND's files are spelled among some names; capitals do not count, but of two MIND's own spelling is taken."""
    by_preference = sorted(names, key=lambda name: (name in FILES, name))
    return {name.lower(): name for name in by_preference if name.lower() in FILES}


def _places_in_zip(path: Path, label: tuple[str, ...]) -> list[Place]:
    tables = Counter(name.parent for name in zip_entries(path) if name.name.lower() in TABLES)
    # No name is there twice, whatever its capitals, so a folder with two of them has both tables.
    return [
        Place(path, folder, (*label, *folder.parts)) for folder, count in sorted(tables.items()) if count == len(TABLES)
    ]
