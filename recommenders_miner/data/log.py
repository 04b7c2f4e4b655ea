"""MIND's `behaviors.tsv` as ragged columns of integers."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from recommenders_miner.data import cache as array_cache
from recommenders_miner.data.behaviors import FILE_COLUMNS, READER_VERSION, UNLABELLED, read_behaviors
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.data.tsv import OnError, SkipReport, describe_columns, require_file
from recommenders_miner.errors import DataFormatError

LOGGER = logging.getLogger("recommenders_miner")

CACHE_FOLDER = ".recommenders_miner_cache"
_IN_MEMORY = Path("<columns>")
_ANONYMOUS = "anonymous"


@dataclass(frozen=True, eq=False, repr=False)
class ImpressionLog:
    """A click log of I impressions, H distinct histories and distinct users.

    Impression i showed the articles `candidates[i]` to the user `users[user_of[i]]`, who had clicked on
    `histories[history_of[i]]` before. Articles are given as rows of the `NewsTable` that the log was read with. The
    arrays are read-only.

    Attributes:
        candidates: the articles shown, I rows of int32.
        labels: 1 for a click, 0 for none, -1 throughout an unlabelled log, (total candidates,) int8.
        histories: the articles of the distinct histories, oldest first and never cut, H rows of int32.
        history_of: the history of each impression, (I,) int32.
        user_of: the user of each impression, (I,) int32.
        time: Unix seconds, the file's times taken as UTC, (I,) int64.
        impression_id: the file's own number of each impression, (I,) int64.
        users: the distinct user ids, in the order of their first impression.
        skipped: what `read(…, on_error="skip")` left out; None where nothing may be left out.
        key: what the log's cache is kept under; None where it has none.
    """

    candidates: Ragged
    labels: np.ndarray
    histories: Ragged
    history_of: np.ndarray
    user_of: np.ndarray
    time: np.ndarray
    impression_id: np.ndarray
    users: pa.StringArray
    skipped: SkipReport | None = None
    key: str | None = None

    @classmethod
    def read(
        cls,
        path: str | Path,
        news: NewsTable,
        on_error: OnError = "raise",
        separator: str = "\t",
        cache: bool | str | Path = True,
    ) -> ImpressionLog:
        r"""Read a file in the format of MIND's `behaviors.tsv`.

        The file has five columns and no header: impression id, user id, time (`11/12/2019 2:14:46 PM` or
        `2019-11-12 14:14:46`), history (news ids separated by spaces; may be empty) and impressions (`N1-0
        N2-1`, or `N1 N2` in an unlabelled log).

        Histories are distinct as they are written in the file. What was read is kept in a memory-mapped
        cache, under the content of the file and of the news table, so that another log, another table or a
        changed file is never mistaken for it.

        Args:
            path: the file.
            news: the news that the log refers to.
            on_error: "raise" stops at the first line with an error. "skip" leaves out such lines, and of sound
                lines the articles that the table lacks; it counts both in `skipped` and logs a warning. An
                impression left without candidates is left out.
            separator: what stands between columns.
            cache: True keeps the cache in the folder `.recommenders_miner_cache` beside the file; a path
                keeps it in that folder; False keeps none. Where the folder cannot be written, or the file
                changes while it is read, none is kept and a warning is logged.

        Raises:
            DataFormatError: the file is missing, a folder or empty; or a line has not five columns, is not
                UTF-8, has a bad impression id, time or label, no user id, no candidates, an article that the
                table lacks, or only some labels where others have all or none.
        """
        path = Path(path)
        require_file(path, describe_columns(FILE_COLUMNS, separator))
        if cache is not False:
            root = path.parent / CACHE_FOLDER if cache is True else Path(cache)
            log = cls._read_cached(path, news, on_error, separator, root)
            if log is not None:
                return log
        parts = array_cache.ArrayParts()
        skipped = read_behaviors(path, news, on_error, separator, parts)
        return cls._from_arrays(parts.arrays(), skipped)

    @classmethod
    def _read_cached(
        cls, path: Path, news: NewsTable, on_error: OnError, separator: str, root: Path
    ) -> ImpressionLog | None:
        """Open the cache of a file, which is made if there is none; return None where none can be kept."""
        before = _state(path)
        key = _cache_key(path, news, on_error, separator)
        folder = root / f"behaviors-{key}"
        log = cls._from_cache(folder, key, path, news, on_error)
        if log is not None:
            if log.skipped is not None and log.skipped.counts:
                LOGGER.warning("%s", log.skipped.summary())
            return log
        problem = None
        try:
            with array_cache.storing(folder, key) as writer:
                skipped = read_behaviors(path, news, on_error, separator, writer)
                writer.meta.update({} if skipped is None else {"counts": skipped.counts, "lines": skipped.lines})
                if _state(path) != before:  # what was read may not be what the key was made of
                    raise OSError("the file changed while it was read")
        except OSError as error:
            problem = error
        log = cls._from_cache(folder, key, path, news, on_error)
        if log is None:
            LOGGER.warning("No cache of %s could be kept (%s); it will be read anew next time.", path, problem)
        return log

    @classmethod
    def _from_cache(
        cls, folder: Path, key: str, path: Path, news: NewsTable, on_error: OnError
    ) -> ImpressionLog | None:
        """Open the log that a cache holds; None where there is no cache, or one that no log can be made of."""
        cached = array_cache.load(folder, key)
        if cached is None:
            return None
        try:
            skipped = None if on_error == "raise" else SkipReport(path, **cached.meta)
            if skipped is not None:
                skipped.summary()  # raises where it is none
            _require_sound(cached.arrays, len(news))
            log = cls._from_arrays(cached.arrays, skipped, key)
            log.users.validate(full=True)
        except (ValueError, TypeError, LookupError, AttributeError) as error:  # ArrowInvalid is a ValueError
            array_cache.discard(folder, error)
            return None
        return log

    @classmethod
    def from_columns(
        cls,
        news: NewsTable,
        histories: Sequence[Sequence[str]],
        candidates: Sequence[Sequence[str]],
        labels: Sequence[Sequence[int]] | None = None,
        users: Sequence[str] | None = None,
        time: Sequence[int] | None = None,
        impression_id: Sequence[int] | None = None,
    ) -> ImpressionLog:
        """Make a log from columns in memory, one entry per impression.

        Args:
            news: the news that the log refers to.
            histories: the ids of the articles that the user had clicked on before, oldest first.
            candidates: the ids of the articles shown.
            labels: 1 for each candidate clicked on, 0 for the others; None makes an unlabelled log.
            users: user ids; None makes all impressions those of one user, "anonymous".
            time: Unix seconds; None makes them 0.
            impression_id: non-negative numbers; None makes them 1 … I.

        Raises:
            DataFormatError: the columns differ in length, an impression has no candidates or not as many
                labels, a label is neither 0 nor 1, or a news id is unknown. The error's `line` counts
                impressions from 1.
        """
        count = len(candidates)
        optional = {"labels": labels, "users": users, "time": time, "impression_id": impression_id}
        for name, values in {"histories": histories, **optional}.items():
            if values is not None and len(values) != count:
                raise DataFormatError(_IN_MEMORY, f"{count} impressions, but {len(values)} entries of {name}.")
        shown = _rows_of_lists(candidates, news, "candidate", range(count))
        if count == 0 or not shown.lengths.all():
            line = int(np.argmin(shown.lengths)) + 1 if count else None
            raise DataFormatError(_IN_MEMORY, "there are no candidates.", line=line)
        distinct: dict[tuple[str, ...], int] = {}
        history_of = [distinct.setdefault(tuple(history), len(distinct)) for history in histories]
        first_impression = np.unique(history_of, return_index=True)[1]
        user_index: dict[str, int] = {}
        user_of = [user_index.setdefault(user, len(user_index)) for user in users or [_ANONYMOUS] * count]
        return cls(
            candidates=shown,
            labels=_labels_of_lists(labels, shown.lengths),
            histories=_rows_of_lists(list(distinct), news, "history", first_impression),
            history_of=np.array(history_of, np.int32),
            user_of=np.array(user_of, np.int32),
            time=np.zeros(count, np.int64) if time is None else np.array(time, np.int64),
            impression_id=np.arange(1, count + 1) if impression_id is None else np.array(impression_id, np.int64),
            users=pa.array(list(user_index), pa.string()),
        )

    @classmethod
    def _from_arrays(
        cls, arrays: Mapping[str, np.ndarray], skipped: SkipReport | None, key: str | None = None
    ) -> ImpressionLog:
        """Make a log of the arrays that `read_behaviors` makes and the cache holds."""
        columns = dict(arrays)
        columns["candidates"] = Ragged(columns["candidates"], columns.pop("offsets"))
        columns["histories"] = Ragged(columns["histories"], columns.pop("history_offsets"))
        users = array_cache.unpack_strings(columns.pop("user_bytes"), columns.pop("user_offsets"))
        return cls(**columns, users=users, skipped=skipped, key=key)

    def __post_init__(self) -> None:
        for name, values in list(vars(self).items()):
            if isinstance(values, np.ndarray):
                object.__setattr__(self, name, _read_only(values))
            elif isinstance(values, Ragged):
                object.__setattr__(self, name, Ragged(_read_only(values.values), _read_only(values.offsets)))

    def __len__(self) -> int:
        """The number of impressions."""
        return len(self.impression_id)

    def __repr__(self) -> str:
        kind = "labelled" if self.labelled else "unlabelled"
        return (
            f"ImpressionLog({len(self):,} {kind} impressions, {len(self.labels):,} candidates, "
            f"{len(self.histories):,} histories, {len(self.users):,} users)"
        )

    @property
    def num_impressions(self) -> int:
        """The number of impressions."""
        return len(self)

    def history(self, row: int) -> np.ndarray:
        """Return the clicks of a distinct history, (clicks,) int32 rows of the news, oldest first."""
        return self.histories[row]

    @property
    def labelled(self) -> bool:
        """Whether the log says which candidates were clicked."""
        return bool(self.labels[0] != UNLABELLED)

    @cached_property
    def digest(self) -> str:
        """A hex BLAKE2b digest that names the content: the cache's key, or, where there is no cache, of the arrays."""
        if self.key is not None:
            return self.key
        digest = hashlib.blake2b(digest_size=16)
        arrays = (self.labels, self.history_of, self.user_of, self.time, self.impression_id)
        rows = (self.candidates.values, self.candidates.offsets, self.histories.values, self.histories.offsets)
        for part in (*arrays, *rows, *array_cache.pack_strings(self.users)):
            digest.update(part.size.to_bytes(8, "little"))
            digest.update(np.ascontiguousarray(part))
        return digest.hexdigest()


