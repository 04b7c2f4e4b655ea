"""MIND's `behaviors.tsv` as ragged columns of integers."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from recommenders_miner.data import cache as array_cache
from recommenders_miner.data.behaviors import FILE_COLUMNS, READER_VERSION, UNLABELLED, read_behaviors
from recommenders_miner.data.folders import INGESTED, NEWS_FILE
from recommenders_miner.data.lists import IN_MEMORY, labels_of_lists, rows_of_lists
from recommenders_miner.data.news import NewsTable
from recommenders_miner.data.ragged import Ragged
from recommenders_miner.data.tsv import (
    MANIFEST,
    OnError,
    SkipReport,
    content_digest,
    describe_columns,
    fingerprint,
    require_file,
)
from recommenders_miner.errors import DataFormatError

LOGGER = logging.getLogger("recommenders_miner")

CACHE_FOLDER = ".recommenders_miner_cache"
_IMPRESSIONS_AT_ONCE, _CANDIDATES_AT_ONCE = 2**18, 2**24
LABELS_REMEDY = (
    "Write each candidate as N123-1 (clicked) or N123-0 (not clicked), or, in a test split, none with a label."
)


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
        path: the file that the log was read from, or a part of, which errors name.
        parts: at which impression, history and user each part of an ingested log begins, and the last one ends,
            (P + 1, 3) int64; None where the log is in one piece.
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
    path: Path = IN_MEMORY
    parts: np.ndarray | None = None

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
            path: the file; or a folder that `ingest` wrote, which is opened as it is.
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
        if (path / MANIFEST).exists():
            return cls.open(path, news)
        require_file(path, describe_columns(FILE_COLUMNS, separator))
        if cache is not False:
            root = path.parent / CACHE_FOLDER if cache is True else Path(cache)
            log = cls._read_cached(path, news, on_error, separator, root)
            if log is not None:
                return log
        arrays = array_cache.ArraysInMemory()
        skipped = read_behaviors(path, news, on_error, separator, arrays.append)
        return cls.from_arrays(arrays.joined(), path, skipped)

    @classmethod
    def open(cls, folder: str | Path, news: NewsTable | None = None) -> ImpressionLog:
        """Map a log that `recommenders-miner ingest` wrote: nothing is read before it is used.

        Args:
            folder: the folder `behaviors`, or the one that it stands in.
            news: the news that the log is to be used with; where left out, they are not compared.

        Raises:
            DataFormatError: there is no such log, it is damaged, or `news` has not just the articles, in their order,
                that the log was read with.
        """
        folder = Path(folder)
        if (folder / INGESTED / MANIFEST).exists():
            folder /= INGESTED
        try:
            arrays, meta, key = array_cache.open_arrays(folder)
        except ValueError as error:
            raise DataFormatError(folder, f"is no whole log of recommenders-miner ingest: {error}.") from None
        if news is not None and meta["news"] != news.ids_digest:
            raise DataFormatError(
                folder,
                f"the log was ingested with other news than {news.path}.",
                remedy=f"The news that it refers to are beside it, {folder.parent / NEWS_FILE}; or ingest it again.",
            )
        skipped = None if meta["counts"] is None else SkipReport(folder, meta["counts"])
        if skipped is not None and skipped.counts:
            LOGGER.warning("%s", skipped.summary())
        return cls.from_arrays(arrays, folder, skipped, key)

    @classmethod
    def _read_cached(
        cls, path: Path, news: NewsTable, on_error: OnError, separator: str, root: Path
    ) -> ImpressionLog | None:
        """Open the cache of a file, which is made if there is none; return None where none can be kept."""
        before = fingerprint(path)
        depends_on = (READER_VERSION, content_digest(path), news.digest, on_error, separator)
        key = hashlib.blake2b(repr(depends_on).encode(), digest_size=16).hexdigest()
        folder = root / f"behaviors-{key}"

        def fill(writer: array_cache.ArrayWriter) -> None:
            skipped = read_behaviors(path, news, on_error, separator, writer.append)
            writer.meta.update({} if skipped is None else {"counts": skipped.counts, "lines": skipped.lines})
            if fingerprint(path) != before:  # what was read may not be what the key was made of
                raise OSError("the file changed while it was read")

        cached = array_cache.load(folder, key)
        is_new = cached is None
        if is_new:
            array_cache.store(folder, key, path, fill)
            cached = array_cache.load(folder, key)
            if cached is None:
                return None
        arrays, meta = cached
        skipped = None if on_error == "raise" else SkipReport(path, **meta)
        if not is_new and skipped is not None and skipped.counts:
            LOGGER.warning("%s", skipped.summary())
        return cls.from_arrays(arrays, path, skipped, key)

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
                raise DataFormatError(IN_MEMORY, f"{count} impressions, but {len(values)} entries of {name}.")
        shown = rows_of_lists(candidates, news, "candidate", range(count))
        if count == 0 or not shown.lengths.all():
            line = int(np.argmin(shown.lengths)) + 1 if count else None
            raise DataFormatError(IN_MEMORY, "there are no candidates.", line=line)
        distinct: dict[tuple[str, ...], int] = {}
        history_of = [distinct.setdefault(tuple(history), len(distinct)) for history in histories]
        first_impression = np.unique(history_of, return_index=True)[1]
        encoded = pa.array(users or ["anonymous"] * count, pa.string()).dictionary_encode()
        return cls(
            candidates=shown,
            labels=labels_of_lists(labels, shown.lengths),
            histories=rows_of_lists(list(distinct), news, "history", first_impression),
            history_of=np.array(history_of, np.int32),
            user_of=encoded.indices.to_numpy(),
            time=np.zeros(count, np.int64) if time is None else np.array(time, np.int64),
            impression_id=np.arange(1, count + 1) if impression_id is None else np.array(impression_id, np.int64),
            users=encoded.dictionary,
        )

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, np.ndarray], path: Path, skipped: SkipReport | None = None, key: str | None = None
    ) -> ImpressionLog:
        """Make a log of the arrays that `read_behaviors` makes and `to_arrays` gives."""
        columns = dict(arrays)
        columns["candidates"] = Ragged(columns["candidates"], columns.pop("offsets"))
        columns["histories"] = Ragged(columns["histories"], columns.pop("history_offsets"))
        users = array_cache.unpack_strings(columns.pop("user_bytes"), columns.pop("user_offsets"))
        return cls(**columns, users=users, skipped=skipped, key=key, path=path)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the log as arrays by name, which are views: what a cache holds of it."""
        arrays = {name: getattr(self, name) for name in ("labels", "history_of", "user_of", "time", "impression_id")}
        arrays |= {"candidates": self.candidates.values, "offsets": self.candidates.offsets}
        arrays |= {"histories": self.histories.values, "history_offsets": self.histories.offsets}
        return arrays | dict(zip(("user_bytes", "user_offsets"), array_cache.pack_strings(self.users), strict=True))

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
    def num_parts(self) -> int:
        """The number of parts that users are dealt to; 1 where the log is in one piece."""
        return 1 if self.parts is None else len(self.parts) - 1

    def part(self, index: int) -> ImpressionLog:
        """Return a part as a log of its own: a view of this one, of which only what counts from the beginning is new.

        The parts stand one after another, and none shares a user with another.
        """
        if self.parts is None:
            return (self,)[index]
        (first, history, user), (end, *ends) = self.parts[index], self.parts[index + 1]
        slots = self.candidates.offsets[[first, end]]
        return ImpressionLog(
            candidates=self.candidates.slice(first, end),
            labels=self.labels[slice(*slots)],
            histories=self.histories.slice(history, ends[0]),
            history_of=self.history_of[first:end] - np.int32(history),
            user_of=self.user_of[first:end] - np.int32(user),
            time=self.time[first:end],
            impression_id=self.impression_id[first:end],
            users=self.users.slice(user, ends[1] - user),
            skipped=self.skipped,
            key=self.key and f"{self.key}-{index}",
            path=self.path,
        )

    def select(self, impressions: np.ndarray) -> ImpressionLog:
        """Return a log of some impressions, given as ascending rows, with their users and histories alone."""
        histories, history_of = np.unique(self.history_of[impressions], return_inverse=True)
        users, user_of = np.unique(self.user_of[impressions], return_inverse=True)
        return ImpressionLog(
            candidates=self.candidates.take(impressions),
            labels=Ragged(self.labels, self.candidates.offsets).take(impressions).values,
            histories=self.histories.take(histories),
            history_of=history_of.astype(np.int32),
            user_of=user_of.astype(np.int32),
            time=self.time[impressions],
            impression_id=self.impression_id[impressions],
            users=self.users.take(pa.array(users)),
            path=self.path,
        )

    def lacking_to(self, use: str, non_clicks: bool = True) -> str:
        """Say why there is nothing to "train on", say, or "evaluate on": "" where there is.

        There has to be an impression with a click, and with a non-click beside it unless `non_clicks` are not needed.
        """
        if not self.labelled:
            problem = "no candidate has a label"
        elif not any((labels.values == 1).any() for labels in self.label_blocks()):
            problem = "no candidate was clicked"
        elif non_clicks and not any(_have_both(labels).any() for labels in self.label_blocks()):
            problem = "no impression has both a click and a non-click"
        else:
            return ""
        return f"{problem}: there is nothing to {use}."

    def require(self, use: str, non_clicks: bool = True) -> None:
        """Refuse a log that lacks what it takes to use it so: `DataFormatError`; the arguments are `lacking_to`'s."""
        if problem := self.lacking_to(use, non_clicks):
            raise DataFormatError(self.path, problem, remedy=LABELS_REMEDY)

    def label_blocks(self) -> Iterator[Ragged]:
        """Yield the labels of some impressions after others: of a log larger than memory, no more is looked at."""
        labels = Ragged(self.labels, self.candidates.offsets)
        for first in range(0, len(self), _IMPRESSIONS_AT_ONCE):
            yield labels.slice(first, first + _IMPRESSIONS_AT_ONCE)

    def count_articles(self, rows: int) -> np.ndarray:
        """Return how often each of so many articles was shown, and clicked, (2, rows) int64."""
        counts = np.zeros((2, rows), np.int64)
        for first in range(0, len(self.labels), _CANDIDATES_AT_ONCE):
            here = slice(first, first + _CANDIDATES_AT_ONCE)
            shown, is_click = self.candidates.values[here], self.labels[here] == 1
            counts += [np.bincount(articles, minlength=rows) for articles in (shown, shown[is_click])]
        return counts

    @cached_property
    def clicks(self) -> np.ndarray:
        """How many candidates of each impression were clicked, (I,) int32."""
        return np.concatenate([np.empty(0, np.int32), *map(_clicks, self.label_blocks())])

    @property
    def has_both(self) -> np.ndarray:
        """Which impressions have both a click and a non-click, (I,) bool."""
        return np.concatenate([np.empty(0, bool), *map(_have_both, self.label_blocks())])

    @property
    def labelled(self) -> bool:
        """Whether the log says which candidates were clicked."""
        return bool((self.labels[:1] != UNLABELLED).any())

    @cached_property
    def digest(self) -> str:
        """A hex BLAKE2b digest that names the content: the cache's key, or, where there is no cache, of the arrays."""
        if self.key is not None:
            return self.key
        digest = hashlib.blake2b(digest_size=16)
        for part in self.to_arrays().values():
            digest.update(part.size.to_bytes(8, "little"))
            digest.update(np.ascontiguousarray(part))
        return digest.hexdigest()


def _clicks(labels: Ragged) -> np.ndarray:
    return labels.sums(labels.values == 1).astype(np.int32)


def _have_both(labels: Ragged) -> np.ndarray:
    clicks = _clicks(labels)
    return (clicks > 0) & (clicks < labels.lengths)


def _read_only(array: np.ndarray) -> np.ndarray:
    """Return a view that cannot be written through; the caller's own array stays as it is."""
    frozen = array.view()
    frozen.setflags(write=False)
    return frozen
