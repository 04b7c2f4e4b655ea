"""The errors that this package raises for bad input, so that callers can catch them apart from bugs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


def nearest(name: object, known: Iterable[str]) -> str:
    """Return the one of the known names, of which there has to be one, that is closest to a wrong name."""
    return difflib.get_close_matches(str(name), [*known], n=1, cutoff=0.0)[0]


class RecommendersMinerError(Exception):
    """Base of every error that the package raises on purpose."""


class DataFormatError(RecommendersMinerError, ValueError):
    """A data file does not have the form that its reader expects.

    Args:
        path: the file at fault.
        problem: what was wrong, in a sentence without the place.
        line: the 1-based line at fault, or None where the whole file is meant.
        remedy: what the user can do about it; left out where it would only repeat the problem.
    """

    def __init__(self, path: str | Path, problem: str, line: int | None = None, remedy: str | None = None) -> None:
        self.path, self.problem, self.line, self.remedy = Path(path), problem, line, remedy
        place = f"{path}" if line is None else f"{path}, line {line}"
        super().__init__(f"{place}: {problem}" + (f" {remedy}" if remedy else ""))


class NotWrittenError(RecommendersMinerError, OSError):
    """A file or folder cannot be written: the disk is full or read-only, say. What stood there still stands."""

    def __init__(self, path: str | Path, error: OSError) -> None:
        self.path = Path(path)
        said = error.strerror or str(error)
        super().__init__(f"{path}: not written ({said}); what was there is unchanged. Make room, or write elsewhere.")
        self.errno = error.errno


class HParamsError(RecommendersMinerError, ValueError):
    """A hyperparameter is unknown, of the wrong type or out of range."""


class NotBuiltError(RecommendersMinerError, RuntimeError):
    """A model was asked to work before it had seen the data that its vocabularies come from."""


class UnknownNewsError(RecommendersMinerError, LookupError):
    """A news id is not in the news table."""


class UnknownImpressionError(RecommendersMinerError, LookupError):
    """An impression id is not in a log."""


class NoVectorError(RecommendersMinerError, TypeError):
    """An article or a user was asked for by itself, and the model has it only in view of the other."""


class PresetError(RecommendersMinerError, ValueError):
    """A pretrained language model cannot be had, or is of a kind that this package cannot use."""

    def __init__(self, preset: str, problem: str) -> None:
        self.preset = preset
        super().__init__(f"{preset}: {problem}")


class DownloadError(RecommendersMinerError, RuntimeError):
    """A file could not be had from where it was looked for; `status` is the HTTP status of a refusal, if any."""

    def __init__(self, what: str, problem: str, status: int | None = None) -> None:
        self.what, self.problem, self.status = what, problem, status
        super().__init__(f"{what}: {problem}")


class WorkersError(RecommendersMinerError, RuntimeError):
    """Workers died again and again, or there was no room for them."""


class LicenceError(RecommendersMinerError, RuntimeError):
    """Data was asked for whose licence the user has not accepted."""


class FolderExistsError(RecommendersMinerError, FileExistsError):
    """A folder is to be written where something stands already."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        super().__init__(f"{path}: exists already. Choose another folder, or overwrite it (--overwrite).")


class PolicyError(RecommendersMinerError, ValueError):
    """A policy is faulty, contradicts itself, or names a column that articles do not have."""

    def __init__(self, where: str, problem: str, remedy: str | None = None) -> None:
        self.where, self.problem, self.remedy = where, problem, remedy
        super().__init__(f"{where}: {problem}" + (f" {remedy}" if remedy else ""))