def _read_only(array: np.ndarray) -> np.ndarray:
    """Return a view that cannot be written through; the caller's own array stays as it is."""
    frozen = array.view()
    frozen.setflags(write=False)
    return frozen


# === The cache ===

_KINDS = {
    **dict.fromkeys(("candidates", "histories", "history_of", "user_of", "user_offsets"), (np.dtype("int32"), 1)),
    **dict.fromkeys(("offsets", "history_offsets", "time", "impression_id"), (np.dtype("int64"), 1)),
    **{"labels": (np.dtype("int8"), 1), "user_bytes": (np.dtype("uint8"), 1)},
}
_LOOKED_THROUGH_BYTES = 2**29
"""Cached arrays of more are not looked through, so that a log larger than memory opens without being read."""


def _cache_key(path: Path, news: NewsTable, on_error: OnError, separator: str) -> str:
    """Name everything that the arrays of a log depend on."""
    with open(path, "rb") as file:
        content = hashlib.file_digest(file, hashlib.blake2b).hexdigest()
    parts = (READER_VERSION, content, news.digest, on_error, separator)
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def _state(path: Path) -> tuple[int, ...]:
    """Return what differs after a file was written to, replaced, or replaced and put back."""
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _require_sound(arrays: Mapping[str, np.ndarray], news_rows: int) -> None:
    """Refuse arrays that are not a log's, or that refer to what is not there; raises ValueError."""
    if {name: (array.dtype, array.ndim) for name, array in arrays.items()} != _KINDS:
        raise ValueError("it holds other arrays than a log's")
    for offsets, values in (
        ("offsets", "candidates"),
        ("history_offsets", "histories"),
        ("user_offsets", "user_bytes"),
    ):
        bounds = arrays[offsets]
        if not len(bounds) or bounds[0] != 0 or bounds[-1] != len(arrays[values]) or (bounds[1:] < bounds[:-1]).any():
            raise ValueError(f"the {offsets} are not those of the {values}")
    each = {len(arrays[name]) for name in ("impression_id", "time", "user_of", "history_of")}
    if each != {len(arrays["offsets"]) - 1} or len(arrays["labels"]) != len(arrays["candidates"]):
        raise ValueError("its arrays differ in length")
    unlabelled = UNLABELLED in arrays["labels"][:1]
    for name, least, most in (
        ("candidates", 1, news_rows - 1),
        ("histories", 1, news_rows - 1),
        ("history_of", 0, len(arrays["history_offsets"]) - 2),
        ("user_of", 0, len(arrays["user_offsets"]) - 2),
        ("labels", *((UNLABELLED, UNLABELLED) if unlabelled else (0, 1))),
    ):
        values = arrays[name]
        if 0 < values.nbytes <= _LOOKED_THROUGH_BYTES and not least <= values.min() <= values.max() <= most:
            raise ValueError(f"the {name} are not all from {least} to {most}")


