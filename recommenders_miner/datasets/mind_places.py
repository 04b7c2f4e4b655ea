"""Finding the splits of MIND in what a user has: zip files and folders, however they were unpacked and named."""

from __future__ import annotations

import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from recommenders_miner.data.folders import BEHAVIORS_FILE, NEWS_FILE, SPLIT_NAMES
from recommenders_miner.datasets.archives import extract_zip, zip_entries
from recommenders_miner.errors import DataFormatError

TABLES = (NEWS_FILE, BEHAVIORS_FILE)
FILES = (*TABLES, "entity_embedding.vec", "relation_embedding.vec")

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
        container: the folder in which was looked, or the zip file.
        inner: the split's folder in it.
        label: what the user's file and the folders in it are called, outermost first.
        files: the split's files in the container, by MIND's names, which may be spelled in other capitals there.
    """

    container: Path
    inner: PurePath
    label: tuple[str, ...]
    files: dict[str, PurePath]

    @property
    def split(self) -> str | None:
        """The split that its name says it is, the innermost name first."""
        found = (_SPLIT_WORD.search(name.lower()) for name in reversed(self.label))
        return next((SPLIT_NAMES[match.lastindex - 1] for match in found if match), None)

    @property
    def size(self) -> str | None:
        """The size of MIND that its name says it is of, the innermost name first."""
        found = (_SIZE_WORD.search(name.lower()) for name in reversed(self.label))
        return next((match[1] or match[2] for match in found if match), None)

    @property
    def is_zipped(self) -> bool:
        """Whether it is in a zip file."""
        return self.container.is_file()

    def __str__(self) -> str:
        return str(self.container / self.inner)

    def copy_to(self, folder: Path) -> None:
        """Copy the split's files into a folder that exists.

        Raises:
            DataFormatError: the zip file is refused or damaged.
        """
        if self.is_zipped:
            extract_zip(self.container, {file: folder / name for name, file in self.files.items()})
        else:
            for name, file in self.files.items():
                shutil.copyfile(self.container / file, folder / name)


def choose_place(places: Sequence[Place], size: str, split: str, alone: bool) -> Place | None:
    """Return which of some places has a split of MIND of some size, None where none has.

    One that is named after the size comes before one that is named after none, and an unpacked one before a zip file;
    one that is named after another size or split is none.

    Args:
        places: where to look.
        size: demo, small or large.
        split: train, dev or test.
        alone: whether no other split is wanted. Then a single place that is named after no split at all has it.
    """
    fitting = [place for place in places if place.split == split and place.size in (size, None)]
    if not fitting and alone and len(places) == 1 and places[0].split is None:
        return places[0]
    return min(fitting, key=lambda place: (place.size != size, place.is_zipped), default=None)


def find_places(path: str | Path) -> tuple[list[Place], list[DataFormatError]]:
    """Return the places in a zip file or folder, and the errors of zip files that are named after MIND.

    Raises:
        DataFormatError: there is no such path, or it is a file that is no zip file or a damaged one.
    """
    path = Path(path)
    if path.is_file():
        return _places(path, (path.stem,), zip_entries(path)), []
    if not path.is_dir():
        raise DataFormatError(path, "does not exist; expected a zip file of MIND, or a folder that has some in it.")
    places: list[Place] = []
    errors: list[DataFormatError] = []
    label = (path.resolve().name,)
    files = _files_under(path)
    places += _places(path, label, files)
    for file in files:
        if file.suffix.lower() != ".zip":
            continue
        try:
            places += _places(path / file, (*label, *file.parent.parts, file.stem), zip_entries(path / file))
        except (DataFormatError, OSError) as error:
            if isinstance(error, DataFormatError) and "mind" in file.name.lower():
                errors.append(error)
    return places, errors


def _files_under(path: Path) -> list[PurePath]:
    """Return the files in a folder and in those in it, but for hidden ones and too deep ones, relative to it."""
    files = []
    for root, folders, names in os.walk(path):
        inner = Path(root).relative_to(path)
        shown = sorted(name for name in folders if not name.startswith((".", "__")))
        folders[:] = shown if len(inner.parts) < _MAX_DEPTH else []
        # Unlike entries of a folder, `isfile` takes a link to itself for no file.
        files += [inner / name for name in sorted(names) if os.path.isfile(os.path.join(root, name))]
    return files


def _places(container: Path, label: tuple[str, ...], files: Iterable[PurePath]) -> list[Place]:
    """Return the places among the files of a folder or a zip file."""
    found: dict[PurePath, dict[str, PurePath]] = defaultdict(dict)
    for file in sorted(files, key=lambda file: (file.name not in FILES, file.name)):
        if file.name.lower() in FILES:
            found[file.parent].setdefault(file.name.lower(), file)  # of two spellings MIND's own
    return [
        Place(container, inner, (*label, *inner.parts), spelled)
        for inner, spelled in sorted(found.items())
        if spelled.keys() >= set(TABLES)
    ]
