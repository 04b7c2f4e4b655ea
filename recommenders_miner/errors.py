"""The errors that this package raises for bad input, so that callers can catch them apart from bugs."""

from __future__ import annotations

from pathlib import Path


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


class HParamsError(RecommendersMinerError, ValueError):
    """A hyperparameter is unknown, of the wrong type or out of range."""


class NotBuiltError(RecommendersMinerError, RuntimeError):
    """A model was asked to work before it had seen the data that its vocabularies come from."""


class UnknownNewsError(RecommendersMinerError, LookupError):
    """A news id is not in the news table."""


class UnknownImpressionError(RecommendersMinerError, LookupError):
    """An impression id is not in a log."""


class NoVectorError(RecommendersMinerError, TypeError):
    """A news or a user was asked for by itself, and the system has it only in view of the other."""


class PresetError(RecommendersMinerError, ValueError):
    """A pretrained language model cannot be had, or is of a kind that this package cannot use.

    Args:
        preset: its name or folder.
        problem: what is wrong, and what to do.
    """

    def __init__(self, preset: str, problem: str) -> None:
        self.preset = preset
        super().__init__(f"{preset}: {problem}")