# === Columns in memory ===


def _rows_of_lists(lists: Sequence[Sequence[str]], news: NewsTable, kind: str, impressions: Sequence[int]) -> Ragged:
    """Return the news rows of all lists; `kind` and `impressions`, where each list is from, are for the error."""
    for ids, impression in zip(lists, impressions, strict=True):
        for news_id in ids:
            if news_id not in news.row_of:
                problem = f"the {kind} news {news_id!r} is not in the news table."
                raise DataFormatError(_IN_MEMORY, problem, line=int(impression) + 1)
    return Ragged.of_lists([[news.row_of[news_id] for news_id in ids] for ids in lists])


def _labels_of_lists(labels: Sequence[Sequence[int]] | None, candidate_counts: np.ndarray) -> np.ndarray:
    """Return the labels of all candidates, (total candidates,) int8."""
    if labels is None:
        return np.full(candidate_counts.sum(), UNLABELLED, np.int8)
    for line, (values, count) in enumerate(zip(labels, candidate_counts, strict=True), start=1):
        if len(values) != count:
            raise DataFormatError(_IN_MEMORY, f"{count} candidates, but {len(values)} labels.", line=line)
        if not all(label in (0, 1) for label in values):
            raise DataFormatError(_IN_MEMORY, f"a label must be 0 or 1, got {list(values)}.", line=line)
    return np.array(list(itertools.chain.from_iterable(labels)), np.int8)
